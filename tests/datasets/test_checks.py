"""A table that is not what it should be is told so, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harbench.datasets.checks import check_split
from harbench.records import ClassLabel, DatasetSpec, Sample, SplitTable

SPEC = DatasetSpec(
    name="toy",
    title="Toy",
    modality="video",
    unit="video",
    splits=("official",),
    group="person",
    counts={"official": (2, 1, 2)},
)
SAMPLES = (
    Sample("run/ann", 0, "ann", "train", "run/ann.avi"),
    Sample("sit/ann", 1, "ann", "train", "sit/ann.avi"),
    Sample("run/bob", 0, "bob", "val", "run/bob.avi"),
    Sample("run/cid", 0, "cid", "test", "run/cid.avi"),
    Sample("sit/cid", 1, "cid", "test", "sit/cid.avi"),
)


def problems(samples: Sequence[Sample], split: str = "official", spec: DatasetSpec = SPEC) -> str:
    classes = (ClassLabel("run", "run"), ClassLabel("sit", "sit"))
    return "; ".join(check_split(SplitTable("toy", split, "video", classes, tuple(samples)), spec).problems)


def test_a_good_table() -> None:
    classes = (ClassLabel("run", "run"), ClassLabel("sit", "sit"))
    check = check_split(SplitTable("toy", "official", "video", classes, SAMPLES), SPEC)
    assert check.problems == () and check.shared_groups == 0
    assert check.counts == check.expected == {"train": 2, "val": 1, "test": 2}
    assert check.groups == {"train": 1, "val": 1, "test": 1}


def test_other_counts_than_the_official_ones() -> None:
    assert "train: expected 2 samples, found 1" in problems(SAMPLES[1:])
    assert (
        problems([*SAMPLES, Sample("sit/bob", 1, "bob", "train", "sit/bob.avi")])
        == "train: expected 2 samples, found 3"
    )
    assert problems(SAMPLES, spec=replace(SPEC, counts={})) == ""


def test_a_group_on_both_sides() -> None:
    leaking = [*SAMPLES[:4], replace(SAMPLES[4], group="ann")]
    assert problems(leaking) == "1 times the same person in train or val and in test: ann"
    assert problems([*SAMPLES[:4], replace(SAMPLES[4], group="bob")]).endswith("in test: bob")
    assert problems(leaking, spec=replace(SPEC, shares_groups=("official",))) == ""
    assert problems([replace(sample, group="") for sample in SAMPLES]) == ""


def test_an_id_or_a_media_on_both_sides() -> None:
    twice = [*SAMPLES[:4], replace(SAMPLES[4], sample_id="sit/ann")]
    assert problems(twice) == "1 sample ids stand there more than once: sit/ann"
    ranges = [*SAMPLES[:4], replace(SAMPLES[4], media="sit/ann.avi", start=3, end=9)]
    assert problems(ranges) == "1 media are in train or val and in test: sit/ann.avi"
    case = [*SAMPLES[:4], replace(SAMPLES[4], media="Run/CID.avi")]
    assert problems(case) == "1 media differ from another in upper and lower case only: run/cid.avi"


def test_absent_classes() -> None:
    without = [*SAMPLES[:4], replace(SAMPLES[4], target=0)]
    assert problems(without) == "1 classes have no test sample: sit"
    assert problems(without, "lopo-cid") == "", "one held-out person need not do everything"
    assert problems([SAMPLES[0], replace(SAMPLES[1], target=0), *SAMPLES[2:]]) == "1 classes have no train sample: sit"
    assert "1 targets are not among the 2 classes: 7" in problems([*SAMPLES[:4], replace(SAMPLES[4], target=7)])
    assert "no test samples" in problems(SAMPLES[:3])
