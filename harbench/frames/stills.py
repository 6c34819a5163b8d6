"""Decoding of one picture: upright 8-bit RGB of a JPEG, PNG, WebP, TIFF, AVIF or what else OpenCV reads."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from harbench.errors import MediaError

Pixels = npt.NDArray[np.uint8]
_START, _END, _APP1 = 0xD8, 0xD9, 0xE1
_HEADERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""Markers of a JPEG's frame header (ITU-T T.81, table B.1); 0xC0 is baseline."""
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
"""Any marker but those inside a scan: stuffed zeros, fill bytes, restarts."""
_LOST_DATA = (
    "Corrupt JPEG data: premature end",
    "Corrupt JPEG data: bad Huffman",
    "Premature end",
    "Corrupt JPEG data: found",
)
"""Warnings of libjpeg after which pixels are made up. The others (stray bytes, unknown codes) change none."""
_ORIENTED = (b"Exif", b"eXIf", b"EXIF", b"exif", b"irot", b"imir")
"""What stands in a file that says how it is turned: JPEG and AVIF, PNG, WebP, old PNG, AVIF's own."""


@dataclass(frozen=True)
class Picture:
    """A decoded still."""

    image: Pixels
    """uint8 [H, W, 3], RGB, upright."""
    original: bytes | None
    """The file, without what stands behind the picture, where it is a plain JPEG that every reader shows like this."""
    note: str
    """What the decoder warns of; empty: nothing."""


def decode_still(data: bytes) -> Picture:
    """Decode the bytes of an image file. Raises MediaError where pixels are missing, or nothing can be decoded."""
    if data[:4] in (b"II*\0", b"MM\0*"):
        return Picture(_opencv(data), None, "")  # libtiff turns a TIFF, whatever the flags
    if not data.startswith(b"\xff\xd8"):
        return Picture(upright(_opencv(data), _orientation(data)), None, "")
    segments = list(_segments(data))
    if not segments or segments[-1][0] != _END:
        raise MediaError("cut short: the JPEG has no end marker after its last scan")
    data = data[: segments[-1][1]]  # a phone's motion photo has a video behind it
    image, note = _jpeg(data)
    orientation = _orientation(data) if any(marker == _APP1 for marker, _ in segments) else 1
    header = next(((marker, data[at + 7]) for marker, at in segments if marker in _HEADERS), None)
    plain = header == (0xC0, 3) and orientation == 1 and not note
    return Picture(upright(image, orientation), data if plain else None, note)


def upright(image: Pixels, orientation: int) -> Pixels:
    """A picture as it is to be shown, by its EXIF orientation from 1 to 8."""
    if orientation in (5, 6, 7, 8):  # 5 is mirrored along the main diagonal, 6 turned clockwise, 8 counterclockwise
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """The markers of a JPEG from its start to its end, each with the byte behind it.

    Segments with a length are stepped over, so that markers in them (the thumbnail in an EXIF block) do not count.
    """
    at = 2
    while found := _MARKER.search(data, at):
        marker, at = found[1][0], found.end()
        yield marker, at
        if marker == _END:
            return
        if marker not in (0x01, _START):
            at += int.from_bytes(data[at : at + 2], "big")


def _jpeg(data: bytes) -> tuple[Pixels, str]:
    """The pixels of a JPEG as they are stored, and what libjpeg warns of.

    simplejpeg gives the pixels that OpenCV gives, and says what OpenCV only prints. It reads fewer forms.
    """
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, colorspace="RGB"), np.uint8), ""
    except ValueError as error:
        words = str(error)
    if words.startswith(_LOST_DATA):
        raise MediaError(f"damaged: {words}")
    if words.startswith("tj"):
        return _opencv(data), ""
    return np.asarray(simplejpeg.decode_jpeg(data, colorspace="RGB", strict=False), np.uint8), words


def _opencv(data: bytes) -> Pixels:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise MediaError(f"OpenCV: {error.err}") from None
    if image is None:
        raise MediaError("OpenCV finds no image in it, or a damaged one")
    return np.asarray(image, np.uint8)


def _orientation(data: bytes) -> int:
    """How a file says that it is to be turned, from 1 to 8; 1 where it says nothing."""
    if not any(word in data for word in _ORIENTED):
        return 1
    from PIL import Image

    # Pillow's limit is for decoding; here it reads a few bytes, and phones take pictures of 200 megapixels.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(io.BytesIO(data)) as image:
            found: Any = image.getexif().get(0x0112)
    except (OSError, SyntaxError, ValueError, KeyError, struct.error) as error:
        raise MediaError(f"its orientation cannot be read: {error}") from None
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    return int(found) if found in range(1, 9) else 1
