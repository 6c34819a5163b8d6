"""The fit loop. Killed anywhere and called again, it ends with the same bytes on equal device, versions and threads."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
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
from harbench.frames.loader import load_each
from harbench.recipe import TrainConfig
from harbench.records import EpochStats
from harbench.training.checkpoint import INEXACT, Progress, note_deviation, resume, save_state
from harbench.training.determinism import interruptible, reproducible
from harbench.training.setup import TrainData, Training, set_train_mode, set_up
from harbench.training.step import take_step
from harbench.training.trackers import draw_curves, trackers

logger = logging.getLogger(__name__)

Whole = Callable[[], AbstractContextManager[None]]
"""Delays Ctrl-C, see `interruptible`."""
LogEpoch = Callable[[EpochStats], None]


def fit(
    model: nn.Module, data: TrainData, config: TrainConfig, *, device: torch.device, seed: int, run_dir: Path
) -> list[EpochStats]:
    """Train `model` in place, resuming from `run_dir`/state.pt where there is one; return one line an epoch.

    Sample order comes from (seed, epoch), augmentation from (seed, epoch, sample, view), dropout from (seed, step).
    Afterwards the model has the selected weights: of the last epoch, or of the best on `data.val`. `run_dir` gets
    train.csv and a line in each tracker after every epoch, state.pt, curves.png at the end, and inexact.txt only if
    something keeps the run from being bit-exactly repeatable. Under torch.distributed every rank calls this; each takes
    its slice of every batch, and rank 0 writes.

    `refit` is the caller's: `fit` a new model on all samples with `stop_epoch` set to `chosen_epochs(stats)`.

    Raises:
        RunError: the loss is not finite, memory ran out, a batch is too small for its devices or for batch norm, or
            state.pt is damaged or belongs to another training.
        KeyboardInterrupt: Ctrl-C, after the current step was finished and state.pt written.
    """
    if config.selection != "last" and data.val is None:
        raise RunError(f"train.selection: {config.selection} needs samples to select on; set data.validation")
    training = set_up(model, data, config, device, seed, run_dir)
    progress = resume(run_dir, training.parts, training.identity, device)
    if progress is None:
        if distributed.rank() == 0:
            (run_dir / INEXACT).unlink(missing_ok=True)
        progress = Progress()
    _announce(training, progress)
    _write_stats(training, progress.stats)

    def on_deviation(text: str) -> None:
        note_deviation(run_dir, text)

    with ExitStack() as stack:
        log_epoch: LogEpoch = lambda line: None  # noqa: E731
        if distributed.rank() == 0:
            log_epoch = stack.enter_context(trackers(run_dir, config.trackers))
        stack.enter_context(reproducible(device, on_deviation, deterministic=config.deterministic))
        whole = stack.enter_context(interruptible())
        try:
            _train(training, progress, whole, log_epoch)
        except KeyboardInterrupt:
            _save(training, progress)
            logger.info("interrupted after step %d; the same command resumes there", progress.step)
            raise
    if progress.best is not None:
        model.load_state_dict(progress.best)
    elif training.ema is not None:
        model.load_state_dict(training.averaged.state_dict())
    if distributed.rank() == 0:
        draw_curves(run_dir, progress.stats)
    return progress.stats


def chosen_epochs(stats: list[EpochStats]) -> int:
    """Number of epochs after which val_top1 was highest, the smallest of equals."""
    return max(stats, key=lambda line: (-1.0 if line.val_top1 is None else line.val_top1, -line.epoch)).epoch


def stopped_early(stats: list[EpochStats], patience: int | None) -> bool:
    """Whether the last `patience` validations brought no higher val_top1."""
    scores = [line.val_top1 for line in stats if line.val_top1 is not None]
    return bool(scores) and patience is not None and len(scores) - 1 - scores.index(max(scores)) >= patience


def _announce(training: Training, progress: Progress) -> None:
    config, steps, samples = training.config, training.batches.steps_per_epoch, len(training.data.train)
    logger.info("training on %d samples: %d epochs of %d steps", samples, config.last_epoch, steps)
    if config.last_epoch < config.epochs:
        logger.info("the schedule is that of %d epochs", config.epochs)
    if distributed.size() > 1:
        logger.info("%d devices, each with a slice of every batch of %d", distributed.size(), config.batch_size)
    if config.micro_batch and config.micro_batch < config.batch_size:
        logger.info("batches in parts of at most %d: batch statistics are those of the parts", config.micro_batch)
    if progress.step:
        logger.info("resuming after step %d of %d", progress.step, steps * config.last_epoch)


def _train(training: Training, progress: Progress, whole: Whole, log_epoch: LogEpoch) -> None:
    steps, config, data = training.batches.steps_per_epoch, training.config, training.data
    if not config.epochs:  # the weights are scored as they are; there may be no training samples at all
        return
    if progress.step == (len(progress.stats) + 1) * steps:  # interrupted between the last step of an epoch and its end
        _finish_epoch(training, progress, whole)
        log_epoch(progress.stats[-1])
    if stopped_early(progress.stats, config.early_stopping):
        return
    set_train_mode(training.model, config)
    batches = load_each(data.train, training.batches.keys(progress.step), config.workers)
    saved = mark = time.monotonic()
    for batch in data.track(batches, "training", config.last_epoch * steps - progress.step):
        with whole():
            take_step(training, progress, batch)
            now = time.monotonic()
            progress.seconds, mark = progress.seconds + now - mark, now
        if progress.step % steps == 0:
            _finish_epoch(training, progress, whole)
            log_epoch(progress.stats[-1])
            if stopped_early(progress.stats, config.early_stopping):
                logger.info("no better on val for %s validations: training ends here", config.early_stopping)
                return
            set_train_mode(training.model, config)
            saved = mark = time.monotonic()
        elif now - saved > 60 * config.checkpoint_minutes:
            _save(training, progress)
            saved = mark = time.monotonic()


def _finish_epoch(training: Training, progress: Progress, whole: Whole) -> None:
    """Score `val`, add the epoch's line, keep the weights if they are the best; write train.csv and state.pt."""
    config, schedule = training.config, training.config.schedule
    val_loss, val_top1 = _validate(training, len(progress.stats) + 1)
    with whole():
        line = EpochStats(
            epoch=len(progress.stats) + 1,
            lr=progress.lr,
            train_loss=progress.loss / progress.seen,
            train_top1=100 * progress.correct / progress.seen,
            val_loss=val_loss,
            val_top1=val_top1,
            seconds=progress.seconds,
            samples_per_second=progress.seen / progress.seconds,
        )
        progress.stats.append(line)
        watched = line.train_loss if schedule.watch == "train" else line.val_loss
        if schedule.name == "plateau" and watched is not None:
            training.scheduler.step(watched)  # type: ignore[arg-type]  # the watched loss, for ReduceLROnPlateau
        if config.selection != "last" and chosen_epochs(progress.stats) == line.epoch:
            weights = training.averaged.state_dict()
            progress.best = {name: each.detach().cpu().clone() for name, each in weights.items()}
        progress.loss, progress.correct, progress.seen, progress.seconds = 0.0, 0, 0, 0.0
        _save(training, progress)
        _write_stats(training, progress.stats)
    val = "" if val_loss is None else f", val loss {val_loss:.4f} top-1 {val_top1:.2f}"
    logger.info(
        "epoch %d of %d: loss %.4f top-1 %.2f%s, %.1f s, %.1f samples/s",
        line.epoch, config.last_epoch, line.train_loss, line.train_top1, val, line.seconds, line.samples_per_second,
    )  # fmt: skip


