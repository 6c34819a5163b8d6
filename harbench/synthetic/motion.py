"""How a body moves: directions of the limbs over phase, and the joints that follow from them.

Body axes: x to the person's left, y up, z forward; meters. Arrays run over the frames `[T]`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harbench.datasets.sample import GAITS, REVERSED
from harbench.synthetic.persons import Person

Array = npt.NDArray[np.float64]

# The 25 joints of NTU RGB+D (0-based), then the face of COCO.
BASE, MID_SPINE, NECK, HEAD = range(4)
SHOULDER, ELBOW, WRIST, HAND = (4, 8), (5, 9), (6, 10), (7, 11)
HIP, KNEE, ANKLE, FOOT = (12, 16), (13, 17), (14, 18), (15, 19)
SPINE_SHOULDER = 20
HAND_TIP, THUMB = (21, 23), (22, 24)
NOSE, EYES, EARS = 25, (26, 27), (28, 29)
NUM_JOINTS = 30
"""Pairs are (left, right)."""

COCO = (NOSE, *EYES, *EARS, *SHOULDER, *ELBOW, *WRIST, *HIP, *KNEE, *ANKLE)
"""COCO-17 order in terms of the joints above."""


@dataclass(frozen=True)
class Pose:
    """Unit vectors `[T, 3]` along the limbs, away from the trunk; pairs are (left, right)."""

    spine: Array
    upper_arm: tuple[Array, Array]
    forearm: tuple[Array, Array]
    thigh: tuple[Array, Array]
    shin: tuple[Array, Array]
    feet_fixed: bool = False
    """The left ankle stays where it is and the hips move (sitting down), else the hips stay above the origin."""


def pose_at(label: str, phase: Array, who: Person) -> Pose:
    """The pose of an action at each phase (radians; for sitting down 0 is standing and pi sitting).

    The three gaits are one manifold: the label only ever decides how fast it is passed through.
    """
    if label in GAITS:
        return _gait(phase, who)
    if label in REVERSED:
        return _sit(phase, who)
    return {"box": _box, "wave": _wave, "clap": _clap}[label](phase, who)


def _gait(phase: Array, who: Person) -> Pose:
    thighs, shins, uppers, fores = [], [], [], []
    for opposite in (0.0, np.pi):
        p = phase + opposite
        hip = 0.08 + who.hip_swing * np.sin(p)
        knee = 0.12 + who.knee_lift * ((1 + np.cos(p + 0.35)) / 2) ** 1.5
        shoulder = -who.arm_swing * np.sin(p)
        thighs.append(_swing(hip))
        shins.append(_swing(hip - knee))
        uppers.append(_swing(shoulder))
        fores.append(_swing(shoulder + who.elbow))
    return Pose(_lean(np.full_like(phase, who.lean)), _pair(uppers), _pair(fores), _pair(thighs), _pair(shins))


def _sit(phase: Array, who: Person) -> Pose:
    seated = (1 - np.cos(phase)) / 2
    hip = 1.45 * seated
    knee = 0.04 + 1.45 * seated
    lean = 0.05 + 0.55 * np.sin(phase) ** 2
    arm = 0.1 + 0.5 * seated
    upper, fore = _swing(arm), _swing(arm + 0.3 + 0.5 * seated)
    thigh, shin = _swing(hip), _swing(hip - knee)
    return Pose(_lean(lean), (upper, upper), (fore, fore), (thigh, thigh), (shin, shin), feet_fixed=True)


def _stance(phase: Array, spread: float, bend: float) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Legs that stand: (thighs, shins)."""
    still = np.zeros_like(phase)
    thighs = _towards(1, still - np.pi / 2 + spread, still + 0.9), _towards(-1, still - np.pi / 2 + spread, still + 2.2)
    shins = tuple(_unit(thigh + np.array([0, 0, -bend])) for thigh in thighs)
    return thighs, (shins[0], shins[1])


def _box(phase: Array, who: Person) -> Pose:
    uppers, fores = [], []
    for side, p in ((1, phase), (-1, phase + np.pi)):
        out = ((1 + np.cos(p)) / 2) ** 3
        uppers.append(_towards(side, -0.9 + 0.85 * out, 0.25 - 0.2 * out))
        fores.append(_towards(side, 0.95 - 0.95 * out, -0.3 + 0.25 * out))
    thighs, shins = _stance(phase, 0.3, 0.25)
    return Pose(_lean(0.08 + 0.05 * np.cos(phase) ** 2), _pair(uppers), _pair(fores), thighs, shins)


