"""Batches of clips, made in worker processes."""

from __future__ import annotations

import ctypes
import gc
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from harbench.errors import MediaError, RunError
from harbench.frames.clips import Batch, ClipDataset, Key
from harbench.workers import FORK, SPAWN, uninterrupted

_PR_SET_PDEATHSIG = 1
"""linux/prctl.h: the signal that a process gets when its parent dies."""


def load_each(dataset: ClipDataset, batches: Iterable[Sequence[Key]], workers: int = 0) -> Iterator[Batch]:
    """A batch for each list of keys, also for an empty one.

    Workers start once for all `batches`, which are taken lazily: hand in those of many epochs in a row and short
    epochs pay for no start. `workers=0` loads in this process; results are the same.

    Raises:
        MediaError: a sample of a training data set cannot be read. In evaluation `Batch.failed` says so.
        RunError: the operating system killed a worker.
    """
    # Here, not in the workers: a forked pool of OpenCV has lost its threads, and told to end it waits for them forever.
    cv2.setNumThreads(1)
    loader: DataLoader[Any] = DataLoader(
        dataset,  # type: ignore[arg-type]  # a data set by what it does, without torch
        batch_sampler=batches,  # type: ignore[arg-type]  # any iterable of lists will do
        num_workers=workers,
        collate_fn=_as_is,
        worker_init_fn=_start_worker if workers else None,
        multiprocessing_context=(FORK if sys.platform == "linux" else SPAWN) if workers else None,
        generator=torch.Generator(),  # else the loader draws from the global one
    )
    batch: Batch
    for batch in _guarded(loader, workers):
        if batch.failed and dataset.train:
            row, reason = next(iter(batch.failed.items()))
            raise MediaError(f"training needs every sample, and {dataset.ids[row]} cannot be read: {reason}")
        yield batch


def _guarded(loader: Iterable[Batch], workers: int) -> Iterator[Batch]:
    """The loader's batches; RunError when a worker is killed. Ctrl-C comes between two of them."""
    batches: Any = None
    try:
        with uninterrupted():
            batches = iter(loader)
        while True:
            with uninterrupted():
                batch = next(batches, None)
            if batch is None:
                return
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise RunError(
            f"a loader process was killed ({str(error).splitlines()[0]}), most often for want of memory or of /dev/shm. "
            f"The same command goes on from the last state; fewer processes:  --set train.workers={workers // 2}"
        ) from None
    finally:
        with uninterrupted():
            getattr(batches, "_shutdown_workers", int)()  # else they end with the last reference to it


def model_inputs(
    batch: Batch, device: torch.device, normalize: Callable[[torch.Tensor], torch.Tensor], part: slice = slice(None)
) -> tuple[torch.Tensor, ...]:
    """What a model is called with for a part of a batch: normalized frames, and the joints beside them if there are any."""
    frames = normalize(batch.frames[part].to(device))
    return (frames,) if batch.poses is None else (frames, batch.poses[part].to(device))


def _as_is(batch: Any) -> Any:
    return batch


def _start_worker(_: int) -> None:
    if sys.platform == "linux":  # a killed parent's workers would hold its run folder's lock, which they inherited
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    gc.freeze()  # a collection would write to, and so copy, every page of the parent's objects
