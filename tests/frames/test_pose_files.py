"""Joints as published: JHMDB's MATLAB files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from harbench.errors import MediaError
from harbench.frames.poses import read_pose


@pytest.mark.parametrize("compressed", [False, True])
def test_joint_positions(tmp_path: Path, compressed: bool) -> None:
    joints = np.random.default_rng(0).uniform(0, 320, (2, 15, 30))
    path = tmp_path / "joint_positions.mat"
    content = {"pos_img": joints, "pos_world": joints / 320, "scale": np.ones((1, 30)), "viewpoint": "W"}
    savemat(path, content, do_compression=compressed)
    pose = read_pose(path)
    assert pose.shape == (30, 1, 15, 2)
    assert pose.dtype == np.float32
    np.testing.assert_array_equal(pose[7, 0, 3], joints[:, 3, 7].astype(np.float32))


def test_other_matlab_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "joint_positions.mat"
    savemat(path, {"scale": np.ones(3)})
    with pytest.raises(MediaError, match=r"expected joints `pos_img` \[2, 15, T\], found none"):
        read_pose(path)
    savemat(path, {"pos_img": np.ones((3, 15, 4))})
    with pytest.raises(MediaError, match=r"found float64 \[3, 15, 4\]"):
        read_pose(path)
    whole = path.read_bytes()
    for size in (0, 3, 100, 140, len(whole) // 2):
        path.write_bytes(whole[:size])
        with pytest.raises(MediaError):
            read_pose(path)
    with pytest.raises(MediaError, match="No such file"):
        read_pose(tmp_path / "nothing.mat")


def test_a_sequence_of_nwucla(tmp_path: Path) -> None:
    path = tmp_path / "a01_s01_e00_v01.json"
    path.write_text(json.dumps({"label": 1, "skeletons": np.arange(120.0).reshape(2, 20, 3).tolist()}))
    np.testing.assert_array_equal(read_pose(path)[1, 0, 19], [117, 118, 119])
    for content in (b"", b"[]", b"{", b"[" * 9999, b'{"skeletons": []}', b'{"skeletons": [[1], [1, 2]]}', b"\xff"):
        path.write_bytes(content)
        with pytest.raises(MediaError, match="expected"):
            read_pose(path)
