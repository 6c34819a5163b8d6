"""Opening containers with PyAV: any tag, no cover art, and how a frame is to be turned."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.stream import Disposition

from harbench.errors import MediaError


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
        raise MediaError(ffmpeg_words(error)) from None


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


def ffmpeg_words(error: av.error.FFmpegError) -> str:
    """FFmpeg's message, with the line it logged where that says more."""
    log: Any = error.log  # (level, part of FFmpeg, line); PyAV's own annotation says otherwise
    return f"{error.strerror} ({log_line(log)})" if log else str(error.strerror)


def log_line(log: tuple[int, str, str]) -> str:
    """A line of FFmpeg's log."""
    _, part, line = log
    return f"{part}: {line.strip()}"
