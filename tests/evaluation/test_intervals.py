"""Intervals against independent formulas, and their coverage on simulated groups."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from sklearn.metrics import average_precision_score

from harbench.evaluation import intervals
from harbench.evaluation.intervals import interval, joint_interval, metric_interval
from harbench.records import Predictions


def test_wilson_against_the_textbook_formula() -> None:
    correct = np.array([True] * 45 + [False] * 5)
    low, high, method = interval(correct, [""] * 50)
    p, n, z = 0.9, 50, stats.norm.ppf(0.975)
    center = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    margin = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert (low, high) == pytest.approx((100 * (center - margin), 100 * (center + margin)), abs=1e-9)
    assert method == "Wilson, ungrouped"


def test_every_sample_its_own_group_is_wilson() -> None:
    correct = np.array([True] * 30 + [False] * 30)
    assert interval(correct, [f"g{i}" for i in range(60)])[:2] == interval(correct, [""] * 60)[:2]


def test_few_equal_groups_are_the_t_interval_of_their_means_on_the_logit_scale() -> None:
    means = [10, 9, 10, 9, 8, 10, 7, 10, 9]
    correct = np.concatenate([np.arange(10) < hits for hits in means])
    low, high, method = interval(correct, [f"person{i // 10}" for i in range(90)])
    shares = np.array(means) / 10
    share = shares.mean()
    expected = stats.t.interval(
        0.95, 8, loc=np.log(share / (1 - share)), scale=stats.sem(shares) / (share * (1 - share))
    )
    assert (low, high) == pytest.approx(tuple(100 / (1 + np.exp(-limit)) for limit in expected))
    assert method == "t over 9 groups on the logit scale, few groups"


def test_many_groups_are_bootstrapped_the_same_every_time() -> None:
    rng = np.random.default_rng(3)
    groups = [f"g{i // 4}" for i in range(400)]
    correct = np.repeat(rng.random(100) < 0.8, 4)
    low, high, method = interval(correct, groups)
    assert interval(correct, groups) == (low, high, method)
    assert method == "bootstrap over 100 groups"
    independent = interval(correct, [""] * 400)
    # Four equal clips a source carry the information of one: about twice as wide.
    assert 1.7 < (high - low) / (independent[1] - independent[0]) < 2.3


def test_groups_without_variation_count_once_each() -> None:
    low, high, method = interval(np.ones(90, dtype=bool), [f"p{i % 9}" for i in range(90)])
    assert (low, high) == interval(np.ones(9, dtype=bool), [""] * 9)[:2]
    assert method == "Wilson on 9 groups without variation between them"
    assert interval(np.ones(5, dtype=bool), ["one"] * 5)[2] == "Wilson on 1 group without variation between them"


def test_a_split_alone_is_its_own_joint_interval() -> None:
    rng = np.random.default_rng(5)
    correct, groups = rng.random(400) < 0.8, [f"g{i // 5}" for i in range(400)]
    assert joint_interval([(correct, groups)])[:2] == interval(correct, groups)[:2]
    # The same groups with the same answers in three splits know nothing more than once.
    assert joint_interval([(correct, groups)] * 3)[:2] == pytest.approx(interval(correct, groups)[:2])


@pytest.mark.parametrize("count", [8, 60])
def test_splits_of_other_groups_are_narrower_together(count: int) -> None:
    rng = np.random.default_rng(6)
    splits = []
    for split in range(3):
        able = rng.beta(4, 2, count)
        groups = [f"s{split}g{i // 10}" for i in range(10 * count)]
        splits.append(((rng.random((count, 10)) < able[:, None]).ravel(), groups))
    low, high, method = joint_interval(splits)
    alone = [interval(*split)[:2] for split in splits]
    width = np.mean([high - low for low, high in alone])
    assert 1.5 < width / (high - low) < 2.6 if count < 30 else 1.6 < width / (high - low) < 1.9
    assert low < 100 * np.mean([correct.mean() for correct, _ in splits]) < high
    assert f"{3 * count} groups" in method and method.endswith("drawn for 3 splits together")


def test_a_mean_of_splits_weighs_splits_not_samples() -> None:
    big, small = np.array([True] * 80 + [False] * 20), np.array([True] * 5 + [False] * 15)
    parts = [(big, [f"a{i // 4}" for i in range(100)]), (small, [f"b{i // 4}" for i in range(20)])]
    low, high, _ = joint_interval(parts)
    assert low < 100 * (0.8 + 0.25) / 2 < high
    assert (low + high) / 2 == pytest.approx(52.5, abs=4)


def test_wrong_shapes_are_told() -> None:
    with pytest.raises(ValueError, match="one group a sample"):
        interval(np.ones(3, dtype=bool), ["a", "b"])
    with pytest.raises(ValueError, match="at least one sample"):
        interval(np.ones(0, dtype=bool), [])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 12)), min_size=1, max_size=80))
def test_the_interval_holds_the_accuracy(samples: list[tuple[bool, int]]) -> None:
    correct = np.array([hit for hit, _ in samples])
    low, high, _ = interval(correct, [f"g{group}" for _, group in samples])
    assert 0 <= low <= 100 * correct.mean() + 1e-9
    assert 100 * correct.mean() - 1e-9 <= high <= 100


@pytest.mark.parametrize("correlation", [0.0, 0.5])
@pytest.mark.parametrize(("groups", "size"), [(9, 10), (40, 5)])
def test_coverage_over_shares(groups: int, size: int, correlation: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """About 95 % of intervals hold the truth, also where samples of a group go together; `make accept-statistics`."""
    monkeypatch.setattr(intervals, "_RESAMPLES", 299)
    rng = np.random.default_rng(7)
    names, covered = [f"g{i // size}" for i in range(groups * size)], []
    for share in (0.5, 0.7, 0.9):
        for _ in range(60):
            odds = 1 / correlation - 1 if correlation else 0
            able = rng.beta(share * odds, (1 - share) * odds, groups) if odds else np.full(groups, share)
            low, high, _ = interval((rng.random((groups, size)) < able[:, None]).ravel(), names)
            covered.append(low <= 100 * share <= high)
    assert 91 <= 100 * np.mean(covered) <= 98.5


def predictions(samples: int, classes: int, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    targets = rng.integers(classes, size=samples)
    scores = rng.random((samples, classes)).astype(np.float32)
    scores[np.arange(samples), targets] += 0.5
    scores /= scores.sum(axis=1, keepdims=True)
    return Predictions(tuple(f"s{row}" for row in range(samples)), targets, np.log(scores), scores)


def test_mean_average_precision_has_the_standard_error_of_a_bootstrap() -> None:
    """Resampled by hand and scored with scikit-learn, on the logit scale."""
    found = predictions(120, 3)
    groups = [f"g{row // 3}" for row in range(120)]
    low, high, method = metric_interval("mAP", [(found, "prob", groups)])
    assert method == "t over 40 groups on the logit scale, standard error of 400 bootstrap resamples"

    def mean_ap(rows: npt.NDArray[np.int64]) -> float:
        truth = np.eye(3)[found.targets[rows]]
        return float(average_precision_score(truth, found.probabilities[rows], average="macro"))

    value, rng = mean_ap(np.arange(120)), np.random.default_rng(1)
    resampled = [mean_ap((3 * rng.integers(40, size=40)[:, None] + np.arange(3)).ravel()) for _ in range(1500)]
    middle, spread = special.logit(value), np.std(resampled, ddof=1) / (value * (1 - value))
    assert special.logit([low / 100, high / 100]).mean() == pytest.approx(middle, abs=1e-3)
    width = np.diff(special.logit([low / 100, high / 100]))[0] / 2
    assert width == pytest.approx(stats.t.ppf(0.975, 39) * spread, rel=0.15)


def test_mean_class_accuracy_of_equal_classes_in_independent_samples_is_top1() -> None:
    """The same estimate and the same variance, but for the strata, which are smaller than the whole."""
    targets = np.repeat(np.arange(4), 50)
    hits = np.random.default_rng(0).random(200) < 0.7
    scores = np.eye(4, dtype=np.float32)[np.where(hits, targets, (targets + 1) % 4)]
    found = Predictions(tuple(f"s{row}" for row in range(200)), targets, scores, scores)
    alone = metric_interval("top1", [(found, "prob", [""] * 200)])
    low, high, method = metric_interval("mean_class", [(found, "prob", [""] * 200)])
    assert (low, high) == pytest.approx(alone[:2], abs=1.0) and "samples count as independent" in method


def test_the_interval_of_mean_class_accuracy_holds_the_truth_of_persons() -> None:
    """25 persons, each with an own ability, 6 classes: held in 95 % of 200 draws, give or take."""
    rng, held = np.random.default_rng(3), 0
    for _ in range(200):
        able = np.clip(0.8 + 0.1 * rng.standard_normal(25), 0, 1)
        targets, persons = np.tile(np.repeat(np.arange(6), 4), 25), np.repeat(np.arange(25), 24)
        hits = rng.random(600) < able[persons]
        scores = np.eye(6, dtype=np.float32)[np.where(hits, targets, (targets + 1) % 6)]
        found = Predictions(tuple(map(str, range(600))), targets, scores, scores)
        low, high, _ = metric_interval("mean_class", [(found, "prob", [f"p{person}" for person in persons])])
        held += low <= 79.7 <= high  # clipping at 1 costs 0.3 points
    assert held >= 180
