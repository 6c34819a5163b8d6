"""Index arithmetic with lists worked out by hand, and its invariants."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harbench.errors import MediaError
from harbench.frames.sampling import FrameRange, clip_indices
from harbench.recipe import ClipConfig


def indices(num_frames: int, num_clips: int = 1, *, train: bool = False, fps: float = 25.0, seed: int = 0, **clip: Any):
    rng = np.random.default_rng(seed) if train else None
    return clip_indices(FrameRange(num_frames, fps), ClipConfig.model_validate(clip), num_clips, rng).tolist()


def test_a_single_dense_clip_is_the_center_one() -> None:
    assert indices(20, dense={"num_frames": 4, "stride": 2}) == [[6, 8, 10, 12]]
    assert indices(8, dense={"num_frames": 8, "stride": 1}) == [list(range(8))]


def test_dense_clips_are_spread_evenly_from_the_first_to_the_last_place() -> None:
    assert [clip[0] for clip in indices(20, 4, dense={"num_frames": 4, "stride": 2})] == [0, 4, 9, 13]
    assert indices(20, 2, dense={"num_frames": 4, "stride": 2}) == [[0, 2, 4, 6], [13, 15, 17, 19]]


def test_fps_takes_the_frame_on_display_at_the_time_stamp() -> None:
    assert indices(10, fps=25.0, dense={"num_frames": 4, "fps": 10}) == [[1, 3, 6, 8]]
    assert indices(7, fps=29.97, dense={"num_frames": 7, "fps": 29.97}) == [list(range(7))]
    assert indices(3, fps=10.0, dense={"num_frames": 5, "fps": 20}) == [[0, 0, 1, 1, 2]]


def test_a_range_too_short_for_a_dense_clip() -> None:
    assert indices(5, dense={"num_frames": 6, "stride": 2}) == [[0, 2, 4, 1, 3, 0]]
    with pytest.raises(MediaError, match="5 frames are too few for a clip of 11"):
        indices(5, dense={"num_frames": 6, "stride": 2}, short="error")


def test_segments_take_the_middle_of_each_part() -> None:
    assert indices(12, segments={"n": 3}) == [[2, 6, 10]]
    assert indices(12, 2, segments={"n": 3}) == [[1, 5, 9], [3, 7, 11]]
    assert indices(2, segments={"n": 4}) == [[0, 0, 1, 1]]


def test_segments_jitter_within_their_part() -> None:
    drawn = np.array([indices(12, segments={"n": 3}, train=True, seed=seed)[0] for seed in range(200)])
    assert [sorted(set(column)) for column in drawn.T.tolist()] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_distinct_segments_take_a_short_range_frame_by_frame() -> None:
    short = {"segments": {"n": 7, "distinct": True}}
    assert indices(3, **short) == [[0, 1, 2, 0, 1, 2, 0]]
    assert indices(4, 2, **short) == [[0, 1, 2, 3, 0, 1, 2], [2, 3, 0, 1, 2, 3, 0]]
    with pytest.raises(MediaError, match="3 frames are too few for 7 segments"):
        indices(3, **short, short="error")
    drawn = [indices(3, **short, train=True, seed=seed)[0] for seed in range(60)]
    assert {clip[0] for clip in drawn} == {0, 1, 2}
    assert all(index == (clip[0] + place) % 3 for clip in drawn for place, index in enumerate(clip))


def test_distinct_segments_pass_over_every_frame_and_none_twice() -> None:
    near = [indices(7, segments={"n": 5, "distinct": True}, train=True, seed=seed)[0] for seed in range(300)]
    assert {tuple(clip) for clip in near} == {
        clip for clip in combinations(range(7), 5) if max(np.diff([-1, *clip, 7])) <= 2
    }, "pyskl chooses which of the six gaps lose a frame"
    far = np.array([indices(13, segments={"n": 3, "distinct": True}, train=True, seed=seed)[0] for seed in range(200)])
    assert [sorted(set(column)) for column in far.T.tolist()] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11, 12]]


@pytest.mark.parametrize("num_frames", [10, 59, 60, 99, 101, 110, 150, 199, 200, 250, 300])
def test_evaluation_clips_of_distinct_segments_differ(num_frames: int) -> None:
    clips = indices(num_frames, 10, segments={"n": 100, "distinct": True})
    assert len({tuple(clip) for clip in clips}) == 10
    assert clips == indices(num_frames, 10, segments={"n": 100, "distinct": True}, seed=1), "whatever the seed"
    assert num_frames < 100 or min(np.diff(clips).ravel()) > 0
    assert indices(100, 3, segments={"n": 100, "distinct": True}) == [list(range(100))] * 3, "there is but one"


def test_whole_spans_the_range() -> None:
    assert indices(10, whole={"num_frames": 4}) == [[0, 3, 6, 9]]
    assert indices(10, whole={"num_frames": 4, "draw": "random"}) == [[0, 3, 6, 9]]
    assert indices(2, whole={"num_frames": 4}) == [[0, 0, 0, 1]]
    drawn = indices(10, whole={"num_frames": 10, "draw": "random"}, train=True)
    assert drawn == [list(range(10))], "without repetition while frames suffice"


def test_uniform_is_single_frames() -> None:
    assert indices(9, uniform={"n": 1}) == [[4]]
    assert indices(9, 3, uniform={"n": 3}) == [[1], [4], [7]]
    assert {indices(4, uniform={"n": 1}, train=True, seed=seed)[0][0] for seed in range(100)} == {0, 1, 2, 3}


def test_training_reaches_every_place_where_a_dense_clip_fits() -> None:
    starts = {indices(10, train=True, seed=seed, dense={"num_frames": 4, "stride": 2})[0][0] for seed in range(100)}
    assert starts == {0, 1, 2, 3}


def test_what_cannot_be_sampled() -> None:
    with pytest.raises(MediaError, match="no frames"):
        indices(0, uniform={"n": 1})
    with pytest.raises(MediaError, match="no frame rate"):
        indices(5, fps=0.0, dense={"num_frames": 2, "fps": 10})


sizes = st.integers(1, 40)
clips = st.one_of(
    st.builds(lambda t, s: {"dense": {"num_frames": t, "stride": s}}, sizes, st.integers(1, 9)),
    st.builds(lambda t, f: {"dense": {"num_frames": t, "fps": f}}, sizes, st.floats(0.5, 120)),
    st.builds(lambda n, d: {"segments": {"n": n, "distinct": d}}, sizes, st.booleans()),
    st.builds(lambda t, d: {"whole": {"num_frames": t, "draw": d}}, sizes, st.sampled_from(["linspace", "random"])),
    st.builds(lambda n: {"uniform": {"n": n}}, sizes),
)


@given(clips, st.integers(1, 500), st.floats(1, 120), st.integers(1, 12), st.booleans(), st.integers(0, 99))
def test_indices_are_in_range_ordered_and_repeatable(
    clip: dict[str, Any], num_frames: int, fps: float, num_clips: int, train: bool, seed: int
) -> None:
    config = ClipConfig.model_validate(clip)
    first, again = (
        clip_indices(FrameRange(num_frames, fps), config, num_clips, np.random.default_rng(seed) if train else None)
        for _ in range(2)
    )
    assert first.dtype == np.int64
    assert first.shape == (num_clips, config.frames_per_clip)
    assert first.min() >= 0
    assert first.max() < num_frames
    np.testing.assert_array_equal(first, again)
    steps = np.diff(first, axis=1)
    distinct = clip.get("segments", {}).get("distinct", False)
    looped = ("dense" in clip or distinct) and (steps < 0).any()
    assert looped or (steps >= 0).all()
    if distinct and num_frames >= config.frames_per_clip:
        assert (steps > 0).all()
    elif not train:
        assert looped or (np.diff(first[:, 0]) >= 0).all(), "clips in order of time"


@given(
    st.integers(1, 60), st.sampled_from([5, 12.5, 25, 30]), st.sampled_from([2.5, 5, 7, 10, 25, 50]),
    st.integers(1, 20), st.integers(1, 5), st.booleans(), st.integers(0, 99),
)  # fmt: skip
def test_time_stamps_of_an_even_rate_change_nothing(
    num_frames: int, fps: float, wanted: float, length: int, num_clips: int, train: bool, seed: int
) -> None:
    config = ClipConfig.model_validate({"dense": {"num_frames": length, "fps": wanted}})
    plain, timed = (
        clip_indices(
            FrameRange(num_frames, fps, times), config, num_clips, np.random.default_rng(seed) if train else None
        )
        for times in (None, 3 + np.arange(num_frames) / fps)
    )
    if plain.max() < num_frames - 1:
        np.testing.assert_array_equal(plain, timed)
    assert timed.min() >= 0 and timed.max() < num_frames
