"""Image networks. They see one frame at a time: input `[B, 3, T, H, W]`, logits averaged over the T frames."""

from __future__ import annotations

import difflib
from itertools import pairwise

import torchvision
from torch import nn

from harbench.models.layers import DropoutLinear, PerFrame


def small_cnn(num_classes: int, width: int = 32, dropout: float = 0.2) -> nn.Module:
    """Four 3x3 convolutions, each halving the side and widening the channels, then a mean over the image.

    A quick single-frame baseline: what a picture alone tells about an action. 0.4 M parameters at width 32.
    """
    widths = [3, width, 2 * width, 4 * width, 8 * width]
    stages: list[nn.Module] = []
    for entering, leaving in pairwise(widths):
        convolution = nn.Conv2d(entering, leaving, 3, stride=2, padding=1, bias=False)
        stages += [convolution, nn.BatchNorm2d(leaving), nn.ReLU(inplace=True)]
    head = DropoutLinear(8 * width, num_classes, dropout)
    return PerFrame(nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head))


def resnet18(num_classes: int, dropout: float = 0.0) -> nn.Module:
    """ResNet-18 of He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016), as in torchvision."""
    return _resnet("resnet18", num_classes, dropout)


def resnet34(num_classes: int, dropout: float = 0.0) -> nn.Module:
    """ResNet-34 of He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016), as in torchvision."""
    return _resnet("resnet34", num_classes, dropout)


def resnet50(num_classes: int, dropout: float = 0.0) -> nn.Module:
    """ResNet-50 of He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016), as in torchvision."""
    return _resnet("resnet50", num_classes, dropout)


def mobilenet_v3_large(num_classes: int, dropout: float = 0.2) -> nn.Module:
    """MobileNetV3-Large of Howard et al., "Searching for MobileNetV3" (ICCV 2019), as in torchvision."""
    return PerFrame(torchvision.models.mobilenet_v3_large(weights=None, num_classes=num_classes, dropout=dropout))


def timm_image(num_classes: int, architecture: str, dropout: float = 0.0) -> nn.Module:
    """Any image network of timm (Wightman, "PyTorch Image Models"), by timm's own name, e.g. `efficientnet_b0`."""
    import timm  # here, not above: it doubles the start of every other image model

    if not timm.is_model(architecture):
        near = ", ".join(difflib.get_close_matches(architecture, timm.list_models(), n=5))
        raise ValueError(f"timm has no architecture {architecture!r}" + (f"; near it: {near}" if near else ""))
    return PerFrame(timm.create_model(architecture, pretrained=False, num_classes=num_classes, drop_rate=dropout))


def _resnet(name: str, num_classes: int, dropout: float) -> nn.Module:
    net = torchvision.models.get_model(name, weights=None)
    net.fc = DropoutLinear(net.fc.in_features, num_classes, dropout)
    return PerFrame(net)
