"""Every metric against scikit-learn, or a plain reference written from its definition; the rule on missing scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    confusion_matrix,
    recall_score,
    top_k_accuracy_score,
)
from torchmetrics.functional.classification import multiclass_accuracy

from harbench.evaluation.metrics import average_precisions, rank_of_target, score
from harbench.records import ClassLabel, Predictions


def labels(number: int) -> tuple[ClassLabel, ...]:
    return tuple(ClassLabel(f"c{index}", f"Class {index}") for index in range(number))


def predicted(
    targets: npt.ArrayLike, scores: npt.ArrayLike, views: npt.NDArray[np.float16] | None = None
) -> Predictions:
    """Predictions whose logits are `scores` [N, K]; a row of NaN has no score."""
    logits = np.asarray(scores, np.float32)
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    ids = tuple(f"s{index}" for index in range(len(logits)))
    probabilities = exponents / exponents.sum(axis=1, keepdims=True)
    return Predictions(ids, np.asarray(targets, np.int64), logits, probabilities, views)


@st.composite
def predictions(draw: st.DrawFn, missing: bool = True) -> Predictions:
    number, classes = draw(st.integers(1, 60)), draw(st.integers(2, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scores = rng.normal(size=(number, classes))
    if missing:
        scores[rng.random(number) < draw(st.sampled_from([0, 0.3]))] = np.nan
    return predicted(rng.integers(0, draw(st.integers(1, classes)), number), scores)


def filled(scores: npt.NDArray[np.float32], targets: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """A missing score replaced by one that is wrong: the true class last, all others equal."""
    result = scores.astype(np.float64)
    gone = np.isnan(result).any(axis=1)
    result[gone] = 1.0
    result[gone, targets[gone]] = 0.0
    return result


@given(predictions())
def test_accuracies_are_scikit_learn_s(found: Predictions) -> None:
    classes = found.logits.shape[1]
    values = score(found, labels(classes)).values
    scores = filled(found.logits, found.targets)
    answers = scores.argmax(axis=1)
    present = sorted(set(found.targets.tolist()))
    assert values["top1"] == pytest.approx(100 * accuracy_score(found.targets, answers))
    recall = recall_score(found.targets, answers, labels=present, average="macro", zero_division=0)
    assert values["mean_class"] == pytest.approx(100 * recall)
    if classes > 5:
        expected = top_k_accuracy_score(found.targets, scores, k=5, labels=range(classes))
        assert values["top5"] == pytest.approx(100 * expected)
    else:
        assert values["top5"] is None


@given(predictions())
def test_average_precision_is_scikit_learn_s(found: Predictions) -> None:
    classes = found.logits.shape[1]
    metrics = score(found, labels(classes))
    known = ~np.isnan(found.probabilities).any(axis=1)
    expected = []
    for index in range(classes):
        positive = found.targets == index
        if positive.any():
            retrievable = positive[known].sum() / positive.sum()
            reached = (
                average_precision_score(positive[known], found.probabilities[known, index]) if retrievable else 0.0
            )
            expected.append(100 * retrievable * reached)
            assert metrics.per_class[f"c{index}"]["ap"] == pytest.approx(expected[-1])
        else:
            assert metrics.per_class[f"c{index}"]["ap"] is None
    assert metrics.values["mAP"] == pytest.approx(np.mean(expected))


def plain_voc(scores: list[float], positive: list[bool]) -> tuple[float, float]:
    """The development kit's loop: area under the envelope, and its mean at 11 recalls. Scores are distinct."""
    order = sorted((index for index in range(len(scores)) if scores[index] == scores[index]), key=lambda i: -scores[i])
    total, found = sum(positive), 0
    curve = []
    for rank, index in enumerate(order, 1):
        found += positive[index]
        curve.append((found, found / rank))
    area = sum(
        max(precision for reached, precision in curve if reached >= need) / total
        for need in range(1, total + 1)
        if any(reached >= need for reached, _ in curve)
    )
    eleven = [
        max((precision for reached, precision in curve if 10 * reached >= tenths * total), default=0.0)
        for tenths in range(11)
    ]
    return 100 * area, 100 * sum(eleven) / 11


