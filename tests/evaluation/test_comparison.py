"""The paired test against scipy's enumeration and McNemar's; what a comparison says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harbench.analysis.compare import compare_hits
from harbench.evaluation.intervals import holm, sign_flip


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(-6, 6), min_size=2, max_size=9))
def test_sign_flips_against_scipys_exact_enumeration(sums: list[int]) -> None:
    found = stats.permutation_test(
        (np.array(sums, dtype=float),), np.sum, permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    # scipy doubles the smaller tail; the null is symmetric, so that is the two-sided p.
    assert sign_flip(np.array(sums)) == pytest.approx(min(1.0, found.pvalue))


def test_single_samples_are_mcnemars_exact_test() -> None:
    assert sign_flip(np.array([1] * 14 + [-1] * 5 + [0] * 30)) == pytest.approx(stats.binomtest(5, 19).pvalue)
    assert sign_flip(np.zeros(4, dtype=np.int64)) == 1.0


def test_holm_by_hand() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx((0.06, 0.03, 0.06))


def test_flips_gains_and_groups() -> None:
    a = np.array([True, True, False, False, True, False])
    b = np.array([True, False, True, True, True, False])
    ids, targets = tuple("uvwxyz"), np.array([0, 0, 0, 1, 1, 1])
    found = compare_hits(a, b, ids, targets, ["g", "g", "g", "h", "h", "i"], ("run", "jump", "empty"))
    assert (found.gained, found.lost, found.groups) == (("w", "x"), ("v",), 3)
    assert (found.difference, found.p) == (pytest.approx(100 / 6), 1.0)
    assert [(each.key, round(each.gain, 2)) for each in found.per_class] == [("jump", 33.33), ("run", 0.0)]
    assert found.interval[0] < found.difference < found.interval[1]
    assert "no groups" in compare_hits(a, b, ids, targets, [""] * 6, ("run", "jump")).interval_method
    with pytest.raises(ValueError, match="same samples"):
        compare_hits(a, b[:5], ids, targets, ["g"] * 6, ("run", "jump"))
