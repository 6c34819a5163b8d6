"""Other tools' formats as their users have them, and damaged."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harbench import api
from harbench.datasets.tables import load_split
from harbench.errors import DatasetError
from harbench.prepare.formats import FORMATS
from harbench.prepare.formats.lists import split_and_subset
from harbench.prepare.own import OwnData, OwnOptions
from harbench.prepare.own_write import write_own


def read(form: str, source: Path) -> OwnData:
    return FORMATS[form].read(source, source.parent / "into")


def told(form: str, source: Path) -> str:
    with pytest.raises(DatasetError) as error:
        read(form, source)
    return str(error.value)


def labels(data: OwnData) -> dict[str, str]:
    return {sample.media: sample.label for sample in data.samples}


# ------------------------------------------------------------------------------------------------------------ mmaction2
def lists(folder: Path, **texts: str) -> Path:
    """mmaction2's folder: two classes, four videos, and these lists."""
    (folder / "videos").mkdir(parents=True)
    (folder / "label_map.txt").write_text("walk\nrun\n")
    for name in ("w 1.mp4", "w2.mp4", "r1.mp4", "r2.mp4"):
        (folder / "videos" / name).write_bytes(name.encode())
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("train", "test", "split"),
    [
        ("train_videos", "test_videos", "given"), ("train", "val", "given"), ("split2_train", "split2_test", "split2"),
        ("ucf101_train_split_1_videos", "ucf101_val_split_1_videos", "split1"), ("train1", "test1", "split1"),
        ("kinetics400_train_list_videos", "kinetics400_val_list_videos", "kinetics400"),
        ("trainlist01", "testlist01", "split1"), ("xsub_train", "xsub_val", "xsub"),
        ("lopo-daria_train_videos", "lopo-daria_test_videos", "lopo-daria"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("gap", "start"), [(" ", 0), ("\t", 0), ("  ", 1), (" \t ", 0), (",", 1)])
def test_lists_as_they_are_published(tmp_path: Path, train: str, test: str, split: str, gap: str, start: int) -> None:
    texts = {
        train: f"w 1.mp4{gap}{start}  \r\nr1.mp4{gap}{start + 1}\n\n",
        test: f"w2.mp4{gap}{start}\nr2.mp4{gap}{start + 1}",
    }
    data = read("mmaction2", lists(tmp_path / "m", **texts))
    assert data.splits == (split,)
    assert labels(data) == {"w 1.mp4": "walk", "w2.mp4": "walk", "r1.mp4": "run", "r2.mp4": "run"}
    assert {s.media: s.subsets for s in data.samples}["w 1.mp4"] == {split: "train"}
    assert ("labels count from 1" in data.notes) == (start == 1)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"train": "w 1.mp4\nw2.mp4 walk\n"}, ["line 1: expected `path label`, found 'w 1.mp4'", "line 2", "'w2.mp4 walk'"]),
        ({"train": "w 1.mp4 0²\n"}, ["found 'w 1.mp4 0²'"]),
        ({"train": "w 1.mp4 0\nr1.mp4 9\n"}, ["line 2: expected a label below 2, found 9"]),
        ({"train": "w 1.mp4 0\nr1.mp4 1\nw 1.mp4 0"}, ["line 3: w 1.mp4 stands there twice"]),
        ({"train": "w 1.mp4 0\n", "test": "w 1.mp4 1\n"}, ["under two labels"]),
        ({"train": "no.mp4 0\n"}, ["videos/no.mp4: there is no such file"]),
        ({"train": "w 1.mp4 0", "train_list": "w2.mp4 0"}, ["a list of train of given already"]),
        ({"mine": "w 1.mp4 0"}, ["called train_videos.txt", "found mine.txt"]),
        ({"train": ""}, ["nothing in it"]),
    ],
)  # fmt: skip
def test_lists_that_cannot_be_taken_say_why(tmp_path: Path, texts: dict[str, str], words: list[str]) -> None:
    message = told("mmaction2", lists(tmp_path / "m", **texts))
    assert all(word in message for word in words), message


def test_a_list_that_is_no_utf8(tmp_path: Path) -> None:
    folder = lists(tmp_path / "m", train="x")
    (folder / "train.txt").write_bytes(b"w\xe92.mp4 0\n")
    assert "train.txt: expected a readable UTF-8 text file" in told("mmaction2", folder)


@pytest.mark.parametrize("name", ["mine", "train_test", "videos"])
def test_names_that_are_no_subset(name: str) -> None:
    with pytest.raises(DatasetError, match="split1_train"):
        split_and_subset(name)


@pytest.mark.parametrize("name", ["mmaction2_m2", "mmaction2_m3", "mmaction2_m4", "mmaction2_m6"])
def test_mmaction2_folders_of_users(test_data: Path, tmp_path: Path, name: str) -> None:
    with tarfile.open(test_data / f"odd/{name}.tgz") as tar:
        tar.extractall(tmp_path, filter="data")
    data = read("mmaction2", next(tmp_path.iterdir()))
    assert labels(data) == {"walk_1.mp4": "walk", "run_1.mp4": "run", "walk_2.mp4": "walk", "run_2.mp4": "run"}


