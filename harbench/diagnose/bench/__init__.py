"""`bench`: speed against what people use otherwise, as ratios measured in one run, never asserted by a test.

The contenders of a table do equal work, take turns, and are held against its first row. What differs in their pixels is said.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from harbench.diagnose.bench.commands import report, start
from harbench.diagnose.bench.networks import evaluate, predict, train
from harbench.diagnose.bench.race import BenchTable, Options, Row, find_videos
from harbench.diagnose.bench.reads import decode, prepare
from harbench.errors import MediaError
from harbench.records import Track, silent

__all__ = ["BenchTable", "Row", "bench"]

TABLES: Mapping[str, Callable[[Options], BenchTable]] = {
    "decode": decode,
    "prepare": prepare,
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "start": start,
    "report": report,
}
"""What can be measured."""


def bench(
    what: str = "all", *, source: Path | None = None, clips: int = 100, rounds: int = 5, track: Track = silent
) -> list[BenchTable]:
    """Measure `decode`, `prepare`, `train`, `evaluate`, `predict`, `start`, `report`, or `all` of them.

    All but the last two read the videos under `source`. What is written goes to a temporary folder.

    Raises:
        MediaError: there is no such table, no `source` where one is needed, no video that is long enough under it, or one
            that cannot be decoded.
    """
    chosen = list(TABLES) if what == "all" else [what]
    if unknown := [each for each in chosen if each not in TABLES]:
        raise MediaError(f"bench {unknown[0]}: expected {', '.join(TABLES)} or all")
    if source is None and what not in ("start", "report"):
        raise MediaError(f"bench {what} reads videos; say where some are:  harbench bench {what} --from DIR")
    with tempfile.TemporaryDirectory() as work:
        videos = find_videos(source, Path(work)) if source is not None else None
        options = Options(videos, clips, rounds, Path(work))
        return [TABLES[each](options) for each in track(chosen, "measuring", len(chosen))]
