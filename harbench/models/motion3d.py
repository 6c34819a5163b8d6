"""A small 3D CNN on frame differences, for static cameras and short training on a CPU.

The signed difference of neighbouring frames removes the background and keeps the order of time: played backwards, a
clip changes sign, so sitting down and standing up differ although they consist of the same frames.
"""

from __future__ import annotations

import torch
from torch import nn


def motion3d(num_classes: int, *, width: int = 16, dropout: float = 0.2) -> nn.Module:
    """Four 3D convolutions on frame differences, for clips `[B, 3, T, H, W]` with T >= 9 and H, W >= 32.

    Args:
        num_classes: length of the logits.
        width: channels of the first layer; the later ones have 2, 4 and 8 times as many.
        dropout: probability before the linear layer.
    """
    return _Motion3d(num_classes, width, dropout)


class _Motion3d(nn.Module):
    def __init__(self, num_classes: int, width: int, dropout: float) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _convolution(1, width, (3, 5, 5), (1, 2, 2)),
            nn.MaxPool3d(2),
            _convolution(width, 2 * width),
            nn.MaxPool3d(2),
            _convolution(2 * width, 4 * width),
            nn.MaxPool3d(2),
            _convolution(4 * width, 8 * width),
        )
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(8 * width, num_classes))
        # On a CPU a 3D convolution with the channels last takes half the time.
        self.to(memory_format=torch.channels_last_3d)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Logits `[B, num_classes]` of normalised clips `[B, 3, T, H, W]`."""
        grey = clips.mean(dim=1, keepdim=True)
        # Neighbouring frames differ little: four times as much puts a moving edge at about one.
        motion = 4 * (grey[:, :, 1:] - grey[:, :, :-1])
        features = self.features(motion.contiguous(memory_format=torch.channels_last_3d))
        logits: torch.Tensor = self.head(features.mean(dim=(2, 3, 4)))
        return logits


def _convolution(
    inputs: int, outputs: int, kernel: tuple[int, int, int] = (3, 3, 3), stride: tuple[int, int, int] = (1, 1, 1)
) -> nn.Sequential:
    """Convolution, batch normalisation and ReLU; the size is kept but for the stride."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, kernel, stride=stride, padding=padding, bias=False),
        nn.BatchNorm3d(outputs),
        nn.ReLU(inplace=True),
    )
