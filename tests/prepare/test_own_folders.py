"""What the folders of a user mean: layouts, wrappers, links, kinds of files; refused with what settles it."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from harbench import api
from harbench.errors import DatasetError
from harbench.frames.cache import open_cache
from harbench.prepare.own import OwnData, OwnOptions, with_splits
from harbench.prepare.own_csv import read_own
from harbench.prepare.own_folders import walk


def _fill(folder: Path, *names: str) -> Path:
    """Files that all differ."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def _read(data: OwnData) -> set[tuple[str, str, str]]:
    return {(s.media, s.label, (s.subsets or {}).get("given", "")) for s in data.samples}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("training/a/1.avi testing/b/2.avi", "training/a/1.avi:a:train testing/b/2.avi:b:test"),
        ("Train/a/1.avi VALIDATION/b/2.avi eval/a/3.avi", "Train/a/1.avi:a:train VALIDATION/b/2.avi:b:val eval/a/3.avi:a:val"),
        ("01_train/a/1.avi test-set/b/p1/2.avi", "01_train/a/1.avi:a:train test-set/b/p1/2.avi:b:test"),
        ("My/a/1.avi My/b/x/2.avi", "a/1.avi:a: b/x/2.avi:b:"),
        ("My/videos/train/a/1.avi My/videos/test/b/2.avi", "train/a/1.avi:a:train test/b/2.avi:b:test"),
        ("a/train/1.avi a/Test/2.avi b/train/3.avi", "a/train/1.avi:a:train a/Test/2.avi:a:test b/train/3.avi:b:train"),
        ("train/a/1.avi test/b/2.avi unlabeled/3.avi unlabeled/4.avi", "train/a/1.avi:a:train test/b/2.avi:b:test"),
    ],
)  # fmt: skip
def test_layouts(names: str, expected: str, tmp_path: Path) -> None:
    data = read_own(_fill(tmp_path / "d", *names.split()))
    assert _read(data) == {tuple(each.split(":")) for each in expected.split()}
    assert data.notes[0].startswith("layout: ")
    assert ("2 media in unlabeled lie otherwise, left out" in data.notes) == ("unlabeled" in names)


