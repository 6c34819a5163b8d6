"""From run records and published numbers to entries: one number each, with key, protocol and where it comes from.

Seeds of one recipe and split become one entry; the splits of a published split set one more (`mean-of-3`); the folds of
leave-one-person-out one entry pooled over all samples.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Literal

from harbench.records import Comparability, JointInterval, ProtocolFacts, PublishedResult, RunRecord
from harbench.reporting.published import UPPER_BOUND, address
from harbench.runs.comparability import LOPO, pooled_split

_POOLED = ("top1", "top5")
"""Metrics that are a share of samples, so that folds can be pooled from their values and counts alone."""
_EDITED = "the recipe of this name was edited between runs; only runs of equal recipes are averaged"


@dataclass(frozen=True)
class Protocols:
    """What of a data set's protocols the report needs to take runs together."""

    title: str
    split_sets: Mapping[str, tuple[str, ...]]
    folds: Mapping[str, tuple[str, ...]]
    """Suffix of leave-one-person-out splits (empty, `-video`) -> all of its folds."""


@dataclass(frozen=True)
class Entry:
    """One number before it is ranked."""

    name: str
    kind: Literal["run", "published", "bound"]
    key: Comparability
    protocol: ProtocolFacts
    value: float
    family: str
    source: str
    link: str = ""
    """Address of a published number's source."""
    interval: tuple[float, float] | None = None
    spread: float | None = None
    seeds: int = 1
    params_m: float | None = None
    gflops: float | None = None
    year: int | None = None
    reason: str = ""
    """Why the number cannot have a place, beside what key and protocol say."""
    notes: tuple[str, ...] = ()
    """Footnotes of its own."""
    runs: tuple[str, ...] = ()
    """Folders of the runs behind the number."""
    latency_ms: float | None = None
    latency_on: str = ""


# ---------------------------------------------------------------------------------------------------------- published
def published_entry(result: PublishedResult) -> Entry:
    """A published number; the backbone is named where the method does not name it."""
    named = result.backbone.casefold() in result.method.casefold()
    notes = [result.notes] if result.notes else []
    if result.key.metric == "mAP":
        notes.append("The source does not state which average precision (all points, VOC, 11 points) it means.")
    bound = result.family == UPPER_BOUND
    return Entry(
        name=result.method if named else f"{result.method}, {result.backbone}",
        kind="bound" if bound else "published",
        key=result.key,
        protocol=result.protocol,
        value=result.value,
        family=result.family,
        source=f"{result.source_title} ({result.source_id})" if result.source_title else result.source_id,
        link=address(result.source_id),
        params_m=result.params_m,
        gflops=result.gflops,
        year=result.year,
        reason="an upper bound, not a method" if bound else "",
        notes=tuple(notes),
    )


# --------------------------------------------------------------------------------------------------------------- runs
def run_entries(runs: Sequence[RunRecord], metrics: Iterable[str], protocols: Protocols) -> list[Entry]:
    """All entries of one data set's runs: its headline metric, and those of `metrics` that the runs have."""
    entries: list[Entry] = []
    recipes: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        recipes[_name(run)].add(run.recipe_sha256)
    for group in _groups(runs).values():
        headline = group[0].key.metric
        for metric in dict.fromkeys([headline, *metrics]):
            scored = [run for run in group if run.metrics.get(metric) is not None]
            folds = [run for run in scored if run.split.startswith(LOPO)]
            plain = [run for run in scored if not run.split.startswith(LOPO)]
            made = [_seeds_entry(same, metric) for same in _by_split(plain).values()]
            made += _split_set_entries(plain, metric, protocols)
            made += _fold_entries(folds, metric, protocols)
            if len(recipes[_name(group[0])]) > 1:
                made = [replace(entry, notes=(*entry.notes, _EDITED)) for entry in made]
            entries += made
    return entries


def _groups(runs: Sequence[RunRecord]) -> dict[tuple[object, ...], list[RunRecord]]:
    """Runs that differ in nothing but split and seed."""
    groups: dict[tuple[object, ...], list[RunRecord]] = defaultdict(list)
    for run in runs:
        groups[(_name(run), run.recipe_sha256, replace(run.key, split_set=""), run.protocol, run.partial)].append(run)
    return groups


