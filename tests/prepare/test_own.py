"""A user's folder becomes a data set: every layout, every split, every mistake told."""

from __future__ import annotations

import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from harbench import api
from harbench.cli import app
from harbench.datasets.checks import check_split
from harbench.datasets.partition import Member, leaked_share, split_at_random, split_by_group
from harbench.datasets.tables import load_spec, load_split
from harbench.errors import DatasetError
from harbench.frames.cache import open_cache
from harbench.prepare.own import OwnData, OwnOptions, OwnSample
from harbench.prepare.own_csv import read_own
from harbench.prepare.own_write import write_own
from harbench.records import ClassLabel


def _touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def _take(folder: Path, home: Path, **options: object) -> tuple[str, ...]:
    return write_own(read_own(folder), OwnOptions("mine", **options), home)  # type: ignore[arg-type]


def test_jhmdb14_as_a_users_folder_is_the_built_in_one(test_data: Path, tmp_path: Path) -> None:
    folder = test_data / "jhmdb14"
    own = api.prepare(str(folder), own=OwnOptions("mine"), home=tmp_path, workers=1)
    built_in = api.prepare("jhmdb14", source=folder, home=tmp_path, workers=1)
    assert own.media == own.cached == built_in.cached == 609
    for split, train, test in (("split1", 433, 176), ("split2", 433, 176), ("split3", 434, 175)):
        mine, theirs = load_split("mine", split, tmp_path), load_split("jhmdb14", split)
        assert (len(mine.subset("train")), len(mine.subset("test"))) == (train, test)
        assert mine.samples == theirs.samples and [c.key for c in mine.classes] == [c.key for c in theirs.classes]
        assert not check_split(mine, load_spec("mine", tmp_path)).problems
    ours, others = open_cache(Path(own.cache)), open_cache(Path(built_in.cache))
    for media in theirs.media():
        every = np.arange(others.info(media).frames)
        np.testing.assert_array_equal(ours.read(media, every), others.read(media, every))
    assert api.prepare(str(folder), own=OwnOptions("mine"), home=tmp_path, workers=1).reused == 609


def test_split_folders_are_the_split(tmp_path: Path) -> None:
    folder = _touch(
        tmp_path / "d", "train/a/1.avi", "train/b b/2.avi", "valid/a/3.avi", "test/a/4.avi", "test/b b/5.avi"
    )
    notes = _take(folder, tmp_path)
    table = load_split("mine", "given", tmp_path)
    assert [s.subset for s in table.samples] == ["test", "test", "train", "train", "val"]
    assert [(c.key, c.display) for c in table.classes] == [("a", "a"), ("b_b", "b b")]
    assert "class order: sorted (2 classes)" in notes
    _take(folder, tmp_path)  # the same again is no-op
    _touch(folder, "test/a/6.avi")
    with pytest.raises(DatasetError, match="--force"):
        _take(folder, tmp_path)
    _take(folder, tmp_path, force=True)
    assert len(load_split("mine", "", tmp_path).samples) == 6


def test_without_a_split_the_three_ways_are_told(tmp_path: Path) -> None:
    names = [f"{label}/p{person}_{n}.avi" for label in "ab" for person in range(5) for n in range(2)]
    folder = _touch(tmp_path / "d", *names)
    with pytest.raises(DatasetError, match=r"(?s)train/.*--group-pattern.*--split-by random"):
        _take(folder, tmp_path)
    _take(folder, tmp_path, group_pattern="/p([0-9]+)")
    grouped = load_split("mine", "grouped", tmp_path)
    assert len(grouped.subset("test")) == 4
    assert not {s.group for s in grouped.subset("test")} & {s.group for s in grouped.subset("train")}
    notes = _take(folder, tmp_path, split_by="random", force=True)
    assert any("groups are unknown" in note for note in notes)
    notes = _take(folder, tmp_path, split_by="random", group_pattern="/p([0-9]+)", force=True)
    assert any("leaks: " in note and "%" in note for note in notes)
    assert any("not official" in note for note in notes)
    for pattern in ("(", "p[0-9]", "q([0-9])"):
        with pytest.raises(DatasetError, match="--group-pattern"):
            _take(folder, tmp_path, group_pattern=pattern)


