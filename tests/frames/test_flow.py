"""Optical flow: the motion that was drawn, in pixels of the stored size, through cache and clips."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from toys import write_video

from harbench.frames.cache import build_cache, open_cache
from harbench.frames.fill import Decoding
from harbench.frames.flow import quantized
from harbench.frames.streams import normalize
from harbench.frames.transforms import draw, train_flow
from harbench.recipe import CacheConfig, InputConfig


def moving_texture(path: Path, frames: int = 5) -> None:
    """A texture that moves 4 pixels right and 2 down a frame."""
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8)
    ground = cv2.resize(noise, (320, 320), interpolation=cv2.INTER_CUBIC)
    clip = [ground[60 - 2 * t : 156 - 2 * t, 60 - 4 * t : 188 - 4 * t] for t in range(frames)]
    write_video(path, np.stack(clip))


@pytest.mark.parametrize("encoding", ["jpeg", "raw"])
def test_flow_is_the_motion_at_the_stored_size(encoding: str, tmp_path: Path) -> None:
    moving_texture(tmp_path / "a.avi")
    config = CacheConfig(stream="flow", encoding=encoding, short_side=48)
    assert not build_cache({"a.avi": tmp_path / "a.avi"}, tmp_path / "c", config, Decoding(1)).failed
    flow = open_cache(tmp_path / "c").read("a.avi", np.arange(5))
    assert flow.shape == (5, 48, 64, 2) and flow.dtype == np.uint8
    assert np.array_equal(flow[3], flow[4])
    pixels = flow[:, 12:36, 16:48] / 255 * 40 - 20
    assert np.median(pixels[..., 0]) == pytest.approx(2, abs=0.4)
    assert np.median(pixels[..., 1]) == pytest.approx(1, abs=0.4)


def test_one_frame_has_no_flow(tmp_path: Path) -> None:
    moving_texture(tmp_path / "a.avi", frames=1)
    report = build_cache({"a.avi": tmp_path / "a.avi"}, tmp_path / "c", CacheConfig(stream="flow"), Decoding(1))
    assert "one frame only" in report.failed["a.avi"]


def test_a_flip_turns_u_and_normalizing_centers() -> None:
    assert quantized(np.array([-30.0, 0.0, 20.0], np.float32)).tolist() == [0, 128, 255]
    frames = np.zeros((2, 32, 32, 2), np.uint8)
    frames[..., 0], frames[..., 1] = 200, 90
    config = InputConfig.model_validate({"clip": {"whole": {"num_frames": 2}}, "size": 28, "augment": {"flip": 1.0}})
    clip = train_flow(frames, config, draw(np.random.default_rng(0)))
    assert (clip[..., 0] == 55).all() and (clip[..., 1] == 90).all()
    model_input = normalize(torch.from_numpy(clip.transpose(3, 0, 1, 2).copy())[None], config)
    assert model_input.shape == (1, 2, 2, 28, 28)
    assert model_input[0, 1].unique().item() == pytest.approx(90 / 127.5 - 1)
