"""Leaderboards that compare like with like: one table a comparability key, places only where everything is known."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

from harbench.datasets.tables import expand_splits, load_spec
from harbench.errors import DatasetError
from harbench.records import (
    SUPERVISED,
    UNKNOWN,
    Comparability,
    Leaderboard,
    ProtocolFacts,
    PublishedResult,
    Row,
    RunRecord,
    Table,
)
from harbench.reporting.entries import Entry, Protocols, published_entry, run_entries
from harbench.runs.comparability import LOPO, part_words, protocol_differences, rankable, unknown_names, why_not_ranked

_FOOTNOTED = ("modality", "pretraining", "frames", "views", "selection")
"""Parts of the protocol that move a number by points; the others are only shown."""


def build_leaderboard(
    runs: Sequence[RunRecord], published: Sequence[PublishedResult], home: Path | None = None
) -> Leaderboard:
    """Tables of every data set among `runs` and `published`, by name.

    Rows of one table share one key (data set, label set, split set, unit, metric, level, what is given) and are ranked
    by value. Partial runs, unfinished folds and numbers selected on test stand below without a place, with the reason.
    Numbers with an unknown part in their key are collected in a table of their own a metric, without places.
    `home` is where the user's own data sets are looked up.
    """
    tables: list[Table] = []
    for dataset in sorted({run.dataset for run in runs} | {result.key.dataset for result in published}):
        own = [run for run in runs if run.dataset == dataset]
        theirs = [published_entry(result) for result in published if result.key.dataset == dataset]
        protocols = protocols_of(dataset, own, home)
        entries = [*run_entries(own, dict.fromkeys(entry.key.metric for entry in theirs), protocols), *theirs]
        tables += _tables(entries, protocols.title)
    return Leaderboard(tables=tuple(tables), generated=datetime.now(UTC).isoformat(timespec="seconds"))


def protocols_of(dataset: str, runs: Iterable[RunRecord], home: Path | None) -> Protocols:
    """Title, split sets and folds of a data set; a folder that holds only published numbers has none of them."""
    try:
        spec = load_spec(dataset, home)
    except DatasetError:
        return Protocols(dataset, {}, {})
    suffixes = {"-video" if run.split.endswith("-video") else "" for run in runs if run.split.startswith(LOPO)}
    try:
        folds = {suffix: tuple(expand_splits(spec, f"{LOPO}*{suffix}", home)) for suffix in sorted(suffixes)}
    except DatasetError:  # a damaged table, or one without such folds now
        folds = {}
    return Protocols(spec.title, spec.split_sets, folds)


def _tables(entries: Sequence[Entry], title: str) -> list[Table]:
    by_key: dict[Comparability, list[Entry]] = defaultdict(list)
    unclear: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if rankable(entry.key):
            by_key[entry.key].append(entry)
        else:
            unclear[entry.key.metric].append(entry)
    tables = [_table(key, group, title) for key, group in by_key.items()]
    # One's own numbers first, then the tables that say most.
    tables.sort(key=lambda table: (all(row.kind == "published" for row in table.rows), -len(table.rows), table.title))
    return tables + [_unclear_table(group, title) for _, group in sorted(unclear.items())]


def _unclear_table(entries: Sequence[Entry], title: str) -> Table:
    """Numbers with an unknown part in their key; each says what is known of the parts in which they differ."""
    common = _common(entries)
    told = []
    for entry in entries:
        parts = {name: getattr(entry.key, name) for name in unknown_names(common)}
        known = [
            f"{name.replace('_', ' ')}: {part_words(name, parts[name])}" for name in parts if parts[name] != UNKNOWN
        ]
        told.append(replace(entry, reason="; ".join(filter(None, (entry.reason, *known)))))
    return _table(common, told, title)


def _table(key: Comparability, entries: Sequence[Entry], title: str) -> Table:
    def rank(entry: Entry) -> tuple[bool, float, bool, str, str]:
        return bool(_reason(entry)), -round(entry.value, 2), entry.kind == "published", entry.name, entry.source

    ordered = sorted(entries, key=rank)
    usual, whose = _usual_protocol(ordered)
    footnotes: dict[str, int] = {}
    rows: list[Row] = []
    for position, entry in enumerate(ordered, 1):
        texts = (*_protocol_notes(entry.protocol, usual, whose), *entry.notes)
        marks = tuple(footnotes.setdefault(text, len(footnotes) + 1) for text in texts)
        why_not = _reason(entry)
        place = None if why_not else position
        if rows and place is not None and rows[-1].place is not None and _tied(rows[-1], entry):
            place = rows[-1].place
        rows.append(_row(entry, place, why_not, marks))
    return Table(key=key, title=_title(key, title), rows=tuple(rows), footnotes=tuple(footnotes))


def _row(entry: Entry, place: int | None, why_not: str, marks: tuple[int, ...]) -> Row:
    return Row(
        place=place,
        name=entry.name,
        kind=entry.kind,
        value=entry.value,
        interval=entry.interval,
        spread=entry.spread,
        seeds=entry.seeds,
        family=entry.family,
        params_m=entry.params_m,
        gflops=entry.gflops,
        protocol=entry.protocol,
        footnotes=tuple(sorted(marks)),
        why_not=why_not,
        source=entry.source,
        year=entry.year,
        link=entry.link,
        runs=entry.runs,
        latency_ms=entry.latency_ms,
        latency_on=entry.latency_on,
    )


def _reason(entry: Entry) -> str:
    return why_not_ranked(entry.key, entry.protocol, entry.reason)


def _tied(row: Row, entry: Entry) -> bool:
    """Equal to the two decimals that are shown."""
    return round(row.value, 2) == round(entry.value, 2)


def _usual_protocol(entries: Sequence[Entry]) -> tuple[ProtocolFacts, str]:
    """What the footnotes compare with, and whose it is: the best own run's protocol, else what most rows have."""
    best_own = next((entry for entry in entries if entry.kind == "run"), None)
    if best_own is not None:
        return best_own.protocol, best_own.name
    most = {
        part: Counter(value for entry in entries if (value := getattr(entry.protocol, part)) != UNKNOWN).most_common(1)
        for part in _FOOTNOTED
    }
    return replace(ProtocolFacts(), **{part: found[0][0] for part, found in most.items() if found}), "most rows"


