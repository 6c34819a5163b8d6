"""Pretrained weights into a model: from torchvision's or timm's hub by data set name, or from a file.

The body must fit completely, or it is an error. The classification layer is taken over only where it fits, else it
keeps its fresh initialisation. Files are read as tensors only; no object in them is ever executed.
"""

from __future__ import annotations

import difflib
import http.client
import json
import logging
import re
import struct
import urllib.request
import warnings
from _pickle import UnpicklingError  # the error alone: nothing here unpickles
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from torch import nn

from harbench.errors import HarbenchWarning, WeightsError
from harbench.files import sha256
from harbench.recipe import ModelConfig

logger = logging.getLogger(__name__)

Tensors = dict[str, torch.Tensor]
HUBS: Mapping[str, str] = {"kinetics400": "KINETICS400", "imagenet": "IMAGENET1K"}
"""Legal words of `model.weights` -> how torchvision's weight names begin."""
UNREACHABLE = (OSError, http.client.HTTPException)
"""What a download raises on a machine that is offline; urllib's and requests' errors are OSErrors."""
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
    struct.error,
)
"""What torch and safetensors raise on truncated or altered files (tried out with both of torch's formats)."""


@dataclass(frozen=True)
class WeightsReport:
    """What `load_weights` did."""

    source: str
    loaded: int
    """Tensors taken over."""
    fresh: tuple[str, ...]
    """Tensors of the model that the source lacks or has for other classes: the classification layer."""
    unused: tuple[str, ...]
    """Tensors of the source that the model has no place for."""


@dataclass(frozen=True)
class _Hub:
    """Where published weights lie."""

    what: str
    file: Path
    """Where the file is, or belongs; relative where the hub files it under a name of its own making."""
    url: str


def load_weights(model: nn.Module, config: ModelConfig, classes: Sequence[str] = ()) -> WeightsReport:
    """Put `config.weights` into `model`.

    The classification layer (the model's last linear layer) stays fresh when its shape differs, or when the file names
    its classes and they are not `classes` in this order. Raises WeightsError when the weights cannot be had, are
    damaged, or belong to another model.
    """
    if config.weights in HUBS:
        source = f"{config.weights} weights of {config.name}"
        return _put(model, _from_hub(config), source, keep_head=True)
    path = _file_of(config)
    state, metadata = read_tensors(path)
    theirs = metadata.get("classes")
    return _put(model, state, str(path), keep_head=theirs is None or json.loads(theirs) == list(classes))


def check_weights(config: ModelConfig) -> None:
    """Raise the WeightsError that `load_weights` would raise for want of a file; nothing is downloaded or written."""
    if config.weights is None:
        return
    if config.weights not in HUBS:
        _file_of(config)
        return
    _check_hub(_hub_of(config))


def read_tensors(path: Path) -> tuple[Tensors, dict[str, str]]:
    """Tensors and text metadata of a .safetensors file, or of a .pth file that holds tensors (metadata is then empty).

    A .pth may wrap its tensors as `state_dict`, `model` or `model_state_dict`. Raises WeightsError for a file that is
    truncated, is something else, or would need objects to be executed.
    """
    try:
        if path.suffix == ".safetensors":
            with safetensors.safe_open(path, framework="pt") as opened:
                return {key: opened.get_tensor(key) for key in opened.keys()}, dict(opened.metadata() or {})  # noqa: SIM118
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise _not_weights(path, error) from None
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path}: expected a state dict (names -> tensors), found {type(state).__name__}")
    return dict(state), {}


def _file_of(config: ModelConfig) -> Path:
    path = Path(str(config.weights)).expanduser()
    if not path.is_file():
        close = difflib.get_close_matches(str(config.weights), HUBS, n=1)
        raise WeightsError(
            f"model.weights: expected {', '.join(HUBS)} or a file; found {config.weights!r}, and there is no file "
            f"{path.absolute()}" + (f"; did you mean {close[0]!r}?" if close else "")
        )
    return path


def _hub_of(config: ModelConfig) -> _Hub:
    """Where the published weights of a shipped model are; WeightsError where there are none."""
    what = f"{config.weights} weights of {config.name}"
    if config.name == "timm_image":
        return _timm_hub(config)
    import torchvision  # here, not above: reading a file needs none of it

    known = torchvision.models.list_models()
    offered = list(torchvision.models.get_model_weights(config.name)) if config.name in known else []
    fitting = [each for each in offered if each.name.startswith(HUBS[str(config.weights)])]
    if not fitting:
        names = [hub for hub, start in HUBS.items() if any(each.name.startswith(start) for each in offered)]
        raise WeightsError(
            f"model.weights: there are no {what}; on a hub it has {' and '.join(names) or 'none'}. Give a file with "
            "--set model.weights=PATH, or train from scratch with --set model.weights=null"
        )
    # the later version of the same data set's weights is the better one: torchvision calls it the default
    chosen = max(fitting, key=lambda each: each.name)
    return _Hub(what, Path(torch.hub.get_dir()) / "checkpoints" / chosen.url.rpartition("/")[2], chosen.url)


def _timm_hub(config: ModelConfig) -> _Hub:
    import timm
    from huggingface_hub import hf_hub_url, try_to_load_from_cache

    architecture = str(config.args.get("architecture"))
    published = timm.get_pretrained_cfg(architecture) if timm.is_model(architecture) else None
    what = f"{config.weights} weights of timm's {architecture}"
    if config.weights != "imagenet" or published is None or not published.hf_hub_id:
        raise WeightsError(f"model.weights: there are no {what}; train from scratch with --set model.weights=null")
    cached = try_to_load_from_cache(published.hf_hub_id, "model.safetensors")
    file = Path(cached) if isinstance(cached, str) else Path(published.hf_hub_id, "model.safetensors")
    return _Hub(what, file, hf_hub_url(published.hf_hub_id, "model.safetensors"))


