"""What of a model learns in an epoch: frozen prefixes, batch norm, and the moving average of its weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from harbench.recipe import TrainConfig
from harbench.training.optim import check_prefixes, under


def freezable(model: nn.Module, prefixes: Sequence[str]) -> list[nn.Parameter]:
    """The trainable parameters under `prefixes`. Raises RunError for a prefix that no parameter has."""
    named = list(model.named_parameters())
    check_prefixes(prefixes, [name for name, _ in named], "train.freeze")
    return [p for name, p in named if p.requires_grad and any(under(name, prefix) for prefix in prefixes)]


def set_modes(model: nn.Module, config: TrainConfig, epoch: int, frozen: Sequence[nn.Parameter]) -> None:
    """Training mode for the 0-based `epoch`; `frozen` are the parameters that wait for `unfreeze_epoch`."""
    waiting = bool(config.freeze) and (config.unfreeze_epoch is None or epoch < config.unfreeze_epoch)
    for parameter in frozen:
        parameter.requires_grad_(not waiting)
    model.train()
    for name, module in model.named_modules():
        still = waiting and any(under(name, prefix) for prefix in config.freeze)
        if still or (config.bn == "frozen" and isinstance(module, _BatchNorm)):
            module.eval()


@torch.no_grad()
def update_average(average: dict[str, torch.Tensor], model: nn.Module, decay: float) -> None:
    """Move `average` towards the model's weights by `1 - decay`; counters are taken over as they are."""
    for name, now in model.state_dict().items():
        if now.is_floating_point():
            average[name].lerp_(now, 1 - decay)
        else:
            average[name].copy_(now)


@contextmanager
def weights_of(model: nn.Module, average: dict[str, torch.Tensor] | None) -> Iterator[None]:
    """Within the block the model has the averaged weights; None leaves it its own."""
    if average is None:
        yield
        return
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(average)
    try:
        yield
    finally:
        model.load_state_dict(own)
