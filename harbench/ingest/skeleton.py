"""NTU RGB+D `.skeleton` files: the text grammar of the authors' read_skeleton_file.m and txt2npy.py.

    frames
    for each frame:  bodies (0 happens)
      for each body:   bodyID clippedEdges handLeftConfidence handLeftState handRightConfidence handRightState
                       isRestricted leanX leanY trackingState
                       joints (25)
        for each joint:  x y z depthX depthY colorX colorY orientW orientX orientY orientZ trackingState

Published files end their lines with CRLF; readers take either. Body ids are 64-bit: through a float they collide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic_core import from_json

from harbench.errors import MediaError
from harbench.files import replacing

JOINTS = 25
JOINT_FIELDS = 12
BODY_FIELDS = 10
PARENTS = (
    1, 0, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 1, 7, 7, 11, 11,
)  # fmt: skip
"""0-based parent of each Kinect v2 joint (spine base, mid spine, neck, head, left arm, right arm, left leg, right leg,
spine shoulder, left hand tip and thumb, right hand tip and thumb), from the authors' show_skeleton code."""


@dataclass(frozen=True)
class Body:
    """One body of one frame."""

    body_id: int
    """The same person has the same id in every frame; the order of the bodies may change."""
    state: tuple[float, ...]
    """The nine numbers after the id, from clippedEdges to trackingState."""
    joints: npt.NDArray[np.float64]
    """[25, 12]: x y z in metres before the camera, depth x y and colour x y in pixels, quaternion, tracking state."""


Frames = tuple[tuple[Body, ...], ...]


def read_skeleton(path: Path) -> Frames:
    """All bodies of all frames of a `.skeleton` file.

    Raises MediaError with the line where the grammar is broken, the file ends early or goes on after the last frame.
    """
    try:
        content = path.read_bytes()
        text = content.decode("ascii")
    except OSError as error:
        raise MediaError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise MediaError(f"{path}: expected an NTU .skeleton text file, found bytes that are not ASCII") from None
    published = _read_at_once(content)
    if published is not None:
        return published
    lines = iter([(f"{path}, line {number}", line.strip()) for number, line in enumerate(text.splitlines(), 1)])
    frames = tuple(
        tuple(_read_body(lines, path) for _ in range(_count(lines, path, "bodies")))
        for _ in range(_count(lines, path, "frames"))
    )
    for where, line in lines:
        if line:
            raise _damaged(where, "nothing after the last frame", line[:40])
    return frames


def _read_at_once(content: bytes) -> Frames | None:
    """The frames of a file in the very form that is published, its numbers parsed as one JSON text.

    None for any other file (words like nan, more spaces, damage): those are read line by line, which says what is wrong.
    """
    text = content.strip().replace(b"\r\n", b"\n")
    if text.translate(None, b"0123456789.eE+- \n") or b"-0 " in text or b"-0\n" in text:  # JSON has no whole -0
        return None
    try:
        rows = from_json(b"[[" + text.replace(b"\n", b"],[").replace(b" ", b",") + b"]]")
        frames, joints = _structure(rows)
        numbers = np.fromiter(chain.from_iterable(joints), np.float64, len(joints) * JOINT_FIELDS)
    except (ValueError, IndexError, OverflowError):
        return None
    bodies = iter(numbers.reshape(-1, JOINTS, JOINT_FIELDS))
    return tuple(tuple(Body(row[0], tuple(map(float, row[1:])), next(bodies)) for row in heads) for heads in frames)


def _structure(rows: list[list[float]]) -> tuple[list[list[list[Any]]], list[list[float]]]:
    """The head lines of the bodies of each frame, and all joint lines. Raises ValueError where the grammar is broken."""
    frames: list[list[list[Any]]] = []
    joints: list[list[float]] = []
    at = 1
    for _ in range(_whole(rows[0])):
        number = _whole(rows[at])
        starts = range(at + 1, at + 1 + number * (JOINTS + 2), JOINTS + 2)
        at = starts.stop
        for start in starts:
            table = rows[start + 2 : start + 2 + JOINTS]
            if len(rows[start]) != BODY_FIELDS or type(rows[start][0]) is not int or rows[start + 1] != [JOINTS]:
                raise ValueError("a body")
            if len(table) != JOINTS or set(map(len, table)) != {JOINT_FIELDS}:
                raise ValueError("a joint")
            joints += table
        frames.append([rows[start] for start in starts])
    if at != len(rows):
        raise ValueError("more than its frames")
    return frames, joints


def _whole(row: list[float]) -> int:
    """The one count of a line."""
    if len(row) != 1 or type(row[0]) is not int or row[0] < 0:
        raise ValueError("a count")
    return row[0]


Lines = Iterator[tuple[str, str]]
"""Where a line stands, for messages, and the line."""


def _read_body(lines: Lines, path: Path) -> Body:
    where, fields = _fields(lines, path, "of a body", BODY_FIELDS)
    try:
        body_id, state = int(fields[0]), tuple(map(float, fields[1:]))
    except ValueError:
        raise _damaged(where, "a whole body id and nine numbers", " ".join(fields)) from None
    where, fields = _fields(lines, path, "of a body's joint count", 1)
    if fields != [f"{JOINTS}"]:
        raise _damaged(where, f"a body of {JOINTS} joints", fields[0])
    rows = np.empty((JOINTS, JOINT_FIELDS))
    for joint in range(JOINTS):
        where, fields = _fields(lines, path, "of a joint", JOINT_FIELDS)
        try:
            rows[joint] = np.array(fields, dtype=np.float64)
        except ValueError:
            raise _damaged(where, "numbers", " ".join(fields)) from None
    return Body(body_id, state, rows)


def _fields(lines: Lines, path: Path, what: str, number: int) -> tuple[str, list[str]]:
    where, line = next(lines, (f"{path}", "the end of the file"))
    fields = line.split()
    if len(fields) != number:
        raise _damaged(where, f"the {number} field{'s' * (number > 1)} {what}", repr(line[:60]))
    return where, fields


def _count(lines: Lines, path: Path, what: str) -> int:
    where, line = next(lines, (f"{path}", "the end of the file"))
    if not line.isdecimal() or len(line) > 9:  # Python refuses to read thousands of digits
        raise _damaged(where, f"the number of {what}", repr(line[:60]))
    return int(line)


def _damaged(where: str, expected: str, found: str) -> MediaError:
    return MediaError(f"{where}: expected {expected}, found {found}; fetch or unpack the file again")


def write_skeleton(path: Path, frames: Sequence[Sequence[Body]]) -> None:
    """Write a `.skeleton` file, lines ended with CRLF as published; whole or not at all."""
    with replacing(path, "wb") as handle:
        handle.write(format_skeleton(frames))


def format_skeleton(frames: Sequence[Sequence[Body]]) -> bytes:
    """The content of a `.skeleton` file; numbers with 9 significant digits, states as whole numbers."""
    row = " ".join(["%.9g"] * (JOINT_FIELDS - 1)) + " %d"
    table = "\r\n".join([row] * JOINTS)
    lines = [f"{len(frames)}"]
    for bodies in frames:
        lines.append(f"{len(bodies)}")
        for body in bodies:
            lines.append(" ".join((f"{body.body_id:d}", *(f"{value:.9g}" for value in body.state))))
            lines.append(f"{JOINTS}")
            lines.append(table % tuple(body.joints.ravel()))
    return ("\r\n".join(lines) + "\r\n").encode("ascii")
