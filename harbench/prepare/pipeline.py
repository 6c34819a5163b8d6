"""`prepare`: from archives or the user's own folder to media under official names and a frame cache."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from harbench import paths
from harbench.datasets.tables import class_numbers
from harbench.errors import CacheError, MediaError
from harbench.recipe.shipped import recipe_to_try
from harbench.records import Archive, DatasetSpec, MediaMatch, SplitTable, Track, silent

if TYPE_CHECKING:
    from harbench.frames.decode import Decoder
    from harbench.prepare.own import OwnOptions
    from harbench.prepare.transfer import FetchConfig
    from harbench.recipe import CacheConfig


@dataclass(frozen=True)
class FetchPlan:
    """One archive that a dry run says would be fetched."""

    name: str
    urls: tuple[str, ...]
    size: str
    """What is known of its size and time, for people."""
    there: int
    """Bytes that an earlier attempt left."""


@dataclass(frozen=True)
class PrepareReport:
    """What `prepare` found and did."""

    dataset: str
    splits: tuple[str, ...]
    media: int
    """Media that these splits need."""
    present: int
    missing: tuple[str, ...]
    extra: int
    """Files of the source that belong to no sample."""
    duplicated: Mapping[str, tuple[str, ...]]
    cached: int
    reused: int
    failed: Mapping[str, str]
    """Media that no decoder could read, with the decoder's own words."""
    noted: Mapping[str, str]
    """Media that are kept, and what their decoder noted: cut short, another number of frames than declared."""
    fetch: tuple[FetchPlan, ...]
    """Dry run only: archives that would be fetched."""
    fetched: tuple[str, ...]
    """Archives that were fetched and unpacked: they may be deleted."""
    free_bytes: int
    """Free space where the data home is."""
    cache: str
    """Folder of the frame cache; empty for a dry run."""
    cache_bytes: int
    """Size of the cache; for a dry run the estimate."""
    boxes: int
    """Person boxes read from the user's annotations."""
    seconds: float
    """Wall time; for a dry run the estimate of filling the cache."""
    next: str
    """What to type next."""
    notes: tuple[str, ...] = ()
    """Data of your own: how classes and splits came about, what was left out, what a split leaks."""

    @property
    def incomplete(self) -> int:
        """Media that are missing or failed: what `--ok-missing` counts."""
        return len(self.missing) + len(self.failed)


