"""Gains against the noise of having tried them all: by enumeration, by simulation, by hand; known class orders."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harbench.analysis.causes import FEWEST, Finding, Outcome, Trial, class_orders, rank_causes, reordered


def ranked(before: np.ndarray, afters: dict[str, np.ndarray], groups: list[str]) -> dict[str, Finding]:
    own = Outcome(before.astype(float), groups)
    trials = [Trial(name, "", own, Outcome(after.astype(float), groups)) for name, after in afters.items()]
    return {found.cause: found for found in rank_causes(trials)}


def test_the_noise_is_the_quantile_of_the_largest_gain_over_all_signs() -> None:
    rng = np.random.default_rng(3)
    groups = [f"g{i // 5}" for i in range(45)]
    before, afters = rng.random(45) < 0.5, {name: rng.random(45) < 0.6 for name in "abcd"}
    found = ranked(before, afters, groups)
    sums = np.array([(after.astype(float) - before).reshape(9, 5).sum(1) for after in afters.values()]) * 100 / 45
    sizes = np.sqrt((sums**2).sum(1))
    largest = ((np.array(list(product((-1, 1), repeat=9))) @ sums.T) / sizes).max(1)
    for name, size in zip(afters, sizes, strict=True):
        low, high = size * np.quantile(largest, [0.94, 0.96], method="higher")
        assert low - 1e-9 <= found[name].noise <= high + 1e-9
        assert found[name].gain == pytest.approx(100 * (afters[name].mean() - before.mean()))


def test_chance_alone_is_seldom_suggested() -> None:
    """Twenty trials without any effect in 30 groups whose samples go together: one in twenty times, give or take chance."""
    rng, groups, alarms = np.random.default_rng(1), [f"g{i // 4}" for i in range(120)], 0
    for _ in range(50):
        easy = np.repeat(rng.random(30), 4)
        before, *afters = rng.random((21, 120)) < easy
        alarms += any(
            each.suggested for each in ranked(before, {str(i): a for i, a in enumerate(afters)}, groups).values()
        )
    assert alarms <= 7


def test_what_mends_it_is_suggested_first_beside_what_breaks_everything() -> None:
    groups = [f"person{i // 24}" for i in range(216)]
    rng = np.random.default_rng(0)
    before = rng.random(216) < 0.6
    better, half = before | (rng.random(216) < 0.6), before | (rng.random(216) < 0.3)
    afters = {f"broken {i}": rng.random(216) < 0.1 for i in range(15)}
    found = ranked(
        before, {"half": half, **afters, "all": better, "the same": better.copy(), "no change": before}, groups
    )
    assert [name for name, each in found.items() if each.suggested] == ["all", "the same", "half"]
    assert [name for name, each in found.items() if each.tied] == ["all", "the same"]
    assert (found["no change"].gain, found["no change"].noise) == (0.0, 0.0)


def test_four_groups_are_too_few() -> None:
    groups = [f"g{i % 4}" for i in range(100)]
    (found,) = ranked(np.zeros(100), {"all": np.ones(100)}, groups).values()
    assert (found.gain, found.suggested) == (100.0, False)


def test_other_samples_count_by_how_far_they_lie_from_the_rest() -> None:
    """Half as easy samples of the same groups are a cause; other groups that are as easy are none."""
    hard = Outcome(np.tile([1.0, 0.0, 0.0, 0.0], 20), [f"g{i // 4}" for i in range(80)])
    easy = Outcome(np.tile([1.0, 1.0, 1.0, 0.0], 20), [f"g{i // 4}" for i in range(80)])
    alike = Outcome(np.tile([1.0, 0.0, 0.0, 0.0], 20), [f"h{i // 4}" for i in range(80)])
    found = {
        each.cause: each for each in rank_causes([Trial("split", "", hard, easy), Trial("people", "", hard, alike)])
    }
    assert found["split"].suggested and found["split"].gain == 50
    assert not found["people"].suggested and found["people"].gain == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text("abcXYZ019", min_size=1, max_size=3), min_size=1, max_size=14, unique=True))
def test_orders_are_permutations_other_than_the_official_one(keys: list[str]) -> None:
    orders = list(class_orders(keys).values())
    assert all(sorted(order) == list(range(len(keys))) for order in orders)
    assert list(range(len(keys))) not in orders
    assert len({tuple(order) for order in orders}) == len(orders)


def test_each_known_order_is_undone() -> None:
    keys = ["walk", "Jog", "run", "box", "wave", "clap", "sit", "stand", "bend", "jump", "skip", "pjump"]
    official = np.arange(24.0).reshape(2, 12)
    by_key, by_text = np.argsort(np.array(keys)), sorted(range(12), key=str)
    wrong = {
        "order of sorted()": official[:, by_key],
        "numbers sorted as text: 0": official[:, by_text],
        "column k is class k - 1": np.roll(official, 1, axis=1),
        "column k is class k + 1": np.roll(official, -1, axis=1),
        "moved as if they had been in the order of sorted()": official[:, np.argsort(by_key)],
    }
    for words, scores in wrong.items():
        (order,) = [order for name, order in class_orders(keys).items() if name.endswith(words) or words in name][:1]
        assert np.array_equal(reordered(scores, order), official), words


@pytest.mark.parametrize(("groups", "told"), [(FEWEST - 1, False), (FEWEST, True)])
def test_a_cause_can_be_told_from_the_fewest_groups_on(groups: int, told: bool) -> None:
    names = [f"g{i}" for i in range(groups)]
    found = ranked(np.zeros(groups, bool), {"cause": np.ones(groups, bool)}, names)
    assert found["cause"].suggested is told