# ------------------------------------------------------------------------------------------------------------ rawframes
def test_frames_are_taken_by_their_numbers(test_data: Path, tmp_path: Path) -> None:
    with tarfile.open(test_data / "odd/rawframes_unpadded.tar") as tar:
        tar.extractall(tmp_path, filter="data")
    api.convert_from("rawframes", tmp_path / "raw", name="raw", home=tmp_path / "home")
    with tarfile.open(tmp_path / "home/raw/unpacked/rawframes/walk_0.frames") as tar:
        assert tar.getnames() == [f"frame{n}.jpg" for n in range(12)]


def test_gaps_and_mixed_patterns_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    names = {"a": ["i1", "i2", "i10"], "b": ["i1", "j2", "j3"], "c": ["i9", "i10", "i11"]}
    for name, pictures in names.items():
        (folder / "rawframes" / name).mkdir(parents=True)
        for picture in pictures:
            (folder / "rawframes" / name / f"{picture}.jpg").write_bytes(picture.encode())
    (folder / "label_map.txt").write_text("walk\nrun\n")
    (folder / "train_rawframes.txt").write_text("a 3 0\nb 3 1\nc 3 1\n")
    [note] = [note for note in read("rawframes", folder).notes if "without a gap" in note]
    assert note.endswith("2 (a, b)")
    with tarfile.open(tmp_path / "into/a.frames") as tar:
        assert tar.getnames() == ["i1.jpg", "i2.jpg", "i10.jpg"]
    (folder / "train_rawframes.txt").write_text("a 4 0\n")
    assert "rawframes/a: 4 frames are listed, 3 are there" in told("rawframes", folder)


