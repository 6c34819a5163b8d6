"""Crops against pixel arithmetic, colors against torchvision, one draw a clip."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torchvision.transforms import functional as reference

from harbench.frames.transforms import Draw, crop_box, draw, eval_clip, train_clip
from harbench.recipe import InputConfig

MIDDLE = Draw(*[0.5] * 10)


def config(size: int = 112, resize: Any = None, channels: str = "rgb", **augment: Any) -> InputConfig:
    document = {"clip": {"uniform": {}}, "size": size, "resize": resize, "channels": channels, "augment": augment}
    return InputConfig.model_validate(document)


def ramp(frames: int = 2, height: int = 128, width: int = 171) -> np.ndarray:
    """A pixel's red is its row, its green its column, its blue its frame."""
    clip = np.zeros((frames, height, width, 3), np.uint8)
    clip[..., 0] = np.arange(height)[:, None]
    clip[..., 1] = np.arange(width)
    clip[..., 2] = 10 * np.arange(frames)[:, None, None]
    return clip


def corner(clip: np.ndarray) -> tuple[int, int]:
    return int(clip[0, 0, 0, 0]), int(clip[0, 0, 0, 1])


def test_rand_augment_is_drawn_once_a_clip() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (1, 40, 50, 3), np.uint8).repeat(3, axis=0)
    asked = config(rand_augment=30, flip=0)
    drawn = [draw(np.random.default_rng(seed)) for seed in range(20)]
    clips = [train_clip(frames, asked, each) for each in drawn]
    assert all((clip == clip[:1]).all() for clip in clips), "every frame is changed alike"
    plain = [train_clip(frames, config(flip=0), each) for each in drawn]
    assert sum(not np.array_equal(a, b) for a, b in zip(clips, plain, strict=True)) > 10
    np.testing.assert_array_equal(train_clip(frames, asked, drawn[0]), clips[0])


def test_the_default_size_needs_no_resize_of_a_128_cache() -> None:
    clip = eval_clip(ramp(), config(), crop=0, crops=1)
    np.testing.assert_array_equal(clip, ramp()[:, 8:120, 30:142])


@pytest.mark.parametrize(
    ("shape", "corners"), [((128, 171), [(8, 0), (8, 30), (8, 59)]), ((171, 128), [(0, 8), (30, 8), (59, 8)])]
)
def test_three_crops_lie_along_the_long_side(shape: tuple[int, int], corners: list[tuple[int, int]]) -> None:
    assert [corner(eval_clip(ramp(1, *shape), config(), crop=crop, crops=3)) for crop in range(3)] == corners


def test_cropping_first_is_resizing_first() -> None:
    rng = np.random.default_rng(0)
    frame = cv2.GaussianBlur(rng.integers(0, 256, (240, 320, 3), np.uint8), (0, 0), 8)
    resized = cv2.resize(frame, (160, 120), interpolation=cv2.INTER_LINEAR)
    expected = resized[10:110, 30:130]
    clip = eval_clip(frame[None], config(size=100, resize=120), crop=0, crops=1)
    assert np.abs(clip[0].astype(int) - expected).max() <= 1


def test_a_pair_squashes() -> None:
    clip = eval_clip(ramp(1, 100, 200), config(size=50, resize=(50, 50)), crop=0, crops=1)
    assert clip.shape == (1, 50, 50, 3)
    assert clip[0, -1, -1, 0] == pytest.approx(98.5, abs=1)
    assert clip[0, -1, -1, 1] == pytest.approx(197.5, abs=1), "the whole width is there"


def test_a_random_crop_reaches_every_place_and_only_those() -> None:
    rng = np.random.default_rng(0)
    corners = np.array([corner(train_clip(ramp(1), config(flip=0), draw(rng))) for _ in range(800)])
    assert set(corners[:, 0].tolist()) == set(range(17))
    assert set(corners[:, 1].tolist()) == set(range(60))


def test_multiscale_areas_and_aspects() -> None:
    rng = np.random.default_rng(0)
    sides = []
    for _ in range(300):
        clip = train_clip(ramp(1), config(crop="multiscale", scale=(0.25, 0.5), flip=0), draw(rng))[0].astype(float)
        grid = (112 - 1) / 112  # first to last pixel center of the output, as a share of the window
        sides.append([np.ptp(clip[..., 0]) / grid, np.ptp(clip[..., 1]) / grid])
    height, width = np.array(sides).T
    area, aspect = height * width / (128 * 171), width / height
    assert 0.23 < area.min() < 0.27
    assert 0.47 < area.max() < 0.53
    assert 0.70 < aspect.min() < 0.80
    assert 1.25 < aspect.max() < 1.40


def test_every_frame_gets_the_same_augmentation() -> None:
    still = np.repeat(np.random.default_rng(0).integers(0, 256, (1, 64, 80, 3), np.uint8), 4, axis=0)
    wild = config(size=32, crop="multiscale", flip=0.5, brightness=0.5, contrast=0.5, saturation=0.5, hue=0.3)
    rng = np.random.default_rng(1)
    results = [train_clip(still, wild, draw(rng)) for _ in range(20)]
    for clip in results:
        assert (clip == clip[:1]).all()
    assert len({clip.tobytes() for clip in results}) == 20


