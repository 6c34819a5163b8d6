"""`bench`: speed as ratios measured in one run, never asserted by a test."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harbench.errors import MediaError
from harbench.frames.cache import build_cache, open_cache
from harbench.recipe import CacheConfig
from harbench.records import VIDEO_SUFFIXES, Track, silent


def bench(source: Path, *, clips: int = 100, track: Track = silent) -> ClipReads:
    """Read random clips of the videos under `source` from a temporary frame cache and, in the same run, with decord.

    decord opens the video anew for each clip, as a shuffled loader does.

    Raises:
        MediaError: there is no video under `source`.
    """

    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    if not files:
        raise MediaError(f"there is no video under {source}; --from takes a folder of .avi, .mp4, .mkv ... files")
    with tempfile.TemporaryDirectory() as work:
        return clip_read_benchmark(files, Path(work), clips=clips, track=track)


FRAMES, STRIDE = 16, 2
_PASSES = 3


@dataclass(frozen=True)
class ClipReads:
    """Random clip reads a second: 16 frames, stride 2, random start, short side 128 (171 x 128 of 4:3), one thread."""

    files: int
    clips: int
    """Clips that each of the two read: the same ones, three times; the fastest time of each counts."""
    cache_per_second: float
    decord_per_second: float
    ratio: float
    cache_bytes: int
    video_bytes: int


def clip_read_benchmark(files: Sequence[Path], work: Path, *, clips: int = 200, track: Track = silent) -> ClipReads:
    """Build a JPEG cache of `files` under `work` and read `clips` random clips from it and with decord.

    decord opens the video anew for each clip, as a shuffled loader does, and resizes to the cache's size itself. Videos
    that are too short for a clip are left out.

    Raises MediaError when decord is not installed, or when a video cannot be decoded or none is long enough.
    """
    try:
        import decord
    except ImportError:
        raise MediaError("decord is not installed, or has no wheel for this machine; try: pip install decord") from None
    media = {f"{number:05d}": path for number, path in enumerate(files)}
    report = build_cache(media, work / "cache", CacheConfig(), track=track)
    if report.failed:
        name, reason = next(iter(report.failed.items()))
        raise MediaError(f"{media[name]} cannot be decoded: {reason}")
    cache = open_cache(work / "cache")

    def direct(name: str, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        info = cache.info(name)
        reader = decord.VideoReader(str(media[name]), width=info.width, height=info.height, num_threads=1)
        return np.asarray(reader.get_batch(indices).asnumpy(), np.uint8)

    long_enough = [name for name in media if cache.info(name).frames > FRAMES * STRIDE]
    if not long_enough:
        raise MediaError(f"no video has more than {FRAMES * STRIDE} frames")
    rng = np.random.default_rng(0)
    asked = []
    for name in rng.choice(long_enough, clips).tolist():
        start = rng.integers(cache.info(name).frames - FRAMES * STRIDE)
        asked.append((name, start + STRIDE * np.arange(FRAMES)))
    seconds = np.empty((2, _PASSES, clips))
    for turn in track(range(_PASSES), "reading clips", _PASSES):
        for reader, read in enumerate((cache.read, direct)):
            for clip, (name, indices) in enumerate(asked):
                started = time.perf_counter()
                read(name, indices)
                seconds[reader, turn, clip] = time.perf_counter() - started
    # The fastest of the passes is the one that other work on the machine disturbed least.
    cached, decoded = seconds.min(axis=1).sum(axis=1).tolist()
    return ClipReads(
        files=len(long_enough),
        clips=clips,
        cache_per_second=clips / cached,
        decord_per_second=clips / decoded,
        ratio=decoded / cached,
        cache_bytes=sum(path.stat().st_size for path in (work / "cache").iterdir()),
        video_bytes=sum(path.stat().st_size for path in files),
    )