@given(st.integers(1, 50), st.floats(0.05, 1), st.sampled_from([0, 0.3]), st.integers(0, 2**32))
def test_the_voc_flavors_are_the_development_kit_s(number: int, share: float, missing: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, positive = rng.permutation(number).astype(np.float64), rng.random(number) < share
    scores[rng.random(number) < missing] = np.nan
    assume(positive.any())
    area, eleven = plain_voc(scores.tolist(), positive.tolist())
    _, voc, at_eleven = average_precisions(scores, positive)
    assert voc == pytest.approx(area)
    assert at_eleven == pytest.approx(eleven)


def test_average_precision_by_hand() -> None:
    positive = np.array([True, False, True, True, False])
    scores = np.array([0.9, 0.8, 0.7, np.nan, 0.6])
    plain, voc, eleven = average_precisions(scores, positive)
    assert plain == pytest.approx(100 * (1 + 2 / 3) / 3), "the third positive is never retrieved"
    assert voc == pytest.approx(plain)
    assert eleven == pytest.approx(100 * (4 * 1 + 3 * 2 / 3) / 11), "recall 0..0.3 at 1, 0.4..0.6 at 2/3"
    assert average_precisions(scores, np.zeros(5, bool)) == (None, None, None)
    assert average_precisions(np.full(5, np.nan), positive) == (0, 0, 0)


def test_equal_scores_are_retrieved_together() -> None:
    scores, positive = np.array([0.5, 0.5, 0.5, 0.1]), np.array([True, False, False, True])
    for order in ([0, 1, 2, 3], [1, 2, 0, 3]):
        plain, _, _ = average_precisions(scores[order], positive[order])
        assert (
            plain
            == pytest.approx(100 * average_precision_score(positive, scores))
            == pytest.approx(100 * (1 / 6 + 1 / 4))
        )


def test_equal_scores_rank_the_lower_index_first() -> None:
    scores = np.array([[1.0, 1.0, 1.0], [0.0, 2.0, 2.0], [np.nan, 1.0, 0.0]])
    for target, expected in enumerate([[0, 2, 3], [1, 0, 3], [2, 1, 3]]):
        assert rank_of_target(scores, np.full(3, target)).tolist() == expected


def test_a_missing_score_is_wrong_everywhere_and_counted() -> None:
    scores = 9 * np.eye(6)[[0, 0, 1, 1, 2, 3]]
    scores[1] = np.nan
    metrics = score(predicted([0, 0, 1, 1, 2, 3], scores), labels(6))
    assert (metrics.samples, metrics.scored) == (6, 5)
    assert metrics.values["top1"] == pytest.approx(500 / 6)
    assert metrics.values["top5"] == pytest.approx(500 / 6)
    assert metrics.values["mean_class"] == pytest.approx((50 + 100 + 100 + 100) / 4), "over the four classes there are"
    assert metrics.values["mAP"] == pytest.approx((50 + 100 + 100 + 100) / 4)
    assert metrics.per_class["c0"] == {"samples": 2, "recall": 50, "ap": pytest.approx(50)}
    assert metrics.per_class["c5"] == {"samples": 0, "recall": None, "ap": None}
    assert sum(map(sum, metrics.confusion)) == 5


@given(predictions())
def test_the_confusion_matrix_is_scikit_learn_s(found: Predictions) -> None:
    classes = found.logits.shape[1]
    metrics = score(found, labels(classes))
    known = ~np.isnan(found.logits).any(axis=1)
    answers = found.logits[known].argmax(axis=1)
    if known.any():
        expected = confusion_matrix(found.targets[known], answers, labels=range(classes))
        assert metrics.confusion == tuple(tuple(row) for row in expected.tolist())
    assert sum(metrics.confusion[index][index] for index in range(classes)) == pytest.approx(
        metrics.values["top1"] / 100 * len(found.targets)  # type: ignore[operator]
    )


@given(predictions(missing=False))
def test_torchmetrics_agrees_when_told_what_to_average(found: Predictions) -> None:
    classes = found.logits.shape[1]
    top1 = multiclass_accuracy(
        torch.from_numpy(found.logits), torch.from_numpy(found.targets), classes, average="micro"
    )
    assert score(found, labels(classes)).values["top1"] == pytest.approx(100 * float(top1), abs=1e-3)


def test_average_chooses_the_ranking_and_leaves_map_alone() -> None:
    found = predicted([0, 1], [[2.0, 1.0], [0.0, 3.0]])
    swapped = Predictions(found.ids, found.targets, found.logits[:, ::-1].copy(), found.probabilities)
    by_prob, by_logit = score(swapped, labels(2)), score(swapped, labels(2), average="logit")
    assert (by_prob.values["top1"], by_logit.values["top1"]) == (100, 0)
    assert by_prob.values["mAP"] == by_logit.values["mAP"] == 100


def test_clip_accuracy_is_over_single_views() -> None:
    views = np.array([[[1, 0], [0, 1]], [[0, 1], [0, 1]], [[np.nan] * 2] * 2], np.float16)
    found = predicted([0, 1, 1], [[0.6, 0.4], [0, 1], [np.nan, np.nan]], views)
    metrics = score(found, labels(2))
    assert metrics.values["clip_top1"] == pytest.approx(50), "the unscored sample's two views are wrong"
    assert metrics.values["top1"] == pytest.approx(200 / 3)
    assert "clip_top1" not in score(predicted([0], [[1, 0]]), labels(2)).values


def test_nothing_to_score_is_undefined() -> None:
    nothing = np.zeros((0, 7), np.float32)
    metrics = score(Predictions((), np.zeros(0, np.int64), nothing, nothing), labels(7))
    assert set(metrics.values.values()) == {None}


def test_scores_of_another_number_of_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected scores \[1, 3\], found \[1, 2\]"):
        score(predicted([0], [[1, 0]]), labels(3))
