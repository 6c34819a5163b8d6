"""Media on disk and in caches, and the clips that are cut from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch


IMAGE_SUFFIXES = frozenset((
    ".avif", ".bmp", ".dib", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
))  # fmt: skip
"""Stills that OpenCV decodes. Lower case, as VIDEO_SUFFIXES."""
VIDEO_SUFFIXES = frozenset((
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg",
    ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mpv", ".mts", ".mxf", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob",
    ".webm", ".wmv",
))  # fmt: skip
"""Videos that PyAV decodes."""


@dataclass(frozen=True)
class MediaMatch:
    """What of a table was found under a folder. Nothing is dropped silently: what is left over is listed."""

    present: Mapping[str, Path]
    """Official path -> the user's file."""
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    duplicated: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What is known of a cached media: decoded frame count (never the header's), time base, stored size."""

    frames: int
    fps: float
    """Frames per second; 0 for stills."""
    width: int
    height: int
    source_size: tuple[int, int] = (0, 0)
    """Width and height as decoded, before resizing; zeros where unknown."""
    decoder: str = ""
    """Who decoded it, with version: `pyav 18.1.0`; empty where unknown."""
    times: npt.NDArray[np.float64] | None = field(default=None, compare=False)
    """Seconds `[frames]` at which each frame is shown, where the frame rate varies; else `fps` says it."""
    note: str = ""
    """What its decoder noted (`cut short after frame 32 of 60`); empty: nothing."""


@dataclass(frozen=True)
class CacheReport:
    """What `build_cache` did."""

    done: tuple[str, ...]
    reused: tuple[str, ...]
    failed: Mapping[str, str]
    """Media -> the decoder's own words."""
    noted: Mapping[str, str] = field(default_factory=dict)
    """Media that are there, and what their decoder noted."""


class FrameCache(Protocol):
    """An open cache: random reads through mmap, cheap to send to a loader process (it reopens by path)."""

    def __contains__(self, media: object) -> bool: ...

    def info(self, media: str) -> MediaInfo: ...

    def read(self, media: str, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.generic]:
        """rgb: uint8 `[len(indices), H, W, 3]` in RGB order; pose: float32 `[len(indices), M, V, C]`."""
        ...


@dataclass(frozen=True, slots=True)
class Clip:
    """One view of one sample, ready to be batched."""

    sample_id: str
    target: int
    view: int
    frames: torch.Tensor
    """rgb: uint8 `[C, T, H, W]`, normalized on the device; pose: float32 `[C, T, V, M]`."""
    poses: torch.Tensor | None = None
    """Joints of the same frames, float32 `[C, T, V, M]`, where pictures come with poses."""