def _from_hub(config: ModelConfig) -> Tensors:
    hub = _hub_of(config)
    _check_hub(hub)
    if config.name == "timm_image":
        return _from_timm(config, hub)
    if not hub.file.is_file():
        logger.info("downloading %s to %s", hub.what, hub.file)
        hub.file.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(hub.url, str(hub.file), hash_prefix=_hash_of(hub), progress=False)
        except (*UNREACHABLE, RuntimeError) as error:  # RuntimeError: torch.hub's word for a wrong hash
            raise _unreachable(hub, error) from None
    return read_tensors(hub.file)[0]


def _from_timm(config: ModelConfig, hub: _Hub) -> Tensors:
    import timm

    try:
        published: nn.Module = timm.create_model(config.args["architecture"], pretrained=True)
    except (*UNREACHABLE, RuntimeError) as error:
        raise _unreachable(hub, error) from None
    return dict(published.state_dict())


def _hash_of(hub: _Hub) -> str:
    """The first hex digits of the SHA-256 that torchvision's file names carry; empty for a name without."""
    found = re.search(r"-([0-9a-f]{8,})\.", hub.file.name)
    return found[1] if found else ""


def _check_hub(hub: _Hub) -> None:
    """WeightsError when the file is neither here and whole nor in reach."""
    if not hub.file.is_file():
        try:
            urllib.request.urlopen(hub.url, timeout=10).close()
        except UNREACHABLE as error:
            raise _unreachable(hub, error) from None
    elif not sha256(hub.file).startswith(_hash_of(hub)):
        raise WeightsError(
            f"{hub.what}: {hub.file} ({hub.file.stat().st_size:,} bytes) is truncated or damaged: its SHA-256 does not "
            f"begin with {_hash_of(hub)} as its name says. Delete it, then run again or put a whole copy there."
        )


def _unreachable(hub: _Hub, error: BaseException) -> WeightsError:
    lines = [
        f"{hub.what}: {hub.file.name} is not on this machine and cannot be downloaded ({error}).",
        f"  - On a machine that is online fetch {hub.url}",
    ]
    if hub.file.is_absolute():
        lines.append(f"    and put it into the folder {hub.file.parent}")
    lines += [
        "  - or name your copy of it:  --set model.weights=PATH",
        "  - or train from scratch:    --set model.weights=null",
    ]
    return WeightsError("\n".join(lines))


def _not_weights(path: Path, error: BaseException) -> WeightsError:
    """torch's own words end in advice to execute the file: of them only the name of the object is kept."""
    foreign = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
    if foreign:
        return WeightsError(
            f"{path} holds more than tensors ({foreign[1]}), and harbench executes nothing that a file brings along. "
            "Save its state dict alone, best as .safetensors, with the tool that made it."
        )
    words = type(error).__name__ if isinstance(error, UnpicklingError) else str(error).partition("\n")[0]
    return WeightsError(
        f"{path} ({path.stat().st_size:,} bytes) cannot be read as weights: it is truncated, damaged, or neither "
        f".safetensors nor .pth. Fetch it again. ({words})"
    )


def _put(model: nn.Module, state: Tensors, source: str, *, keep_head: bool) -> WeightsReport:
    """Copy `state` into `model`; everything but the classification layer has to fit."""
    own = model.state_dict()
    state = _renamed(state, own)
    head = _head_of(model)
    mismatched = [key for key in own if key in state and own[key].shape != state[key].shape]
    fresh = [key for key in own if key in head and (key in mismatched or key not in state or not keep_head)]
    # files from before batch norm counted its batches lack the counter; nothing reads it where momentum is set
    missing = [key for key in own if key not in state and key not in fresh and not key.endswith("num_batches_tracked")]
    wrong = [key for key in mismatched if key not in fresh]
    if missing or wrong:
        lines = [f"  {key}: expected {list(own[key].shape)}, missing" for key in missing]
        lines += [f"  {key}: expected {list(own[key].shape)}, found {list(state[key].shape)}" for key in wrong]
        more = [f"  ... and {len(lines) - 8} more"] if len(lines) > 8 else []
        summary = f"{source}: these are weights of another model; {len(lines)} of its {len(own)} tensors do not fit:"
        raise WeightsError("\n".join([summary, *lines[:8], *more]))
    unused = [key for key in state if key not in own]
    if unused:
        message = f"{source}: {len(unused)} tensors have no place in the model: {', '.join(unused[:8])}"
        warnings.warn(message + (", ..." if len(unused) > 8 else ""), HarbenchWarning, stacklevel=2)
    taken = {key: value for key, value in state.items() if key in own and key not in fresh}
    model.load_state_dict(own | taken)
    logger.info("%s: %d tensors taken over; fresh: %s", source, len(taken), ", ".join(fresh) or "none")
    return WeightsReport(source, len(taken), tuple(fresh), tuple(unused))


def _renamed(state: Tensors, own: Mapping[str, torch.Tensor]) -> Tensors:
    """Without the prefix of a parallel wrapper; with the prefix of ours where an image network is applied per frame."""
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    if all(key.startswith("net.") for key in own) and not any(key.startswith("net.") for key in state):
        state = {f"net.{key}": value for key, value in state.items()}
    return state


def _head_of(model: nn.Module) -> tuple[str, ...]:
    """State-dict keys of the classification layer: the last linear layer of the model."""
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return (f"{linear[-1]}.weight", f"{linear[-1]}.bias") if linear else ()
