"""Windows of a long video merged to segments, and these as subtitles and tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import numpy as np

from harbench.files import csv_cell
from harbench.inference.overlay import NOTHING
from harbench.inference.predictor import Prediction


@dataclass(frozen=True)
class Segment:
    """A stretch of a source under one class."""

    start: float
    """Seconds."""
    end: float
    label: str
    """Empty: no class reached the threshold."""
    probability: float
    """Mean over its windows."""


def smoothed(windows: Sequence[Prediction], width: int) -> list[Prediction]:
    """The windows with the mean probabilities of the `width` around each, itself in the middle; 1 changes nothing."""
    if width <= 1 or len(windows) < 2:
        return list(windows)
    table = np.stack([each.probabilities for each in windows])
    half = width // 2
    return [
        replace(each, probabilities=table[max(0, number - half) : number + width - half].mean(axis=0))
        for number, each in enumerate(windows)
    ]


def merged(windows: Sequence[Prediction]) -> list[Segment]:
    """Neighbors of one label as one segment. Between two windows that overlap, half of the overlap is of each."""
    if not windows:
        return []
    starts = [windows[0].start, *(min(b.start + max(0.0, a.end - b.start) / 2, b.end) for a, b in pairwise(windows))]
    ends = [*starts[1:], windows[-1].end]
    found = []
    numbered = range(len(windows))
    for label, same in groupby(numbered, key=lambda number: windows[number].label):
        mine = list(same)
        sure = float(np.mean([windows[number].probabilities.max() for number in mine]))
        found.append(Segment(starts[mine[0]], ends[mine[-1]], label, sure))
    return found


def srt_text(segments: Sequence[Segment]) -> str:
    """Subtitles (SubRip) of the segments that have a label."""
    shown = [each for each in segments if each.label]
    return "\n".join(
        f"{number}\n{_clock(each.start)} --> {_clock(each.end)}\n{each.label} {100 * each.probability:.0f}%\n"
        for number, each in enumerate(shown, 1)
    )


def _clock(seconds: float) -> str:
    """`00:01:02,500`."""
    milliseconds = round(1000 * seconds)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02},{rest % 1000:03}"


def csv_table(predictions: Iterable[Prediction], top: int) -> str:
    """One line a window: source, start, end, label, then the best classes with their probabilities."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    best = [name for number in range(1, top + 1) for name in (f"class{number}", f"probability{number}")]
    writer.writerow(("source", "start", "end", "label", *best))
    for each in predictions:
        cells = [cell for key, p in each.top(top) for cell in (key, f"{p:.6f}")]
        writer.writerow((csv_cell(each.source), f"{each.start:.3f}", f"{each.end:.3f}", each.label or NOTHING, *cells))
    return out.getvalue()
