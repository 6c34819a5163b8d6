"""Fused scores against the same sums done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from harbench.evaluation.metrics import fuse_scores
from harbench.records import Predictions

IDS = ("a", "b", "c")
TARGETS = np.array([0, 1, 2])


def part(seed: int, failed: dict[str, str] | None = None, ids: tuple[str, ...] = IDS) -> Predictions:
    logits = np.random.default_rng(seed).normal(0, 3, (3, 4)).astype(np.float32)
    probabilities = softmax(logits, axis=1)
    for name in failed or {}:
        logits[ids.index(name)] = probabilities[ids.index(name)] = np.nan
    return Predictions(ids, TARGETS, logits, probabilities, None, failed or {})


def test_logits_are_the_weighted_mean_of_logits() -> None:
    one, two = part(1), part(2)
    fused = fuse_scores([one, two], [1, 1.5], "logits")
    expected = (one.logits + 1.5 * two.logits) / 2.5
    np.testing.assert_allclose(fused.logits, expected, rtol=1e-5)
    np.testing.assert_allclose(fused.probabilities, softmax(expected, axis=1), rtol=1e-5)
    assert (fused.ids, fused.views, dict(fused.failed)) == (IDS, None, {})


def test_probabilities_are_the_weighted_mean_of_probabilities() -> None:
    parts = [part(seed) for seed in (1, 2, 3, 4)]
    fused = fuse_scores(parts, [2, 2, 1, 1], "probabilities")
    a, b, c, d = (each.probabilities for each in parts)
    np.testing.assert_allclose(fused.probabilities, (2 * a + 2 * b + c + d) / 6, rtol=1e-5)
    np.testing.assert_allclose(softmax(fused.logits, axis=1), fused.probabilities, rtol=1e-4)


def test_a_class_that_nobody_gives_a_chance_stays_finite() -> None:
    sure = Predictions(("a",), np.array([0]), np.zeros((1, 2), np.float32), np.array([[1, 0]], np.float32))
    fused = fuse_scores([sure, sure], [1, 1], "probabilities")
    assert np.isfinite(fused.logits).all()
    np.testing.assert_array_equal(fused.probabilities, [[1, 0]])


def test_a_sample_that_failed_in_one_part_has_no_score() -> None:
    fused = fuse_scores([part(1, {"c": "first"}), part(2, {"c": "second", "a": "cut off"})], [1, 1], "logits")
    assert dict(fused.failed) == {"a": "cut off", "c": "first"}
    assert np.isnan(fused.logits).all(axis=1).tolist() == [True, False, True]
    assert np.isnan(fused.probabilities).all(axis=1).tolist() == [True, False, True]


def test_other_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="same samples"):
        fuse_scores([part(1), part(2, ids=("a", "c", "b"))], [1, 1], "logits")
    with pytest.raises(ValueError):
        fuse_scores([part(1), part(2)], [1], "logits")
