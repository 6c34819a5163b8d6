"""`evaluate` of a file: an .onnx, a .safetensors or `hf:owner/name` on the test set that it names, without its run folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.special import softmax

from harbench.errors import DatasetError, MediaError, RunError
from harbench.inference.trained import open_trained
from harbench.records import Predictions, Track, silent


@dataclass(frozen=True)
class FileEvaluation:
    """How a model does on the test samples of the split that it was trained for."""

    source: str
    dataset: str
    split: str
    views: str
    average: str
    metrics: dict[str, float | None]
    failed: dict[str, str] = field(default_factory=dict)
    """Test sample without a score -> why; it counts as wrong."""


def evaluate_file(
    source: str, *, home: Path, device: str = "auto", allow_seen: bool = False, track: Track = silent
) -> FileEvaluation:
    """Score the test samples of a model's own split from the frame caches that it read.

    Raises:
        RunError: there is no model, or its weights have seen test samples. CacheError: the caches are not prepared.
        DatasetError: its data set is not known here, or has other classes.
    """
    from harbench.datasets.tables import keep_classes, load_spec, load_split
    from harbench.evaluation.metrics import score
    from harbench.frames.cache import find_cache, open_cache
    from harbench.frames.clips import Beside, ClipDataset
    from harbench.prepare.boxes import load_boxes

    opened = open_trained(source, device)
    if len(opened.models) > 1:
        raise RunError(f"{source} fuses runs: evaluate them one by one")
    (trained,) = opened.models
    dataset, _, split = trained.trained_on.partition(" ")
    spec, table = load_spec(dataset, home), load_split(dataset, split, home)
    keys = [label.key for label in trained.classes]
    if keys != [label.key for label in table.classes]:
        table = keep_classes(table, tuple(keys))
    if keys != [label.key for label in table.classes]:
        raise DatasetError(f"{source} has other classes, or in another order, than {dataset} has here")
    rows = table.subset("test")
    seen = trained.seen.count(spec, rows)
    if seen and not allow_seen:
        raise RunError(
            f"{source} was trained on {seen} of the {len(rows)} test samples of {trained.trained_on}: its score would say "
            "nothing. --allow-seen scores them all the same"
        )
    made = f"harbench prepare {dataset} --split {split} {trained.caches[0].options}"
    caches = [open_cache(find_cache(home, dataset, each, make=made)) for each in trained.caches]
    boxes = load_boxes(home, dataset) if trained.boxes else None
    beside = Beside(caches[1] if len(caches) > 1 else None, boxes)
    data = ClipDataset(rows, caches[0], trained.input, seed=0, views=trained.views, beside=beside)
    logits = np.full((len(rows), len(keys)), np.nan)
    probabilities, failed = logits.copy(), {}
    for row in track(range(len(rows)), "evaluating", len(rows)):
        try:
            made_views = [data.view((0, row, row, view)) for view in range(data.views)]
        except MediaError as error:
            failed[rows[row].sample_id] = str(error)
            continue
        joints = [each for _, each in made_views if each is not None]
        arrays = [np.stack([frames for frames, _ in made_views]), *([np.stack(joints)] if joints else [])]
        scores = trained.score(arrays).astype(np.float64)
        logits[row], probabilities[row] = scores.mean(axis=0), softmax(scores, axis=1).mean(axis=0)
    predictions = Predictions(
        tuple(each.sample_id for each in rows),
        data.targets,
        logits.astype(np.float32),
        probabilities.astype(np.float32),
        failed=failed,
    )
    views = trained.views
    metrics = score(predictions, table.classes, average=views.average)
    return FileEvaluation(
        source, dataset, split, f"{views.clips}x{views.crops}", views.average, dict(metrics.values), failed
    )
