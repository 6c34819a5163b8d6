"""Pictures and joints of the same frames: flipped together, in the order of their keys, found or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from pydantic import ValidationError

from harbench.errors import MediaError, RecipeError
from harbench.frames.clips import Beside, ClipDataset, evaluation_keys, training_keys
from harbench.frames.loader import load_each, model_inputs
from harbench.frames.posture import POSTURES, posture
from harbench.recipe import EvalConfig, InputConfig
from harbench.records import MediaInfo, Sample

SIZE = 32
FRAMES = 12


@dataclass(frozen=True)
class Stored:
    """A FrameCache on arrays, `[frames, ...]`."""

    media: Mapping[str, npt.NDArray[Any]]

    def __contains__(self, media: object) -> bool:
        return media in self.media

    def info(self, media: str) -> MediaInfo:
        return MediaInfo(len(self.media[media]), 25.0, SIZE, SIZE)

    def read(self, media: str, indices: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        return self.media[media][indices]


def figure(time: int) -> npt.NDArray[np.float32]:
    """COCO-17 of somebody who sits, knees to the right, in pixels; the right wrist rises with time."""
    joints = np.zeros((17, 3), np.float32)
    joints[:, 2] = 0.9
    joints[:, :2] = (12, 4)
    joints[[5, 6], :2], joints[[11, 12], :2] = [(12, 8), (13, 8)], [(12, 18), (13, 18)]
    joints[[13, 14], :2], joints[[15, 16], :2] = [(22, 19), (21, 18)], [(22, 28), (21, 28)]
    joints[10, :2] = (20, 25 - time)
    return joints


def picture(joints: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """White where the knee is, so that a picture tells on which side it was left."""
    frame = np.zeros((SIZE, SIZE, 3), np.uint8)
    x, y = joints[13, :2].astype(int)
    frame[y, x] = 255
    return frame


def stored(number: int = 3) -> tuple[Stored, Stored]:
    joints = np.stack([figure(time) for time in range(FRAMES)])
    pictures = np.stack([picture(each) for each in joints])
    names = [f"m{index}" for index in range(number)]
    return Stored(dict.fromkeys(names, pictures)), Stored(dict.fromkeys(names, joints[:, None]))


def config(**options: Any) -> InputConfig:
    values = {"clip": {"dense": {"num_frames": 4, "stride": 2}}, "size": SIZE, "resize": SIZE, "with_pose": True}
    return InputConfig.model_validate(values | options)


def rows(number: int = 3) -> list[Sample]:
    return [Sample(f"s{index}", index, "", "test", f"m{index}") for index in range(number)]


def knee_side(frames: npt.NDArray[Any]) -> int:
    """-1 left, 1 right of the picture's middle."""
    return 1 if np.argwhere(frames[0, 0] > 200)[0][1] >= SIZE // 2 else -1


def test_a_flip_turns_both_and_a_posture_stays() -> None:
    pictures, poses = stored()
    data = ClipDataset(rows(), pictures, config(augment={"flip": 0.5}), seed=1, views=None, beside=Beside(poses))
    seen = set()
    for epoch in range(20):
        clip = data[(epoch, 0, 0, 0)]
        assert clip.poses is not None and clip.poses.shape == (3, 4, 17, 1)
        # the knees, left 13 and right 14, point the same way in joints and picture
        side = np.sign(float((clip.poses[0, 0, 13:15, 0] - clip.poses[0, 0, 11:13, 0]).mean()))
        assert side == knee_side(clip.frames.numpy())
        seen.add(side)
        words = posture(clip.poses[..., 0].permute(1, 2, 0))
        assert {POSTURES[int(word)] for word in words} == {"sitting"}
    assert seen == {-1, 1}


