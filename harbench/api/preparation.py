"""`prepare`: from archives or the user's own folder to media under official names and a frame cache."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harbench import places
from harbench.errors import CacheError, DatasetError, MediaError
from harbench.records import CacheReport, DatasetSpec, SplitTable, Track, silent

if TYPE_CHECKING:
    from harbench.recipe import CacheConfig


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
    cache: str
    """Folder of the frame cache; empty for a dry run."""
    cache_bytes: int
    """Size of the cache; for a dry run the estimate."""
    boxes: int
    """Person boxes read from the user's annotations."""
    seconds: float
    next: str
    """What to type next."""

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
    quality: int = 90,
    short_side: int | str | None = None,
    classes: Sequence[str] = (),
    limit: int | None = None,
    workers: int = 2,
    allow_missing: bool = False,
    dry_run: bool = False,
    track: Track = silent,
) -> PrepareReport:
    """Bring the media of a data set under `<home>/<name>/media`, by official name, and build its frame cache.

    Media come from `source` (a folder in any layout, linked, not copied), from `archives`, from archives already under
    `<home>/<name>/archives`, or are rendered where harbench makes the data set itself. Rerunning is a no-op; killing it
    anywhere loses no finished work.

    Raises:
        MediaError: media are missing and `allow_missing` is false; the message says which and how to get them.
        CacheError: the disk is too small for the cache, or full.
    """
    from harbench.datasets.tables import expand_splits, load_spec, load_split
    from harbench.ingest.local import ingest_local, pose_files

    started = time.monotonic()
    spec = load_spec(name, home)
    chosen = tuple(expand_splits(spec, split, home))
    tables = [load_split(name, each, home) for each in chosen]
    stream = stream or ("pose" if spec.modality == "pose" else "rgb")
    wanted = _wanted(tables, classes, limit)
    cache = cache_config(spec, stream=stream, encoding=encoding, quality=quality, short_side=short_side)
    folder = places.cache_folder(home, name, cache.name)
    if dry_run:
        return _plan(spec, chosen, wanted, cache, folder, home, started)
    match = ingest_local(spec, tables, home, source=source, archives=archives, workers=workers, track=track)
    present = {media: match.present[media] for media in wanted if media in match.present}
    if stream == "pose":
        present, _ = pose_files(spec, present)
    missing = tuple(media for media in wanted if media not in present)
    if missing and not allow_missing:
        raise MediaError(_missing_message(spec, chosen, wanted, missing))
    report = _cache(spec, present, cache, folder, home, workers, track)
    return PrepareReport(
        dataset=name,
        splits=chosen,
        media=len(wanted),
        present=len(present),
        missing=missing,
        extra=len(match.extra),
        duplicated=match.duplicated,
        cached=len(report.done),
        reused=len(report.reused),
        failed=report.failed,
        cache=str(folder),
        cache_bytes=_size(folder),
        boxes=_boxes_here(spec, home),
        seconds=time.monotonic() - started,
        next=_next(spec, bool(missing)),
    )


def cache_config(
    spec: DatasetSpec, *, stream: str, encoding: str, quality: int, short_side: int | str | None
) -> CacheConfig:
    """The cache that the options ask for. Default short side: 128 for video, native for stills."""
    from pydantic import ValidationError

    from harbench.recipe import CacheConfig

    default = "native" if spec.modality == "image" else 128
    values = {"stream": stream, "encoding": encoding, "quality": quality, "short_side": short_side or default}
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
    known = [label.key for label in tables[0].classes]
    unknown = [key for key in classes if key not in known]
    if unknown:
        raise DatasetError(f"{tables[0].dataset} has no class {', '.join(unknown)}; its classes: {', '.join(known)}")
    chosen = {known.index(key) for key in classes or known}
    media = (sample.media for table in tables for sample in table.samples if sample.target in chosen)
    return tuple(dict.fromkeys(media))[:limit]


def _cache(
    spec: DatasetSpec,
    present: Mapping[str, Path],
    cache: CacheConfig,
    folder: Path,
    home: Path,
    workers: int,
    track: Track,
) -> CacheReport:
    from harbench.frames.cache import build_cache

    order = official_order(spec, home)
    return build_cache(present, folder, cache, order=order, workers=workers, track=track)


def _plan(
    spec: DatasetSpec,
    chosen: tuple[str, ...],
    wanted: tuple[str, ...],
    cache: CacheConfig,
    folder: Path,
    home: Path,
    started: float,
) -> PrepareReport:
    """What a dry run says: what is there already, and how big the cache gets."""
    from harbench.frames.cache import estimate_cache_bytes

    media = places.media_folder(home, spec.name)
    here = {name for name in wanted if (media / name).exists()}
    return PrepareReport(
        dataset=spec.name,
        splits=chosen,
        media=len(wanted),
        present=len(here),
        missing=tuple(name for name in wanted if name not in here),
        extra=0,
        duplicated={},
        cached=0,
        reused=0,
        failed={},
        cache=str(folder),
        cache_bytes=estimate_cache_bytes(len(wanted), cache, unit=spec.unit),
        boxes=_boxes_here(spec, home),
        seconds=time.monotonic() - started,
        next="the same command without --dry-run",
    )


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
    from harbench.ingest.boxes import boxes_file, load_boxes

    return len(load_boxes(home, spec.name)) if spec.boxes and boxes_file(home, spec.name).exists() else 0


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def _next(spec: DatasetSpec, incomplete: bool) -> str:
    """The recipe to try: a shipped one of this data set."""
    from harbench.api.catalog import recipe_paths

    for path in recipe_paths():
        if f"dataset: {spec.name}\n" in path.read_text(encoding="utf-8"):
            return f"harbench run recipes/{path.name}" + (" --ok-missing N" if incomplete else "")
    return f"a recipe with data.dataset: {spec.name}, then harbench run RECIPE (see `harbench recipes`)"
