"""The metrics of the field, each with one fixed definition, and late fusion of scores. All in percent.

A sample without a score (NaN) stays in every denominator: it is wrong for top-k and mean class, and for average
precision a positive that is never retrieved. numpy rather than torchmetrics: its metrics lack that rule and a fixed order
of equal scores, its average precision of 3,783 x 101 scores takes nine times as long, and to import it takes longer than
to import torch. The tests compare with it and with scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from harbench.records import ClassLabel, Metrics, Predictions

Floats = npt.NDArray[np.floating]
Targets = npt.NDArray[np.int64]


def score(
    predictions: Predictions, classes: Sequence[ClassLabel], *, average: Literal["prob", "logit"] = "prob"
) -> Metrics:
    """Metrics of `predictions` over `classes`, which are in the order of the scores' columns.

    - `top1`, `top5`: share of samples whose class is among the k best scores, those of mean probabilities or of mean
      logits by `average`. Between equal scores the class of the lower index comes first. `top5` of five classes or
      fewer is None: it would be 100 whatever the model says.
    - `mean_class`: mean recall over the classes that have samples.
    - `mAP`: mean over the same classes of all-points average precision, sum of (R_n - R_n-1) P_n over the thresholds,
      of softmax averaged over views whatever `average` is. `mAP_voc`: area under the envelope of precision (PASCAL VOC
      from 2010 on); `mAP_11`: mean of that envelope at recall 0, 0.1, ..., 1 (VOC 2007, doi:10.1007/s11263-009-0275-4).
    - `base`, `novel`: top-1 on the samples of either half of the classes; `harmonic`: their harmonic mean.
    - `clip_top1`, where views were kept (in half precision): top-1 of each view by itself, over all views.

    Raises:
        ValueError: the scores have another number of columns than there are classes.
    """
    number = len(classes)
    targets, probabilities = predictions.targets, predictions.probabilities
    ranked = probabilities if average == "prob" else predictions.logits
    if ranked.shape != (len(targets), number):
        raise ValueError(f"expected scores [{len(targets)}, {number}], found {list(ranked.shape)}")
    ranks = rank_of_target(ranked, targets)
    samples = np.bincount(targets, minlength=number)
    recalls = _ratios(np.bincount(targets[ranks == 0], minlength=number), samples)
    flavors = [average_precisions(probabilities[:, index], targets == index) for index in range(number)]
    values = {
        "top1": _mean(ranks < 1),
        "top5": _mean(ranks < 5) if number > 5 else None,
        "mean_class": _mean_of_known(recalls),
        "mAP": _mean_of_known([each[0] for each in flavors]),
        "mAP_voc": _mean_of_known([each[1] for each in flavors]),
        "mAP_11": _mean_of_known([each[2] for each in flavors]),
    }
    if predictions.views is not None:
        views = predictions.views.astype(np.float32)
        flat = views.reshape(-1, number)
        values["clip_top1"] = _mean(rank_of_target(flat, np.repeat(targets, views.shape[1])) < 1)
    if predictions.novel is not None:
        novel = predictions.novel[targets]
        halves = _mean(ranks[~novel] < 1) or 0.0, _mean(ranks[novel] < 1) or 0.0
        values |= {"base": halves[0], "novel": halves[1], "harmonic": harmonic_mean(*halves)}
    scored = np.isfinite(ranked).all(axis=1)
    return Metrics(
        values=values,
        per_class={
            label.key: {"samples": float(count), "recall": recall, "ap": flavor[0]}
            for label, count, recall, flavor in zip(classes, samples, recalls, flavors, strict=True)
        },
        samples=len(targets),
        scored=int(scored.sum()),
        confusion=_confusion(ranked[scored], targets[scored], number),
    )


def harmonic_mean(a: float, b: float) -> float:
    """0 where either is."""
    return 2 * a * b / (a + b) if a and b else 0.0


def among_own_half(predictions: Predictions, novel: npt.NDArray[np.bool_]) -> Predictions:
    """Scores of each sample among the base or among the `novel` classes `[K]`, whichever its own class is of.

    As Rasheed et al. evaluate base and novel classes, each with a classifier of its own (arXiv:2212.03640, section 4).
    """
    own = novel[predictions.targets][:, None] == novel
    logits = np.where(own, predictions.logits, predictions.logits.min(axis=1, keepdims=True) - 100)
    probabilities = np.where(own, predictions.probabilities, 0)
    probabilities /= np.maximum(probabilities.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    lost = ~np.isfinite(predictions.logits).all(axis=1)
    logits[lost] = probabilities[lost] = np.nan
    return replace(predictions, logits=logits, probabilities=probabilities, views=None, novel=novel)


def rank_of_target(scores: Floats, targets: Targets) -> Targets:
    """How many classes stand before the true one, int64 `[N]`, from scores `[N, K]`; K for a sample without a score.

    Before it stand all of a higher score, and of an equal one those of a lower index.
    """
    own = np.take_along_axis(scores, targets[:, None], axis=1)
    earlier = np.arange(scores.shape[1]) < targets[:, None]
    ranks: Targets = ((scores > own) | ((scores == own) & earlier)).sum(axis=1)
    ranks[~np.isfinite(scores).all(axis=1)] = scores.shape[1]
    return ranks


def right(predictions: Predictions, average: str) -> npt.NDArray[np.bool_]:
    """Which samples are right, `[N]`: the true class has the best mean probability (`prob`) or mean logit (`logit`)."""
    scores = predictions.probabilities if average == "prob" else predictions.logits
    return rank_of_target(scores, predictions.targets) < 1


def average_precisions(
    scores: Floats, positive: npt.NDArray[np.bool_]
) -> tuple[float | None, float | None, float | None]:
    """All-points, envelope and 11-point average precision in percent of one class; None without a positive.

    `scores` `[N]`; equal ones are retrieved together, NaN never.
    """
    total = int(positive.sum())
    if not total:
        return None, None, None
    known = np.isfinite(scores)
    order = np.argsort(-scores[known], kind="stable")
    ordered, hits = scores[known][order], positive[known][order]
    last_of_equals = np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)]
    retrieved = np.flatnonzero(last_of_equals) + 1
    found = np.cumsum(hits)[last_of_equals]
    precision, recall = found / retrieved, found / total
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    gained = np.diff(recall, prepend=0.0)
    # Recall is compared as counts: 0.3 * 10 is not 3.
    at = [envelope[10 * found >= tenths * total][:1].sum() for tenths in range(11)]
    return 100 * float(gained @ precision), 100 * float(gained @ envelope), 100 * float(np.mean(at))


def _confusion(scores: Floats, targets: Targets, number: int) -> tuple[tuple[int, ...], ...]:
    """Counts `[K, K]`, rows are truth; `argmax` gives equal scores to the lower index, as the ranks do."""
    cells = number * targets + scores.argmax(axis=1)
    counts = np.bincount(cells, minlength=number * number).reshape(number, number)
    return tuple(tuple(row) for row in counts.tolist())


def _ratios(parts: Targets, wholes: Targets) -> list[float | None]:
    return [100 * part / whole if whole else None for part, whole in zip(parts.tolist(), wholes.tolist(), strict=True)]


def _mean(correct: npt.NDArray[np.bool_]) -> float | None:
    return 100 * float(correct.mean()) if len(correct) else None


def _mean_of_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def fuse_scores(
    parts: Sequence[Predictions], weights: Sequence[float], level: Literal["probabilities", "logits"]
) -> Predictions:
    """The weighted mean of the parts' probabilities or logits; of the other it holds what softmax makes of that.

    A sample without a score in one part has none, with that part's reason.

    Raises:
        ValueError: the parts are not of the same samples and classes, or there are not as many weights.
    """
    first = parts[0]
    if any(part.ids != first.ids or part.logits.shape != first.logits.shape for part in parts):
        raise ValueError("the parts are not scores of the same samples and classes")
    shares = np.asarray(weights, np.float64) / sum(weights)
    tables = [part.logits if level == "logits" else part.probabilities for part in parts]
    mean: npt.NDArray[np.float64] = sum(
        share * table.astype(np.float64) for share, table in zip(shares, tables, strict=True)
    )
    if level == "logits":
        logits, probabilities = mean, softmax(mean, axis=1)
    else:
        logits, probabilities = np.log(np.maximum(mean, np.finfo(np.float32).tiny)), mean
    failed = {name: reason for part in reversed(parts) for name, reason in part.failed.items()}
    missing = [index for index, name in enumerate(first.ids) if name in failed]
    logits[missing] = probabilities[missing] = np.nan
    return Predictions(
        ids=first.ids,
        targets=first.targets,
        logits=logits.astype(np.float32),
        probabilities=probabilities.astype(np.float32),
        failed={name: failed[name] for name in first.ids if name in failed},
    )
