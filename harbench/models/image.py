"""Image networks. They see one frame at a time: input `[B, 3, T, H, W]`, logits averaged over the T frames.

`image_network` and `image_features` give other families the same networks by name, under the tensor names of the
published weights: `small_cnn`, one of torchvision's, or `timm:` and one of timm's.
"""

from __future__ import annotations

import difflib
from itertools import pairwise

import torchvision
from torch import nn

from harbench.models.layers import DropoutLinear, PerFrame

TORCHVISION = ("resnet18", "resnet34", "resnet50", "mobilenet_v3_large")


def small_cnn(num_classes: int, width: int = 32, dropout: float = 0.2) -> nn.Module:
    """Four 3x3 convolutions, each halving the side and widening the channels, then a mean over the image.

    A quick single-frame baseline: what a picture alone tells about an action. 0.4 M parameters at width 32.
    """
    return PerFrame(nn.Sequential(*_small_stages(width, 3), DropoutLinear(8 * width, num_classes, dropout)))


def resnet18(num_classes: int, dropout: float = 0.0) -> nn.Module:
    """ResNet-18 of He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016), as in torchvision."""
    return PerFrame(image_network("resnet18", num_classes, dropout))


def resnet34(num_classes: int, dropout: float = 0.0) -> nn.Module:
    """ResNet-34 of He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016), as in torchvision."""
    return PerFrame(image_network("resnet34", num_classes, dropout))


def resnet50(num_classes: int, dropout: float = 0.0) -> nn.Module:
    """ResNet-50 of He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016), as in torchvision."""
    return PerFrame(image_network("resnet50", num_classes, dropout))


def mobilenet_v3_large(num_classes: int, dropout: float = 0.2) -> nn.Module:
    """MobileNetV3-Large of Howard et al., "Searching for MobileNetV3" (ICCV 2019), as in torchvision."""
    return PerFrame(image_network("mobilenet_v3_large", num_classes, dropout))


def timm_image(num_classes: int, architecture: str, dropout: float = 0.0) -> nn.Module:
    """Any image network of timm (Wightman, "PyTorch Image Models"), by timm's own name, e.g. `efficientnet_b0`."""
    return PerFrame(image_network(f"timm:{architecture}", num_classes, dropout))


def image_network(name: str, num_classes: int, dropout: float = 0.0, channels: int = 3) -> nn.Module:
    """An image network `[N, channels, H, W]` to logits `[N, K]`; ValueError for a name that does not exist."""
    if name.startswith("timm:"):
        return _timm(name.removeprefix("timm:"), num_classes, channels, drop_rate=dropout)
    net, width = image_features(name, channels)
    head = DropoutLinear(width, num_classes, dropout)
    if name == "small_cnn":
        net.append(head)  # type: ignore[operator]
    elif name == "mobilenet_v3_large":
        published = torchvision.models.mobilenet_v3_large(weights=None, num_classes=num_classes, dropout=dropout)
        net.classifier = published.classifier
    else:
        net.fc = head
    return net


def image_features(name: str, channels: int = 3) -> tuple[nn.Module, int]:
    """The same network without its classification layer, `[N, channels, H, W]` to `[N, width]`, and the width."""
    if name.startswith("timm:"):
        timm_net = _timm(name.removeprefix("timm:"), 0, channels)
        return timm_net, int(timm_net.num_features)  # type: ignore[arg-type]
    if name == "small_cnn":
        return nn.Sequential(*_small_stages(32, channels)), 8 * 32
    if name not in TORCHVISION:
        raise ValueError(
            f"there is no image network {name!r}; expected small_cnn, {', '.join(TORCHVISION)}, or timm:NAME"
        )
    net = torchvision.models.get_model(name, weights=None)
    if name == "mobilenet_v3_large":
        width, net.classifier = net.classifier[0].in_features, nn.Identity()
        if channels != 3:
            net.features[0][0] = nn.Conv2d(channels, 16, 3, stride=2, padding=1, bias=False)
        return net, width
    width, net.fc = net.fc.in_features, nn.Identity()
    if channels != 3:
        net.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    return net, width


def _small_stages(width: int, channels: int) -> list[nn.Module]:
    stages: list[nn.Module] = []
    for entering, leaving in pairwise([channels, width, 2 * width, 4 * width, 8 * width]):
        convolution = nn.Conv2d(entering, leaving, 3, stride=2, padding=1, bias=False)
        stages += [convolution, nn.BatchNorm2d(leaving), nn.ReLU(inplace=True)]
    return [*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten()]


def _timm(architecture: str, num_classes: int, channels: int, drop_rate: float = 0.0) -> nn.Module:
    import timm  # here, not above: it doubles the start of every other image model

    if not timm.is_model(architecture):
        near = ", ".join(difflib.get_close_matches(architecture, timm.list_models(), n=5))
        raise ValueError(f"timm has no architecture {architecture!r}" + (f"; near it: {near}" if near else ""))
    net: nn.Module = timm.create_model(
        architecture, pretrained=False, num_classes=num_classes, in_chans=channels, drop_rate=drop_rate
    )
    return net
