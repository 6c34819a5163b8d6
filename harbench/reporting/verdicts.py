"""Whether a number was reproduced: own seeds against one published number on the same fixed, official test set.

The official test set is the same for both, so what makes two runs of one method differ is the seed, not the sample of
test videos: the sampling interval is shown beside a verdict and takes no part in it. scipy is loaded when a verdict is
asked for, never by the leaderboards.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Literal

from harbench.records import UNKNOWN, Comparability, ProtocolFacts, PublishedResult
from harbench.reporting.entries import Entry
from harbench.runs.comparability import METRICS, key_differences, part_words, protocol_differences, rankable

if TYPE_CHECKING:
    from harbench.recipe import ExpectConfig

State = Literal["REPRODUCED", "BELOW", "INCONCLUSIVE", "NOT COMPARABLE"]

PRIOR = 0.6
"""Points: the assumed standard deviation over seeds of a recipe with too few of its own; a verdict that uses it says so."""
FEWEST_SEEDS = 3
"""Seeds from which on a recipe's own spread is used."""
_ENOUGH = 0.95
_MARGINS = {"ucf": 1.0, "ntu": 1.0, "hmdb": 1.5}
"""Points, by how the name of a data set begins."""
_MOST_SEEDS = 1000


@dataclass(frozen=True)
class Target:
    """The number to be reproduced, and how far below it a rerun may lie."""

    value: float
    margin: float
    source: str
    key: Comparability
    protocol: ProtocolFacts | None = None
    """None: how the number was made is not in the published tables."""


@dataclass(frozen=True)
class Judgment:
    """What the seeds say about a target, and the arithmetic behind it. Points of percent."""

    state: State
    above: bool
    """Better than the target by more than the margin: a reason to look for a leak, not to rejoice."""
    difference: float
    low: float
    """One-sided 95 % lower bound of the difference."""
    high: float
    """One-sided 95 % upper bound."""
    seed_spread: float
    assumed: bool
    """The spread is the prior, not the recipe's own."""
    seeds_needed: int | None
    """When inconclusive: seeds in all, if difference and spread stay; None: no number of them decides."""


@dataclass(frozen=True)
class Verdict:
    """One line of `harbench check`."""

    name: str
    source: str
    """Run folder or folders."""
    target: Target
    state: State
    value: float
    seeds: int
    judgment: Judgment | None
    """None where there is nothing to compare."""
    interval: tuple[float, float] | None
    """95 % sampling interval of the own value; takes no part."""
    reasons: tuple[str, ...]
    """Why the numbers are not comparable, in words."""
    notes: tuple[str, ...]


def default_margin(dataset: str) -> float:
    """Points below a published number that still count as reproduced: UCF and NTU 1.0, HMDB 1.5, others 2.0."""
    return next((margin for start, margin in _MARGINS.items() if dataset.startswith(start)), 2.0)


def judge(value: float, spread: float | None, seeds: int, published: float, margin: float) -> Judgment:
    """Compare the mean `value` of `seeds` runs with one published number.

    Both means carry seed noise of the same standard deviation s, the published one as a single run, so the difference
    has the standard error s * sqrt(1/k + 1). Three seeds or more: s is their own `spread`, and quantiles are Student's
    with k - 1 degrees of freedom. Fewer, or seeds that do not differ at all: s is `PRIOR`, and quantiles are normal.
    Each one-sided bound holds in 95 % of cases, so a method that is truly `margin` worse is called reproduced in at
    most 5 % of cases, and a method exactly at the margin is called below in at most 5 %.
    """
    from scipy import special

    assumed = seeds < FEWEST_SEEDS or not spread
    s = PRIOR if assumed or spread is None else spread

    def reach(count: int) -> float:
        normal = count < FEWEST_SEEDS or (assumed and seeds >= FEWEST_SEEDS)
        quantile = special.ndtri(_ENOUGH) if normal else special.stdtrit(count - 1, _ENOUGH)
        return float(quantile) * s * math.sqrt(1 / count + 1)

    difference = value - published
    low, high = difference - reach(seeds), difference + reach(seeds)
    state: State = "REPRODUCED" if low > -margin else "BELOW" if high < -margin else "INCONCLUSIVE"
    needed = None
    if state == "INCONCLUSIVE":
        distance = abs(difference + margin)
        counts = range(max(seeds + 1, FEWEST_SEEDS), _MOST_SEEDS + 1)
        # Reach shrinks with every seed: the first count whose reach is short of the distance.
        place = bisect_left(counts, True, key=lambda count: reach(count) < distance)
        needed = counts[place] if place < len(counts) else None
    return Judgment(state, low > margin, difference, low, high, s, assumed, needed)


