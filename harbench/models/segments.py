"""Image networks on a few frames of the whole video: averaged (TSN), shifted in time (TSM), or merged into one (ghost).

Input `[B, 3, T, H, W]`. TSN and TSM take one frame of each of T equal parts (`input.clip.segments`).
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from harbench.errors import RecipeError
from harbench.models.image import image_network
from harbench.models.layers import PerFrame


class Ghost(nn.Module):
    """An image network on the mean of all frames: where things moved stays visible, their order does not."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """`[B, 3, T, H, W]` to logits `[B, K]`."""
        logits: torch.Tensor = self.net(frames.mean(dim=2))
        return logits


class Shifted(PerFrame):
    """`PerFrame` over an image network whose convolutions see a part of their neighbors' channels."""

    def __init__(self, net: nn.Module, frames: int, part: int) -> None:
        super().__init__(net)
        self.frames = frames
        for convolution in _shifted_convolutions(net):
            # a hook, not a layer around it: the tensors keep the names of the published weights
            convolution.register_forward_pre_hook(partial(_shift, frames=frames, part=part))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """`[B, 3, T, H, W]` to logits `[B, K]`."""
        if frames.shape[2] != self.frames:
            raise RecipeError(
                f"the model shifts over {self.frames} frames, the clip has {frames.shape[2]}:  "
                f"--set model.args.frames={frames.shape[2]}"
            )
        return super().forward(frames)


def ghost(num_classes: int, backbone: str = "resnet18", dropout: float = 0.0) -> nn.Module:
    """The frame baseline of the origin projects: the mean image of the clip, classified as a picture."""
    return Ghost(image_network(backbone, num_classes, dropout))


def tsn(num_classes: int, backbone: str = "resnet50", dropout: float = 0.4) -> nn.Module:
    """Temporal Segment Networks of Wang et al. (ECCV 2016, arXiv:1608.00859): the segments' logits averaged.

    Averaging before the softmax is the paper's consensus; 23.7 M parameters with ResNet-50 at 101 classes.
    """
    return PerFrame(image_network(backbone, num_classes, dropout))


def tsm(
    num_classes: int, backbone: str = "resnet50", frames: int = 8, part: int = 8, dropout: float = 0.5
) -> nn.Module:
    """Temporal Shift Module of Lin et al. (ICCV 2019, arXiv:1811.08383) at the start of every residual branch.

    One `part`-th of the channels comes from the frame before, one from the frame after; at the ends zeros come in. With
    ResNet-50 and 8 frames 24.3 M parameters at 400 classes and 33 GFLOPs, as TSN's.
    """
    return Shifted(image_network(backbone, num_classes, dropout), frames, part)


def _shifted_convolutions(net: nn.Module) -> list[nn.Module]:
    """The first convolution of every residual branch; without residuals, every convolution but the first."""
    found = dict(net.named_modules())
    branches = [found[name] for name in found if name.startswith("layer") and name.endswith(".conv1")]
    plain = [module for module in found.values() if isinstance(module, nn.Conv2d)]
    return branches or [*plain[1:]]


def _shift(_: nn.Module, inputs: tuple[torch.Tensor], *, frames: int, part: int) -> tuple[torch.Tensor]:
    """`[B * T, C, H, W]` with the first channels a frame earlier and the next ones a frame later."""
    clips = inputs[0].view(-1, frames, *inputs[0].shape[1:])
    fold = clips.shape[2] // part
    edge = torch.zeros_like(clips[:, :1])
    earlier = torch.cat([clips[:, 1:, :fold], edge[:, :, :fold]], dim=1)
    later = torch.cat([edge[:, :, :fold], clips[:, :-1, fold : 2 * fold]], dim=1)
    return (torch.cat([earlier, later, clips[:, :, 2 * fold :]], dim=2).flatten(0, 1),)
