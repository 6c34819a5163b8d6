"""What a model made of samples: scores, metrics, epochs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class Predictions:
    """Scores of every sample that was to be scored, in the order of the split table."""

    ids: tuple[str, ...]
    targets: npt.NDArray[np.int64]
    """[N]"""
    logits: npt.NDArray[np.float32]
    """[N, K], averaged over views; rows of NaN for samples that could not be scored."""
    probabilities: npt.NDArray[np.float32]
    """[N, K], softmax averaged over views; rows of NaN likewise."""
    views: npt.NDArray[np.float16] | None = None
    """[N, views, K] logits, when under 100 MB."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """sample id -> why it has no score. It counts as wrong."""


@dataclass(frozen=True)
class Metrics:
    """All in percent; undefined is None (mean AP without a positive, top-5 of four classes)."""

    values: Mapping[str, float | None]
    """`top1`, `top5`, `mean_class`, `mAP`, `mAP_voc`, `mAP_11`; with `clip_top1` where views were kept."""
    per_class: Mapping[str, Mapping[str, float | None]]
    """Class key -> `samples`, `recall`, `ap`."""
    samples: int
    scored: int
    confusion: tuple[tuple[int, ...], ...]
    """[K, K] counts, rows are truth; samples without a score are in none of its cells."""


@dataclass(frozen=True, slots=True)
class EpochStats:
    """One line of train.csv."""

    epoch: int
    lr: float
    train_loss: float
    train_top1: float
    val_loss: float | None
    val_top1: float | None
    seconds: float
    samples_per_second: float
