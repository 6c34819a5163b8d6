"""Video transformers. Input `[B, 3, T, H, W]`."""

from __future__ import annotations

import torchvision
from torch import nn
from torchvision.models.video.mvit import MSBlockConfig, MViT


def mvit_v2_s(num_classes: int, frames: int = 16, size: int = 224, drop_path: float = 0.2) -> nn.Module:
    """MViTv2-S of Li et al. (CVPR 2022, arXiv:2112.01526), as in torchvision: 34.5 M parameters at 400 classes.

    `frames` and `size` fix its relative positions; published weights are for 16 frames of 224 pixels, the only input
    that torchvision's own function builds: hence its blocks are written out here.
    """
    net: nn.Module = MViT(
        spatial_size=(size, size),
        temporal_size=frames,
        block_setting=[_mvit_block(number) for number in range(16)],
        residual_pool=True,
        residual_with_cls_embed=False,
        rel_pos_embed=True,
        proj_after_attn=True,
        stochastic_depth_prob=drop_path,
        num_classes=num_classes,
    )
    return net


def swin3d_t(num_classes: int) -> nn.Module:
    """Video Swin-T of Liu et al. (CVPR 2022, arXiv:2106.13230), as in torchvision: 28.2 M parameters at 400 classes."""
    net: nn.Module = torchvision.models.video.swin3d_t(weights=None, num_classes=num_classes)
    return net


def _mvit_block(number: int) -> MSBlockConfig:
    """Stages begin at blocks 1, 3 and 14, where channels and heads double and the side halves; so do the keys' strides."""
    before, stage = (sum(block >= first for first in (1, 3, 14)) for block in (number - 1, number))
    key_stride = 2 ** (3 - stage)
    return MSBlockConfig(
        num_heads=2**stage,
        input_channels=96 * 2**before,
        output_channels=96 * 2**stage,
        kernel_q=[3, 3, 3],
        kernel_kv=[3, 3, 3],
        stride_q=[1, 1, 1] if stage == before else [1, 2, 2],
        stride_kv=[1, key_stride, key_stride],
    )
