"""Decoding: every frame of a media file, once, in order, as RGB.

What is counted are decoded frames, never what a header declares. Nothing here seeks: exact random access is what the
frame cache is for. `decoders.py` has the table of decoders.
"""

from __future__ import annotations

import math
import tarfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import av
import av.error
import av.logging
import cv2
import numpy as np
import numpy.typing as npt
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

from harbench.errors import MediaError
from harbench.frames.stills import Pixels, decode_still, upright

ShortSide = int | Literal["native"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame, upright."""

    image: Pixels
    """uint8 [H, W, 3], RGB."""
    time: float | None = None
    """Presentation time in seconds; None where the container has none."""
    original: bytes | None = None
    """The picture's own file, where it is a plain JPEG that every reader shows as decoded here."""
    source_size: tuple[int, int] = (0, 0)
    """Height and width as decoded, where the image has been shrunk since."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width as decoded."""
        return self.source_size if any(self.source_size) else (self.image.shape[0], self.image.shape[1])


@dataclass(frozen=True)
class DecodedMedia:
    """An open media: its frames come once, in order."""

    frames: Iterator[Frame]
    """Raises MediaError, with the decoder's own words, where the media cannot be decoded."""
    fps: float
    """Nominal frame rate of the container; 0 for stills and where it has none."""
    decoder: str
    """Name and version of the decoder."""
    notes: list[str] = field(default_factory=list)
    """What a user should know; complete once `frames` is exhausted."""


class Decoder(Protocol):
    """Opens a media for decoding. Raises MediaError when there is nothing in it that it could decode."""

    def __call__(self, path: Path) -> AbstractContextManager[DecodedMedia]: ...


def shrunk_size(size: tuple[int, int], short_side: ShortSide) -> tuple[int, int]:
    """Height and width of a picture of `size` at a short side in pixels, never enlarged; `native` is untouched."""
    if short_side == "native" or min(size) <= short_side:
        return size
    scale = short_side / min(size)
    return round(size[0] * scale), round(size[1] * scale)


# ---------------------------------------------------------------------------------------------------------------- time
def frame_rate(nominal: float, times: npt.NDArray[np.float64]) -> float:
    """Frames per second of decoded time stamps (NaN where a frame has none).

    The nominal rate stands where the stamps agree with it to two frames: AVI files with packed B-frames carry stamps that
    are out of order, and coarse time bases round. Otherwise the stamps decide.
    """
    known = times[~np.isnan(times)]
    span, steps = float(np.ptp(known)) if len(known) else 0.0, len(known) - 1
    if span <= 0 or (nominal > 0 and abs(span * nominal - steps) <= 2):
        return nominal
    return steps / span


def is_variable(times: npt.NDArray[np.float64]) -> bool:
    """Whether a step between decoded time stamps (NaN where a frame has none) is off the median by half of it or more."""
    steps = np.diff(np.sort(times[~np.isnan(times)]))
    return len(steps) > 1 and bool((np.abs(steps - np.median(steps)) >= 0.5 * np.median(steps)).any())


def times_shown(times: npt.NDArray[np.float64]) -> tuple[float, ...]:
    """Time stamps of frames in the order in which they are shown, to the microsecond, where these are variable.

    None where a frame has none. Stamps out of order (AVI with packed B-frames) are those of other frames: sorted.
    """
    return tuple(np.round(np.sort(times), 6).tolist()) if is_variable(times) and not np.isnan(times).any() else ()


# ---------------------------------------------------------------------------------------------------------- containers
def open_file(path: Path) -> Any:
    """Open a media file to read its bytes. Raises MediaError where it is empty or cannot be read."""
    try:
        if path.stat().st_size == 0:
            raise MediaError("the file is empty (0 bytes)")
        return open(path, "rb")
    except OSError as error:
        raise MediaError(f"cannot be read: {error.strerror}") from None


def open_container(file: Any) -> Any:
    """Open a media with PyAV, whatever bytes its tags are. Raises MediaError, in FFmpeg's words, where that fails."""
    try:
        try:
            return av.open(file, metadata_errors="ignore")
        except TypeError:  # a PyAV without this parameter reads any tag
            return av.open(file)
    except av.error.FFmpegError as error:
        raise MediaError(_ffmpeg_words(error)) from None


def video_stream(container: Any) -> Any:
    """The first video stream that is no cover art. Raises MediaError where there is none, or none that FFmpeg decodes."""
    videos = [stream for stream in container.streams.video if Disposition.attached_pic not in stream.disposition]
    if not videos:
        raise MediaError(f"there is no video stream in it{', only cover art' if container.streams.video else ''}")
    if videos[0].codec_context is None:
        raise MediaError("FFmpeg has no decoder for its video")
    return videos[0]


def orientation(frame: Any) -> tuple[int, float]:
    """How to turn a frame by its display matrix: as an EXIF orientation, and in degrees clockwise.

    The rule is that of FFmpeg's command line, but for degrees that are no multiple of 90: they turn nothing here.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX") if len(frame.side_data) else None
    if matrix is None:
        return 1, 0.0
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    degrees = round(math.degrees(math.atan2(b / (math.hypot(b, d) or 1), a / (math.hypot(a, c) or 1)))) % 360
    turns = {
        0: 4 if d < 0 else 1,
        90: 5 if c > 0 else 6,
        180: 3 if a < 0 and d < 0 else 2 if a < 0 else 4 if d < 0 else 1,
        270: 7 if c < 0 else 8,
    }
    return turns.get(degrees, 1), degrees


def _ffmpeg_words(error: av.error.FFmpegError) -> str:
    """FFmpeg's message, with the line it logged where that says more."""
    log: Any = error.log  # (level, part of FFmpeg, line); PyAV's own annotation says otherwise
    return f"{error.strerror} ({_log_line(log)})" if log else str(error.strerror)


def _log_line(log: tuple[int, str, str]) -> str:
    return f"{log[1]}: {log[2].strip()}"


# --------------------------------------------------------------------------------------------------------------- video
@contextmanager
def open_video(path: Path, short_side: ShortSide = "native") -> Iterator[DecodedMedia]:
    """Decode a video with PyAV: one thread, the rotation of its metadata applied, frames shrunk to `short_side`.

    A damaged packet fails the media if any packet after it decodes: frames would be missing in the middle. If nothing
    after it decodes, the file is cut short (KTH's person01_boxing_d4 keeps 304 of 370 frames): what came before is kept
    and noted.
    """
    # PyAV hands over FFmpeg's own messages only above this level; it is silent otherwise.
    av.logging.set_level(av.logging.ERROR)
    # A file object, not a name: FFmpeg would read some names as URLs or patterns.
    with open_file(path) as file, av.logging.Capture() as log, open_container(file) as container:
        stream = video_stream(container)
        stream.codec_context.thread_count = 1
        notes: list[str] = []
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        frames = _video_frames(container, stream, log, notes, short_side)
        yield DecodedMedia(frames, fps, f"pyav {av.__version__}", notes)


def _video_frames(
    container: Any, stream: Any, log: list[tuple[int, str, str]], notes: list[str], short_side: ShortSide
) -> Iterator[Frame]:
    # One reformatter for all frames: each frame's own would set up its conversion anew.
    convert = VideoReformatter()
    frames, frames_decoded, turn, tilted = 0, 0, 1, 0.0
    rotation = None
    damage = concealed = ""
    for packet, packet_damage in _packets(container, stream):
        decoded = []
        try:
            decoded = packet.decode() if packet is not None else stream.codec_context.decode(None)
        except av.error.FFmpegError as error:
            packet_damage = _ffmpeg_words(error)
        damage = damage or packet_damage
        flushing = packet is None or packet.size == 0
        if decoded and damage and not flushing:
            raise MediaError(f"damaged after frame {frames}: {damage}")
        frames_decoded += len(decoded)
        for frame in decoded:
            if frame.is_corrupt:
                why = f" ({_log_line(log[-1])})" if log else ""
                concealed = concealed or f"errors are concealed in frame {frames}, counted from 0{why}"
                damage = damage or concealed
            if concealed:
                continue
            if frame.rotation != rotation:  # the matrix is read once: a frame that is asked for it is freed late
                rotation, (turn, tilted) = frame.rotation, orientation(frame)
            image = upright(_converted(frame, convert, short_side), turn)
            yield Frame(image, frame.time, source_size=(frame.height, frame.width)[:: -1 if turn > 4 else 1])
            frames += 1
    if not frames or (concealed and 0 < stream.frames <= frames_decoded):
        raise MediaError(damage or "no frame in it can be decoded")
    if damage:
        notes.append(f"cut short after frame {frames} of {stream.frames or 'unknown'}: {damage}")
    elif stream.frames > frames + 1:  # packed B-frames make the header of a whole AVI say one more
        notes.append(f"the header declares {stream.frames} frames, {frames} decode")
    if log and not damage:
        notes.append(f"FFmpeg logs {len(log)} errors, the first: {_log_line(log[0])}")
    if tilted % 90:
        notes.append(f"its display matrix turns it by {tilted:.0f} degrees clockwise, which is not done")


def _converted(frame: Any, convert: VideoReformatter, short_side: ShortSide) -> Pixels:
    """A frame as RGB, its area averaged where it is to be smaller."""
    height, width = shrunk_size((frame.height, frame.width), short_side)
    smaller: dict[str, Any] = {}
    if (height, width) != (frame.height, frame.width):
        smaller = {"height": height, "width": width, "interpolation": "AREA"}
    return np.asarray(convert.reformat(frame, format="rgb24", threads=1, **smaller).to_ndarray(), np.uint8)


def _packets(container: Any, stream: Any) -> Iterator[tuple[Any, str]]:
    """Packets, the last one flushing, each with why the container could not be read on (empty for all but the last)."""
    try:
        for packet in container.demux(stream):
            yield packet, ""
    except av.error.FFmpegError as error:
        yield None, _ffmpeg_words(error)


# -------------------------------------------------------------------------------------------------------------- stills
@contextmanager
def open_still(path: Path) -> Iterator[DecodedMedia]:
    """Decode an image: 8-bit RGB, the orientation of its EXIF applied."""
    with open_file(path) as file:
        picture = decode_still(file.read())
    frame = Frame(picture.image, original=picture.original)
    yield DecodedMedia(iter([frame]), 0.0, f"opencv {cv2.__version__}", [picture.note] if picture.note else [])


@contextmanager
def open_frames(path: Path) -> Iterator[DecodedMedia]:
    """Decode a tar of pictures, one a frame, in its order; it has no frame rate."""
    notes: list[str] = []

    def frames(tar: tarfile.TarFile) -> Iterator[Frame]:
        for member in tar:
            content = tar.extractfile(member)
            if content is not None:
                try:
                    picture = decode_still(content.read())
                except MediaError as error:
                    raise MediaError(f"{member.name}: {error}") from None
                notes.extend([f"{member.name}: {picture.note}"] if picture.note else [])
                yield Frame(picture.image, original=picture.original)

    with open_file(path) as file:
        try:
            with tarfile.open(fileobj=file) as tar:
                yield DecodedMedia(frames(tar), 0.0, f"opencv {cv2.__version__}", notes)
        except tarfile.TarError as error:
            raise MediaError(f"expected a tar of pictures: {error}") from None
