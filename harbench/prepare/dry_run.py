"""`prepare --dry-run`: what is there already, what would be fetched, and how big the cache gets. Asks no server."""

from __future__ import annotations

from pathlib import Path

from harbench import paths
from harbench.frames.cache import estimate_cache_bytes, estimate_cache_seconds
from harbench.prepare.download import archive_groups, can_fetch
from harbench.prepare.job import FetchPlan, Job, PrepareReport, boxes_here, free_bytes
from harbench.prepare.manifest import known_failures
from harbench.prepare.transfer import FetchConfig, part_of
from harbench.records import Archive, DatasetSpec


def plan(job: Job, *, local: bool) -> PrepareReport:
    """What the preparation would do; `local`: the user brings the media, so that nothing is fetched."""
    spec, home, wanted, cache = job.spec, job.home, job.wanted, job.cache
    media = paths.media_folder(home, spec.name)
    missing = tuple(name for name in wanted if not (media / name).exists())
    failures = known_failures(home, spec.name, cache.name)
    return PrepareReport(
        dataset=spec.name,
        splits=job.splits,
        media=len(wanted),
        present=len(wanted) - len(missing),
        missing=missing,
        failed={name: failures[name] for name in wanted if name in failures},
        fetch=() if local or spec.rendered or not missing else _fetch_plans(spec, home, job.fetch),
        free_bytes=free_bytes(home),
        cache=str(job.folder),
        cache_bytes=estimate_cache_bytes(len(wanted), cache, unit=spec.unit),
        boxes=boxes_here(spec, home),
        seconds=estimate_cache_seconds(len(wanted), cache, unit=spec.unit, workers=job.workers),
        next="the same command without --dry-run",
    )


def _fetch_plans(spec: DatasetSpec, home: Path, fetch: FetchConfig) -> tuple[FetchPlan, ...]:
    """The archives that are not here yet; of those that hold the same media the first."""
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
