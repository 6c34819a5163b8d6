"""NTU `.skeleton` files: the grammar, both ways."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harbench.datasets.skeleton_files import JOINTS, Body, Frames, format_skeleton, read_skeleton, write_skeleton
from harbench.errors import MediaError


def body(body_id: int, seed: int = 0) -> Body:
    joints = np.random.RandomState(seed).uniform(-3, 3, (JOINTS, 12))
    joints[:, 11] = 2
    return Body(body_id, (0, 0, 1, 0, 1, 0, 0.0266, -0.0941, 2), joints)


def by_hand(newline: str) -> bytes:
    """Two frames, the first without a body, written out by hand."""
    joint = "0.25 -1.5 3.125 300.5 200.25 1000 500 0.5 0.5 0.5 0.5 2"
    lines = ["2", "0", "1", "72057594037944738 0 1 1 1 1 0 0.02663 -0.0941 2", "25", *[joint] * 25]
    return (newline.join(lines) + newline).encode()


@pytest.mark.parametrize("newline", ["\r\n", "\n"])
def test_reads_what_is_published(tmp_path: Path, newline: str) -> None:
    path = tmp_path / "S001C001P001R001A001.skeleton"
    path.write_bytes(by_hand(newline))
    first, second = read_skeleton(path)
    assert first == ()
    assert second[0].body_id == 72057594037944738
    assert second[0].state == (0, 1, 1, 1, 1, 0, 0.02663, -0.0941, 2)
    assert second[0].joints.shape == (25, 12)
    assert second[0].joints[24].tolist() == [0.25, -1.5, 3.125, 300.5, 200.25, 1000, 500, 0.5, 0.5, 0.5, 0.5, 2]


def test_writes_crlf_and_one_number_a_field(tmp_path: Path) -> None:
    path = tmp_path / "a.skeleton"
    path.write_bytes(by_hand("\r\n"))
    write_skeleton(tmp_path / "b.skeleton", read_skeleton(path))
    assert (tmp_path / "b.skeleton").read_bytes() == path.read_bytes()


def test_body_ids_do_not_pass_through_a_float(tmp_path: Path) -> None:
    ids = [2**63 - 1, 2**63 - 2, 72057594037944738, 72057594037944739]
    assert len({float(i) for i in ids}) == 2, "the ids must collide as floats for this test to mean anything"
    write_skeleton(tmp_path / "a.skeleton", [[body(i, seed) for seed, i in enumerate(ids)]])
    assert [b.body_id for b in read_skeleton(tmp_path / "a.skeleton")[0]] == ids


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2**63 - 1), max_size=3), min_size=1, max_size=4))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, ids: list[list[int]]) -> None:
    path = tmp_path_factory.mktemp("skeleton") / "a.skeleton"
    frames = [[body(i, seed) for seed, i in enumerate(frame)] for frame in ids]
    write_skeleton(path, frames)
    again = read_skeleton(path)
    assert [[b.body_id for b in frame] for frame in again] == ids
    for old, new in zip(chain(*frames), chain(*again), strict=True):
        assert new.state == old.state
        np.testing.assert_allclose(new.joints, old.joints, rtol=1e-8)


@pytest.mark.parametrize("cut", [1, 3, 4, 5, 17, 29])
def test_a_truncated_file_is_an_error(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.skeleton"
    path.write_bytes(b"\n".join(by_hand("\n").split(b"\n")[:cut]) + b"\n")
    with pytest.raises(MediaError, match="end of the file"):
        read_skeleton(path)


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (0, "two", "line 1: expected the number of frames, found 'two'"),
        (1, "-1", "line 2: expected the number of bodies"),
        (3, "1 2 3", "line 4: expected the 10 fields of a body"),
        (3, "7.2e16 0 1 1 1 1 0 0 0 2", "line 4: expected a whole body id"),
        (4, "20", "line 5: expected a body of 25 joints, found '20'"),
        (9, "1 2 3 4 5 6 7 8 9 10 11", "line 10: expected the 12 fields of a joint"),
        (9, "1 2 3 4 5 6 7 8 9 10 11 x", "line 10: expected numbers"),
        (30, "7", "line 31: expected nothing after the last frame"),
    ],
)
def test_damage_is_told_with_its_line(tmp_path: Path, line: int, text: str, message: str) -> None:
    lines = by_hand("\n").decode().split("\n")
    lines[line] = text
    path = tmp_path / "a.skeleton"
    path.write_text("\n".join(lines))
    with pytest.raises(MediaError, match=message):
        read_skeleton(path)


def as_data(frames: Frames) -> list[list[tuple[int, str, str]]]:
    return [[(body.body_id, repr(body.state), repr(body.joints.tolist())) for body in bodies] for bodies in frames]


def plainly(content: bytes) -> list[list[tuple[int, str, str]]]:
    """The grammar a second time, with nothing to say of what is wrong: any exception is a refusal."""
    lines = [line.split() for line in content.decode("ascii").splitlines()][::-1]

    def one() -> int:
        (field,) = lines.pop()
        return int(field) if field.isdecimal() and len(field) < 10 else -1

    def of_body() -> tuple[int, str, str]:
        body_id, *state = lines.pop()
        assert len(state) == 9
        assert lines.pop() == ["25"]
        joints = [[float(field) for field in lines.pop()] for _ in range(25)]
        assert {len(joint) for joint in joints} == {12}
        return int(body_id), repr(tuple(float(field) for field in state)), repr(joints)

    def times(number: int) -> range:
        assert number >= 0
        return range(number)

    frames = [[of_body() for _ in times(one())] for _ in times(one())]
    assert not any(lines)
    return frames


def test_any_white_space_separates(tmp_path: Path) -> None:
    write_skeleton(tmp_path / "a.skeleton", [[], [body(1), body(2, 1)], [], [body(2, 3)]])
    content = (tmp_path / "a.skeleton").read_bytes()
    (tmp_path / "b.skeleton").write_bytes(content.replace(b" ", b"  ").replace(b"\r\n", b" \n"))
    read = as_data(read_skeleton(tmp_path / "a.skeleton"))
    assert read == as_data(read_skeleton(tmp_path / "b.skeleton")) == plainly(content)


def test_numbers_that_are_words_and_minus_zero(tmp_path: Path) -> None:
    path = tmp_path / "a.skeleton"
    path.write_bytes(by_hand("\r\n").replace(b"0.25 -1.5 3.125", b"NaN -0 inf", 1))
    x, y, z = read_skeleton(path)[1][0].joints[0, :3]
    assert np.isnan(x)
    assert np.signbit(y)
    assert z == np.inf


def mutated(rng: np.random.Generator, content: bytes) -> bytes:
    """A file with bytes changed, cut out, doubled or cut off."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        start = int(rng.integers(0, len(data)))
        end = start + int(rng.choice([1, 1, 1, 2, 40, 4000]))
        match rng.integers(0, 5):
            case 0:
                data[start] = int(rng.choice(list(b"0123456789 .-e\r\n\x00x\xff")))
            case 1:
                del data[start:end]
            case 2:
                data[start:start] = data[start:end]
            case 3:
                data[start:start] = b"9" * int(rng.choice([1, 5000]))
            case _:
                del data[max(1, start) :]
    return bytes(data)


