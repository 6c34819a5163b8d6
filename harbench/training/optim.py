"""Optimizers with a learning rate per layer, and learning rate schedules. The arithmetic is PyTorch's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import nn
from torch.optim import lr_scheduler

from harbench.errors import RunError
from harbench.recipe import OptimizerConfig, ScheduleConfig

Scheduler = lr_scheduler.LRScheduler
_CHAIN = (nn.Sequential, nn.ModuleList)


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer over the trainable parameters, in groups of equal rate and decay, the largest rate first.

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
        {
            "params": groups[scale, spared],
            "lr": -scale * config.lr,
            "scale": -scale,
            "weight_decay": 0.0 if spared else config.weight_decay,
        }
        for scale, spared in sorted(groups)
    ]
    if config.name == "sgd":
        return torch.optim.SGD(described, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov)
    adam = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return adam(described, lr=config.lr, betas=config.betas)


def build_scheduler(
    optimizer: torch.optim.Optimizer, config: ScheduleConfig, steps_per_epoch: int, epochs: int
) -> Scheduler:
    """The schedule over `epochs`, stepped after every optimizer step; a plateau after every loss, see `watch`.

    A linear warm-up from `lr / warm-up steps`, then half a cosine (Loshchilov and Hutter, SGDR, arXiv:1608.03983, one
    period) that would reach `final * lr` one step after the last, or `gamma` at each milestone, or a constant.
    """
    if config.name == "plateau":
        floors = [config.final * group["lr"] for group in optimizer.param_groups]
        return lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=config.gamma, patience=config.patience, min_lr=floors, eps=0.0
        )
    warmup = round(config.warmup_epochs * steps_per_epoch)
    main: Scheduler
    if config.name == "cosine":
        left = max(1, steps_per_epoch * epochs - warmup)
        main = lr_scheduler.CosineAnnealingLR(optimizer, left, eta_min=config.final * optimizer.defaults["lr"])
    else:  # no milestones: constant
        milestones = [epoch * steps_per_epoch - warmup for epoch in config.milestones]
        main = lr_scheduler.MultiStepLR(optimizer, milestones, gamma=config.gamma)
    if not warmup:
        return main
    linear = lr_scheduler.LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1)
    return lr_scheduler.SequentialLR(optimizer, [linear, main], milestones=[warmup])


def rate_scales(model: nn.Module, config: OptimizerConfig) -> dict[str, float]:
    """Parameter name -> factor of the rate: that of the longest prefix in `lr_scale`, times the layer's.

    A layer has `layer_decay` to the number of layers after it, as in BEiT (Bao et al., arXiv:2106.08254): see `layers`.
    timm's `param_groups_layer_decay` does the same, but knows the layers of timm's own models only.
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
