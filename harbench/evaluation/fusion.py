"""Late fusion: scores of several models on the same samples, weighted and added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from harbench.records import Predictions


def fuse_scores(
    parts: Sequence[Predictions], weights: Sequence[float], level: Literal["probabilities", "logits"]
) -> Predictions:
    """The weighted mean of the parts' probabilities or logits; of the other it holds what softmax makes of that.

    A sample without a score in one part has none, with that part's reason.

    Raises:
        ValueError: the parts are not of the same samples and classes, or there are not as many weights.
    """
    first = parts[0]
    if any(part.ids != first.ids or part.logits.shape != first.logits.shape for part in parts):
        raise ValueError("the parts are not scores of the same samples and classes")
    shares = np.asarray(weights, np.float64) / sum(weights)
    tables = [part.logits if level == "logits" else part.probabilities for part in parts]
    mean: npt.NDArray[np.float64] = sum(
        share * table.astype(np.float64) for share, table in zip(shares, tables, strict=True)
    )
    if level == "logits":
        logits, probabilities = mean, softmax(mean, axis=1)
    else:
        logits, probabilities = np.log(np.maximum(mean, np.finfo(np.float32).tiny)), mean
    failed = {name: reason for part in reversed(parts) for name, reason in part.failed.items()}
    missing = [index for index, name in enumerate(first.ids) if name in failed]
    logits[missing] = probabilities[missing] = np.nan
    return Predictions(
        ids=first.ids,
        targets=first.targets,
        logits=logits.astype(np.float32),
        probabilities=probabilities.astype(np.float32),
        failed={name: failed[name] for name in first.ids if name in failed},
    )
