"""The three 18-layer video ResNets of Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action
Recognition" (CVPR 2018, arXiv:1711.11248), as torchvision ships them, with Kinetics-400 weights for 16 frames of
112x112 pixels.

Input `[B, 3, T, H, W]`; T and side may be anything that four halvings leave above zero.
"""

from __future__ import annotations

from torch import nn
from torchvision.models import video
from torchvision.models.video.resnet import VideoResNet

from harbench.models.layers import DropoutLinear


def r3d_18(num_classes: int, dropout: float = 0.0) -> nn.Module:
    """R3D-18: 3x3x3 convolutions throughout (33.4 M parameters at 400 classes)."""
    return _with_head(video.r3d_18(weights=None), num_classes, dropout)


def mc3_18(num_classes: int, dropout: float = 0.0) -> nn.Module:
    """MC3-18: 3D convolutions in the first two stages, 2D ones after (11.7 M parameters at 400 classes)."""
    return _with_head(video.mc3_18(weights=None), num_classes, dropout)


def r2plus1d_18(num_classes: int, dropout: float = 0.0) -> nn.Module:
    """R(2+1)D-18: every 3D convolution split into a spatial and a temporal one (31.5 M parameters at 400 classes)."""
    return _with_head(video.r2plus1d_18(weights=None), num_classes, dropout)


def _with_head(net: VideoResNet, num_classes: int, dropout: float) -> nn.Module:
    net.fc = DropoutLinear(net.fc.in_features, num_classes, dropout)
    model: nn.Module = net
    return model
