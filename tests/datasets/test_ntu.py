"""The rule for NTU against every usable sample name and label that the field's code lists."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import pytest

from harbench.datasets.tables import load_spec, load_split

# Written down a second time rather than imported; 20 of 40 persons, and 53 of 106.
TRAIN_SUBJECTS = {1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38}
TRAIN_SUBJECTS_120 = TRAIN_SUBJECTS | (
    {45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86, 89, 91, 92, 93, 94}
    | {95, 97, 98, 100, 103}
)


def names_and_labels(test_data: Path, folder: str) -> list[tuple[str, int]]:
    """Every usable name and its 1-based label, as CTR-GCN's statistics files have them."""
    with tarfile.open(test_data / "ntu" / "sample_names.tar.xz") as archive:
        texts = []
        for file in ("skes_available_name.txt", "label.txt"):
            content = archive.extractfile(f"{folder}/{file}")
            assert content is not None
            texts.append(content.read().decode().split())
    return list(zip(texts[0], map(int, texts[1]), strict=True))


@pytest.mark.parametrize(
    ("name", "folder", "split", "is_train"),
    [
        ("ntu60", "statistics_ctrgcn_ntu60", "xsub", lambda s, c, p: p in TRAIN_SUBJECTS),
        ("ntu60", "statistics_ctrgcn_ntu60", "xview", lambda s, c, p: c in (2, 3)),
        ("ntu120", "statistics_ctrgcn_ntu120", "xsub", lambda s, c, p: p in TRAIN_SUBJECTS_120),
        ("ntu120", "statistics_ctrgcn_ntu120", "xset", lambda s, c, p: s % 2 == 0),
    ],
)
def test_members_and_labels(test_data: Path, name: str, folder: str, split: str, is_train: object) -> None:
    assert callable(is_train)
    expected = []
    for sample_id, label in names_and_labels(test_data, folder):
        setup, camera, performer = (int(number) for number in re.findall(r"[SCP](\d{3})", sample_id))
        subset = "train" if is_train(setup, camera, performer) else "test"
        expected.append((sample_id, label - 1, f"P{performer:03}", subset, f"{sample_id}.skeleton"))
    table = load_split(name, split)
    found = [(s.sample_id, s.target, s.group, s.subset, s.media) for s in table.samples]
    assert found == sorted(expected)
    assert all(table.classes[target].key == sample_id[-4:] for sample_id, target, *_ in found[:500])


def test_incomplete_samples_are_in_no_split(test_data: Path) -> None:
    for name, file in (
        ("ntu60", "NTU_RGBD_samples_with_missing_skeletons.txt"),
        ("ntu120", "NTU_RGBD120_samples_with_missing_skeletons.txt"),
    ):
        incomplete = set(re.findall(r"^S\w{19}$", (test_data / "ntu" / file).read_text(), re.MULTILINE))
        assert len(incomplete) == {"ntu60": 302, "ntu120": 535}[name]
        assert not incomplete & {sample.sample_id for sample in load_split(name).samples}


def test_ntu7_is_seven_classes_of_ntu120() -> None:
    keys = ["A043", "A027", "A024", "A050", "A099", "A008", "A009"]
    for split in ("xsub", "xset"):
        seven, whole = load_split("ntu7", split), load_split("ntu120", split)
        assert [label.key for label in seven.classes] == keys
        assert [(s.sample_id, s.subset, seven.classes[s.target].key) for s in seven.samples] == [
            (s.sample_id, s.subset, s.sample_id[-4:]) for s in whole.samples if s.sample_id[-4:] in keys
        ]


@pytest.mark.parametrize(
    ("name", "whole", "actions"),
    [("ntu60_mutual", "ntu60", {*range(50, 61)}), ("ntu120_mutual", "ntu120", {*range(50, 61), *range(106, 121)})],
)
def test_mutual_actions_are_the_authors_list(name: str, whole: str, actions: set[int]) -> None:
    for split in load_spec(name).splits:
        mutual = load_split(name, split)
        assert {int(label.key[1:]) for label in mutual.classes} == actions
        assert [(s.sample_id, s.subset, mutual.classes[s.target].key) for s in mutual.samples] == [
            (s.sample_id, s.subset, s.sample_id[-4:])
            for s in load_split(whole, split).samples
            if int(s.sample_id[-3:]) in actions
        ]


def test_one_shot_learns_from_one_exemplar_a_class(test_data: Path) -> None:
    exemplars = {
        "S001C003P008R001A001", "S001C003P008R001A007", "S001C003P008R001A013", "S001C003P008R001A019",
        "S001C003P008R001A025", "S001C003P008R001A031", "S001C003P008R001A037", "S001C003P008R001A043",
        "S001C003P008R001A049", "S001C003P008R001A055", "S018C003P008R001A061", "S018C003P008R001A067",
        "S018C003P008R001A073", "S018C003P008R001A079", "S018C003P008R001A085", "S018C003P008R001A091",
        "S018C003P008R001A097", "S018C003P008R001A103", "S018C003P008R001A109", "S018C003P008R001A115",
    }  # fmt: skip
    table = load_split("ntu120_oneshot")
    assert {sample.sample_id for sample in table.subset("train")} == exemplars
    assert [label.key for label in table.classes] == sorted(name[-4:] for name in exemplars)
    assert all(table.classes[sample.target].key == sample.sample_id[-4:] for sample in table.samples)
    novel = {int(name[-3:]) for name in exemplars}
    usable = {name for name, label in names_and_labels(test_data, "statistics_ctrgcn_ntu120") if label in novel}
    assert {sample.sample_id for sample in table.samples} == usable


def test_action_names() -> None:
    names = {label.key: label.display for label in load_split("ntu120").classes}
    assert list(names) == [f"A{number:03}" for number in range(1, 121)]
    assert (names["A002"], names["A057"]) == ("eat meal/snack", "touch other person's pocket")
    assert (names["A060"], names["A061"], names["A120"]) == ("walking apart", "put on headphone", "rock-paper-scissors")
    assert load_split("ntu60").classes == load_split("ntu120").classes[:60]
