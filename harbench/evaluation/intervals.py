"""95 % interval of a metric when samples are not independent: clips of one source video, sequences of one person.

A binomial interval over clips is too narrow where clips share their source (UCF-101 split 1: 3,783 clips of 707
sources), so the groups are what is resampled or what the t interval counts. `make accept-statistics` measures how often
the intervals hold the truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy import special  # and `stats` where it is needed: it takes longer to load than most intervals to compute

from harbench.evaluation.metrics import right
from harbench.records import Predictions

Array = npt.NDArray[np.float64]
Hits = npt.NDArray[np.bool_]

_LEVEL = 0.95
_FEW = 30
"""Below this many groups a bootstrap is too optimistic, and a t interval is used."""
_RESAMPLES = 9999
_MOST_PARTS = 10
"""With more parts (classes, splits) a bootstrap takes minutes, and the t interval has groups enough."""
_RESAMPLES_OF_AP = 400
"""For a standard error, which needs fewer than the quantiles of a distribution do."""
METRICS = ("top1", "mean_class", "mAP", "harmonic")
"""What `metric_interval` knows."""

Part = tuple[Predictions, str, Sequence[str]]
"""Predictions on one split, what was averaged over views (`prob`, `logit`), and the group of each sample."""


def metric_interval(metric: str, parts: Sequence[Part]) -> tuple[float, float, str]:
    """Interval of a metric of `METRICS` on one split, or of its mean over several, in percent, and how it was made.

    `top1` is a share: see `interval` and `joint_interval`. `mean_class` is a mean of shares, one a class: a joint interval
    with the classes as parts. `mAP` and `harmonic` get a t interval on the logit scale, with the standard error of a
    bootstrap over groups (Efron 1979, Ann. Statist. 7:1). Groups are drawn once for all splits and classes. Samples whose
    group is not known count as groups of their own. Raises ValueError for another metric.
    """
    groups = [[group or name for group, name in zip(given, found.ids, strict=True)] for found, _, given in parts]
    hits = [right(found, average) for found, average, _ in parts]
    if metric == "top1" and len(parts) == 1:
        return interval(hits[0], parts[0][2])
    if metric == "top1":
        low, high, method = joint_interval(list(zip(hits, groups, strict=True)))
    elif metric == "mean_class":
        low, high, method = _of_shares(*_by_group(list(_classes_of(parts, hits, groups))))
    elif metric == "mAP":
        low, high, method = _of_mean_average_precision(parts, groups)
    elif metric == "harmonic":
        low, high, method = _of_harmonic_mean(parts, hits, groups)
    else:
        raise ValueError(f"expected a metric of {', '.join(METRICS)}; found {metric}")
    if not all(all(given) for _, _, given in parts):
        method += "; no groups are known, so samples count as independent"
    return low, high, method


def _classes_of(
    parts: Sequence[Part], hits: Sequence[Hits], groups: Sequence[Sequence[str]]
) -> Iterator[tuple[Array, Sequence[str]]]:
    """Right or wrong and the group of each sample, class by class of every part."""
    for (found, _, _), correct, names in zip(parts, hits, groups, strict=True):
        for target in np.unique(found.targets):
            rows = np.flatnonzero(found.targets == target)
            yield correct[rows].astype(np.float64), [names[row] for row in rows.tolist()]


def interval(correct: Hits, groups: Sequence[str]) -> tuple[float, float, str]:
    """Interval of the share of correct samples, in percent, and how it was made, in words.

    `correct` is `[N]`, `groups` the group of each sample ("" where none is known). With 30 groups or more: bootstrap over
    groups, bias-corrected and accelerated (Efron 1987, JASA 82:171). With fewer: t interval on the logit scale, with the
    variance of a ratio over groups (Cochran 1977, section 9A.1) by the delta method, which keeps its level near 100 %
    where one on the scale of shares is too short (Dean and Pagano 2015, J. Survey Stat. Methodol. 3:484; `svyciprop`
    of R's survey, method "logit"). No variation between groups says nothing of how samples of a group go together: then
    Wilson (1927) with every group counted once. Every sample a group of its own, or groups not known: Wilson over
    samples, which the method says. Raises ValueError for no samples or lengths that differ.
    """
    _refuse_unpaired(correct, groups)
    hits = np.asarray(correct, dtype=bool)
    if not all(groups):
        return *_wilson(float(hits.mean()), len(hits)), "Wilson, ungrouped"
    if len(set(groups)) == len(hits):
        return *_wilson(float(hits.mean()), len(hits)), "Wilson"
    return _of_shares(*_by_group([(hits.astype(np.float64), groups)]))


def joint_interval(parts: Sequence[tuple[Hits, Sequence[str]]]) -> tuple[float, float, str]:
    """Interval of the mean over splits of their shares of correct samples, in percent, and how it was made.

    A part is a split's `correct` `[N]` and the group of each sample (of a sample without one its own id, so that it is
    the same sample in every split). Groups are drawn once for all splits: one that is drawn counts in every split in
    which it is tested. Otherwise as `interval`. Raises ValueError for no parts, no samples or lengths that differ.
    """
    if not parts:
        raise ValueError("expected one split at least")
    for correct, groups in parts:
        _refuse_unpaired(correct, groups)
    low, high, method = _of_shares(*_by_group([(correct.astype(np.float64), groups) for correct, groups in parts]))
    return low, high, f"{method}, drawn for {len(parts)} splits together"


def paired_interval(differences: Array, groups: Sequence[str]) -> tuple[float, float, str]:
    """Interval of the mean of paired differences (each -1..1, `[N]`), in points, and how it was made.

    Bootstrap over 30 groups or more as in `interval`, else the t interval of the ratio. Samples whose groups are not
    known count as groups of their own. Raises ValueError for no samples or lengths that differ.
    """
    _refuse_unpaired(differences, groups)
    values = np.asarray(differences, dtype=np.float64)
    known = groups if all(groups) else [str(row) for row in range(len(values))]
    sums, sizes = _by_group([(values, known)])
    count = sums.shape[1]
    if count < 2:
        return -100.0, 100.0, "one group: nothing is known of others"
    mean, error = _mean_and_error(sums, sizes)
    few = count < _FEW
    margin = _t(count) * error
    low, high = (mean - margin, mean + margin) if few or not error else _bootstrap(sums, sizes)
    low, high = (100 * min(1.0, max(-1.0, share)) for share in (low, high))
    return low, high, f"t on {count} group means, few groups" if few else f"bootstrap over {count} groups"


def _refuse_unpaired(values: npt.NDArray[np.generic], groups: Sequence[str]) -> None:
    if values.ndim != 1 or len(values) == 0 or len(values) != len(groups):
        raise ValueError(f"expected one group a sample and at least one sample; {values.shape = }, {len(groups) = }")


def _by_group(parts: Sequence[tuple[Array, Sequence[str]]]) -> tuple[Array, Array]:
    """Sum and number of the values of each group in each part, `[parts, groups]`; zeros where a part lacks a group."""
    names, place = np.unique(np.concatenate([np.asarray(groups) for _, groups in parts]), return_inverse=True)
    starts = np.cumsum([0, *(len(groups) for _, groups in parts)])
    sums, sizes = np.zeros((2, len(parts), len(names)))
    for part, (values, _) in enumerate(parts):
        rows = place[starts[part] : starts[part + 1]]
        sums[part] = np.bincount(rows, values, len(names))
        sizes[part] = np.bincount(rows, minlength=len(names))
    return sums, sizes


def _of_shares(sums: Array, sizes: Array) -> tuple[float, float, str]:
    """Interval of the mean of the parts' shares, in percent, and how it was made."""
    count = sums.shape[1]
    share, error = _mean_and_error(sums, sizes)
    if not error:
        return *_wilson(share, count), f"Wilson on {count} group{'s' * (count > 1)} without variation between them"
    # Fewer in any one part, and a resample may have none of them.
    if np.count_nonzero(sizes, axis=1).min() >= _FEW and len(sums) <= _MOST_PARTS:
        return *_percent(*_bootstrap(sums, sizes)), f"bootstrap over {count} groups"
    return _on_logit_scale(share, error, count)


