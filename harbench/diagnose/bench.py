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
