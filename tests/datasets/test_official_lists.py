"""The shipped tables against the publishers' own lists, read here once more and in another way than by the build."""

from __future__ import annotations

import csv
import json
import re
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from harbench.datasets.tables import load_split
from harbench.records import SplitTable


def labeled(table: SplitTable, subset: str) -> list[tuple[str, str]]:
    """(media, class key) in the table's order."""
    return [(sample.media, table.classes[sample.target].key) for sample in table.samples if sample.subset == subset]


# -------------------------------------------------------------------------------------------------------------- UCF-101
@pytest.mark.parametrize("number", [1, 2, 3])
def test_ucf101_is_the_lists_in_their_order(test_data: Path, number: int) -> None:
    lists = test_data / "ucf101" / "ucfTrainTestlist"
    table = load_split("ucf101", str(number))
    class_ids = dict(line.split()[::-1] for line in (lists / "classInd.txt").read_text().splitlines())
    assert [label.key for label in table.classes] == sorted(class_ids, key=lambda key: int(class_ids[key]))

    train = [line.split() for line in (lists / f"trainlist0{number}.txt").read_text().splitlines()]
    assert [(media, class_ids[key]) for media, key in labeled(table, "train")] == [
        (path, number) for path, number in train
    ]
    test = (lists / f"testlist0{number}.txt").read_text().split()
    assert [media for media, _ in labeled(table, "test")] == test
    assert all(media.startswith(f"{key}/") for media, key in labeled(table, "test"))
    assert not table.subset("val")


def test_ucf101_groups_are_the_numbers_in_the_names() -> None:
    for number in (1, 2, 3):
        table = load_split("ucf101", f"split{number}")
        groups = {int(sample.group[-2:]) for sample in table.subset("test")}
        assert groups == set(range(7 * number - 6, 7 * number + 1))
        for sample in table.samples:
            label, name = sample.media.split("/")
            assert sample.group == f"{label}/{re.findall(r'_(g[0-9]{2})_', name)[0]}"
    assert len({sample.group for sample in table.samples}) == 2525


def test_ucf101_keeps_the_two_spellings_of_handstand_pushups() -> None:
    media = [sample.media for sample in load_split("ucf101").samples if "handstandpushups" in sample.media.lower()]
    assert len(media) == 128
    assert all(name.startswith("HandstandPushups/v_HandStandPushups_g") for name in media)


# --------------------------------------------------------------------------------------------------------------- HMDB51
@pytest.mark.parametrize("number", [1, 2, 3])
def test_hmdb51_is_the_153_lists(test_data: Path, number: int) -> None:
    codes: dict[str, int] = {}
    with tarfile.open(test_data / "hmdb51" / "testTrainMulti_7030_splits.tar.xz") as archive:
        names = [name for name in archive.getnames() if name.endswith(f"_test_split{number}.txt")]
        for name in names:
            content = archive.extractfile(name)
            assert content is not None
            label = Path(name).name.removesuffix(f"_test_split{number}.txt")
            codes |= {
                f"{label}/{clip} {label}": int(code)
                for clip, code in re.findall(r"(\S+) (\d)", content.read().decode())
            }
    table = load_split("hmdb51", str(number))
    assert len(names) == len(table.classes) == 51
    assert len(codes) == 6766
    for subset, code in (("train", 1), ("test", 2)):
        assert {" ".join(pair) for pair in labeled(table, subset)} == {
            clip for clip, found in codes.items() if found == code
        }
    keys = [label.key for label in table.classes]
    assert keys == sorted(keys) and keys.index("climb") < keys.index("climb_stairs")


def test_hmdb51_films_cross_classes_but_groups_do_not() -> None:
    crossing = []
    for number in (1, 2, 3):
        table = load_split("hmdb51", str(number))
        films = {sample.group.split("/", 1)[1] for sample in table.subset("train")}
        crossing.append(sum(sample.group.split("/", 1)[1] in films for sample in table.subset("test")))
        assert not {s.group for s in table.subset("train")} & {s.group for s in table.subset("test")}
    assert crossing == [457, 527, 529]
    assert load_split("hmdb51").samples[-1].group.startswith("wave/")


def test_hmdb51_splits_overlap_as_the_readme_says() -> None:
    tables = [load_split("hmdb51", str(number)) for number in (1, 2, 3)]
    tests = [{sample.sample_id for sample in table.subset("test")} for table in tables]
    train = {sample.sample_id for sample in tables[0].subset("train")}
    assert [len(tests[0] & tests[1]), len(tests[0] & tests[2]), len(tests[1] & tests[2])] == [104, 126, 155]
    assert [len(tests[1] & train), len(tests[2] & train)] == [1175, 1150]
    assert len({sample.sample_id for table in tables for sample in table.samples}) == 6371