def prepare(
    name: str,
    *,
    home: Path,
    split: str = "all",
    source: Path | None = None,
    archives: Sequence[Path] = (),
    stream: str = "",
    encoding: str = "jpeg",
    bodies: str = "motion",
    quality: int = 90,
    short_side: int | str | None = None,
    classes: Sequence[str] = (),
    limit: int | None = None,
    workers: int = 2,
    decoder: str = "av",
    allow_missing: bool = False,
    insecure: bool = False,
    limit_rate: int | None = None,
    accept_hash: bool = False,
    urls: Sequence[str] = (),
    shard: str = "",
    own: OwnOptions | None = None,
    dry_run: bool = False,
    track: Track = silent,
) -> PrepareReport:
    """Bring the media of a data set under `<home>/<name>/media`, by official name, and build its frame cache.

    Media come from `source` (a folder in any layout, linked, not copied), from `archives`, from archives already under
    `<home>/<name>/archives`, are rendered where harbench makes the data set itself, or are fetched: from `urls`
    (`NAME=URL` or `URL`) and the publisher's mirrors, at most `limit_rate` bytes a second. `shard` (`2/8`) caches only
    every n-th block, so that several machines share the work. With `own`, `name` is a folder of the user's, which first
    becomes the data set `own.name`. Rerunning is a no-op; killing it anywhere loses no finished work.

    Raises:
        MediaError: media are missing and `allow_missing` is false; or there is no such decoder here.
        DownloadError: an archive could not be fetched. ArchiveError: one is damaged, hostile or not the known one.
        CacheError: the disk is too small for the cache, or full.
    """
    from harbench.datasets.tables import expand_splits, load_spec, load_split
    from harbench.frames.decoders import choose_decoder
    from harbench.prepare.local import ingest_local
    from harbench.prepare.poses import check_poses
    from harbench.prepare.transfer import FetchConfig

    started = time.monotonic()
    reads = choose_decoder(decoder)  # told before anything is fetched
    with ExitStack() as stack:
        dest = Path(stack.enter_context(TemporaryDirectory())) if own and dry_run else home  # a dry run writes nothing
        name, archives, notes = _adopted(name, own, home, dest, archives, track)
        spec = load_spec(name, dest)
        tables = tuple(load_split(name, each, dest) for each in expand_splits(spec, split, dest))
        cache = cache_config(
            spec, stream=stream, encoding=encoding, bodies=bodies, quality=quality, short_side=short_side
        )
        fetch = FetchConfig(insecure=insecure, limit_rate=limit_rate, accept_hash=accept_hash, urls=tuple(urls))
        wanted = _wanted(tables, classes, limit)
        job = _Job(
            spec, tables, dest, wanted, _of_shard(spec, dest, wanted, shard), fetch, cache, reads, workers, track
        )
        check_poses(spec, cache, home)
        if dry_run:
            plan = _plan(job, local=own is not None or bool(source or archives))
            there = str(paths.cache_folder(home, name, cache.name))
            return replace(plan, notes=notes, cache=there, free_bytes=free_bytes(home))
    match = ingest_local(
        spec, tables, home, wanted=wanted, source=source, archives=archives, fetch=fetch, allow_missing=allow_missing,
        workers=workers, track=track,
    )  # fmt: skip
    return replace(_cached(job, match, allow_missing), seconds=time.monotonic() - started, notes=notes)