def _wave(phase: Array, who: Person) -> Pose:
    uppers, fores = [], []
    for side in (1, -1):
        up = np.sin(phase)
        uppers.append(_towards(side, 0.45 + 0.35 * up, np.full_like(phase, np.pi / 2 - 0.1)))
        fores.append(_towards(side, 1.25 + 0.55 * up, np.full_like(phase, np.pi / 2 - 0.1)))
    thighs, shins = _stance(phase, 0.12, 0.05)
    return Pose(_lean(np.full_like(phase, 0.02)), _pair(uppers), _pair(fores), thighs, shins)


def _clap(phase: Array, who: Person) -> Pose:
    apart = (1 - np.cos(phase)) / 2
    uppers = [_towards(side, -0.75 + 0.1 * apart, 0.35 + 0.55 * apart) for side in (1, -1)]
    fores = [_towards(side, 0.15 + 0.1 * apart, -0.75 + 0.95 * apart) for side in (1, -1)]
    thighs, shins = _stance(phase, 0.12, 0.05)
    return Pose(_lean(np.full_like(phase, 0.02)), _pair(uppers), _pair(fores), thighs, shins)


def _pair(arrays: list[Array]) -> tuple[Array, Array]:
    left, right = arrays
    return left, right


def _swing(angle: Array) -> Array:
    """Direction of a limb that hangs down at 0 and points forward at pi/2."""
    return np.stack([np.zeros_like(angle), -np.cos(angle), np.sin(angle)], axis=-1)


def _lean(angle: Array) -> Array:
    """Direction of a spine that is upright at 0 and leans forward."""
    return np.stack([np.zeros_like(angle), np.cos(angle), np.sin(angle)], axis=-1)


def _towards(side: int, elevation: Array, outward: Array) -> Array:
    """Direction by elevation (-pi/2 down, 0 level) and azimuth (0 forward, pi/2 to the limb's own side)."""
    level = np.cos(elevation)
    return np.stack([side * level * np.sin(outward), np.sin(elevation), level * np.cos(outward)], axis=-1)


def _unit(vectors: Array) -> Array:
    unit: Array = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit


def joints(pose: Pose, who: Person) -> Array:
    """Forward kinematics: `[T, 30, 3]` in body axes, meters, the lowest foot on the ground."""
    h = who.height
    leg, arm, torso = who.leg * h, who.arm * h, who.torso * h
    out = np.zeros((len(pose.spine), NUM_JOINTS, 3))
    left = np.array([1.0, 0.0, 0.0])
    forward = np.stack([0 * pose.spine[:, 0], -pose.spine[:, 2], pose.spine[:, 1]], axis=-1)
    reach = [leg * (thigh + shin) for thigh, shin in zip(pose.thigh, pose.shin, strict=True)]
    out[:, BASE, 1] = 0.045 * h - np.minimum(reach[0][:, 1], reach[1][:, 1])
    if pose.feet_fixed:
        out[:, BASE, 2] = -reach[0][:, 2]
    out[:, MID_SPINE] = out[:, BASE] + 0.5 * torso * pose.spine
    out[:, SPINE_SHOULDER] = out[:, BASE] + torso * pose.spine
    out[:, NECK] = out[:, SPINE_SHOULDER] + 0.045 * h * pose.spine
    out[:, HEAD] = out[:, NECK] + 0.08 * h * pose.spine
    for side, sign in enumerate((1.0, -1.0)):
        out[:, HIP[side]] = out[:, BASE] + sign * 0.055 * h * left
        out[:, KNEE[side]] = out[:, HIP[side]] + leg * pose.thigh[side]
        out[:, ANKLE[side]] = out[:, KNEE[side]] + leg * pose.shin[side]
        shin = pose.shin[side]
        toes = np.stack([0 * shin[:, 0], shin[:, 2] - 0.15, -shin[:, 1]], axis=-1)
        out[:, FOOT[side]] = out[:, ANKLE[side]] + 0.085 * h * toes
        out[:, SHOULDER[side]] = out[:, SPINE_SHOULDER] + sign * 0.105 * h * left
        out[:, ELBOW[side]] = out[:, SHOULDER[side]] + arm * pose.upper_arm[side]
        fore = pose.forearm[side]
        out[:, WRIST[side]] = out[:, ELBOW[side]] + 0.92 * arm * fore
        out[:, HAND[side]] = out[:, WRIST[side]] + 0.035 * h * fore
        out[:, HAND_TIP[side]] = out[:, WRIST[side]] + 0.08 * h * fore
        out[:, THUMB[side]] = out[:, HAND[side]] + 0.025 * h * forward
        out[:, EYES[side]] = out[:, HEAD] + h * (0.052 * forward + 0.012 * pose.spine) + sign * 0.018 * h * left
        out[:, EARS[side]] = out[:, HEAD] + sign * 0.042 * h * left
    out[:, NOSE] = out[:, HEAD] + 0.060 * h * forward
    return out
