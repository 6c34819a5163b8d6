"""Foreign pickles: what is plain data comes back equal, and nothing that a file names is ever run."""

from __future__ import annotations

import io
import pickle
import resource
import subprocess
import sys
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import damaged
from hypothesis import given, settings
from hypothesis import strategies as st

from harbench.errors import PickleError
from harbench.pickles import Reader, Stub, Writer, read_pickle

PROTOCOLS = range(6)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
        | st.tuples(inner, inner)
        | st.sets(st.integers())
        | st.frozensets(st.text(), max_size=3)
    ),
    max_leaves=12,
)


def read(tmp_path: Path, content: bytes) -> Any:
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    return read_pickle(path)


def passed_on(content: bytes) -> Any:
    """What the parent gets, without the processes."""
    sent = io.BytesIO()
    Writer(sent, 5).dump(Reader(io.BytesIO(content)).load())
    return Reader(io.BytesIO(sent.getvalue())).load()


@settings(max_examples=150, deadline=None)
@given(plain, st.sampled_from(PROTOCOLS))
def test_plain_data_comes_back(value: object, protocol: int) -> None:
    again = passed_on(pickle.dumps(value, protocol))
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([[1, -2]], ">i8"),
        np.zeros((0, 17, 3), np.float16),
        np.array(5, np.int16),
        np.array(["walk", "läuft"]),
        np.array([b"a", b"bc"]),
        np.array([True, False]),
        np.arange(10)[::2],
    ],
    ids=lambda array: f"{array.dtype.str}{list(array.shape)}",
)
def test_arrays_come_back(array: np.ndarray[Any, Any], protocol: int) -> None:
    twice = passed_on(pickle.dumps([array, array, {"again": array}], protocol))
    assert twice[0] is twice[1] is twice[2]["again"]
    np.testing.assert_array_equal(twice[0], array)
    assert twice[0].dtype.newbyteorder("=") == array.dtype.newbyteorder("=")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_scalars_objects_and_ordered_dicts(protocol: int) -> None:
    objects = np.empty(2, object)
    objects[:] = [[1, 2], "x"]
    value = [np.float32(0.25), np.int64(-7), objects, OrderedDict(b=1, a=np.bool_(True)), bytearray(b"\x00\xff")]
    number, integer, array, ordered, buffer = passed_on(pickle.dumps(value, protocol))
    assert (number, integer, buffer) == (0.25, -7, bytearray(b"\x00\xff"))
    assert (number.dtype, integer.dtype) == (np.float32, np.int64)
    assert array.tolist() == [[1, 2], "x"]
    assert list(ordered.items()) == [("b", 1), ("a", True)]
    assert isinstance(ordered, OrderedDict)
    assert passed_on(pickle.dumps(defaultdict(list, a=[1]), protocol)) == {"a": [1]}


def test_a_python_2_pickle(tmp_path: Path) -> None:
    """Written byte for byte as Python 2's protocol 2 does: names and array bytes are byte strings."""
    content = (
        b"\x80\x02}q\x01U\x03keyq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85q\x05U\x01b\x87"
        b"q\x06Rq\x07(K\x01K\x02\x85q\x08cnumpy\ndtype\nq\tU\x02f4K\x00K\x01\x87q\nRq\x0b(K\x03U\x01<NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89U\x08\x00\x00\x80?\x00\x00 \xc1tbs."
    )
    assert {key: value.tolist() for key, value in read(tmp_path, content).items()} == {"key": [1.0, -10.0]}
    old = pickle.loads(content, encoding="latin1")
    assert old["key"].tolist() == [1.0, -10.0], "the bytes above must be a true pickle"


# ------------------------------------------------------------------------------------------------------------- hostile
def hostile_reduce(function: str, argument: str) -> bytes:
    module, name = function.rsplit(".", 1)
    return f"c{module}\n{name}\n(V{argument}\ntR.".encode()


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        ("os.system", "touch {}"),
        ("posix.system", "touch {}"),
        ("builtins.eval", "open({!r}, 'w')"),
        ("builtins.exec", "open({!r}, 'w')"),
        ("__builtin__.eval", "open({!r}, 'w')"),
        ("subprocess.getoutput", "touch {}"),
        ("pathlib.Path.touch", "{}"),
    ],
)
def test_a_named_function_is_a_word(tmp_path: Path, function: str, argument: str) -> None:
    flag = tmp_path / "flag"
    stub = read(tmp_path, hostile_reduce(function, argument.format(str(flag))))
    assert isinstance(stub, Stub)
    assert (stub.name, stub.called, len(stub.args)) == (function, True, 1)
    assert not flag.exists()


