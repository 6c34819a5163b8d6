"""Pretrained weights into a model: from a hub by name, from a finished run, or from a file.

The body must fit completely, or it is an error. The classification layer is taken over where it fits and its classes are
ours, row by row under their names; else it keeps its fresh initialization.
"""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import torch
from torch import nn

from harbench.datasets.parse import read_class_list
from harbench.errors import DatasetError, HarbenchWarning, WeightsError, did_you_mean
from harbench.files import expanded
from harbench.models.hubs import HUBS, check_hub, fetched, hub_of, is_published
from harbench.models.weight_files import Tensors, read_tensors
from harbench.recipe import ModelConfig

logger = logging.getLogger(__name__)

BACKBONE = "backbone."
"""Where a model that is more than an image network keeps it: weights of the image network fill this part alone."""


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
    reordered: tuple[str, ...] = ()
    """Classes that the source has at another place than we: their rows were moved."""


def load_weights(model: nn.Module, config: ModelConfig, classes: Sequence[str] = ()) -> WeightsReport:
    """Put the weights that `config` names into `model`; `classes` are our class keys in order.

    The classification layer is the model's last linear layer. `config.head` says whether it has to be kept, is to be
    replaced, or (auto) is kept where that is possible: shapes fit, and the source's classes, if stated, are ours in any
    order. Raises WeightsError when the weights cannot be had, are damaged, or belong to another model.
    """
    found, theirs, source = source_tensors(config, classes)
    own, head = model.state_dict(), _head_of(model)
    state = _adapted(_renamed(found, config, own, getattr(model, "renamed", {})), own)
    fits = bool(classes) and all(key in state and len(state[key]) == len(own[key]) for key in head)
    if config.weights_classes is not None and config.head != "replace":
        _check_listed(theirs, {key: len(state[key]) for key in head if key in state})
    rows = None if config.head == "replace" else _class_rows(theirs, classes, source, config)
    if not theirs and fits and config.init_from is None and rows is not None:
        _warn_of_order(source, classes)
    moved: tuple[str, ...] = ()
    if theirs and rows is not None:
        moved = tuple(classes[at] for at, row in enumerate(rows) if at != row)
        state |= {key: state[key][rows] for key in head if key in state and len(state[key]) == len(theirs)}
    report = _put(model, state, source, keep_head=rows is not None, names=tuple(found))
    if config.head == "keep" and set(report.fresh) & set(head):
        raise WeightsError(f"model.head: keep, but the classification layer of {source} does not fit this model's")
    if moved and not set(report.fresh) & set(head):
        logger.info("%s: %d classes moved to our order: %s", source, len(moved), ", ".join(moved[:8]))
        report = replace(report, reordered=moved)
    return report


def check_weights(config: ModelConfig) -> None:
    """Raise the WeightsError that `load_weights` would raise for want of a file; nothing is downloaded or written."""
    if config.weights is not None and is_published(config.weights):
        check_hub(hub_of(config))
    elif config.weights is not None or config.init_from is not None:
        _file_of(config)


def _file_of(config: ModelConfig) -> Path:
    """The file of `weights` or of the run `init_from`, which has to be there."""
    if config.init_from is not None:
        path = expanded(config.init_from) / "model.safetensors"
        if not path.is_file():
            raise WeightsError(
                f"model.init_from: expected the folder of a finished run, found no {path.absolute()}; "
                "`harbench run` writes it when training is done"
            )
        return path
    path = expanded(str(config.weights))
    if not path.is_file():
        raise WeightsError(
            f"model.weights: expected {', '.join(HUBS)}, hf:owner/name, https://... or a file; found {config.weights!r}, "
            f"and there is no file {path.absolute()}" + did_you_mean(str(config.weights), HUBS)
        )
    return path


def source_tensors(config: ModelConfig, classes: Sequence[str] = ()) -> tuple[Tensors, tuple[str, ...], str]:
    """Tensors, the names of their classes in order (empty: not stated), and what to call them."""
    if config.weights is not None and is_published(config.weights):
        hub = hub_of(config)
        state, source, stated = read_tensors(fetched(hub))[0], hub.what, hub.classes
    else:
        path = _file_of(config)
        state, metadata = read_tensors(path)
        source, stated = str(path), _stated(metadata.get("classes", "[]"), path)
    if config.weights_classes == "sorted":
        return state, tuple(sorted(classes)), source
    return state, stated if config.weights_classes is None else _listed(expanded(config.weights_classes)), source


