"""Optimisers, and the learning rate as a pure function of the global step."""

from __future__ import annotations

import math

import torch
from torch import nn

from harbench.recipe import OptimizerConfig, ScheduleConfig


def learning_rate(step: int, base: float, config: ScheduleConfig, *, steps_per_epoch: int, epochs: int) -> float:
    """The rate at the 0-based global `step`.

    Linear from `base / warm-up steps` to `base`, then half a cosine (Loshchilov and Hutter, SGDR, arXiv:1608.03983, one
    period) that would reach `config.final * base` one step after the last, or constant.
    """
    warmup = round(config.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return base * (step + 1) / warmup
    if config.name == "constant":
        return base
    progress = (step - warmup) / max(1, steps_per_epoch * epochs - warmup)
    return base * (config.final + (1 - config.final) * (1 + math.cos(math.pi * progress)) / 2)


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """SGD with momentum or AdamW over the trainable parameters.

    With `decay_norms: false`, vectors (biases, scales and shifts of norms) get no weight decay.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    vectors = [parameter for parameter in trained if parameter.ndim < 2 and not config.decay_norms]
    others = [parameter for parameter in trained if parameter.ndim >= 2 or config.decay_norms]
    groups = [{"params": others, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if config.name == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov)
