"""Joints: bodies, scale, absent joints, and augmentation that keeps bodies bodies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from harbench.errors import RecipeError
from harbench.frames.skeletons import (
    LAYOUTS,
    Layout,
    check_joints,
    eval_joints,
    frame_pairs,
    resize_tracks,
    train_joints,
)
from harbench.frames.transforms import Draw
from harbench.recipe import AugmentConfig, ClipConfig, InputConfig, Whole

STILL = Draw(*[0.5] * 10)
RNG = np.random.default_rng


def config(bodies: int = 1, center: bool | str = True, **augment: Any) -> InputConfig:
    document = {"clip": {"uniform": {}}, "bodies": bodies, "center": center, "augment": {"flip": 0, **augment}}
    return InputConfig.model_validate(document)


def person(frames: int = 6, joints: int = 17, channels: int = 3, seed: int = 0) -> np.ndarray:
    """One body `[T, 1, V, C]`; the third channel of COCO-17 is a confidence."""
    body = RNG(seed).normal(size=(frames, 1, joints, channels)).astype(np.float32)
    if joints == 17 and channels == 3:
        body[..., 2] = 0.8
    return body


def test_shape_and_channel_order() -> None:
    joints = person(frames=6, joints=25)
    out = eval_joints(joints, config(bodies=2, center=False))
    assert (out.shape, out.dtype) == ((3, 6, 25, 2), np.float32)
    np.testing.assert_array_equal(out[:, :, :, 0], joints[:, 0].transpose(2, 0, 1))
    assert not out[..., 1].any(), "a body that is not there is zeros"


def test_normalization_forgets_place_and_scale_and_keeps_confidence() -> None:
    joints = person()
    moved = joints * np.float32([3, 3, 1]) + np.float32([100, -50, 0])
    out = eval_joints(joints, config())
    np.testing.assert_allclose(eval_joints(moved, config()), out, atol=1e-4)
    np.testing.assert_array_equal(out[2], np.float32(0.8))
    np.testing.assert_allclose(out[:2].mean(axis=(1, 2, 3)), 0, atol=1e-5)


def test_traveling_is_kept_in_units_of_the_body() -> None:
    walk = np.repeat(person(frames=1), 11, axis=0)
    size = np.sqrt(np.square(walk[0, 0, :, :2] - walk[0, 0, :, :2].mean(axis=0)).sum(axis=1).mean())
    walk[..., 0] += np.arange(11, dtype=np.float32)[:, None, None]
    out = eval_joints(walk, config())
    assert out[0, -1, 0, 0] - out[0, 0, 0, 0] == pytest.approx(10 / size, rel=1e-4)


@pytest.mark.parametrize("absent", [(5.0, 5.0, 0.0), (np.nan, 1.0, 0.9), (0.0, 0.0, 0.9)])
def test_absent_joints_take_no_part(absent: tuple[float, ...]) -> None:
    joints = person()
    with_gap, without = joints.copy(), joints[:, :, 1:]
    with_gap[:, :, 0] = absent
    whole = eval_joints(with_gap, config())
    assert not whole[:, :, 0].any()
    points = without[..., :2].astype(np.float64)
    size = np.sqrt(np.square(points - points.mean(axis=2, keepdims=True)).sum(axis=-1).mean())
    expected = (points - points.mean(axis=(0, 1, 2))) / size
    np.testing.assert_allclose(whole[:2, :, 1:, 0], expected[:, 0].transpose(2, 0, 1), atol=1e-5)


def test_nobody_is_zeros() -> None:
    empty = np.zeros((4, 2, 25, 3), np.float32)
    assert not eval_joints(empty, config(bodies=2)).any()
    assert not train_joints(empty, config(bodies=2, noise=1, rotate=90), STILL, RNG(0)).any()


def test_the_bodies_that_move_most_are_kept_in_their_stored_order() -> None:
    still, slow, quick = (person(joints=25, seed=seed) for seed in range(3))
    still[:] = still[:1]
    slow[:] = slow[:1] + np.arange(6, dtype=np.float32)[:, None, None, None]
    quick[:] = quick[:1] + 5 * np.arange(6, dtype=np.float32)[:, None, None, None]
    quick[3:] = 0  # out of sight is not motion
    stored = np.concatenate([quick, still, slow], axis=1)
    out = eval_joints(stored, config(bodies=2, center=False))
    np.testing.assert_array_equal(out[..., 0], quick[:, 0].transpose(2, 0, 1))
    np.testing.assert_array_equal(out[..., 1], slow[:, 0].transpose(2, 0, 1))


def test_rotation_in_the_plane_and_about_the_vertical() -> None:
    quarter = replace(STILL, angle=1.0)
    flat = person()
    out, turned = eval_joints(flat, config()), train_joints(flat, config(rotate=90), quarter, RNG(0))
    np.testing.assert_allclose(turned[0], -out[1], atol=1e-6)
    np.testing.assert_allclose(turned[1], out[0], atol=1e-6)
    solid = person(joints=25)
    out, turned = eval_joints(solid, config()), train_joints(solid, config(rotate=90), quarter, RNG(0))
    np.testing.assert_allclose(turned[1], out[1], atol=1e-6)
    np.testing.assert_allclose(turned[0], -out[2], atol=1e-6)
    np.testing.assert_array_equal(train_joints(flat, config(rotate=90), STILL, RNG(0)), eval_joints(flat, config()))


def test_a_box_is_filled_on_every_axis_and_a_tilt_is_about_x() -> None:
    body = person(joints=20)
    out = eval_joints(body, config(center="box"))
    seen = out[:, (out != 0).any(axis=0)]
    np.testing.assert_allclose([seen.min(axis=1), seen.max(axis=1)], [[-1] * 3, [1] * 3], atol=1e-6)
    plain = eval_joints(body, config())
    tilted = train_joints(body, config(tilt=90), STILL, RNG(0))
    np.testing.assert_allclose(tilted[0], plain[0], atol=1e-6)
    np.testing.assert_allclose(np.hypot(*tilted[1:]), np.hypot(*plain[1:]), atol=1e-5)
    assert not np.allclose(tilted[1], plain[1], atol=1e-3)


@pytest.mark.parametrize("joints", sorted(LAYOUTS))
def test_a_flip_mirrors_and_exchanges_left_and_right(joints: int) -> None:
    body = person(joints=joints)
    out, flipped = eval_joints(body, config()), train_joints(body, config(flip=1), STILL, RNG(0))
    for left, right in LAYOUTS[joints].pairs:
        np.testing.assert_allclose(flipped[0, :, left], -out[0, :, right], atol=1e-6)
        np.testing.assert_allclose(flipped[1:, :, left], out[1:, :, right], atol=1e-6)
    paired = {joint for pair in LAYOUTS[joints].pairs for joint in pair}
    assert len(paired) == 2 * len(LAYOUTS[joints].pairs)
    middle = sorted(set(range(joints)) - paired)
    assert middle == {15: [0, 1, 2], 17: [0], 20: [0, 1, 2, 3], 25: [0, 1, 2, 3, 20], 33: [0]}[joints]
    np.testing.assert_allclose(flipped[0, :, middle], -out[0, :, middle], atol=1e-6)


def test_an_uncentered_flip_and_rotation_stay_where_the_person_is() -> None:
    body = person(joints=25) + 50
    turned = train_joints(body, config(center=False, flip=1, rotate=180), replace(STILL, angle=0.9), RNG(0))
    assert np.abs(turned - 50).max() < 10


def test_noise_has_the_asked_deviation_and_moves_no_confidence() -> None:
    body = person(frames=400)
    difference = train_joints(body, config(noise=0.1), STILL, RNG(0)) - eval_joints(body, config())
    assert difference[:2].std() == pytest.approx(0.1, rel=0.05)
    assert not difference[2].any()


def test_a_flip_of_unknown_joints_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"which of 14 joints .*known: 15 \(JHMDB-15\).*set input.augment.flip=0"):
        check_joints((9, 1, 14, 2), config(flip=0.5))
    check_joints((9, 1, 14, 2), config())
    check_joints((9, 1, 17, 3), config(flip=0.5))


def test_resized_tracks_are_scipys_zoom_of_the_median_filtered_ones() -> None:
    from scipy.ndimage import zoom
    from scipy.signal import medfilt

    tracks = np.random.default_rng(0).normal(1, 0.1, (21, 2, 15, 2)).astype(np.float32)
    resized = resize_tracks(tracks, 32)
    assert resized.shape == (32, 2, 15, 2)
    for body, joint, channel in ((0, 0, 0), (1, 14, 1), (0, 7, 1)):
        track = np.pad(tracks[:, body, joint, channel].astype(np.float64), 1, mode="edge")
        expected = zoom(medfilt(track, 3)[1:-1], 32 / 21)
        np.testing.assert_allclose(resized[:, body, joint, channel], expected, atol=1e-5)


def test_an_absent_joint_bends_no_track_and_stays_absent() -> None:
    tracks = np.full((10, 1, 15, 2), 5.0, np.float32)
    tracks[4:7, 0, 3] = 0
    resized = resize_tracks(tracks, 19)
    np.testing.assert_allclose(resized[:, 0, 4], 5.0, rtol=1e-6)
    gap = (resized[:, 0, 3] == 0).all(axis=1)
    assert 3 < gap.sum() < 8
    np.testing.assert_allclose(resized[~gap, 0, 3], 5.0, rtol=1e-6)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_short_tracks_are_resized_too(frames: int) -> None:
    assert np.isfinite(resize_tracks(np.ones((frames, 1, 4, 2), np.float32), 32)).all()


@pytest.mark.parametrize(("joints", "layout"), LAYOUTS.items())
def test_the_joints_of_a_layout_hang_together_and_mirror(joints: int, layout: Layout) -> None:
    parents = layout.parents
    assert len(parents) == joints
    for start in range(joints):
        seen = start
        for _ in range(joints):
            seen = parents[seen]
        assert parents[seen] == seen, "every joint leads to the root"
    assert sum(parent == joint for joint, parent in enumerate(parents)) == 1
    mirror = {a: b for pair in layout.pairs for a, b in (pair, pair[::-1])}
    if joints in (15, 17):  # the trunk of the others is not symmetric: a mouth corner or hip hangs on one side
        assert all(parents[mirror.get(j, j)] == mirror.get(parents[j], parents[j]) for j in range(joints))


def test_bones_and_motion() -> None:
    joints = np.random.default_rng(1).normal(size=(6, 1, 15, 2)).astype(np.float32)
    joints[2, 0, 3] = 0

    def features(name: str) -> np.ndarray:
        clip = ClipConfig(whole=Whole(num_frames=6))
        return eval_joints(joints, InputConfig(clip=clip, center=False, features=name))[..., 0]

    raw, bone, motion, both = (features(n) for n in ("joint", "bone", "joint_motion", "bone_motion"))
    np.testing.assert_allclose(bone[:, 0, 13], raw[:, 0, 13] - raw[:, 0, 9], atol=1e-6)
    assert (bone[:, :, 1] == 0).all(), "the root has no bone"
    assert (bone[:, 2, [3, 7]] == 0).all(), "nor has a joint whose end is absent"
    np.testing.assert_allclose(motion[:, 0], raw[:, 1] - raw[:, 0], atol=1e-6)
    assert (motion[:, -1] == 0).all()
    assert (motion[:, 1:3, 3] == 0).all()
    np.testing.assert_allclose(both[:, 0, 14], bone[:, 1, 14] - bone[:, 0, 14], atol=1e-6)


def test_bones_of_an_unknown_tree_are_refused() -> None:
    config = InputConfig(clip=ClipConfig(whole=Whole(num_frames=4)), features="bone", augment=AugmentConfig(flip=0))
    with pytest.raises(RecipeError, match="how 9 joints are connected is not known"):
        check_joints((4, 1, 9, 2), config)


# ------------------------------------------------------------------------------------------------ center: spine
BASE, MIDDLE, LEFT, RIGHT = 0, 1, 4, 8
"""Kinect v2: base and middle of the spine, left and right shoulder."""


def pair(seed: int = 0) -> np.ndarray:
    """Two bodies of 9 frames, meters from the camera; the second is there for the last three, the first but for one."""
    bodies = RNG(seed).normal(size=(9, 2, 25, 3)).astype(np.float32) + np.float32([0.5, 0.2, 3])
    bodies[0, 0], bodies[:6, 1] = 0, 0
    return bodies


def onto(vector: np.ndarray, target: np.ndarray) -> Rotation:
    """The smallest rotation of one direction onto another."""
    axis = np.cross(vector, target)
    angle = np.arctan2(np.linalg.norm(axis), vector @ target)
    return Rotation.from_rotvec(axis / np.linalg.norm(axis) * angle)


def stood(bodies: np.ndarray) -> np.ndarray:
    """`pair` by two rotations: the spine of frame 1 onto z, then about z until the shoulders point along x."""
    moved = bodies.astype(np.float64) - bodies[1, 0, MIDDLE]
    lift = onto(-moved[1, 0, BASE], np.array([0, 0, 1.0]))
    across = lift.apply(moved[1, 0, RIGHT] - moved[1, 0, LEFT])
    turned = Rotation.from_euler("z", -np.arctan2(across[1], across[0])) * lift
    there = (bodies != 0).any(axis=-1, keepdims=True)
    return np.where(there, turned.apply(moved.reshape(-1, 3)).reshape(moved.shape), 0)


def tracks(out: np.ndarray) -> np.ndarray:
    """`[C, T, V, M]` as `[T, M, V, C]`."""
    return out.transpose(1, 3, 2, 0)


def test_a_body_is_stood_up_by_the_first_frame_in_which_it_is_seen() -> None:
    bodies = pair()
    out = tracks(eval_joints(bodies, config(bodies=2, center="spine")))
    np.testing.assert_allclose(out, stood(bodies), atol=1e-5)
    first = out[1, 0]
    np.testing.assert_allclose(first[MIDDLE], 0)
    np.testing.assert_allclose(first[BASE, :2], 0, atol=1e-6)
    assert first[BASE, 2] < 0 < (first[RIGHT] - first[LEFT])[0]
    assert (first[RIGHT] - first[LEFT])[1] == pytest.approx(0, abs=1e-6)
    assert not out[:6, 1].any() and not out[0].any(), "who is absent stays zeros"
    for frame in (1, 8):  # also from one body to the other
        before, after = (each[frame].reshape(-1, 3)[:, None] - each[frame].reshape(-1, 3) for each in (bodies, out))
        there = (bodies[frame].reshape(-1, 3) != 0).any(axis=-1)
        lengths = [np.linalg.norm(each, axis=-1)[there][:, there] for each in (before, after)]
        np.testing.assert_allclose(lengths[1], lengths[0], atol=1e-5)


def test_with_shoulders_square_to_the_spine_it_is_pyskls() -> None:
    bodies = pair()
    spine = bodies[1, 0, MIDDLE] - bodies[1, 0, BASE]
    across = bodies[1, 0, RIGHT] - bodies[1, 0, LEFT]
    bodies[1, 0, RIGHT] -= across @ spine / (spine @ spine) * spine
    moved = bodies[1:, 0].astype(np.float64) - bodies[1, 0, MIDDLE]
    for joints, axis in (((BASE, MIDDLE), [0, 0, 1.0]), ((LEFT, RIGHT), [1.0, 0, 0])):
        start, end = moved[0, joints[0]], moved[0, joints[1]]
        moved = onto(end - start, np.array(axis)).apply(moved.reshape(-1, 3)).reshape(moved.shape)
    out = tracks(eval_joints(bodies, config(bodies=2, center="spine")))
    np.testing.assert_allclose(out[1:, 0], moved, atol=1e-5)


@given(st.integers(0, 9), st.integers(0, 2**32 - 1))
def test_where_the_camera_stood_changes_nothing(seed: int, camera: int) -> None:
    bodies, rng = pair(seed), RNG(camera)
    moved = Rotation.random(random_state=rng).apply(bodies.reshape(-1, 3)).reshape(bodies.shape) + rng.normal(size=3)
    moved = np.where(bodies.any(axis=-1, keepdims=True), moved, 0).astype(np.float32)
    for features in ("joint", "bone_motion"):
        asked = config(bodies=2, center="spine").model_copy(update={"features": features})
        np.testing.assert_allclose(eval_joints(moved, asked), eval_joints(bodies, asked), atol=1e-4)


def test_who_stands_is_left_standing() -> None:
    asked = config(center="spine")
    once = eval_joints(pair()[1:, :1], asked)
    np.testing.assert_allclose(eval_joints(tracks(once) + 5, asked), once, atol=1e-5)


def test_the_body_seen_longest_is_the_one_that_stands() -> None:
    bodies = pair()
    np.testing.assert_allclose(
        eval_joints(bodies[:, ::-1], config(bodies=2, center="spine"))[..., ::-1],
        eval_joints(bodies, config(bodies=2, center="spine")),
        atol=1e-6,
    )


def test_without_a_trunk_bodies_stay_where_they_are() -> None:
    bodies = pair()
    bodies[:, :, LEFT] = 0
    np.testing.assert_array_equal(tracks(eval_joints(bodies, config(bodies=2, center="spine"))), bodies)
    assert not eval_joints(np.zeros_like(bodies), config(bodies=2, center="spine")).any()


def test_an_upright_body_is_flipped_from_side_to_side_and_turned_about_its_spine() -> None:
    bodies, draw = pair(), replace(STILL, angle=1.0)
    out = eval_joints(bodies, config(bodies=2, center="spine"))
    turned = train_joints(bodies, config(bodies=2, center="spine", rotate=90), draw, RNG(0))
    np.testing.assert_allclose(turned, np.stack([-out[1], out[0], out[2]]), atol=1e-6)
    flipped = train_joints(bodies, config(bodies=2, center="spine", flip=1), draw, RNG(0))
    np.testing.assert_allclose(flipped[:, :, LEFT], out[:, :, RIGHT] * np.float32([-1, 1, 1])[:, None, None], atol=1e-6)


def test_a_spine_that_is_not_there_is_refused() -> None:
    for shape in ((9, 1, 17, 3), (9, 1, 33, 3), (9, 1, 21, 3)):
        with pytest.raises(
            RecipeError, match=r"spine, but which of .*known: 20 \(Kinect-20\), 25 \(NTU-25\)\); set input.center=true"
        ):
            check_joints(shape, config(center="spine"))
    with pytest.raises(RecipeError, match="expected x, y, z of every joint; found 2 channels"):
        check_joints((9, 1, 25, 2), config(center="spine"))
    check_joints((9, 2, 25, 3), config(center="spine"))


@pytest.mark.parametrize("features", ["joint_motion", "bone_motion"])
def test_motion_is_that_of_neighboring_frames_however_far_those_of_the_clip_are(features: str) -> None:
    bodies = pair()[1:]
    asked = config(bodies=2, center="spine").model_copy(update={"features": features})
    whole, chosen = eval_joints(bodies, asked), np.array([0, 3, 3, 7])
    at = frame_pairs(chosen, len(bodies))
    np.testing.assert_array_equal(eval_joints(bodies, asked, at), whole[:, chosen])
    np.testing.assert_array_equal(train_joints(bodies, asked, STILL, RNG(0), at), whole[:, chosen])
    assert whole[:, 3].any() and not whole[:, 7].any()
