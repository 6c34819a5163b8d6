"""An image network on every frame, then a recurrent one over time: the CNN-LSTMs of the origin projects.

After Donahue et al., "Long-term Recurrent Convolutional Networks" (CVPR 2015, arXiv:1411.4389). Input `[B, 3, T, H, W]`.
The image network is `backbone`, so `train.freeze: [backbone]` trains the rest alone.
"""

from __future__ import annotations

import torch
from torch import nn

from harbench.models.image import image_features
from harbench.models.layers import DropoutLinear


class Recurrent(nn.Module):
    """Features of every frame `[B, T, D]` through `cell`; the last step is classified, of both directions if it has two."""

    def __init__(self, num_classes: int, backbone: nn.Module, cell: nn.LSTM | nn.GRU, dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.cell = cell
        self.head = DropoutLinear(cell.hidden_size * (2 if cell.bidirectional else 1), num_classes, dropout)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """`[B, 3, T, H, W]` to logits `[B, K]`."""
        batch, time = frames.shape[0], frames.shape[2]
        features = self.backbone(frames.transpose(1, 2).flatten(0, 1)).view(batch, time, -1)
        steps = self.cell(features)[0]
        hidden = self.cell.hidden_size
        # the backward direction has seen everything at the first step
        last = torch.cat([steps[:, -1, :hidden], steps[:, 0, hidden:]], dim=1)
        logits: torch.Tensor = self.head(last)
        return logits


def resnet_lstm(
    num_classes: int, backbone: str = "resnet18", hidden: int = 256, layers: int = 1, dropout: float = 0.5
) -> nn.Module:
    """Pooled ResNet features, an LSTM, its last step: 12.0 M parameters with ResNet-18 at 101 classes."""
    net, width = image_features(backbone)
    return Recurrent(num_classes, net, nn.LSTM(width, hidden, layers, batch_first=True), dropout)


def small_cnn_lstm(num_classes: int, size: int = 112, hidden: int = 128, dropout: float = 0.0) -> nn.Module:
    """Two convolutions (32 and 64 channels, each pooled by 2) whose whole map enters an LSTM.

    Nearly all of its 25.8 M parameters at 112 pixels are the LSTM's input weights; `size` is `input.size`.
    """
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
    )
    return Recurrent(num_classes, net, nn.LSTM(64 * (size // 4) ** 2, hidden, batch_first=True), dropout)


def cnn_gru(
    num_classes: int, backbone: str = "timm:efficientnet_b0", hidden: int = 128, dropout: float = 0.5
) -> nn.Module:
    """EfficientNet-B0 features and a GRU in both directions; gray frames come as three equal channels.

    Tan and Le, "EfficientNet" (ICML 2019); Cho et al. (EMNLP 2014) for the GRU.
    """
    net, width = image_features(backbone)
    return Recurrent(num_classes, net, nn.GRU(width, hidden, batch_first=True, bidirectional=True), dropout)
