"""Mixup and cutmix between the two samples of a pair.

Pairs are neighbors in the global batch, whose order is random anyway; so neither the number of devices nor the
micro-batch changes which samples are blended. A last sample without a neighbor stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from harbench.frames.clips import generator


@dataclass(frozen=True, slots=True)
class Mix:
    """One batch's draw."""

    share: float
    """Of a sample itself; the rest is its partner's."""
    box: tuple[float, float] | None
    """Cutmix: center of the partner's box as fractions of height and width; None: mixup."""


def draw_mix(seed: int, step: int, mixup: float, cutmix: float) -> Mix | None:
    """The draw of a global step: mixup, cutmix or, with both, either with equal probability; None: neither."""
    if not (mixup or cutmix):
        return None
    rng = generator(seed, step, "mix")
    coin, *center = rng.random(3).tolist()
    boxed = cutmix > 0 and (mixup == 0 or coin < 0.5)
    alpha = cutmix if boxed else mixup
    return Mix(float(rng.beta(alpha, alpha)), (center[0], center[1]) if boxed else None)


def partners(size: int, device: torch.device | None = None) -> torch.Tensor:
    """`[1, 0, 3, 2, ...]`; the last of an odd number is its own partner."""
    return (torch.arange(size, device=device) ^ 1).clamp_(max=size - 1)


def blend(frames: torch.Tensor, mix: Mix) -> tuple[torch.Tensor, float]:
    """Blended float frames `[B, ..., H, W]` of whole pairs, and the share that each sample kept of itself.

    A cutmix box stays in place through the clip, and the share is that of the pixels left, as in the paper.
    """
    others = frames[partners(len(frames), frames.device)]
    if mix.box is None:
        return torch.lerp(others, frames, mix.share), mix.share
    height, width = frames.shape[-2:]
    side = (1 - mix.share) ** 0.5
    top, bottom = _span(mix.box[0], side, height)
    left, right = _span(mix.box[1], side, width)
    mixed = frames.clone()
    mixed[..., top:bottom, left:right] = others[..., top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def _span(center: float, side: float, length: int) -> tuple[int, int]:
    """A span of `side * length` pixels about `center`, clipped to the frame."""
    middle, half = center * length, side * length / 2
    return max(0, int(middle - half + 0.5)), min(length, int(middle + half + 0.5))
