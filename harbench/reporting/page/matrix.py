"""A confusion matrix as shapes: correct and wrong cells by how much of the class they hold, and the worst of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harbench.reporting.details import ClassResult, RunDetail

_LEVELS = (0.05, 0.2, 0.4, 0.7)
"""Shares of a class at which the shade deepens."""
_NUMBERED = 20
"""Classes up to which cells carry their counts and lines their names."""
_WORST = 10


@dataclass(frozen=True, slots=True)
class Confused:
    """Samples of one class that were taken for another."""

    truth: str
    predicted: str
    count: int
    share: float
    """Percent of the class's scored samples."""


@dataclass(frozen=True)
class Matrix:
    """Cells in units of one class, rows are truth."""

    size: int
    shades: Mapping[str, str]
    """`hit-<level>` or `miss-<level>` -> path of all cells of that shade."""
    names: tuple[str, ...]
    """Of the classes, where there are few enough to be written."""
    counts: tuple[tuple[int, int, int], ...]
    """(row, column, samples), where there are few enough to be written."""
    worst: tuple[Confused, ...]


def matrix(detail: RunDetail) -> Matrix | None:
    """The confusion matrix of a run; None where it has no scores."""
    if not detail.confusion:
        return None
    totals: dict[int, int] = defaultdict(int)
    for (truth, _), count in detail.confusion.items():
        totals[truth] += count
    paths: dict[str, list[str]] = defaultdict(list)
    for (truth, predicted), count in sorted(detail.confusion.items()):
        level = sum(count / totals[truth] > bound for bound in _LEVELS)
        paths[f"{'hit' if truth == predicted else 'miss'}-{level}"].append(f"M{predicted} {truth}h1v1h-1z")
    few = len(detail.classes) <= _NUMBERED
    return Matrix(
        size=len(detail.classes),
        shades={shade: "".join(cells) for shade, cells in paths.items()},
        names=tuple(each.name for each in detail.classes) if few else (),
        counts=tuple((t, p, n) for (t, p), n in sorted(detail.confusion.items())) if few else (),
        worst=_worst(detail.confusion, totals, detail.classes),
    )


def _worst(
    confusion: Mapping[tuple[int, int], int], totals: Mapping[int, int], classes: Sequence[ClassResult]
) -> tuple[Confused, ...]:
    wrong = [(count, pair) for pair, count in confusion.items() if pair[0] != pair[1]]
    wrong.sort(key=lambda each: (-each[0], each[1]))
    return tuple(
        Confused(classes[truth].name, classes[predicted].name, count, 100 * count / totals[truth])
        for count, (truth, predicted) in wrong[:_WORST]
    )