def _on_logit_scale(share: float, error: float, count: int) -> tuple[float, float, str]:
    """t interval of a share with a standard error over `count` groups, in percent, and how it was made."""
    # The derivative of the logit is 1 / (p (1 - p)); where groups vary, p is neither 0 nor 1.
    margin = _t(count) * error / (share * (1 - share))
    low, high = special.expit(special.logit(share) + np.array([-margin, margin]))
    few = ", few groups" if count < _FEW else ""
    return *_percent(low, high), f"t over {count} groups on the logit scale{few}"


def _of_mean_average_precision(parts: Sequence[Part], groups: Sequence[Sequence[str]]) -> tuple[float, float, str]:
    """Interval of the mean over parts and classes of all-points average precision, in percent, and how it was made."""
    count, weights = _resampled(groups)
    found = [
        _average_precision(part.probabilities[:, target], part.targets == target, each)
        for (part, _, _), each in zip(parts, weights, strict=True)
        for target in np.unique(part.targets)
    ]
    # a class without a positive in a resample does not count there
    return _of_resamples(np.nanmean(found, axis=0), count)


def _of_harmonic_mean(
    parts: Sequence[Part], hits: Sequence[Hits], groups: Sequence[Sequence[str]]
) -> tuple[float, float, str]:
    """Interval of the mean over parts of the harmonic mean of top-1 on base and on novel classes, in percent."""
    count, weights = _resampled(groups)
    found = []
    for (part, _, _), right_ones, each in zip(parts, hits, weights, strict=True):
        if part.novel is None:
            raise ValueError("expected predictions with novel classes")
        novel = part.novel[part.targets]
        a, b = (each[:, half] @ right_ones[half] / np.maximum(each[:, half].sum(axis=1), 1) for half in (novel, ~novel))
        found.append(2 * a * b / np.maximum(a + b, 1e-9))
    return _of_resamples(np.mean(found, axis=0), count)


