"""Which bodies of an NTU file are kept: people and tables whose number, order and tracks are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from harbench.datasets.skeleton_files import JOINTS, Body, Frames, write_skeleton
from harbench.errors import MediaError
from harbench.frames.poses import by_motion, denoised, read_pose
from harbench.frames.positions import Positions, positions_of

TALL, WIDE = (0.3, 1.7, 0.3), (1.6, 0.4, 0.5)


def person(frames: int, seed: int, stride: float = 0.05, extent: Sequence[float] = TALL) -> np.ndarray:
    """`[T, 25, 3]`: joints in a box of this extent in meters, which moves by `stride` a frame."""
    joints = np.random.default_rng(seed).uniform(0, 1, (JOINTS, 3)) * extent
    joints[:2] = [[0, 0, 0], extent]  # the box is filled, so its sides are known
    way = np.arange(frames)[:, None, None] * np.array([stride, 0, 0])
    return np.asarray(joints + np.array([0.5, 0.5, 2]) + way)


def scene(length: int, *seen: tuple[int, int, np.ndarray]) -> Positions:
    """`length` frames; (id, first frame, joints) of every body, in slots in that order."""
    return positions_of(bodies(length, *seen))


def bodies(length: int, *seen: tuple[int, int, np.ndarray]) -> Frames:
    frames: list[list[Body]] = [[] for _ in range(length)]
    for body_id, first, joints in seen:
        for time, points in enumerate(joints, start=first):
            frames[time].append(Body(body_id, (0.0,) * 9, np.pad(points, ((0, 0), (0, 9)), constant_values=2.0)))
    return tuple(map(tuple, frames))


def test_motion_follows_ids_and_keeps_everybody() -> None:
    slow, fast = person(20, 0, 0.01), person(15, 1, 0.2)
    pose = by_motion(scene(20, (7, 0, slow), (5, 5, fast)))
    assert pose.shape == (20, 2, 25, 3)
    np.testing.assert_array_equal(pose[5:, 0], fast.astype(np.float32))
    np.testing.assert_array_equal(pose[:, 1], slow.astype(np.float32))
    assert not pose[:5, 0].any()


def test_a_table_and_a_glimpse_are_no_persons() -> None:
    someone = person(30, 0, 0.01)
    table, glimpse = person(30, 1, 0.5, WIDE), person(11, 2, 0.9)
    pose = denoised(scene(30, (1, 0, table), (2, 0, someone), (3, 4, glimpse)))
    assert pose.shape == (30, 1, 25, 3)
    np.testing.assert_array_equal(pose[:, 0], someone.astype(np.float32))
    longer = person(12, 2, 0.9)
    assert denoised(scene(30, (1, 0, table), (2, 0, someone), (3, 4, longer))).shape == (30, 2, 25, 3)


@pytest.mark.parametrize(("wide", "kept"), [(20, 2), (21, 1)])
def test_wide_in_seventy_percent_of_the_frames(wide: int, kept: int) -> None:
    """Of 30 frames: 20 are 66.7 %, 21 are 70 %."""
    half = np.concatenate([person(wide, 1, 0.0, WIDE), person(30 - wide, 1, 0.0, TALL)])
    assert denoised(scene(30, (1, 0, person(30, 0)), (2, 0, half))).shape[1] == kept


def test_motion_counts_over_good_frames_only() -> None:
    """While it is wide the second body jumps far away; over its other frames it moves less than the first."""
    steady = person(30, 0, 0.05)
    jumping = person(30, 1, 0.001)
    jumping[:5] = person(5, 1, 3.0, WIDE)
    pose = denoised(scene(30, (1, 0, jumping), (2, 0, steady)))
    np.testing.assert_array_equal(pose[:, 0], steady.astype(np.float32))
    assert np.array_equal(by_motion(scene(30, (1, 0, jumping), (2, 0, steady)))[:, 1], steady.astype(np.float32))


def test_a_person_found_again_goes_on_in_the_same_track() -> None:
    before, after, other = person(20, 0, 0.09), person(15, 1, 0.05), person(40, 2, 0.01)
    pose = denoised(scene(50, (1, 0, before), (2, 5, other), (3, 25, after)))
    assert pose.shape == (45, 2, 25, 3), "the last five frames hold nobody"
    both = [pose[:, actor] for actor in (0, 1)]
    main = next(index for index in (0, 1) if both[index][0].any())
    np.testing.assert_array_equal(both[main][:20], before.astype(np.float32))
    np.testing.assert_array_equal(both[main][25:40], after.astype(np.float32))
    np.testing.assert_array_equal(both[1 - main][5:45], other.astype(np.float32))


def test_somebody_is_always_left() -> None:
    alone = scene(6, (1, 1, person(4, 0, extent=WIDE)))
    assert denoised(alone).shape == (4, 1, 25, 3)
    glimpses = scene(8, (1, 0, person(4, 0)), (2, 0, person(8, 1)))
    assert denoised(glimpses).shape == (8, 2, 25, 3)
    tables = scene(20, (1, 0, person(20, 0, extent=WIDE)), (2, 0, person(20, 1, extent=WIDE)))
    np.testing.assert_array_equal(denoised(tables)[:, 0], person(20, 1, extent=WIDE).astype(np.float32))


def test_a_file_is_read_with_the_choice_asked_for(tmp_path: Path) -> None:
    frames = bodies(30, (1, 0, person(30, 1, 0.5, WIDE)), (2, 0, person(30, 0)))
    path = tmp_path / "S001C001P001R001A001.skeleton"
    write_skeleton(path, frames)
    assert {name: read_pose(path, name).shape for name in ("motion", "denoised")} == {
        "motion": (30, 2, 25, 3), "denoised": (30, 1, 25, 3)
    }  # fmt: skip
    np.save(tmp_path / "a.npy", np.ones((3, 25, 3), np.float32))
    with pytest.raises(MediaError, match=r"--bodies denoised needs the \.skeleton file"):
        read_pose(tmp_path / "a.npy", "denoised")
    write_skeleton(path, [[], []])
    for name in ("motion", "denoised"):
        with pytest.raises(MediaError, match="none of its 2 frames has a body"):
            read_pose(path, name)