def _validate(training: Training, epoch: int) -> tuple[float | None, float | None]:
    """Mean loss over the scored samples, and top-1 in percent over all: a sample without a score counts as wrong."""
    data, config = training.data, training.config
    if data.val is None or (epoch % config.val_every and epoch < config.last_epoch):
        return None, None
    predictions = predict(
        training.averaged, data.val,
        device=training.device, normalize=data.normalize, workers=config.workers,
    )  # fmt: skip
    scores = predictions.probabilities if data.val.eval.average == "prob" else predictions.logits
    scored = np.flatnonzero(~np.isnan(scores).any(axis=1))
    right = int((scores[scored].argmax(axis=1) == predictions.targets[scored]).sum())
    logits, targets = torch.from_numpy(predictions.logits[scored]), torch.from_numpy(predictions.targets[scored])
    return F.cross_entropy(logits, targets).item(), 100 * right / len(predictions.ids)


def _save(training: Training, progress: Progress) -> None:
    if distributed.rank() == 0:
        save_state(training.folder, progress, training.parts, training.identity, training.device)


def _write_stats(training: Training, stats: list[EpochStats]) -> None:
    """train.csv: a column a field of EpochStats, empty where there is no value."""
    if distributed.rank() > 0:
        return
    with replacing(training.folder / "train.csv") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow([each.name for each in fields(EpochStats)])
        writer.writerows(astuple(line) for line in stats)