def _resampled(groups: Sequence[Sequence[str]]) -> tuple[int, list[npt.NDArray[np.float32]]]:
    """The number of groups, and how often each sample of each part is in each resample, `[R, N]`; first all once."""
    names, place = np.unique(np.concatenate([np.asarray(each) for each in groups]), return_inverse=True)
    count, rows = len(names), np.split(place, np.cumsum([len(each) for each in groups])[:-1])
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=_RESAMPLES_OF_AP)
    weights = np.concatenate([np.ones((1, count)), drawn]).astype(np.float32)
    return count, [weights[:, each] for each in rows]


def _of_resamples(found: Array, count: int) -> tuple[float, float, str]:
    """Interval of a share by its values on the samples and on their resamples, over `count` groups."""
    share, resampled = found[0], found[1:]
    error = float(np.std(resampled, ddof=1)) * np.sqrt(count / max(count - 1, 1))
    if count < 2 or error < 1e-9:
        return *_wilson(share, count), f"Wilson on {count} group{'s' * (count > 1)} without variation between them"
    low, high, method = _on_logit_scale(float(share), error, count)
    return low, high, f"{method}, standard error of {_RESAMPLES_OF_AP} bootstrap resamples"


def _average_precision(scores: npt.NDArray[np.floating], positive: Hits, weights: npt.NDArray[np.float32]) -> Array:
    """All-points average precision of one class, 0 to 1, for every row of weights `[R, N]`; NaN without a positive."""
    known = np.flatnonzero(np.isfinite(scores))
    order = known[np.argsort(-scores[known], kind="stable")]
    last_of_equals = np.append(scores[order][1:] != scores[order][:-1], True)[: len(order)]
    found = np.cumsum(weights[:, order] * positive[order], axis=1, dtype=np.float64)[:, last_of_equals]
    retrieved = np.cumsum(weights[:, order], axis=1, dtype=np.float64)[:, last_of_equals]
    precision = found / np.maximum(retrieved, 1)
    total = weights[:, positive].sum(axis=1, dtype=np.float64)
    gained = np.diff(found, axis=1, prepend=0.0)
    average: Array = np.divide(
        (gained * precision).sum(axis=1), total, out=np.full(len(total), np.nan), where=total > 0
    )
    return average


def _mean_and_error(sums: Array, sizes: Array) -> tuple[float, float]:
    """Mean over parts of the ratio sums / sizes, and its standard error over groups, 0.0 where they do not vary.

    A group's residual is linear in every part: that of the ratio estimator, averaged over parts.
    """
    count, totals = sums.shape[1], sizes.sum(axis=1, keepdims=True)
    ratios = sums.sum(axis=1, keepdims=True) / totals
    residuals = ((sums - ratios * sizes) / totals).mean(axis=0)
    if count < 2 or np.allclose(residuals, 0, atol=1e-12):
        return float(ratios.mean()), 0.0
    return float(ratios.mean()), float(np.sqrt(count / (count - 1) * np.sum(residuals**2)))


def _t(count: int) -> float:
    return float(special.stdtrit(max(count - 1, 1), (1 + _LEVEL) / 2))


def _wilson(share: float, count: int) -> tuple[float, float]:
    from scipy import stats

    found = stats.binomtest(round(share * count), count).proportion_ci(_LEVEL, method="wilson")
    return _percent(found.low, found.high)


def _bootstrap(sums: Array, sizes: Array) -> tuple[float, float]:
    from scipy import stats

    parts = len(sums)

    def mean_share(*rows: Array, axis: int) -> Array:
        totals = [row.sum(axis=axis) for row in rows]
        return np.asarray(np.mean([totals[part] / totals[parts + part] for part in range(parts)], axis=0))

    found = stats.bootstrap(
        (*sums, *sizes),
        mean_share,
        paired=True,
        vectorized=True,
        n_resamples=_RESAMPLES,
        confidence_level=_LEVEL,
        method="BCa",
        batch=500,
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def _percent(low: float, high: float) -> tuple[float, float]:
    return 100 * max(0.0, float(low)), 100 * min(1.0, float(high))


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
