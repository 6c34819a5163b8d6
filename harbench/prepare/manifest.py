"""What the media of a data set were when they were prepared: `media.csv`, one row a media, and `failed.csv`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from harbench.errors import MediaError
from harbench.files import csv_cell, csv_text, locked, replacing, sha256
from harbench.prepare.poses import pose_suffix
from harbench.records import CacheReport, DatasetSpec, Track, silent

if TYPE_CHECKING:
    import pandas as pd

_LOG = logging.getLogger(__name__)
_FAILED = ("cache", "media", "reason")


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


def manifest_path(home: Path, dataset: str) -> Path:
    """`<home>/<dataset>/media.csv`."""
    return home / dataset / "media.csv"


def read_manifest(path: Path) -> dict[str, MediaRow]:
    """The rows by media; none where there is no file. Raises MediaError when it is damaged."""
    kinds = {field.name: str(field.type) for field in fields(MediaRow)}
    table = _read(path, list(kinds))
    try:
        table["variable"] = table["variable"] == "True"
        table = table.astype({name: kind for name, kind in kinds.items() if kind in ("int", "float")})
    except (ValueError, OverflowError) as error:
        raise _damaged(path, error) from None
    return {str(row["media"]): MediaRow(**row) for row in table.to_dict("records")}


def write_manifest(path: Path, rows: Mapping[str, MediaRow]) -> None:
    """Write the rows, sorted by media, whole or not at all."""
    import pandas as pd

    columns = [field.name for field in fields(MediaRow)]
    _write(path, pd.DataFrame([asdict(rows[media]) for media in sorted(rows)], columns=columns))


def read_failed(home: Path, dataset: str) -> dict[tuple[str, str], str]:
    """(cache, media) -> the decoder's message, from `<home>/<dataset>/failed.csv`; nothing where there is no such file."""
    table = _read(home / dataset / "failed.csv", _FAILED)
    return {(row["cache"], row["media"]): row["reason"] for row in table.to_dict("records")}


def write_failed(home: Path, dataset: str, failed: Mapping[tuple[str, str], str]) -> None:
    """Write what no decoder could read; no file where that is nothing."""
    import pandas as pd

    path = home / dataset / "failed.csv"
    if not failed:
        path.unlink(missing_ok=True)
        return
    _write(path, pd.DataFrame([(*key, failed[key]) for key in sorted(failed)], columns=_FAILED))


def known_failures(home: Path, dataset: str, cache: str) -> dict[str, str]:
    """Media that no decoder could read for this cache -> the decoder's message."""
    return {media: why for (where, media), why in read_failed(home, dataset).items() if where == cache}


def _read(path: Path, columns: list[str] | tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding_errors="surrogateescape")
    except FileNotFoundError:
        return pd.DataFrame(columns=list(columns), dtype=str)
    except (ValueError, OSError) as error:
        raise _damaged(path, error) from None
    if list(table.columns) != list(columns) or table.isna().any(axis=None):
        raise _damaged(path, f"expected the columns {', '.join(columns)}, with a cell of each in every line")
    return table.map(csv_text)


def _damaged(path: Path, why: object) -> MediaError:
    return MediaError(f"{path} is damaged ({why}). Delete it and prepare again: what is there then counts as whole")


def _write(path: Path, table: pd.DataFrame) -> None:
    text = table.map(csv_cell).to_csv(index=False, lineterminator="\n")
    with replacing(path, "wb") as handle:
        handle.write(text.encode("utf-8", "surrogateescape"))


# ---------------------------------------------------------------------------------------------------------- recording
def hashed(files: Mapping[str, Path], known: Mapping[str, MediaRow], *, track: Track = silent) -> dict[str, MediaRow]:
    """The rows of `files` (media -> file). Only files that are new, or of another size or time than known, are read.

    A file that is not there, or cannot be read, has no row.
    """
    rows, new = {}, {}
    for media, path in files.items():
        if not path.is_file():
            continue
        about, before = path.stat(), known.get(media)
        now = (about.st_size, about.st_mtime_ns, str(path.resolve()))
        if before is not None and (before.bytes, before.mtime_ns, before.file) == now:
            rows[media] = before
        else:
            new[media] = MediaRow(media, about.st_size, about.st_mtime_ns, "", now[2])
    changed = []
    for media, row in track(new.items(), "hashing media", len(new)):
        try:
            row = replace(row, sha256=sha256(Path(row.file)))
        except OSError as error:
            _LOG.warning("%s cannot be read (%s), so nothing is recorded of %s", row.file, error.strerror, media)
            continue
        before = known.get(media)
        if before is not None and before.sha256 == row.sha256:
            row = replace(before, bytes=row.bytes, mtime_ns=row.mtime_ns, file=row.file)
        elif before is not None:
            changed.append(media)
        rows[media] = row
    if changed:
        _LOG.warning("%d media are other files than before: %s", len(changed), ", ".join(changed[:5]))
    return rows


def record_media(
    spec: DatasetSpec, home: Path, files: Mapping[str, Path], cache: Path, report: CacheReport, track: Track = silent
) -> None:
    """Record in `media.csv` and `failed.csv` what `files` (media -> decoded file) are and became in the folder `cache`.

    What is recorded of other media stays; a file that is neither new nor changed is not read again.
    """
    path = manifest_path(home, spec.name)
    with locked(path.with_name(".media.csv.lock")):
        before = read_manifest(path)
        named = {row_name(spec, media, file): media for media, file in files.items()}
        rows = hashed({name: files[media] for name, media in named.items()}, before, track=track)
        cached = {*report.done, *report.reused}
        stale = {
            media: name
            for name, media in named.items()
            if name in rows and media in cached
            if media in report.done or cache.name not in rows[name].caches.split()
        }
        rows |= _with_decoded(rows, stale, cache)
        if any(before.get(name) != row for name, row in rows.items()):
            write_manifest(path, before | rows)
        failed = read_failed(home, spec.name)
        kept = {key: why for key, why in failed.items() if key[0] != cache.name or key[1] not in files}
        kept |= {(cache.name, media): why for media, why in report.failed.items()}
        if kept != failed:
            write_failed(home, spec.name, kept)


def row_name(spec: DatasetSpec, media: str, file: Path) -> str:
    """The name under which a file is recorded: its media's, or that of the joints that lie beside it."""
    beside = spec.modality != "pose" and file.name.endswith(pose_suffix(spec))
    return str(PurePosixPath(media).with_suffix("")) + pose_suffix(spec) if beside else media


def _with_decoded(rows: Mapping[str, MediaRow], stale: Mapping[str, str], cache: Path) -> dict[str, MediaRow]:
    """The rows of the `stale` media (media -> name), with what the cache says of them.

    Frame count and size are not taken from flow, which has a frame less, nor from chosen bodies, where frames without
    anybody may be left out.
    """
    from harbench.frames.blocks import block_of, read_entries

    found = {}
    for index in cache.glob("frames-*.idx") if stale else ():
        for media, entry in read_entries(cache, block_of(index)).items():
            if media not in stale:
                continue
            row = rows[stale[media]]
            row = replace(row, caches=" ".join(sorted({*row.caches.split(), cache.name})), note=entry.note or row.note)
            if not cache.name.startswith(("flow", "pose-")):
                seconds = round(entry.frames / entry.fps, 3) if entry.fps else 0.0
                row = replace(
                    row, frames=entry.frames, fps=entry.fps, width=entry.source_width, height=entry.source_height,
                    seconds=seconds, variable=entry.variable, note=entry.note,
                )  # fmt: skip
            found[stale[media]] = row
    return found
