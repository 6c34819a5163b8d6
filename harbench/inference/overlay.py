"""Answers drawn on pictures, and videos that a browser plays."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import av.error
import cv2
import numpy as np
import numpy.typing as npt

from harbench.errors import MediaError
from harbench.frames.posture import JOINTS, POSTURES, posture
from harbench.frames.skeletons import LAYOUTS

Pixels = npt.NDArray[np.uint8]
GREEN, WHITE, DARK, SOFT = (70, 200, 90), (245, 245, 245), (20, 20, 20), (150, 150, 150)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
NOTHING = "nothing"
"""What is shown where no class reaches the threshold."""


def draw_bars(image: Pixels, top: Sequence[tuple[str, float]], label: str) -> Pixels:
    """Draw the best classes on an RGB picture `[H, W, 3]`, in place: `label` in green, the others plain, each with a bar."""
    height, width = image.shape[:2]
    line = max(11, min(height // 14, 32))
    scale, thick, wide = line / 30, max(1, line // 16), min(width, line * 13)
    rows = top if label else [(NOTHING, 1 - top[0][1]), *(each for each in top if each[1] > 0)]
    rows = rows[: max(1, height // line - 1)]
    box = image[: line * len(rows) + line // 2, :wide]
    box[:] = (box * 0.35).astype(np.uint8)
    for number, (name, probability) in enumerate(rows):
        color = GREEN if number == 0 and label else WHITE if number else SOFT
        base = line * (number + 1)
        share = f"{100 * probability:.0f}%"
        room = wide - line // 2
        cv2.rectangle(
            image, (line // 4, base + 2), (line // 4 + int(room * probability), base + max(3, line // 9)), color, -1
        )
        cv2.putText(image, _ascii(name), (line // 4, base), _FONT, scale, color, thick, cv2.LINE_AA)
        (size, _), _ = cv2.getTextSize(share, _FONT, scale, thick)
        cv2.putText(image, share, (room - size, base), _FONT, scale, color, thick, cv2.LINE_AA)
    return image


class Span(Protocol):
    """A part of a timeline."""

    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def label(self) -> str: ...


def draw_timeline(image: Pixels, spans: Sequence[Span], now: float, length: float) -> Pixels:
    """Draw the segments of a video along the lower edge, in place, each class in a color of its own, and where we are."""
    height, width = image.shape[:2]
    thick = max(4, height // 40)
    image[height - thick :] = DARK
    for span in spans:
        if span.label and length > 0:
            left, right = int(width * span.start / length), max(int(width * span.end / length), 1)
            image[height - thick :, left:right] = color_of(span.label)
    at = int(min(now / length, 1) * (width - 1)) if length > 0 else 0
    image[height - 2 * thick :, max(0, at - 1) : at + 2] = WHITE
    return image


def color_of(name: str) -> tuple[int, int, int]:
    """The color of a class on timelines: the same wherever it is drawn."""
    hue = sum((place + 1) * ord(letter) for place, letter in enumerate(name)) * 37 % 180
    red, green, blue = cv2.cvtColor(np.array([[[hue, 170, 215]]], np.uint8), cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return red, green, blue


def draw_skeleton(image: Pixels, joints: npt.NDArray[np.floating], text: str = "", *, boxed: bool = False) -> Pixels:
    """Draw the joints `[V, 2 or more]` of one person, in pixels, in place; absent ones are zeros or not finite.

    `text` and the posture, where the joints tell one, stand above; with `boxed` there is a box around all.
    """
    layout = LAYOUTS.get(len(joints))
    present = np.isfinite(joints[:, :2]).all(axis=1) & (joints[:, :2] != 0).any(axis=1)
    points = np.nan_to_num(joints[:, :2]).astype(int).tolist()
    radius = max(1, image.shape[0] // 160)
    for joint, parent in enumerate(layout.parents if layout else range(len(joints))):
        if present[joint] and present[parent]:
            cv2.line(image, points[joint], points[parent], GREEN, radius, cv2.LINE_AA)
    for joint in np.flatnonzero(present).tolist():
        cv2.circle(image, points[joint], radius + 1, WHITE, -1, cv2.LINE_AA)
    if not present.any():
        return image
    (left, top), (right, bottom) = (find(joints[present, :2], axis=0).astype(int).tolist() for find in (np.min, np.max))
    if boxed:
        cv2.rectangle(image, (left, top), (right, bottom), GREEN, radius)
    if words := ", ".join(filter(None, (text, _posture(joints)))):
        scale = max(0.4, image.shape[0] / 900)
        cv2.putText(image, _ascii(words), (left, max(12, top - 4)), _FONT, scale, GREEN, max(1, radius), cv2.LINE_AA)
    return image


def _posture(joints: npt.NDArray[np.floating]) -> str:
    visible = 0.3 if len(joints) == 17 else 0.5  # scores of MoveNet's joints are lower than MediaPipe's visibilities
    number = int(posture(joints, visible)) if len(joints) in JOINTS else -1
    return POSTURES[number].replace("unknown", "")


def _ascii(text: str) -> str:
    """OpenCV's fonts have nothing else."""
    return text.encode("ascii", "replace").decode()


# --------------------------------------------------------------------------------------------------------------- video
@contextmanager
def video_writer(path: Path, fps: float) -> Iterator[Any]:
    """A function that appends RGB pictures of one size to an .mp4 (H.264, 4:2:0, index in front): every browser plays it.

    The file is whole or absent. Raises MediaError where this FFmpeg cannot encode it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    stream = None
    try:
        with av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as container:

            def write(image: Pixels) -> None:
                nonlocal stream
                height, width = (side - side % 2 for side in image.shape[:2])
                if stream is None:
                    stream = container.add_stream("libx264", rate=Fraction(fps or 25).limit_denominator(1001))
                    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                    stream.options = {"preset": "veryfast", "crf": "23"}
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), format="rgb24")
                container.mux(stream.encode(frame))

            yield write
            if stream is not None:
                container.mux(stream.encode(None))
        if stream is not None:
            os.replace(temporary, path)
    except av.error.FFmpegError as error:
        raise MediaError(f"{path}: the video cannot be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)
