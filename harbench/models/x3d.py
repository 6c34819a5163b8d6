"""X3D of Feichtenhofer (CVPR 2020, arXiv:2004.04730), as in the authors' PyTorchVideo. Input `[B, 3, T, H, W]`."""

from __future__ import annotations

import torch
from torch import nn

from harbench.models.layers import DropoutLinear

STAGES = ((24, 3, 8), (48, 5, 8), (96, 11, 16), (192, 7, 32))
"""Width, blocks, and width of squeeze-and-excitation of the four stages of S and M."""
EXPANSION = 2.25


class Squeeze(nn.Module):
    """Squeeze-and-excitation (arXiv:1709.01507) over time and place."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.Conv3d(width, inner, 1), nn.ReLU(inplace=True), nn.Conv3d(inner, width, 1), nn.Sigmoid()
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """`[B, width, T, H, W]`, every channel scaled."""
        scaled: torch.Tensor = maps * self.gate(maps.mean(dim=(2, 3, 4), keepdim=True))
        return scaled


class Block(nn.Module):
    """1x1x1, 3x3x3 a channel, 1x1x1, each with batch norm; in every second block squeeze-and-excitation."""

    def __init__(self, inputs: int, outputs: int, squeeze: int, stride: int) -> None:
        super().__init__()
        inner, strides = int(EXPANSION * outputs), (1, stride, stride)
        self.branch = nn.Sequential(
            nn.Conv3d(inputs, inner, 1, bias=False),
            nn.BatchNorm3d(inner),
            nn.ReLU(inplace=True),
            nn.Conv3d(inner, inner, 3, strides, 1, groups=inner, bias=False),
            nn.BatchNorm3d(inner),
            Squeeze(inner, squeeze) if squeeze else nn.Identity(),
            nn.SiLU(inplace=True),
            nn.Conv3d(inner, outputs, 1, bias=False),
            nn.BatchNorm3d(outputs),
        )
        self.shortcut = nn.Sequential()
        if inputs != outputs or stride > 1:
            self.shortcut.append(nn.Conv3d(inputs, outputs, 1, strides, bias=False))
        if inputs != outputs:  # in the first stage there is no batch norm, as in the authors' code
            self.shortcut.append(nn.BatchNorm3d(outputs))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """`[B, inputs, T, H, W]` to `[B, outputs, T, H / stride, W / stride]`."""
        joined: torch.Tensor = self.branch(maps) + self.shortcut(maps)
        return joined.relu()


class X3D(nn.Module):
    """A convolution in place, one in time a channel, four stages, and a head that widens before and after the pooling."""

    def __init__(self, num_classes: int, dropout: float) -> None:
        super().__init__()
        width = STAGES[0][0]
        self.stem = nn.Sequential(
            nn.Conv3d(3, width, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False),
            nn.Conv3d(width, width, (5, 1, 1), 1, (2, 0, 0), groups=width, bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
        )
        self.stages = nn.Sequential()
        for outputs, count, squeeze in STAGES:
            places = range(count)
            blocks = [Block(outputs if n else width, outputs, 0 if n % 2 else squeeze, 1 if n else 2) for n in places]
            self.stages.append(nn.Sequential(*blocks))
            width = outputs
        inner = int(EXPANSION * width)
        self.widen = nn.Sequential(nn.Conv3d(width, inner, 1, bias=False), nn.BatchNorm3d(inner), nn.ReLU(inplace=True))
        self.project = nn.Sequential(nn.Conv3d(inner, 2048, 1, bias=False), nn.ReLU(inplace=True))
        self.head = DropoutLinear(2048, num_classes, dropout)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """`[B, 3, T, H, W]` to logits `[B, K]`."""
        pooled = self.widen(self.stages(self.stem(frames))).mean(dim=(2, 3, 4), keepdim=True)
        logits: torch.Tensor = self.head(self.project(pooled).flatten(1))
        return logits


def x3d(num_classes: int, dropout: float = 0.5) -> nn.Module:
    """X3D-S on 13 frames of 160 pixels (1.96 GFLOPs) and X3D-M on 16 of 224 (4.73): one network, 3.79 M parameters."""
    return X3D(num_classes, dropout)