@pytest.mark.parametrize("header", ["video_name,label", "video_name,tag", "tag,video_name"])
def test_tables_a_subset(tmp_path: Path, header: str) -> None:
    folder = _touch(
        tmp_path / "d", "train/Swing/v_1.avi", "train/Punch/v_2.avi", "val/Swing/v_3.avi", "test/Swing/v_1.avi"
    )
    rows = {
        "train": [("v_1.avi", "Swing"), ("v_2", "Punch")],
        "val": [("v_3.avi", "Swing")],
        "test": [("v_1.avi", "Swing")],
    }
    for part, lines in rows.items():
        cells = [",".join(reversed(line) if header.startswith("tag") else line) for line in lines]
        (folder / f"{part}.csv").write_text("\ufeff" + "\r\n".join([header, *cells]), "utf-8")
    _take(folder, tmp_path)
    table = load_split("mine", "given", tmp_path)
    assert {(s.media, s.subset) for s in table.samples} == {
        ("train/Swing/v_1.avi", "train"), ("train/Punch/v_2.avi", "train"), ("val/Swing/v_3.avi", "val"),
        ("test/Swing/v_1.avi", "test"),
    }  # fmt: skip


def test_kaggle_paths_begin_with_a_slash(tmp_path: Path) -> None:
    folder = _touch(tmp_path / "d", "train/Swing/v_1.avi", "test/Punch/v_2.avi", "train/more.avi")
    for part, name, label in (("train", "v_1", "Swing"), ("test", "v_2", "Punch")):
        text = f"clip_name,clip_path,label\n{name},/{part}/{label}/{name}.avi,{label}\n"
        (folder / f"{part}.csv").write_text(text, "utf-8")
    notes = _take(folder, tmp_path)
    assert [s.media for s in load_split("mine", "", tmp_path).samples] == ["test/Punch/v_2.avi", "train/Swing/v_1.avi"]
    assert any("1 files are in no table" in note for note in notes)


def test_every_bad_row_is_told_at_once(tmp_path: Path) -> None:
    folder = _touch(tmp_path / "d", "a/1.avi", "a/2.avi", "x/3.avi", "y/3.avi")
    lines = ["sample_id,label,s", "a/1,a,train", "a/1.avi,a,test", "../b,a,train", "/abs,a,", "a/9,a,test", "a/2,,test",
             "a/2,a,tset", "3,z,train"]  # fmt: skip
    (folder / "samples.csv").write_text("\n".join(lines), "utf-8")
    with pytest.raises(DatasetError) as told:
        read_own(folder)
    for number, words in ((3, "line 2 already"), (4, "relative path"), (5, "no such file"), (6, "no such file"),
                          (7, "label"), (8, "tset"), (9, "could be")):  # fmt: skip
        assert any(f"line {number}:" in line and words in line for line in str(told.value).splitlines()), number


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"sample_id,label\n\xff,b\n", "UTF-8"), (b"a,b\na/1,2\n", "line 1: a: .*column names, write path,label"),
     (b"a,b,c\n1,2,3\n", "line 1: expected a line of column names"), (b"path,x\na/1,2\n", "one with its class.*--layout"),
     (b"sample_id,label\na\n", "line 2: expected 2 cells"), (b'sample_id,label\n"a,b\n', "EOF inside string"),
     (b"path,label\n", "no rows")],
)  # fmt: skip
def test_files_that_are_no_tables(tmp_path: Path, content: bytes, words: str) -> None:
    folder = _touch(tmp_path / "d", "a/1.avi")
    (folder / "samples.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=words):
        read_own(folder)


def test_what_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"lie in no class folder.*Expected class folders"):
        read_own(_touch(tmp_path / "flat", "1.avi"))
    with pytest.raises(DatasetError, match=r"one kind; found 1 videos, 1 poses.*--modality"):
        read_own(_touch(tmp_path / "mixed", "a/1.avi", "a/2.npy"))
    with pytest.raises(DatasetError, match="more than once"):
        _take(_touch(tmp_path / "case", "train/a/X.avi", "train/a/x.avi"), tmp_path)
    with pytest.raises(DatasetError, match=r"two classes or more; found layout: .*; 1 class: a 2"):
        _take(_touch(tmp_path / "one", "train/a/1.avi", "test/a/2.avi"), tmp_path)
    with pytest.raises(DatasetError, match=r"two classes or more; found .*1 class: walk 2"):
        _take(_touch(tmp_path / "alone", "walk/1.avi", "walk/2.avi"), tmp_path)
    with pytest.raises(DatasetError, match="harbench has a data set"):
        write_own(read_own(_touch(tmp_path / "n", "train/a/1.avi")), OwnOptions("ucf101"), tmp_path)
    folder = _touch(tmp_path / "c", "train/a/1.avi")
    (folder / "classes.txt").write_text("b\tb\n")
    with pytest.raises(DatasetError, match=r"not in classes\.txt: a"):
        _take(folder, tmp_path)
    (folder / "classes.txt").write_text("a\tb\nb\ta\n")
    with pytest.raises(DatasetError, match=r"b, a: a name of two classes|a, b: a name of two classes"):
        _take(folder, tmp_path)
    with pytest.raises(DatasetError, match="--name mine"):
        api.prepare(str(folder), home=tmp_path)


