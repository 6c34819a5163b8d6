"""Poses from pixels: what is asked of MediaPipe and what becomes of its answer; with MediaPipe itself where it is there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from harbench.errors import MediaError
from harbench.frames import detectors as module
from harbench.frames.detectors import BUNDLE, URL, PoseConfig, _landmarks, _write, check_landmarker, extract_poses


def point(x: float, y: float, z: float, visibility: float) -> SimpleNamespace:
    return SimpleNamespace(x=x, y=y, z=z, visibility=visibility)


class Landmarker:
    """As MediaPipe's: somebody in bright pictures, in the middle."""

    times: list[int]

    def __init__(self) -> None:
        self.times = []

    def __enter__(self) -> Landmarker:
        return self

    def __exit__(self, *_: object) -> None: ...

    def detect(self, image: np.ndarray) -> SimpleNamespace:
        found = [[point(0.5, 0.25, -0.1, 0.9)] * 33] if image.mean() > 100 else []
        return SimpleNamespace(pose_landmarks=found)

    def detect_for_video(self, image: np.ndarray, milliseconds: int) -> SimpleNamespace:
        self.times.append(milliseconds)
        return self.detect(image)


@pytest.fixture
def landmarker(monkeypatch: pytest.MonkeyPatch) -> Landmarker:
    made = Landmarker()
    module._stills_landmarker.cache_clear()
    monkeypatch.setattr(module, "_landmarker", lambda bundle, mode: made)
    monkeypatch.setattr(module, "_picture", lambda image: image)
    monkeypatch.setattr(module, "check_landmarker", lambda bundle: None)
    yield made
    module._stills_landmarker.cache_clear()


def test_coordinates_are_pixels_and_nobody_is_zeros() -> None:
    frame = np.zeros((100, 200, 3), np.uint8)
    answer = SimpleNamespace(pose_landmarks=[[point(0.5, 0.25, -0.1, 0.9)] * 33])
    joints = _landmarks(answer, frame)
    assert (joints.shape, joints.dtype) == ((33, 4), np.float32)
    np.testing.assert_allclose(joints[0], [100, 25, -20, 0.9], rtol=1e-6)
    assert not _landmarks(SimpleNamespace(pose_landmarks=[]), frame).any()


def test_a_still_and_a_video_become_pose_files(tmp_path: Path, landmarker: Landmarker) -> None:
    from toys import write_video

    cv2.imwrite(str(tmp_path / "a.png"), np.full((20, 30, 3), 200, np.uint8))
    frames = np.full((6, 32, 48, 3), 220, np.uint8)
    frames[2] = 0
    write_video(tmp_path / "b.avi", frames)
    assert [
        _write(tmp_path / name, tmp_path / f"{name}.npy", PoseConfig(tmp_path / BUNDLE), None)
        for name in ("a.png", "b.avi")
    ] == [
        "",
        "",
    ]
    still, video = np.load(tmp_path / "a.png.npy"), np.load(tmp_path / "b.avi.npy")
    assert (still.shape, video.shape) == ((1, 1, 33, 4), (6, 1, 33, 4))
    np.testing.assert_allclose(still[0, 0, 0], [15, 5, -3, 0.9], rtol=1e-6)
    assert video.any(axis=(1, 2, 3)).tolist() == [True, True, False, True, True, True]
    assert landmarker.times == [0, 40, 80, 120, 160, 200]


def test_what_cannot_be_decoded_is_told_and_leaves_nothing(tmp_path: Path, landmarker: Landmarker) -> None:
    (tmp_path / "broken.avi").write_bytes(b"nothing")
    assert _write(tmp_path / "broken.avi", tmp_path / "b.npy", PoseConfig(tmp_path / BUNDLE), None)
    assert not list(tmp_path.glob("*.npy"))


def test_what_is_missing_is_told_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MediaError, match=r"pip install 'harbench\[pose\]'"):
        check_landmarker(tmp_path / BUNDLE)
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    with pytest.raises(MediaError, match=f"curl --create-dirs -o {tmp_path / BUNDLE} {URL}"):
        check_landmarker(tmp_path / BUNDLE)


def test_what_is_there_needs_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"")
    assert extract_poses({tmp_path / "a.jpg": tmp_path / "a.npy"}, PoseConfig(tmp_path / BUNDLE)) == {}


def test_mediapipe_follows_a_person(test_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("mediapipe", reason="MediaPipe is not installed: its landmarks were NOT looked at")
    video = next(iter(sorted((test_data / "weizmann/walk").glob("*.avi"))))
    pose = tmp_path / "walk.npy"
    assert extract_poses({video: pose}, PoseConfig(test_data / "pose" / BUNDLE), workers=1) == {}
    joints = np.load(pose)
    assert joints.shape[1:] == (1, 33, 4)
    assert joints.any(axis=(1, 2, 3)).mean() > 0.9
    head, ankles = joints[:, 0, 0, 1], joints[:, 0, 27:29, 1].mean(axis=1)
    assert (head < ankles).mean() > 0.9  # y points downwards
