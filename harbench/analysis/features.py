"""`features`: what a finished run's body makes of train and test, with nearest neighbors and a linear probe on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harbench.errors import RunError
from harbench.evaluation.distributed import choose_device
from harbench.files import replacing
from harbench.records import Predictions, Sample, SplitTable, Track, silent
from harbench.runs.evaluate import open_run
from harbench.runs.plan import RunOptions

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

NEIGHBORS = (1, 5, 20)
PART = 256
"""Test samples whose neighbors are looked for at once."""


@dataclass(frozen=True)
class Features:
    """Embeddings of a run and what can be told from them alone."""

    folder: str
    file: str
    dimensions: int
    train: int
    test: int
    failed: tuple[str, ...]
    """Samples without an embedding: of train left out, of test counted as wrong."""
    top1: float | None
    """The run's own number, by its classification layer."""
    neighbors: dict[int, float]
    """k -> top-1 of the k nearest training samples by cosine."""
    probe: float
    """Top-1 of a linear probe."""
    l2: float
    """Its L2 penalty."""
    held_out: dict[float, float]
    """Penalty -> top-1 on training groups that were held out, by which it was chosen."""


def features(folder: Path, *, home: Path, runs: Path, device: str = "auto", track: Track = silent) -> Features:
    """Write `<run>/features.npz`: what enters the classification layer, averaged over the views of the run's evaluation.

    It holds `train_ids` [N], `train_targets` [N], `train_features` [N, D] (NaN without an embedding), the same of test,
    and `classes` [K]. `folder` is a run folder, also relative to `runs`.

    Raises:
        RunError: there is no finished run, its weights are for other classes, or its model has no classification layer.
    """
    import numpy as np

    from harbench.datasets.tables import carve_validation
    from harbench.evaluation.features import HELD_OUT, Penultimate, linear_probe
    from harbench.evaluation.predict import predict
    from harbench.frames.streams import normalize
    from harbench.models.weights import head_name

    opened = open_run(folder, RunOptions(home, runs), subsets=("train", "val", "test"))
    recipe, inputs = opened.recipe, opened.inputs
    if not (layer := head_name(opened.model)):
        raise RunError(f"{opened.folder}: its model has neither a linear layer nor a convolution that classifies")

    def embedded(rows: Sequence[Sample]) -> Predictions:
        return predict(
            Penultimate(opened.model, layer),
            inputs.read(rows, recipe.input, recipe.eval),
            device=choose_device(device),
            normalize=partial(normalize, config=recipe.input),
            workers=recipe.train.workers,
            track=track,
        )

    table = inputs.table
    if not table.subset("val"):
        table = carve_validation(table, inputs.spec, HELD_OUT)
    rows = [sample for sample in table.samples if sample.subset != "test"]
    train, test = embedded(rows), embedded(table.subset("test"))
    path = opened.folder / "features.npz"
    _save(path, train, test, table)
    known = np.asarray(~np.isnan(train.logits).any(axis=1))
    held = np.array([sample.subset == "val" for sample in rows])
    voted = _neighbors(train.logits[known], train.targets[known], np.nan_to_num(test.logits), len(table.classes))
    probe = linear_probe(train.logits[known], train.targets[known], held[known], len(table.classes))
    return Features(
        folder=str(opened.folder),
        file=str(path),
        dimensions=train.logits.shape[1],
        train=len(train.ids),
        test=len(test.ids),
        failed=(*train.failed, *test.failed),
        top1=opened.record.metrics.get("top1"),
        neighbors={k: _top1(classes, test) for k, classes in voted.items()},
        probe=_top1(probe(np.nan_to_num(test.logits)), test),
        l2=probe.l2,
        held_out=probe.held_out,
    )


def _neighbors(
    train: npt.NDArray[np.floating], targets: npt.NDArray[np.int64], test: npt.NDArray[np.floating], number: int
) -> dict[int, npt.NDArray[np.int64]]:
    """k -> the class of most of the k nearest training samples, `[N]` of `test` `[N, D]`.

    A part of the test samples at a time: the similarities of all of them would take gigabytes.
    """
    import numpy as np

    from harbench.evaluation.features import nearest_neighbors

    parts = [
        nearest_neighbors(train, targets, test[start : start + PART], NEIGHBORS, number)
        for start in range(0, len(test), PART)
    ]
    return {k: np.concatenate([part[k] for part in parts]) for k in parts[0]} if parts else {}


def _save(path: Path, train: Predictions, test: Predictions, table: SplitTable) -> None:
    """The embeddings and what they are of, whole or not at all."""
    import numpy as np

    with replacing(path, "wb") as handle:
        np.savez(
            handle,
            allow_pickle=False,
            train_ids=np.array(train.ids),
            train_targets=train.targets,
            train_features=train.logits,
            test_ids=np.array(test.ids),
            test_targets=test.targets,
            test_features=test.logits,
            classes=np.array([label.key for label in table.classes]),
        )


def _top1(classes: npt.NDArray[np.int64], test: Predictions) -> float:
    import numpy as np

    return 100 * float(((classes == test.targets) & np.isfinite(test.logits).all(axis=1)).mean())