def _stated(classes: str, path: Path) -> tuple[str, ...]:
    """The class names in a file's metadata, a JSON list."""
    try:
        names = json.loads(classes)
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return tuple(names)
    except (ValueError, RecursionError):
        pass
    raise WeightsError(f"{path}: expected `classes` in its metadata as a JSON list of names, found {classes[:80]!r}")


def _listed(path: Path) -> tuple[str, ...]:
    """Class names of a file, one a line, in order."""
    try:
        return read_class_list(path)[1]
    except DatasetError as error:
        raise WeightsError(
            f"model.weights_classes: expected `sorted` or a text file with one class a line: {error}"
        ) from None


def _check_listed(names: Sequence[str], rows: Mapping[str, int]) -> None:
    """WeightsError where the classes that a user lists cannot be those of the classification layer."""
    for key, number in rows.items():
        if number != len(names):
            raise WeightsError(f"model.weights_classes: {len(names)} names, but {key} has {number} rows, one a class")
    if len({_letters(name) for name in names}) < len(names):
        twice = next(name for name in names if sum(_letters(name) == _letters(other) for other in names) > 1)
        raise WeightsError(f"model.weights_classes: {twice!r} stands more than once, by its letters and digits")


def _class_rows(theirs: Sequence[str], ours: Sequence[str], source: str, config: ModelConfig) -> list[int] | None:
    """Their row of each of our classes, by name in letters and digits; None: not all are there.

    With no names on their side the rows are taken to be in our order.
    """
    if not theirs:
        return list(range(len(ours)))
    place = {_letters(name): index for index, name in enumerate(theirs)}
    found = [place.get(_letters(name)) for name in ours]
    missing = [name for name, index in zip(ours, found, strict=True) if index is None]
    if missing and config.head == "keep":
        raise WeightsError(
            f"model.head: keep, but {source} knows {len(theirs)} classes without {len(missing)} of these "
            f"{len(ours)}: {', '.join(missing[:8])}. Set model.head=replace to train the layer anew"
        )
    if missing and config.weights_classes is not None and config.head == "auto":
        warnings.warn(
            f"model.weights_classes: {len(missing)} of our {len(ours)} classes are not in it, first {missing[0]!r}: the "
            "classification layer is trained anew. Correct the names, or say so with --set model.head=replace",
            HarbenchWarning,
            stacklevel=4,
        )
    known = [index for index in found if index is not None]
    return known if ours and not missing else None


def _warn_of_order(source: str, ours: Sequence[str]) -> None:
    """Say aloud that the order of classes is an assumption, where another common one would differ."""
    moved = [key for key, other in zip(ours, sorted(ours), strict=True) if key != other]
    if moved:
        message = f"{source} does not name its classes: its rows are taken to be in the official order of classes"
        warnings.warn(
            f"{message}. If it was trained on sorted folders, {len(moved)} are exchanged ({', '.join(moved[:4])}): then "
            "--set model.weights_classes=sorted; else say so with a list, --set model.weights_classes=FILE",
            HarbenchWarning,
            stacklevel=3,
        )


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


def _put(model: nn.Module, state: Tensors, source: str, *, keep_head: bool, names: Sequence[str]) -> WeightsReport:
    """Copy `state` into `model`; everything but the classification layer (or all but the image network) has to fit.

    `names` are those of the source as it has them.
    """
    own, head = model.state_dict(), _head_of(model)
    partly = any(key.startswith(BACKBONE) for key in own) and all(key.startswith(BACKBONE) for key in state)
    mismatched = [key for key in own if key in state and own[key].shape != state[key].shape]
    replaceable = [key for key in own if key in head or (partly and not key.startswith(BACKBONE))]
    fresh = [key for key in replaceable if key in mismatched or key not in state or (key in head and not keep_head)]
    # files from before batch norm counted its batches lack the counter; nothing reads it where momentum is set
    missing = [key for key in own if key not in state and key not in fresh and not key.endswith("num_batches_tracked")]
    wrong = [key for key in mismatched if key not in fresh]
    if missing or wrong:
        raise WeightsError(_misfit(source, own, state, missing, wrong) + _named_as(names, own))
    unused = [key for key in state if key not in own]
    if unused and not partly:  # an image network's own classification layer is expected to be left over
        message = f"{source}: {len(unused)} tensors have no place in the model: {', '.join(unused[:8])}"
        warnings.warn(message + (", ..." if len(unused) > 8 else ""), HarbenchWarning, stacklevel=3)
    taken = {key: value for key, value in state.items() if key in own and key not in fresh}
    model.load_state_dict(own | taken)
    logger.info("%s: %d tensors taken over; fresh: %s", source, len(taken), ", ".join(fresh) or "none")
    if unused:
        logger.info("%s: left over: %s", source, ", ".join(unused))
    return WeightsReport(source, len(taken), tuple(fresh), tuple(unused))


