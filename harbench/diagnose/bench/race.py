"""A table: contenders that do equal work, take turns, and are held against the first row; and the videos that they read."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from harbench.errors import MediaError
from harbench.frames.cache import MappedCache, build_cache, open_cache
from harbench.recipe import CacheConfig
from harbench.records import VIDEO_SUFFIXES, Sample

FRAMES, STRIDE, SIDE = 16, 2, 128
Contenders = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Row:
    """One way of doing the work of a table."""

    name: str
    seconds: float
    """Median over the rounds."""
    spread: float
    """Largest less smallest time, as a share of the median."""
    rate: float
    """Pieces of work a second."""
    ratio: float
    """Its median time as a multiple of that of the table's first row."""


@dataclass(frozen=True)
class BenchTable:
    """Ways of doing equal work, the first being harbench's own."""

    name: str
    what: str
    """The work, in words, and what its pieces are."""
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Videos:
    """Videos and their JPEG cache."""

    files: Mapping[str, Path]
    cache: MappedCache


@dataclass(frozen=True)
class Options:
    """What the tables are made of."""

    given: Videos | None
    clips: int
    rounds: int
    work: Path

    @property
    def videos(self) -> Videos:
        """Those that were given."""
        assert self.given is not None
        return self.given


def find_videos(source: Path, work: Path) -> Videos:
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    if not files:
        raise MediaError(f"there is no video under {source}; --from takes a folder of .avi, .mp4, .mkv ... files")
    media = {f"{number:05d}": path for number, path in enumerate(files)}
    report = build_cache(media, work / "cache", CacheConfig(short_side=SIDE))
    if report.failed:
        name, reason = next(iter(report.failed.items()))
        raise MediaError(f"{media[name]} cannot be decoded: {reason}")
    cache = open_cache(work / "cache")
    long_enough = {name: path for name, path in media.items() if cache.info(name).frames > FRAMES * STRIDE}
    if not long_enough:
        raise MediaError(f"no video under {source} has more than {FRAMES * STRIDE} frames")
    return Videos(long_enough, cache)


def race(contenders: Contenders, rounds: int, pieces: int) -> tuple[Row, ...]:
    """Every contender once to warm up, then in turns, so that what else the machine does meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, work in contenders.items():
            started = time.perf_counter()
            work()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    medians = {name: median(each) for name, each in seconds.items()}
    first = next(iter(medians.values()))
    return tuple(
        Row(name, medians[name], (max(each) - min(each)) / medians[name], pieces / medians[name], medians[name] / first)
        for name, each in seconds.items()
    )


def samples_of(videos: Videos) -> list[Sample]:
    return [Sample(name, number % 2, "", "train", name) for number, name in enumerate(videos.files)]
