"""Which axis of a pose array is what."""

from __future__ import annotations

import zipfile
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harbench import api
from harbench.errors import DatasetError, MediaError
from harbench.files import read_npy
from harbench.frames.cache import open_cache
from harbench.prepare.own import OwnOptions
from harbench.prepare.pose_axes import npz_shapes, read_axes

LENGTHS = {"T": 40, "M": 2, "V": 25, "C": 3}


def shape(order: str, **lengths: int) -> tuple[int, ...]:
    return tuple({**LENGTHS, **lengths}[axis] for axis in order)


@pytest.mark.parametrize(
    ("order", "lengths", "others"),
    [
        ("TMVC", {}, {}), ("TVC", {}, {}), ("CTV", {}, {}), ("MTVC", {"M": 1}, {}), ("CTVM", {"M": 1}, {}),
        ("MTVC", {"C": 2}, {"M": 1}), ("CTVM", {"C": 3}, {"M": 1}), ("TMVC", {"T": 2}, {}), ("TMVC", {"T": 8}, {}),
    ],
)  # fmt: skip
def test_the_lengths_decide(order: str, lengths: dict[str, int], others: dict[str, int]) -> None:
    shapes = {"a/b.npy": shape(order, **lengths), "a/c.npy": shape(order, **{**lengths, **others, "T": 33})}
    found = read_axes(shapes)
    assert (found.orders, found.shape) == ((order,), ({**LENGTHS, **lengths}["C"], 25))
    names = {"T": "frames", "M": "bodies", "V": "joints", "C": "channels"}
    assert ", ".join(f"{axis} {names[axis]}" for axis in order) in found.note
    array = np.arange(np.prod(shapes["a/b.npy"])).reshape(shapes["a/b.npy"])
    kept = found.put(array)
    assert kept.shape == shape("TMVC" if "M" in order else "TVC", **lengths)
    at = dict.fromkeys("TMVC", 1) | {"M": 0}
    assert kept[tuple(at[a] for a in ("TMVC" if "M" in order else "TVC"))] == array[tuple(at[a] for a in order)]


@pytest.mark.parametrize(
    "shapes", [[(3, 40, 25, 2)], [(2, 2, 17, 3)], [(40, 25, 7)], [(9, 9)], [(40, 25, 3), (40, 17, 3)]]
)
def test_what_they_do_not_decide_is_refused_with_the_option(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(DatasetError, match=r"--pose-axes [A-Z]{3,4}|same joints") as told:
        read_axes({f"{n}.npy": each for n, each in enumerate(shapes)})
    assert str(list(shapes[0])) in str(told.value)


@given(st.permutations("TMVC"), st.integers(1, 400), st.integers(1, 9), st.integers(1, 40), st.integers(1, 5))
def test_what_is_asked_for_is_taken(order: list[str], t: int, m: int, v: int, c: int) -> None:
    found = read_axes({"x.npy": shape("".join(order), T=t, M=m, V=v, C=c)}, "".join(order))
    assert found.shape == (c, v) and found.put(np.zeros(shape("".join(order), T=t, M=m, V=v, C=c))).shape == (
        t,
        m,
        v,
        c,
    )


@given(st.integers(1, 400), st.integers(1, 9), st.integers(5, 60), st.integers(2, 4))
def test_a_reading_is_the_only_one(t: int, m: int, v: int, c: int) -> None:
    assume(t >= m)  # a pose of fewer frames than bodies is no video
    lengths = {"T": t, "M": m, "V": v, "C": c}
    for order in ("TMVC", "MTVC", "CTVM"):
        try:
            found = read_axes({"x.npy": shape(order, **lengths)})
        except DatasetError:
            continue
        assert found.put(np.zeros(shape(order, **lengths))).shape == shape("TMVC", **lengths), order


@pytest.mark.parametrize("asked", ["TMV", "TTVC", "NTVC", *map("".join, permutations("TV"))])
def test_axes_that_are_none(asked: str) -> None:
    with pytest.raises(DatasetError, match="each once"):
        read_axes({"x.npy": (40, 2, 25, 3)}, asked)


@pytest.mark.parametrize("packed", [False, True])
def test_arrays_are_kept_as_frames_bodies_joints_channels(tmp_path: Path, packed: bool) -> None:
    rng, arrays = np.random.default_rng(0), {}
    rows = ["path,label,split"]
    for label in ("walk", "run"):
        for subset in ("train", "test"):
            arrays[f"{label}_{subset}"] = rng.random((3, 30, 25, 2), np.float32)
            rows.append(f"{label}_{subset}.npy,{label},{subset}")
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "samples.csv").write_text("\n".join(rows))
    if packed:
        np.savez(folder / "poses.npz", **arrays)
    else:
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
    with pytest.raises(DatasetError, match="--pose-axes MTVC"):
        api.prepare(str(folder), own=OwnOptions("mine"), home=tmp_path / "home", workers=1)
    options = OwnOptions("mine", pose_axes="CTVM")
    report = api.prepare(str(folder), own=options, home=tmp_path / "home", workers=1)
    assert [note for note in report.notes if "C channels, T frames, V joints, M bodies" in note]
    cache = open_cache(Path(report.cache))
    for name, array in arrays.items():
        np.testing.assert_array_equal(cache.read(f"{name}.npy", np.arange(30)), array.transpose(1, 3, 2, 0))
    again = api.prepare(str(folder), own=options, home=tmp_path / "home", workers=1)
    assert (again.reused, again.cached) == (4, 0)


def test_the_pose_that_was_read_as_40_bodies_is_not(test_data: Path) -> None:
    found = np.load(test_data / "odd/ctvm_walk_p0.npy").shape
    with pytest.raises(DatasetError, match="fit MTVC and CTVM"):
        read_axes({"walk/p0.npy": found})
    assert read_axes({"walk/p0.npy": found}, "CTVM").put(np.zeros(found)).shape == (40, 2, 25, 3)


@pytest.mark.parametrize(
    "shape", ["(9, 17, 2), ", "(99999999999, 99999999999, 2), ", "(-9, 17, 2), ", "(0, 17, 2), ", "((("]
)
def test_headers_that_say_what_is_not_there(tmp_path: Path, shape: str) -> None:
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00v\x00" + head.encode() + bytes(99))
    for mapped in (False, True):
        try:
            assert 0 in read_npy(path, mapped=mapped).shape
        except MediaError as told:
            assert "not an array file" in str(told)
    with zipfile.ZipFile(tmp_path / "poses.npz", "w") as archive:
        archive.write(path, "a.npy")
    try:
        assert set(npz_shapes(tmp_path / "poses.npz")) == {"a.npy"}
    except MediaError as told:
        assert "found damage" in str(told)
