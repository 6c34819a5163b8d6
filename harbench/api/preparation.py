"""`prepare`: from archives or the user's own folder to media under official names and a frame cache."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harbench import places
from harbench.errors import MediaError
from harbench.records import Track, silent

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)


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
    stream: str = "rgb",
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

    started = time.monotonic()
    spec = load_spec(name, home)
    chosen = expand_splits(spec, split, home)
    tables = [load_split(name, each, home) for each in chosen]
    cache = cache_config(spec, stream=stream, encoding=encoding, quality=quality, short_side=short_side)
    wanted = _wanted(tables, classes, limit)
    match = _bring_media(spec, chosen, tables, wanted, source, archives, home, dry_run, workers, track)
    present = {media: path for media, path in match.present.items() if media in wanted}
    missing = tuple(media for media in wanted if media not in present)
    if missing and not allow_missing and not dry_run:
        raise MediaError(_missing_message(spec, chosen, wanted, missing))
    folder = places.cache_folder(home, name, cache.name)
    estimate = _check_disk(folder, present or dict.fromkeys(wanted, Path()), cache, dry_run, allow_missing)
    if dry_run:
        return _report(spec, chosen, wanted, match, missing, None, "", estimate, home, started)
    from harbench.frames.cache import build_cache

    report = build_cache(
        pose_media(spec, present) if stream == "pose" else present,
        folder,
        cache,
        order=official_order(spec, home),
        workers=workers,
        track=track,
    )
    size = sum(path.stat().st_size for path in folder.iterdir())
    return _report(spec, chosen, wanted, match, missing, report, str(folder), size, home, started)
