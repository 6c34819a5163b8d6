"""From stored joints to a model's input: bodies, scale, augmentation. `[T, M, V, C]` in, `[C, T, V, M]` out.

What the channels are follows from the number of joints (`LAYOUTS`): coordinates first, then at most one confidence;
joints of an unknown layout are coordinates only, up to three. A joint is absent where its confidence is 0, any value is
not finite, or all its coordinates are 0; absent joints take part in nothing and leave as zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harbench.errors import RecipeError
from harbench.frames.transforms import Draw
from harbench.recipe import InputConfig

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Layout:
    """A published set of joints."""

    name: str
    coordinates: int
    """2 or 3; a further channel is a confidence."""
    pairs: tuple[tuple[int, int], ...]
    """Left and right joints that a flip exchanges, 0-based."""


LAYOUTS = {
    15: Layout("JHMDB-15", 2, ((3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14))),
    17: Layout("COCO-17", 2, ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16))),
    25: Layout(
        "NTU-25", 3, ((4, 8), (5, 9), (6, 10), (7, 11), (12, 16), (13, 17), (14, 18), (15, 19), (21, 23), (22, 24))
    ),
    33: Layout("MediaPipe-33", 3, ((1, 4), (2, 5), (3, 6), *((left, left + 1) for left in (7, 9, *range(11, 33, 2))))),
}
"""By number of joints: puppet joints of JHMDB, COCO keypoints, Kinect v2 (shahroudy/NTURGB-D), BlazePose landmarks."""


def check_joints(shape: tuple[int, ...], config: InputConfig) -> None:
    """Refuse what the joints of a data set cannot do, before anything is trained.

    Raises:
        RecipeError: a flip of joints whose left and right are not known.
    """
    joints = shape[-2]
    if config.augment.flip > 0 and joints not in LAYOUTS:
        known = ", ".join(f"{number} ({layout.name})" for number, layout in LAYOUTS.items())
        raise RecipeError(
            f"input.augment.flip: {config.augment.flip}, but which of {joints} joints are left and right is not known "
            f"(known: {known}); set input.augment.flip=0"
        )


def train_joints(joints: Floats, config: InputConfig, drawn: Draw, rng: np.random.Generator) -> Floats:
    """Normalised and augmented clip, float32 `[C, T, V, M]`, from `[T, M, V, C]`: rotated, flipped, then noised."""
    bodies = _choose(joints, config.bodies)
    points, present = _split(bodies)
    centre, size = _frame_of(points, present, config.center)
    points = _rotate(points - centre, config.augment.rotate * (2 * drawn.angle - 1))
    confidence = bodies[..., points.shape[-1] :]
    if drawn.flip < config.augment.flip:
        order = _flipped(points.shape[2])
        points = points[:, :, order] * np.array([-1] + [1] * (points.shape[-1] - 1))
        present, confidence = present[:, :, order], confidence[:, :, order]
    points = points / size
    if config.augment.noise > 0:
        points += rng.normal(0, config.augment.noise, points.shape)
    return _join(points if config.center else points + centre, present, confidence)


def eval_joints(joints: Floats, config: InputConfig) -> Floats:
    """Normalised clip, float32 `[C, T, V, M]`, from `[T, M, V, C]`."""
    bodies = _choose(joints, config.bodies)
    points, present = _split(bodies)
    if config.center:
        centre, size = _frame_of(points, present, True)
        points = (points - centre) / size
    return _join(points, present, bodies[..., points.shape[-1] :])


def _choose(joints: Floats, bodies: int) -> Floats:
    """`bodies` bodies in stored order: those of the largest motion (summed variance, as NTU's FAQ ranks), or zeros."""
    stored = joints.shape[1]
    if stored <= bodies:
        return np.pad(joints, ((0, 0), (0, bodies - stored), (0, 0), (0, 0)))
    points, present = _split(joints)
    seen = np.maximum(present.sum(axis=0), 1)
    mean = points.sum(axis=0, where=present) / seen
    motion = (np.square(points - mean).sum(axis=0, where=present) / seen).sum(axis=(1, 2))
    return joints[:, np.sort(np.argsort(-motion, kind="stable")[:bodies])]


def _split(joints: Floats) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Coordinates `[T, M, V, 2 or 3]` with zeros for absent joints, and who is present `[T, M, V, 1]`."""
    channels, layout = joints.shape[-1], LAYOUTS.get(joints.shape[-2])
    coordinates = min(channels, layout.coordinates if layout else 3)
    points = joints[..., :coordinates].astype(np.float64)
    present = np.isfinite(joints).all(axis=-1, keepdims=True) & (points != 0).any(axis=-1, keepdims=True)
    if channels > coordinates:
        present &= joints[..., coordinates : coordinates + 1] > 0
    return np.where(present, points, 0), present


def _frame_of(
    points: npt.NDArray[np.float64], present: npt.NDArray[np.bool_], scale: bool
) -> tuple[npt.NDArray[np.float64], float]:
    """Centre and size of a clip, from all its present joints.

    The centre is their mean over frames, bodies and joints. The size is the root mean square distance of a joint from
    the mean joint of its own body in its own frame, so that neither travelling nor a second person makes a body larger.
    One centre and one size per clip keep both: where a body goes, and where two bodies stand.
    """
    if not present.any():
        return np.zeros(points.shape[-1]), 1.0
    centre = points.sum(axis=(0, 1, 2)) / present.sum()
    middle = points.sum(axis=2, keepdims=True) / np.maximum(present.sum(axis=2, keepdims=True), 1)
    size = float(np.sqrt(np.square(points - middle).sum(where=present) / present.sum()))
    return centre, size if scale and size > 0 else 1.0


def _rotate(points: npt.NDArray[np.float64], degrees: float) -> npt.NDArray[np.float64]:
    """In the image plane (2D), or about the vertical axis y (3D)."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned, other = points.copy(), 1 if points.shape[-1] == 2 else 2
    turned[..., 0] = cosine * points[..., 0] - sine * points[..., other]
    turned[..., other] = sine * points[..., 0] + cosine * points[..., other]
    return turned


def _flipped(joints: int) -> npt.NDArray[np.int64]:
    """Order of the joints after left and right have changed places."""
    order = np.arange(joints)
    for left, right in LAYOUTS[joints].pairs:
        order[[left, right]] = right, left
    return order


def _join(points: npt.NDArray[np.float64], present: npt.NDArray[np.bool_], confidence: Floats) -> Floats:
    """`[C, T, V, M]` with zeros for absent joints."""
    joined = np.where(present, np.concatenate([points, confidence], axis=-1), 0)
    return np.ascontiguousarray(joined.transpose(3, 0, 2, 1), dtype=np.float32)