def _protocol_notes(protocol: ProtocolFacts, usual: ProtocolFacts, whose: str) -> list[str]:
    """How a row was made differently, in words: `1 clip against 10 (mc3_18)`, `frames, views not stated`."""
    compared = [part for part in _FOOTNOTED if UNKNOWN not in (getattr(protocol, part), getattr(usual, part))]
    unsaid = [part for part in _FOOTNOTED if getattr(protocol, part) == UNKNOWN != getattr(usual, part)]
    other = replace(protocol, **{part: getattr(usual, part) for part in compared})
    notes = [f"{text} ({whose})" if " against " in text else text for text in protocol_differences(protocol, other)]
    return notes + ([f"{', '.join(unsaid)} not stated"] if unsaid else [])


def _common(entries: Sequence[Entry]) -> Comparability:
    """The parts of the key that all entries share; the others are unknown."""
    first = entries[0].key
    shared = {
        part.name: getattr(first, part.name)
        for part in fields(Comparability)
        if all(getattr(entry.key, part.name) == getattr(first, part.name) for entry in entries)
    }
    return replace(Comparability(*[UNKNOWN] * len(fields(Comparability))), **shared)


def _title(key: Comparability, dataset: str) -> str:
    """`UCF-101, split 1: top-1 accuracy, video level`."""
    metric = part_words("metric", key.metric)
    if unknown_names(key) or key.complete != "yes":
        return f"{dataset}: {metric}, cannot be compared"
    words = [metric, part_words("level", key.level)] if key.unit != "image" else [metric]
    if key.unit == "sequence":
        words.append(part_words("unit", key.unit))
    if key.given != "none":
        words.append(part_words("given", key.given))
    if key.kind != SUPERVISED:
        words.append(key.kind)
    if " of " in key.label_set:
        words.append(key.label_set)
    return f"{dataset}, {part_words('split_set', key.split_set)}: {', '.join(words)}"