def test_nothing_is_imported(tmp_path: Path) -> None:
    (tmp_path / "evil_module.py").write_text(f"open({str(tmp_path / 'flag')!r}, 'w')")
    (tmp_path / "a.pkl").write_bytes(b"cevil_module\nThing\n)\x81}\x94\x8c\x01aK\x01sb.")
    script = (
        "import sys; from pathlib import Path; from harbench.pickles import read_pickle\n"
        f"stub = read_pickle(Path({str(tmp_path / 'a.pkl')!r})); print(stub.name, stub.state, 'evil_module' in sys.modules,"
        " 'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(tmp_path)}
    )
    assert done.stdout.strip() == "evil_module.Thing {'a': 1} False False"
    assert not (tmp_path / "flag").exists()


def test_getattr_chains_and_states_stay_words(tmp_path: Path) -> None:
    whole = b"cbuiltins\ngetattr\n(cbuiltins\n__import__\nV__call__\ntR(Vos\ntR."
    with pytest.raises(PickleError, match="not callable"):
        read(tmp_path, whole)
    stub = read(tmp_path, b"cfunctools\npartial\n(cos\nsystem\ntRV__setstate__\nb.")
    assert (stub.name, stub.args[0].name, stub.state) == ("functools.partial", "os.system", "__setstate__")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".",
        b"(.",
        b"}",
        b"hello world",
        b"]r\xff\xff\xff\xff",  # a memo place of four thousand million
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # bytes of eight exabytes
        b"\x80\x05\x95\xff\xff\xff\xff\xff\xff\xff\x7fN",
        b"Pname\n.",
        b"NQ.",
        b"\x82\x01.",
        b"\x97.",
        b"g5\n.",
        b"I" + b"9" * 5000 + b"\n.",
        b"}]K\x01s.",
    ],
)
def test_damage_and_programs_are_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(PickleError, match=r"a\.pkl: "):
        read(tmp_path, content)


@pytest.mark.parametrize("shape", ["I3\n", "I-1\n", "I1\nI1000000000000000000000\n", "Vx\n"])
def test_a_shape_that_does_not_fit_is_refused(tmp_path: Path, shape: str) -> None:
    dtype = "cnumpy\ndtype\n(Vf4\nI0\nI1\ntR(I3\nV<\nNNNI-1\nI-1\nI0\ntb"
    content = (
        f"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntVb\ntR(I1\n({shape}t{dtype}I00\nVaaaabbbb\ntb."
    )
    with pytest.raises(PickleError):
        read(tmp_path, content.encode())
    assert read(tmp_path, content.replace(f"({shape}t", "(I2\nt").encode()).shape == (2,)


@pytest.mark.parametrize("content", [b"]" * 200_000 + b"a" * 199_999 + b".", b"}" + b")" + b"\x85" * 200_000 + b"Ns."])
def test_what_is_nested_too_deep_is_refused(tmp_path: Path, content: bytes) -> None:
    """Lists, which cannot be written again, and a key, whose hash ends the child."""
    with pytest.raises(PickleError, match="nested too deep"):
        read(tmp_path, content)


def test_a_thousand_million_laughs_stay_small(tmp_path: Path) -> None:
    """Each list holds the one before ten times: references, not copies."""
    stream = io.BytesIO()
    stream.write(b"]\x940")
    for level in range(30):
        stream.write(b"](" + b"j" + level.to_bytes(4, "little") + b"2" * 9 + b"e\x940")
    stream.write(b"h\x1e.")
    assert len(read(tmp_path, stream.getvalue())) == 10


def test_an_array_of_a_number_of_bytes_is_refused(tmp_path: Path) -> None:
    """A memo place that is damaged gives the number of a shape for the bytes of an array."""
    dtype = "cnumpy\ndtype\n(Vu1\nI0\nI1\ntR(I3\nV|\nNNNI-1\nI-1\nI0\ntb"
    array = (
        f"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntVb\ntR(I1\n(I{{0}}\nt{dtype}I00\nI{{0}}\ntb."
    )
    with pytest.raises(PickleError, match=r"a\.pkl: "):
        read(tmp_path, array.format(1 << 36).encode())


def test_a_memo_place_of_gigabytes_is_refused(tmp_path: Path) -> None:
    """PUT at place 2**31 makes the C unpickler allocate its whole memo."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PickleError, match=r"a\.pkl: "):
        read(tmp_path, b"]r\xff\xff\xff\x7f.")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 18


@pytest.mark.parametrize("protocol", [0, 2, 5])
@settings(max_examples=12, deadline=None)
@given(st.data())
def test_damaged_pickles_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, protocol: int, data: st.DataObject
) -> None:
    array = np.ones((1, 2, 3), np.float16)
    value = {"split": {"a": ["x", "y"]}, "annotations": [{"keypoint": array, "label": 3_000_000_000, "again": array}]}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read(tmp_path_factory.getbasetemp(), damaged(pickle.dumps(value, protocol), data))
    except PickleError as error:
        assert "a.pkl" in str(error)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 19, "half a GB for one small file"


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(PickleError, match="No such file"):
        read_pickle(tmp_path / "nothing.pkl")
