"""Clips with something taken away: the order of their frames, the person, the background.

What a model still recognizes without it tells how much of its score rests on it. A model that was not trained on such
clips may also stumble over how they look, so what is lost is an upper bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harbench.frames.clips import Reorder
from harbench.records import FrameCache, MediaInfo

Indices = npt.NDArray[np.int64]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom as fractions of the picture."""
People = Callable[[str], Box | None]
"""The box around the person in all frames of a media; None where nobody is known to be."""

_GRAY = 127
"""What is painted over: the middle of the range, which tells nothing of what was there."""
_MARGIN = 0.15
"""Of the longer side, added around joints on each side: they end at nose, wrists and ankles."""


def _backwards(indices: Indices, rng: np.random.Generator) -> Indices:
    return indices[::-1].copy()


def _shuffled(indices: Indices, rng: np.random.Generator) -> Indices:
    return rng.permutation(indices)


def _frozen(indices: Indices, rng: np.random.Generator) -> Indices:
    return np.full_like(indices, indices[len(indices) // 2])


ORDERS: Mapping[str, Reorder] = {"reversed": _backwards, "shuffled": _shuffled, "frozen": _frozen}
"""`reversed` keeps everything but the direction of time, `shuffled` all frames but not their order, `frozen` only the
middle frame of each clip, repeated."""


@dataclass(frozen=True)
class Blanked:
    """The frames of an open cache in gray, inside the person's box or outside of it.

    One box a media, not one a frame: a box that moved with the person would tell how it moves.
    """

    cache: FrameCache
    people: People
    person: bool
    """True: the person is blanked, and the background stays; False: the other way round."""

    def __contains__(self, media: object) -> bool:
        return media in self.cache

    def info(self, media: str) -> MediaInfo:
        return self.cache.info(media)

    def read(self, media: str, indices: Indices) -> npt.NDArray[np.generic]:
        """uint8 `[len(indices), H, W, 3]`. Where nobody is known to be, all is background."""
        frames = np.array(self.cache.read(media, indices))
        height, width = frames.shape[1:3]
        left, top, right, bottom = self.people(media) or (0.0, 0.0, 0.0, 0.0)
        rows = slice(int(top * height), int(np.ceil(bottom * height)))
        columns = slice(int(left * width), int(np.ceil(right * width)))
        if self.person:
            frames[:, rows, columns] = _GRAY
            return frames
        kept = np.full_like(frames, _GRAY)
        kept[:, rows, columns] = frames[:, rows, columns]
        return kept


def box_of_joints(pose: npt.NDArray[np.float32], width: int, height: int) -> Box | None:
    """The box around everybody's joints in all frames, `[T, M, V, C]` with x and y in pixels first; None without any.

    A joint at 0, 0 was not found.
    """
    points = pose[..., :2].reshape(-1, 2).astype(np.float64)
    points = points[np.isfinite(points).all(axis=1) & points.any(axis=1)]
    if not len(points):
        return None
    low, high = points.min(axis=0), points.max(axis=0)
    margin = _MARGIN * float((high - low).max())
    left, top = np.clip((low - margin) / (width, height), 0, 1).tolist()
    right, bottom = np.clip((high + margin) / (width, height), 0, 1).tolist()
    return left, top, right, bottom
