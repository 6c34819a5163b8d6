"""What stays the same during a training, and which samples each of its steps has on this rank."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harbench.errors import RunError
from harbench.evaluation import distributed
from harbench.frames.clips import Batch, ClipDataset, Key, training_keys
from harbench.frames.loader import load_each
from harbench.recipe import TrainConfig
from harbench.training.checkpoint import Stateful
from harbench.training.mixing import micro_parts, shares


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


def forward_parts(job: Job, step: int) -> list[slice]:
    """The slices of this rank's share of a step's batch, each one forward pass; none for a rank without samples.

    With `bn: sync` every rank has as many, as each forward pass waits for all ranks: each rank works this out alike.
    """
    return _parts(job, batch_size(job, step))[distributed.rank()]


def check_sync(job: Job) -> None:
    """Raise RunError where `bn: sync` would wait for a rank that has no samples left in a batch."""
    count = distributed.size()
    if job.config.bn != "sync" or count == 1 or not job.config.epochs:
        return
    for step in (0, job.steps_per_epoch - 1):
        size = batch_size(job, step)
        if all(part.start < part.stop for parts in _parts(job, size) for part in parts):
            continue
        most = -(-size // job.grain)
        if most >= count:
            ways = f"--set train.micro_batch={2 * job.grain}"
        else:
            ways = (
                f"--devices {most}, or a train.batch_size that leaves at least {count * job.grain} of the {job.clips} "
                "clips of an epoch for its last batch"
            )
        raise RunError(
            f"train.bn: sync needs samples on each of the {count} devices in every forward pass, and a batch of {size} in "
            f"parts of {job.config.micro_batch or 'any size'} has none for some of them. Say {ways}"
        )


def _parts(job: Job, size: int) -> list[list[slice]]:
    """Every rank's slices of its share of a batch."""
    sizes = [share.stop - share.start for share in _rank_shares(job, size)]
    micro = job.config.micro_batch
    if job.config.bn == "sync":
        return micro_parts(sizes, micro, job.grain)
    return [micro_parts([each], micro, job.grain)[0] for each in sizes]


def _rank_shares(job: Job, size: int) -> list[slice]:
    """Each rank's slice of a batch. Where full batches give each rank two samples, a smaller one gives none a single."""
    count, config = distributed.size(), job.config
    pairs = config.bn != "sync" and config.batch_size >= 2 * count
    return shares(size, count, job.grain, least=2 if pairs else 1)


def _shares(job: Job, first: int) -> Iterator[list[Key]]:
    size, steps = job.config.batch_size, job.steps_per_epoch
    for epoch in range(first // steps, job.config.epochs):
        keys = training_keys(len(job.data.train), epoch, job.seed, job.config.clips_per_epoch)
        for step in range(first % steps if epoch == first // steps else 0, steps):
            batch = keys[step * size :][: batch_size(job, step)]
            mine = _rank_shares(job, len(batch))[distributed.rank()]
            yield [(int(e), int(position), int(row), int(view)) for e, position, row, view in batch[mine]]