@dataclass(frozen=True)
class _Job:
    """One preparation, resolved."""

    spec: DatasetSpec
    tables: tuple[SplitTable, ...]
    home: Path
    wanted: tuple[str, ...]
    """Media of these splits, in official order."""
    mine: tuple[str, ...]
    """Those of them that this process caches."""
    fetch: FetchConfig
    cache: CacheConfig
    reads: Decoder
    """Of videos."""
    workers: int
    track: Track

    @property
    def folder(self) -> Path:
        """Where the cache lies."""
        return paths.cache_folder(self.home, self.spec.name, self.cache.name)

    @property
    def splits(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(table.split for table in self.tables)


def _adopted(
    name: str, own: OwnOptions | None, home: Path, dest: Path, archives: Sequence[Path], track: Track
) -> tuple[str, Sequence[Path], tuple[str, ...]]:
    """The data set's name, its archives, and notes: of a user's folder, once it is a data set in the home `dest`."""
    from harbench.prepare.custom import adopt, refuse_nameless

    if own is None:
        refuse_nameless(name, home)
        return name, archives, ()
    return own.name, *adopt(Path(name), own, home, dest, track)


def _cached(job: _Job, match: MediaMatch, allow_missing: bool) -> PrepareReport:
    """Cache the media that were found, and write down what they are.

    Raises MediaError when some are missing that may not be.
    """
    from harbench.frames.cache import build_cache, open_cache, warn_of_cut_ranges
    from harbench.frames.fill import Decoding
    from harbench.frames.streams import STREAMS
    from harbench.prepare.download import fetched_archives
    from harbench.prepare.local import pose_files
    from harbench.prepare.poses import find_poses
    from harbench.prepare.recording import record_media

    spec, home, folder = job.spec, job.home, job.folder
    present: Mapping[str, Path] = {media: match.present[media] for media in job.wanted if media in match.present}
    undecoded: dict[str, str] = {}
    if not STREAMS[job.cache.stream].pictures:
        mine = {media: present[media] for media in job.mine if media in present}
        undecoded = find_poses(spec, mine, home, decoder=job.reads, workers=job.workers, track=job.track)
        present = pose_files(spec, present, home)
    known = {*present, *undecoded, *(match.present.keys() - set(job.mine))}  # the last: other shards'
    missing = tuple(media for media in job.wanted if media not in known)
    if missing and not allow_missing:
        raise MediaError(_missing_message(spec, job.splits, job.wanted, missing))
    mine = {media: present[media] for media in job.mine if media in present}
    order = official_order(spec, home)
    report = build_cache(mine, folder, job.cache, Decoding(job.workers, job.reads), order=order, track=job.track)
    record_media(spec, home, mine, folder, report, job.track)
    if report.done or report.reused:
        warn_of_cut_ranges((sample for table in job.tables for sample in table.samples), open_cache(folder))
    return PrepareReport(
        dataset=spec.name,
        splits=job.splits,
        media=len(job.wanted),
        present=len(present),
        missing=missing,
        extra=len(match.extra),
        duplicated=match.duplicated,
        cached=len(report.done),
        reused=len(report.reused),
        failed={**undecoded, **report.failed},
        noted=report.noted,
        fetch=(),
        fetched=tuple(map(str, fetched_archives(paths.archives_folder(home, spec.name)))) if not missing else (),
        free_bytes=free_bytes(home),
        cache=str(folder),
        cache_bytes=_size(folder),
        boxes=_boxes_here(spec, home),
        seconds=0.0,
        next=recipe_to_try(spec, job.cache.stream, incomplete=bool(missing)),
    )


def cache_config(
    spec: DatasetSpec,
    *,
    stream: str,
    encoding: str,
    bodies: str,
    quality: int,
    short_side: int | str | None,
) -> CacheConfig:
    """The cache that the options ask for. Default: the stream that the media are; 128 pixels for video, stills native."""
    from pydantic import ValidationError

    from harbench.recipe import CacheConfig

    default = "native" if spec.modality == "image" else 128
    values = {
        "stream": stream or ("pose" if spec.modality == "pose" else "rgb"),
        "encoding": encoding,
        "bodies": bodies,
        "quality": quality,
        "short_side": short_side or default,
    }
    try:
        return CacheConfig.model_validate(values)
    except ValidationError as error:
        found = "; ".join(f"--{str(item['loc'][0]).replace('_', '-')}: {item['msg']}" for item in error.errors())
        raise CacheError(f"there is no such cache: {found}") from None


def official_order(spec: DatasetSpec, home: Path) -> tuple[str, ...]:
    """All media of a data set in official order: what cache blocks are counted by, whatever split is prepared."""
    from harbench.datasets.tables import load_split

    return tuple(dict.fromkeys(media for each in spec.splits for media in load_split(spec.name, each, home).media()))


def _wanted(tables: Sequence[SplitTable], classes: Sequence[str], limit: int | None) -> tuple[str, ...]:
    """The media of these splits, of some classes or the first few only."""
    chosen = class_numbers(tables[0], classes) or range(len(tables[0].classes))
    media = (sample.media for table in tables for sample in table.samples if sample.target in chosen)
    return tuple(dict.fromkeys(media))[:limit]


def _plan(job: _Job, *, local: bool) -> PrepareReport:
    """What a dry run says: what is there already, what would be fetched, and how big the cache gets. Asks no server."""
    from harbench.frames.cache import estimate_cache_bytes, estimate_cache_seconds
    from harbench.prepare.recording import known_failures

    spec, home, wanted, cache = job.spec, job.home, job.wanted, job.cache
    media = paths.media_folder(home, spec.name)
    here = {name for name in wanted if (media / name).exists()}
    fetched = not local and not spec.rendered and len(here) < len(wanted)
    return PrepareReport(
        dataset=spec.name,
        splits=job.splits,
        media=len(wanted),
        present=len(here),
        missing=tuple(name for name in wanted if name not in here),
        extra=0,
        duplicated={},
        cached=0,
        reused=0,
        failed={media: why for media, why in known_failures(home, spec.name, cache.name).items() if media in wanted},
        noted={},
        fetch=_fetch_plan(spec, home, job.fetch) if fetched else (),
        fetched=(),
        free_bytes=free_bytes(home),
        cache=str(job.folder),
        cache_bytes=estimate_cache_bytes(len(wanted), cache, unit=spec.unit),
        boxes=_boxes_here(spec, home),
        seconds=estimate_cache_seconds(len(wanted), cache, unit=spec.unit, workers=job.workers),
        next="the same command without --dry-run",
    )


def _fetch_plan(spec: DatasetSpec, home: Path, fetch: FetchConfig) -> tuple[FetchPlan, ...]:
    """The archives that are not here yet; of those that hold the same media the first."""
    from harbench.prepare.download import archive_groups, can_fetch
    from harbench.prepare.transfer import part_of

    folder = paths.archives_folder(home, spec.name)
    plans = []
    for group in archive_groups(spec, fetch.urls) if can_fetch(spec, fetch.urls) else ():
        if any((folder / archive.name).exists() for archive in group):
            continue
        part = part_of(folder / group[0].name)
        there = part.stat().st_size if part.exists() else 0
        urls = tuple(url for archive in group for url in archive.urls)
        plans.append(FetchPlan(group[0].name, urls, _fetch_size(spec, group[0], there, fetch.limit_rate), there))
    return tuple(plans)


def _fetch_size(spec: DatasetSpec, archive: Archive, there: int, limit_rate: int | None) -> str:
    if archive.bytes is None:
        return f"{spec.size or 'unknown'}, the whole data set"
    rate = limit_rate or 10_000_000
    return f"{archive.bytes / 1e9:.2f} GB, {(archive.bytes - there) / rate / 60:.0f} min at {rate / 1e6:.1f} MB/s"


def free_bytes(home: Path) -> int:
    """Free space where the data home is, or will be."""
    there = next(folder for folder in (home, *home.resolve().parents) if folder.exists())
    return shutil.disk_usage(there).free


def _of_shard(spec: DatasetSpec, home: Path, wanted: tuple[str, ...], shard: str) -> tuple[str, ...]:
    """The media in every n-th block of the cache, counted from the i-th, for the shard `i/n`."""
    from harbench.frames.blocks import BLOCK

    if not shard:
        return wanted
    number, _, count = shard.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise CacheError(f"--shard {shard}: expected i/n with i from 1 to n, e.g. 2/8")
    mine = {
        media
        for index, media in enumerate(official_order(spec, home))
        if index // BLOCK % int(count) == int(number) - 1
    }
    return tuple(media for media in wanted if media in mine)


def _missing_message(spec: DatasetSpec, chosen: Sequence[str], wanted: Sequence[str], missing: Sequence[str]) -> str:
    shown = "\n".join(f"  {media}" for media in missing[:5]) + ("\n  ..." if len(missing) > 5 else "")
    lines = [
        f"{len(missing)} of the {len(wanted)} media of {spec.title} ({', '.join(chosen[:4])}) were not found:",
        shown,
    ]
    if spec.registration:
        lines.append(spec.registration)
    elif spec.archives:
        lines.append("Get " + ", ".join(archive.name for archive in spec.archives) + f" ({spec.size}) by hand:")
        lines += [f"  {url}" for archive in spec.archives for url in archive.urls]
    lines += [
        f"then say   harbench prepare {spec.name} --archive FILE   (may be repeated)",
        f"or, where they are extracted in any layout,   harbench prepare {spec.name} --from DIR",
        "or add --allow-missing to go on with what is there: the rest then counts as wrong, and results are partial.",
    ]
    return "\n".join(lines)


def _boxes_here(spec: DatasetSpec, home: Path) -> int:
    from harbench.prepare.boxes import boxes_file, load_boxes

    return len(load_boxes(home, spec.name)) if spec.boxes and boxes_file(home, spec.name).exists() else 0


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
