"""Two checkpoints on the same test samples: a paired test by group, an interval, and which samples flipped.

Samples of one source go together, so whole groups change sides under the null hypothesis, not single samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harbench.evaluation.intervals import paired_interval

Hits = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ClassGain:
    """One class under both: recall in percent, and the gain in points."""

    key: str
    samples: int
    a: float
    b: float
    gain: float


@dataclass(frozen=True)
class Comparison:
    """What changes from A to B, in points of top-1 accuracy."""

    a: float
    b: float
    difference: float
    """b - a."""
    interval: tuple[float, float]
    """95 % of the difference, by groups."""
    interval_method: str
    p: float
    """Two-sided, exact, of the sign-flip permutation over groups."""
    groups: int
    per_class: tuple[ClassGain, ...]
    """Classes with samples, the largest change first."""
    gained: tuple[str, ...]
    """Samples that only B has right."""
    lost: tuple[str, ...]
    """Samples that only A has right."""


def compare_hits(
    a: Hits, b: Hits, ids: Sequence[str], targets: npt.NDArray[np.int64], groups: Sequence[str], classes: Sequence[str]
) -> Comparison:
    """Compare the correct samples `[N]` of two checkpoints; `groups` are "" where none is known.

    Raises ValueError for lengths that differ or no samples.
    """
    if not len(ids) or len({len(a), len(b), len(ids), len(targets), len(groups)}) != 1:
        raise ValueError("expected the same samples, at least one, for both")
    change = b.astype(np.int64) - a.astype(np.int64)
    names = np.asarray(groups if all(groups) else ids)
    _, group_of = np.unique(names, return_inverse=True)
    sums = np.rint(np.bincount(group_of, weights=change)).astype(np.int64)
    low, high, method = paired_interval(change.astype(np.float64), groups)
    counts = np.bincount(targets, minlength=len(classes))
    right_a, right_b = (np.bincount(targets[hits], minlength=len(classes)) for hits in (a, b))
    gains = [
        ClassGain(key, int(n), 100 * float(x / n), 100 * float(y / n), 100 * float((y - x) / n))
        for key, n, x, y in zip(classes, counts, right_a, right_b, strict=True)
        if n
    ]
    return Comparison(
        a=100 * float(a.mean()),
        b=100 * float(b.mean()),
        difference=100 * float(change.mean()),
        interval=(low, high),
        interval_method=method if all(groups) else f"{method}; no groups are known, so samples count as independent",
        p=sign_flip(sums),
        groups=len(sums),
        per_class=tuple(sorted(gains, key=lambda gain: -abs(gain.gain))),
        gained=tuple(ids[row] for row in np.flatnonzero(change > 0).tolist()),
        lost=tuple(ids[row] for row in np.flatnonzero(change < 0).tolist()),
    )


def sign_flip(sums: npt.NDArray[np.int64]) -> float:
    """Exact two-sided p of the sum of `sums` [G] when every group's sign is a fair coin (Fisher 1935, section 21).

    All 2^G sign vectors are counted, none is drawn: the sums are whole numbers, so the null distribution is the product
    of the polynomials (x^-d + x^d) / 2. With groups of one sample this is the exact test of McNemar.
    """
    sizes = np.abs(sums[sums != 0])
    chances = np.ones(1)
    for size in sizes:
        flipped = np.zeros(len(chances) + 2 * int(size))
        flipped[: len(chances)] += chances / 2
        flipped[2 * int(size) :] += chances / 2
        chances = flipped
    values = np.arange(len(chances)) - int(sizes.sum())
    return min(1.0, float(chances[np.abs(values) >= abs(int(sums.sum()))].sum()))


def holm(ps: Sequence[float]) -> tuple[float, ...]:
    """p values adjusted for their number, in the given order (Holm 1979, Scand. J. Statist. 6:65)."""
    order = np.argsort(ps, kind="stable")
    stepped = np.asarray(ps)[order] * np.arange(len(ps), 0, -1)
    adjusted = np.empty(len(ps))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(stepped))
    return tuple(float(p) for p in adjusted)
