"""Every command as a function of the same name and arguments. `api.pyi` lists them, with the module of each.

Importing this costs nothing: a function's module is loaded when it is first asked for (PEP 562), and heavy libraries
when the function needs them.
"""

from collections.abc import Callable
from functools import wraps
from inspect import isfunction, signature
from os import PathLike
from pathlib import Path
from typing import Any

import lazy_loader

_load, _, __all__ = lazy_loader.attach_stub("harbench", __file__)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"harbench.api has no {name}")
    found = _load(name)
    if isfunction(found):
        found = globals()[name] = _with_paths(found)  # kept, so that it is one object, which pickle asks for
    return found


def _with_paths(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which takes `str` too wherever it says `Path`."""
    expected = signature(function)
    kinds = {name: str(parameter.annotation) for name, parameter in expected.parameters.items()}

    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        bound = expected.bind(*args, **options)
        for name, value in bound.arguments.items():
            if "Path" in kinds[name] and value is not None:
                one = isinstance(value, (str, PathLike))
                paths = (Path(value),) if one else tuple(map(Path, value))
                bound.arguments[name] = paths if "Sequence" in kinds[name] else paths[0]
        return function(*bound.args, **bound.kwargs)

    call.__module__ = __name__  # where pickle finds it, as for `pool.map(api.prepare, ...)`
    return call
