"""Verdicts on reproduction: the arithmetic, the words, and how often they are wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from harbench.recipe import ExpectConfig
from harbench.records import PublishedResult, RunRecord
from harbench.reporting.entries import Entry, Protocols, run_entries
from harbench.reporting.verdicts import PRIOR, default_margin, judge, sentence, target_of, verdict

MakeRun = Callable[..., RunRecord]
MakePublished = Callable[..., PublishedResult]


def stated(split: str = "", margin: float | None = None, source: str = "arXiv:1711.11248") -> ExpectConfig:
    """A number that a recipe is to reproduce."""
    return ExpectConfig(value=85.0, margin=margin, split=split, source=source)


def entry(make_run: MakeRun, *values: float, **changes: object) -> Entry:
    runs = [make_run(seed=seed, top1=value, **changes) for seed, value in enumerate(values)]
    return run_entries(runs, ["top1"], Protocols("UCF-101", {}, {}))[0]


def test_the_bounds_are_those_of_a_t_test_with_one_more_draw() -> None:
    values = [84.0, 84.6, 85.1]
    found = judge(float(np.mean(values)), float(np.std(values, ddof=1)), 3, 85.0, 1.0)
    reach = stats.t.ppf(0.95, 2) * np.std(values, ddof=1) * np.sqrt(1 / 3 + 1)
    assert (found.low, found.high) == pytest.approx((np.mean(values) - 85 - reach, np.mean(values) - 85 + reach))
    assert (found.state, found.assumed) == ("INCONCLUSIVE", False)


def test_one_run_uses_the_stated_prior_and_says_so(make_run: MakeRun, make_published: MakePublished) -> None:
    found = judge(84.0, None, 1, 85.0, 2.5)
    assert found.high - found.difference == pytest.approx(stats.norm.ppf(0.95) * PRIOR * np.sqrt(2))
    assert (found.state, found.assumed, found.seed_spread) == ("REPRODUCED", True, PRIOR)
    own = entry(make_run, 84.0)
    target = target_of(
        ExpectConfig(value=85.0, margin=2.5, metric="top1", split="", source="arXiv:1711.11248"),
        (make_published(value=85.0),),
        own,
    )
    assert any("0.6 points: fewer than 3 seeds" in note for note in verdict(own, target).notes)
    assert judge(90.0, 0.0, 3, 90.0, 1.0).assumed


def test_the_seeds_needed_are_enough_and_one_less_is_not() -> None:
    found = judge(84.0, 0.3, 3, 84.3, 1.0)
    assert found.state == "INCONCLUSIVE"
    assert found.seeds_needed is not None
    assert judge(84.0, 0.3, found.seeds_needed, 84.3, 1.0).state == "REPRODUCED"
    assert judge(84.0, 0.3, found.seeds_needed - 1, 84.3, 1.0).state == "INCONCLUSIVE"
    hopeless = judge(84.0, 0.5, 3, 85.1, 1.0)
    assert (hopeless.state, hopeless.seeds_needed) == ("INCONCLUSIVE", None)


def test_above_is_a_flag_beside_reproduced(make_run: MakeRun, make_published: MakePublished) -> None:
    own = entry(make_run, 95.0, 95.1, 94.9)
    rows = (make_published(value=85.0),)
    found = verdict(
        own,
        target_of(
            ExpectConfig(value=85.0, margin=None, metric="top1", split="split1", source="arXiv:1711.11248"), rows, own
        ),
    )
    assert found.state == "REPRODUCED"
    assert found.judgment is not None and found.judgment.above
    assert any("look for a leak" in note for note in found.notes)


def test_margins_by_data_set() -> None:
    names = ("ucf101", "ntu60", "ntu120_mutual", "hmdb51", "kth")
    assert [default_margin(name) for name in names] == [1.0, 1.0, 1.0, 1.5, 2.0]


def test_what_is_not_comparable_is_told_in_words(make_run: MakeRun, make_published: MakePublished) -> None:
    own = entry(make_run, 80.0, 80.2, 80.4)
    row = make_published(value=85.0, key={"split_set": "mean-of-3", "level": "clip"})
    found = verdict(
        own,
        target_of(
            ExpectConfig(value=85.0, margin=None, metric="top1", split="mean-of-3", source="arXiv:1711.11248"),
            (row,),
            own,
        ),
    )
    assert (found.state, found.judgment) == ("NOT COMPARABLE", None)
    assert found.reasons == ("split 1 against mean of 3 splits", "video level against clip level")
    assert "mean of 3 splits" in sentence(found)
    part = entry(make_run, 80.0, partial="16 of 3783 test samples")
    assert verdict(part, target_of(stated(source="x"), (), part)).reasons == ("partial: 16 of 3783 test samples",)


def test_a_target_selected_on_test_is_called_so(make_run: MakeRun, make_published: MakePublished) -> None:
    row = make_published(value=85.0, protocol={"selection": "test", "views": "1x1"})
    own = entry(make_run, 84.9, 85.0, 85.2)
    notes = verdict(
        own,
        target_of(
            ExpectConfig(value=85.0, margin=None, metric="top1", split="", source="arXiv:1711.11248"), (row,), own
        ),
    ).notes
    assert notes == ("the target was selected on test; this is the last epoch", "10 clips against 1")
    best = replace(own, protocol=replace(own.protocol, selection="test"))
    notes = verdict(
        best,
        target_of(
            ExpectConfig(value=85.0, margin=None, metric="top1", split="", source="arXiv:1711.11248"), (row,), best
        ),
    ).notes
    assert notes[0] == "the target was selected on test; this is the best epoch on test"


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_error_rates_are_as_promised(seeds: int) -> None:
    """Gaps in margins, own and published runs with the same seed noise: either wrong word in at most 5 % of cases."""
    rng, margin, trials = np.random.default_rng(seeds), 2.0, 2000
    rates: dict[float, Counter[str]] = {}
    for gap in (0.0, 0.5, 1.0, 2.0):
        own = 80 - gap * margin + PRIOR * rng.standard_normal((trials, seeds))
        published = 80 + PRIOR * rng.standard_normal(trials)
        spreads = own.std(axis=1, ddof=1) if seeds > 1 else np.zeros(trials)
        cases = zip(own.mean(axis=1), spreads, published, strict=True)
        rates[gap] = Counter(
            judge(float(mean), float(spread), seeds, float(target), margin).state for mean, spread, target in cases
        )
    # 3 standard errors of a rate of 5 % in 2000 trials are 1.5 points.
    assert rates[0.0]["BELOW"] + rates[0.5]["BELOW"] <= 0.065 * trials
    assert 0.035 * trials <= rates[1.0]["BELOW"] <= 0.065 * trials
    assert 0.035 * trials <= rates[1.0]["REPRODUCED"] <= 0.065 * trials
    assert rates[2.0]["REPRODUCED"] <= 0.005 * trials
    # ... and it does decide where the truth is clear.
    assert min(rates[0.0]["REPRODUCED"], rates[2.0]["BELOW"]) >= (0.5 if seeds == 3 else 0.7) * trials
