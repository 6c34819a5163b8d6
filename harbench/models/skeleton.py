"""Networks on joints. Input `[B, C, T, V, M]`: coordinates, frames, joints, bodies, centered and scaled by `input`."""

from __future__ import annotations

import torch
from torch import nn

from harbench.models.layers import DropoutLinear, PerFrame, check_joints


class CnnLstm(nn.Module):
    """Two temporal convolutions, then two LSTMs; the last step is classified."""

    def __init__(self, num_classes: int, features: tuple[int, int, int], dropout: float) -> None:
        super().__init__()
        self.features = features
        channels, joints, bodies = features
        # ceil_mode: a clip of any length, even one frame, leaves at least one step
        self.convolutions = nn.Sequential(
            nn.Conv1d(channels * joints * bodies, 64, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.BatchNorm1d(64),
            nn.MaxPool1d(2, ceil_mode=True),
            nn.Conv1d(64, 128, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.BatchNorm1d(128),
            nn.MaxPool1d(2, ceil_mode=True),
        )
        self.lstm1 = nn.LSTM(128, 128, batch_first=True)
        self.lstm2 = nn.LSTM(128, 64, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Sequential(nn.Linear(64, 64), nn.ReLU(inplace=True), nn.BatchNorm1d(64))
        self.head = DropoutLinear(64, num_classes, dropout)

    def forward(self, poses: torch.Tensor) -> torch.Tensor:
        """`[B, C, T, V, M]` to logits `[B, K]`."""
        check_joints(poses, self.features)
        steps = poses.permute(0, 1, 3, 4, 2).flatten(1, 3)  # [B, C * V * M, T]
        sequence = self.convolutions(steps).transpose(1, 2)
        sequence = self.dropout(self.lstm1(sequence)[0])
        last = self.dropout(self.lstm2(sequence)[0][:, -1])
        logits: torch.Tensor = self.head(self.dense(last))
        return logits


class PoseMlp(nn.Module):
    """Two hidden layers on the joints of one frame `[N, C, V, M]`."""

    def __init__(self, num_classes: int, features: tuple[int, int, int], width: int, dropout: float) -> None:
        super().__init__()
        self.features = features
        channels, joints, bodies = features
        self.hidden = nn.Sequential(
            nn.Linear(channels * joints * bodies, width),
            nn.BatchNorm1d(width),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
            nn.ReLU(inplace=True),
        )
        self.head = DropoutLinear(width, num_classes, dropout)

    def forward(self, poses: torch.Tensor) -> torch.Tensor:
        """`[N, C, V, M]` to logits `[N, K]`."""
        check_joints(poses.unsqueeze(2), self.features)
        logits: torch.Tensor = self.head(self.hidden(poses.flatten(1)))
        return logits


def cnn_lstm(num_classes: int, joints: int = 17, channels: int = 3, bodies: int = 1, dropout: float = 0.3) -> nn.Module:
    """The Conv1D-LSTM of the skeleton origin project (LoylP/Human_Action_Recognition), for any set of joints.

    Convolutions of 64 and 128 channels (kernel 3, ReLU, batch norm, pooling by 2), LSTMs of 128 and 64 units, a dense
    layer of 64; the origin's 33 x (x, y, z) landmarks are `joints: 33`. The ReLU in the convolutions is our reading.
    """
    return CnnLstm(num_classes, (channels, joints, bodies), dropout)


def pose_mlp(
    num_classes: int, joints: int = 17, channels: int = 3, bodies: int = 1, width: int = 256, dropout: float = 0.3
) -> nn.Module:
    """A baseline that cannot see motion: every pose is classified alone and the logits are averaged over the frames."""
    return PerFrame(PoseMlp(num_classes, (channels, joints, bodies), width, dropout))
