"""`prepare --verify`: finds what broke in media and frame caches, repairs exactly that, and names what only the user can.

A media that harbench extracted is extracted again, alone; a file of the user's is never touched.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from harbench import paths
from harbench.errors import ArchiveError, MediaError
from harbench.files import locked, sha256
from harbench.prepare.archives import folder_name
from harbench.prepare.download import known_archives
from harbench.prepare.manifest import MediaRow, manifest_path, read_manifest
from harbench.prepare.match import link_media
from harbench.prepare.poses import pose_suffix
from harbench.prepare.unpack import unpack
from harbench.records import DatasetSpec, Track, silent

if TYPE_CHECKING:
    from harbench.frames.decode import Decoder
    from harbench.recipe import CacheConfig

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class VerifyReport:
    """What `prepare --verify` found and did. Media by official path, cached frames by cache and official path."""

    dataset: str
    checked: int
    """Media, and media in caches, that were read."""
    damaged: Mapping[str, str]
    """What was found -> what was wrong with it."""
    repaired: tuple[str, ...]
    left: Mapping[str, str]
    """What is still wrong -> why, and what to do."""


@dataclass(frozen=True)
class _Job:
    """A prepared data set, and how it is read."""

    spec: DatasetSpec
    home: Path
    rows: Mapping[str, MediaRow]
    official: Mapping[str, int]
    """All media in official order -> their place in it."""
    reads: Decoder
    workers: int
    track: Track


def verify(
    name: str,
    *,
    home: Path,
    archives: Sequence[Path] = (),
    workers: int = 2,
    decoder: str = "av",
    track: Track = silent,
) -> VerifyReport:
    """Compare all media of a prepared data set with `media.csv`, and its caches with their checksums; repair what broke.

    What harbench extracted is extracted again from the archives that are still there or given, one file at a time; links
    are made again; frames are decoded again from media whose SHA-256 is as recorded. The user's own files are named, and
    left. What is whole is only read. A cache folder that was deleted altogether is taken as removed on purpose.

    Raises MediaError when the data set was never prepared, or `media.csv` itself is damaged.
    """
    from harbench.datasets.tables import load_spec
    from harbench.frames.decoders import choose_decoder
    from harbench.prepare.pipeline import official_order

    spec = load_spec(name, home)
    rows = read_manifest(manifest_path(home, name))
    if not rows:
        raise MediaError(
            f"nothing is recorded in {manifest_path(home, name)} to verify {name} by.\nMake it:  harbench prepare {name}"
        )
    official = {media: place for place, media in enumerate(official_order(spec, home))}
    job = _Job(spec, home, rows, official, choose_decoder(decoder), workers, track)
    damaged, left = _repair_media(job, archives)
    checked = len(rows)
    for folder in sorted(path for path in paths.cache_folder(home, name, "").glob("*") if path.is_dir()):
        read, wrong, still = _repair_cache(job, folder, left)
        checked, damaged, left = checked + read, damaged | wrong, left | still
    return VerifyReport(name, checked, damaged, tuple(what for what in damaged if what not in left), left)


# ---------------------------------------------------------------------------------------------------------- the media
def _repair_media(job: _Job, archives: Sequence[Path]) -> tuple[dict[str, str], dict[str, str]]:
    """Check every file, extract harbench's own again, and restore links. Returns what was wrong, and what is left."""
    spec, home, rows = job.spec, job.home, job.rows
    media, unpacked = paths.media_folder(home, spec.name), home / spec.name / "unpacked"
    broken = {
        row.media: why for row in job.track(rows.values(), "checking media", len(rows)) if (why := damage_of(row))
    }
    own = {name for name in broken if Path(rows[name].file).is_relative_to(unpacked.resolve())}
    left = {
        name: f"{why}; {rows[name].file} is yours and was left alone: bring it back, or, if it is to be the new one, "
        f"harbench prepare {spec.name}"
        for name, why in broken.items()
        if name not in own
    }
    if own:
        known = [*archives, *known_archives(spec, paths.archives_folder(home, spec.name))]
        with locked(home / spec.name / ".unpack.lock"):
            trouble = extract_again(spec, [rows[name] for name in own], unpacked, known)
        left |= {name: f"{broken[name]}; {why}" for name, why in trouble.items()}
    unlinked = [name for name in rows if name in job.official and name not in left and not (media / name).exists()]
    link_media({name: Path(rows[name].file) for name in unlinked}, media)
    return dict.fromkeys(unlinked, "its link is gone") | broken, left


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


