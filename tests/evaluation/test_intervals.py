"""Intervals against independent formulas, and their coverage on simulated groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harbench.evaluation import intervals
from harbench.evaluation.intervals import interval, joint_interval


def test_wilson_against_the_textbook_formula() -> None:
    correct = np.array([True] * 45 + [False] * 5)
    low, high, method = interval(correct, [""] * 50)
    p, n, z = 0.9, 50, stats.norm.ppf(0.975)
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    margin = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert (low, high) == pytest.approx((100 * (centre - margin), 100 * (centre + margin)), abs=1e-9)
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
