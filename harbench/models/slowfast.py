"""SlowFast of Feichtenhofer et al. (ICCV 2019, arXiv:1812.03982) on a ResNet-50, from its Table 1. Input `[B, 3, T, H, W]`.

The slow pathway sees every `alpha`-th frame with all channels, the fast one all frames with an eighth of the channels;
after every stage the fast features join the slow ones. The slow pathway alone is the paper's Slow-only.
"""

from __future__ import annotations

import torch
from torch import nn

from harbench.models.layers import DropoutLinear

BLOCKS = (3, 4, 6, 3)
WIDTHS = (64, 128, 256, 512)


class Bottleneck(nn.Module):
    """1x1x1 or 3x1x1, 1x3x3, 1x1x1, each with batch norm, around a shortcut."""

    def __init__(self, inputs: int, width: int, time_kernel: int, stride: int, time_stride: int = 1) -> None:
        super().__init__()
        outputs, strides = 4 * width, (time_stride, stride, stride)
        self.branch = nn.Sequential(
            *convolution(inputs, width, (time_kernel, 1, 1)),
            nn.ReLU(inplace=True),
            *convolution(width, width, (1, 3, 3), strides),
            nn.ReLU(inplace=True),
            *convolution(width, outputs, (1, 1, 1)),
        )
        self.shortcut = (
            nn.Identity()
            if inputs == outputs and strides == (1, 1, 1)
            else nn.Sequential(*convolution(inputs, outputs, (1, 1, 1), strides))
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """`[B, inputs, T, H, W]` to `[B, 4 * width, T / time_stride, H / stride, W / stride]`."""
        joined: torch.Tensor = self.branch(maps) + self.shortcut(maps)
        return joined.relu()


class Slow(nn.Module):
    """The slow pathway: a ResNet that convolves over time in its last two stages only."""

    def __init__(self, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.stem = _stem(64, 1)
        inputs = (64, *(4 * width for width in WIDTHS))
        self.stages = nn.Sequential(*(_slow_stage(stage, inputs[stage]) for stage in range(4)))
        self.head = DropoutLinear(inputs[-1], num_classes, dropout)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """`[B, 3, T, H, W]` to logits `[B, K]`."""
        logits: torch.Tensor = self.head(self.stages(self.stem(frames)).mean(dim=(2, 3, 4)))
        return logits


class SlowFast(nn.Module):
    """Two ResNets with lateral connections from the fast to the slow one."""

    def __init__(self, num_classes: int, alpha: int, lateral_kernel: int, dropout: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.slow_stem, self.fast_stem = _stem(64, 1), _stem(8, 5)
        self.slow, self.fast, self.laterals = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        slow_width, fast_width = 64, 8
        for stage, (count, width) in enumerate(zip(BLOCKS, WIDTHS, strict=True)):
            self.laterals.append(_lateral(fast_width, alpha, lateral_kernel))
            self.slow.append(_slow_stage(stage, slow_width + 2 * fast_width))
            self.fast.append(stage_of(fast_width, width // 8, count, 3, 1 if stage == 0 else 2))
            slow_width, fast_width = 4 * width, width // 2
        self.head = DropoutLinear(slow_width + fast_width, num_classes, dropout)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """`[B, 3, T, H, W]`, T a multiple of alpha, to logits `[B, K]`."""
        time = frames.shape[2]
        # the first and the last frame are among the slow ones, as in the authors' code
        chosen = torch.linspace(0, time - 1, time // self.alpha, device=frames.device).long()
        slow, fast = self.slow_stem(frames[:, :, chosen]), self.fast_stem(frames)
        for lateral, slow_stage, fast_stage in zip(self.laterals, self.slow, self.fast, strict=True):
            slow = slow_stage(torch.cat([slow, lateral(fast)], dim=1))
            fast = fast_stage(fast)
        pooled = torch.cat([slow.mean(dim=(2, 3, 4)), fast.mean(dim=(2, 3, 4))], dim=1)
        logits: torch.Tensor = self.head(pooled)
        return logits


def slowfast_r50(num_classes: int, alpha: int = 4, dropout: float = 0.5) -> nn.Module:
    """SlowFast-R50 for clips of 32 frames, every second one: 8x8 with `alpha: 4` (34.6 M parameters at 400 classes, 65.7
    GFLOPs at 256 pixels), 4x16 with `alpha: 8` (34.5 M, 36.1 GFLOPs). Lateral kernels span 7 and 5 frames, as published.
    """
    if alpha not in (4, 8):
        raise ValueError(f"alpha must be 4 (8x8) or 8 (4x16), found {alpha}")
    return SlowFast(num_classes, alpha, 7 if alpha == 4 else 5, dropout)


def slow_r50(num_classes: int, dropout: float = 0.5) -> nn.Module:
    """Slow-only R50 on 8 frames: 32.45 M parameters at 400 classes, 54.5 GFLOPs at 256 pixels (PyTorchVideo's model zoo)."""
    return Slow(num_classes, dropout)


def convolution(
    inputs: int, outputs: int, kernel: tuple[int, int, int], stride: tuple[int, int, int] = (1, 1, 1)
) -> list[nn.Module]:
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return [nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False), nn.BatchNorm3d(outputs)]


def _stem(width: int, time_kernel: int) -> nn.Sequential:
    pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
    return nn.Sequential(*convolution(3, width, (time_kernel, 7, 7), (1, 2, 2)), nn.ReLU(inplace=True), pool)


def _lateral(width: int, alpha: int, kernel: int) -> nn.Sequential:
    """Twice the fast channels, at the slow frames."""
    return nn.Sequential(*convolution(width, 2 * width, (kernel, 1, 1), (alpha, 1, 1)), nn.ReLU(inplace=True))


def _slow_stage(stage: int, inputs: int) -> nn.Sequential:
    """One of the four stages of the slow pathway, counted from 0."""
    return stage_of(inputs, WIDTHS[stage], BLOCKS[stage], 1 if stage < 2 else 3, 1 if stage == 0 else 2)


def stage_of(inputs: int, width: int, count: int, time_kernel: int, stride: int, time_stride: int = 1) -> nn.Sequential:
    """`count` bottlenecks, of which the first has the strides."""
    first = Bottleneck(inputs, width, time_kernel, stride, time_stride)
    return nn.Sequential(first, *(Bottleneck(4 * width, width, time_kernel, 1) for _ in range(count - 1)))