def extract_again(
    spec: DatasetSpec, rows: Collection[MediaRow], unpacked: Path, archives: Sequence[Path]
) -> dict[str, str]:
    """Put back files under the folder `unpacked`, each from the archive that its folder was extracted from.

    A file is replaced only by one of the recorded SHA-256, and gets its old modification time, so that caches stay valid.
    Nothing else is touched. Returns the media that could not be put back, each with the reason.
    """
    by_folder: dict[str, dict[PurePosixPath, MediaRow]] = defaultdict(dict)
    for row in rows:
        inside = Path(row.file).relative_to(unpacked.resolve())
        by_folder[inside.parts[0]][PurePosixPath(*inside.parts[1:])] = row
    left: dict[str, str] = {}
    for folder, wanted in by_folder.items():
        archive = next((path for path in archives if path.is_file() and folder_name(path) == folder), None)
        if archive is None:
            why = f"the archive of {unpacked / folder} is not here: bring it with --verify --archive FILE"
            left |= {row.media: why for row in wanted.values()}
            continue
        unpacked.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=unpacked, prefix=".again-") as scratch:
            try:
                [fresh] = unpack(spec, [archive], Path(scratch), allow_damaged=True, only=frozenset(wanted))
            except ArchiveError as error:
                left |= {row.media: str(error) for row in wanted.values()}
                continue
            left |= {row.media: why for path, row in wanted.items() if (why := _put_back(fresh / path, row, archive))}
    return left


def _put_back(fresh: Path, row: MediaRow, archive: Path) -> str:
    """Move a file that was extracted again over its damaged one; why it could not be, or nothing."""
    if not fresh.is_file():
        return f"{archive} holds no such file, or a damaged one"
    if sha256(fresh) != row.sha256:
        return f"{archive}: what it holds is not what was recorded"
    os.utime(fresh, ns=(row.mtime_ns, row.mtime_ns))
    Path(row.file).parent.mkdir(parents=True, exist_ok=True)
    os.replace(fresh, row.file)
    return ""


# --------------------------------------------------------------------------------------------------------- the caches
def _repair_cache(job: _Job, folder: Path, broken: Mapping[str, str]) -> tuple[int, dict[str, str], dict[str, str]]:
    """Take what broke out of a cache and decode it again. Returns how many media it read, what was wrong, what is left."""
    from harbench.frames.blocks import BLOCK, block_of, read_entries
    from harbench.frames.cache import build_cache
    from harbench.frames.damage import mend_block
    from harbench.frames.fill import Decoding
    from harbench.recipe import CacheConfig

    config = CacheConfig.parse(folder.name)
    if config is None:
        _LOG.warning("%s is no frame cache of harbench's; it was left alone", folder)
        return 0, {}, {}
    name_of = {media: _recorded_name(job.spec, media, config) for media in job.official}
    expected: dict[int, list[str]] = defaultdict(list, {block_of(path): [] for path in folder.glob("frames-*.*")})
    for media, place in job.official.items():
        row = job.rows.get(name_of[media])
        if row is not None and folder.name in row.caches.split():
            expected[place // BLOCK].append(media)
    wrong: dict[str, str] = {}
    lost: dict[str, str] = {}
    for block in job.track(sorted(expected), f"checking {folder.name}", len(expected)):
        found = mend_block(folder, block, expected[block])
        lost |= found.media
        if found.other:
            wrong[f"{folder.name}/frames-{block}"] = "; ".join(found.other)
    sound, left = {}, {}
    for media, why in lost.items():
        row = job.rows.get(name_of.get(media, media))
        if row is None:
            left[media] = f"nothing is recorded of its media: harbench prepare {job.spec.name} makes its frames again"
        elif row.media in broken:
            left[media] = f"{why}; first repair its media, then:  harbench prepare {job.spec.name} --verify"
        else:
            sound[media] = Path(row.file)
    order = tuple(job.official)
    report = build_cache(sound, folder, config, Decoding(job.workers, job.reads), order=order, track=job.track)
    left |= report.failed
    read = sum(len(read_entries(folder, block)) for block in expected)
    wrong |= {f"{folder.name}/{media}": why for media, why in lost.items()}
    return read, wrong, {f"{folder.name}/{media}": why for media, why in left.items()}


def _recorded_name(spec: DatasetSpec, media: str, config: CacheConfig) -> str:
    """The name under which the file is recorded that a cache's frames of a media were made from."""
    from harbench.frames.streams import STREAMS

    beside = not STREAMS[config.stream].pictures and spec.modality != "pose"
    return str(PurePosixPath(media).with_suffix("")) + pose_suffix(spec) if beside else media
