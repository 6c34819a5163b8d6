"""Small building blocks that several families share."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class DropoutLinear(nn.Linear):
    """Dropout, then a linear layer, under the state-dict keys of a plain linear layer: published weights still fit."""

    def __init__(self, in_features: int, out_features: int, dropout: float = 0.0) -> None:
        super().__init__(in_features, out_features)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), found {dropout}")
        self.dropout = dropout

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`[..., in_features]` to `[..., out_features]`."""
        return super().forward(F.dropout(features, self.dropout, self.training))


class PerFrame(nn.Module):
    """An image network on every frame of a clip, the logits averaged over time.

    So a still or a single frame is a clip of one frame, and the same network scores both.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """`[B, C, T, H, W]` to logits `[B, K]`."""
        batch, time = frames.shape[0], frames.shape[2]
        logits: torch.Tensor = self.net(frames.transpose(1, 2).flatten(0, 1))
        return logits.view(batch, time, -1).mean(1)
