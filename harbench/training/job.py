"""What stays the same during a training, and which samples each of its steps has on this rank."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harbench.evaluation import ranks
from harbench.frames.clips import Batch, ClipDataset, Key, load_each, training_keys
from harbench.recipe import TrainConfig
from harbench.training.checkpoint import Stateful
from harbench.training.mixing import cut


@dataclass(frozen=True)
class TrainData:
    """What `fit` reads."""

    train: ClipDataset
    val: ClipDataset | None
    """Scored every `val_every` epochs with the views it was made with; the test set for a recipe that selects on it."""
    normalize: Callable[[torch.Tensor], torch.Tensor]
    """From stored clips to the model's input, on the device."""


@dataclass(frozen=True)
class Job:
    """What stays the same during a training."""

    model: nn.Module
    forward: Callable[..., torch.Tensor]
    """The model, or what torch.compile made of it."""
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    frozen: tuple[nn.Parameter, ...]
    """What waits for `unfreeze_epoch`."""
    data: TrainData
    config: TrainConfig
    device: torch.device
    seed: int
    folder: Path

    @property
    def clips(self) -> int:
        """Clips of an epoch."""
        return len(self.data.train) * self.config.clips_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        """A single sample left over joins the batch before it: batch statistics of one sample are none."""
        full, left = divmod(self.clips, self.config.batch_size)
        joins = left == 1 and full > 0 and self.config.batch_size > 1
        return full if left == 0 or joins else full + 1

    @property
    def grain(self) -> int:
        """A batch is only cut at multiples of this: mixup and cutmix need whole pairs."""
        return 2 if self.config.mixup or self.config.cutmix else 1

    @property
    def parts(self) -> dict[str, Stateful]:
        """What state.pt keeps beside the progress."""
        return {"model": self.model, "optimizer": self.optimizer, "scaler": self.scaler}

    @property
    def plan(self) -> dict[str, Any]:
        """What must be equal for going on with a state.pt."""
        ids = "\n".join(self.data.train.ids)
        settings = self.config.model_dump(mode="json", exclude={"workers", "checkpoint_minutes", "trackers"})
        return {"samples": hashlib.sha256(ids.encode()).hexdigest(), "seed": self.seed, **settings}


def batches_from(job: Job, first: int) -> Iterator[Batch]:
    """This rank's share of every global batch from step `first` on."""
    return load_each(job.data.train, _shares(job, first), job.config.workers)


def batch_size(job: Job, step: int) -> int:
    """Samples of the global batch of a step."""
    last = step % job.steps_per_epoch == job.steps_per_epoch - 1
    return job.clips - (job.steps_per_epoch - 1) * job.config.batch_size if last else job.config.batch_size


def _shares(job: Job, first: int) -> Iterator[list[Key]]:
    size, steps = job.config.batch_size, job.steps_per_epoch
    for epoch in range(first // steps, job.config.epochs):
        keys = training_keys(len(job.data.train), epoch, job.seed, job.config.clips_per_epoch)
        for step in range(first % steps if epoch == first // steps else 0, steps):
            batch = keys[step * size :][: batch_size(job, step)]
            mine = cut(len(batch), ranks.size(), job.grain)[ranks.rank()]
            yield [(int(e), int(position), int(row), int(view)) for e, position, row, view in batch[mine]]
