"""The temporal stream of two-stream networks; the spatial one is an image network, their fusion that of two runs' scores.

Simonyan and Zisserman, "Two-Stream Convolutional Networks" (NIPS 2014, arXiv:1406.2199). Input: optical flow
`[B, 2, T, H, W]`, horizontal and vertical displacement.
"""

from __future__ import annotations

import torch
from torch import nn

from harbench.errors import RecipeError
from harbench.models.image import image_network


class FlowStack(nn.Module):
    """An image network on the flow of T frames as one picture of 2T channels: x1, y1, x2, y2, ..."""

    def __init__(self, net: nn.Module, frames: int) -> None:
        super().__init__()
        self.net = net
        self.frames = frames

    def forward(self, flow: torch.Tensor) -> torch.Tensor:
        """`[B, 2, T, H, W]` to logits `[B, K]`."""
        if flow.shape[1:3] != (2, self.frames):
            raise RecipeError(
                f"the model expects flow of 2 channels x {self.frames} frames; the input has {flow.shape[1]} x "
                f"{flow.shape[2]}: set data.cache.stream=flow and model.args.frames to the clip's frames"
            )
        logits: torch.Tensor = self.net(flow.transpose(1, 2).flatten(1, 2))
        return logits


def flow_stack(num_classes: int, backbone: str = "resnet18", frames: int = 10, dropout: float = 0.5) -> nn.Module:
    """The temporal stream on any image network; the paper stacks L = 10 frames.

    Image weights enter it by cross-modality initialization (Wang et al., arXiv:1608.00859): the first convolution's are
    averaged over R, G, B and repeated for all channels.
    """
    return FlowStack(image_network(backbone, num_classes, dropout, channels=2 * frames), frames)
