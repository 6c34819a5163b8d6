"""Other tools' formats: what is written is what they read, and comes back the same."""

from __future__ import annotations

import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from toys import toy_videos

from harbench import api
from harbench.datasets.tables import load_split
from harbench.errors import CacheError, DatasetError
from harbench.frames.cache import open_cache


@pytest.fixture
def videos(toy_home: Path, tmp_path: Path) -> Path:
    """The data home with the toy data set prepared."""
    api.prepare("toy", source=toy_videos(tmp_path / "videos"), home=toy_home, short_side=32, workers=1)
    return toy_home


def _same(home: Path, split: str, back: str) -> None:
    """Ids, labels, groups, subsets, classes and the cached arrays of `mine` are those of `toy`."""
    ours, theirs = load_split("mine", back, home), load_split("toy", split, home)
    assert [c.key for c in ours.classes] == [c.key for c in theirs.classes]
    key = lambda sample: sample.sample_id  # noqa: E731
    assert sorted(ours.samples, key=key) == sorted(theirs.samples, key=key)
    report = api.prepare("mine", home=home, short_side=32, workers=1)
    mine, toy = open_cache(Path(report.cache)), open_cache(home / "toy/cache" / Path(report.cache).name)
    for media in theirs.media():
        every = np.arange(toy.info(media).frames)
        np.testing.assert_array_equal(mine.read(media, every), toy.read(media, every))


@pytest.mark.parametrize("form", ["videofolder", "webdataset"])
def test_formats_of_one_split_come_back(videos: Path, tmp_path: Path, form: str) -> None:
    out = tmp_path / "out"
    assert api.convert("toy", to=form, output=out, home=videos).samples == 6
    assert api.convert_from(form, out, name="mine", home=videos).samples == 6
    _same(videos, "official", "given")


def test_mmaction2_lists_come_back(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    api.convert("toy", to="mmaction2", output=out, home=videos)
    assert (out / "official_test_videos.txt").read_text() == "left/bob_1.avi 0\nright/bob_1.avi 1\n"
    assert (out / "label_map.txt").read_text() == "left\nright\n"
    api.convert_from("mmaction2", out, name="mine", home=videos)
    ours, theirs = (load_split(name, "official", videos).samples for name in ("mine", "toy"))
    facts = lambda rows: {(s.sample_id, s.target, s.subset, s.media) for s in rows}  # noqa: E731  these lists have no groups
    assert facts(ours) == facts(theirs)


def test_raw_frames_are_the_cached_jpegs(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    api.convert("toy", to="rawframes", output=out, home=videos)
    assert "left/bob_1 12 0\n" in (out / "official_test_rawframes.txt").read_text()
    cache = next((videos / "toy/cache").glob("rgb-*"))
    with tarfile.open(cache / "frames-0.tar") as tar:
        for number in range(1, 13):
            member = tar.extractfile(f"left/bob_1/{number:06d}.jpg")
            assert member and member.read() == (out / f"rawframes/left/bob_1/img_{number:05d}.jpg").read_bytes()


def test_raw_frames_come_back_byte_for_byte(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = api.convert("toy", to="rawframes", output=out, home=videos)
    assert "--from rawframes" in done.next
    (out / "rawframes/left/bob_1/flow_x_00001.jpg").write_bytes(b"no picture of the clip")
    assert "stride" in api.convert_from("rawframes", out, name="mine", home=videos).notes[0]
    ours, theirs = (load_split(name, "official", videos).samples for name in ("mine", "toy"))
    facts = lambda rows: {(s.sample_id, s.target, s.subset) for s in rows}  # noqa: E731
    assert facts(ours) == facts(theirs)
    report = api.prepare("mine", home=videos, short_side=32, workers=1)
    mine, toy = open_cache(Path(report.cache)), open_cache(videos / "toy/cache" / Path(report.cache).name)
    for sample in theirs:
        media = sample.media.replace(".avi", ".frames")
        assert mine.stored(media) == toy.stored(sample.media)
        assert (mine.info(media).frames, mine.info(media).fps) == (12, 0.0)
    (out / "rawframes/left/bob_1/img_00012.jpg").unlink()
    with pytest.raises(DatasetError, match="left/bob_1: 12 frames are listed, 11 are there"):
        api.convert_from("rawframes", out, name="mine", home=videos, force=True)


def test_webdataset_members_are_what_other_readers_expect(videos: Path, tmp_path: Path) -> None:
    api.convert("toy", to="webdataset", output=tmp_path / "out", home=videos)
    with tarfile.open(tmp_path / "out/train-000000.tar") as tar:
        assert tar.getnames()[:3] == ["000000.avi", "000000.cls", "000000.json"]
        member = tar.extractfile("000003.json")
        assert member and json.load(member) == {"media": "right/ann_2.avi", "label": "right", "group": "ann"}


def test_skeleton_pickles_come_back(test_data: Path, tmp_path: Path) -> None:
    api.prepare("jhmdb14", source=test_data / "jhmdb14", home=tmp_path, workers=1)
    out = tmp_path / "out"
    api.convert("jhmdb14", to="skeleton", output=out, home=tmp_path)
    content = pickle.loads((out / "annotations.pkl").read_bytes())  # what pyskl does
    assert (
        sorted(content["split"])[:2] == ["split1_test", "split1_train"] and len(content["split"]["split3_train"]) == 434
    )
    first = content["annotations"][0]
    with np.load(test_data / "jhmdb14/poses.npz") as poses:
        np.testing.assert_array_equal(first["keypoint"][0], poses[first["frame_dir"]])
    api.convert_from("skeleton", out / "annotations.pkl", name="mine", home=tmp_path)
    for split in ("split1", "split2", "split3"):
        assert load_split("mine", split, tmp_path).samples == load_split("jhmdb14", split).samples
    report = api.prepare("mine", home=tmp_path, workers=1)
    ours, theirs = open_cache(Path(report.cache)), open_cache(next((tmp_path / "jhmdb14/cache").iterdir()))
    for media in load_split("jhmdb14", "split1").media():
        every = np.arange(theirs.info(media).frames)
        np.testing.assert_array_equal(ours.read(media, every), theirs.read(media, every))


def test_what_cannot_be_converted_is_told(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected one of mmaction2"):
        api.convert("toy", to="tfrecord", output=tmp_path / "out", home=videos)
    with pytest.raises(CacheError, match="--stream pose"):
        api.convert("toy", to="skeleton", output=tmp_path / "out", home=videos)
    with pytest.raises(DatasetError, match="empty folder"):
        api.convert("toy", to="videofolder", output=tmp_path, home=videos)
    table = videos / "splits/toy/samples.csv"
    table.write_text(table.read_text().replace("left/ann_1", "left/ann 1"))
    (videos / "toy/media/left/ann_1.avi").rename(videos / "toy/media/left/ann 1.avi")
    with pytest.raises(DatasetError, match="white space"):
        api.convert("toy", to="mmaction2", output=tmp_path / "out", home=videos)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/label_map.txt").write_text("a\n")
    (tmp_path / "bad/s_train_videos.txt").write_text("x.avi 0\n../y.avi 0\nz.avi 7\n")
    with pytest.raises(DatasetError, match=r"(?s)line 3.*no such file.*relative path"):
        api.convert_from("mmaction2", tmp_path / "bad", name="mine", home=videos)
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps({"split": {"a_train": []}, "annotations": [{"label": 0}]}))
    with pytest.raises(DatasetError, match="annotation 0: expected a dict with frame_dir"):
        api.convert_from("skeleton", tmp_path / "bad.pkl", name="mine", home=videos)
