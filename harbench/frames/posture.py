"""Sitting, standing or lying, by plain geometry on MediaPipe's 33 or COCO's 17 landmarks; it learns nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from harbench.errors import RecipeError

POSTURES = ("sitting", "standing", "lying", "unknown")
JOINTS = {
    33: {"shoulder": (11, 12), "hip": (23, 24), "knee": (25, 26), "ankle": (27, 28)},
    17: {"shoulder": (5, 6), "hip": (11, 12), "knee": (13, 14), "ankle": (15, 16)},
}
"""Left and right joint, by number of landmarks: BlazePose (MediaPipe) and COCO."""
LYING = 45.0
"""Degrees from vertical beyond which the trunk lies: half way to horizontal."""
BENT = 130.0
"""Degrees at hip or knee below which a leg is bent: half way between a chair's right angle and a straight leg, less 5."""


def posture(landmarks: Any, visible: float = 0.5) -> Any:
    """Numbers `[...]` in `POSTURES` of landmarks `[..., V, 2 or more]`, V 33 or 17, y downwards: an array or a tensor.

    Middles of left and right shoulder, hip, knee and ankle are taken in the image plane (x and y in the same unit). The
    trunk is the line from hip to shoulder; lying: more than 45 degrees off vertical. Otherwise sitting: the angle
    shoulder-hip-knee, or hip-knee-ankle where the ankles are seen, is below 130 degrees; else standing. Unknown: shoulder,
    hip or knee is not seen on either side, that is its last channel (a visibility; only if there are three channels or
    more) is below `visible`, or all its coordinates are zero, as where no pose was found.

    Raises:
        RecipeError: another number of landmarks.
    """
    if landmarks.shape[-2] not in JOINTS:
        raise RecipeError(f"posture needs 33 (MediaPipe) or 17 (COCO) landmarks, found {landmarks.shape[-2]}")
    xp = _namespace(landmarks)
    seen = (landmarks[..., :2] != 0).any(-1)
    if landmarks.shape[-1] > 2:
        seen = seen & (landmarks[..., -1] >= visible)
    middles, there = {}, {}
    for name, sides in JOINTS[landmarks.shape[-2]].items():
        weight = seen[..., sides][..., None]
        middles[name] = (landmarks[..., sides, :2] * weight).sum(-2) / weight.sum(-2).clip(1)
        there[name] = seen[..., sides].any(-1)
    trunk = middles["shoulder"] - middles["hip"]
    hip = _angle(trunk, middles["knee"] - middles["hip"], xp)
    knee = _angle(middles["hip"] - middles["knee"], middles["ankle"] - middles["knee"], xp)
    lying = xp.rad2deg(xp.atan2(abs(trunk[..., 0]), -trunk[..., 1])) > LYING
    sitting = (hip < BENT) | (there["ankle"] & (knee < BENT))
    known = there["shoulder"] & there["hip"] & there["knee"]
    return xp.where(known, xp.where(lying, 2, xp.where(sitting, 0, 1)), 3)


def _namespace(landmarks: Any) -> Any:
    """numpy or torch, so that one geometry serves pictures and networks, and pictures need no torch."""
    if isinstance(landmarks, np.ndarray):
        return np
    import torch

    return torch


def _angle(a: Any, b: Any, xp: Any) -> Any:
    """Degrees between vectors `[..., 2]`, in 0..180; atan2 stays exact where they are parallel."""
    cross = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return xp.rad2deg(xp.atan2(abs(cross), (a * b).sum(-1)))
