"""What a trained body has learned, without its classification layer: embeddings, nearest neighbors, a linear probe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

Floats = npt.NDArray[np.floating]
Targets = npt.NDArray[np.int64]


class Penultimate(nn.Module):
    """A model that gives what enters its classification layer instead of what leaves it: `[B, D]`.

    Where that layer is applied at several times or places of a view (a frame network, a fully convolutional head), the
    mean over them.
    """

    def __init__(self, model: nn.Module, layer: str) -> None:
        """`layer` names the classification layer (`harbench.models.weights.head_name`)."""
        super().__init__()
        self.model = model
        self._entered = torch.empty(0)
        model.get_submodule(layer).register_forward_pre_hook(self._keep)

    def _keep(self, _: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._entered = inputs[0]

    def forward(self, clips: torch.Tensor, *beside: torch.Tensor) -> torch.Tensor:
        """`[B, ...]` as the model takes it, and what it takes beside, to `[B, D]`."""
        self.model(clips, *beside)
        entered = self._entered
        if entered.ndim > 3:  # of a convolution: channels stand before time and place
            return entered.flatten(2).mean(dim=2)
        return entered.reshape(len(clips), -1, entered.shape[-1]).mean(dim=1)


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


def linear_probe(train: Floats, train_targets: Targets, strength: float, number: int) -> nn.Linear:
    """Multinomial logistic regression: minimizes mean cross-entropy + strength / 2 * |weights|^2 (biases are free).

    With `C = 1 / (N * strength)` that is scikit-learn's `LogisticRegression`. Full batch, L-BFGS, double precision.
    """
    features, targets = torch.from_numpy(train).double(), torch.from_numpy(train_targets)
    layer = nn.Linear(features.shape[1], number, dtype=torch.float64)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=500, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(layer(features), targets) + strength / 2 * layer.weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return layer


def predicted(layer: nn.Linear, features: Floats) -> Targets:
    """The class of every row, `[N]`."""
    with torch.inference_mode():
        classes: Targets = layer(torch.from_numpy(features).double()).argmax(dim=1).numpy()
    return classes


def standardized(train: Floats, other: Floats) -> tuple[Floats, Floats]:
    """Both with mean 0 and deviation 1 of every dimension of `train`; what does not vary there becomes 0."""
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    scale = np.where(deviation > 1e-12, deviation, np.inf)
    return (train - mean) / scale, (other - mean) / scale
