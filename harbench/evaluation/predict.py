"""Scores of every sample that is to be scored: views through the model, accumulated by (sample, view)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from harbench.errors import MediaError
from harbench.evaluation import distributed
from harbench.frames.clips import ClipDataset, evaluation_batches
from harbench.frames.loader import load_each, model_inputs
from harbench.records import Predictions, Track, silent

log = logging.getLogger(__name__)

_AMP = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
VIEWS_LIMIT = 100 * 2**20
"""Bytes of float16 logits up to which the views are kept apart."""


def predict(
    model: nn.Module,
    data: ClipDataset,
    *,
    device: torch.device | str,
    normalize: Callable[[torch.Tensor], torch.Tensor],
    workers: int = 0,
    track: Track = silent,
) -> Predictions:
    """Score all views of all samples of `data`, which was made for evaluation with the views of `data.eval`.

    A sample of which any view cannot be made, or scored with finite numbers, has no score at all: NaN in its rows, the
    reason in `failed`. The number of workers changes no bit, the batch size none beyond float tolerance. Of several
    ranks each scores whole batches, every view once, and all return the same. The model goes to `device` and each of
    its modules is left in the mode (training or not) that it had.

    Args:
        normalize: from the loader's frames (on `device`) to the model's input.

    Raises:
        MediaError: there are no samples, or not one of them could be scored.
        ValueError: `data` was made for training.
    """
    config = data.eval
    if data.train:
        raise ValueError("expected data made for evaluation, found data made for training")
    if not len(data):
        raise MediaError("there are no samples to score")
    mine = evaluation_batches(data)[distributed.rank() :: distributed.size()]
    batches = load_each(data, mine, workers)
    scores: _Scores | None = None
    failed: dict[int, str] = {}
    modes = {module: module.training for module in model.modules()}
    model.to(device).eval()
    try:
        for batch in track(batches, "evaluating", len(mine)):
            failed.update(batch.failed)
            if len(batch.rows):
                with torch.inference_mode(), autocast(torch.device(device), config.amp):
                    logits = model(*model_inputs(batch, torch.device(device), normalize)).float()
                    probabilities = logits.softmax(dim=1)
                if scores is None:
                    scores = _no_scores(len(data), data.views, logits.shape[1])
                _add(scores, batch.rows, batch.views, logits.cpu().numpy(), probabilities.cpu().numpy())
    finally:
        for module, mode in modes.items():
            module.training = mode
    failed = distributed.gather_dict(failed)
    scores = _gathered(scores, data, torch.device(device))
    if scores is None:
        reason = next(iter(failed.values()))
        raise MediaError(
            f"not one of {len(data)} samples could be scored; the first: {data.ids[min(failed)]}: {reason}"
        )
    return _predictions(scores, data, failed)


def autocast(device: torch.device, amp: str) -> torch.autocast:
    """Automatic mixed precision as `train.amp` and `eval.amp` name it."""
    return torch.autocast(device.type, dtype=_AMP[amp], enabled=amp != "off")


@dataclass(frozen=True, slots=True)
class _Scores:
    """Sums over the views seen so far, in double precision, so that their order changes no result."""

    logits: npt.NDArray[np.float64]
    """[N, K]"""
    probabilities: npt.NDArray[np.float64]
    """[N, K]"""
    views: npt.NDArray[np.float16] | None
    """[N, views, K] logits"""


def _no_scores(samples: int, views: int, classes: int) -> _Scores:
    keep = samples * views * classes * 2 < VIEWS_LIMIT
    apart = np.full((samples, views, classes), np.nan, np.float16) if keep else None
    return _Scores(np.zeros((samples, classes)), np.zeros((samples, classes)), apart)


def _gathered(scores: _Scores | None, data: ClipDataset, device: torch.device) -> _Scores | None:
    """The scores of all ranks together; None when no rank has any."""
    if distributed.size() == 1:
        return scores
    classes = int(distributed.all_reduce_max(0 if scores is None else scores.logits.shape[1]))
    if not classes:
        return None
    mine = scores or _no_scores(len(data), data.views, classes)
    views = None
    if mine.views is not None:
        scored = ~np.isnan(mine.views)
        parts = np.stack([np.where(scored, mine.views, 0), scored]).astype(np.float64)
        summed, seen = distributed.all_reduce_array(parts, device)
        views = np.where(seen > 0, summed, np.nan).astype(np.float16)
    return _Scores(
        distributed.all_reduce_array(mine.logits, device),
        distributed.all_reduce_array(mine.probabilities, device),
        views,
    )


def _add(
    scores: _Scores,
    rows: npt.NDArray[np.int64],
    views: npt.NDArray[np.int64],
    logits: npt.NDArray[np.float32],
    probabilities: npt.NDArray[np.float32],
) -> None:
    np.add.at(scores.logits, rows, logits)
    np.add.at(scores.probabilities, rows, probabilities)
    if scores.views is not None:
        largest = np.finfo(np.float16).max  # a model that diverged goes beyond it; the sums keep what it said
        scores.views[rows, views] = logits.clip(-largest, largest)


def _predictions(scores: _Scores, data: ClipDataset, failed: dict[int, str]) -> Predictions:
    for row in np.flatnonzero(~np.isfinite(scores.logits).all(axis=1)):
        failed.setdefault(int(row), "the model's output is not finite")
    rows = sorted(failed)
    logits = (scores.logits / data.views).astype(np.float32)
    probabilities = (scores.probabilities / data.views).astype(np.float32)
    logits[rows] = probabilities[rows] = np.nan
    if scores.views is not None:
        scores.views[rows] = np.nan
    ids = data.ids
    if failed:
        log.warning(
            "%d of %d samples have no score and count as wrong, first %s: %s",
            len(failed),
            len(ids),
            ids[rows[0]],
            failed[rows[0]],
        )
    return Predictions(ids, data.targets, logits, probabilities, scores.views, {ids[row]: failed[row] for row in rows})