@pytest.mark.parametrize(
    ("labels", "words"),
    [(("walk (fast)", "walk [fast]"), r"give one key: walk_fast_ \(walk \(fast\), walk \[fast\]\)"),
     (("wa\nlk", "run"), r"class 'wa\\nlk': expected a name in one line"), (("walk ", "run"), "without tabs and blanks"),
     (("a\u2028b", "run"), "in one line"), (("", "run"), "class ''")],
)  # fmt: skip
def test_class_names_that_no_table_holds_are_refused_at_the_door(
    labels: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    samples = tuple(OwnSample(f"{n}.avi", label, "", {"given": "test"}) for n, label in enumerate(labels))
    with pytest.raises(DatasetError, match=words):
        write_own(OwnData(samples, ("given",), "video", {}), OwnOptions("mine"), tmp_path / "home")
    samples = tuple(replace(sample, label="same") for sample in samples)
    listed = tuple(ClassLabel("same", label) for label in labels)
    with pytest.raises(DatasetError, match=r"class '|give one key: same \(walk \(fast\), walk \[fast\]\)"):
        write_own(OwnData(samples, ("given",), "video", {}, listed), OwnOptions("mine"), tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_classes_in_order_and_apart(tmp_path: Path) -> None:
    folder = _touch(tmp_path / "d", *(f"{part}/{n}/{part}{n}.avi" for part in ("train", "test") for n in range(12)))
    _take(folder, tmp_path)
    assert [c.key for c in load_split("mine", "", tmp_path).classes] == [str(n) for n in range(12)]
    notes = _take(_touch(tmp_path / "e", "train/Walk/1.avi", "test/walk/2.avi"), tmp_path, force=True)
    assert "classes that differ only in upper and lower case, kept apart: Walk, walk" in notes
    _take(_touch(tmp_path / "f", "train/走路/1.avi", "test/跑步/2.avi"), tmp_path, force=True)
    assert [(c.key, c.display) for c in load_split("mine", "", tmp_path).classes] == [
        ("c001", "走路"),
        ("c002", "跑步"),
    ]


def test_a_dry_run_writes_nothing_and_is_the_preview(tmp_path: Path) -> None:
    folder, home = _touch(tmp_path / "d", "train/a/1.avi", "train/b/2.avi", "test/a/3.avi"), tmp_path / "home"
    arguments = ["--home", str(home), "prepare", str(folder), "--name", "mine"]
    said = CliRunner().invoke(app, [*arguments, "--dry-run"], catch_exceptions=False).stdout
    for words in (
        "layout: subset folders, in them class folders", "2 classes: a 2, b 1", "train 2, test 1", "media      3 of 3",
        "examples: test/a/3.avi is a, test; train/b/2.avi is b, train", f"in {home}/mine/cache/rgb-jpeg90-128",
    ):  # fmt: skip
        assert words in said
    assert not home.exists()


def test_a_zip_of_a_folder_is_taken_as_the_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "my.zip", "w") as archive:
        for n, name in enumerate(("MyData/train/a/1.png", "MyData/test/b/2.png")):
            archive.writestr(name, cv2.imencode(".png", np.full((9, 9, 3), n, np.uint8))[1].tobytes())
    report = api.prepare(str(tmp_path / "my.zip"), own=OwnOptions("mine"), home=tmp_path / "home", workers=1)
    assert report.present == report.cached == 2
    with pytest.raises(DatasetError, match=r"is an archive. Give your data set a name"):
        api.prepare(str(tmp_path / "my.zip"), home=tmp_path)


members = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 8)), min_size=2, max_size=60)


@given(members, st.floats(0.1, 0.5), st.integers(0, 3))
def test_a_split_by_group_never_straddles(drawn: list[tuple[str, int]], share: float, seed: int) -> None:
    found = [Member(f"m{i}", label, f"g{group}") for i, (label, group) in enumerate(drawn)]
    if len({member.group for member in found}) < 2:
        with pytest.raises(DatasetError):
            split_by_group(found, share, seed)
        return
    made = split_by_group(found, share, seed)
    assert set(made.values()) == {"train", "test"}
    assert leaked_share(found, made) == 0
    assert split_by_group(found[::-1], share, seed) == made


@given(members, st.integers(0, 3))
def test_a_random_split_has_its_share_of_each_class(drawn: list[tuple[str, int]], seed: int) -> None:
    found = [Member(f"m{i}", label, "") for i, (label, _) in enumerate(drawn)]
    made = split_at_random(found, 0.2, seed)
    sizes = Counter(member.label for member in found)
    test = Counter(member.label for member in found if made[member.name] == "test")
    assert all(test[label] == min(max(round(0.2 * n), 1), n - 1) for label, n in sizes.items())
    assert leaked_share(found, made) is None
