"""Clips with their frames in another order: what a model still recognises without time tells how much it uses it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from harbench.frames.clips import Reorder

Indices = npt.NDArray[np.int64]


def _backwards(indices: Indices, rng: np.random.Generator) -> Indices:
    return indices[::-1].copy()


def _shuffled(indices: Indices, rng: np.random.Generator) -> Indices:
    return rng.permutation(indices)


def _frozen(indices: Indices, rng: np.random.Generator) -> Indices:
    return np.full_like(indices, indices[len(indices) // 2])


ORDERS: Mapping[str, Reorder] = {"reversed": _backwards, "shuffled": _shuffled, "frozen": _frozen}
"""`reversed` keeps everything but the direction of time, `shuffled` all frames but not their order, `frozen` only the
middle frame of each clip, repeated. A model that was not trained on such clips may also stumble over how they look, so
what is lost is an upper bound of what the model owes to time."""
