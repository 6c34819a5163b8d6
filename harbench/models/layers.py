"""Small building blocks that several families share."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from harbench.errors import RecipeError


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


def check_joints(poses: torch.Tensor, features: tuple[int, int, int]) -> None:
    """RecipeError unless `poses` `[B, C, T, V, M]` have the (channels, joints, bodies) that a model was built for."""
    channels, _, joints, bodies = poses.shape[1:]
    if (channels, joints, bodies) != features:
        raise RecipeError(
            f"the model expects {features[0]} channels x {features[1]} joints x {features[2]} bodies; the input has "
            f"{channels} x {joints} x {bodies}:  --set model.args.channels={channels} "
            f"--set model.args.joints={joints} --set model.args.bodies={bodies}"
        )
