"""Which frames of a range make a clip: pure index arithmetic.

Conventions follow mmaction2's `SampleFrames`: in evaluation the dense clips are spread evenly over 0..max_offset, and a
single one is the centre clip.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harbench.errors import MediaError
from harbench.recipe import ClipConfig, Dense, Whole

Indices = npt.NDArray[np.int64]

_SLACK = 1e-6
"""A time that is a whole number of frames but for rounding is not floored to the frame before."""


def clip_indices(
    num_frames: int, fps: float, clip: ClipConfig, *, num_clips: int, train: bool, rng: np.random.Generator
) -> Indices:
    """Frame indices of `num_clips` clips, int64 `[num_clips, T]`, each within 0..num_frames-1.

    `dense`: T frames at a fixed distance; in training the first is uniform over all places where the clip fits. With
    `fps` the frame is the one on display at that time stamp, floor(t * source fps), so a slower source repeats frames.
    `segments` (TSN, arXiv:1608.00859): one frame in each of T equal parts: anywhere in it in training, its middle in
    evaluation; clip c of several takes the point (2c + 1) / (2 num_clips) of every part.
    `whole`: `linspace` over the range, rounded down; `random` is a sorted draw, without repetition while frames
    suffice, and linspace in evaluation; `resize` is every frame. All evaluation clips are the same one.
    `uniform`: clips of a single frame: anywhere in training, in evaluation the middles of `num_clips` equal parts.

    `clip.short` concerns dense clips only; the others repeat frames where the range has too few. Indices grow within a
    clip unless it was looped. Nothing is drawn from `rng` in evaluation.

    Raises:
        MediaError: an empty range, a range too short under `short: error`, or `fps` with media without a frame rate.
    """
    if num_frames < 1:
        raise MediaError("there are no frames to sample from")
    if clip.dense:
        return _dense(num_frames, fps, clip.dense, clip.short, num_clips, rng if train else None)
    if clip.whole:
        return _whole(num_frames, clip.whole, num_clips, rng if train else None)
    random = train and (clip.segments is None or clip.segments.jitter)
    return _parts(num_frames, clip.frames_per_clip, num_clips, rng if random else None)


def _dense(
    num_frames: int, fps: float, dense: Dense, short: str, num_clips: int, rng: np.random.Generator | None
) -> Indices:
    offsets = np.floor(np.arange(dense.num_frames) * _step(dense, fps) + _SLACK).astype(np.int64)
    span = int(offsets[-1]) + 1
    if span > num_frames and short == "error":
        raise MediaError(f"{num_frames} frames are too few for a clip of {span}; input.clip.short: loop fills it")
    last_start = max(num_frames - span, 0)
    if rng is not None:
        starts = rng.integers(0, last_start + 1, num_clips)
    elif num_clips == 1:
        starts = np.array([last_start // 2])
    else:
        starts = np.round(np.linspace(0, last_start, num_clips)).astype(np.int64)
    indices: Indices = starts[:, None] + offsets
    return indices % num_frames if short == "loop" else np.minimum(indices, num_frames - 1)


def _step(dense: Dense, fps: float) -> float:
    """Source frames between two frames of the clip."""
    if dense.fps is None:
        return float(dense.stride or 1)
    if fps <= 0:
        raise MediaError("it has no frame rate, so input.clip.dense.fps cannot be kept; use input.clip.dense.stride")
    return fps / dense.fps


def _whole(num_frames: int, whole: Whole, num_clips: int, rng: np.random.Generator | None) -> Indices:
    length = num_frames if whole.draw == "resize" else whole.num_frames
    if rng is not None and whole.draw == "random":
        draws = [rng.choice(num_frames, length, replace=num_frames < length) for _ in range(num_clips)]
        return np.sort(np.stack(draws), axis=1).astype(np.int64)
    return np.tile(np.floor(np.linspace(0, num_frames - 1, length) + _SLACK).astype(np.int64), (num_clips, 1))


def _parts(num_frames: int, parts: int, num_clips: int, rng: np.random.Generator | None) -> Indices:
    """One frame of each of `parts` equal parts of the range."""
    if rng is not None:
        within = rng.random((num_clips, parts))
    else:
        within = np.repeat((np.arange(num_clips)[:, None] + 0.5) / num_clips, parts, axis=1)
    indices = np.floor((np.arange(parts) + within) * num_frames / parts).astype(np.int64)
    return np.minimum(indices, num_frames - 1)