# ------------------------------------------------------------------------------------------------------------- skeleton
def pickled(path: Path, change: dict[str, Any] | None = None, split: dict[Any, Any] | None = None, **more: Any) -> Path:
    """A skeleton pickle of four annotations; the first one is changed, one more is added."""
    joints = np.zeros((1, 9, 17, 2), np.float32)
    annotations = [{"frame_dir": f"v{n}", "label": n % 2, "keypoint": joints} for n in range(4)]
    annotations[0] |= change or {}
    annotations += [{"frame_dir": "v4", "label": 0, "keypoint": joints, **more}] if more else []
    parts = {"train1": ["v0", "v1"], "test1": ["v2", "v3"]} if split is None else split
    path.write_bytes(pickle.dumps({"split": parts, "annotations": annotations}))
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"frame_dir": "v1", "label": 1}, "v1: two annotations have this frame_dir, with labels 1 and 1"),
        ({"change": {"label": 1.5}}, "v0: expected the number of a class as label, found 1.5"),
        ({"change": {"label": 10**400}}, "v0: expected the number of a class"),
        ({"change": {"label": float("nan")}}, "v0: expected the number of a class as label, found nan"),
        ({"change": {"frame_dir": 3}}, "annotation 0: frame_dir: expected a text, found int"),
        ({"change": {"keypoint": np.zeros((9, 17, 2))}}, "v0: expected keypoint [M, T, V, C] of numbers, found float64 [9"),
        ({"change": {"keypoint": [[1], [1, 2]]}}, "v0: expected keypoint [M, T, V, C] of numbers, found a list"),
        ({"split": {"train": ["v0", "v1"], "test": ["v1"]}}, "split test: v1 stands in train of given already"),
        ({"split": {"train": ["v0", "v0"]}}, "v0 stands in train of given already"),
        ({"split": {"train": ["v9"]}}, "split train: v9 has no annotation"),
        ({"split": {"train": 3}}, "split 'train': expected a name and a list of frame_dir"),
        ({"split": {"mine": ["v0"]}}, "'mine': expected the name of a split"),
    ],
)  # fmt: skip
def test_pickles_that_cannot_be_taken_say_why(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    assert words in told("skeleton", pickled(tmp_path / "a.pkl", **changes))


def test_what_is_no_skeleton_pickle(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    for content in ([], {"split": {}, "annotations": {}}, {"annotations": [3]}, {"split": {}, "annotations": []}):
        path.write_bytes(pickle.dumps(content))
        assert "expected a pickle of `split` and `annotations`" in told("skeleton", path)


def test_pickles_of_users(test_data: Path, tmp_path: Path) -> None:
    assert "v_0_0: two annotations have this frame_dir, with labels 0 and 2" in told(
        "skeleton", test_data / "odd/sk_dup.pkl"
    )
    api.convert_from("skeleton", test_data / "odd/sk_ucf.pkl", name="sk", home=tmp_path)
    table = load_split("sk", "split1", tmp_path)
    assert (len(table.subset("train")), len(table.subset("test"))) == (9, 3)


# ------------------------------------------------------------------------------------------------------------ webdataset
def shard(path: Path, **members: bytes | str) -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            data = content if isinstance(content, bytes) else content.encode()
            info = tarfile.TarInfo(name.replace("__", "."))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_shards_of_users(test_data: Path, tmp_path: Path) -> None:
    with tarfile.open(test_data / "odd/webdataset_newline.tgz") as tar:
        tar.extractall(tmp_path, filter="data")
    assert {*labels(read("webdataset", tmp_path / "w2")).values()} == {"0", "1"}


def test_numbers_of_classes_are_in_their_order(tmp_path: Path) -> None:
    members = {f"v{n}__mp4": f"{n}" for n in range(12)} | {f"v{n}__cls": f"{n}\n" for n in range(12)}
    shard(tmp_path / "w/ucf101-train-000000.tar", **members)
    shard(tmp_path / "w/test-0.tar", t__mp4="t", t__json='{"label": 3}')
    write_own(read("webdataset", tmp_path / "w"), OwnOptions("w"), tmp_path)
    table = load_split("w", "given", tmp_path)
    assert [label.key for label in table.classes] == [str(n) for n in range(12)]
    assert {s.media: s.target for s in table.samples}["t.mp4"] == 3


@pytest.mark.parametrize(
    ("content", "words"),
    [("[1]", "a.json: expected a JSON object, found list"), ("{", "a.json: expected JSON"), ("[" * 9999, "a.json"),
     (b"\xff\xfe", "a.json: expected JSON"), ('{"label": null}', "and its class"), ('{"media": "../x"}', "safe name")],
)  # fmt: skip
def test_facts_that_are_none(tmp_path: Path, content: str | bytes, words: str) -> None:
    shard(tmp_path / "w/train-0.tar", a__mp4="a", a__json=content)
    assert words in told("webdataset", tmp_path / "w")


def test_a_damaged_shard(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    for content in (b"no", b"\x1f\x8b\x08" + bytes(99), b""):
        (tmp_path / "w/train-0.tar").write_bytes(content)
        assert "expected a tar, found damage" in told("webdataset", tmp_path / "w")


# ----------------------------------------------------------------------------------------------------------- videofolder
def videofolder(folder: Path, rows: dict[str, list[dict[str, Any]]], name: str = "metadata.jsonl") -> Path:
    for subset, facts in rows.items():
        (folder / subset).mkdir(parents=True)
        (folder / subset / name).write_text("\n".join(json.dumps(each) for each in facts) + "\n\n")
        for each in facts:
            (folder / subset / str(each.get("file_name"))).write_bytes(subset.encode() + str(each).encode())
    return folder


def test_json_lines_and_one_name_in_two_folders(tmp_path: Path) -> None:
    rows = [{"file_name": "a.mp4", "label": "walk", "fps": 25}, {"file_name": "b.mp4", "label": 7}]
    data = read("videofolder", videofolder(tmp_path / "v", {"train": rows, "Validation": rows}))
    assert labels(data) == {
        "train/a.mp4": "walk", "train/b.mp4": "7", "Validation/a.mp4": "walk", "Validation/b.mp4": "7",
    }  # fmt: skip
    assert [s.subsets for s in data.samples if s.media == "Validation/a.mp4"] == [{"given": "val"}]
    assert any("several folders" in note for note in data.notes)
    one = read("videofolder", videofolder(tmp_path / "one", {"train": rows}))
    assert [*labels(one)] == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({"train": [{"file_name": "a.mp4"}]}, "line 1: expected file_name and label, found file_name"),
        ({"train": [{"label": "a"}]}, "expected file_name and label"),
        ({"extra": [{"file_name": "a.mp4", "label": "a"}]}, "expected a folder of train"),
        ({"train": [{"file_name": "a.mp4", "label": "a"}] * 2}, "a.mp4 stands there twice"),
    ],
)
def test_tables_that_cannot_be_taken_say_why(tmp_path: Path, rows: dict[str, Any], words: str) -> None:
    assert words in told("videofolder", videofolder(tmp_path / "v", rows))


def test_damaged_and_missing_tables(tmp_path: Path) -> None:
    folder = videofolder(tmp_path / "v", {"train": [{"file_name": "a.mp4", "label": "a"}]})
    (folder / "train/metadata.jsonl").write_text('{"file_name": \n')
    assert "metadata.jsonl, line 1: expected JSON" in told("videofolder", folder)
    (folder / "train/metadata.jsonl").unlink()
    assert f"harbench prepare {folder} --name NAME" in told("videofolder", folder)
    (folder / "train/metadata.csv").write_text("file_name,labels\na.mp4,walk\n")
    assert "expected file_name and label, found file_name, labels" in told("videofolder", folder)
