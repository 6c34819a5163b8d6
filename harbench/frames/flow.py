"""Optical flow between consecutive frames, quantized as two-stream networks read it.

Flow is computed between decoded frames at full size (DIS, arXiv:1603.03590, preset medium), then resized with its vectors
scaled alike, clipped to +-20 pixels (of the stored size) a frame and stored as `round((v + 20) * 255 / 40)`: the convention
of TSN (arXiv:1608.00859). A video of T frames has T flows, number t from frame t to t + 1, the last one twice: so frame
indices mean the same in both streams.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from harbench.errors import MediaError
from harbench.frames.decode import Frame, ShortSide, shrunk_size
from harbench.frames.stills import Pixels

BOUND = 20.0
"""Pixels a frame at which vectors are clipped."""
Vectors = npt.NDArray[np.float32]
"""`[H, W, 2]`: u to the right, v downwards, in pixels a frame."""
Resizable = TypeVar("Resizable", Pixels, Vectors)


def flow_images(frames: Iterable[Frame], short_side: ShortSide) -> Iterator[tuple[Frame, Pixels]]:
    """Each frame with its flow, uint8 `[h, w, 2]`, of this short side.

    Raises MediaError when there is one frame only, or when frames change size.
    """
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    previous: Pixels | None = None
    image: Pixels | None = None
    before = after = None
    for after in frames:
        gray = np.asarray(cv2.cvtColor(after.image, cv2.COLOR_RGB2GRAY), np.uint8)
        if before is not None and previous is not None:
            if previous.shape != gray.shape:
                raise MediaError(f"its frames change size from {previous.shape} to {gray.shape} (height, width)")
            vectors = np.asarray(dis.calc(previous, gray, None), np.float32)  # type: ignore[call-overload]
            small = shrink(vectors, short_side)
            scale = np.array([small.shape[1] / gray.shape[1], small.shape[0] / gray.shape[0]], np.float32)
            image = quantized(small * scale)
            yield before, image
        before, previous = after, gray
    if after is not None:
        if image is None:
            raise MediaError("it has one frame only, so it has no optical flow")
        yield after, image


def quantized(vectors: Vectors) -> Pixels:
    """Vectors as uint8."""
    return np.round((np.clip(vectors, -BOUND, BOUND) + BOUND) * (255 / (2 * BOUND))).astype(np.uint8)


def stacked(image: Pixels) -> Pixels:
    """u above v as one gray image `[2h, w, 1]`: a gray JPEG has no color planes to be subsampled."""
    return np.concatenate([image[..., :1], image[..., 1:]])


def unstacked(images: Pixels) -> Pixels:
    """`[n, h, w, 2]` from `[n, 2h, w, 1]`."""
    half = images.shape[1] // 2
    return np.concatenate([images[:, :half], images[:, half:]], axis=3)


def shrink(image: Resizable, short_side: ShortSide) -> Resizable:
    """Resize to a short side in pixels, never up; `native` is untouched."""
    height, width = shrunk_size((image.shape[0], image.shape[1]), short_side)
    if (height, width) == image.shape[:2]:
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), image.dtype)