def check_mutations(folder: Path, number: int) -> tuple[int, int]:
    """How many mutated files are read, as another reader reads them, and how many refused by both, with where and what."""
    rng, read = np.random.default_rng(7), 0
    write_skeleton(folder / "a.skeleton", [[body(1), body(2, 1)], [], [body(2, 3)]])
    whole = (folder / "a.skeleton").read_bytes()
    path = folder / "b.skeleton"
    for _ in range(number):
        content = mutated(rng, whole)
        path.write_bytes(content)
        try:
            frames = read_skeleton(path)
        except MediaError as error:
            assert "expected" in str(error)
            with pytest.raises((ValueError, AssertionError, IndexError)):
                plainly(content)
        else:
            assert as_data(frames) == plainly(content)
            read += 1
    return read, number - read


def test_mutated_files_are_read_right_or_refused(tmp_path: Path) -> None:
    read, refused = check_mutations(tmp_path, 1500)
    assert min(read, refused) > 100


def test_other_files_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.skeleton"
    with pytest.raises(MediaError, match="No such file"):
        read_skeleton(path)
    path.write_bytes(b"\x89PNG\r\n\xff")
    with pytest.raises(MediaError, match="not ASCII"):
        read_skeleton(path)


def test_a_file_without_frames_is_just_a_zero() -> None:
    assert format_skeleton([]) == b"0\r\n"
