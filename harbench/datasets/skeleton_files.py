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
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harbench.errors import MediaError
from harbench.files import replacing

JOINTS = 25
JOINT_FIELDS = 12
BODY_FIELDS = 10


@dataclass(frozen=True)
class Body:
    """One body of one frame."""

    body_id: int
    """The same person has the same id in every frame; the order of the bodies may change."""
    state: tuple[float, ...]
    """The nine numbers after the id, from clippedEdges to trackingState."""
    joints: npt.NDArray[np.float64]
    """[25, 12]: x y z in meters before the camera, depth x y and color x y in pixels, quaternion, tracking state."""


Frames = tuple[tuple[Body, ...], ...]


def read_skeleton(path: Path) -> Frames:
    """All bodies of all frames of a `.skeleton` file.

    Raises MediaError with the line where the grammar is broken, the file ends early or goes on after the last frame.
    """
    try:
        text = path.read_bytes().decode("ascii")
    except OSError as error:
        raise MediaError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise MediaError(f"{path}: expected an NTU .skeleton text file, found bytes that are not ASCII") from None
    lines = enumerate(text.splitlines(), 1)
    frames = tuple(
        tuple(_read_body(lines, path) for _ in range(_count(lines, path, "bodies")))
        for _ in range(_count(lines, path, "frames"))
    )
    for number, line in lines:
        if line.strip():
            raise _damaged(path, number, "nothing after the last frame", repr(line[:40]))
    return frames


Lines = Iterator[tuple[int, str]]
"""The number of a line, for messages, and the line."""


def _read_body(lines: Lines, path: Path) -> Body:
    number, fields = _fields(lines, path, "of a body", BODY_FIELDS)
    try:
        body_id, state = int(fields[0]), tuple(map(float, fields[1:]))
    except ValueError:
        raise _damaged(path, number, "a whole body id and nine numbers", repr(" ".join(fields)[:60])) from None
    number, fields = _fields(lines, path, "of a body's joint count", 1)
    if fields != [f"{JOINTS}"]:
        raise _damaged(path, number, f"a body of {JOINTS} joints", repr(fields[0][:60]))
    rows = []
    for _ in range(JOINTS):
        number, fields = _fields(lines, path, "of a joint", JOINT_FIELDS)
        try:
            rows.append(list(map(float, fields)))
        except ValueError:
            raise _damaged(path, number, "numbers", repr(" ".join(fields)[:60])) from None
    return Body(body_id, state, np.array(rows))


def _fields(lines: Lines, path: Path, what: str, expected: int) -> tuple[int, list[str]]:
    number, line = next(lines, (0, ""))
    fields = line.split()
    if len(fields) != expected:
        raise _damaged(path, number, f"the {expected} field{'s' * (expected > 1)} {what}", repr(line[:60]))
    return number, fields


def _count(lines: Lines, path: Path, what: str) -> int:
    number, line = next(lines, (0, ""))
    line = line.strip()
    if not line.isdecimal() or len(line) > 9:  # Python refuses to read thousands of digits
        raise _damaged(path, number, f"the number of {what}", repr(line[:60]))
    return int(line)


def _damaged(path: Path, number: int, expected: str, found: str) -> MediaError:
    """`number` is the line, or 0 where the file has ended."""
    where, found = (f"{path}, line {number}", found) if number else (f"{path}", "the end of the file")
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
