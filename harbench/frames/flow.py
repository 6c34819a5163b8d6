"""Optical flow between consecutive frames, quantised as two-stream networks read it.

Flow is computed on decoded frames at full size, then resized with its vectors scaled alike, clipped to +-20 pixels (of the
stored size) a frame and stored as `round((v + 20) * 255 / 40)`: the convention of TSN (arXiv:1608.00859). A video of T frames
has T flows, number t from frame t to t + 1, the last one twice: so frame indices mean the same in both streams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from harbench.errors import MediaError
from harbench.frames.decode import Frame, Image

BOUND = 20.0
"""Pixels a frame at which vectors are clipped."""
Vectors = npt.NDArray[np.float32]
"""`[H, W, 2]`: u to the right, v downwards, in pixels a frame."""


def flow_images(
    frames: Iterable[Frame], method: Literal["dis", "farneback"], shrink: Callable[[Vectors], Vectors]
) -> Iterator[tuple[Frame, Image]]:
    """Each frame with its flow, uint8 `[h, w, 2]`; `shrink` resizes an array of pixels.

    Raises MediaError when there is one frame only, or when frames change size.
    """
    between = flow_between(method)
    previous: Image | None = None
    image: Image | None = None
    before = after = None
    for after in frames:
        grey = np.asarray(cv2.cvtColor(after.image, cv2.COLOR_RGB2GRAY), np.uint8)
        if before is not None and previous is not None:
            if previous.shape != grey.shape:
                raise MediaError(f"its frames change size from {previous.shape} to {grey.shape} (height, width)")
            image = quantised(_scaled(between(previous, grey), shrink))
            yield before, image
        before, previous = after, grey
    if after is not None:
        if image is None:
            raise MediaError("it has one frame only, so it has no optical flow")
        yield after, image


def flow_between(method: Literal["dis", "farneback"]) -> Callable[[Image, Image], Vectors]:
    """Flow from one grey image to the next: DIS (arXiv:1603.03590, preset medium), or Farneback (SCIA 2003).

    Farneback's parameters are those of OpenCV's example: 3 levels of 0.5, window 15, 3 iterations, polynomials 5 and 1.2.
    """
    if method == "dis":
        dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        return lambda first, second: np.asarray(dis.calc(first, second, None), np.float32)  # type: ignore[call-overload]
    none = np.empty(0, np.float32)
    return lambda first, second: np.asarray(
        cv2.calcOpticalFlowFarneback(first, second, none, 0.5, 3, 15, 3, 5, 1.2, 0), np.float32
    )


def quantised(vectors: Vectors) -> Image:
    """Vectors as uint8."""
    return np.round((np.clip(vectors, -BOUND, BOUND) + BOUND) * (255 / (2 * BOUND))).astype(np.uint8)


def _scaled(vectors: Vectors, shrink: Callable[[Vectors], Vectors]) -> Vectors:
    small = shrink(vectors)
    height, width = vectors.shape[:2]
    return small * np.array([small.shape[1] / width, small.shape[0] / height], np.float32)


def stacked(image: Image) -> Image:
    """u above v as one grey image `[2h, w]`: a grey JPEG has no colour planes to be subsampled."""
    return np.concatenate([image[..., 0], image[..., 1]])


def unstacked(images: Image) -> Image:
    """`[n, h, w, 2]` from `[n, 2h, w, 1]`."""
    half = images.shape[1] // 2
    return np.concatenate([images[:, :half], images[:, half:]], axis=3)
