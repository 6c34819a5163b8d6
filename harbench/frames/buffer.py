"""The frames of one media held in memory, as a frame cache gives them: what prediction cuts its clips from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harbench.errors import CacheError
from harbench.frames.streams import STREAMS
from harbench.records import MediaInfo

Stored = bytes | npt.NDArray[Any]
"""One frame as the cache stores it: a JPEG, raw pixels, or joints `[M, V, C]`."""


@dataclass(frozen=True)
class FrameBuffer:
    """A `FrameCache` of one media, whatever it is called."""

    stream: str
    stored: Sequence[Stored]
    about: MediaInfo

    def __contains__(self, media: object) -> bool:
        return True

    def info(self, media: str) -> MediaInfo:
        """What is known of the media."""
        return self.about

    def read(self, media: str, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.generic]:
        """As `FrameCache.read`; raises CacheError for a frame that is not there."""
        if len(indices) == 0 or indices.min() < 0 or indices.max() >= len(self.stored):
            raise CacheError(f"it has {len(self.stored)} frames; asked for {indices.tolist()}")
        wanted, places = np.unique(indices, return_inverse=True)
        frames = [self.stored[number] for number in wanted.tolist()]
        if isinstance(frames[0], bytes):
            jpegs = (np.frombuffer(frame, np.uint8) for frame in frames if isinstance(frame, bytes))
            pictures = STREAMS[self.stream].decode(jpegs, len(frames), (self.about.height, self.about.width))
            return pictures[places]
        return np.stack([np.asarray(frame) for frame in frames])[places]
