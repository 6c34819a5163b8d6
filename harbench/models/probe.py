"""A frozen body and what classifies its features instead of its own last layer: neighbors, or attention over frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

NEIGHBORS = 20
TEMPERATURE = 0.07
"""As DINO's weighted nearest-neighbor classifier (arXiv:2104.14294, appendix F)."""


class Entered(nn.Module):
    """In place of a classification layer: what enters it, whatever stands beside."""

    def forward(self, features: torch.Tensor, *beside: object) -> torch.Tensor:
        """`features` as they are."""
        return features


class Body(nn.Module):
    """A model without its classification layer: the features that would enter it."""

    def __init__(self, model: nn.Module, layer: str) -> None:
        """`layer` names the classification layer (`harbench.models.weights.head_name`), which is taken out."""
        super().__init__()
        self.model = model
        self.layer = layer
        entered: list[torch.Tensor] = []  # no attribute, which torch.export would not let change
        self._take: Callable[[], torch.Tensor] = entered.pop
        model.set_submodule(layer, Entered())
        model.get_submodule(layer).register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))

    def forward(self, clips: torch.Tensor, *beside: torch.Tensor) -> torch.Tensor:
        """`[B, ...]` as the model takes it, and what it takes beside, to `[B, T, D]`.

        T is 1 but where the layer is applied at several times or places of a view (a frame network, a fully convolutional
        head).
        """
        self.model(clips, *beside)
        entered = self._take()
        if entered.ndim > 3:  # of a convolution: channels stand before time and place
            return entered.flatten(2).transpose(1, 2)
        return entered.reshape(clips.shape[0], -1, entered.shape[-1])  # `len` would fix the batch size of an export


class Neighbors(nn.Module):
    """The nearest training features by cosine about their mean vote, each with exp(similarity / 0.07)."""

    mean: torch.Tensor
    features: torch.Tensor
    targets: torch.Tensor

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.keep(torch.ones(1, width), torch.zeros(1, dtype=torch.int64))

    def keep(self, features: torch.Tensor, targets: torch.Tensor) -> None:
        """Remember training features `[N, D]` and their classes `[N]`."""
        self.register_buffer("mean", features.mean(dim=0))
        self.register_buffer("features", F.normalize(features - self.mean, dim=1))
        self.register_buffer("targets", targets)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """A checkpoint has as many samples as it was made from."""
        self.keep(state_dict[f"{prefix}features"], state_dict[f"{prefix}targets"])
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`[B, T, D]`, averaged over T, to the logarithms of the classes' shares of the vote, `[B, K]`."""
        similar = F.normalize(features.mean(dim=1) - self.mean, dim=1) @ self.features.T
        found, places = similar.topk(min(NEIGHBORS, len(self.features)), dim=1)
        votes = F.one_hot(self.targets[places], self.num_classes) * (found / TEMPERATURE).softmax(dim=1).unsqueeze(-1)
        return votes.sum(dim=1).clamp_min(1e-6).log()


class Attentive(nn.Module):
    """One learned query over the features of the frames, then a linear layer."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.query = nn.Parameter(torch.zeros(width))
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`[B, T, D]` to logits `[B, K]`."""
        normed = self.norm(features)
        weights = (normed @ self.query / normed.shape[-1] ** 0.5).softmax(dim=1)
        logits: torch.Tensor = self.classifier((weights.unsqueeze(-1) * normed).sum(dim=1))
        return logits


class Linear(nn.Module):
    """A linear layer on the mean over T."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`[B, T, D]` to logits `[B, K]`."""
        logits: torch.Tensor = self.classifier(features.mean(dim=1))
        return logits


class Probe(nn.Module):
    """A body and its probe."""

    def __init__(self, body: Body, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, clips: torch.Tensor, *beside: torch.Tensor) -> torch.Tensor:
        """Clips, and what the body takes beside, to logits `[B, K]`."""
        logits: torch.Tensor = self.head(self.body(clips, *beside))
        return logits


def with_probe(model: nn.Module, layer: str, kind: str, num_classes: int) -> Probe:
    """`model` with a fresh probe in place of its classification `layer`; `kind` is linear, knn or attentive."""
    own = model.get_submodule(layer)
    width = own.in_features if isinstance(own, nn.Linear) else own.in_channels
    heads: dict[str, Callable[[Any, int], nn.Module]] = {"linear": Linear, "knn": Neighbors, "attentive": Attentive}
    return Probe(Body(model, layer), heads[kind](width, num_classes))
