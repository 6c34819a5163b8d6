"""One preparation: what it makes, what is there already, what it would fetch (`--dry-run`), and which recipe it serves."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harbench import paths
from harbench.errors import CacheError, RecipeError
from harbench.frames.cache import estimate_cache_bytes, estimate_cache_seconds
from harbench.prepare.download import archive_groups, can_fetch
from harbench.prepare.manifest import known_failures
from harbench.prepare.transfer import FetchConfig, part_of
from harbench.records import Archive, DatasetSpec, SplitTable, Track

if TYPE_CHECKING:
    from harbench.frames.decode import Decoder
    from harbench.frames.detectors import PoseConfig
    from harbench.prepare.transfer import FetchConfig
    from harbench.recipe import CacheConfig, Recipe


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
    """What `prepare` found and did, or would do."""

    dataset: str
    splits: tuple[str, ...]
    media: int
    """Media that these splits need."""
    present: int
    missing: tuple[str, ...]
    cache: str
    """Folder of the frame cache."""
    cache_bytes: int
    """Size of the cache; for a dry run the estimate."""
    free_bytes: int
    """Free space where the data home is."""
    boxes: int
    """Person boxes read from the user's annotations."""
    next: str
    """What to type next."""
    seconds: float = 0.0
    """Wall time; for a dry run the estimate of filling the cache."""
    extra: int = 0
    """Files of the source that belong to no sample."""
    duplicated: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cached: int = 0
    reused: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    """Media that no decoder could read, with the decoder's message."""
    noted: Mapping[str, str] = field(default_factory=dict)
    """Media that are kept, and what their decoder noted: cut short, another number of frames than declared."""
    fetch: tuple[FetchPlan, ...] = ()
    """Dry run only: archives that would be fetched."""
    fetched: tuple[str, ...] = ()
    """Archives that were fetched and unpacked: they may be deleted."""
    notes: tuple[str, ...] = ()
    """Data of your own: how classes and splits were made, what was left out, what a split leaks."""

    @property
    def incomplete(self) -> int:
        """Media that are missing or failed: what `--ok-missing` counts."""
        return len(self.missing) + len(self.failed)


@dataclass(frozen=True)
class Job:
    """One preparation, resolved."""

    spec: DatasetSpec
    tables: tuple[SplitTable, ...]
    home: Path
    wanted: tuple[str, ...]
    """Media of these splits, in official order."""
    mine: tuple[str, ...]
    """Those of them that this process caches."""
    shard: str
    fetch: FetchConfig
    cache: CacheConfig
    reads: Decoder
    """Of videos."""
    workers: int
    track: Track
    poses: PoseConfig
    """For poses from pixels."""

    @property
    def folder(self) -> Path:
        """Where the cache lies."""
        return paths.cache_folder(self.home, self.spec.name, self.cache.name)

    @property
    def splits(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(table.split for table in self.tables)


def free_bytes(home: Path) -> int:
    """Free space where the data home is, or will be."""
    there = next(folder for folder in (home, *home.resolve().parents) if folder.exists())
    return shutil.disk_usage(there).free


def boxes_here(spec: DatasetSpec, home: Path) -> int:
    """Person boxes that were read from the user's annotations."""
    from harbench.prepare.boxes import boxes_file, load_boxes

    return len(load_boxes(home, spec.name)) if spec.boxes and boxes_file(home, spec.name).exists() else 0


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


def recipe_of(dataset: str, recipe: str | Recipe) -> Recipe:
    """The recipe that `prepare --for` names. Raises RecipeError for one of another data set, or one that reads no media."""
    from harbench.recipe import Fusion, Recipe, load_any
    from harbench.recipe.load import find_recipe

    found = recipe if isinstance(recipe, Recipe) else load_any(find_recipe(recipe))
    if isinstance(found, Fusion):
        parts = ", ".join(each.recipe for each in found.fuse)
        raise RecipeError(
            f"--for {recipe}: it fuses runs and reads no media. Prepare for the recipes of its runs: {parts}"
        )
    if found.data.dataset != dataset:
        other = found.data.dataset
        raise RecipeError(
            f"--for {recipe}: expected a recipe of {dataset}, found one of {other}.\n"
            f"Next:  harbench prepare {other} --for {recipe}"
        )
    return found


def needed_caches(recipe: Recipe) -> list[CacheConfig]:
    """The caches that a recipe reads, its own last: `input.with_pose` reads poses beside it."""
    from harbench.recipe import CacheConfig

    return [CacheConfig(stream="pose")] * recipe.input.with_pose + [recipe.data.cache]


def missing_media(recipe: Recipe, home: Path) -> set[str] | None:
    """Media of the recipe's split that its caches lack; None where a cache does not exist, or the person boxes do not."""
    from harbench.datasets.tables import keep_classes, load_split
    from harbench.frames.cache import find_cache, open_cache
    from harbench.prepare.boxes import boxes_file

    data = recipe.data
    if data.boxes and not boxes_file(home, data.dataset).is_file():
        return None
    table = load_split(data.dataset, data.split, home)
    media = (keep_classes(table, data.classes) if data.classes else table).media()
    missing: set[str] = set()
    for config in needed_caches(recipe):
        try:
            cache = open_cache(find_cache(home, data.dataset, config, make=""))
        except CacheError:
            return None
        missing.update(each for each in media if each not in cache)
    return missing


def next_command(spec: DatasetSpec, stream: str, splits: Sequence[str], home: Path) -> str:
    """What to type once `splits` are prepared: the first shipped recipe of this stream that can read what is there.

    Recipes that state their number come first. Where the caches serve none of them: what makes the cache of the first. A
    data set without recipes of its own gets a frozen probe.
    """
    from harbench.recipe import Recipe, load_any, load_recipe
    from harbench.recipe.load import find_recipe, recipe_paths

    loaded = [(path, load_any(path)) for path in recipe_paths() if spec.name in path.read_text(encoding="utf-8")]
    fitting = [
        (path.name, recipe)
        for path, recipe in loaded
        if isinstance(recipe, Recipe) and (recipe.data.dataset, recipe.data.cache.stream) == (spec.name, stream)
    ]
    fitting.sort(key=lambda each: not each[1].expect)
    for name, recipe in fitting:
        own = recipe.data.split or spec.splits[0]
        split = own if own in splits else splits[0]
        on_split = recipe.model_copy(update={"data": recipe.data.model_copy(update={"split": split})})
        missing = missing_media(on_split, home)
        if missing is not None:
            return run_command(f"recipes/{name}", split if split != own else "", len(missing))
    if fitting:
        return f"harbench prepare {spec.name} --for recipes/{fitting[0][0]}"
    probe = load_recipe(find_recipe("frozen_probe"), [f"data.dataset={spec.name}"])
    if stream == "rgb" and (missing := missing_media(probe, home)) is not None:
        return f"{run_command('recipes/frozen_probe.yaml', '', len(missing))} --set data.dataset={spec.name}"
    return f"a recipe with data.dataset: {spec.name}, then harbench run RECIPE (see `harbench recipes`)"


def run_command(recipe: str, split: str, missing: int) -> str:
    """`harbench run RECIPE`, on another split than the recipe's own and without some media where these are given."""
    return " ".join(
        ["harbench run", recipe, *[f"--split {split}"] * bool(split), *[f"--ok-missing {missing}"] * bool(missing)]
    )
