"""One optimizer step on one global batch: forward, backward, all_reduce between ranks, update."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from harbench.errors import RunError
from harbench.evaluation import distributed
from harbench.evaluation.predict import autocast
from harbench.frames.clips import Batch
from harbench.frames.loader import model_inputs
from harbench.training.checkpoint import Progress
from harbench.training.determinism import seed_step
from harbench.training.mixing import Mix, blend, draw_mix, partners
from harbench.training.setup import Training


def take_step(training: Training, progress: Progress, batch: Batch) -> None:
    """One step, on this rank's share of the batch in parts of at most `micro_batch`; all ranks end with equal weights.

    Raises:
        RunError: memory ran out, the loss is not finite, or batch norm has a single sample.
    """
    config, optimizer = training.config, training.optimizer
    seed_step(training.seed, progress.step, distributed.rank())
    optimizer.zero_grad()
    mix = draw_mix(training.seed, progress.step, config.mixup, config.cutmix)
    sums = [0.0, 0.0]
    for part in training.batches.parts(progress.step):
        try:
            loss, hits = _accumulate(training, progress.step, batch, part, mix)
        except RuntimeError as error:  # PyTorch's OutOfMemoryError is one; on the CPU there is only the message
            if not _out_of_memory(error):
                raise
            raise RunError(_too_much(training, part.stop - part.start, str(error))) from None
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise RunError(_too_few(training, progress.step, len(batch.targets))) from None
        sums = [sums[0] + loss, sums[1] + hits]
    total_loss, total_hits = _all_reduce(training, sums)
    if config.clip_grad is not None:
        training.scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(training.model.parameters(), config.clip_grad)
    training.scaler.step(optimizer)
    training.scaler.update()
    if training.ema is not None:
        training.ema.update(training.model)
    progress.lr = optimizer.param_groups[0]["lr"] / optimizer.param_groups[0]["scale"]
    if config.schedule.name != "plateau":
        training.scheduler.step()
    progress.loss += total_loss
    progress.correct += int(total_hits)
    progress.seen += training.batches.size(progress.step)
    progress.step += 1


def _accumulate(training: Training, step: int, batch: Batch, part: slice, mix: Mix | None) -> tuple[float, int]:
    """Summed loss and hits of a part; gradients add up to those of the mean loss over the whole global batch."""
    config, device = training.config, training.device
    frames, *poses = model_inputs(batch, device, training.data.normalize, part)
    targets = batch.targets[part].to(device)
    others, share = targets, 1.0
    if mix is not None:
        frames, share = blend(frames, mix)
        others = targets[partners(len(targets), device)]
    if config.channels_last and frames.ndim == 5:
        frames = frames.contiguous(memory_format=torch.channels_last_3d)
    with autocast(device, config.amp):
        logits = training.forward(frames, *poses)
    loss = _loss(logits, targets, config.label_smoothing)
    if mix is not None:
        loss = share * loss + (1 - share) * _loss(logits, others, config.label_smoothing)
    value = loss.item()
    if not math.isfinite(value):
        raise RunError(_diverged(training, step, value, batch.rows[part].tolist()))
    torch.autograd.backward(training.scaler.scale(loss / training.batches.size(step)))
    return value, int((logits.argmax(1) == (targets if share >= 0.5 else others)).sum())


def _loss(logits: torch.Tensor, targets: torch.Tensor, smoothing: float) -> torch.Tensor:
    return F.cross_entropy(logits.float(), targets, label_smoothing=smoothing, reduction="sum")


def _all_reduce(training: Training, sums: list[float]) -> list[float]:
    """Gradients, loss and hits summed over the ranks; batch statistics are rank 0's, as in PyTorch's DDP."""
    if distributed.size() == 1:
        return sums
    trained = [parameter for parameter in training.model.parameters() if parameter.requires_grad]
    for parameter in trained:
        if parameter.grad is None:  # a rank without samples, or a part of the model that this batch did not use
            parameter.grad = torch.zeros_like(parameter)
    totals = torch.tensor(sums, dtype=torch.float64, device=training.device)
    distributed.all_reduce([*(parameter.grad for parameter in trained if parameter.grad is not None), totals])
    distributed.broadcast([buffer for buffer in training.model.buffers() if buffer.is_floating_point()])
    summed: list[float] = totals.tolist()
    return summed


def _out_of_memory(error: RuntimeError) -> bool:
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in text or "out of memory" in text


def _too_much(training: Training, samples: int, text: str) -> str:
    least = training.batches.unit
    fix = f"Use smaller parts of the same batch:  --set train.micro_batch={max(least, samples // 2)}"
    if samples <= least:
        fix = "That is the minimum. Use smaller clips (--set input.size=..., fewer frames) or --set train.amp=bf16"
    return f"{training.device} ran out of memory with {samples} samples in a forward pass. {fix}  ({text.partition('. ')[0]})"


def _too_few(training: Training, step: int, share: int) -> str:
    size, count = training.batches.size(step), distributed.size()
    if share > 1:
        fix = "larger parts:          --set train.micro_batch=3"
    elif size > 1:
        fix = f"fewer devices:         --devices {size // 2}"
    else:
        fix = "larger batches:        --set train.batch_size=2"
    return (
        f"batch norm needs two samples, and got one of the batch of {size} at step {step} (epoch "
        f"{step // training.batches.steps_per_epoch + 1}), of which this device, of {count}, has {share} in parts of "
        f"{training.config.micro_batch or 'any size'}. Try one of\n  {fix}\n"
        "  its running statistics:  --set train.bn=frozen"
    )


def _diverged(training: Training, step: int, value: float, rows: list[int]) -> str:
    ids, config = [training.data.train.ids[row] for row in rows], training.config
    shown = ", ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
    fixes = [f"a lower rate:       --set train.optimizer.lr={config.optimizer.lr / 10:g}"]
    if config.clip_grad is None:
        fixes.append("gradient clipping:  --set train.clip_grad=1.0")
    if config.amp != "off":
        fixes.append("full precision:     --set train.amp=off")
    return (
        f"the loss is {value} at step {step} (epoch {step // training.batches.steps_per_epoch + 1}) on the samples {shown}.\n"
        "A resumed training would repeat it, as every draw is fixed by the seed. Try one of\n  " + "\n  ".join(fixes)
    )
