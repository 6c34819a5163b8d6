"""The fit loop. Killed anywhere and called again, it ends with the same bytes on equal device, versions and threads."""

from __future__ import annotations

import csv
import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from harbench.errors import RunError
from harbench.evaluation.predict import predict
from harbench.files import replacing
from harbench.frames.clips import Batch, ClipDataset, load_batches, training_keys
from harbench.recipe import TrainConfig
from harbench.records import EpochStats, Track, silent
from harbench.training.checkpoint import INEXACT, Progress, Stateful, note_deviation, resume, save_state
from harbench.training.exact import deterministic, interruptible, seed_step
from harbench.training.optim import build_optimizer, learning_rate

logger = logging.getLogger(__name__)

Whole = Callable[[], AbstractContextManager[None]]
"""Holds Ctrl-C back, see `interruptible`."""
AMP = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class TrainData:
    """What `fit` reads."""

    train: ClipDataset
    val: ClipDataset | None
    """Scored after every epoch with the views it was made with; the test set for a recipe that selects on it."""
    normalize: Callable[[torch.Tensor], torch.Tensor]
    """From stored clips to the model's input, on the device."""


@dataclass(frozen=True)
class _Job:
    """What stays the same during a training."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    data: TrainData
    config: TrainConfig
    device: torch.device
    seed: int
    folder: Path

    @property
    def steps_per_epoch(self) -> int:
        """A single sample left over joins the batch before it: batch statistics of one sample are none."""
        full, left = divmod(len(self.data.train), self.config.batch_size)
        joins = left == 1 and full > 0 and self.config.batch_size > 1
        return full if left == 0 or joins else full + 1

    @property
    def parts(self) -> dict[str, Stateful]:
        """What state.pt keeps beside the progress."""
        return {"model": self.model, "optimizer": self.optimizer, "scaler": self.scaler}

    @property
    def plan(self) -> dict[str, Any]:
        """What must be equal for going on with a state.pt."""
        ids = "\n".join(self.data.train.ids)
        settings = self.config.model_dump(mode="json", exclude={"workers", "checkpoint_minutes"})
        return {"samples": hashlib.sha256(ids.encode()).hexdigest(), "seed": self.seed, **settings}


def fit(
    model: nn.Module,
    data: TrainData,
    config: TrainConfig,
    *,
    device: torch.device,
    seed: int,
    run_dir: Path,
    track: Track = silent,
) -> list[EpochStats]:
    """Train `model` in place, going on from `run_dir`/state.pt where there is one; return one line an epoch.

    Sample order comes from (seed, epoch), augmentation from (seed, epoch, sample, view), dropout from (seed, step).
    Afterwards the model has the selected weights: of the last epoch, or of the best on `data.val`. `run_dir` gets
    train.csv after every epoch, state.pt, and inexact.txt only if something keeps the run from repeating to the bit.

    `refit` is the caller's: `fit` a new model on all samples with `epochs` set to `chosen_epochs(stats)`.

    Raises:
        RunError: the loss is not finite, memory ran out, or state.pt is damaged or belongs to another training.
        KeyboardInterrupt: Ctrl-C, after the current step was finished and state.pt written.
    """
    if config.selection != "last" and data.val is None:
        raise RunError(f"train.selection: {config.selection} needs samples to select on; set data.validation")
    model.to(device)
    scaler = torch.amp.GradScaler(device.type, enabled=config.amp == "fp16")
    job = _Job(model, build_optimizer(model, config.optimizer), scaler, data, config, device, seed, run_dir)
    progress = resume(run_dir, job.parts, job.plan, device)
    if progress is None:
        (run_dir / INEXACT).unlink(missing_ok=True)
        progress = Progress()
    _announce(job, progress)
    _write_stats(run_dir / "train.csv", progress.stats)
    with deterministic(device, lambda words: note_deviation(run_dir, words)), interruptible() as whole:
        try:
            _train(job, progress, whole, track)
        except KeyboardInterrupt:
            _save(job, progress)
            logger.info("interrupted after step %d; the same command goes on from there", progress.step)
            raise
    if progress.best is not None:
        model.load_state_dict(progress.best)
    return progress.stats


def chosen_epochs(stats: list[EpochStats]) -> int:
    """Number of epochs after which val_top1 was highest, the smallest of equals."""
    return max(stats, key=lambda line: (line.val_top1 or 0.0, -line.epoch)).epoch


def _announce(job: _Job, progress: Progress) -> None:
    config, steps = job.config, job.steps_per_epoch
    logger.info("training on %d samples: %d epochs of %d steps", len(job.data.train), config.epochs, steps)
    if config.micro_batch and config.micro_batch < config.batch_size:
        logger.info("batches in parts of at most %d: batch statistics are those of the parts", config.micro_batch)
    if progress.step:
        logger.info("going on after step %d of %d", progress.step, steps * config.epochs)


def _train(job: _Job, progress: Progress, whole: Whole, track: Track) -> None:
    steps, config = job.steps_per_epoch, job.config
    job.model.train()
    if progress.step == (len(progress.stats) + 1) * steps:  # interrupted between the last step of an epoch and its end
        _finish_epoch(job, progress, whole)
    saved = mark = time.monotonic()
    for batch in track(_batches(job, progress.step), "training", config.epochs * steps - progress.step):
        with whole():
            _step(job, progress, batch)
            now = time.monotonic()
            progress.seconds, mark = progress.seconds + now - mark, now
        if progress.step % steps == 0:
            _finish_epoch(job, progress, whole)
            saved = mark = time.monotonic()
        elif now - saved > 60 * config.checkpoint_minutes:
            _save(job, progress)
            saved = mark = time.monotonic()


def _batches(job: _Job, first: int) -> Iterator[Batch]:
    """The batches of all steps from `first` on."""
    samples, size, steps = len(job.data.train), job.config.batch_size, job.steps_per_epoch
    epoch, done = divmod(first, steps)
    orders = (training_keys(samples, each, job.seed) for each in range(epoch, job.config.epochs))
    keys = chain.from_iterable(order[done * size :] if i == 0 else order for i, order in enumerate(orders))
    batches = load_batches(job.data.train, keys, size, job.config.workers)
    for step, batch in enumerate(batches, first):
        one_left_over = step % steps == steps - 1 and steps * size < samples
        yield _joined(batch, next(batches)) if one_left_over else batch


def _joined(batch: Batch, more: Batch) -> Batch:
    return Batch(
        frames=torch.cat([batch.frames, more.frames]),
        targets=torch.cat([batch.targets, more.targets]),
        rows=np.concatenate([batch.rows, more.rows]),
        views=np.concatenate([batch.views, more.views]),
    )


def _step(job: _Job, progress: Progress, batch: Batch) -> None:
    """One optimiser step on one global batch, in parts of at most `micro_batch` and of nearly equal size."""
    config, size, base = job.config, len(batch.targets), job.config.optimizer.lr
    rate = learning_rate(
        progress.step, base, config.schedule, steps_per_epoch=job.steps_per_epoch, epochs=config.epochs
    )
    for group in job.optimizer.param_groups:
        group["lr"] = rate
    seed_step(job.seed, progress.step)
    job.optimizer.zero_grad()
    for part in np.array_split(np.arange(size), math.ceil(size / (config.micro_batch or size))):
        try:
            _accumulate(job, progress, batch, slice(int(part[0]), int(part[-1]) + 1))
        except torch.OutOfMemoryError as error:
            raise RunError(
                f"{job.device} ran out of memory with {len(part)} samples in a forward pass. The same batch in smaller "
                f"parts:  --set train.micro_batch={max(1, len(part) // 2)}  ({str(error).partition('. ')[0]})"
            ) from None
    if config.clip_grad is not None:
        job.scaler.unscale_(job.optimizer)
        nn.utils.clip_grad_norm_(job.model.parameters(), config.clip_grad)
    job.scaler.step(job.optimizer)
    job.scaler.update()
    progress.step += 1


def _accumulate(job: _Job, progress: Progress, batch: Batch, part: slice) -> None:
    """Forward and backward of a part of a batch; gradients add up to those of the mean loss over the whole batch."""
    config, size = job.config, len(batch.targets)
    frames = job.data.normalize(batch.frames[part].to(job.device))
    targets = batch.targets[part].to(job.device)
    with torch.autocast(job.device.type, dtype=AMP[config.amp], enabled=config.amp != "off"):
        logits = job.model(frames)
    loss = F.cross_entropy(logits.float(), targets, label_smoothing=config.label_smoothing, reduction="sum")
    value = loss.item()
    if not math.isfinite(value):
        raise RunError(_diverged(job, progress.step, value, batch.rows[part].tolist()))
    torch.autograd.backward(job.scaler.scale(loss / size))
    progress.loss += value
    progress.correct += int((logits.argmax(1) == targets).sum())
    progress.seen += len(targets)


def _diverged(job: _Job, step: int, value: float, rows: list[int]) -> str:
    ids, config = [job.data.train.ids[row] for row in rows], job.config
    shown = ", ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
    ways = [f"a lower rate:       --set train.optimizer.lr={config.optimizer.lr / 10:g}"]
    if config.clip_grad is None:
        ways.append("bounded gradients:  --set train.clip_grad=1.0")
    if config.amp != "off":
        ways.append("full precision:     --set train.amp=off")
    return (
        f"the loss is {value} at step {step} (epoch {step // job.steps_per_epoch + 1}) on the samples {shown}.\n"
        "Going on would only repeat it, as every draw is fixed by the seed. Try one of\n  " + "\n  ".join(ways)
    )


def _finish_epoch(job: _Job, progress: Progress, whole: Whole) -> None:
    """Score `val`, add the epoch's line, keep the weights if they are the best; write train.csv and state.pt."""
    val_loss, val_top1 = _validate(job)
    with whole():
        line = EpochStats(
            epoch=len(progress.stats) + 1,
            lr=job.optimizer.param_groups[0]["lr"],
            train_loss=progress.loss / progress.seen,
            train_top1=100 * progress.correct / progress.seen,
            val_loss=val_loss,
            val_top1=val_top1,
            seconds=progress.seconds,
            samples_per_second=progress.seen / progress.seconds,
        )
        progress.stats.append(line)
        if job.config.selection != "last" and chosen_epochs(progress.stats) == line.epoch:
            progress.best = {name: each.detach().cpu().clone() for name, each in job.model.state_dict().items()}
        progress.loss, progress.correct, progress.seen, progress.seconds = 0.0, 0, 0, 0.0
        _save(job, progress)
        _write_stats(job.folder / "train.csv", progress.stats)
    val = "" if val_loss is None else f", val loss {val_loss:.4f} top-1 {val_top1:.2f}"
    logger.info(
        "epoch %d of %d: loss %.4f top-1 %.2f%s, %.1f s, %.1f samples/s",
        line.epoch, job.config.epochs, line.train_loss, line.train_top1, val, line.seconds, line.samples_per_second,
    )  # fmt: skip


def _validate(job: _Job) -> tuple[float | None, float | None]:
    """Mean loss over what could be scored, and top-1 in percent over everything: a sample without a score is wrong."""
    if job.data.val is None:
        return None, None
    views = job.data.val.eval
    predictions = predict(
        job.model, job.data.val, views, device=job.device, normalize=job.data.normalize, workers=job.config.workers
    )
    scores = predictions.probabilities if views.average == "prob" else predictions.logits
    scored = np.flatnonzero(~np.isnan(scores).any(axis=1))
    right = int((scores[scored].argmax(axis=1) == predictions.targets[scored]).sum())
    logits, targets = torch.from_numpy(predictions.logits[scored]), torch.from_numpy(predictions.targets[scored])
    return F.cross_entropy(logits, targets).item(), 100 * right / len(predictions.ids)


def _save(job: _Job, progress: Progress) -> None:
    save_state(job.folder, progress, job.parts, job.plan, job.device)


def _write_stats(path: Path, stats: list[EpochStats]) -> None:
    """train.csv: a column a field of EpochStats, empty where there is no value."""
    with replacing(path) as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow([each.name for each in fields(EpochStats)])
        writer.writerows(astuple(line) for line in stats)