# ----------------------------------------------------------------------------------------------------------- Stanford40
def test_stanford40_is_the_80_lists(test_data: Path) -> None:
    table = load_split("stanford40")
    with zipfile.ZipFile(test_data / "stanford40" / "Stanford40_ImageSplits.zip") as archive:
        for subset in ("train", "test"):
            listed = {
                (media, label.key)
                for label in table.classes
                for media in archive.read(f"ImageSplits/{label.key}_{subset}.txt").decode().split()
            }
            assert set(labeled(table, subset)) == listed
        actions = [line.split()[0] for line in archive.read("ImageSplits/actions.txt").decode().splitlines()[1:]]
    assert [label.key for label in table.classes] == sorted(actions)
    with zipfile.ZipFile(test_data / "stanford40" / "Stanford40_JPEGImages.zip") as archive:
        images = {Path(name).name for name in archive.namelist() if name.endswith(".jpg")}
    assert {sample.media for sample in table.samples} == images
    assert len({sample.media.casefold() for sample in table.samples}) == 9532


# ------------------------------------------------------------------------------------------------------------------ KTH
def test_kth_is_the_sequence_list(test_data: Path) -> None:
    expected = set()
    for line in (test_data / "kth" / "00sequences.txt").read_text().splitlines():
        if "frames" in line and line.startswith("person"):
            name, _, ranges = line.split(maxsplit=2)
            for number, pair in enumerate(ranges.split(","), start=1):
                first, last = map(int, pair.split("-"))
                expected.add((f"{name}_uncomp.avi", f"{name}_uncomp/{number}", name.split("_")[1], first, last))
    table = load_split("kth")
    found = {
        # `frames[start:end]` of a list holds what the list calls first to last, counted from 1.
        (sample.media, sample.sample_id, table.classes[sample.target].key, sample.start + 1, sample.end)
        for sample in table.samples
        if sample.start is not None
    }
    assert found == expected and len(found) == 2391
    lengths = [
        sample.end - sample.start for sample in table.samples if sample.start is not None and sample.end is not None
    ]
    assert (min(lengths), max(lengths)) == (24, 362)


def test_kth_persons_of_the_official_split() -> None:
    # ICPR 2004, as the head of 00sequences.txt states them.
    persons = {
        "train": {11, 12, 13, 14, 15, 16, 17, 18},
        "val": {19, 20, 21, 23, 24, 25, 1, 4},
        "test": {22, 2, 3, 5, 6, 7, 8, 9, 10},
    }
    for split in ("official", "official-video"):
        table = load_split("kth", split)
        for subset, numbers in persons.items():
            found = [sample for sample in table.samples if sample.subset == subset]
            assert {int(sample.group.removeprefix("person")) for sample in found} == numbers
            assert all(sample.media.startswith(sample.group) for sample in found)
    per_class = Counter(key for _, key in labeled(load_split("kth"), "test"))
    assert per_class == dict.fromkeys(("handclapping", "handwaving", "jogging", "running", "walking"), 144) | {
        "boxing": 143
    }
    per_class = Counter(key for _, key in labeled(load_split("kth"), "train"))
    assert (per_class["boxing"], per_class["handwaving"], per_class["handclapping"], per_class["walking"]) == (
        126,
        126,
        124,
        128,
    )


# ------------------------------------------------------------------------------------------------------ Weizmann, JHMDB
def test_weizmann_is_the_folder(test_data: Path) -> None:
    table = load_split("weizmann", "lopo-lena")
    files = {path.relative_to(test_data / "weizmann").as_posix() for path in (test_data / "weizmann").glob("*/*.avi")}
    assert set(table.media()) == files and len(files) == 90
    for sample in table.samples:
        action, name = sample.media.split("/")
        assert name == f"{sample.group}_{action}.avi" and table.classes[sample.target].key == action
        assert sample.subset == ("test" if sample.group == "lena" else "train")


def test_weizmann93_has_lenas_second_takes() -> None:
    table = load_split("weizmann93", "lopo-lena")
    assert len(table.samples) == 93
    ours, theirs = set(load_split("weizmann").media()), set(table.media())
    assert ours - theirs == {f"{action}/lena_{action}.avi" for action in ("run", "skip", "walk")}
    assert theirs - ours == {f"{action}/lena_{action}{take}.avi" for action in ("run", "skip", "walk") for take in "12"}


def test_nwucla_is_the_archive(test_data: Path) -> None:
    samples = {sample.media: sample for sample in load_split("nwucla").samples}
    with zipfile.ZipFile(test_data / "nwucla" / "all_sqe.zip") as archive:
        named = {name.rpartition("/")[2]: name for name in archive.namelist()}
        assert named.keys() == samples.keys()
        for media in sorted(named)[::20]:
            sample = samples[media]
            assert json.loads(archive.read(named[media]))["label"] == sample.target + 1
            assert (sample.group, sample.subset) == (media[4:7], "test" if "_v03" in media else "train")


def test_jhmdb14_is_the_list_of_the_copy(test_data: Path) -> None:
    with open(test_data / "jhmdb14" / "samples.csv", encoding="utf-8", newline="") as handle:
        listed = list(csv.DictReader(handle))
    tested = set()
    for split in ("split1", "split2", "split3"):
        table = load_split("jhmdb14", split)
        found = {(s.sample_id, table.classes[s.target].key, s.subset) for s in table.samples}
        assert found == {(row["sample_id"], row["label"], row[split]) for row in listed}
        tested |= {sample.sample_id for sample in table.subset("test")}
    assert len(tested) == 369
    with zipfile.ZipFile(test_data / "jhmdb14" / "poses.npz") as archive:
        assert set(archive.namelist()) == {sample.media for sample in table.samples}
