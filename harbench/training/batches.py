"""Which samples each step of a training has on each rank, and in which parts they go through the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from harbench.errors import RunError
from harbench.evaluation import distributed
from harbench.frames.clips import Key, training_keys
from harbench.recipe import TrainConfig


@dataclass(frozen=True)
class BatchPlan:
    """The batches of a training, worked out alike on every rank."""

    samples: int
    """Of the training data set."""
    seed: int
    config: TrainConfig

    @property
    def clips(self) -> int:
        """Clips of an epoch."""
        return self.samples * self.config.clips_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        """A single clip left over is added to the batch before it: one sample has no batch statistics."""
        full, left = divmod(self.clips, self.config.batch_size)
        added = left == 1 and full > 0 and self.config.batch_size > 1
        return full if left == 0 or added else full + 1

    @property
    def unit(self) -> int:
        """A batch is only cut at multiples of this: mixup and cutmix need whole pairs."""
        return 2 if self.config.mixup or self.config.cutmix else 1

    def size(self, step: int) -> int:
        """Samples of the global batch of a step."""
        last = step % self.steps_per_epoch == self.steps_per_epoch - 1
        return self.clips - (self.steps_per_epoch - 1) * self.config.batch_size if last else self.config.batch_size

    def keys(self, first: int) -> Iterator[list[Key]]:
        """This rank's share of every global batch from step `first` on."""
        size, steps = self.config.batch_size, self.steps_per_epoch
        for epoch in range(first // steps, self.config.last_epoch):
            keys = training_keys(self.samples, epoch, self.seed, self.config.clips_per_epoch)
            for step in range(first % steps if epoch == first // steps else 0, steps):
                batch = keys[step * size :][: self.size(step)]
                mine = self._shares(len(batch))[distributed.rank()]
                yield [(int(e), int(position), int(row), int(view)) for e, position, row, view in batch[mine]]

    def parts(self, step: int) -> list[slice]:
        """The slices of this rank's share of a batch, one forward pass each; empty for a rank without samples.

        With `bn: sync` every rank has the same number, because each forward pass waits for all ranks.
        """
        return self._parts(self.size(step))[distributed.rank()]

    def check_sync(self) -> None:
        """Raise RunError where `bn: sync` would wait for a rank that has no samples left in a batch."""
        count = distributed.size()
        if self.config.bn != "sync" or count == 1 or not self.config.epochs:
            return
        for size in {self.size(0), self.size(self.steps_per_epoch - 1)}:
            if all(part.start < part.stop for parts in self._parts(size) for part in parts):
                continue
            most = -(-size // self.unit)
            if most >= count:
                fix = f"--set train.micro_batch={2 * self.unit}"
            else:
                fix = (
                    f"--devices {most}, or a train.batch_size that leaves at least {count * self.unit} of the "
                    f"{self.clips} clips of an epoch for its last batch"
                )
            raise RunError(
                f"train.bn: sync needs samples on each of the {count} devices in every forward pass, but a batch of "
                f"{size} in parts of {self.config.micro_batch or 'any size'} has none for some of them. Use {fix}"
            )

    def _parts(self, size: int) -> list[list[slice]]:
        """Every rank's slices of its share of a batch."""
        sizes = [share.stop - share.start for share in self._shares(size)]
        micro = self.config.micro_batch
        if self.config.bn == "sync":
            return micro_parts(sizes, micro, self.unit)
        return [micro_parts([each], micro, self.unit)[0] for each in sizes]

    def _shares(self, size: int) -> list[slice]:
        """Each rank's slice of a batch. Where full batches give each rank two samples, no rank gets a single one."""
        count = distributed.size()
        pairs = self.config.bn != "sync" and self.config.batch_size >= 2 * count
        return shares(size, count, self.unit, least=2 if pairs else 1)


def cut(size: int, parts: int, unit: int) -> list[slice]:
    """`parts` slices of nearly equal size that cover 0..size, cut only at multiples of `unit`.

    A last sample without a partner goes with the pair before it where there is a pair for every slice.
    """
    pairs = size // unit
    blocks = np.array_split(np.arange(pairs if pairs >= parts else -(-size // unit)), parts)
    bounds = np.cumsum([0, *(len(block) * unit for block in blocks)]).clip(max=size).tolist()
    return [slice(a, b) for a, b in pairwise([*bounds[:-1], size])]


def shares(size: int, ranks: int, unit: int, least: int) -> list[slice]:
    """Each rank's slice of a global batch, of at least `least` samples, or of none where there are too few.

    The first ranks have samples, rank 0 among them, whose batch statistics are kept.
    """
    busy = max(1, min(ranks, size // least))
    return [*cut(size, busy, unit), *[slice(size, size)] * (ranks - busy)]


def micro_parts(sizes: Sequence[int], micro: int | None, unit: int) -> list[list[slice]]:
    """For each share of a batch, of these `sizes`, its slices: the same number for every share.

    As few slices of at most `micro` samples as the longest share allows; a short share may have empty ones. A slice
    holds a single sample only where the share is one sample, or `micro` is below 3.
    """
    longest = max(sizes)
    if not longest:
        return [[] for _ in sizes]
    micro = micro or longest
    number = -(-longest // micro)
    while any(part.stop - part.start > micro for part in cut(longest, number, unit)):
        number += 1
    return [cut(size, number, unit) for size in sizes]
