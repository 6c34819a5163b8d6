"""A run whose body is frozen: features of every sample once, then a probe on them, then their scores by it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from harbench.errors import DatasetError, RunError
from harbench.evaluation import distributed
from harbench.records import EpochStats, Predictions, Sample, Track

if TYPE_CHECKING:
    import torch
    from torch import nn

    from harbench.models.probe import Probe
    from harbench.runs.inputs import Inputs

log = logging.getLogger(__name__)
EPOCHS, BATCH, RATE = 60, 64, 1e-3
"""Of the attentive probe: AdamW with a cosine schedule."""


def fit_probe(
    model: nn.Module, inputs: Inputs, home: Path, device: torch.device, seed: int, track: Track
) -> tuple[list[EpochStats], Predictions]:
    """Fit `model.head` on the features of all of train, and score the test samples by it.

    The features lie in `<home>/<data set>/features/`, and every probe on the same body, input and cache uses them again.

    Raises:
        MediaError: no sample has features. RunError: several processes were started.
    """
    from harbench.evaluation.features import FeatureConfig, kept_features
    from harbench.frames.streams import normalize
    from harbench.models.probe import Probe

    assert isinstance(model, Probe)
    if distributed.size() > 1:
        raise RunError("model.probe is fitted by one process; run it without --devices or torchrun")
    recipe, began = inputs.recipe, time.monotonic()
    config = FeatureConfig(
        home / recipe.data.dataset / "features",
        about=_about(inputs, home),
        device=device,
        normalize=partial(normalize, config=recipe.input),
        workers=recipe.train.workers,
    )
    rows = [sample for sample in inputs.table.subset("train") if sample.media in inputs.cache]
    train = kept_features(model.body, inputs.read(rows, recipe.input, recipe.eval), config, track)
    if train.failed:
        log.warning("%d of %d training samples have no features, first %s: %s",
                    len(train.failed), len(rows), *next(iter(train.failed.items())))  # fmt: skip
    known = np.flatnonzero(np.isfinite(train.features).all(axis=(1, 2, 3))).tolist()
    features, targets = train.features[known], np.array([rows[row].target for row in known])
    held = _held_out(inputs, [rows[row] for row in known])
    held_top1 = _fit(model, features, targets, held, seed)
    scores = _scores(model, features)
    loss = -np.log(np.maximum(softmax(scores.mean(axis=1), axis=1)[np.arange(len(targets)), targets], 1e-12)).mean()
    top1 = 100 * float((scores.mean(axis=1).argmax(axis=1) == targets).mean())
    seconds = time.monotonic() - began
    stats = EpochStats(1, 0.0, float(loss), top1, None, held_top1, seconds, len(rows) / seconds)
    test = kept_features(model.body, inputs.test, config, track)
    predictions = _predictions(inputs, _scores(model, test.features), test.failed)
    model.to(device)
    return [stats], predictions


def _about(inputs: Inputs, home: Path) -> str:
    """What the features depend on beside the body: input, views, and what lies in the caches."""
    recipe = inputs.recipe
    given: dict[str, Any] = recipe.input.model_dump(mode="json", exclude={"augment"})
    folders = [home / recipe.data.dataset / "cache" / name for name in inputs.caches]
    files = sorted((path.name, path.stat().st_size) for folder in folders for path in folder.glob("*.tar"))
    views = recipe.eval.clips, recipe.eval.crops, recipe.eval.amp
    return repr((given, views, inputs.caches, files, recipe.data.boxes))


def _held_out(inputs: Inputs, rows: Sequence[Sample]) -> npt.NDArray[np.bool_]:
    """Which of the training samples choose the penalty: whole groups; none where groups are too few for that."""
    from harbench.datasets.tables import carve_validation
    from harbench.evaluation.features import HELD_OUT

    try:
        table = carve_validation(replace(inputs.table, samples=tuple(rows)), inputs.spec, HELD_OUT)
    except DatasetError:
        return np.zeros(len(rows), bool)
    held = {sample.sample_id for sample in table.subset("val")}
    return np.array([row.sample_id in held for row in rows])


def _fit(
    model: Probe,
    features: npt.NDArray[np.float32],
    targets: npt.NDArray[np.int64],
    held: npt.NDArray[np.bool_],
    seed: int,
) -> float | None:
    """Fit the head on features `[N, views, T, D]`; returns top-1 on what was held out to choose, where something was."""
    import torch

    from harbench.evaluation.features import linear_probe
    from harbench.models.probe import Attentive, Linear, Neighbors

    head, means = model.head, features.mean(axis=(1, 2))
    if isinstance(head, Neighbors):
        head.keep(torch.from_numpy(means), torch.from_numpy(targets))
        return None
    if isinstance(head, Attentive):
        _descend(head, torch.from_numpy(features), torch.from_numpy(targets), seed)
        return None
    assert isinstance(head, Linear)
    probe = linear_probe(means, targets, held, head.classifier.out_features)
    head.classifier.weight.data.copy_(torch.from_numpy(probe.weight))
    head.classifier.bias.data.copy_(torch.from_numpy(probe.bias))
    log.info("l2 penalty %g, top-1 on held-out groups by penalty: %s", probe.l2, probe.held_out or "none held out")
    return probe.held_out.get(probe.l2)


def _descend(head: torch.nn.Module, features: torch.Tensor, targets: torch.Tensor, seed: int) -> None:
    """Gradient descent on single views of `features` `[N, views, T, D]`."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=0.05)
    steps = EPOCHS * -(-len(targets) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(targets), generator=generator).split(BATCH):  # type: ignore[no-untyped-call]
            views = torch.randint(features.shape[1], (len(rows),), generator=generator)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(head(features[rows, views]), targets[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()


def _scores(model: Probe, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Logits `[N, views, K]` by the head; NaN without features."""
    import torch

    model.head.cpu().eval()
    with torch.inference_mode():
        views = [model.head(torch.from_numpy(features[:, view])) for view in range(features.shape[1])]
        scores: npt.NDArray[np.float32] = torch.stack(views, dim=1).numpy()
    scores[~np.isfinite(features).all(axis=(1, 2, 3))] = np.nan
    return scores


def _predictions(inputs: Inputs, scores: npt.NDArray[np.float32], failed: dict[str, str]) -> Predictions:
    from harbench.evaluation.predict import VIEWS_LIMIT

    return Predictions(
        inputs.test.ids,
        inputs.test.targets,
        scores.mean(axis=1),
        softmax(scores, axis=2).mean(axis=1),
        scores.astype(np.float16) if scores.size * 2 < VIEWS_LIMIT else None,
        failed,
    )
