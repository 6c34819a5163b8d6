"""`prepare`: from archives or the user's own folder to media under official names and a frame cache."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from harbench import paths
from harbench.datasets.tables import class_numbers, dataset_names, expand_splits, load_spec, load_split
from harbench.errors import CacheError, MediaError
from harbench.prepare.plan import Job, PrepareReport, boxes_here, free_bytes
from harbench.records import DatasetSpec, MediaMatch, SplitTable, Track, silent

if TYPE_CHECKING:
    from harbench.prepare.own import OwnOptions
    from harbench.recipe import CacheConfig, Recipe


def prepare(
    name: str,
    *,
    home: Path,
    split: str = "",
    recipe: str | Recipe = "",
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
    pose_model: Path | None = None,
    persons: int = 1,
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
    (`NAME=URL` or `URL`) and the publisher's mirrors, at most `limit_rate` bytes a second. With `recipe` (a path or name)
    the split, the classes and the cache are those that it reads; else all splits are prepared. `shard` (`2/8`) caches
    only every n-th block, so that several machines share the work. With `own`, `name` is a folder of the user's, which
    first becomes the data set `own.name`. Rerunning is a no-op; killing it anywhere loses no finished work.

    Raises:
        MediaError: media are missing and `allow_missing` is false; or there is no such decoder here.
        RecipeError: the recipe has a problem, or is of another data set.
        DownloadError: an archive could not be fetched. ArchiveError: one is damaged, hostile or not the known one.
        CacheError: the disk is too small for the cache, or full.
    """
    from harbench.frames.decoders import choose_decoder
    from harbench.prepare.ingest import IngestConfig, ingest
    from harbench.prepare.lists import without_lists, write_table
    from harbench.prepare.plan import missing_media, needed_caches, plan, recipe_of, run_command
    from harbench.prepare.poses import check_poses, pose_config
    from harbench.prepare.transfer import FetchConfig

    started = time.monotonic()
    reads = choose_decoder(decoder)  # its error comes before anything is fetched
    cache_options = {
        "stream": stream, "encoding": encoding, "bodies": bodies, "quality": quality, "short_side": short_side
    }  # fmt: skip
    fetch = FetchConfig(insecure=insecure, limit_rate=limit_rate, accept_hash=accept_hash, urls=tuple(urls))
    with ExitStack() as stack:
        listed = not own and name in dataset_names() and bool(load_spec(name).lists)
        kept = not dry_run or not (own or listed)  # a dry run writes nothing
        dest = home if kept else Path(stack.enter_context(TemporaryDirectory()))
        name, archives, notes = _adopted(name, own, home, dest, archives, track)
        spec = load_spec(name, dest)
        if spec.lists:
            notes = write_table(spec, home, dest, [*archives, *filter(None, [source])], fetch, track)
            archives = without_lists(spec, archives)
        chosen = recipe_of(name, recipe) if recipe else None
        given_split = split
        if chosen is not None:
            split, classes = split or chosen.data.split or spec.splits[0], classes or chosen.data.classes
        tables = tuple(load_split(name, each, dest) for each in expand_splits(spec, split or "all", dest))
        caches = needed_caches(chosen) if chosen is not None else [_cache_config(spec, cache_options)]
        wanted = _wanted(tables, classes, limit)
        job = Job(
            spec, tables, dest, wanted, _of_shard(spec, dest, wanted, shard), shard, fetch, caches[-1], reads, workers, track,
            pose_config(pose_model, persons, home),
        )  # fmt: skip
        for cache in caches:
            check_poses(spec, cache, job.poses)
        if dry_run:
            planned = plan(job, local=own is not None or bool(source or archives))
            there = str(paths.cache_folder(home, name, job.cache.name))
            return replace(planned, notes=notes, cache=there, free_bytes=free_bytes(home))
    config = IngestConfig(source, archives, fetch, allow_missing, workers)
    found = ingest(spec, tables, home, config, wanted=wanted, track=track)
    reports = [_cached(replace(job, cache=cache), found, allow_missing) for cache in caches]
    report = replace(
        reports[-1], notes=notes, failed={what: why for each in reports for what, why in each.failed.items()}
    )
    if chosen is not None and isinstance(recipe, str):
        lacking = report.incomplete if given_split else len(missing_media(chosen, home) or ())
        report = replace(report, next=run_command(recipe, given_split, lacking))
    return replace(report, seconds=time.monotonic() - started)


def _adopted(
    name: str, own: OwnOptions | None, home: Path, dest: Path, archives: Sequence[Path], track: Track
) -> tuple[str, Sequence[Path], tuple[str, ...]]:
    """The data set's name, its archives, and notes: of a user's folder, once it is a data set in the home `dest`."""
    from harbench.prepare.own_write import adopt, refuse_nameless

    if own is None:
        refuse_nameless(name, home)
        return name, archives, ()
    return own.name, *adopt(Path(name), own, home, dest, track)


def _cached(job: Job, found: MediaMatch, allow_missing: bool) -> PrepareReport:
    """Cache the media that were found, and record what they are.

    Raises MediaError when some are missing that may not be.
    """
    from harbench.frames.cache import build_cache, open_cache, warn_of_cut_ranges
    from harbench.frames.fill import Decoding
    from harbench.frames.streams import STREAMS
    from harbench.prepare.download import fetched_archives
    from harbench.prepare.manifest import record_media
    from harbench.prepare.plan import next_command
    from harbench.prepare.poses import find_poses, pose_files

    spec, home, folder = job.spec, job.home, job.folder
    present: Mapping[str, Path] = {media: found.present[media] for media in job.wanted if media in found.present}
    undecoded: dict[str, str] = {}
    if not STREAMS[job.cache.stream].pictures:
        mine = {media: present[media] for media in job.mine if media in present}
        undecoded = find_poses(spec, mine, home, job.poses, Decoding(job.workers, job.reads), track=job.track)
        present = pose_files(spec, present, home)
    of_other_shards = found.present.keys() - set(job.mine)
    known = {*present, *undecoded, *of_other_shards}
    missing = tuple(media for media in job.wanted if media not in known)
    if missing and not allow_missing:
        raise MediaError(_missing_message(job, missing))
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
        extra=len(found.extra),
        duplicated=found.duplicated,
        cached=len(report.done),
        reused=len(report.reused),
        failed={**undecoded, **report.failed},
        noted=report.noted,
        fetched=tuple(map(str, fetched_archives(paths.archives_folder(home, spec.name)))) if not missing else (),
        free_bytes=free_bytes(home),
        cache=str(folder),
        cache_bytes=sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
        boxes=boxes_here(spec, home),
        next=f"the other shards of {job.shard}"
        if job.shard
        else next_command(spec, job.cache.stream, job.splits, home),
    )


def _cache_config(spec: DatasetSpec, options: Mapping[str, Any]) -> CacheConfig:
    """The cache that the options ask for. Default: the stream that the media are; 128 pixels for video, images native."""
    from pydantic import ValidationError

    from harbench.recipe import CacheConfig

    stream = options["stream"] or ("pose" if spec.modality == "pose" else "rgb")
    short_side = options["short_side"] or ("native" if spec.modality == "image" else 128)
    try:
        return CacheConfig.model_validate({**options, "stream": stream, "short_side": short_side})
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


def _missing_message(job: Job, missing: Sequence[str]) -> str:
    spec = job.spec
    shown = "\n".join(f"  {media}" for media in missing[:5]) + ("\n  ..." if len(missing) > 5 else "")
    lines = [
        f"{len(missing)} of the {len(job.wanted)} media of {spec.title} ({', '.join(job.splits[:4])}) were not found:",
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
