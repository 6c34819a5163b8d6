"""x, y, z of `.skeleton` files at once: the doubles that `float` makes, or a refusal; never another number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_skeleton import body, by_hand, mutated

from harbench.datasets.skeleton_files import format_skeleton, read_skeleton
from harbench.errors import MediaError
from harbench.frames.positions import Positions, _at_once, positions_of, read_positions

FRAMES = [[body(2**63 - 1), body(2, 1)], [], [body(2**63 - 2, 3)], [body(2, 4), body(7, 5), body(2**63 - 1, 6)], []]


def same(found: Positions, other: Positions) -> bool:
    return found.body_ids == other.body_ids and found.frames == other.frames and all(
        a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in ((found.frame, other.frame), (found.xyz, other.xyz))
    )  # fmt: skip


def plain_positions(content: bytes) -> list[tuple[int, int, str]]:
    """(frame, id, x y z) of every body, the other fields unread; any exception is a refusal."""
    lines = [line.split() for line in content.decode("ascii").splitlines()][::-1]

    def one() -> int:
        (field,) = lines.pop()
        assert field.isdecimal() and len(field) < 10
        return int(field)

    bodies = []
    for frame in range(one()):
        for _ in range(one()):
            head = lines.pop()
            assert len(head) == 10 and lines.pop() == ["25"]
            joints = [lines.pop() for _ in range(25)]
            assert {len(joint) for joint in joints} == {12}
            bodies.append((frame, int(head[0]), repr([[float(field) for field in j[:3]] for j in joints])))
    assert not any(lines)
    return bodies


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
def test_a_published_file_is_read_at_once(newline: bytes, tmp_path: Path) -> None:
    content = format_skeleton(FRAMES).replace(b"\r\n", newline)
    (tmp_path / "a.skeleton").write_bytes(content)
    found = _at_once(content)
    assert same(found, positions_of(read_skeleton(tmp_path / "a.skeleton")))
    assert (found.frames, found.frame.tolist()) == (5, [0, 0, 2, 3, 3, 3])
    assert found.body_ids == (2**63 - 1, 2, 2**63 - 2, 2, 7, 2**63 - 1)


@pytest.mark.parametrize("newline", ["\r\n", "\n"])
def test_by_hand(tmp_path: Path, newline: str) -> None:
    (tmp_path / "a.skeleton").write_bytes(by_hand(newline))
    found = read_positions(tmp_path / "a.skeleton")
    assert (found.frames, found.frame.tolist(), found.body_ids) == (2, [1], (72057594037944738,))
    assert found.xyz.tolist() == [[[0.25, -1.5, 3.125]] * 25]


def test_a_file_without_bodies(tmp_path: Path) -> None:
    for content in (b"0\r\n", b"2\n0\n0\n", b"1\r\n0"):
        (tmp_path / "a.skeleton").write_bytes(content)
        found = read_positions(tmp_path / "a.skeleton")
        assert (found.frames, found.xyz.shape) == (int(content[:1]), (0, 25, 3))


NUMBERS = st.one_of(
    st.floats(-10, 10).map(lambda x: f"{x:.7g}"),
    st.floats(-10, 10).map(lambda x: f"{x:.9f}"),
    st.floats(-0.01, 0.01).map(lambda x: f"{x:.7g}"),
    st.floats().map(repr),
    st.integers(-(10**20), 10**20).map(str),
    st.from_regex(r"-?[0-9]{1,3}\.[0-9]{1,18}", fullmatch=True),
    st.sampled_from(["-0", "-0.0", "1.2e-05", "-2.980232E-08", "9.99999999", ".5", "5.", "+1.5", "0.00000001", "nan"]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(NUMBERS, min_size=75, max_size=75), st.sampled_from([b"\n", b"\r\n"]))
def test_every_number_is_the_double_that_float_makes(texts: list[str], newline: bytes) -> None:
    lines = ["1", "1", "72057594037944738 0 1 1 1 1 0 0.02663 -0.0941 2", "25"]
    lines += [" ".join((*texts[3 * j : 3 * j + 3], "0 " * 8 + "2")) for j in range(25)]
    found = _at_once(newline.join([line.encode() for line in lines]) + newline)
    assert found.xyz.tobytes() == np.array([float(text) for text in texts]).tobytes()


@pytest.mark.parametrize(
    "content",
    [
        by_hand("\n").replace(b" 0.5 2", b"  0.5 2", 1),
        by_hand("\n").replace(b" 0.5 2", b" 2", 1),
        by_hand("\n").replace(b" 0.5 2", b"\t0.5 2", 1),
        by_hand("\n").replace(b" 2\n0.25", b" \n0.25", 1),
        by_hand("\r\n").replace(b" 2\r\n0.25", b" \r\n0.25", 1),
        by_hand("\r\n").replace(b"\r\n0.25", b"\n0.25", 1),
        by_hand("\n").replace(b"25\n", b"24\n", 1),
        by_hand("\n").replace(b"0.25", b"0.2x", 1),
        by_hand("\n").replace(b"0.25", b"0.2\xe9", 1),
        by_hand("\n") + b"7\n",
        by_hand("\n")[:-1],
        b"999999999\n" + by_hand("\n")[2:],
        b"2\n0\n999999999\n" + by_hand("\n")[6:],
        b"9" * 5000 + by_hand("\n")[1:],
        b"",
        b"2",
    ],
)  # fmt: skip
def test_anything_else_is_left_to_the_other_reader(content: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        _at_once(content)


def check_positions(folder: Path, number: int) -> tuple[int, int]:
    """How many mutated files are read, as a plain reader reads them, and how many refused."""
    rng, read = np.random.default_rng(11), 0
    whole = format_skeleton(FRAMES[:3])
    path = folder / "b.skeleton"
    for turn in range(number):
        content = mutated(rng, whole.replace(b"\r\n", b"\n") if turn % 2 else whole)
        path.write_bytes(content)
        try:
            found = read_positions(path)
        except MediaError:
            with pytest.raises(MediaError):
                read_skeleton(path)
            continue
        columns = found.frame.tolist(), found.body_ids, map(repr, found.xyz.tolist())
        assert list(zip(*columns, strict=True)) == plain_positions(content)
        read += 1
    return read, number - read


def test_mutated_files_are_read_right_or_refused(tmp_path: Path) -> None:
    assert min(check_positions(tmp_path, 800)) > 100
