"""Mixup and cutmix between the two samples of a pair, and how a batch is cut so that no pair is torn apart.

Pairs are neighbours in the global batch, whose order is random anyway; so neither the number of devices nor the
micro-batch changes who is blended with whom. A last sample without a neighbour stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from harbench.frames.clips import generator


@dataclass(frozen=True, slots=True)
class Mix:
    """One batch's draw."""

    share: float
    """Of a sample itself; the rest is its partner's."""
    box: tuple[float, float] | None
    """Cutmix: centre of the partner's box as fractions of height and width; None: mixup."""


def draw_mix(seed: int, step: int, mixup: float, cutmix: float) -> Mix | None:
    """The draw of a global step: mixup, cutmix or, where both are asked for, either with equal chance; None: neither."""
    if not (mixup or cutmix):
        return None
    rng = generator(seed, step, "mix")
    coin, *centre = rng.random(3).tolist()
    boxed = cutmix > 0 and (mixup == 0 or coin < 0.5)
    alpha = cutmix if boxed else mixup
    return Mix(float(rng.beta(alpha, alpha)), (centre[0], centre[1]) if boxed else None)


def partners(size: int, device: torch.device | None = None) -> torch.Tensor:
    """`[1, 0, 3, 2, ...]`; the last of an odd number is its own partner."""
    return (torch.arange(size, device=device) ^ 1).clamp_(max=size - 1)


def blend(frames: torch.Tensor, mix: Mix) -> tuple[torch.Tensor, float]:
    """Blended float frames `[B, ..., H, W]` of whole pairs, and the share that each sample kept of itself.

    A cutmix box stands still through the clip, and the share is that of the pixels left, as the paper counts it.
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


def _span(centre: float, side: float, length: int) -> tuple[int, int]:
    """A span of `side * length` pixels about `centre`, cut to the frame."""
    middle, half = centre * length, side * length / 2
    return max(0, int(middle - half + 0.5)), min(length, int(middle + half + 0.5))


def cut(size: int, parts: int, grain: int) -> list[slice]:
    """`parts` slices of nearly equal size that cover 0..size; only multiples of `grain` are cut at.

    A last sample without a partner goes with the pair before it where there is a pair for every slice.
    """
    pairs = size // grain
    blocks = np.array_split(np.arange(pairs if pairs >= parts else -(-size // grain)), parts)
    bounds = np.cumsum([0, *(len(block) * grain for block in blocks)]).clip(max=size).tolist()
    return [slice(a, b) for a, b in pairwise([*bounds[:-1], size])]


def shares(size: int, ranks: int, grain: int, least: int) -> list[slice]:
    """Each rank's slice of a global batch, of at least `least` samples or, if they do not go round, of none.

    The first ranks have samples, rank 0 among them, whose batch statistics are kept.
    """
    busy = max(1, min(ranks, size // least))
    return [*cut(size, busy, grain), *[slice(size, size)] * (ranks - busy)]


def micro_parts(sizes: Sequence[int], micro: int | None, grain: int) -> list[list[slice]]:
    """For each share of a batch, `sizes` long, the slices that it goes through the model in: as many of every share.

    As few of at most `micro` samples as the longest share allows. A share with fewer blocks of `grain` than that has
    empty ones. One sample alone is in a slice only where the share is one sample, or `micro` below 3.
    """
    longest = max(sizes)
    if not longest:
        return [[] for _ in sizes]
    micro = micro or longest
    number = -(-longest // micro)
    while any(part.stop - part.start > micro for part in cut(longest, number, grain)):
        number += 1
    return [cut(size, number, grain) for size in sizes]
