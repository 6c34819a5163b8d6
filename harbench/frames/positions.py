"""Where the joints of an NTU `.skeleton` file are: x, y, z of every body, which is all that a pose takes of it.

A file in the form that is published is read at once, by arithmetic on its bytes: between spaces and line ends everything
has its place, and nearly every coordinate is a sign, a digit, a point and up to eight digits. So its mantissa and the power
of ten that it is divided by are exact as doubles, and their quotient is rounded once, as by `float`. Of the other fields
only their number is looked at. Any other file goes line by line through `read_skeleton`, which says what is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harbench.datasets.skeleton_files import BODY_FIELDS, JOINT_FIELDS, JOINTS, Frames, read_skeleton
from harbench.errors import MediaError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

_SPACE, _LF, _CR, _MINUS, _POINT, _ZERO = b" \n\r-.0"
_TENS = 10.0 ** np.arange(9)


@dataclass(frozen=True)
class Positions:
    """All bodies of all frames, in the order of the file."""

    frames: int
    frame: Ints
    """[N]: the frame of each body."""
    body_ids: tuple[int, ...]
    """N of them; 64-bit."""
    xyz: Floats
    """[N, 25, 3] meters before the camera."""


def read_positions(path: Path) -> Positions:
    """x, y, z of a `.skeleton` file, the doubles that `float` makes of its text. Raises MediaError as `read_skeleton`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MediaError(f"cannot read {path}: {error.strerror}") from None
    try:
        return _at_once(content)
    except (ValueError, IndexError):
        return positions_of(read_skeleton(path))


def positions_of(frames: Frames) -> Positions:
    """The positions in a file that was read as a whole."""
    bodies = list(chain.from_iterable(frames))
    xyz = np.stack([body.joints[:, :3] for body in bodies]) if bodies else np.empty((0, JOINTS, 3))
    frame = np.repeat(np.arange(len(frames)), np.array([len(each) for each in frames], np.int64))
    return Positions(len(frames), frame, tuple(body.body_id for body in bodies), xyz)


def _at_once(content: bytes) -> Positions:
    """Raises ValueError or IndexError where the file is in any other form than the published one."""
    chars = np.frombuffer(content, np.uint8)
    white = chars <= _SPACE
    at = np.flatnonzero(white)
    end = 2 if chars[at[0]] == _CR else 1  # white space that ends a line; within one, a space between two fields
    joint = JOINT_FIELDS - 1 + end
    body = BODY_FIELDS - 1 + end + end + JOINTS * joint

    def whole(place: int) -> int:
        """The number before a white space."""
        text = content[at.item(place - 1) + 1 if place else 0 : at.item(place)]
        if not text.isdigit():
            raise ValueError("a whole number")
        return int(text)

    counts: list[int] = []
    bodies: list[int] = []
    singles, place = [0], end  # lines of one number: the frames, then the bodies of each
    for _ in range(whole(0)):
        counts.append(whole(place))
        singles.append(place)
        following = place + end + counts[-1] * body
        if following > len(at):
            raise ValueError("fewer bodies")
        bodies += range(place + end, following, body)
        place = following
    of_body = np.array(bodies, np.int64)[:, None]
    ends = of_body + np.array([BODY_FIELDS - 1, *range(BODY_FIELDS - 1 + end, body, joint)])
    _check(content, white, at, np.concatenate([singles, ends.ravel()]), end)
    counted = at[ends[:, 1]]
    if not (chars[counted[:, None] + [-3, -2, -1]] == [_LF, *b"25"]).all():
        raise ValueError("joints")
    ended = (
        of_body[:, :, None] + (BODY_FIELDS - 1 + 2 * end + joint * np.arange(JOINTS)[:, None] + np.arange(3))
    ).ravel()
    xyz = _numbers(content, chars, at.take(ended - 1) + 1, at.take(ended))
    frame = np.repeat(np.arange(len(counts)), np.array(counts, np.int64))
    return Positions(len(counts), frame, tuple(map(whole, bodies)), xyz.reshape(-1, JOINTS, 3))


def _check(content: bytes, white: npt.NDArray[np.bool_], at: Ints, ends: Ints, end: int) -> None:
    """Raises ValueError unless lines end at `ends` alone, and everywhere else one space stands between two fields."""
    chars = np.frombuffer(content, np.uint8)
    last = at.take(ends + end - 1)
    good = (
        content.isascii()
        and at[-1] == len(content) - 1
        and len(at) == np.count_nonzero(chars == _SPACE) + len(ends) * end
        and (chars.take(last) == _LF).all()
        and (end == 1 or (chars.take(last - 1) == _CR).all())
        and np.count_nonzero(white[1:] & white[:-1]) == (end - 1) * len(ends)
    )
    if not good:
        raise ValueError("white space")


def _numbers(content: bytes, chars: Bytes, start: Ints, end: Ints) -> Floats:
    """The numbers that stand at [start, end)."""
    minus = chars.take(start) == _MINUS
    digit = start + minus
    places = end - digit - 2
    first = chars.take(digit) - _ZERO
    word = np.ndarray(len(chars) - 7, "<u8", chars, strides=(1,))[digit + 2]
    # Eight characters in a word, the last one in its highest byte; what stood before them becomes zeros.
    word -= 0x3030303030303030
    word <<= (8 * (8 - places)).view(np.uint64)
    usual = (first <= 9) & (chars.take(digit + 1) == _POINT) & (places > 0) & (places <= 8)
    usual &= ((word + 0x7676767676767676) | word) & 0x8080808080808080 == 0  # bytes of 0 to 9
    # Two digits become a number, then four, then eight.
    word = (word * 10 + (word >> 8)) & 0x00FF00FF00FF00FF
    word = (word * 100 + (word >> 16)) & 0x0000FFFF0000FFFF
    word = (word * 10000 + (word >> 32)) & 0xFFFFFFFF
    scale = _TENS.take(places, mode="clip")  # of the unusual ones any
    numbers: Floats = (first * scale + word.view(np.int64)) / scale
    numbers *= 1.0 - 2.0 * minus
    for other in np.flatnonzero(~usual):
        numbers[other] = float(content[start[other] : end[other]])
    return numbers