@pytest.mark.parametrize(
    ("names", "layout", "taken"),
    [
        ("walk/1.avi run/2.avi test/3.avi test/run/4.avi", "subset/class", 1),
        ("walk/1.avi run/2.avi test/3.avi", "class", 3),
        ("train/walk/1.avi test/walk/2.avi walk/3.avi", "subset/class", 2),
        ("walk/train/1.avi walk/2.avi run/3.avi", "class/subset", 1),
        ("walk/train/1.avi walk/2.avi run/3.avi", "class", 3),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_with_both(names: str, layout: str, taken: int, tmp_path: Path) -> None:
    folder = _fill(tmp_path / "d", *names.split())
    with pytest.raises(DatasetError, match=f"may be subsets or classes.*--layout {layout} "):
        read_own(folder)
    assert len(read_own(folder, layout).samples) == taken  # type: ignore[arg-type]


def test_links_are_told_and_loops_not_followed(tmp_path: Path) -> None:
    folder = _fill(tmp_path / "d", "train/a/1.avi", "test/b/2.avi", "train/c/3.avi")
    _fill(tmp_path / "outside", "x/4.avi")
    (folder / "train/back").symlink_to("..")
    (folder / "test/a").symlink_to("../train/a")
    (tmp_path / "outside/x/home").symlink_to(folder)
    (folder / "train/away").symlink_to(tmp_path / "outside")
    (folder / "test/b/5.avi").symlink_to(tmp_path / "outside/x/4.avi")
    found = walk(folder)
    assert [*found.files] == [
        "test/a/1.avi", "test/b/2.avi", "test/b/5.avi", "train/a/1.avi", "train/away/x/4.avi", "train/c/3.avi",
    ]  # fmt: skip
    loops, followed = found.notes
    assert "not followed: 2 (" in loops and f"train/back -> {folder}" in loops and "train/away/x/home" in loops
    assert "followed: 3 (" in followed and f"test/b/5.avi -> {tmp_path}/outside/x/4.avi" in followed


def test_a_file_in_train_and_test_is_a_leak_that_is_named(tmp_path: Path) -> None:
    folder = _fill(tmp_path / "d", "train/a/1.avi", "train/b/2.avi", "test/b/3.avi", "train/c/0.avi", "test/c/9.avi")
    shutil.copy(folder / "train/a/1.avi", folder / "test/b/same.avi")
    (folder / "test/b/link.avi").symlink_to("../../train/b/2.avi")
    (folder / "train/c/0.avi").write_bytes(b"x" * 9000 + b"y" + b"x" * 9000)
    (folder / "test/c/9.avi").write_bytes(b"x" * 9000 + b"z" + b"x" * 9000)  # same size, same ends
    [leak] = [note for note in with_splits(read_own(folder), OwnOptions("mine")).notes if "leaks" in note]
    assert "2 test samples are also in train or val, the same file: " in leak
    assert "test/b/link.avi = train/b/2.avi" in leak and "test/b/same.avi = train/a/1.avi" in leak


def test_files_that_are_not_taken_are_counted_by_suffix(tmp_path: Path) -> None:
    names = [
        "a/1.avi",
        "a/1.jpg",
        "a/thumb.png",
        "a/n.docx",
        "a/m.docx",
        "b/2.TS",
        "b/3.gif",
        "b/README",
        "b/.hidden.xyz",
    ]
    data = read_own(_fill(tmp_path / "d", *names))
    assert [s.media for s in data.samples] == ["a/1.avi", "b/2.TS", "b/3.gif"]
    assert "no videos, left out: 2 images" in data.notes
    assert "files that are no media harbench reads, left out: 2 .docx, 1 no suffix" in data.notes
    folder = _fill(tmp_path / "e", "a/1.avi", "b/2.avi", "a/photo.jpg")
    with pytest.raises(DatasetError, match=r"found 2 videos, 1 images.*--modality"):
        read_own(folder)
    assert [s.media for s in read_own(folder, modality="image").samples] == ["a/photo.jpg"]


def test_folders_of_frames_are_videos_or_stills_as_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    for clip in ("train/a/v", "train/b/v", "test/a/v"):
        (folder / clip).mkdir(parents=True)
        for n in range(11):
            cv2.imwrite(str(folder / clip / f"frame{n}.png"), np.full((8, 8, 3), 20 * n, np.uint8))
    with pytest.raises(
        DatasetError, match=r"numbered in 3 folders .*frame0.png to frame10.png.*--modality video.*image"
    ):
        read_own(folder)
    assert len(read_own(folder, modality="image").samples) == 33
    home = tmp_path / "home"
    options = OwnOptions("mine", modality="video")
    assert api.prepare(str(folder), own=options, home=home, dry_run=True).present == 3 and not home.exists()
    report = api.prepare(str(folder), own=options, home=home, workers=1)
    assert report.cached == 3
    assert any("each folder of pictures is one video (3)" in note for note in report.notes)
    assert any("leaks: 1 test samples" in note and "test/a/v.frames" in note for note in report.notes)
    frames = open_cache(Path(report.cache)).read("train/b/v.frames", np.arange(11))
    assert np.abs(frames.mean((1, 2, 3)) - 20 * np.arange(11)).max() < 3
    (folder / "train/b/v/frame4.png").unlink()
    assert any("without a gap" in note and "train/b/v" in note for note in read_own(folder, modality="video").notes)


@pytest.mark.parametrize(
    ("name", "classes", "split"),
    [("t1", {"run", "walk"}, {"train": 6, "test": 4}), ("t6", {"run", "walk"}, {"train": 6, "val": 4}),
     ("t3", {"run", "walk"}, {}), ("num", set(map(str, range(12))), {"train": 24, "test": 12})],
)  # fmt: skip
def test_folders_as_people_have_them(
    name: str, classes: set[str], split: dict[str, int], test_data: Path, tmp_path: Path
) -> None:
    with tarfile.open(test_data / "odd" / f"folders_{name}.tgz") as archive:
        archive.extractall(tmp_path, filter="data")
    data = read_own(tmp_path / name)
    assert {sample.label for sample in data.samples} == classes
    subsets = [subset for sample in data.samples for subset in (sample.subsets or {}).values()]
    assert {subset: subsets.count(subset) for subset in subsets} == split
    if not split:
        with pytest.raises(DatasetError, match=r"layout: class folders, in .*; 2 classes: .*\nThere is no split"):
            with_splits(data, OwnOptions("mine"))
