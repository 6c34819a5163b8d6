"""Models by name. Names are read from the source of this package, so that listing them does not import torch."""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from harbench.errors import RecipeError
from harbench.recipe import ModelConfig

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
        close = difflib.get_close_matches(name, shipped, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(shipped))}."
        raise RecipeError(f"model.name: there is no {name!r}; {hint} A model of your own is `file.py:function`.")
    return getattr(importlib.import_module(f"harbench.models.{shipped[name]}"), name)  # type: ignore[no-any-return]


def build_model(config: ModelConfig, num_classes: int, *, classes: Sequence[str] = ()) -> nn.Module:
    """Build the model on the CPU, its weights drawn from torch's generator, then put in the weights it names, if any.

    `classes` are the class keys in order: from a file that names its classes, a classification layer is taken over only
    if they are these. Raises RecipeError for an unknown name or wrong `args`, WeightsError for weights that are not to
    be had.
    """
    function = find_model(config.name)
    _check_args(function, config)

    from torch import nn

    try:
        model = function(num_classes, **config.args)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"model {config.name} cannot be built with args {dict(config.args)}: {error}") from error
    if not isinstance(model, nn.Module):
        raise RecipeError(f"model.name {config.name!r}: expected a torch.nn.Module, found {type(model).__name__}")
    if config.weights is not None or config.init_from is not None:
        from harbench.models.weights import load_weights

        load_weights(model, config, classes)
    return model


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
    except (SyntaxError, ImportError) as error:
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


def _check_args(function: Callable[..., Any], config: ModelConfig) -> None:
    """RecipeError naming every wrong or missing key of `model.args`, and what the function takes."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    legal = {parameter.name: parameter for parameter in parameters}
    problems = []
    for key in config.args:
        if key not in legal:
            close = difflib.get_close_matches(key, legal, n=1, cutoff=0.5)
            problems.append(f"model.args.{key}: unknown" + (f"; did you mean {close[0]!r}?" if close else ""))
    for key, parameter in legal.items():
        if parameter.default is parameter.empty and key not in config.args:
            problems.append(f"model.args.{key}: missing")
    if problems:
        takes = ", ".join(_shown(parameter) for parameter in parameters) or "no arguments"
        raise RecipeError("\n".join([*problems, f"model {config.name} takes {takes}"]))


def _shown(parameter: inspect.Parameter) -> str:
    return parameter.name if parameter.default is parameter.empty else f"{parameter.name}={parameter.default!r}"
