"""A small 3D CNN on frame differences, for static cameras and short training on a CPU.

The signed difference of neighboring frames removes the background and keeps the order of time: played backwards, a
clip changes sign, so sitting down and standing up differ although they consist of the same frames.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

_NOISE = 0.2
"""Of differences where 1 is about a moving edge. What a camera and its coding move is less, and all over the picture."""
_LITTLE = 1e-6
"""Motion in the middle of every picture: it counts where there is no other."""


def motion3d(
    num_classes: int,
    *,
    width: int = 16,
    dropout: float = 0.2,
    follow: int = 0,
    shift: float = 0.0,
    zoom: float = 0.0,
) -> nn.Module:
    """Four 3D convolutions on frame differences, for clips `[B, 3, T, H, W]` with T >= 9 and H, W >= 32.

    Args:
        num_classes: length of the logits.
        width: channels of the first layer; the later ones have 2, 4 and 8 times as many.
        dropout: probability before the linear layer.
        follow: side in pixels, 32 or more, of a square window that goes along with what moves, so that whoever crosses
            the picture stays in its middle: see `follow_motion`. 0: the whole picture is seen.
        shift: in training the window is off its place by up to so many pixels either way, drawn once a clip.
        zoom: in training the window's side is multiplied by a factor drawn from 1 - zoom to 1 + zoom, once a clip.
    """
    if follow and (follow < 32 or not 0 <= zoom < 1 or shift < 0):
        raise ValueError("follow needs 32 pixels at least, zoom a share below 1, and shift pixels, not below 0")
    if (shift or zoom) and not follow:
        raise ValueError("shift and zoom are of the window that follow asks for")
    return _Motion3d(num_classes, width, dropout, follow, shift, zoom)


class _Motion3d(nn.Module):
    def __init__(self, num_classes: int, width: int, dropout: float, follow: int, shift: float, zoom: float) -> None:
        super().__init__()
        self.follow, self.shift, self.zoom = follow, shift, zoom
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
        """Logits `[B, num_classes]` of normalized clips `[B, 3, T, H, W]`."""
        gray = clips.mean(dim=1, keepdim=True)
        # Neighboring frames of -1..1 (`normalize: half`) differ little: four times as much puts a moving edge at about 1.
        motion = 4 * (gray[:, :, 1:] - gray[:, :, :-1])
        if self.follow:
            shift, zoom = (self.shift, self.zoom) if self.training else (0.0, 0.0)
            motion = follow_motion(motion, self.follow, shift, zoom)
        features = self.features(motion.contiguous(memory_format=torch.channels_last_3d))
        logits: torch.Tensor = self.head(features.mean(dim=(2, 3, 4)))
        return logits


def follow_motion(motion: torch.Tensor, side: int, shift: float = 0.0, zoom: float = 0.0) -> torch.Tensor:
    """Windows `[B, 1, T, side, side]` of frame differences `[B, 1, T, H, W]` that go along with what moves.

    The window goes sideways at a constant speed and keeps its height, so a clip that was looped to its length, and jumps
    back amid, is followed badly. Outside the picture nothing moves. `shift` and `zoom` are those of `motion3d`, drawn
    from torch's generator.
    """
    clips, _, frames, height, width = motion.shape
    x, y = _path(motion[:, 0])
    scale = torch.ones_like(y)
    if shift or zoom:
        drawn = 2 * torch.rand(3, clips, 1, dtype=motion.dtype, device=motion.device) - 1
        x, y, scale = x + shift * drawn[0], y + shift * drawn[1], 1 + zoom * drawn[2]
    offsets = (scale * (_centers(side, motion) - side / 2))[:, None]
    # grid_sample counts from -1 at one edge of the picture to 1 at the other.
    columns, rows = 2 * (x[..., None] + offsets) / width - 1, 2 * (y[..., None] + offsets) / height - 1
    places = (columns[:, :, None, :].expand(-1, frames, side, -1), rows[:, :, :, None].expand(-1, frames, -1, side))
    grid = torch.stack(places, dim=-1)
    pictures = motion.transpose(1, 2).flatten(0, 1)
    seen = functional.grid_sample(pictures, grid.flatten(0, 1), padding_mode="zeros", align_corners=False)
    return seen.reshape(clips, frames, 1, side, side).transpose(1, 2)


def _path(motion: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The middle of what moves in `[B, T, H, W]`: x `[B, T]`, and y `[B, 1]`, which stays, in pixels.

    x changes at the constant speed that fits the frames best: least squares, each weighted by how much moves in it.
    """
    frames, height, width = motion.shape[1:]
    energy = (motion.abs() - _NOISE).clamp(min=0)
    amount = energy.sum((2, 3)) + _LITTLE
    weights = amount / amount.sum(1, keepdim=True)
    across = ((energy.sum(2) * _centers(width, motion)).sum(2) + _LITTLE * width / 2) / amount
    down = ((energy.sum(3) * _centers(height, motion)).sum(2) + _LITTLE * height / 2) / amount
    x, y = (weights * across).sum(1, keepdim=True), (weights * down).sum(1, keepdim=True)
    time = _centers(frames, motion)
    time = time - (weights * time).sum(1, keepdim=True)
    # One frame squared is added, so that the speed is 0 where one frame has all the motion.
    speed = (weights * time * (across - x)).sum(1, keepdim=True) / ((weights * time**2).sum(1, keepdim=True) + 1)
    return x + speed * time, y


def _centers(count: int, like: torch.Tensor) -> torch.Tensor:
    """Where the middles of `count` pixels in a row are: 0.5, 1.5, ..."""
    return torch.arange(count, dtype=like.dtype, device=like.device) + 0.5


def _convolution(
    inputs: int, outputs: int, kernel: tuple[int, int, int] = (3, 3, 3), stride: tuple[int, int, int] = (1, 1, 1)
) -> nn.Sequential:
    """Convolution, batch normalization and ReLU; the size is kept but for the stride."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, kernel, stride=stride, padding=padding, bias=False),
        nn.BatchNorm3d(outputs),
        nn.ReLU(inplace=True),
    )