def target_of(stated: ExpectConfig, rows: tuple[PublishedResult, ...], own: Entry) -> Target:
    """A target as stated in a recipe, with key and protocol of the published row that it quotes.

    The row is the one of the same value, metric, split and source; without one, key and protocol can only be taken to
    be the run's, which the verdict says.
    """
    value, metric, source = stated.value, stated.metric, stated.source
    split_set = stated.split or own.key.split_set
    quoted = [
        row
        for row in rows
        if row.value == value and row.key.metric == metric and row.key.split_set == split_set and _names(source, row)
    ]
    margin = default_margin(own.key.dataset) if stated.margin is None else stated.margin
    if quoted:
        return Target(value, margin, source, quoted[0].key, quoted[0].protocol)
    return Target(value, margin, source, replace(own.key, metric=metric, split_set=split_set, complete="yes"))


def _names(source: str, row: PublishedResult) -> bool:
    """Whether a recipe's words about a source name that of a row."""
    told = source.casefold()
    return row.source_id.casefold() in told or (row.source_title != "" and row.source_title.casefold() in told)


def verdict(own: Entry, target: Target) -> Verdict:
    """The verdict on one recipe's seeds; numbers that may not be ranked together are not compared at all."""
    reasons = key_differences(own.key, target.key)
    if own.reason and own.reason not in reasons:
        reasons = (*reasons, own.reason)
    notes = []
    judgment: Judgment | None = None
    if not reasons and rankable(own.key):
        judgment = judge(own.value, own.spread, own.seeds, target.value, target.margin)
        if judgment.assumed:
            few = own.seeds < FEWEST_SEEDS
            why = f"fewer than {FEWEST_SEEDS} seeds" if few else "the seeds do not differ"
            notes.append(f"spread over seeds assumed, {PRIOR:g} points: {why}")
        if judgment.above:
            notes.append(
                "ABOVE the target by more than the margin: look for a leak before you rejoice; lists of what was trained and "
                f"tested on are measured by  harbench splits {own.key.dataset} --audit FILE"
            )
    if target.protocol is None:
        notes.append("no published row is quoted, so only metric and split of the target are known")
    else:
        notes += _protocol_notes(own, target.protocol)
    state: State = judgment.state if judgment else "NOT COMPARABLE"
    return Verdict(
        own.name, own.source, target, state, own.value, own.seeds, judgment, own.interval, reasons, tuple(notes)
    )


def _protocol_notes(own: Entry, theirs: ProtocolFacts) -> list[str]:
    """What a reader should know of how the two were made; parts that the source does not state are left out."""
    notes = []
    if theirs.selection == "test":
        mine = {"last": "the last epoch", "test": "the best epoch on test", "val": "the best epoch on validation"}
        notes.append(f"the target was selected on test; this is {mine.get(own.protocol.selection, 'unknown')}")
    unstated = {
        part.name: getattr(own.protocol, part.name)
        for part in fields(theirs)
        if part.name == "selection" or getattr(theirs, part.name) in (UNKNOWN, "")
    }
    return notes + list(protocol_differences(own.protocol, replace(theirs, **unstated)))


def sentence(verdict: Verdict) -> str:
    """The verdict in one line for people."""
    metric = METRICS.get(verdict.target.key.metric, verdict.target.key.metric)
    where = part_words("split_set", verdict.target.key.split_set)
    if verdict.judgment is None:
        return f"{metric}, {where}: {'; '.join(verdict.reasons) or 'nothing to compare'}"
    j = verdict.judgment
    line = (
        f"{metric}, {where}: {verdict.value:.2f} against {verdict.target.value:.2f}, {j.difference:+.2f} "
        f"(bounds {j.low:+.2f} and {j.high:+.2f}, margin {verdict.target.margin:g})"
    )
    if verdict.state != "INCONCLUSIVE":
        return line
    if j.seeds_needed is None:
        return f"{line}; the difference is too close to the margin for any number of seeds"
    return f"{line}; about {j.seeds_needed} seeds would decide"
