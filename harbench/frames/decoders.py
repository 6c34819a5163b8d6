"""The table of decoders: what opens a media file, by its suffix or by the name that `--decoder` gives.

PyAV is the default for videos. OpenCV, decord and torchcodec give upright RGB too, every frame that they decode, in order,
but none of them says what it skipped or concealed: of a damaged file they may give fewer frames than PyAV, or stop early
without a word. `harbench doctor FILE` shows where they differ. What they would show otherwise than PyAV (a mirrored video,
cover art) is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import av
import av.error
import cv2
import numpy as np

from harbench.errors import MediaError
from harbench.frames.decode import (
    DecodedMedia,
    Decoder,
    Frame,
    ShortSide,
    open_container,
    open_file,
    open_frames,
    open_still,
    open_video,
    orientation,
    video_stream,
)
from harbench.frames.stills import upright
from harbench.records import IMAGE_SUFFIXES

_PIECE = 16
"""Frames that decord decodes at a time."""


@contextmanager
def open_opencv(path: Path) -> Iterator[DecodedMedia]:
    """Decode a video with OpenCV's FFmpeg reader."""
    video_first, turn, declared = _look(path)
    if not video_first:
        raise MediaError("OpenCV reads the cover art that stands before its video; use --decoder av")
    reader = cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG)
    notes: list[str] = []

    def frames() -> Iterator[Frame]:
        count = 0
        while True:
            try:
                good, image = reader.read()
            except cv2.error as error:
                raise MediaError(f"OpenCV, after frame {count}: {error.err}") from None
            if not good:
                break
            count += 1
            time = reader.get(cv2.CAP_PROP_POS_MSEC) / 1000
            yield Frame(upright(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8), turn), time)
        if not count:
            raise MediaError("OpenCV decodes no frame of it")
        if declared > count + 1:
            notes.append(f"the header declares {declared} frames, {count} decode")

    try:
        if not reader.isOpened():
            raise MediaError("OpenCV cannot open it")
        reader.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
        yield DecodedMedia(frames(), float(reader.get(cv2.CAP_PROP_FPS)), f"opencv {cv2.__version__}", notes)
    finally:
        reader.release()


@contextmanager
def open_decord(path: Path) -> Iterator[DecodedMedia]:
    """Decode a video with decord, one thread; it turns it upright itself.

    decord gives as many frames as it counts packets, and fills up with the last picture: one more than decode in AVI files
    with packed B-frames (HMDB51's RATRACE clips).
    """
    import decord

    _refuse_mirrored(path, "decord")
    try:
        reader = decord.VideoReader(str(path.resolve()), num_threads=1)
        fps = float(reader.get_avg_fps())
    except (decord.DECORDError, RuntimeError) as error:
        raise MediaError(f"decord: {_first_line(error)}") from None

    def frames() -> Iterator[Frame]:
        for first in range(0, len(reader), _PIECE):
            chosen = list(range(first, min(first + _PIECE, len(reader))))
            try:
                images = reader.get_batch(chosen).asnumpy()
                times = reader.get_frame_timestamp(chosen)[:, 0]
            except (decord.DECORDError, RuntimeError) as error:
                raise MediaError(f"decord, at frame {first}: {_first_line(error)}") from None
            for image, time in zip(images, times.tolist(), strict=True):
                yield Frame(np.asarray(image, np.uint8), time)

    yield DecodedMedia(frames(), fps, f"decord {decord.__version__}")


@contextmanager
def open_torchcodec(path: Path) -> Iterator[DecodedMedia]:
    """Decode a video with torchcodec, on the CPU; it turns it upright itself."""
    from torchcodec import __version__ as version
    from torchcodec.decoders import VideoDecoder

    _refuse_mirrored(path, "torchcodec")
    try:
        reader = VideoDecoder(str(path.resolve()), dimension_order="NHWC", num_ffmpeg_threads=1)
    except (RuntimeError, ValueError) as error:
        words = _first_line(error)
        if "Could not load libtorchcodec" in words:
            words = "finds no FFmpeg libraries; install FFmpeg 4 to 8, or leave out --decoder torchcodec"
        raise MediaError(f"torchcodec: {words}") from None
    notes: list[str] = []

    def frames() -> Iterator[Frame]:
        for number in range(len(reader)):
            try:
                frame = reader.get_frame_at(number)
            except (RuntimeError, IndexError) as error:
                if number and "no more frames" in str(error):  # AVI with packed B-frames: UCF-101, HMDB51
                    notes.append(f"torchcodec reaches {number} of {len(reader)} frames")
                    return
                raise MediaError(f"torchcodec, at frame {number}: {_first_line(error)}") from None
            yield Frame(np.asarray(frame.data.numpy(), np.uint8), float(frame.pts_seconds))

    yield DecodedMedia(frames(), float(reader.metadata.average_fps or 0), f"torchcodec {version}", notes)


VIDEO_DECODERS: Mapping[str, Decoder] = MappingProxyType(
    {"av": open_video, "decord": open_decord, "opencv": open_opencv, "torchcodec": open_torchcodec}
)
"""Name as in `--decoder` -> decoder."""
_BY_SUFFIX: Mapping[str, Decoder] = MappingProxyType({
    ".frames": open_frames,  # a tar of pictures, one a frame: what becomes of a folder of JPEGs
    **dict.fromkeys(IMAGE_SUFFIXES, open_still),
})  # fmt: skip


def decoder_for(path: Path, video: Decoder | None = None, short_side: ShortSide = "native") -> Decoder:
    """The decoder of a file, by its suffix: stills and tars of them by OpenCV, everything else by `video`, or PyAV.

    PyAV hands out frames of `short_side` already: shrunk as their colors are converted, they take half the time.
    """
    default = partial(open_video, short_side=short_side) if video in (None, open_video) else video
    return _BY_SUFFIX.get(path.suffix.lower(), default)


def installed(name: str) -> bool:
    """Whether a decoder of `VIDEO_DECODERS` can be imported."""
    return find_spec({"opencv": "cv2"}.get(name, name)) is not None


def choose_decoder(name: str) -> Decoder:
    """The video decoder of this name. Raises MediaError when there is none, or when it is not installed."""
    if name not in VIDEO_DECODERS:
        raise MediaError(f"there is no decoder {name}; there are {', '.join(VIDEO_DECODERS)}")
    if not installed(name):
        raise MediaError(f"the decoder {name} is not installed; try: pip install {name}")
    return VIDEO_DECODERS[name]


def _look(path: Path) -> tuple[bool, int, int]:
    """Whether a file's video stands before its cover art; how it is turned, as an EXIF orientation; frames by the header."""
    with open_file(path) as file, open_container(file) as container:
        stream = video_stream(container)
        try:
            turn, _ = orientation(next(container.decode(stream)))
        except (av.error.FFmpegError, StopIteration):  # the decoder that was asked for says why
            turn = 1
        return stream.index == container.streams.video[0].index, turn, stream.frames


def _refuse_mirrored(path: Path, decoder: str) -> None:
    if _look(path)[1] in (2, 4, 5, 7):
        raise MediaError(f"its display matrix mirrors it, which {decoder} does not do; use --decoder av")


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
