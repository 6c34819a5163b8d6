"""Small CNNs for KTH's gray frames: on single ones, and on a block of neighboring ones (or of their flow).

The networks of https://github.com/vkhoi/KTH-Action-Recognition, whose frames are 60x80; here they are square. Input
`[B, C, T, H, W]`; gray frames come as three equal channels, of which one is used.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from harbench.models.layers import PerFrame


class FirstChannels(nn.Module):
    """The first channels of `[B, C, ...]`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """`[B, C, ...]` to `[B, channels, ...]`."""
        return frames[:, : self.channels]


def frame_cnn(num_classes: int, size: int = 72, dropout: float = 0.5) -> nn.Module:
    """Three 2D convolutions of 16, 32 and 64 channels and a layer of 128; `size` is `input.size`."""
    stages: list[nn.Module] = [FirstChannels(1)]
    for entering, leaving, kernel in ((1, 16, 5), (16, 32, 3), (32, 64, 3)):
        convolution = nn.Conv2d(entering, leaving, kernel)
        stages += [convolution, nn.BatchNorm2d(leaving), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(dropout)]
    side = _left(size, (5, 3, 3), (2, 2, 2))
    return PerFrame(nn.Sequential(*stages, *_head(64 * side**2, num_classes, dropout)))


def block_cnn(num_classes: int, frames: int = 15, size: int = 72, channels: int = 1, dropout: float = 0.5) -> nn.Module:
    """Three 3D convolutions of 16, 32 and 64 channels and a layer of 128; `channels: 2` takes a block of flow."""
    stages: list[nn.Module] = [FirstChannels(channels)]
    for entering, leaving, kernel, pool in ((channels, 16, 5, 1), (16, 32, 3, 1), (32, 64, 3, 2)):
        convolution = nn.Conv3d(entering, leaving, (4, kernel, kernel))
        stages += [convolution, nn.BatchNorm3d(leaving), nn.ReLU(), nn.MaxPool3d((pool, 2, 2)), nn.Dropout(dropout)]
    side, time = _left(size, (5, 3, 3), (2, 2, 2)), _left(frames, (4, 4, 4), (1, 1, 2))
    return nn.Sequential(*stages, *_head(64 * time * side**2, num_classes, dropout))


def _head(features: int, num_classes: int, dropout: float) -> list[nn.Module]:
    return [nn.Flatten(), nn.Linear(features, 128), nn.ReLU(), nn.Dropout(dropout), nn.Linear(128, num_classes)]


def _left(length: int, kernels: Sequence[int], pools: Sequence[int]) -> int:
    """What unpadded convolutions, each followed by pooling, leave of a length; ValueError where nothing is left."""
    left = length
    for kernel, pool in zip(kernels, pools, strict=True):
        left = (left - kernel + 1) // pool
    if left < 1:
        raise ValueError(f"{length} frames or pixels are too few for its convolutions")
    return left
