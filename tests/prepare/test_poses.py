"""Poses found in pixels: where they lie, and when they are computed anew."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from harbench.datasets.tables import load_spec
from harbench.frames import detectors as landmarks
from harbench.frames.fill import Decoding
from harbench.prepare.poses import find_poses, pose_config, pose_files
from harbench.records import silent


def test_found_poses_lie_in_a_folder_of_their_own(tmp_path: Path) -> None:
    spec = load_spec("weizmann")
    media = {f"run/{name}_run.avi": tmp_path / f"{name}.avi" for name in ("ira", "lena")}
    pose = tmp_path / "weizmann/poses/run/ira_run.landmarks.npy"
    assert pose_files(spec, media, tmp_path) == {}
    pose.parent.mkdir(parents=True)
    pose.write_bytes(b"")
    assert pose_files(spec, media, tmp_path) == {"run/ira_run.avi": pose}


def test_poses_are_computed_anew_when_the_video_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, video = load_spec("weizmann"), tmp_path / "ira.avi"
    pose = tmp_path / "weizmann/poses/run/ira_run.landmarks.npy"
    computed: list[bytes] = []

    def extract(files: Mapping[Path, Path], *_: object, **__: object) -> dict[Path, str]:
        for media, target in files.items():
            if not target.exists():
                computed.append(media.read_bytes())
                target.write_bytes(media.read_bytes())
        return {}

    def prepared(model: Path | None = None) -> bytes:
        config = pose_config(model, 1, tmp_path)
        find_poses(spec, {"run/ira_run.avi": video}, tmp_path, config, Decoding(1), track=silent)
        return pose.read_bytes()

    monkeypatch.setattr(landmarks, "extract_poses", extract)
    video.write_bytes(b"first")
    assert (prepared(), prepared(), len(computed)) == (b"first", b"first", 1)
    os.utime(video, ns=(1, 1))
    assert (prepared(), len(computed)) == (b"first", 1), "another time alone is no other video"
    video.write_bytes(b"other")
    assert (prepared(), len(computed)) == (b"other", 2)
    pose.with_name(f"{pose.name}.source.json").unlink()  # as an earlier version of harbench left it
    assert (prepared(), len(computed)) == (b"other", 2)
    pose.with_name(f"{pose.name}.source.json").unlink()
    video.write_bytes(b"third")
    os.utime(video, ns=(2 * pose.stat().st_mtime_ns,) * 2)
    assert (prepared(), len(computed)) == (b"third", 3)
    assert (prepared(Path("movenet.onnx")), len(computed)) == (b"third", 4), "another model finds other joints"
    assert (prepared(Path("movenet.onnx")), len(computed)) == (b"third", 4)
