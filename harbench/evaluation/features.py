"""What a body has learned, without its classification layer: features, kept and reused; nearest neighbors, a linear probe."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from harbench.errors import MediaError, damage
from harbench.evaluation.predict import autocast
from harbench.files import locked, replacing
from harbench.frames.clips import ClipDataset, evaluation_batches
from harbench.frames.loader import load_each, model_inputs
from harbench.models.probe import Body
from harbench.records import Track, silent

Floats = npt.NDArray[np.floating]
Targets = npt.NDArray[np.int64]
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""L2 penalties that the linear probe chooses from."""
HELD_OUT = 0.2
"""Share of the training groups on which it does."""


class Penultimate(nn.Module):
    """A model that gives what enters its classification layer, averaged over the times and places of a view: `[B, D]`."""

    def __init__(self, model: nn.Module, layer: str) -> None:
        """`layer` names the classification layer (`harbench.models.weights.head_name`), which is taken out of `model`."""
        super().__init__()
        self.body = Body(model, layer)

    def forward(self, clips: torch.Tensor, *beside: torch.Tensor) -> torch.Tensor:
        """`[B, ...]` as the model takes it, and what it takes beside, to `[B, D]`."""
        features: torch.Tensor = self.body(clips, *beside).mean(dim=1)
        return features


# -------------------------------------------------------------------------------------------------------- kept features
@dataclass(frozen=True)
class Kept:
    """Features of samples, in the order that was asked for."""

    features: npt.NDArray[np.float32]
    """`[N, views, T, D]`; NaN where there are none."""
    failed: dict[str, str]
    """Sample id -> why it has none."""


@dataclass(frozen=True)
class FeatureConfig:
    """How features are made, and where they are kept."""

    folder: Path
    """The file in it is named by body, input and views, so that every probe finds the same one."""
    about: str
    """Input, views and caches, in words that change with them."""
    device: torch.device
    normalize: Callable[[torch.Tensor], torch.Tensor]
    workers: int = 0


def kept_features(body: Body, data: ClipDataset, config: FeatureConfig, track: Track = silent) -> Kept:
    """The features of every view of `data`: those kept before, and the others computed now and kept.

    Raises MediaError where no sample has any.
    """
    path = config.folder / f"{_digest(body, config.about)}.npz"
    with locked(path.with_name(f".{path.stem}.lock")):
        known = _read(path)
        rows = [row for row, name in enumerate(data.ids) if name not in known]
        failed: dict[str, str] = {}
        if rows:
            made, failed = _computed(body, data, rows, config, track)
            known |= made
            if not known:
                raise MediaError(
                    f"not one of {len(rows)} samples has features; the first: {next(iter(failed.values()))}"
                )
            with replacing(path, "wb") as handle:
                np.savez(handle, ids=np.array(list(known)), features=np.stack(list(known.values())))
    shape = next(iter(known.values())).shape
    gone = np.full(shape, np.nan, np.float32)
    return Kept(np.stack([known.get(name, gone) for name in data.ids]), failed)


def _digest(body: Body, about: str) -> str:
    """Of the body's weights and of what goes into it."""
    digest = hashlib.sha256(about.encode())
    for key, tensor in sorted(body.state_dict().items()):
        digest.update(key.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _read(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(zip(arrays["ids"].tolist(), arrays["features"], strict=True))
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise MediaError(f"{path} is damaged ({damage(error)}); delete it, and the features are made again") from None


def _computed(
    body: Body, data: ClipDataset, rows: Sequence[int], config: FeatureConfig, track: Track
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, str]]:
    """Sample id -> `[views, T, D]`, and why some have none."""
    batches = evaluation_batches(data, rows)
    found: dict[int, dict[int, npt.NDArray[np.float32]]] = defaultdict(dict)
    failed: dict[str, str] = {}
    body.to(config.device).eval()
    for batch in track(load_each(data, batches, config.workers), "computing features", len(batches)):
        failed |= {data.ids[row]: why for row, why in batch.failed.items()}
        if not len(batch.rows):
            continue
        with torch.inference_mode(), autocast(config.device, data.eval.amp):
            features = body(*model_inputs(batch, config.device, config.normalize)).float().cpu().numpy()
        for row, view, each in zip(batch.rows.tolist(), batch.views.tolist(), features, strict=True):
            found[row][view] = each
    whole = {data.ids[row]: views for row, views in found.items() if data.ids[row] not in failed}
    return {name: np.stack([views[view] for view in sorted(views)]) for name, views in whole.items()}, failed


# --------------------------------------------------------------------------------------------------------------- probes
def nearest_neighbors(
    train: Floats, train_targets: Targets, test: Floats, ks: Sequence[int], number: int
) -> dict[int, Targets]:
    """The class of most of the k nearest training embeddings by cosine, for every k, `[N]` of `test` `[N, D]`.

    Of classes with equally many, the one of the lower index. `ks` beyond the number of training samples are left out.
    """
    similar = _unit(test) @ _unit(train).T
    nearest = np.argsort(-similar, axis=1, kind="stable")[:, : max(ks)]
    votes = np.eye(number, dtype=np.int64)[train_targets[nearest]]
    return {k: votes[:, :k].sum(axis=1).argmax(axis=1) for k in ks if k <= len(train)}


def _unit(features: Floats) -> Floats:
    unit: Floats = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return unit


@dataclass(frozen=True)
class LinearProbe:
    """A linear classifier of features."""

    weight: npt.NDArray[np.float64]
    """`[K, D]`"""
    bias: npt.NDArray[np.float64]
    """`[K]`"""
    l2: float
    held_out: dict[float, float]
    """Penalty -> top-1 on what was held out, by which it was chosen."""

    def __call__(self, features: Floats) -> Targets:
        """The class of every row, `[N]`."""
        classes: Targets = (features @ self.weight.T + self.bias).argmax(axis=1)
        return classes


def linear_probe(features: Floats, targets: Targets, held: npt.NDArray[np.bool_], number: int) -> LinearProbe:
    """Multinomial logistic regression on standardized features `[N, D]`; the penalty is chosen on the `held` samples.

    scikit-learn's, with C = 1 / (N * l2): it minimizes mean cross-entropy + l2 / 2 * |weights|^2. Of equally good penalties
    the strongest is taken, and with it the fit is of all samples. Without `held` samples the middle one is.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def fitted(rows: npt.NDArray[np.bool_], l2: float) -> Any:
        regression = LogisticRegression(C=1 / (rows.sum() * l2), max_iter=1000)
        return make_pipeline(StandardScaler(), regression).fit(features[rows], targets[rows])

    held_out = {}
    if held.any() and len(set(targets[~held].tolist())) > 1:
        held_out = {l2: 100 * float(fitted(~held, l2).score(features[held], targets[held])) for l2 in PENALTIES}
    l2 = max(held_out, key=lambda each: (held_out[each], each), default=PENALTIES[len(PENALTIES) // 2])
    scaler, regression = fitted(np.ones(len(targets), bool), l2)
    slopes, offsets = regression.coef_, regression.intercept_
    if len(slopes) == 1:  # of two classes scikit-learn keeps the difference
        slopes, offsets = np.concatenate([-slopes, slopes]) / 2, np.concatenate([-offsets, offsets]) / 2
    weight, bias = np.zeros((number, features.shape[1])), np.full(number, -100.0)  # a class without a sample
    weight[regression.classes_] = slopes / scaler.scale_
    bias[regression.classes_] = offsets - weight[regression.classes_] @ scaler.mean_
    return LinearProbe(weight, bias, l2, held_out)