def _misfit(
    source: str, own: Mapping[str, torch.Tensor], state: Tensors, missing: Sequence[str], wrong: Sequence[str]
) -> str:
    lines = [f"  {key}: expected {list(own[key].shape)}, missing" for key in missing]
    lines += [f"  {key}: expected {list(own[key].shape)}, found {list(state[key].shape)}" for key in wrong]
    more = [f"  ... and {len(lines) - 8} more"] if len(lines) > 8 else []
    summary = f"{source}: these are weights of another model; {len(lines)} of its {len(own)} tensors do not fit:"
    return "\n".join([summary, *lines[:8], *more])


def _named_as(names: Sequence[str], own: Mapping[str, torch.Tensor]) -> str:
    """How the source names its tensors, and the prefix without which they would fit."""
    wanted = {key.removeprefix(prefix) for key in own for prefix in ("", "net.", BACKBONE)}
    left = [name for name in names if name not in wanted]
    fitting = {
        prefix: sum(name.startswith(prefix) and name.removeprefix(prefix) in wanted for name in names)
        for prefix in {name[: dot.end()] for name in left for dot in re.finditer(r"\.", name)}
    }
    best = max(sorted(fitting), key=lambda prefix: fitting[prefix], default="")
    hint = f" (`{best}` makes {fitting[best]} of {len(own)} fit)" if fitting.get(best) else ""
    shown = f"\n  the source's names begin so: {', '.join(left[:3])}; see model.strip_prefix{hint}, model.key_map"
    return shown if left else ""


def _renamed(
    state: Tensors,
    config: ModelConfig,
    own: Mapping[str, torch.Tensor],
    renamed: Mapping[str, str] = MappingProxyType({}),
) -> Tensors:
    """Names as in our model: `strip_prefix` and `key_map` first, then a parallel wrapper's prefix off and ours on.

    `renamed` is what a model whose published files name its tensors otherwise says of them, in the form of `key_map`.
    """
    if config.strip_prefix and not any(key.startswith(config.strip_prefix) for key in state):
        raise WeightsError(
            f"model.strip_prefix: no name of the weights begins with {config.strip_prefix!r}; they are "
            f"{', '.join(list(state)[:3])}, ..."
        )
    prefixes = [prefix for prefix in (config.strip_prefix, "module.") if prefix]
    for prefix in prefixes:
        if all(key.startswith(prefix) for key in state) or prefix == config.strip_prefix:
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    for pattern, replacement in {**config.key_map, **renamed}.items():
        state = {re.sub(pattern, replacement, key): value for key, value in state.items()}
    for prefix in ("net.", BACKBONE):
        ours = any(key.startswith(prefix) for key in own)
        if ours and not any(key.startswith(prefix) for key in state):
            return {f"{prefix}{key}": value for key, value in state.items()}
    return state


def _adapted(state: Tensors, own: Mapping[str, torch.Tensor]) -> Tensors:
    """A first convolution for R, G, B averaged over them and repeated where ours takes other channels.

    Cross-modality initialization of Wang et al., "Temporal Segment Networks" (ECCV 2016, arXiv:1608.00859), section 3.2.
    """
    changed = {
        key: value.mean(dim=1, keepdim=True).expand_as(own[key])
        for key, value in state.items()
        if key in own and value.ndim == 4 == own[key].ndim and value.shape[1] == 3 != own[key].shape[1]
    }
    return state | {key: value for key, value in changed.items() if len(value) == len(state[key])}


def head_name(model: nn.Module) -> str:
    """The module that classifies: the last linear layer, or where there is none the last convolution; "" for neither."""
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    last = linear or [name for name, module in model.named_modules() if isinstance(module, nn.Conv3d)]
    return last[-1] if last else ""


def _head_of(model: nn.Module) -> tuple[str, ...]:
    """State-dict keys of the classification layer."""
    name = head_name(model)
    return (f"{name}.weight", f"{name}.bias") if name else ()
