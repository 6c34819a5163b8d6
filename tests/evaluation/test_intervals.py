"""Intervals against independent formulas, and their coverage on simulated groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harbench.evaluation.intervals import interval


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


def test_few_equal_groups_are_the_t_interval_of_their_means() -> None:
    means = [10, 9, 10, 9, 8, 10, 7, 10, 9]
    correct = np.concatenate([np.arange(10) < hits for hits in means])
    low, high, method = interval(correct, [f"person{i // 10}" for i in range(90)])
    shares = np.array(means) / 10
    expected = stats.t.interval(0.95, 8, loc=shares.mean(), scale=stats.sem(shares))
    assert (low, high) == pytest.approx((100 * expected[0], min(100.0, 100 * expected[1])))
    assert method == "t on 9 group means, few groups"


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


def test_groups_without_variation_say_so() -> None:
    low, high, method = interval(np.ones(90, dtype=bool), [f"p{i % 9}" for i in range(90)])
    assert low < 97 and high == 100
    assert method == "Wilson, ungrouped: 9 groups without variation between them"
    assert interval(np.ones(5, dtype=bool), ["one"] * 5)[2].startswith("Wilson, ungrouped: 1 group ")


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


@pytest.mark.parametrize("groups", [9, 40])
def test_coverage_with_correlated_groups(groups: int) -> None:
    """About 95 % of intervals hold the truth although samples of a group go together (a binomial one: under 80 %)."""
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(60):
        ability = rng.beta(6, 4, groups)
        correct = (rng.random((groups, 10)) < ability[:, None]).ravel()
        low, high, _ = interval(correct, [f"g{i // 10}" for i in range(10 * groups)])
        covered += low <= 60 <= high
    assert covered >= 52