def _by_split(runs: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    splits: dict[str, list[RunRecord]] = defaultdict(list)
    for run in runs:
        splits[run.split].append(run)
    return splits


def _seeds_entry(runs: Sequence[RunRecord], metric: str) -> Entry:
    """The seeds of one recipe and split. The interval of several is the mean of theirs."""
    low_high = _mean_interval([run.intervals.get(metric) for run in runs])
    notes = _interval_note(low_high, len(runs), runs[0].interval_methods.get(metric, ""))
    values = [_value(run, metric) for run in runs]
    return _entry(runs, metric, values, runs[0].key.split_set, low_high, notes)


def _mean_interval(intervals: Sequence[tuple[float, float] | None]) -> tuple[float, float] | None:
    """The interval of several seeds: the mean of theirs; None where one has none."""
    known = [each for each in intervals if each is not None]
    if len(known) < len(intervals):
        return None
    return fmean(low for low, _ in known), fmean(high for _, high in known)


def _interval_note(interval: tuple[float, float] | None, seeds: int, method: str) -> list[str]:
    """A footnote on how an interval was made."""
    if interval is None or not method:
        return []
    return [f"interval: mean over the seeds; {method}" if seeds > 1 else f"interval: {method}"]


def _split_set_entries(runs: Sequence[RunRecord], metric: str, protocols: Protocols) -> list[Entry]:
    """`mean-of-3` and the like: the mean over the splits, for the seeds that every split has."""
    entries: list[Entry] = []
    splits = _by_split(runs)
    for name, members in protocols.split_sets.items():
        if len(members) < 2 or any(member not in splits for member in members):
            continue
        by_seed = [{run.seed: run for run in splits[member]} for member in members]
        seeds = sorted(set.intersection(*(set(runs) for runs in by_seed)))
        missing = sorted(set.union(*(set(runs) for runs in by_seed)) - set(seeds))
        if seeds:
            used = [runs[seed] for runs in by_seed for seed in seeds]
            values = [fmean(_value(runs[seed], metric) for runs in by_seed) for seed in seeds]
            joint = [_joint(by_seed[0][seed], name, metric) for seed in seeds]
            interval, notes = _joint_interval(joint)
            entries.append(_entry(used, metric, values, name, interval, [*_left_out(missing, "splits"), *notes]))
    return entries


def _fold_entries(runs: Sequence[RunRecord], metric: str, protocols: Protocols) -> list[Entry]:
    """Leave one person out: the metric of the predictions of all folds together, a seed at a time."""
    entries: list[Entry] = []
    by_suffix: dict[str, list[RunRecord]] = defaultdict(list)
    for run in runs:
        by_suffix[pooled_split(run.split).removeprefix("lopo")].append(run)
    for suffix, group in by_suffix.items():
        folds = protocols.folds.get(suffix, ())
        by_seed: dict[int, dict[str, RunRecord]] = defaultdict(dict)
        for run in group:
            by_seed[run.seed][run.split] = run
        whole = [list(found.values()) for found in by_seed.values() if folds and set(folds) <= set(found)]
        reason, missing = "", sorted(seed for seed, found in by_seed.items() if not set(folds) <= set(found))
        if not whole:
            missing = []
            whole = [max((list(found.values()) for found in by_seed.values()), key=len)]
            reason = f"{len(whole[0])} of {len(folds)} folds" if folds else "not all folds are known"
        joint = [None if reason else _joint(found[0], f"lopo{suffix}", metric) for found in whole]
        pooled = [each.value if each else _pool(found, metric) for each, found in zip(joint, whole, strict=True)]
        if metric not in _POOLED and None in joint:
            reason = reason or f"{metric} is not pooled over the folds: harbench run one of them again"
        used = [run for found in whole for run in found]
        interval, notes = _joint_interval(joint)
        notes = [f"pooled over the samples of {len(whole[0])} folds", *_left_out(missing, "folds"), *notes]
        entry = _entry(used, metric, pooled, "lopo", interval, notes)
        entries.append(replace(entry, reason="; ".join(filter(None, (entry.reason, reason)))))
    return entries


def _left_out(seeds: Sequence[int], what: str) -> list[str]:
    """A footnote on seeds that are not in the number."""
    return [f"without seed {', '.join(map(str, seeds))}: not all {what} are there"] if seeds else []


def _pool(folds: Sequence[RunRecord], metric: str) -> float:
    total = sum(run.samples["test"] for run in folds)
    return sum(_value(run, metric) * run.samples["test"] for run in folds) / total


def _joint(run: RunRecord, split_set: str, metric: str) -> JointInterval | None:
    return next((each for each in run.joint.get(split_set, ()) if each.metric == metric), None)


def _joint_interval(joint: Sequence[JointInterval | None]) -> tuple[tuple[float, float] | None, list[str]]:
    """The mean of the intervals of several seeds, and its footnote; None where one has none."""
    interval = _mean_interval([None if each is None else (each.low, each.high) for each in joint])
    return interval, _interval_note(interval, len(joint), joint[0].method if joint[0] else "")


def _entry(
    runs: Sequence[RunRecord],
    metric: str,
    values: Sequence[float],
    split_set: str,
    interval: tuple[float, float] | None,
    notes: Sequence[str],
) -> Entry:
    first = runs[0]
    partial = first.partial or (first.key.complete if first.key.complete != "yes" else "")
    own = [] if all(run.exact for run in runs) else ["not bit-exact: the device or a resumed run had to deviate"]
    own += dict.fromkeys(note for run in runs for note in run.notes)
    return Entry(
        name=_name(first),
        kind="run",
        key=replace(first.key, metric=metric, split_set=split_set, complete="yes"),
        protocol=first.protocol,
        value=fmean(values),
        family=first.family,
        source=_folders(runs),
        interval=interval,
        spread=stdev(values) if len(values) > 1 else None,
        seeds=len(values),
        params_m=first.params_m,
        gflops=first.gflops,
        year=int(first.finished[:4]) if first.finished[:4].isdigit() else None,
        reason=f"partial: {partial}" if partial else "",
        notes=(*notes, *own),
        runs=tuple(run.folder for run in runs),
        latency_ms=first.latency_ms,
        latency_on=first.latency_on,
    )


def _value(run: RunRecord, metric: str) -> float:
    value = run.metrics[metric]
    assert value is not None  # run_entries keeps only runs that have it
    return value


def _name(run: RunRecord) -> str:
    """Recipe with its tag, as the run's folder has it."""
    parts = run.folder.split("/")
    return parts[1] if len(parts) > 1 else run.recipe


def _folders(runs: Sequence[RunRecord]) -> str:
    """The run's folder, or the common part of several and how many there are."""
    if len(runs) == 1:
        return runs[0].folder
    parts = [run.folder.split("/") for run in runs]
    shared = [same[0] if len(set(same)) == 1 else "*" for same in zip(*parts, strict=True)]
    return f"{'/'.join(shared)} ({len(runs)} runs)"
