"""Foreign pickles read as data: nothing that a file names is imported or called.

The opcodes are those that `pickletools` lists (protocols 0 to 5). Numbers, text, bytes and containers are made as they
stand; of numpy, plain arrays, scalars and their types are rebuilt here from their bytes. Whatever else a file names stays
a `Stub` with its name and what was given to it, so `os.system` in a file is a word.
"""

from __future__ import annotations

import mmap
import pickletools
import re
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from harbench.errors import PickleError, damage


@dataclass(eq=False)
class Stub:
    """Something that a pickle names and that was not made: a class, a function, or an object of one."""

    name: str
    """`module.attribute`, as written in the file."""
    called: bool = False
    """False: the class or function itself; True: what a call of it would have given."""
    args: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)
    """What would have been appended, or the (key, value) pairs that would have been set."""
    memo: list[int] = field(default_factory=list, repr=False)
    """Where the reader remembers it."""


_DAMAGE = (
    ValueError, TypeError, LookupError, OverflowError, AttributeError, struct.error, RecursionError, MemoryError,
)  # fmt: skip


class _RefusedError(Exception):
    """Why a pickle cannot be read, before the file's name is known."""


def read_pickle(path: Path) -> Any:
    """What a pickle holds: plain Python data, read-only numpy arrays, and `Stub`s for everything that is not that.

    Strings of Python 2 come as text (Latin-1). Raises PickleError when the file is no pickle, is damaged, or holds what
    cannot be told without running it (extension codes, persistent ids, out-of-band buffers, arrays of records).
    """
    try:
        with open(path, "rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _run(content)
    except OSError as error:
        raise PickleError(f"cannot read {path}: {error.strerror}") from None
    except _RefusedError as error:
        raise PickleError(f"{path}: cannot be read as a pickle of plain data: {error}") from None
    except _DAMAGE as error:
        raise PickleError(
            f"{path}: expected a whole pickle file, found damage ({damage(error)}); fetch the file again"
        ) from None


# ------------------------------------------------------------------------------------------------------------ machine
_MARK = Stub("mark")
_SAME = frozenset((
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "SHORT_BINUNICODE",
    "BINUNICODE", "BINUNICODE8",
))  # fmt: skip
"""Opcodes whose argument is the value."""
_MAKE: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
    "MARK": lambda: _MARK,
}
_NOTHING = frozenset(("PROTO", "FRAME", "READONLY_BUFFER"))


