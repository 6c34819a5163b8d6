"""A training before its first step: the model on its device, partly frozen, with optimizer, schedule and EMA."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from harbench.errors import RunError
from harbench.evaluation import distributed
from harbench.frames.clips import ClipDataset
from harbench.recipe import TrainConfig
from harbench.records import Track, silent
from harbench.training.batches import BatchPlan
from harbench.training.checkpoint import Stateful
from harbench.training.optim import Scheduler, build_optimizer, build_scheduler, check_prefixes, under

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


@dataclass(frozen=True)
class TrainData:
    """What `fit` reads."""

    train: ClipDataset
    val: ClipDataset | None
    """Scored every `val_every` epochs with the views it was made with; the test set for a recipe that selects on it."""
    normalize: Callable[[torch.Tensor], torch.Tensor]
    """From stored clips to the model's input, on the device."""
    track: Track = silent
    """Shows the progress of reading the batches."""


@dataclass(frozen=True)
class Training:
    """What stays the same during a training."""

    model: nn.Module
    forward: Callable[..., torch.Tensor]
    """The model, or what torch.compile made of it."""
    optimizer: torch.optim.Optimizer
    scheduler: Scheduler
    scaler: torch.amp.GradScaler
    ema: Any
    """timm's ModelEmaV3; None without `ema`."""
    data: TrainData
    config: TrainConfig
    device: torch.device
    seed: int
    folder: Path

    @property
    def batches(self) -> BatchPlan:
        """Which samples each step has."""
        return BatchPlan(len(self.data.train), self.seed, self.config)

    @property
    def averaged(self) -> nn.Module:
        """The model that is validated and kept: the moving average where there is one."""
        module: nn.Module = self.model if self.ema is None else self.ema.module
        return module

    @property
    def parts(self) -> dict[str, Stateful]:
        """What state.pt keeps beside the progress."""
        parts: dict[str, Stateful] = {
            "model": self.model,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
            "scaler": self.scaler,
        }
        return parts if self.ema is None else parts | {"ema": self.ema.module}

    @property
    def identity(self) -> dict[str, Any]:
        """What must be equal for resuming from a state.pt."""
        ids = "\n".join(self.data.train.ids)
        settings = self.config.model_dump(mode="json", exclude={"workers", "checkpoint_minutes", "trackers"})
        return {"samples": hashlib.sha256(ids.encode()).hexdigest(), "seed": self.seed, **settings}


def set_up(
    model: nn.Module, data: TrainData, config: TrainConfig, device: torch.device, seed: int, folder: Path
) -> Training:
    """Everything that the steps of a training need.

    Raises:
        RunError: `bn: sync` on CPUs or with too few samples for it, or a prefix that no parameter has.
    """
    if config.bn == "sync" and distributed.size() > 1:
        if device.type != "cuda":
            raise RunError("train.bn: sync needs GPUs. On CPUs use one process, or --set train.bn=frozen")
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    model.to(device)
    if config.channels_last:
        for parameter in model.parameters():
            if parameter.ndim in _CHANNELS_LAST:
                parameter.data = parameter.data.contiguous(memory_format=_CHANNELS_LAST[parameter.ndim])
    freeze(model, config.freeze)
    optimizer = build_optimizer(model, config.optimizer)
    plan = BatchPlan(len(data.train), seed, config)
    plan.check_sync()
    scheduler = build_scheduler(optimizer, config.schedule, plan.steps_per_epoch, config.epochs)
    scaler = torch.amp.GradScaler(device.type, enabled=config.amp == "fp16")
    forward = torch.compile(model) if config.compile else model
    ema = None
    if config.ema is not None:
        from timm.utils.model_ema import ModelEmaV3

        ema = ModelEmaV3(model, decay=config.ema)
    return Training(model, forward, optimizer, scheduler, scaler, ema, data, config, device, seed, folder)


def freeze(model: nn.Module, prefixes: tuple[str, ...]) -> None:
    """Stop training the parameters under `prefixes`. Raises RunError for a prefix that no parameter has."""
    named = dict(model.named_parameters())
    check_prefixes(prefixes, list(named), "train.freeze")
    for name, parameter in named.items():
        if any(under(name, prefix) for prefix in prefixes):
            parameter.requires_grad_(False)


def set_train_mode(model: nn.Module, config: TrainConfig) -> None:
    """Training mode, but evaluation mode for frozen modules and, with `bn: frozen`, for batch norm."""
    model.train()
    for name, module in model.named_modules():
        frozen = any(under(name, prefix) for prefix in config.freeze)
        if frozen or (config.bn == "frozen" and isinstance(module, _BatchNorm)):
            module.eval()
