"""Foreign pickles read as data: nothing that a file names is imported or called.

A child process with a memory limit loads the file. Its `Unpickler.find_class` knows a short list of names (numpy's arrays,
scalars and types, containers of the standard library); any other name becomes a `Stub`, so `os.system` in a file is only
a word. The child then sends plain data and stubs to the parent, which reads them in the same way.
"""

from __future__ import annotations

import pickle  # noqa: TID251  # only with the `find_class` below
import sys
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

from harbench.errors import PickleError, damage
from harbench.workers import SPAWN

_MEMORY = (1 << 29, 24)
"""Bytes that loading may take: so many, and so many for each byte of the file."""
_DAMAGE = (
    pickle.UnpicklingError, pickle.PicklingError, EOFError, ValueError, TypeError, LookupError, OverflowError,
    AttributeError, ImportError, RecursionError, MemoryError, RuntimeError,
)  # fmt: skip
_NUMPY = {
    "numpy.ndarray", "numpy.dtype", "numpy.core.multiarray._reconstruct", "numpy.core.multiarray.scalar",
    "numpy.core.numeric._frombuffer",
}  # fmt: skip


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


def read_pickle(path: Path) -> Any:
    """What a pickle holds: plain Python data, numpy arrays, and `Stub`s for everything else.

    Strings of Python 2 come as text (Latin-1). Raises PickleError when the file is no pickle, is damaged, needs far more
    memory than its size, or holds what only the program that wrote it can read (extension codes, persistent ids).
    """
    try:
        path.open("rb").close()
    except OSError as error:
        raise PickleError(f"cannot read {path}: {error.strerror}") from None
    receiver, sender = SPAWN.Pipe(duplex=False)
    child = SPAWN.Process(target=_send, args=(str(path), sender), daemon=True)
    try:
        child.start()
        sender.close()
        problem = receiver.recv_bytes().decode()
        if not problem:
            with open(receiver.fileno(), "rb", closefd=False) as stream:
                return Reader(stream).load()
    except _DAMAGE:  # the child ended in the middle
        problem = "it is nested too deep, or needs far more memory than its size"
    finally:
        receiver.close()
        child.kill()
        child.join()
    raise PickleError(f"{path}: expected a whole pickle of plain data, found damage ({problem}); fetch the file again")


def _send(path: str, sender: Connection) -> None:
    """In the child: send what is wrong as text (empty: nothing), then the data, pickled anew without foreign names."""
    import numpy as np  # noqa: F401  # before the limit, which is for the file alone

    _limit_memory(Path(path).stat().st_size)
    try:
        with open(path, "rb") as stream:
            value = Reader(stream).load()
    except _DAMAGE as error:
        sender.send_bytes((damage(error) or type(error).__name__).encode())
        return
    sender.send_bytes(b"")
    with suppress(*_DAMAGE, OSError), open(sender.fileno(), "wb", closefd=False) as output:
        Writer(output, pickle.HIGHEST_PROTOCOL).dump(value)


def _limit_memory(size: int) -> None:
    with suppress(ImportError, OSError, ValueError):  # Windows has no limits, macOS may refuse this one
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + _MEMORY[0] + _MEMORY[1] * size
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class _Foreign:
    """Base of the classes that stand for foreign names while a file is loaded: a call is noted, and not made."""

    name: str
    args: tuple[Any, ...]
    state: Any
    items: list[Any]

    def __new__(cls, *args: Any, **keywords: Any) -> _Foreign:
        made = super().__new__(cls)
        made.args, made.state, made.items = ((*args, keywords) if keywords else args), None, []
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))

    def append(self, value: Any) -> None:
        self.items.append(value)

    def extend(self, values: Iterable[Any]) -> None:
        self.items.extend(values)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """`_codecs.encode`: how protocols 0 to 2 of Python 3 write bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"it holds bytes encoded as {encoding!r}")
    return text.encode("latin-1")


_KNOWN = {
    "_codecs.encode": _encode,
    "builtins.bytearray": bytearray,
    "builtins.bytes": bytes,
    "builtins.complex": complex,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "collections.OrderedDict": OrderedDict,
    "collections.defaultdict": lambda factory=None: {},
    f"{__name__}.Stub": Stub,
}


class Reader(pickle.Unpickler):
    """Loads the names of the list; a class of its own stands for any other."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream, encoding="latin1", fix_imports=False)

    def find_class(self, module: str, name: str) -> Any:
        where = {"__builtin__": "builtins"}.get(module, module).replace("numpy._core.", "numpy.core.")
        full = f"{where}.{name}"
        if full in _NUMPY:
            import numpy as np

            return getattr(np, name, None) or _numpy_function(where, name)
        return _KNOWN.get(full) or type("Foreign", (_Foreign,), {"name": f"{module}.{name}"})


def _numpy_function(module: str, name: str) -> Any:
    """A function of numpy's core, whose package had no underscore before numpy 2."""
    from importlib import import_module

    import numpy as np

    core = "numpy._core" if hasattr(np, "_core") else "numpy.core"
    return getattr(import_module(module.replace("numpy.core", core)), name)


class Writer(pickle.Pickler):
    """Writes plain data, arrays and stubs. Raises PicklingError for any other object."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, _Foreign):
            return Stub, (value.name, True, value.args), {"state": value.state, "items": value.items}
        if isinstance(value, type) and issubclass(value, _Foreign):
            return Stub, (value.name,)
        numpy = sys.modules["numpy"]
        module = value.__module__ if isinstance(value, type) or callable(value) else type(value).__module__
        if isinstance(value, (numpy.generic, numpy.ndarray, numpy.dtype)) or module.partition(".")[0] == "numpy":
            return NotImplemented
        if value in (Stub, OrderedDict, complex) or type(value) in (OrderedDict, complex):
            return NotImplemented
        raise pickle.PicklingError(f"a {type(value).__name__} is no plain data")
