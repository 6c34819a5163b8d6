"""`bench`: speed as ratios measured in one run, never asserted by a test."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from harbench.errors import MediaError
from harbench.records import VIDEO_SUFFIXES, Track, silent

if TYPE_CHECKING:
    from harbench.diagnose.clip_reads import ClipReads


def bench(source: Path, *, clips: int = 100, track: Track = silent) -> ClipReads:
    """Read random clips of the videos under `source` from a temporary frame cache and, in the same run, with decord.

    decord opens the video anew for each clip, as a shuffled loader does.

    Raises:
        MediaError: there is no video under `source`.
    """
    from harbench.diagnose.clip_reads import clip_read_benchmark

    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    if not files:
        raise MediaError(f"there is no video under {source}; --from takes a folder of .avi, .mp4, .mkv ... files")
    with tempfile.TemporaryDirectory() as work:
        return clip_read_benchmark(files, Path(work), clips=clips, track=track)


def bench_text(result: ClipReads) -> str:
    """The table in lines for people."""
    return (
        f"random clips of 16 frames, stride 2, 171x128, one thread, {result.files} videos, {result.clips} clips each\n"
        f"  JPEG cache   {result.cache_per_second:8.1f} clips/s   ({result.cache_bytes / 1e6:.1f} MB)\n"
        f"  decord       {result.decord_per_second:8.1f} clips/s   ({result.video_bytes / 1e6:.1f} MB of video)\n"
        f"  ratio        {result.ratio:8.1f}"
    )
