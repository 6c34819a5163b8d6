"""Persons in pictures by ONNX models, and who is who from picture to picture."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from harbench.errors import MediaError
from harbench.frames.decode import open_still, open_video
from harbench.frames.detectors import OnnxDetector, Person, Tracks, joint_finder

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")


def person(x: float, y: float = 100.0, score: float = 0.9) -> Person:
    joints = np.array([[x + 5 * (n % 3), y + 8 * n, score] for n in range(17)], np.float32)
    return Person(joints, (x - 10, y - 10, x + 20, y + 140), score)


def test_tracks_keep_their_places() -> None:
    tracks = Tracks(3)
    assert all(tracks.update([person(50), person(300, score=0.8)])[:2])
    for step in range(1, 20):
        now = tracks.update([person(300 - 5 * step, score=0.95), person(50 + 5 * step)])
        assert now[0] is not None
        assert now[1] is not None
        assert (now[0].box[0], now[1].box[0]) == (40 + 5 * step, 290 - 5 * step), "the surest is not the first"
        assert now[2] is None
    assert tracks.update([])[:2] == [None, None]
    assert tracks.update([person(150)])[0] is not None, "who was lost for a moment is the same"
    for _ in range(40):
        tracks.update([])
    assert tracks.update([person(400)])[0] is not None, "the place of who is gone is free"


def test_a_crowd_fills_the_places_there_are() -> None:
    assert all(Tracks(2).update([person(100 * n) for n in range(5)]))


def model(path: Path, outputs: dict[str, list[int]]) -> Path:
    """A model that gives constant zeros of these shapes."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.zeros(shape, np.float32), name))
        for name, shape in outputs.items()
    ]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 640, 640])]
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
    graph = helper.make_graph(nodes, "zeros", inputs, given)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_rtmos_layout_is_known_and_others_are_refused(tmp_path: Path) -> None:
    detector = OnnxDetector(model(tmp_path / "a.onnx", {"dets": [1, 4, 5], "keypoints": [1, 4, 17, 3]}))
    assert detector.kind == "rtmo"
    assert detector(np.zeros((48, 64, 3), np.uint8)) == []
    with pytest.raises(MediaError, match="expected MoveNet MultiPose or RTMO, found a model with outputs"):
        OnnxDetector(model(tmp_path / "b.onnx", {"probabilities": [1, 7]}))
    (tmp_path / "c.onnx").write_bytes(b"no")
    with pytest.raises(MediaError, match="found damage"):
        OnnxDetector(tmp_path / "c.onnx")
    with pytest.raises(MediaError, match="no pose model"):
        joint_finder(tmp_path / "d.onnx", 2)


def test_rtmos_boxes_are_in_pixels_of_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = OnnxDetector(model(tmp_path / "a.onnx", {"dets": [1, 2, 5], "keypoints": [1, 2, 17, 3]}))
    boxes = np.array([[[0, 0, 320, 480, 0.9], [0, 0, 10, 10, 0.1]]], np.float32)
    points = np.full((1, 2, 17, 3), 160, np.float32)
    monkeypatch.setattr(detector, "session", type("Session", (), {"run": lambda *_: (boxes, points)})())
    (found,) = detector(np.zeros((240, 320, 3), np.uint8))
    assert found.box == (0, 0, 160, 240)
    assert found.joints[0].tolist() == [80, 80, 160]


def test_movenet_finds_the_players_of_basketball(test_data: Path) -> None:
    detector = OnnxDetector(test_data / "pose/movenet_multipose.onnx")
    videos = sorted(test_data.glob("ucf101/**/v_Basketball_g01_c01.avi"))
    assert videos, "the clip is part of the test data"
    tracks, counts = Tracks(2), []
    began = time.monotonic()
    with open_video(videos[0]) as decoded:
        for frame in decoded.frames:
            found = tracks.update(detector(frame.image))
            counts.append(sum(each is not None for each in found))
            for each in filter(None, found):
                assert each.joints.shape == (17, 3)
                assert -40 < each.box[0] < each.box[2] < 360
    assert np.mean(np.array(counts) >= 2) > 0.9, counts
    assert time.monotonic() - began < 300
    assert detector.kind == "movenet"


def test_a_person_is_found_in_most_pictures(test_data: Path, tmp_path: Path) -> None:
    find = joint_finder(test_data / "pose/movenet_multipose.onnx", 1)
    with zipfile.ZipFile(test_data / "stanford40/Stanford40_JPEGImages.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")][:20]
        archive.extractall(tmp_path, names)
    pictures, seen = [tmp_path / name for name in names], 0
    for path in pictures:
        with open_still(path) as decoded, find(True, 0) as finder:
            seen += bool(finder(next(decoded.frames).image).any())
    assert seen >= 0.8 * len(pictures) > 0


def test_persons_from_prepare_to_a_model(test_data: Path, tmp_path: Path) -> None:
    """MoveNet's joints as a data set's poses: their number is the cache's, not MediaPipe's."""
    from toys import toy_videos

    from harbench import api
    from harbench.frames.cache import open_cache

    videos, home = toy_videos(tmp_path / "videos", frames=4), tmp_path / "home"
    own = api.OwnOptions("mine", split_by="random")
    model = test_data / "pose/movenet_multipose.onnx"
    report = api.prepare(str(videos), home=home, own=own, stream="pose", pose_model=model, persons=2, workers=1)
    cache = open_cache(Path(report.cache))
    assert report.cached == 6
    assert cache.read("left/ann_1.avi", np.arange(4)).shape == (4, 2, 17, 3)
    recipe = tmp_path / "poses.yaml"
    recipe.write_text(
        "family: skeleton\ndata: {dataset: mine, cache: {stream: pose}}\n"
        "input: {clip: {dense: {num_frames: 4, stride: 1}}, augment: {flip: 0.0}}\nmodel: {name: cnn_lstm}\n"
    )
    (planned,) = api.run([str(recipe)], home=home, runs=tmp_path / "runs", dry_run=True)
    assert planned.plan["input"] == "3x4x17x1"
