"""Which frames of a range make a clip: pure index arithmetic.

Conventions follow mmaction2's `SampleFrames`: in evaluation the dense clips are spread evenly over 0..max_offset, and a
single one is the center clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harbench.errors import MediaError
from harbench.recipe import ClipConfig, Dense, Segments, Whole

Indices = npt.NDArray[np.int64]
Rng = np.random.Generator | None
"""Of training; None in evaluation."""

_SLACK = 1e-6
"""A time that is a whole number of frames but for rounding is not floored to the frame before."""
_EVALUATION_SEED = 255
"""Distinct segments are drawn in evaluation too, the same ones whatever the run's seed; the number is pyskl's."""


@dataclass(frozen=True)
class FrameRange:
    """The frames that clips are cut from."""

    frames: int
    fps: float
    """Frames per second; 0 where there is no frame rate."""
    times: npt.NDArray[np.float64] | None = None
    """Seconds at which each is shown, ascending, `[frames]`, where the rate varies."""


def clip_indices(source: FrameRange, clip: ClipConfig, num_clips: int, rng: Rng) -> Indices:
    """Frame indices of `num_clips` clips, int64 `[num_clips, T]`, each within 0..frames-1; `rng` is None in evaluation.

    `dense`: T frames at a fixed distance; in training the first is uniform over all places where the clip fits. With
    `fps` the frame is the one on display at that time stamp, so a slower source repeats frames: floor(t * source fps), or
    where the source's rate varies the last of `times` up to t after the first's.
    `segments` (TSN, arXiv:1608.00859): one frame in each of T equal parts: anywhere in it in training, its middle in
    evaluation; clip c of several takes the point (2c + 1) / (2 num_clips) of every part. `distinct` ones as pyskl's
    UniformSample (PoseConv3D, arXiv:2104.13586): see `_distinct`.
    `whole`: `linspace` over the range, rounded down; `random` is a sorted draw, without repetition while frames
    suffice, and linspace in evaluation; `resize` is every frame. All evaluation clips are the same one.
    `uniform`: clips of a single frame: anywhere in training, in evaluation the middles of `num_clips` equal parts.

    `clip.short` concerns dense clips and distinct segments; the others repeat frames where the range has too few. Indices
    grow within a clip unless it was looped.

    Raises:
        MediaError: an empty range, a range too short under `short: error`, or `fps` with media without a frame rate.
    """
    if source.frames < 1:
        raise MediaError("there are no frames to sample from")
    loop = clip.short == "loop"
    if clip.dense and clip.dense.fps and source.times is not None:
        return _timed(source, source.times, clip.dense, loop, num_clips, rng)
    if clip.dense:
        return _dense(source, clip.dense, loop, num_clips, rng)
    if clip.whole:
        return _whole(source.frames, clip.whole, num_clips, rng)
    if clip.segments and clip.segments.distinct:
        return _distinct(source.frames, clip.segments, loop, num_clips, rng)
    return _parts(source.frames, clip.frames_per_clip, num_clips, rng)


def _dense(source: FrameRange, dense: Dense, loop: bool, num_clips: int, rng: Rng) -> Indices:
    step = float(dense.stride or 1)
    if dense.fps:
        if source.fps <= 0:
            raise MediaError(
                "it has no frame rate, so input.clip.dense.fps cannot be kept; use input.clip.dense.stride"
            )
        step = source.fps / dense.fps
    offsets = np.floor(np.arange(dense.num_frames) * step + _SLACK).astype(np.int64)
    span = int(offsets[-1]) + 1
    if span > source.frames and not loop:
        raise MediaError(f"{source.frames} frames are too few for a clip of {span}; input.clip.short: loop fills it")
    indices: Indices = _starts(max(source.frames - span, 0), num_clips, rng)[:, None] + offsets
    return indices % source.frames


def _timed(
    source: FrameRange, times: npt.NDArray[np.float64], dense: Dense, loop: bool, num_clips: int, rng: Rng
) -> Indices:
    """As `_dense` with `fps`, for frames that are not equally far apart; the last one is shown as long as a mean one."""
    since, offsets = times - times[0], np.arange(dense.num_frames) / (dense.fps or 1)
    shown = float(since[-1]) + 1 / source.fps
    places = int(np.searchsorted(since, shown - offsets[-1] - _SLACK))
    if places == 0 and not loop:
        length = dense.num_frames / (dense.fps or 1)
        raise MediaError(f"{shown:.2f} s are too short for a clip of {length:.2f} s; input.clip.short: loop fills it")
    at = since[_starts(max(places - 1, 0), num_clips, rng)][:, None] + offsets + _SLACK
    indices: Indices = np.searchsorted(since, at % shown, side="right") - 1
    return np.minimum(indices, len(times) - 1)


def _starts(last: int, num_clips: int, rng: Rng) -> Indices:
    """First frames of clips, 0..last: drawn in training, else spread evenly, a single one in the middle."""
    if rng is not None:
        return rng.integers(0, last + 1, num_clips)
    if num_clips == 1:
        return np.array([last // 2])
    return np.round(np.linspace(0, last, num_clips)).astype(np.int64)


def _whole(num_frames: int, whole: Whole, num_clips: int, rng: Rng) -> Indices:
    length = num_frames if whole.draw == "resize" else whole.num_frames
    if rng is not None and whole.draw == "random":
        draws = [rng.choice(num_frames, length, replace=num_frames < length) for _ in range(num_clips)]
        return np.sort(np.stack(draws), axis=1).astype(np.int64)
    return np.tile(np.floor(np.linspace(0, num_frames - 1, length) + _SLACK).astype(np.int64), (num_clips, 1))


def _parts(num_frames: int, parts: int, num_clips: int, rng: Rng) -> Indices:
    """One frame of each of `parts` equal parts of the range."""
    if rng is not None:
        within = rng.random((num_clips, parts))
    else:
        within = np.repeat((np.arange(num_clips)[:, None] + 0.5) / num_clips, parts, axis=1)
    indices = np.floor((np.arange(parts) + within) * num_frames / parts).astype(np.int64)
    return np.minimum(indices, num_frames - 1)


def _distinct(num_frames: int, segments: Segments, loop: bool, num_clips: int, rng: Rng) -> Indices:
    """As pyskl's UniformSample, but that clips of one draw differ by more than chance.

    From two frames a part on: one of each part, parts being cut at whole frames; clip c goes c / num_clips of a part
    further than the first, around its end. Below: every frame but for as many as are too many, never two neighbors;
    which ones is a random order, of which every clip takes another stretch. Fewer frames than parts: all of them in a
    row, looped from a start that is drawn in training and spread evenly in evaluation.
    """
    parts, clip = segments.n, np.arange(num_clips)[:, None]
    if num_frames < parts:
        if not loop:
            raise MediaError(f"{num_frames} frames are too few for {parts} segments; input.clip.short: loop fills them")
        starts = clip * num_frames // num_clips if rng is None else rng.integers(0, num_frames, num_clips)[:, None]
        looped: Indices = (starts + np.arange(parts)) % num_frames
        return looped
    rng = np.random.default_rng(_EVALUATION_SEED) if rng is None else rng
    if num_frames < 2 * parts:
        gaps = rng.permutation(parts + 1)  # before each of the frames taken, and after the last
        passed = gaps[(clip * (parts + 1) // num_clips + np.arange(num_frames - parts)) % (parts + 1)]
        skips = np.zeros((num_clips, parts + 1), np.int64)
        np.put_along_axis(skips, passed, 1, axis=1)
        return np.arange(parts) + np.cumsum(skips, axis=1)[:, :parts]
    first = np.arange(parts + 1) * num_frames // parts
    sizes, within = np.diff(first), (rng.random(parts) + clip / num_clips) % 1
    indices: Indices = first[:-1] + np.minimum((within * sizes).astype(np.int64), sizes - 1)
    return indices
