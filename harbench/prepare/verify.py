"""What the media of a data set were when they were prepared, and the way back when one of them breaks.

`<home>/<dataset>/media.csv` has one row a media, `failed.csv` one a media that no decoder could read. A media that
harbench extracted is extracted again, alone; a file of the user's is never touched.
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import os
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path, PurePosixPath

from harbench.errors import ArchiveError, MediaError
from harbench.files import csv_cell, csv_text, replacing, sha256
from harbench.prepare.archives import DAMAGE, folder_name, is_archive, open_archive
from harbench.prepare.members import Member, Write
from harbench.records import Track, silent

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class MediaRow:
    """One media as it was when its frames were made: one row of `media.csv`."""

    media: str
    """Official path; of joints that lie beside a video, its path with the suffix of theirs."""
    bytes: int
    mtime_ns: int
    sha256: str
    file: str
    """Where it lies, links resolved."""
    frames: int = 0
    """As decoded; 0 where nothing could be."""
    fps: float = 0.0
    width: int = 0
    height: int = 0
    """Pixels as decoded, before resizing."""
    seconds: float = 0.0
    variable: bool = False
    """The time between frames is not the same throughout."""
    caches: str = ""
    """Names of the frame caches that hold it, with spaces between."""
    note: str = ""
    """What its decoder noted."""


# ------------------------------------------------------------------------------------------------------- the manifest
def manifest_path(home: Path, dataset: str) -> Path:
    """`<home>/<dataset>/media.csv`."""
    return home / dataset / "media.csv"


def failed_path(home: Path, dataset: str) -> Path:
    """`<home>/<dataset>/failed.csv`."""
    return home / dataset / "failed.csv"


def read_manifest(path: Path) -> dict[str, MediaRow]:
    """The rows by media; none where there is no file. Raises MediaError when it is damaged."""
    rows = {}
    for number, row in enumerate(_read_csv(path), 2):
        try:
            rows[row["media"]] = MediaRow(
                media=row["media"], bytes=int(row["bytes"]), mtime_ns=int(row["mtime_ns"]), sha256=row["sha256"],
                file=row["file"], frames=int(row["frames"]), fps=float(row["fps"]), width=int(row["width"]),
                height=int(row["height"]), seconds=float(row["seconds"]), variable=row["variable"] == "True",
                caches=row["caches"], note=row.get("note") or "",
            )  # fmt: skip
        except (KeyError, TypeError, ValueError):
            raise MediaError(
                f"{path}, line {number}: expected {', '.join(field.name for field in fields(MediaRow))}; it is damaged. "
                "Delete that file and prepare again: what is there then counts as whole"
            ) from None
    return rows


def write_manifest(path: Path, rows: Mapping[str, MediaRow]) -> None:
    """Write the rows, sorted by media, whole or not at all."""
    _write_csv(path, [field.name for field in fields(MediaRow)], [asdict(rows[media]) for media in sorted(rows)])


def read_failed(path: Path) -> dict[tuple[str, str], str]:
    """(cache, media) -> the decoder's own words; nothing where there is no such file."""
    return {(row.get("cache") or "", row.get("media") or ""): row.get("reason") or "" for row in _read_csv(path)}


def write_failed(path: Path, failed: Mapping[tuple[str, str], str]) -> None:
    """Write what no decoder could read; no file where that is nothing."""
    if not failed:
        path.unlink(missing_ok=True)
        return
    rows = [{"cache": cache, "media": media, "reason": failed[cache, media]} for cache, media in sorted(failed)]
    _write_csv(path, ["cache", "media", "reason"], rows)


def hashed(files: Mapping[str, Path], known: Mapping[str, MediaRow], *, track: Track = silent) -> dict[str, MediaRow]:
    """The rows of `files` (media -> file). Only files that are new, or of another size or time than known, are read.

    A file that is not there has no row.
    """
    rows, new = {}, {}
    for media, path in files.items():
        if not path.is_file():
            continue
        about, row = path.stat(), known.get(media)
        if row is not None and (row.bytes, row.mtime_ns, row.file) == (
            about.st_size, about.st_mtime_ns, str(path.resolve()),
        ):  # fmt: skip
            rows[media] = row
        else:
            new[media] = MediaRow(media, about.st_size, about.st_mtime_ns, "", str(path.resolve()))
    changed = []
    for media, row in track(new.items(), "hashing media", len(new)):
        before = known.get(media)
        try:
            found = sha256(Path(row.file))
        except OSError as error:
            _LOG.warning("%s cannot be read (%s), so nothing is recorded of %s", row.file, error.strerror, media)
            continue
        if before is not None and before.sha256 == found:
            rows[media] = replace(before, bytes=row.bytes, mtime_ns=row.mtime_ns, file=row.file)
            continue
        rows[media] = replace(row, sha256=found)
        changed += [media] if before is not None else []
    if changed:
        _LOG.warning("%d media are other files than before: %s", len(changed), ", ".join(changed[:5]))
    return rows


