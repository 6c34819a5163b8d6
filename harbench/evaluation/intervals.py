"""95 % interval of an accuracy when samples are not independent: clips of one source video, sequences of one person.

A binomial interval over clips is too narrow where clips share their source (UCF-101 split 1: 3,783 clips of 707
sources), so the groups are what is resampled or what the t interval counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

_LEVEL = 0.95
_FEW = 30
"""Below this many groups a bootstrap is too optimistic, and a t interval is used."""
_RESAMPLES = 9999


def interval(correct: npt.NDArray[np.bool_], groups: Sequence[str]) -> tuple[float, float, str]:
    """Interval of the share of correct samples, in percent, and how it was made, in words.

    `correct` is `[N]`, `groups` the group of each sample ("" where none is known). With 30 groups or more: percentile
    bootstrap over groups (Efron and Tibshirani 1993, chapter 13). With fewer: t interval of the ratio estimator over
    groups (Cochran 1977, section 9A.1), which for groups of one size is the t interval of the group means. Every sample
    a group of its own, or groups not known, or no variation between groups: Wilson (1927), as if samples were
    independent, which the method says. Raises ValueError for no samples or lengths that differ.
    """
    hits = np.asarray(correct, dtype=bool)
    if hits.ndim != 1 or len(hits) == 0 or len(hits) != len(groups):
        raise ValueError(f"expected one group a sample and at least one sample; {hits.shape = }, {len(groups) = }")
    if not all(groups):
        return *_wilson(hits), "Wilson, ungrouped"
    _, group_of = np.unique(np.asarray(groups), return_inverse=True)
    sizes = np.bincount(group_of).astype(np.float64)
    sums = np.bincount(group_of, weights=hits).astype(np.float64)
    count = len(sizes)
    if count == len(hits):
        return *_wilson(hits), "Wilson"
    if count < 2 or not np.any(sums - sizes * hits.mean()):
        return *_wilson(hits), f"Wilson, ungrouped: {count} group{'s' * (count > 1)} without variation between them"
    if count >= _FEW:
        return *_percent(*_bootstrap(sums, sizes)), f"bootstrap over {count} groups"
    return *_percent(*_t_ratio(sums, sizes)), f"t on {count} group means, few groups"


def paired_interval(differences: npt.NDArray[np.float64], groups: Sequence[str]) -> tuple[float, float, str]:
    """Interval of the mean of paired differences (each -1..1, `[N]`), in points, and how it was made.

    By group as `interval` does it: bootstrap over 30 groups or more, else t. Samples whose groups are not known count
    as groups of their own. Raises ValueError for no samples or lengths that differ.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0 or len(values) != len(groups):
        raise ValueError(f"expected one group a sample and at least one sample; {values.shape = }, {len(groups) = }")
    known = np.asarray(groups) if all(groups) else np.arange(len(values))
    _, group_of = np.unique(known, return_inverse=True)
    sizes = np.bincount(group_of).astype(np.float64)
    sums = np.bincount(group_of, weights=values).astype(np.float64)
    count = len(sizes)
    if count < 2:
        return -100.0, 100.0, "one group: nothing is known of others"
    made = _bootstrap if count >= _FEW else _t_ratio
    low, high = (100 * min(1.0, max(-1.0, share)) for share in made(sums, sizes))
    return low, high, f"bootstrap over {count} groups" if count >= _FEW else f"t on {count} group means, few groups"


def _wilson(hits: npt.NDArray[np.bool_]) -> tuple[float, float]:
    found = stats.binomtest(int(hits.sum()), len(hits)).proportion_ci(_LEVEL, method="wilson")
    return _percent(found.low, found.high)


def _bootstrap(sums: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64]) -> tuple[float, float]:
    def accuracy(sums: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64], axis: int) -> npt.NDArray[np.float64]:
        return np.asarray(sums.sum(axis=axis) / sizes.sum(axis=axis))

    found = stats.bootstrap(
        (sums, sizes),
        accuracy,
        paired=True,
        vectorized=True,
        n_resamples=_RESAMPLES,
        confidence_level=_LEVEL,
        method="percentile",
        batch=500,
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def _t_ratio(sums: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64]) -> tuple[float, float]:
    count, accuracy = len(sizes), sums.sum() / sizes.sum()
    variance = np.sum((sums - accuracy * sizes) ** 2) * count / (count - 1) / sizes.sum() ** 2
    margin = stats.t.ppf((1 + _LEVEL) / 2, count - 1) * np.sqrt(variance)
    return float(accuracy - margin), float(accuracy + margin)


def _percent(low: float, high: float) -> tuple[float, float]:
    return 100 * max(0.0, float(low)), 100 * min(1.0, float(high))
