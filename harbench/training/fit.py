"""The fit loop. Killed anywhere and called again, it ends with the same bytes on equal device, versions and threads."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import astuple, fields
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from harbench.errors import RunError
from harbench.evaluation import distributed
from harbench.evaluation.predict import predict
from harbench.files import replacing
from harbench.recipe import TrainConfig
from harbench.records import EpochStats, Track, silent
from harbench.training.checkpoint import INEXACT, Progress, note_deviation, resume, save_state
from harbench.training.determinism import deterministic, interruptible
from harbench.training.job import Job, TrainData, batches_from, check_sync
from harbench.training.modes import freezable, set_modes, weights_of
from harbench.training.optim import build_optimizer
from harbench.training.step import take_step

logger = logging.getLogger(__name__)

Whole = Callable[[], AbstractContextManager[None]]
"""Holds Ctrl-C back, see `interruptible`."""
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def fit(
    model: nn.Module,
    data: TrainData,
    config: TrainConfig,
    *,
    device: torch.device,
    seed: int,
    run_dir: Path,
    on_epoch: Callable[[EpochStats], None] = lambda line: None,
    track: Track = silent,
) -> list[EpochStats]:
    """Train `model` in place, going on from `run_dir`/state.pt where there is one; return one line an epoch.

    Sample order comes from (seed, epoch), augmentation from (seed, epoch, sample, view), dropout from (seed, step).
    Afterwards the model has the selected weights: of the last epoch, or of the best on `data.val`. `run_dir` gets
    train.csv after every epoch, state.pt, and inexact.txt only if something keeps the run from repeating to the bit.
    Under torch.distributed every rank calls this; each takes its slice of every batch, and rank 0 writes.

    `on_epoch` is told every epoch's line once it is safely on disk.
    `refit` is the caller's: `fit` a new model on all samples with `epochs` set to `chosen_epochs(stats)`.

    Raises:
        RunError: the loss is not finite, memory ran out, a batch is too small for its devices or for batch norm, or
            state.pt is damaged or belongs to another training.
        KeyboardInterrupt: Ctrl-C, after the current step was finished and state.pt written.
    """
    if config.selection != "last" and data.val is None:
        raise RunError(f"train.selection: {config.selection} needs samples to select on; set data.validation")
    job = _job(model, data, config, device, seed, run_dir)
    check_sync(job)
    progress = resume(run_dir, job.parts, job.plan, device)
    if progress is None:
        if distributed.rank() == 0:
            (run_dir / INEXACT).unlink(missing_ok=True)
        progress = Progress()
    if config.ema is not None:
        known = progress.average or {name: tensor.clone() for name, tensor in model.state_dict().items()}
        progress.average = {name: tensor.to(device) for name, tensor in known.items()}
    _announce(job, progress)
    _write_stats(job, progress.stats)
    with deterministic(device, lambda words: note_deviation(run_dir, words)), interruptible() as whole:
        try:
            _train(job, progress, whole, on_epoch, track)
        except KeyboardInterrupt:
            _save(job, progress)
            logger.info("interrupted after step %d; the same command goes on from there", progress.step)
            raise
    kept = progress.best or progress.average
    if kept is not None:
        model.load_state_dict(kept)
    return progress.stats


def _job(model: nn.Module, data: TrainData, config: TrainConfig, device: torch.device, seed: int, folder: Path) -> Job:
    """The model on its device, in its memory format, partly frozen, with its optimiser."""
    if config.bn == "sync" and distributed.size() > 1:
        if device.type != "cuda":
            raise RunError("train.bn: sync is a kernel of GPUs; on CPUs take one process, or --set train.bn=frozen")
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    model.to(device)
    if config.channels_last:
        for parameter in model.parameters():
            if parameter.ndim in _CHANNELS_LAST:
                parameter.data = parameter.data.contiguous(memory_format=_CHANNELS_LAST[parameter.ndim])
    frozen = freezable(model, config.freeze)
    if config.unfreeze_epoch is None:  # what never learns is no concern of the optimiser
        for parameter in frozen:
            parameter.requires_grad_(False)
    optimizer = build_optimizer(model, config.optimizer)
    scaler = torch.amp.GradScaler(device.type, enabled=config.amp == "fp16")
    forward = torch.compile(model) if config.compile else model
    return Job(model, forward, optimizer, scaler, tuple(frozen), data, config, device, seed, folder)


def chosen_epochs(stats: list[EpochStats]) -> int:
    """Number of epochs after which val_top1 was highest, the smallest of equals."""
    return max(stats, key=lambda line: (-1.0 if line.val_top1 is None else line.val_top1, -line.epoch)).epoch


def stopped_early(stats: list[EpochStats], patience: int | None) -> bool:
    """Whether the last `patience` validations brought no higher val_top1."""
    scores = [line.val_top1 for line in stats if line.val_top1 is not None]
    return bool(scores) and patience is not None and len(scores) - 1 - scores.index(max(scores)) >= patience


def _announce(job: Job, progress: Progress) -> None:
    config, steps = job.config, job.steps_per_epoch
    logger.info("training on %d samples: %d epochs of %d steps", len(job.data.train), config.epochs, steps)
    if distributed.size() > 1:
        logger.info("%d devices, each with a slice of every batch of %d", distributed.size(), config.batch_size)
    if config.micro_batch and config.micro_batch < config.batch_size:
        logger.info("batches in parts of at most %d: batch statistics are those of the parts", config.micro_batch)
    if progress.step:
        logger.info("going on after step %d of %d", progress.step, steps * config.epochs)


def _train(job: Job, progress: Progress, whole: Whole, on_epoch: Callable[[EpochStats], None], track: Track) -> None:
    steps, config = job.steps_per_epoch, job.config
    if not config.epochs:  # the weights are scored as they are; there may be no training samples at all
        return
    if progress.step == (len(progress.stats) + 1) * steps:  # interrupted between the last step of an epoch and its end
        _finish_epoch(job, progress, whole)
        on_epoch(progress.stats[-1])
    if stopped_early(progress.stats, config.early_stopping):
        return
    set_modes(job.model, config, len(progress.stats), job.frozen)
    saved = mark = time.monotonic()
    for batch in track(batches_from(job, progress.step), "training", config.epochs * steps - progress.step):
        with whole():
            take_step(job, progress, batch)
            now = time.monotonic()
            progress.seconds, mark = progress.seconds + now - mark, now
        if progress.step % steps == 0:
            _finish_epoch(job, progress, whole)
            on_epoch(progress.stats[-1])
            if stopped_early(progress.stats, config.early_stopping):
                logger.info("no better on val for %s validations: training ends here", config.early_stopping)
                return
            set_modes(job.model, config, len(progress.stats), job.frozen)
            saved = mark = time.monotonic()
        elif now - saved > 60 * config.checkpoint_minutes:
            _save(job, progress)
            saved = mark = time.monotonic()


def _finish_epoch(job: Job, progress: Progress, whole: Whole) -> None:
    """Score `val`, add the epoch's line, keep the weights if they are the best; write train.csv and state.pt."""
    with weights_of(job.model, progress.average):
        val_loss, val_top1 = _validate(job, len(progress.stats) + 1)
    with whole():
        line = EpochStats(
            epoch=len(progress.stats) + 1,
            lr=job.optimizer.param_groups[0]["lr"] / job.optimizer.param_groups[0]["scale"],
            train_loss=progress.loss / progress.seen,
            train_top1=100 * progress.correct / progress.seen,
            val_loss=val_loss,
            val_top1=val_top1,
            seconds=progress.seconds,
            samples_per_second=progress.seen / progress.seconds,
        )
        progress.stats.append(line)
        if job.config.selection != "last" and chosen_epochs(progress.stats) == line.epoch:
            weights = progress.average or job.model.state_dict()
            progress.best = {name: each.detach().cpu().clone() for name, each in weights.items()}
        progress.loss, progress.correct, progress.seen, progress.seconds = 0.0, 0, 0, 0.0
        _save(job, progress)
        _write_stats(job, progress.stats)
    val = "" if val_loss is None else f", val loss {val_loss:.4f} top-1 {val_top1:.2f}"
    logger.info(
        "epoch %d of %d: loss %.4f top-1 %.2f%s, %.1f s, %.1f samples/s",
        line.epoch, job.config.epochs, line.train_loss, line.train_top1, val, line.seconds, line.samples_per_second,
    )  # fmt: skip


def _validate(job: Job, epoch: int) -> tuple[float | None, float | None]:
    """Mean loss over what could be scored, and top-1 in percent over everything: a sample without a score is wrong."""
    if job.data.val is None or (epoch % job.config.val_every and epoch < job.config.epochs):
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


def _save(job: Job, progress: Progress) -> None:
    if distributed.rank() == 0:
        save_state(job.folder, progress, job.parts, job.plan, job.device)


def _write_stats(job: Job, stats: list[EpochStats]) -> None:
    """train.csv: a column a field of EpochStats, empty where there is no value."""
    if distributed.rank() > 0:
        return
    with replacing(job.folder / "train.csv") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow([each.name for each in fields(EpochStats)])
        writer.writerows(astuple(line) for line in stats)
