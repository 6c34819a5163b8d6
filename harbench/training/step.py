"""One optimiser step on one global batch: forward, backward, exchange between ranks, update."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from harbench.errors import RunError
from harbench.evaluation import distributed
from harbench.frames.clips import Batch
from harbench.frames.loader import model_inputs
from harbench.recipe import ScheduleConfig
from harbench.training.checkpoint import Progress
from harbench.training.determinism import seed_step
from harbench.training.job import Job, batch_size, forward_parts
from harbench.training.mixing import Mix, blend, draw_mix, partners
from harbench.training.modes import update_average
from harbench.training.optim import learning_rate, set_rate

AMP = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def take_step(job: Job, progress: Progress, batch: Batch) -> None:
    """One step, on this rank's share of the batch in parts of at most `micro_batch`; all ranks end with equal weights.

    Raises:
        RunError: memory ran out, the loss is not finite, or batch norm has a single sample.
    """
    config = job.config
    set_rate(job.optimizer, _rate(job, progress))
    seed_step(job.seed, progress.step, distributed.rank())
    job.optimizer.zero_grad()
    mix = draw_mix(job.seed, progress.step, config.mixup, config.cutmix)
    loss = hits = 0.0
    for part in forward_parts(job, progress.step):
        try:
            part_loss, part_hits = _accumulate(job, progress.step, batch, part, mix)
        except RuntimeError as error:  # torch's OutOfMemoryError is one; on the CPU there are only the words
            if not _out_of_memory(error):
                raise
            raise RunError(_too_much(job, part.stop - part.start, str(error))) from None
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise RunError(_too_few(job, progress.step, len(batch.targets))) from None
        loss, hits = loss + part_loss, hits + part_hits
    loss, hits = _exchange(job, [loss, hits])
    if config.clip_grad is not None:
        job.scaler.unscale_(job.optimizer)
        nn.utils.clip_grad_norm_(job.model.parameters(), config.clip_grad)
    job.scaler.step(job.optimizer)
    job.scaler.update()
    if config.ema is not None and progress.average is not None:
        update_average(progress.average, job.model, config.ema)
    progress.loss += loss
    progress.correct += int(hits)
    progress.seen += batch_size(job, progress.step)
    progress.step += 1


def _rate(job: Job, progress: Progress) -> float:
    return learning_rate(
        progress.step,
        job.config.optimizer.lr,
        job.config.schedule,
        steps_per_epoch=job.steps_per_epoch,
        epochs=job.config.epochs,
        losses=_watched(job.config.schedule, progress),
    )


def _watched(schedule: ScheduleConfig, progress: Progress) -> list[float]:
    """The losses whose plateaus lower the rate."""
    if schedule.watch == "train":
        return [line.train_loss for line in progress.stats]
    return [line.val_loss for line in progress.stats if line.val_loss is not None]


def _accumulate(job: Job, step: int, batch: Batch, part: slice, mix: Mix | None) -> tuple[float, int]:
    """Summed loss and hits of a part; gradients add up to those of the mean loss over the whole global batch."""
    config = job.config
    frames, *poses = model_inputs(batch, job.device, job.data.normalize, part)
    targets = batch.targets[part].to(job.device)
    others, share = targets, 1.0
    if mix is not None:
        frames, share = blend(frames, mix)
        others = targets[partners(len(targets), job.device)]
    if config.channels_last and frames.ndim == 5:
        frames = frames.contiguous(memory_format=torch.channels_last_3d)
    with torch.autocast(job.device.type, dtype=AMP[config.amp], enabled=config.amp != "off"):
        logits = job.forward(frames, *poses)
    loss = _loss(logits, targets, config.label_smoothing)
    if mix is not None:
        loss = share * loss + (1 - share) * _loss(logits, others, config.label_smoothing)
    value = loss.item()
    if not math.isfinite(value):
        raise RunError(_diverged(job, step, value, batch.rows[part].tolist()))
    torch.autograd.backward(job.scaler.scale(loss / batch_size(job, step)))
    return value, int((logits.argmax(1) == (targets if share >= 0.5 else others)).sum())


def _loss(logits: torch.Tensor, targets: torch.Tensor, smoothing: float) -> torch.Tensor:
    return F.cross_entropy(logits.float(), targets, label_smoothing=smoothing, reduction="sum")


def _exchange(job: Job, sums: list[float]) -> list[float]:
    """Gradients, loss and hits summed over the ranks; batch statistics are rank 0's, as in torch's DDP."""
    if distributed.size() == 1:
        return sums
    trained = [parameter for parameter in job.model.parameters() if parameter.requires_grad]
    for parameter in trained:
        if parameter.grad is None:  # a rank without samples, or a part of the model that this batch did not use
            parameter.grad = torch.zeros_like(parameter)
    totals = torch.tensor(sums, dtype=torch.float64, device=job.device)
    distributed.add_up([*(parameter.grad for parameter in trained if parameter.grad is not None), totals])
    distributed.take_over([buffer for buffer in job.model.buffers() if buffer.is_floating_point()])
    summed: list[float] = totals.tolist()
    return summed


def _out_of_memory(error: RuntimeError) -> bool:
    words = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in words or "out of memory" in words


def _too_much(job: Job, samples: int, words: str) -> str:
    least = 2 if job.grain == 2 else 1
    if samples <= least:
        return (
            f"{job.device} ran out of memory with {samples} samples in a forward pass, which is the least. Make a clip "
            f"smaller (--set input.size=..., fewer frames) or numbers shorter (--set train.amp=bf16)  "
            f"({words.partition('. ')[0]})"
        )
    return (
        f"{job.device} ran out of memory with {samples} samples in a forward pass. The same batch in smaller "
        f"parts:  --set train.micro_batch={max(least, samples // 2)}  ({words.partition('. ')[0]})"
    )


def _too_few(job: Job, step: int, share: int) -> str:
    size, count = batch_size(job, step), distributed.size()
    if share > 1:
        way = "larger parts:          --set train.micro_batch=3"
    elif size > 1:
        way = f"fewer devices:         --devices {size // 2}"
    else:
        way = "larger batches:        --set train.batch_size=2"
    return (
        f"batch norm needs two samples, and got one of the batch of {size} at step {step} (epoch "
        f"{step // job.steps_per_epoch + 1}), of which this device, of {count}, has {share} in parts of "
        f"{job.config.micro_batch or 'any size'}. Try one of\n  {way}\n  its running statistics:  --set train.bn=frozen"
    )


def _diverged(job: Job, step: int, value: float, rows: list[int]) -> str:
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
