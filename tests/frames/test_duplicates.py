"""Planted copies are candidates, others are not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from toys import write_video

from harbench.frames.cache import build_cache, open_cache
from harbench.frames.duplicates import FRAMES, find_duplicates, video_distances
from harbench.frames.fill import Decoding
from harbench.recipe import CacheConfig


def scene(seed: int, frames: int = 24) -> np.ndarray:
    """A textured ground over which a disc moves."""
    random = np.random.default_rng(seed)
    ground = cv2.resize(random.integers(40, 200, (6, 8, 3), dtype=np.uint8), (128, 96), interpolation=cv2.INTER_CUBIC)
    clip = np.repeat(ground[None], frames, axis=0)
    for t, frame in enumerate(clip):
        cv2.circle(frame, (20 + 3 * t, 30 + seed % 30), 14, (int(10 * seed) % 256, 200, 60), -1)
    return clip


def test_planted_copies_are_found_and_others_are_not(tmp_path: Path) -> None:
    media = {}
    for seed in range(12):
        write_video(path := tmp_path / f"train{seed}.avi", scene(seed))
        media[path.name] = path
    for seed in range(100, 112):
        write_video(path := tmp_path / f"test{seed}.avi", scene(seed))
        media[path.name] = path
    copies = {
        "again.mp4": scene(0),
        "small.avi": np.stack([cv2.resize(frame, (80, 60)) for frame in scene(1)]),
        "dark.avi": (scene(2) * 0.7).astype(np.uint8),
        "bright.avi": np.clip(scene(3).astype(int) + 30, 0, 255).astype(np.uint8),
        "cut.avi": scene(4)[6:20],
    }
    for name, clip in copies.items():
        write_video(tmp_path / name, clip)
        media[name] = tmp_path / name
    write_video(tmp_path / "black.avi", np.zeros((8, 96, 128, 3), np.uint8))
    media["black.avi"] = tmp_path / "black.avi"
    build_cache(media, tmp_path / "cache", CacheConfig(short_side=64), Decoding(1))
    train = tuple(name for name in media if name.startswith("train"))
    test = tuple(name for name in media if name not in train)
    found = find_duplicates(
        open_cache(tmp_path / "cache"), train, test, dict.fromkeys(media, ""), dict.fromkeys(media, "")
    )
    assert {(pair.test, pair.train) for pair in found.pairs} == {
        (name, f"train{number}.avi") for number, name in enumerate(copies)
    }
    assert found.skipped == ("black.avi",)


def test_distances_against_bits_counted_one_by_one() -> None:
    random = np.random.default_rng(0)
    one = random.integers(0, 1 << 63, 5, dtype=np.uint64)
    others = random.integers(0, 1 << 63, (FRAMES, 7), dtype=np.uint64)
    plain = [
        np.mean([min((int(a) ^ int(b)).bit_count() for b in others[:, column]) for a in one]) for column in range(7)
    ]
    np.testing.assert_allclose(video_distances(one, others), plain)