def _run(content: mmap.mmap) -> Any:
    """The stack machine of a pickle. It never recurses: depth in the file is length of a list here."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    arg: Any
    for opcode, arg, _ in pickletools.genops(content):  # type: ignore[arg-type]  # a map reads like a file, and clamps
        name = opcode.name
        if name in _SAME:
            stack.append(arg)
        elif name in _MAKE:
            stack.append(_MAKE[name]())
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            _remember(memo, len(memo) if name == "MEMOIZE" else arg, stack[-1])
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[arg])
        elif name == "BUILD":
            state, made = stack.pop(), stack.pop()
            stack.append(_build(made, state, memo))
        elif name == "STOP":
            break
        elif name not in _NOTHING:
            _STEPS.get(name, partial(_refuse, name))(stack, arg)
    if len(stack) != 1 or stack[0] is _MARK:
        raise ValueError(f"{len(stack)} values at its end")
    return stack[0]


def _remember(memo: dict[int, Any], place: int, value: Any) -> None:
    if isinstance(value, Stub):
        value.memo.append(place)
    memo[place] = value


def _refuse(name: str, stack: list[Any], arg: Any) -> None:
    raise _RefusedError(f"it uses {name}, which means something only to the program that wrote it")


def _above_mark(stack: list[Any]) -> list[Any]:
    """What stands above the last mark, both taken off."""
    for place in range(len(stack) - 1, -1, -1):
        if stack[place] is _MARK:
            taken = stack[place + 1 :]
            del stack[place:]
            return taken
    raise ValueError("a mark is missing")


def _taken(stack: list[Any], number: int) -> list[Any]:
    if len(stack) < number or any(value is _MARK for value in stack[-number:]):
        raise ValueError("its stack is too short")
    taken = stack[-number:]
    del stack[-number:]
    return taken


def _pairs(values: list[Any]) -> Iterable[tuple[Any, Any]]:
    return zip(values[::2], values[1::2], strict=True)


def _key(value: Any) -> Any:
    """A value fit to be a key. Nested tuples are refused: hashing one of a hostile depth would end the process."""
    if isinstance(value, tuple) and any(isinstance(part, (tuple, frozenset)) for part in value):
        raise _RefusedError("it has nested tuples as keys")
    return value


def _set_items(target: Any, values: list[Any]) -> None:
    if isinstance(target, Stub):
        target.items += _pairs(values)
    elif isinstance(target, dict):
        target.update((_key(key), value) for key, value in _pairs(values))
    else:
        raise TypeError(f"keys set in a {type(target).__name__}")


def _append(target: Any, values: list[Any]) -> None:
    if isinstance(target, Stub):
        target.items += values
    elif isinstance(target, list):
        target += values
    else:
        raise TypeError(f"values appended to a {type(target).__name__}")


def _add(stack: list[Any]) -> None:
    values = _above_mark(stack)
    if not isinstance(stack[-1], set):
        raise TypeError(f"values added to a {type(stack[-1]).__name__}")
    stack[-1].update(map(_key, values))


def _stack_global(stack: list[Any]) -> Stub:
    module, name = _taken(stack, 2)
    return Stub(f"{module}.{name}")


def _call(stack: list[Any], number: int) -> Any:
    """A callable and its arguments (and keywords, for three) taken off the stack, and what the call stands for."""
    function, args, *keywords = _taken(stack, number)
    if keywords and keywords[0]:
        return Stub(function.name, True, (*args, keywords[0]))
    return _called(function, args)


def _old_object(stack: list[Any]) -> Any:
    cls, *args = _above_mark(stack)
    return _called(cls, tuple(args))


_STEPS: dict[str, Callable[[list[Any], Any], None]] = {
    "POP": lambda stack, arg: stack.__delitem__(-1),
    "POP_MARK": lambda stack, arg: _above_mark(stack).clear(),
    "DUP": lambda stack, arg: stack.append(stack[-1]),
    "TUPLE": lambda stack, arg: stack.append(tuple(_above_mark(stack))),
    "TUPLE1": lambda stack, arg: stack.append(tuple(_taken(stack, 1))),
    "TUPLE2": lambda stack, arg: stack.append(tuple(_taken(stack, 2))),
    "TUPLE3": lambda stack, arg: stack.append(tuple(_taken(stack, 3))),
    "LIST": lambda stack, arg: stack.append(_above_mark(stack)),
    "DICT": lambda stack, arg: stack.append({_key(key): value for key, value in _pairs(_above_mark(stack))}),
    "FROZENSET": lambda stack, arg: stack.append(frozenset(map(_key, _above_mark(stack)))),
    "APPEND": lambda stack, arg: _append(stack[-2], _taken(stack, 1)),
    "APPENDS": lambda stack, arg: (lambda values: _append(stack[-1], values))(_above_mark(stack)),
    "SETITEM": lambda stack, arg: _set_items(stack[-3], _taken(stack, 2)),
    "SETITEMS": lambda stack, arg: (lambda values: _set_items(stack[-1], values))(_above_mark(stack)),
    "ADDITEMS": lambda stack, arg: _add(stack),
    "GLOBAL": lambda stack, arg: stack.append(Stub(arg.replace(" ", ".", 1))),
    "STACK_GLOBAL": lambda stack, arg: stack.append(_stack_global(stack)),
    "REDUCE": lambda stack, arg: stack.append(_call(stack, 2)),
    "NEWOBJ": lambda stack, arg: stack.append(_call(stack, 2)),
    "NEWOBJ_EX": lambda stack, arg: stack.append(_call(stack, 3)),
    "OBJ": lambda stack, arg: stack.append(_old_object(stack)),
    "INST": lambda stack, arg: stack.append(_called(Stub(arg.replace(" ", ".", 1)), tuple(_above_mark(stack)))),
}


# -------------------------------------------------------------------------------------------------- the few known names
_RECONSTRUCT = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
_TYPE = re.compile(r"[<>|=]?(\?|[biufc]\d+|[SU]\d+|O8?)")
"""Array types of plain numbers, texts and objects."""


def _called(function: Any, args: Any) -> Any:
    """What a call means: data for the few names that rebuild data, a Stub for any other."""
    if not isinstance(function, Stub) or function.called or not isinstance(args, tuple):
        raise TypeError("a call of something that has no name")
    name = function.name.replace("__builtin__.", "builtins.").replace("numpy._core.", "numpy.core.")
    made = _KNOWN.get(name)
    return made(*args) if made else Stub(function.name, True, args)


def _encoded(text: str, encoding: str = "") -> bytes:
    """`_codecs.encode`: how protocols 0 to 2 of Python 3 write bytes."""
    if encoding not in ("latin1", "latin-1", ""):
        raise _RefusedError(f"it holds bytes encoded as {encoding!r}")
    return text.encode("latin-1")


def _ordered(pairs: Iterable[Any] = ()) -> OrderedDict[Any, Any]:
    return OrderedDict((_key(key), value) for key, value in pairs)


def _scalar(dtype: Any, raw: Any) -> Any:
    return _array(raw, dtype, (), "C")[()]


def _array(raw: Any, dtype: Any, shape: Any, order: Any) -> Any:
    """A read-only array over `raw`, the bytes (text, from Python 2) of its numbers; of objects, over a list of them."""
    import numpy as np

    if not isinstance(dtype, np.dtype) or not isinstance(shape, tuple) or not all(type(n) is int for n in shape):
        raise TypeError("an array without a type or a shape")
    if dtype.hasobject:
        if not isinstance(raw, list):
            raise TypeError("an array of objects without a list of them")
        array: np.ndarray[Any, Any] = np.empty(len(raw), object)
        for place, value in enumerate(raw):
            array[place] = value
    else:
        raw = raw.encode("latin-1") if isinstance(raw, str) else raw
        if not isinstance(raw, (bytes, bytearray)):  # of a number numpy and `bytes` would make that many zeros
            raise TypeError("an array without the bytes of its numbers")
        array = np.frombuffer(bytes(raw), dtype)
    if min(shape, default=0) < 0:
        raise ValueError(f"an array of the shape {shape}")
    array = array.reshape(shape, order="F" if order == "F" else "C")
    array.flags.writeable = False
    return array


_KNOWN: dict[str, Callable[..., Any]] = {
    "_codecs.encode": _encoded,
    "builtins.bytearray": lambda content=b"", *encoding: _encoded(content) if isinstance(content, str) else content,
    "builtins.bytes": lambda: b"",
    "builtins.set": lambda values=(): set(map(_key, values)),
    "builtins.frozenset": lambda values=(): frozenset(map(_key, values)),
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": lambda factory=None: {},
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _array,
}


def _build(made: Any, state: Any, memo: dict[int, Any]) -> Any:
    """An object whose state is given after it was made: arrays and their types become what they are."""
    if not isinstance(made, Stub) or not made.called:
        raise TypeError(f"a state given to a {type(made).__name__}")
    if made.name in _RECONSTRUCT:
        *_, shape, dtype, fortran, raw = state
        built = _array(raw, dtype, shape, "F" if fortran else "C")
    elif made.name == "numpy.dtype":
        built = _dtype(made.args, state)
    else:
        made.state = state
        return made
    for place in made.memo:
        memo[place] = built
    return built


def _dtype(args: tuple[Any, ...], state: Any) -> Any:
    """`numpy.dtype("f4", ...)` with its state (version, byte order, ...)."""
    import numpy as np

    if not isinstance(args[0], str) or not _TYPE.fullmatch(args[0]) or any(part is not None for part in state[2:5]):
        raise _RefusedError(
            f"it holds an array of the type {str(args[0])[:40]!r}; only numbers, texts and objects are read"
        )
    return np.dtype(args[0]).newbyteorder(state[1])
