"""Lookup, split names, derived splits and validation, on tables small enough to be read."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from harbench.datasets.checks import check_split
from harbench.datasets.tables import (
    carve_validation,
    dataset_names,
    expand_splits,
    load_spec,
    load_split,
    split_names,
)
from harbench.errors import DatasetError
from harbench.records import SplitTable


def user_dataset(home: Path, name: str, spec: str, table: str, classes: str = "") -> None:
    """A data set as a user adds it: a module and a table under the data home."""
    (home / "datasets").mkdir(parents=True, exist_ok=True)
    (home / "splits" / name).mkdir(parents=True, exist_ok=True)
    module = f"from harbench.records import DatasetSpec\n\nSPEC = DatasetSpec(name={name!r}, title='T', {spec})\n"
    (home / "datasets" / f"{name}.py").write_text(module)
    (home / "splits" / name / "samples.csv").write_text(table)
    if classes:
        (home / "splits" / name / "classes.txt").write_text(classes)


RANGES = """media,class,group,start,end,sample_id,official
a/ann.avi,run,ann,0,10,a/ann/1,train
a/ann.avi,run,ann,5,20,a/ann/2,train
a/bob.avi,run,bob,0,10,a/bob/1,test
b/ann.v2.avi,sit,ann,0,4,b/ann/1,train
b/bob.avi,sit,bob,3,4,b/bob/1,test
b/cid.avi,sit,cid,3,4,b/cid/1,
"""
RANGES_SPEC = "modality='video', unit='sequence', splits=('official',), group='person', leave_one_group_out=True"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    user_dataset(tmp_path, "ranges", RANGES_SPEC, RANGES)
    return tmp_path


# --------------------------------------------------------------------------------------------------------------- lookup
def test_names_are_found_without_importing_a_module() -> None:
    code = (
        "import sys; from harbench.datasets.tables import dataset_names; names = dataset_names();"
        "assert 'ucf101' in names and 'ntu' not in names and 'tables' not in names;"
        "loaded = [m for m in sys.modules if m.removeprefix('harbench.datasets.') in names]; assert not loaded, loaded;"
        "assert not {'numpy', 'torch', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_users_data_set_is_found_under_the_home(home: Path) -> None:
    assert "ranges" in dataset_names(home) and "ranges" not in dataset_names()
    table = load_split("ranges", home=home)
    assert [sample.sample_id for sample in table.subset("test")] == ["a/bob/1", "b/bob/1"]
    assert [(label.key, label.display) for label in table.classes] == [("run", "run"), ("sit", "sit")]


def test_an_unknown_data_set_names_the_nearest_and_all() -> None:
    with pytest.raises(DatasetError, match=r"'ucf10'; did you mean 'ucf101'.*hmdb51.*kth"):
        load_spec("ucf10")


@pytest.mark.parametrize("name", ["../ucf101", "ntu", "tables", "", "ucf101.py", "os"])
def test_only_data_sets_are_data_sets(name: str) -> None:
    with pytest.raises(DatasetError, match="There is no data set"):
        load_spec(name)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("SPEC = 3\n", "expected SPEC = DatasetSpec"),
        ("SPEC = undefined\n", "NameError"),
        ("SPEC = (\n", "SyntaxError"),
        ("import no_such_module\nSPEC = 1\n", "no_such_module"),
        ("from harbench.records import DatasetSpec\nSPEC = DatasetSpec(name='mine')\n", "TypeError"),
        (
            "from harbench.records import DatasetSpec\n"
            "SPEC = DatasetSpec(name='other', title='', modality='video', unit='video', splits=('a',))\n",
            "name='mine'",
        ),
    ],
)
def test_a_broken_module_is_listed_and_explained(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "mine.py").write_text(source)
    assert "mine" in dataset_names(tmp_path)
    with pytest.raises(DatasetError, match=message) as raised:
        load_spec("mine", tmp_path)
    assert "mine.py" in str(raised.value)


def test_a_users_data_set_cannot_take_a_name_of_harbenchs_own(tmp_path: Path) -> None:
    user_dataset(tmp_path, "kth", RANGES_SPEC, RANGES)
    with pytest.raises(DatasetError, match="Rename it"):
        load_spec("kth", tmp_path)
    assert load_spec("kth").title == "KTH"


def test_a_data_set_without_a_table_says_where_it_goes(home: Path) -> None:
    table = home / "splits" / "ranges" / "samples.csv"
    table.unlink()
    with pytest.raises(DatasetError) as raised:
        load_split("ranges", home=home)
    assert str(table) in str(raised.value)


# ---------------------------------------------------------------------------------------------------------- split names
def test_what_a_split_may_be_called() -> None:
    ucf101 = load_spec("ucf101")
    assert expand_splits(ucf101, "2") == ["split2"]
    assert expand_splits(ucf101, "3, 1,split3") == ["split3", "split1"]
    assert expand_splits(ucf101, "all") == expand_splits(ucf101, "mean-of-3") == ["split1", "split2", "split3"]
    assert load_split("ucf101", "3").split == "split3"


def test_lopo_patterns_stay_in_one_unit() -> None:
    kth = load_spec("kth")
    persons = [f"lopo-person{number:02}" for number in range(1, 26)]
    assert expand_splits(kth, "lopo-*") == expand_splits(kth, "lopo") == persons
    assert (
        expand_splits(kth, "lopo-*-video") == expand_splits(kth, "lopo-video") == [f"{name}-video" for name in persons]
    )
    assert expand_splits(kth, "all") == ["official", "16-9"]
    assert expand_splits(kth, "official-video,lopo-person0[12]") == ["official-video", "lopo-person01", "lopo-person02"]
    assert expand_splits(load_spec("weizmann"), "lopo-*") == list(load_spec("weizmann").splits)


@pytest.mark.parametrize(
    ("dataset", "split", "nearest"),
    [
        ("kth", "oficial", "official"),
        ("kth", "lopo-person26", "lopo-person2"),
        ("ucf101", "4", None),
        ("ucf101", "split1-video", "split1"),
        ("ntu60", "xset", None),
        ("weizmann", "lopo-lena-video", "lopo-lena"),
        ("hmdb51", "lopo-wave/TrumanShow", None),
    ],
)
def test_an_unknown_split_names_the_nearest_and_all(dataset: str, split: str, nearest: str | None) -> None:
    spec = load_spec(dataset)
    for ask in (lambda: load_split(dataset, split), lambda: expand_splits(spec, split)):
        with pytest.raises(DatasetError, match="has no split") as raised:
            ask()
        assert spec.splits[0] in str(raised.value) and f"harbench splits {dataset}" in str(raised.value)
        assert nearest is None or f"did you mean '{nearest}" in str(raised.value)


# ------------------------------------------------------------------------------------------------------- derived splits
def test_derived_splits_of_frame_ranges(home: Path) -> None:
    spec = load_spec("ranges", home)
    # cid is in no cell of the default split, so there is no fold for it.
    whole = ["official-video", "lopo-ann-video", "lopo-bob-video"]
    assert split_names(spec, home) == ["official", "lopo-ann", "lopo-bob", *whole]

    fold = load_split("ranges", "lopo-ann", home)
    assert [sample.subset for sample in fold.samples] == ["test", "test", "train", "test", "train"]
    assert fold.unit == "sequence"

    table = load_split("ranges", "official-video", home)
    assert table.unit == "video"
    assert [(s.sample_id, s.media, s.subset, s.start, s.end) for s in table.samples] == [
        ("a/ann", "a/ann.avi", "train", None, None),
        ("a/bob", "a/bob.avi", "test", None, None),
        ("b/ann.v2", "b/ann.v2.avi", "train", None, None),
        ("b/bob", "b/bob.avi", "test", None, None),
    ]
    assert [s.subset for s in load_split("ranges", "lopo-bob-video", home).samples] == [
        "train",
        "test",
        "train",
        "test",
    ]


def test_ranges_that_disagree_are_not_one_video(home: Path) -> None:
    path = home / "splits" / "ranges" / "samples.csv"
    path.write_text(RANGES.replace("a/ann/2,train", "a/ann/2,test"))
    with pytest.raises(DatasetError, match=r"a/ann.avi differ in class, group or subset"):
        load_split("ranges", "official-video", home)


def test_every_fold_of_kth_in_both_units() -> None:
    spec = load_spec("kth")
    for split, count in (("lopo", 2391), ("lopo-video", 599)):
        tested = [sample for fold in spec.split_sets[split] for sample in load_split("kth", fold).subset("test")]
        assert len({sample.sample_id for sample in tested}) == len(tested) == count
    table = load_split("kth", "lopo-person13-video")
    assert {s.group for s in table.subset("test")} == {"person13"} and len(table.subset("test")) == 23
    for split in ("official-video", "16-9-video"):
        assert not check_split(load_split("kth", split), spec).problems


def test_classes_txt_gives_order_and_names(home: Path) -> None:
    (home / "splits" / "ranges" / "classes.txt").write_text("sit\tsitting down\nrun\n")
    table = load_split("ranges", home=home)
    assert [(label.key, label.display) for label in table.classes] == [("sit", "sitting down"), ("run", "run")]
    assert [sample.target for sample in table.samples] == [1, 1, 1, 0, 0]


# ----------------------------------------------------------------------------------------------------------- validation
def held_out(table: SplitTable) -> set[str]:
    return {sample.group or sample.media for sample in table.subset("val")}


@pytest.mark.parametrize(("split", "train"), [("split1", 7430), ("split2", 7479), ("split3", 7517)])
def test_validation_of_ucf101_is_groups_22_to_25(split: str, train: int) -> None:
    table = load_split("ucf101", split)
    carved = carve_validation(table, load_spec("ucf101"), "official")
    assert (len(carved.subset("train")), len(carved.subset("val"))) == (train, 2107)
    assert {group[-3:] for group in held_out(carved)} == {"g22", "g23", "g24", "g25"}
    assert {sample.target for sample in carved.subset("val")} == set(range(101))
    assert carved.subset("test") == table.subset("test")


def test_validation_of_kth_is_the_official_persons() -> None:
    spec, official = load_spec("kth"), load_split("kth")
    assert carve_validation(official, spec, "official") is official
    carved = carve_validation(load_split("kth", "16-9"), spec, "official")
    assert {s.sample_id for s in carved.subset("val")} == {s.sample_id for s in official.subset("val")}
    fold = carve_validation(load_split("kth", "lopo-person19"), spec, "official")
    assert held_out(fold) == held_out(carved) - {"person19"}
    with pytest.raises(DatasetError, match="hmdb51 split1 has no official validation set"):
        carve_validation(load_split("hmdb51"), load_spec("hmdb51"), "official")


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("name", ["ucf101", "hmdb51", "kth", "sample", "stanford40", "jhmdb14", "ntu7"])
def test_the_share_of_validation_is_the_users(name: str, share: float) -> None:
    table = load_split(name)
    carved = carve_validation(table, load_spec(name), share)
    train, val = len(carved.subset("train")), len(carved.subset("val"))
    assert train + val == len(table.subset("train"))
    assert not held_out(carved) & {sample.group for sample in carved.subset("train") if sample.group}
    largest = max(Counter(sample.group for sample in table.subset("train") if sample.group).values(), default=0)
    assert abs(val / (train + val) - share) < max(0.04, 2 * largest / (train + val))


def test_validation_by_hash_takes_whole_groups_of_every_class() -> None:
    table = load_split("hmdb51")
    carved = carve_validation(table, load_spec("hmdb51"), 0.2)
    assert not held_out(carved) & {sample.group for sample in carved.subset("train")}
    assert {sample.target for sample in carved.subset("val")} == set(range(51))
    assert 0.1 < len(carved.subset("val")) / 3570 < 0.3
    assert [s.sample_id for s in carved.samples] == [s.sample_id for s in table.samples]
    assert carve_validation(table, load_spec("hmdb51"), 0.2) == carved


def test_validation_by_hash_takes_persons_where_they_do_all_classes() -> None:
    carved = carve_validation(load_split("weizmann", "lopo-eli"), load_spec("weizmann"), 0.25)
    assert len(held_out(carved)) == 2 and "eli" not in held_out(carved)
    assert len(carved.subset("val")) == 20


def test_validation_without_groups_is_stratified() -> None:
    table = load_split("jhmdb14")
    carved = carve_validation(table, load_spec("jhmdb14"), 0.2)
    for target in range(14):
        train = sum(sample.target == target for sample in table.subset("train"))
        assert sum(sample.target == target for sample in carved.subset("val")) == round(0.2 * train)


def test_validation_needs_something_on_both_sides(home: Path) -> None:
    spec, table = load_spec("ranges", home), load_split("ranges", home=home)
    with pytest.raises(DatasetError, match="cannot hold out 0 of 1"):
        carve_validation(table, spec, 0.5)
    with pytest.raises(DatasetError, match="cannot hold out 1 of 1"):
        carve_validation(table, replace(spec, validation="ann"), "official")
