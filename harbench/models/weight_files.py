"""Files of weights, read as tensors only: no object in them is ever executed."""

from __future__ import annotations

import json
import re
import shlex
import struct
import warnings
from _pickle import UnpicklingError  # the error alone: nothing here unpickles
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch

from harbench.errors import HarbenchWarning, WeightsError, damage

Tensors = dict[str, torch.Tensor]
WRAPPERS = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "params", "weights", "ema",
    "ema_state_dict", "model_ema", "params_ema",
)  # fmt: skip
"""Keys under which training code saves a state dict; the first one that is there is taken."""
_SCRIPT = "a TorchScript archive"
_SAVE = 'torch.save(model.state_dict(), "weights.pth")'
UNREADABLE = (
    UnpicklingError,
    safetensors.SafetensorError,
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    struct.error,
)
"""What torch and safetensors raise on truncated or altered files (tried out with both of torch's formats)."""


def read_tensors(path: Path) -> tuple[Tensors, dict[str, str]]:
    """Tensors and text metadata of a .safetensors file, or of a .pth file that holds tensors (metadata is then empty).

    A .pth may wrap its tensors, see `WRAPPERS`. Raises WeightsError for a file that is truncated, is something else, or
    would need objects to be executed.
    """
    try:
        if path.suffix == ".safetensors":
            with safetensors.safe_open(path, framework="pt") as opened:
                tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
                return _state_dict(tensors, path), dict(opened.metadata() or {})
        return _state_dict(torch.load(path, map_location="cpu", weights_only=True), path), {}
    except UNREADABLE as error:
        raise _not_weights(path, error) from None


def read_metadata(path: Path) -> dict[str, str]:
    """Text metadata of a .safetensors file; a file of another suffix has none. Raises WeightsError when it is damaged."""
    if path.suffix != ".safetensors":
        return {}
    try:
        with safetensors.safe_open(path, framework="pt") as opened:
            return dict(opened.metadata() or {})
    except UNREADABLE as error:
        raise _not_weights(path, error) from None


def _state_dict(found: Any, path: Path) -> Tensors:
    """The names and tensors in what a .pth holds: bare, or under one of `WRAPPERS`, two deep at most (`ema`, `module`)."""
    for _ in range(2):
        wrappers = [key for key in WRAPPERS if isinstance(found, Mapping) and isinstance(found.get(key), Mapping)]
        if wrappers:
            found = found[wrappers[0]]
        if len(wrappers) > 1:
            message = f"{path} holds several state dicts: {wrappers[0]} is taken, not {', '.join(wrappers[1:])}"
            warnings.warn(f"{message}. For another one:\n  {_resave(path, wrappers[1])}", HarbenchWarning, stacklevel=4)
    if isinstance(found, Mapping) and found and all(map(_is_weight, found, found.values())):
        return dict(found)
    described, line = type(found).__name__, f"{_SAVE}  in the program that wrote it"
    if isinstance(found, Mapping):
        described = ", ".join(f"{key} ({_kind(value)})" for key, value in [*found.items()][:8])[:400] or "nothing"
        inner = [str(key) for key, value in found.items() if isinstance(value, Mapping)]
        line = _resave(path, inner[0]) if inner else line
    raise WeightsError(
        f"{path}: expected a state dict (names -> tensors), bare or as one of {', '.join(WRAPPERS)}; found {described}. "
        f"Save the tensors alone:\n  {line}"
    )


def _is_weight(key: object, value: object) -> bool:
    """A tensor that can be copied into a model's."""
    return (
        isinstance(key, str)
        and isinstance(value, torch.Tensor)
        and value.layout is torch.strided
        and not (value.is_quantized or value.is_meta or value.is_complex())
    )


def _kind(value: object) -> str:
    if isinstance(value, Mapping):
        return f"a dict of {len(value)}"
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__


def _resave(path: Path, key: str, before: str = "") -> str:
    """A line to type that saves one part of a file."""
    return _python(
        f'{before}torch.save(torch.load({_quoted(path)}, map_location="cpu")[{_quoted(key)}], "weights.pth")'
    )


def _python(script: str) -> str:
    return f"python -c {shlex.quote(f'import torch; {script}')}"


def _quoted(text: object) -> str:
    return json.dumps(str(text), ensure_ascii=False)


def _not_weights(path: Path, error: BaseException) -> WeightsError:
    """torch's own words end in advice to execute the file: of them only the name of the object is kept."""
    wanted = _wanted(path, error)
    module = wanted.rpartition(".")[0]
    if module in ("posix", "nt", "os", "sys", "builtins", "subprocess"):
        return WeightsError(f"{path} is not only weights: who loads it as a pickle runs {wanted}. Do not; delete it")
    if wanted:
        line = f"{_SAVE}  in the program that wrote it"
        if wanted == _SCRIPT:
            line = _python(
                f'torch.save(torch.jit.load({_quoted(path)}, map_location="cpu").state_dict(), "weights.pth")'
            )
        elif module and not wanted.startswith(("torch.nn.", "__main__.")):  # not a whole model, but a part beside it
            line = _resave(path, "state_dict", f"import {module}; torch.serialization.add_safe_globals([{wanted}]); ")
        return WeightsError(
            f"{path} needs code to be read ({wanted}), and harbench does not run code from files. If you trust where it "
            f"comes from, save its tensors alone:\n  {line}"
        )
    return WeightsError(
        f"{path} ({path.stat().st_size:,} bytes) cannot be read as weights: it is truncated, damaged, or neither "
        f".safetensors nor .pth. Fetch it again. ({damage(error)})"
    )


def _wanted(path: Path, error: BaseException) -> str:
    """What a file that torch refuses would have to run; empty: nothing that can be told."""
    if "TorchScript" in str(error):
        return _SCRIPT
    if not isinstance(error, UnpicklingError):
        return ""
    if found := re.search(r"(?:GLOBAL|class|global|function) ([\w.]+\.\w+)", str(error)):
        return found[1]
    with path.open("rb") as handle:
        start = handle.read(2)
    return f"a pickle of protocol {start[1]}" if start in (b"\x80\x03", b"\x80\x04", b"\x80\x05") else ""
