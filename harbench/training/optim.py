"""Optimisers, and the learning rate as a pure function of the global step and of the validations so far."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import nn

from harbench.errors import RunError
from harbench.recipe import OptimizerConfig, ScheduleConfig

_START, _PLATEAU_THRESHOLD = 1 / 25, 1e-4
_CHAIN = (nn.Sequential, nn.ModuleList)


def learning_rate(
    step: int,
    base: float,
    config: ScheduleConfig,
    *,
    steps_per_epoch: int,
    epochs: int,
    losses: Sequence[float] = (),
) -> float:
    """The rate at the 0-based global `step`, before a layer's own factor.

    Linear from `base / warm-up steps` to `base`, then one of: half a cosine (Loshchilov and Hutter, SGDR,
    arXiv:1608.03983, one period) that would reach `config.final * base` one step after the last; `gamma` to the number
    of milestones passed; `gamma` to the number of plateaus in `losses`, not below `config.final * base`; constant.
    One-cycle (Smith and Topin, arXiv:1708.07120) rises on a cosine from `base / 25` to `base` and falls on another to
    `config.final * base`.
    """
    warmup, total = round(config.warmup_epochs * steps_per_epoch), steps_per_epoch * epochs
    if step < warmup:
        return base * (step + 1) / warmup
    if config.name == "constant":
        return base
    if config.name == "step":
        return base * config.gamma ** sum(step >= epoch * steps_per_epoch for epoch in config.milestones)
    if config.name == "plateau":
        return base * max(config.gamma ** plateaus(losses, config.patience), config.final)
    if config.name == "one_cycle":
        top = config.rise * total - 1
        if step < top:
            return base * (1 - (1 - _START) * _half_cosine(step / top))
        return base * (config.final + (1 - config.final) * _half_cosine((step - top) / max(1, total - 1 - top)))
    return base * (config.final + (1 - config.final) * _half_cosine((step - warmup) / max(1, total - warmup)))


def _half_cosine(progress: float) -> float:
    """From 1 to 0."""
    return (1 + math.cos(math.pi * progress)) / 2


def plateaus(losses: Sequence[float], patience: int) -> int:
    """How often more than `patience` losses in a row were none lower by 1e-4 of itself.

    The rule and the defaults of torch's ReduceLROnPlateau; as a function of the history it needs no state of its own.
    """
    best, bad, found = math.inf, 0, 0
    for loss in losses:
        if loss < best * (1 - _PLATEAU_THRESHOLD):
            best, bad = loss, 0
        else:
            bad += 1
        if bad > patience:
            found, bad = found + 1, 0
    return found


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimiser over the trainable parameters, in groups of equal rate and decay.

    Each group carries its `scale`, the factor of the rate from `lr_scale` and `layer_decay`. With `decay_norms: false`,
    vectors (biases, scales and shifts of norms) get no weight decay. Raises RunError for a prefix that no parameter has,
    and where nothing is left to train.
    """
    scales = rate_scales(model, config)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decayed = config.decay_norms or parameter.ndim >= 2
            groups.setdefault((-scales[name], not decayed), []).append(parameter)
    if not groups:
        raise RunError("train.freeze: every parameter of the model is frozen, and nothing is left to train")
    described = [
        {"params": groups[key], "weight_decay": 0.0 if key[1] else config.weight_decay, "scale": -key[0]}
        for key in sorted(groups)
    ]
    if config.name == "sgd":
        return torch.optim.SGD(described, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov)
    return (torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam)(
        described, lr=config.lr, betas=config.betas
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group `rate` times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def rate_scales(model: nn.Module, config: OptimizerConfig) -> dict[str, float]:
    """Parameter name -> factor of the rate: that of the longest prefix in `lr_scale`, times the layer's.

    A layer has `layer_decay` to the number of layers after it, as in BEiT (Bao et al., arXiv:2106.08254): see `layers`.
    """
    numbers = layers(model)
    check_prefixes(config.lr_scale, list(numbers), "train.optimizer.lr_scale")
    top = max(numbers.values(), default=0)
    scales = {}
    for name, number in numbers.items():
        prefixes = [prefix for prefix in config.lr_scale if under(name, prefix)]
        given = config.lr_scale[max(prefixes, key=len)] if prefixes else 1.0
        scales[name] = given * config.layer_decay ** (top - number)
    return scales


def layers(model: nn.Module) -> dict[str, int]:
    """Parameter name -> number of its layer, 0 at the input, in the order in which the model registers them.

    In a network of blocks, as in BEiT, everything before the first block is one layer (patches, positions, stem), each
    block is one, and everything after the last is one with the head; what stands between two blocks belongs to the
    first, as patch merging does in SimMIM (arXiv:2111.09886). Without blocks, every module with a weight matrix or
    kernel is a layer together with the norms after it. Parallel branches count one after the other.
    """
    parameters = dict(model.named_parameters())
    names = list(parameters)
    starts = _blocks(model)
    if starts:
        end = max(index for index, name in enumerate(names) if under(name, starts[-1])) + 1
        starts += names[end : end + 1]
    else:
        weighty = (name.rpartition(".")[0] for name, parameter in parameters.items() if parameter.ndim >= 2)
        starts = list(dict.fromkeys(weighty))[1:]
    numbers, number = {}, 0
    for name in names:
        if number < len(starts) and under(name, starts[number]):
            number += 1
        numbers[name] = number
    return numbers


def _blocks(module: nn.Module, name: str = "") -> list[str]:
    """The names of the repeated blocks in a module: of two or more members of a chain that are made of modules.

    Of chains in a chain only the innermost count, which leaves out what joins two stages; so do blocks in a member,
    which is then a stage or a whole backbone. A member alone may be anything: a squeeze-and-excitation in a block.
    """
    members = _members(module, name) if isinstance(module, _CHAIN) else list(_children(module, name))
    inner = [block for path, member in members for block in _blocks(member, path)]
    if inner or not isinstance(module, _CHAIN):
        return inner
    made = [path for path, member in members if any(_children(member, path))]
    innermost = max((path.count(".") for path in made), default=0)
    return [path for path in made if path.count(".") == innermost] if len(made) > 1 else []


def _members(chain: nn.Module, name: str) -> list[tuple[str, nn.Module]]:
    """The members of a chain, and of the chains in it."""
    found = []
    for path, child in _children(chain, name):
        found += _members(child, path) if isinstance(child, _CHAIN) else [(path, child)]
    return found


def _children(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """The modules with parameters that a module is made of, by their full names."""
    for key, child in module.named_children():
        if any(True for _ in child.parameters()):
            yield f"{name}.{key}".lstrip("."), child


def under(name: str, prefix: str) -> bool:
    """Whether a dotted name is `prefix` or lies below it."""
    return name == prefix or name.startswith(f"{prefix}.")


def check_prefixes(prefixes: Iterable[str], names: Sequence[str], where: str) -> None:
    """Raise RunError for a prefix that is the beginning of no parameter's name."""
    for prefix in prefixes:
        if not any(under(name, prefix) for name in names):
            there = ", ".join(dict.fromkeys(name.split(".")[0] for name in names))
            raise RunError(f"{where}: no parameter's name begins with {prefix!r}; this model's begin with {there}")
