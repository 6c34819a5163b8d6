"""DD-Net of Yang et al., "Make Skeleton-based Action Recognition Model Smaller, Faster and Better" (ACM MM Asia 2019,
arXiv:1907.09658): joint distances, slow motion and fast motion, each through a small temporal CNN, then together.

Input `[B, C, T, V, M]`, T even and at least 8; the paper takes whole sequences resized to 32 frames
(`input.clip.whole: {num_frames: 32, draw: resize}`).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from harbench.errors import RecipeError
from harbench.models.layers import check_joints


class FrameNorm(nn.BatchNorm1d):
    """Batch normalization of `[N, C, T]` with one mean and variance a frame, over all channels."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.flatten(0, 1)).view_as(input)  # every row of frames is a sample of its own


class FrameDropout(nn.Dropout1d):
    """Whole frames of `[N, C, T]` become zeros."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.transpose(1, 2)).transpose(1, 2)


class DDNet(nn.Module):
    """Features of every body by three embeddings and three double convolutions; logits averaged over bodies."""

    first: torch.Tensor
    second: torch.Tensor

    def __init__(self, num_classes: int, features: tuple[int, int, int], filters: int, frames: int) -> None:
        super().__init__()
        self.features, self.frames = features, frames
        channels, joints, _ = features
        pairs = torch.triu_indices(joints, joints, offset=1)
        self.register_buffer("first", pairs[0], persistent=False)
        self.register_buffer("second", pairs[1], persistent=False)
        motion = channels * joints
        self.distances = nn.Sequential(*_embedding(pairs.shape[1], filters, frames), *_pool(frames))
        self.slow = nn.Sequential(*_embedding(motion, filters, frames), *_pool(frames))
        self.fast = nn.Sequential(*_embedding(motion, filters, frames // 2), nn.Dropout1d(0.1))
        self.body = nn.Sequential(
            *_double(3 * filters, 2 * filters, frames // 2),
            *_pool(frames),
            *_double(2 * filters, 4 * filters, frames // 4),
            *_pool(frames),
            *_double(4 * filters, 8 * filters, frames // 8),
            nn.Dropout1d(0.1),
        )
        self.dense = nn.Sequential(*_dense(8 * filters, 128), *_dense(128, 128))
        self.head = nn.Linear(128, num_classes)

    def forward(self, poses: torch.Tensor) -> torch.Tensor:
        """`[B, C, T, V, M]` to logits `[B, K]`."""
        check_joints(poses, self.features)
        batch, channels, time, joints, bodies = poses.shape
        if self.frames and time != self.frames:
            raise RecipeError(
                f"the model takes statistics of each of {self.frames} frames; the input has {time}:  "
                f"--set model.args.frames={time}"
            )
        single = poses.permute(0, 4, 1, 3, 2).reshape(batch * bodies, channels, joints, time)
        streams = [
            self.distances(self._joint_distances(single)),
            self.slow(_motion(single, time)),
            self.fast(_motion(single[..., ::2], time // 2)),
        ]
        pooled = self.body(torch.cat(streams, dim=1)).amax(dim=2)
        logits: torch.Tensor = self.head(self.dense(pooled))
        return logits.view(batch, bodies, -1).mean(1)

    def _joint_distances(self, single: torch.Tensor) -> torch.Tensor:
        """Distances of every two joints `[N, V * (V - 1) / 2, T]`, as deviations from their mean in units of it."""
        between = single[:, :, self.first] - single[:, :, self.second]
        distances = between.square().sum(1).sqrt()  # vector_norm over an outer dimension takes 20 times as long
        mean = distances.mean(dim=(1, 2), keepdim=True).clamp_min(1e-6)  # a body that is absent has only zeros
        deviations: torch.Tensor = distances / mean - 1
        return deviations


def ddnet(
    num_classes: int, joints: int = 15, channels: int = 2, bodies: int = 1, filters: int = 64, frames: int = 0
) -> nn.Module:
    """DD-Net: at 64 filters 1.79 M parameters for JHMDB's 15 joints in 2D, 1.82 M for SHREC's 22 in 3D.

    Batch statistics and dropout are per channel, as in the authors' Keras code; with `frames`, the length of every clip,
    statistics are per frame and so is the dropout after a pooling, as in the public PyTorch port
    (github.com/BlurryLight/DD-Net-Pytorch). Raises RecipeError where a clip has another number of frames.
    """
    if frames % 8:
        raise RecipeError(f"model.args.frames: expected a multiple of 8 (three poolings), or 0, found {frames}")
    return DDNet(num_classes, (channels, joints, bodies), filters, frames)


def _motion(single: torch.Tensor, steps: int) -> torch.Tensor:
    """Differences of neighboring frames of `[N, C, V, T]`, resized to `steps`, as `[N, C * V, steps]`."""
    return F.interpolate((single[..., 1:] - single[..., :-1]).flatten(1, 2), size=steps, mode="linear")


def _convolution(inputs: int, outputs: int, kernel: int, frames: int) -> list[nn.Module]:
    convolution = nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return [convolution, FrameNorm(frames) if frames else nn.BatchNorm1d(outputs), nn.LeakyReLU(0.2, inplace=True)]


def _pool(frames: int) -> list[nn.Module]:
    return [nn.MaxPool1d(2), FrameDropout(0.1) if frames else nn.Dropout1d(0.1)]


def _embedding(inputs: int, filters: int, frames: int) -> list[nn.Module]:
    return [
        *_convolution(inputs, 2 * filters, 1, frames),
        nn.Dropout1d(0.1),
        *_convolution(2 * filters, filters, 3, frames),
        nn.Dropout1d(0.1),
        *_convolution(filters, filters, 1, frames),
    ]


def _double(inputs: int, outputs: int, frames: int) -> list[nn.Module]:
    return [*_convolution(inputs, outputs, 3, frames), *_convolution(outputs, outputs, 3, frames)]


def _dense(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.LeakyReLU(0.2), nn.Dropout(0.5)]