def test_joints_are_those_of_the_frames_and_change_no_pixel() -> None:
    pictures, poses = stored()
    alone = ClipDataset(rows(), pictures, config(with_pose=False), seed=1, views=None)
    both = ClipDataset(rows(), pictures, config(), seed=1, views=None, beside=Beside(poses))
    for key in [(0, 0, 0, 0), (3, 1, 2, 0)]:
        assert torch.equal(alone[key].frames, both[key].frames)
        joints = both[key].poses
        assert joints is not None
        wrists = joints[1, :, [9, 10], 0].sum(1) - 2 * joints[1, :, 0, 0]  # the right one, wherever a flip took it
        assert (wrists.diff() < 0).all()  # rises, and y points downwards
    assert alone[(0, 0, 0, 0)].poses is None


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_carry_poses_in_the_order_of_their_keys(workers: int) -> None:
    pictures, poses = stored()
    data = ClipDataset(rows(), pictures, config(), seed=1, views=None, beside=Beside(poses))
    keys = [tuple(map(int, key)) for key in training_keys(3, 0, 1)]
    (batch,) = load_each(data, [keys], workers)
    assert batch.poses is not None
    for place, key in enumerate(keys):
        assert torch.equal(batch.poses[place], data[key].poses)
    frames, joints = model_inputs(batch, torch.device("cpu"), lambda each: each.float(), slice(1, 3))
    assert torch.equal(frames, batch.frames[1:3].float()) and torch.equal(joints, batch.poses[1:3])


def test_nobody_found_is_a_failure_that_counts_and_a_gap_is_none() -> None:
    pictures, poses = stored()
    nobody, gap = np.zeros((FRAMES, 1, 17, 3), np.float32), poses.media["m0"].copy()
    gap[: FRAMES - 1] = 0
    poses = Stored({"m0": nobody, "m1": gap, "m2": poses.media["m2"]})
    views = EvalConfig(clips=2)
    data = ClipDataset(rows(), pictures, config(), seed=1, views=views, beside=Beside(poses))
    keys = [tuple(map(int, key)) for key in evaluation_keys(3, 2)]
    (batch,) = load_each(data, [keys])
    assert dict(batch.failed) == {0: "m0: no pose found"}
    assert batch.rows.tolist() == [1, 1, 2, 2]
    assert batch.poses is not None and not batch.poses[0].any() and batch.poses[2].any()
    with pytest.raises(MediaError, match="sample s0 cannot be read: m0: no pose found"):
        data[(0, 0, 0, 0)]
    train = ClipDataset(rows(), pictures, config(), seed=1, views=None, beside=Beside(poses))
    absent = train[(0, 0, 0, 0)].poses  # training sees it as a picture of nobody
    assert absent is not None and not absent.any()
    alone = ClipDataset(rows(), poses, config(with_pose=False), seed=1, views=views)
    (batch,) = load_each(alone, [keys])
    assert dict(batch.failed) == {0: "m0: no pose found"}


def test_the_shorter_of_both_ends_a_sample() -> None:
    pictures, poses = stored(1)
    short = Stored({"m0": poses.media["m0"][:7]})
    data = ClipDataset(rows(1), pictures, config(), seed=1, views=EvalConfig(), beside=Beside(short))
    assert data[(0, 0, 0, 0)].frames.shape[1] == 4
    late = [Sample("s0", 0, "", "test", "m0", 8, 12)]
    with pytest.raises(MediaError, match="only 7 frames"):
        ClipDataset(late, pictures, config(), seed=1, views=EvalConfig(), beside=Beside(short))[(0, 0, 0, 0)]


def test_what_joints_beside_pictures_cannot_do() -> None:
    for options in ({"center": False}, {"augment": {"rotate": 5}}):
        with pytest.raises(ValidationError, match="with_pose"):
            config(**options)
    pictures, _ = stored(1)
    odd = Stored({"m0": np.ones((FRAMES, 1, 19, 3), np.float32)})
    with pytest.raises(RecipeError, match="left and right is not known"):
        ClipDataset(rows(1), pictures, config(), seed=1, views=None, beside=Beside(odd))
