"""What every data set must be, whoever adds it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harbench import paths
from harbench.datasets.checks import check_split
from harbench.datasets.parse import KEY
from harbench.datasets.tables import dataset_names, expand_splits, load_spec, load_split, split_names
from harbench.runs.record import edition_of

NAMES = [name for name in dataset_names() if not load_spec(name).lists]


def test_the_official_ones_are_there() -> None:
    official = {
        "ucf101", "hmdb51", "stanford40", "kth", "ntu60", "ntu120", "ntu7", "ntu60_mutual", "ntu120_mutual",
        "ntu120_oneshot", "weizmann", "weizmann93", "jhmdb14", "nwucla",
    }  # fmt: skip
    assert official <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_listed_split_checks_clean(name: str) -> None:
    spec = load_spec(name)
    for split in spec.splits:
        table = load_split(name, split)
        check = check_split(table, spec)
        assert check.expected is not None, f"{name}: SPEC.counts has no {split}"
        assert not check.problems
        assert (table.dataset, table.split) == (name, split)
        assert len({label.key for label in table.classes}) == len(table.classes) > 1
        assert all(KEY.fullmatch(label.key) and label.display for label in table.classes)


@pytest.mark.parametrize("name", NAMES)
def test_the_default_split_is_the_first(name: str) -> None:
    spec = load_spec(name)
    assert load_split(name).split == spec.splits[0]
    assert expand_splits(spec, "") == [spec.splits[0]]
    assert load_split(name).unit == spec.unit
    assert bool(spec.group) == any(sample.group for sample in load_split(name).samples)


@pytest.mark.parametrize("name", NAMES)
def test_split_sets_and_counts_name_splits_that_exist(name: str) -> None:
    spec = load_spec(name)
    known = set(split_names(spec))
    for members in spec.split_sets.values():
        assert known.issuperset(members)
    assert known.issuperset(spec.counts)
    assert set(spec.splits).issuperset(spec.shares_groups)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_somebody_elses_says_so(name: str) -> None:
    spec = load_spec(name)
    readme = paths.shipped("splits") / name / "README.md"
    assert readme.is_file() or not spec.homepage, f"{name} has a homepage, so it needs {readme}"
    if spec.homepage.startswith("http"):
        text = readme.read_text(encoding="utf-8")
        assert all(word in text for word in ("Source", "License", "Citation", "Known faults"))
        assert spec.license and spec.citation


@pytest.mark.parametrize("name", ["weizmann", "weizmann93", "kth"])
def test_folds_are_one_edition_and_another_order_is_no_other(name: str) -> None:
    folds = [load_split(name, split) for split in expand_splits(load_spec(name), "lopo-*")]
    (edition,) = {edition_of(fold) for fold in folds}
    table = folds[0]
    assert edition_of(replace(table, samples=table.samples[::-1])) == edition
    moved = replace(table.samples[0], target=(table.samples[0].target + 1) % len(table.classes))
    for samples in (table.samples[1:], (moved, *table.samples[1:])):
        assert edition_of(replace(table, samples=samples)) != edition