def test_flip() -> None:
    plain = train_clip(ramp(), config(flip=0.5), MIDDLE)
    flipped = train_clip(ramp(), config(flip=0.5), replace(MIDDLE, flip=0.49))
    np.testing.assert_array_equal(flipped, plain[:, :, ::-1])


@pytest.mark.parametrize(
    ("name", "adjust"),
    [
        ("brightness", reference.adjust_brightness),
        ("contrast", reference.adjust_contrast),
        ("saturation", reference.adjust_saturation),
    ],
)
@pytest.mark.parametrize("strength", [0.1, 0.9])
def test_colors_are_those_of_torchvision(name: str, adjust: Any, strength: float) -> None:
    frame = np.random.default_rng(0).integers(70, 120, (1, 112, 112, 3), np.uint8)
    drawn = replace(MIDDLE, **{name: strength})
    clip = train_clip(frame, config(resize=112, flip=0, **{name: 0.6}), drawn)
    factor = 1 + 0.6 * (2 * strength - 1)
    expected = adjust(torch.from_numpy(frame[0]).permute(2, 0, 1), factor).permute(1, 2, 0).numpy()
    assert np.abs(clip[0].astype(int) - expected).max() <= 2


def test_hue_turns_colors_and_leaves_gray() -> None:
    turn = config(size=16, resize=16, flip=0, hue=0.5)
    red, gray = np.zeros((1, 16, 16, 3), np.uint8), np.full((1, 16, 16, 3), 99, np.uint8)
    red[..., 0] = 120
    half = train_clip(red, turn, replace(MIDDLE, hue=1.0))[0, 0, 0]
    assert half[0] < 10, "half a turn makes red its complement"
    assert half[1:].min() > 60
    assert (train_clip(gray, turn, replace(MIDDLE, hue=0.9)) == 99).all()
    np.testing.assert_array_equal(train_clip(red, turn, MIDDLE), red)


def test_the_identity_draw_of_a_color_changes_nothing() -> None:
    clip = train_clip(ramp(), config(flip=0, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1), MIDDLE)
    np.testing.assert_array_equal(clip, ramp()[:, 8:120, 30:142])


def test_gray_is_one_channel_of_opencv_s_gray() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (1, 112, 112, 3), np.uint8)
    clip = eval_clip(frame, config(resize=112, channels="gray"), crop=0, crops=1)
    assert clip.shape == (1, 112, 112, 1)
    assert np.abs(clip[0, ..., 0].astype(int) - cv2.cvtColor(frame[0], cv2.COLOR_RGB2GRAY)).max() <= 1


def test_options_never_change_how_much_is_drawn() -> None:
    first, second = np.random.default_rng(3), np.random.default_rng(3)
    assert draw(first) == draw(second)
    assert draw(first) == draw(second) != draw(np.random.default_rng(3))


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ((0.25, 0.5, 0.75, 1.0), (64, 128), (42, 129)),
        ((0.0, 0.0, 1.0, 1.0), (0, 128), (0, 171)),
        ((-0.1, 0.0, 1.2, 0.5), (0, 64), (0, 171)),
        ((1.0, 1.0, 1.0, 1.0), (127, 128), (170, 171)),
    ],
)
def test_a_person_box(box: Any, rows: tuple[int, int], columns: tuple[int, int]) -> None:
    np.testing.assert_array_equal(crop_box(ramp(), box), ramp()[:, rows[0] : rows[1], columns[0] : columns[1]])


def test_extra_numbers_cost_the_stream_none() -> None:
    """Later options draw from a child: what the first ten numbers and the noise after them are stays as it was."""
    rng, plain = np.random.default_rng(5), np.random.default_rng(5)
    drawn = draw(rng)
    assert [drawn.top, drawn.left] == plain.random(10).tolist()[:2]
    assert rng.random() == plain.random()
    assert drawn == draw(np.random.default_rng(5))


def test_a_gray_clip_is_gray_in_every_frame() -> None:
    frames = np.random.default_rng(0).integers(0, 255, (4, 20, 20, 3)).astype(np.uint8)
    gray = train_clip(frames, config(16, gray=0.5), replace(MIDDLE, gray=0.4))
    assert np.ptp(gray.astype(int), axis=3).max() <= 1
    assert np.ptp(train_clip(frames, config(16, gray=0.5), replace(MIDDLE, gray=0.6)).astype(int), axis=3).max() > 100


@pytest.mark.parametrize(("channels", "area"), [("rgb", (0.02, 0.33)), ("gray", (0.02, 0.33)), ("rgb", (0.1, 0.2))])
def test_a_box_is_erased_from_all_frames_alike(channels: str, area: tuple[float, float]) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (4, 40, 40, 3)).astype(np.uint8)
    plain = train_clip(frames, config(32, 32, channels), MIDDLE)
    for numbers in np.random.default_rng(1).random((50, 4)):
        drawn = replace(MIDDLE, erase=0.0, erase_area=numbers[0], erase_aspect=numbers[1],
                        erase_top=numbers[2], erase_left=numbers[3])  # fmt: skip
        clip = train_clip(frames, config(32, 32, channels, erase=1.0, erase_area=area), drawn)
        changed = (clip != plain).any(axis=(0, 3))
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        share = (np.ptp(rows) + 1) * (np.ptp(columns) + 1) / 32**2
        assert area[0] / 2 < share < area[1] + 0.03
        box = clip[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert (box == box[0, 0, 0]).all()