def _read_csv(path: Path) -> Iterator[dict[str, str]]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as handle:
            for row in csv.DictReader(handle):
                yield {name: csv_text(cell) if isinstance(cell, str) else cell for name, cell in row.items()}
    except FileNotFoundError:
        return
    except (csv.Error, OSError) as error:
        raise MediaError(f"{path} is damaged ({error}); delete it and prepare again") from None


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: csv_cell(cell) for name, cell in row.items()} for row in rows)
    with replacing(path, "wb") as handle:
        handle.write(out.getvalue().encode("utf-8", "surrogateescape"))


# ---------------------------------------------------------------------------------------------------------- the media
def damage_of(row: MediaRow) -> str:
    """What is wrong with the file of a media, in words; empty when it is the one that was recorded."""
    path = Path(row.file)
    try:
        size = path.stat().st_size
        if size != row.bytes:
            return f"{size} bytes, recorded {row.bytes}"
        return "" if sha256(path) == row.sha256 else "its bytes have changed"
    except FileNotFoundError:
        return "it is gone"
    except OSError as error:
        return f"it cannot be read ({error.strerror or error})"


def extract_again(rows: Collection[MediaRow], unpacked: Path, archives: Sequence[Path]) -> dict[str, str]:
    """Put back files under the folder `unpacked`, each from the archive that its folder was extracted from.

    A file is replaced only by one of the recorded SHA-256, and gets its old modification time, so that caches stay valid.
    Nothing else is touched. Returns the media that could not be put back, each with the reason.
    """
    root = unpacked.resolve()
    by_folder: dict[str, dict[PurePosixPath, MediaRow]] = {}
    for row in rows:
        inside = Path(row.file).relative_to(root)
        by_folder.setdefault(inside.parts[0], {})[PurePosixPath(*inside.parts[1:])] = row
    left: dict[str, str] = {}
    for folder, wanted in by_folder.items():
        archive = next((path for path in archives if path.is_file() and folder_name(path) == folder), None)
        if archive is None:
            why = f"the archive of {unpacked / folder} is not here: bring it with --verify --archive FILE"
            left |= {row.media: why for row in wanted.values()}
            continue
        left |= _extract_members(archive, wanted, root)
    return left


def _extract_members(archive: Path, wanted: Mapping[PurePosixPath, MediaRow], scratch: Path) -> dict[str, str]:
    """Extract some members over their files; those that are in an archive inside this one from there."""
    left = {row.media: f"{archive} holds no such file" for row in wanted.values()}

    def write(member: Member, content: Iterator[bytes]) -> bool:
        row = wanted[member.path]
        try:
            _replace(row, content)
        except (*DAMAGE, OSError) as error:
            left[row.media] = f"{archive}: {error or type(error).__name__}"
            return False
        left.pop(row.media, None)
        return True

    try:
        with open_archive(archive) as opened:
            for _ in opened.read([member for member in opened.members if member.path in wanted], write):
                pass
            for member in opened.members:
                folder = member.path.with_name(folder_name(Path(member.path.name)))
                inner = {path.relative_to(folder): row for path, row in wanted.items() if folder in path.parents}
                if inner and is_archive(Path(member.path.name)):
                    trouble = _extract_inner(opened.read, member, inner, scratch)
                    left = {media: why for media, why in left.items() if media not in {r.media for r in inner.values()}}
                    left |= trouble
    except ArchiveError as error:
        left = dict.fromkeys(left, str(error))
    return left


def _extract_inner(
    read: Callable[[Sequence[Member], Write], Iterator[None]],
    member: Member,
    wanted: Mapping[PurePosixPath, MediaRow],
    scratch: Path,
) -> dict[str, str]:
    """Take an archive out of another into a hidden folder under `scratch`, and the wanted members out of it."""
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".again-") as folder:
        archive = Path(folder, member.path.name)
        trouble = ""

        def write(_: Member, content: Iterator[bytes]) -> bool:
            nonlocal trouble
            try:
                with open(archive, "wb") as handle:
                    handle.writelines(content)
            except (*DAMAGE, OSError) as error:
                trouble = f"{member.path}: {error or type(error).__name__}"
            return not trouble

        for _ in read([member], write):
            pass
        if trouble:
            return {row.media: trouble for row in wanted.values()}
        return _extract_members(archive, wanted, scratch)


def _replace(row: MediaRow, content: Iterator[bytes]) -> None:
    """Write a file anew, if the content is the recorded one; BadZipFile, as the other damage is called, if it is not."""
    path, found, size = Path(row.file), hashlib.sha256(), 0
    with replacing(path, "wb") as handle:
        for block in content:
            size += len(block)
            if size > row.bytes:
                break
            found.update(block)
            handle.write(block)
        if found.hexdigest() != row.sha256 or size != row.bytes:
            raise zipfile.BadZipFile("what it holds is not what was recorded")
    os.utime(path, ns=(row.mtime_ns, row.mtime_ns))
