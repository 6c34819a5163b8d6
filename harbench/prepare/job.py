"""One preparation, resolved, and what it reports."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harbench import paths
from harbench.records import DatasetSpec, SplitTable, Track

if TYPE_CHECKING:
    from harbench.frames.decode import Decoder
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
