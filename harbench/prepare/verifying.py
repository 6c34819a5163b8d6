"""`prepare --verify`: finds what broke in media and frame caches, mends exactly that, and names what only the user can mend."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from harbench import paths
from harbench.errors import MediaError
from harbench.files import locked
from harbench.prepare.verify import MediaRow, damage_of, extract_again, manifest_path, read_manifest
from harbench.records import DatasetSpec, Track, silent

if TYPE_CHECKING:
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


def verify(
    name: str,
    *,
    home: Path,
    archives: Sequence[Path] = (),
    workers: int = 2,
    decoder: str = "av",
    track: Track = silent,
) -> VerifyReport:
    """Hold all media of a prepared data set against `media.csv`, and its caches against their checksums; mend what broke.

    What harbench extracted is extracted again from the archives that are still there or given, one file at a time; links
    are made again; frames are decoded again from media whose SHA-256 holds. The user's own files are named, and left. What
    is whole is only read. A cache folder that was deleted altogether is taken as removed on purpose.

    Raises MediaError when the data set was never prepared, or `media.csv` itself is damaged.
    """
    from harbench.datasets.tables import load_spec

    spec = load_spec(name, home)
    rows = read_manifest(manifest_path(home, name))
    if not rows:
        raise MediaError(
            f"nothing is recorded in {manifest_path(home, name)} to verify {name} by.\nMake it:  harbench prepare {name}"
        )
    damaged, left = _mend_media(spec, rows, home, archives, track)
    checked = len(rows)
    folders = sorted(path for path in paths.cache_folder(home, name, "").glob("*") if path.is_dir())
    for folder in folders:
        read, wrong, still = _mend_cache(spec, rows, left, folder, home, workers, decoder, track)
        checked, damaged, left = checked + read, damaged | wrong, left | still
    return VerifyReport(name, checked, damaged, tuple(what for what in damaged if what not in left), left)


def _mend_media(
    spec: DatasetSpec, rows: Mapping[str, MediaRow], home: Path, archives: Sequence[Path], track: Track
) -> tuple[dict[str, str], dict[str, str]]:
    """Check every file, put back those of harbench's own, and make lost links again. Returns what was wrong, what is left."""
    from harbench.prepare.download import known_archives
    from harbench.prepare.match import link_media

    media, unpacked = paths.media_folder(home, spec.name), home / spec.name / "unpacked"
    broken = {row.media: why for row in track(rows.values(), "checking media", len(rows)) if (why := damage_of(row))}
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
            trouble = extract_again([rows[name] for name in own], unpacked, known)
        left |= {name: f"{broken[name]}; {why}" for name, why in trouble.items()}
    official = _official(spec, home)
    unlinked = [name for name in rows if name in official and name not in left and not (media / name).exists()]
    link_media({name: Path(rows[name].file) for name in unlinked}, media)
    return dict.fromkeys(unlinked, "its link is gone") | broken, left


def _mend_cache(
    spec: DatasetSpec,
    rows: Mapping[str, MediaRow],
    broken: Mapping[str, str],
    folder: Path,
    home: Path,
    workers: int,
    decoder: str,
    track: Track,
) -> tuple[int, dict[str, str], dict[str, str]]:
    """Take what broke out of a cache and decode it again. Returns how many media it read, what was wrong, what is left."""
    from harbench.frames.blocks import BLOCK, block_of, read_entries
    from harbench.frames.cache import build_cache
    from harbench.frames.damage import mend_block
    from harbench.frames.decoders import choose_decoder
    from harbench.frames.fill import Decoding
    from harbench.recipe import CacheConfig

    config = CacheConfig.parse(folder.name)
    if config is None:
        _LOG.warning("%s is no frame cache of harbench's; it was left alone", folder)
        return 0, {}, {}
    official = _official(spec, home)
    expected: dict[int, list[str]] = defaultdict(list, {block_of(path): [] for path in folder.glob("frames-*.*")})
    name_of = {media: _cached_name(spec, media, config) for media in official}
    for media, place in official.items():
        row = rows.get(name_of[media])
        if row is not None and folder.name in row.caches.split():
            expected[place // BLOCK].append(media)
    wrong: dict[str, str] = {}
    again: list[str] = []
    for block in track(sorted(expected), f"checking {folder.name}", len(expected)):
        found = mend_block(folder, block, expected[block])
        again += found.media
        wrong |= {f"{folder.name}/{media}": why for media, why in found.media.items()}
        if found.other:
            wrong[f"{folder.name}/frames-{block}"] = "; ".join(found.other)
    sound = {m: Path(rows[n].file) for m in again if (n := name_of.get(m, m)) in rows and n not in broken}
    left = {
        f"{folder.name}/{media}": f"{wrong[f'{folder.name}/{media}']}; its frames are made again once its media is whole: "
        f"harbench prepare {spec.name} --verify" if name_of.get(media, media) in rows
        else f"nothing is recorded of its media: harbench prepare {spec.name} makes its frames again"
        for media in again if media not in sound
    }  # fmt: skip
    report = build_cache(
        sound, folder, config, Decoding(workers, choose_decoder(decoder)), order=tuple(official), track=track
    )
    left |= {f"{folder.name}/{media}": why for media, why in report.failed.items()}
    return sum(len(read_entries(folder, block)) for block in expected), wrong, left


def _cached_name(spec: DatasetSpec, media: str, config: CacheConfig) -> str:
    """Under what name the file is recorded that a cache's frames of a media were made from."""
    from harbench.frames.streams import STREAMS
    from harbench.prepare.local import pose_suffix

    beside = not STREAMS[config.stream].pictures and spec.modality != "pose"
    return str(PurePosixPath(media).with_suffix("")) + pose_suffix(spec) if beside else media


def _official(spec: DatasetSpec, home: Path) -> dict[str, int]:
    """All media in official order -> their place in it."""
    from harbench.prepare.pipeline import official_order

    return {media: place for place, media in enumerate(official_order(spec, home))}
