"""Frames in another order, with the person or the background painted over, and the interval of what that costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from harbench.analysis.ablate import ORDERS, Blanked, box_of_joints
from harbench.evaluation.intervals import paired_interval
from harbench.frames.clips import ClipDataset
from harbench.recipe import EvalConfig, InputConfig
from harbench.records import MediaInfo, Sample


class NumberedFrames:
    """A FrameCache whose every frame is filled with its number."""

    def __contains__(self, media: object) -> bool:
        return True

    def info(self, media: str) -> MediaInfo:
        return MediaInfo(frames=40, fps=25.0, width=8, height=8)

    def read(self, media: str, indices: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        return np.broadcast_to(indices[:, None, None, None], (len(indices), 8, 8, 3)).astype(np.uint8)


def numbers(data: ClipDataset, view: int = 1) -> list[int]:
    """The frame numbers of a clip, as the model sees them."""
    frames: list[int] = data[(0, 0, 0, view)].frames[0, :, 0, 0].tolist()
    return frames


def test_orders_change_the_order_and_nothing_else() -> None:
    config = InputConfig.model_validate({"clip": {"dense": {"num_frames": 8, "stride": 2}}, "size": 8, "resize": 8})
    row = Sample("a/s", 0, "g", "test", "a/s.avi")
    data = ClipDataset([row], NumberedFrames(), config, seed=0, views=EvalConfig(clips=3))
    plain = numbers(data)
    found = {name: numbers(data.reordered(order)) for name, order in ORDERS.items()}
    assert found["reversed"] == plain[::-1]
    assert sorted(found["shuffled"]) == plain and found["shuffled"] not in (plain, plain[::-1])
    assert found["frozen"] == [plain[4]] * 8
    assert numbers(data) == plain
    again = data.reordered(ORDERS["shuffled"])
    assert numbers(again) == found["shuffled"] and numbers(again, view=2) != found["shuffled"]


def test_person_and_background_are_painted_over_and_nothing_else() -> None:
    cache, box = NumberedFrames(), (0.25, 0.5, 0.5, 1.0)
    at = np.array([3, 7])
    plain = cache.read("a", at)
    without = {person: Blanked(cache, {"a": box}.get, person) for person in (True, False)}
    inside = np.zeros((8, 8), bool)
    inside[4:8, 2:4] = True
    for person, blanked in without.items():
        found = blanked.read("a", at)
        assert np.array_equal(found[:, inside != person], plain[:, inside != person])
        assert (found[:, inside == person] == 127).all()
        assert "a" in blanked and blanked.info("a") == cache.info("a")
    assert np.array_equal(without[True].read("b", at), plain), "nobody is known there: all is background"
    assert (without[False].read("b", at) == 127).all()
    config = InputConfig.model_validate({"clip": {"dense": {"num_frames": 4, "stride": 2}}, "size": 8, "resize": 8})
    data = ClipDataset([Sample("a/s", 0, "g", "test", "a")], cache, config, seed=0, views=EvalConfig())
    clip = data.with_cache(without[True])[(0, 0, 0, 0)].frames.numpy()
    assert np.array_equal(clip[0] == 127, np.broadcast_to(inside, (4, 8, 8)))
    assert not (data[(0, 0, 0, 0)].frames.numpy() == 127).any()


def test_a_box_holds_all_joints_that_were_found() -> None:
    pose = np.zeros((5, 1, 4, 3), np.float32)
    assert box_of_joints(pose, 100, 50) is None
    pose[1, 0, 0], pose[4, 0, 3] = (20, 10, 0.9), (60, 30, 0.5)
    # 40 wide: 6 pixels more on each side.
    assert box_of_joints(pose, 100, 50) == pytest.approx((0.14, 0.08, 0.66, 0.72))
    pose[2, 0, 1] = (99, 49, 0.5)
    assert box_of_joints(pose, 100, 50)[2:] == (1, 1)  # type: ignore[index]


def test_paired_differences_of_few_equal_groups_are_the_t_interval_of_their_means() -> None:
    rng = np.random.default_rng(0)
    differences = rng.integers(-1, 2, size=(9, 10)).astype(float)
    low, high, method = paired_interval(differences.ravel(), [f"p{i // 10}" for i in range(90)])
    means = differences.mean(axis=1)
    expected = stats.t.interval(0.95, 8, loc=means.mean(), scale=stats.sem(means))
    assert (low, high) == pytest.approx((100 * expected[0], 100 * expected[1]))
    assert method == "t on 9 group means, few groups"


def test_paired_differences_that_are_all_nothing_have_no_width() -> None:
    for groups in ([""] * 40, [f"g{i % 4}" for i in range(40)]):
        assert paired_interval(np.zeros(40), groups)[:2] == (0.0, 0.0)


def test_paired_intervals_cover_under_correlation_within_groups() -> None:
    """100 draws of 40 groups; 95 % of the intervals hold the true mean of -0.2, give or take chance."""
    rng, covered = np.random.default_rng(1), 0
    for _ in range(100):
        shift = rng.choice([0.0, -1.0], size=40, p=[0.8, 0.2])
        low, high, _ = paired_interval(np.repeat(shift, 5), [f"g{i // 5}" for i in range(200)])
        covered += low <= -20 <= high
    assert 88 <= covered <= 100
