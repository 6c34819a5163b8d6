"""3D convolutional networks other than the ResNets. Input `[B, 3, T, H, W]`."""

from __future__ import annotations

import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from harbench.models.layers import DropoutLinear


class LastPool(nn.Module):
    """S3D's mean over 2x7x7 positions, of smaller maps over as many as there are."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """`[B, C, T, H, W]` to one less in T and six less in H and W, each at least 1."""
        time, height, width = maps.shape[2:]
        return F.avg_pool3d(maps, (min(2, time), min(7, height), min(7, width)), stride=1)


def s3d(num_classes: int, dropout: float = 0.2) -> nn.Module:
    """S3D of Xie et al. (ECCV 2018, arXiv:1712.04851), as in torchvision: 8.3 M parameters at 400 classes.

    Frames may be smaller than the 224 pixels of the published weights.
    """
    net: nn.Module = torchvision.models.video.s3d(weights=None, num_classes=num_classes, dropout=dropout)
    net.avgpool = LastPool()
    return net


class C3D(nn.Module):
    """Eight 3x3x3 convolutions in five pooled groups, then three fully connected layers."""

    def __init__(self, num_classes: int, size: int, dropout: float, batch_norm: bool) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_group(3, 64, 1, batch_norm),
            nn.MaxPool3d((1, 2, 2)),
            *_group(64, 128, 1, batch_norm),
            nn.MaxPool3d(2),
            *_group(128, 256, 2, batch_norm),
            nn.MaxPool3d(2),
            *_group(256, 512, 2, batch_norm),
            nn.MaxPool3d(2),
            *_group(512, 512, 2, batch_norm),
            nn.MaxPool3d(2, padding=(0, 1, 1)),
        )
        self.fc6 = nn.Linear(512 * (size // 32 + 1) ** 2, 4096)  # the last pooling pads by one
        self.fc7 = DropoutLinear(4096, 4096, dropout)
        self.fc8 = DropoutLinear(4096, num_classes, dropout)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """`[B, 3, 16, size, size]` to logits `[B, K]`."""
        hidden = self.fc6(self.features(frames).flatten(1)).relu()
        logits: torch.Tensor = self.fc8(self.fc7(hidden).relu())
        return logits


def c3d(num_classes: int, size: int = 112, dropout: float = 0.5, batch_norm: bool = False) -> nn.Module:
    """C3D of Tran et al. (ICCV 2015, arXiv:1412.0767) for 16 frames: 78.4 M parameters at 101 classes and 112 pixels.

    `batch_norm` normalizes after every convolution, which training from scratch wants. `size` is `input.size`.
    """
    return C3D(num_classes, size, dropout, batch_norm)


def _group(inputs: int, outputs: int, count: int, batch_norm: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for number in range(count):
        layers.append(nn.Conv3d(outputs if number else inputs, outputs, 3, padding=1, bias=not batch_norm))
        layers += [nn.BatchNorm3d(outputs)] if batch_norm else []
        layers.append(nn.ReLU(inplace=True))
    return layers
