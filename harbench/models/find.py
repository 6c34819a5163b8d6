"""Models by name. Names are read from the source of this package, so that listing them does not import torch."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from harbench.errors import RecipeError, nearest_or_all

if TYPE_CHECKING:
    from torch import nn


def model_names() -> list[str]:
    """Every shipped model, sorted: the public functions of this package whose first parameter is `num_classes`."""
    return sorted(_shipped())


def find_model(name: str) -> Callable[..., nn.Module]:
    """The function behind `name`: a shipped model, `module:function`, or `file.py:function` from the current folder.

    Raises RecipeError for an unknown name, with the nearest right one.
    """
    if ":" in name:
        place, _, function_name = name.rpartition(":")
        module = _module_of_file(Path(place), name) if place.endswith(".py") else _installed_module(place, name)
        found = getattr(module, function_name, None)
        if not callable(found):
            offered = ", ".join(key for key, value in vars(module).items() if _is_model(value)) or "no model function"
            raise RecipeError(f"model.name {name!r}: {place} has no function {function_name!r}; it has {offered}")
        return found  # type: ignore[no-any-return]
    shipped = _shipped()
    if name not in shipped:
        hint = nearest_or_all(name, shipped)
        raise RecipeError(f"model.name: there is no {name!r} (a model of your own is `file.py:function`){hint}")
    return getattr(importlib.import_module(f"harbench.models.{shipped[name]}"), name)  # type: ignore[no-any-return]


@cache
def _shipped() -> dict[str, str]:
    """Model name -> module of this package."""
    found: dict[str, str] = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                first = (node.args.posonlyargs + node.args.args)[:1]
                if first and first[0].arg == "num_classes":
                    found[node.name] = path.stem
    return found


def _is_model(value: object) -> bool:
    return inspect.isfunction(value) and next(iter(inspect.signature(value).parameters), "") == "num_classes"


def _module_of_file(path: Path, name: str) -> ModuleType:
    if not path.is_file():
        raise RecipeError(f"model.name {name!r}: there is no file {path.absolute()}")
    spec = importlib.util.spec_from_file_location(f"_harbench_model_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise RecipeError(f"model.name {name!r}: {path} is not Python")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, ImportError, NameError, AttributeError, TypeError, ValueError) as error:
        raise RecipeError(f"model.name {name!r}: {path} cannot be imported: {error}") from error
    return module


def _installed_module(place: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except (ImportError, ValueError) as error:  # ValueError: an empty or relative name
        raise RecipeError(
            f"model.name {name!r}: module {place!r} cannot be imported ({error}); "
            "a file is written `path/to/file.py:function`"
        ) from error
