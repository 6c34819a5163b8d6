"""What could account for a shortfall: the score with each usual cause undone, held against the noise of trying them all.

Whoever tries twenty settings on the test labels finds one that looks better. So a gain counts only if it exceeds what the
largest of all the gains would be by chance: whole groups change sides at random, in all trials at once (the max statistic
of Westfall and Young 1993, "Resampling-Based Multiple Testing", section 2.3).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FEWEST = 5
"""Groups below which all of them agree by chance in more than 1 - _LEVEL of the random signs."""
_LEVEL = 0.95
_DRAWS = 9999
_BLOCK = 500
"""Draws at a time, so that thousands of groups need little memory."""


@dataclass(frozen=True)
class Outcome:
    """Which samples are right under one setting."""

    hits: npt.NDArray[np.float64]
    """`[N]`, 0 or 1; a share of 0..1 where a sample's views count one by one."""
    groups: Sequence[str]
    """`[N]`: samples of a group (person, source video) are right or wrong together."""

    @property
    def top1(self) -> float:
        """Percent."""
        return 100 * float(self.hits.mean())


@dataclass(frozen=True)
class Trial:
    """One usual cause, undone."""

    cause: str
    """`views`, `class order`, `normalization`, ..."""
    change: str
    """What is different, in words or as the keys of a recipe."""
    before: Outcome
    after: Outcome
    """The same samples, or others where the cause is which samples are scored."""


@dataclass(frozen=True)
class Finding:
    """What undoing one cause does to the number."""

    cause: str
    change: str
    samples: int
    top1: float
    gain: float
    """Points."""
    noise: float
    """The gain that this trial would have to exceed, after all that were tried (one-sided, 95 %)."""
    suggested: bool
    tied: bool
    """Suggested, and no worse than the first suggestion beyond chance; the first one itself is too."""


def rank_causes(trials: Sequence[Trial]) -> tuple[Finding, ...]:
    """The trials by gain, the largest first; suggested are those whose gain exceeds the noise of having tried all.

    With fewer than `FEWEST` groups no gain can exceed it: all of them change sides together too often.
    """
    noises = _noise([_gains(trial.before, trial.after) for trial in trials])
    found = [
        Finding(
            cause=trial.cause,
            change=trial.change,
            samples=len(trial.after.hits),
            top1=trial.after.top1,
            gain=(gain := trial.after.top1 - trial.before.top1),
            noise=noise,
            suggested=gain > noise * (1 + 1e-9),  # a gain that is its own noise differs by rounding alone
            tied=False,
        )
        for trial, noise in zip(trials, noises, strict=True)
    ]
    order = sorted(range(len(found)), key=lambda index: (not found[index].suggested, -found[index].gain))
    ranked = [found[index] for index in order]
    for place, index in enumerate(order):
        if ranked[place].suggested and _as_good(trials[index].after, trials[order[0]].after):
            ranked[place] = Finding(**vars(ranked[place]) | {"tied": True})
    return tuple(ranked)


def _as_good(other: Outcome, best: Outcome) -> bool:
    """Whether `best` is no better than `other` beyond the noise of this one comparison."""
    lead = best.top1 - other.top1
    return lead <= _noise([_gains(other, best)])[0] or lead <= 0


def _gains(before: Outcome, after: Outcome) -> dict[str, float]:
    """Group -> the points that it adds to the gain; their sum is the gain.

    Every sample counts by how far it lies from the mean of both settings. Where both have the same samples, that is the
    paired difference; where they do not, a group that only one has adds nothing if it is as good as the rest.
    """
    mean = np.concatenate([before.hits, after.hits]).mean()
    parts: dict[str, float] = defaultdict(float)
    for outcome, sign in ((after, 100), (before, -100)):
        for group, hit in zip(outcome.groups, (outcome.hits - mean).tolist(), strict=True):
            parts[group] += sign * hit / len(outcome.hits)
    return parts


def _noise(gains: Sequence[Mapping[str, float]]) -> list[float]:
    """For every trial the points that the largest of all the gains stays below in 95 % of the random signs.

    Gains are compared in units of their own size under random signs, sqrt(sum of squares over groups), so that a trial
    which breaks everything does not hide one that mends a little.
    """
    names = {name: column for column, name in enumerate(dict.fromkeys(name for each in gains for name in each))}
    table = np.zeros((len(gains), len(names)))
    for row, each in enumerate(gains):
        table[row, [names[name] for name in each]] = list(each.values())
    sizes = np.sqrt((table**2).sum(axis=1))
    changed = sizes > 1e-9
    sizes[~changed] = 0  # not even by rounding
    if not changed.any():
        return [0.0] * len(gains)
    units, rng = table[changed] / sizes[changed, None], np.random.default_rng(0)
    blocks = [
        (rng.integers(0, 2, (min(_BLOCK, _DRAWS - start), len(names))) * 2 - 1) @ units.T
        for start in range(0, _DRAWS, _BLOCK)
    ]
    largest = np.append(np.concatenate(blocks).max(axis=1), units.sum(axis=1).max())  # what was observed is one of them
    return [float(size) for size in sizes * np.quantile(largest, _LEVEL, method="higher")]


def class_orders(keys: Sequence[str]) -> dict[str, list[int]]:
    """Known wrong orders of classes: words -> the official class of each column. None is found by looking at labels.

    Those that are the official order itself, or repeat another, are left out.
    """
    count = len(keys)
    by_key, by_number = sorted(range(count), key=keys.__getitem__), sorted(range(count), key=str)
    orders = {
        "columns are in the order of sorted()": by_key,
        "columns are sorted() without regard to case": sorted(range(count), key=lambda index: keys[index].casefold()),
        "columns were moved as if they had been in the order of sorted()": _inverse(by_key),
        "columns are class numbers sorted as text: 0, 1, 10, 11, ..., 2": by_number,
        "columns were moved as if class numbers had been sorted as text": _inverse(by_number),
        "columns count classes from 1: column k is class k - 1": [(column - 1) % count for column in range(count)],
        "columns are one too low: column k is class k + 1": [(column + 1) % count for column in range(count)],
    }
    seen: list[list[int]] = [list(range(count))]
    known = {}
    for words, order in orders.items():
        if order not in seen:
            seen.append(order)
            known[words] = order
    return known


def _inverse(order: Iterable[int]) -> list[int]:
    return [int(place) for place in np.argsort(list(order))]


def reordered(scores: npt.NDArray[np.floating], order: Sequence[int]) -> npt.NDArray[np.floating]:
    """`[N, K]` with every column under the official class that `order` gives it."""
    moved = np.empty_like(scores)
    moved[:, list(order)] = scores
    return moved
