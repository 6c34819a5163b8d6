"""PoseConv3D of Duan et al. (CVPR 2022, arXiv:2104.13586): a 3D CNN on heat maps of the joints. Input `[B, C, T, V, M]`.

The maps are drawn by the network itself, so that caches and augmentation are those of joints.
"""

from __future__ import annotations

import torch
from torch import nn

from harbench.models.layers import DropoutLinear, check_joints
from harbench.models.slowfast import convolution, stage_of

STAGES = ((32, 4, 1, 1), (64, 6, 3, 1), (128, 3, 3, 2))
"""Width, blocks, frames of the kernel and stride in time of the three stages: a Slow-only R50 without its second one."""
MARGIN = 1.25
"""Side of the square around all joints of a clip, in lengths of its longer side."""


def heat_maps(poses: torch.Tensor, size: int, sigma: float) -> torch.Tensor:
    """Gaussians about the joints of the body nearest to each pixel, `[B, V, T, size, size]`, of joints `[B, C, T, V, M]`.

    x and y come first; a third channel is the height of the joint's Gaussian, and joints of zeros have none. All joints of
    a clip lie in one square, which the maps show.
    """
    points = poses[:, :2]
    height = poses[:, 2] if poses.shape[1] == 3 else (points != 0).any(dim=1).to(poses.dtype)
    height = height * (points != 0).any(dim=1)
    seen = (height > 0).unsqueeze(1)
    low = points.masked_fill(~seen, torch.inf).amin(dim=(2, 3, 4), keepdim=True)
    high = points.masked_fill(~seen, -torch.inf).amax(dim=(2, 3, 4), keepdim=True)
    found = seen.any(dim=2, keepdim=True).any(dim=3, keepdim=True).any(dim=4, keepdim=True)
    low, high = low.where(found, torch.zeros_like(low)), high.where(found, torch.ones_like(high))
    side = ((high - low).amax(dim=1, keepdim=True) * MARGIN).clamp_min(1e-6)
    places = ((points - (low + high) / 2) / side + 0.5) * size - 0.5
    pixels = torch.arange(size, device=poses.device, dtype=poses.dtype)
    across, down = (torch.exp(-((pixels - each.unsqueeze(-1)) ** 2) / (2 * sigma**2)) for each in places.unbind(1))
    maps = height[..., None, None] * down.unsqueeze(-1) * across.unsqueeze(-2)
    return maps.amax(dim=3).transpose(1, 2)


class PoseConv3D(nn.Module):
    """Heat maps, a convolution in place, three stages, a mean, a linear layer."""

    def __init__(self, num_classes: int, features: tuple[int, int, int], size: int, dropout: float) -> None:
        super().__init__()
        self.features, self.size = features, size
        self.stem = nn.Sequential(*convolution(features[1], 32, (1, 7, 7)), nn.ReLU(inplace=True))
        self.stages, width = nn.Sequential(), 32
        for inner, count, time_kernel, time_stride in STAGES:
            self.stages.append(stage_of(width, inner, count, time_kernel, 2, time_stride))
            width = 4 * inner
        self.head = DropoutLinear(width, num_classes, dropout)

    def forward(self, poses: torch.Tensor) -> torch.Tensor:
        """`[B, C, T, V, M]` to logits `[B, K]`."""
        check_joints(poses, self.features)
        maps = self.stages(self.stem(heat_maps(poses, self.size, sigma=0.6)))
        logits: torch.Tensor = self.head(maps.mean(dim=(2, 3, 4)))
        return logits


def poseconv3d(
    num_classes: int, joints: int = 17, channels: int = 3, bodies: int = 2, size: int = 56, dropout: float = 0.5
) -> nn.Module:
    """SlowOnly on 17 heat maps of 56 x 56 pixels: 2.0 M parameters, 15.6 GFLOPs on 48 frames (the paper: 15.9)."""
    return PoseConv3D(num_classes, (channels, joints, bodies), size, dropout)
