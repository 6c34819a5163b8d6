"""Holds a split table against what its publisher says."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from harbench.records import DatasetSpec, Sample, SplitCheck, SplitTable, Subset

_SUBSETS: tuple[Subset, ...] = ("train", "val", "test")


def check_split(table: SplitTable, spec: DatasetSpec) -> SplitCheck:
    """Counts, distinct groups, and what is wrong: numbers that are not official, samples or groups on both sides.

    Train and val are one side, test is the other. `problems` holds a sentence each and is empty when all is well.
    """
    counts: dict[str, int] = {name: len(table.subset(name)) for name in _SUBSETS}
    official = spec.counts.get(table.split)
    expected: dict[str, int] | None = dict(zip(_SUBSETS, official, strict=True)) if official else None
    groups = {name: {sample.group for sample in table.subset(name)} - {""} for name in _SUBSETS}
    shared = (groups["train"] | groups["val"]) & groups["test"]
    problems = [
        f"{name}: expected {expected[name]} samples, found {counts[name]}"
        for name in _SUBSETS
        if expected and counts[name] != expected[name]
    ]
    # A user may have the test videos alone of a data set whose table is made of lists.
    sides = ("train", "test") if counts["train"] or not spec.lists else ("test",)
    problems += [f"no {name} samples" for name in sides if not counts[name]]
    if shared and table.split not in spec.shares_groups:
        what = spec.group or "group"
        problems.append(f"{len(shared)} times the same {what} in train or val and in test: {_some(shared)}")
    problems += _ambiguous(table)
    problems += _straddling(table)
    problems += _absent_classes(table, sides)
    return SplitCheck(
        dataset=table.dataset,
        split=table.split,
        counts=counts,
        expected=expected,
        groups={name: len(groups[name]) for name in _SUBSETS},
        shared_groups=len(shared),
        problems=tuple(problems),
        notes=tuple(_notes(table, spec)),
    )


def _notes(table: SplitTable, spec: DatasetSpec) -> Iterator[str]:
    """Sources that the publisher has on both sides under different classes (HMDB51: 457, 527, 529 of 1,530)."""
    if not spec.source:
        return
    classes: dict[str, set[int]] = defaultdict(set)
    for sample in table.samples:
        if _side(sample) == "train":
            classes[sample.group.partition("/")[2]].add(sample.target)
    test = table.subset("test")
    if both := sum(bool(classes[each.group.partition("/")[2]] - {each.target}) for each in test):
        yield (
            f"{both} of the {len(test)} test samples have their {spec.source} in train under another class: "
            "a property of the official protocol"
        )


def _ambiguous(table: SplitTable) -> Iterator[str]:
    """Ids that stand twice, and media that are told apart by case only (they are matched without it)."""
    twice = [
        sample_id for sample_id, count in Counter(sample.sample_id for sample in table.samples).items() if count > 1
    ]
    if twice:
        yield f"{len(twice)} sample ids stand there more than once: {_some(twice)}"
    spellings = Counter(media.casefold() for media in table.media())
    by_case = [media for media, count in spellings.items() if count > 1]
    if by_case:
        yield f"{len(by_case)} media differ from another in upper and lower case only: {_some(by_case)}"


def _straddling(table: SplitTable) -> Iterator[str]:
    """Media with frame ranges on both sides: a leak, whatever the groups say."""
    media = {side: {sample.media for sample in table.samples if _side(sample) == side} for side in ("train", "test")}
    if both := media["train"] & media["test"]:
        yield f"{len(both)} media are in train or val and in test: {_some(both)}"


def _absent_classes(table: SplitTable, sides: Sequence[str]) -> Iterator[str]:
    """Classes that cannot be learned, or cannot be scored; a single held-out group may well lack some."""
    everything = range(len(table.classes))
    unknown = {sample.target for sample in table.samples} - set(everything)
    if unknown:
        yield f"{len(unknown)} targets are not among the {len(table.classes)} classes: {_some(unknown)}"
    for side in sides if not table.split.startswith("lopo-") else ("train",):
        seen = {sample.target for sample in table.samples if _side(sample) == side}
        if absent := [table.classes[target].key for target in everything if target not in seen]:
            yield f"{len(absent)} classes have no {side} sample: {_some(absent)}"


def _side(sample: Sample) -> str:
    return "test" if sample.subset == "test" else "train"


def _some(items: Iterable[object]) -> str:
    """The first three in order, and how many more."""
    names = sorted(map(str, items))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
