"""From stored joints to a model's input: bodies, scale, augmentation. `[T, M, V, C]` in, `[C, T, V, M]` out.

What the channels are follows from the number of joints (`LAYOUTS`): coordinates first, then at most one confidence;
joints of an unknown layout are coordinates only, up to three. A joint is absent where its confidence is 0, any value is
not finite, or all its coordinates are 0; absent joints take part in nothing and leave as zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from harbench.errors import RecipeError
from harbench.frames.transforms import Draw
from harbench.recipe import InputConfig

Floats = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]
Present = npt.NDArray[np.bool_]
FramePairs = npt.NDArray[np.int64]
"""`[2, T]`: the frames of a clip, and for each the one after it in the sample, by their places in the tracks."""

_FLAT = 1e-6
"""Square meters: a spine and shoulders that span less than this say not how a body stands."""


class Trunk(NamedTuple):
    """The joints that say how a body stands."""

    base: int
    """Of the spine."""
    middle: int
    """Of the spine."""
    left: int
    """Shoulder."""
    right: int
    """Shoulder."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A published set of joints."""

    name: str
    coordinates: int
    """2 or 3; a further channel is a confidence."""
    pairs: tuple[tuple[int, int], ...]
    """Left and right joints that a flip exchanges, 0-based."""
    parents: tuple[int, ...]
    """Of every joint, its neighbor nearer the trunk; the root is its own. Bones and graphs follow from it."""
    trunk: Trunk | None = None
    """None where the spine has no joints, or joints have no depth."""


LAYOUTS = {
    15: Layout(
        "JHMDB-15",
        2,
        ((3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14)),
        (1, 1, 0, 0, 0, 1, 1, 3, 4, 5, 6, 7, 8, 9, 10),
    ),
    17: Layout(
        "COCO-17",
        2,
        ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
        (0, 0, 0, 1, 2, 0, 0, 5, 6, 7, 8, 5, 6, 11, 12, 13, 14),
    ),
    20: Layout(
        "Kinect-20",
        3,
        ((4, 8), (5, 9), (6, 10), (7, 11), (12, 16), (13, 17), (14, 18), (15, 19)),
        (1, 2, 2, 2, 2, 4, 5, 6, 2, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18),
        Trunk(base=0, middle=1, left=4, right=8),
    ),
    25: Layout(
        "NTU-25",
        3,
        ((4, 8), (5, 9), (6, 10), (7, 11), (12, 16), (13, 17), (14, 18), (15, 19), (21, 23), (22, 24)),
        (1, 20, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 20, 22, 7, 24, 11),
        Trunk(base=0, middle=1, left=4, right=8),
    ),
    33: Layout(
        "MediaPipe-33",
        3,
        ((1, 4), (2, 5), (3, 6), *((left, left + 1) for left in (7, 9, *range(11, 33, 2)))),
        (0, 0, 1, 2, 0, 4, 5, 3, 6, 0, 0, 0, 0, 11, 12, 13, 14, 15, 16, 15, 16, 15, 16, 11, 12, *range(23, 29), 27, 28),
    ),
}
"""By number of joints: puppet joints of JHMDB, COCO keypoints, Kinect v1 (as CTR-GCN links them), Kinect v2
(shahroudy/NTURGB-D), BlazePose landmarks. The trees of Kinect v2 and COCO are those of ST-GCN's and PYSKL's graphs; the
others follow the limbs."""


def check_joints(shape: tuple[int, ...], config: InputConfig) -> None:
    """Refuse what the joints of a data set cannot do, before anything is trained.

    Raises:
        RecipeError: a flip of joints whose left and right are not known, bones of an unknown tree, or coordinates of a
            body whose spine is not known, or known in the image plane only.
    """
    joints, channels = shape[-2:]
    if config.center == "spine":
        _check_trunk(joints, channels)
    layout = LAYOUTS.get(joints)
    if config.augment.tilt > 0 and min(channels, layout.coordinates if layout else 3) < 3:
        raise RecipeError(f"input.augment.tilt: {config.augment.tilt:g}, but these joints have no depth; set it to 0")
    if config.features.startswith("bone") and joints not in LAYOUTS:
        raise RecipeError(
            f"input.features: {config.features}, but how {joints} joints are connected is not known; set "
            "input.features=joint or joint_motion"
        )
    if config.augment.flip > 0 and joints not in LAYOUTS:
        known = ", ".join(f"{number} ({layout.name})" for number, layout in LAYOUTS.items())
        raise RecipeError(
            f"input.augment.flip: {config.augment.flip}, but which of {joints} joints are left and right is not known "
            f"(known: {known}); set input.augment.flip=0"
        )


def _check_trunk(joints: int, channels: int) -> None:
    """Refuse `center: spine` for these joints."""
    layout = LAYOUTS.get(joints)
    if layout is None or layout.trunk is None:
        known = ", ".join(f"{number} ({each.name})" for number, each in LAYOUTS.items() if each.trunk)
        raise RecipeError(
            f"input.center: spine, but which of {joints} joints are spine and shoulders in 3D is not known (known: "
            f"{known}); set input.center=true"
        )
    if channels < layout.coordinates:
        raise RecipeError(
            f"input.center: spine turns bodies in space, expected x, y, z of every joint; found {channels} channels; set "
            "input.center=true"
        )


def frame_pairs(chosen: npt.NDArray[np.int64], frames: int) -> FramePairs:
    """`chosen` frames `[T]` of a sample of so many, and those after them; the last one is its own."""
    return np.stack([chosen, np.minimum(chosen + 1, frames - 1)])


def train_joints(
    joints: Floats, config: InputConfig, drawn: Draw, rng: np.random.Generator, at: FramePairs | None = None
) -> Floats:
    """Normalized and augmented clip, float32 `[C, T, V, M]`: rotated, flipped, then noised.

    `joints` are `[T, M, V, C]` of the clip; with `at` (for `InputConfig.whole_tracks`) those of the whole sample, of
    which the clip is taken last.
    """
    bodies = _bodies(joints, config)
    points, present = _aligned(bodies, config)
    center, size = _frame_of(points, present, config.center)
    points = _rotate(points - center, config.augment.rotate * (2 * drawn.angle - 1), upright=config.center == "spine")
    if config.augment.tilt > 0:
        points = _tilt(points, config.augment.tilt * (2 * rng.random() - 1))
    confidence = bodies[..., points.shape[-1] :]
    if drawn.flip < config.augment.flip:
        order = _flipped(points.shape[2])
        points = points[:, :, order] * np.array([-1] + [1] * (points.shape[-1] - 1))
        present, confidence = present[:, :, order], confidence[:, :, order]
    points = _boxed(points, present) if config.center == "box" else points / size
    if config.augment.noise > 0:
        points += rng.normal(0, config.augment.noise, points.shape)
    return _join(points if config.center else points + center, present, confidence, config.features, at)


def eval_joints(joints: Floats, config: InputConfig, at: FramePairs | None = None) -> Floats:
    """Normalized clip, float32 `[C, T, V, M]`, from joints and `at` as in training."""
    bodies = _bodies(joints, config)
    points, present = _aligned(bodies, config)
    if config.center == "box":
        points = _boxed(points, present)
    elif config.center:
        center, size = _frame_of(points, present, config.center)
        points = (points - center) / size
    return _join(points, present, bodies[..., points.shape[-1] :], config.features, at)


def resize_tracks(joints: Floats, length: int) -> Floats:
    """`[T, M, V, C]` to `length` frames: a median over three frames, then cubic splines through every track.

    As DD-Net prepares its sequences (`scipy.ndimage.zoom`, first and last frames coincide). A joint is absent from a
    new frame where it was absent from the nearest old one, and gaps are bridged so that no track bends towards zero.
    """
    frames = len(joints)
    _, present = _split(joints)
    filled = _bridged(joints, present)
    if frames > 2:  # the ends count twice; zeros outside, as in the public port, would pull them in
        padded = np.concatenate([filled[:1], filled, filled[-1:]])
        filled = np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)
    resized = np.tensordot(_spline(frames, length), filled, axes=1)
    nearest = np.round(np.linspace(0, frames - 1, length)).astype(np.int64)
    return np.where(present[nearest], resized, 0).astype(np.float32)


@cache
def _spline(frames: int, length: int) -> Points:
    """Matrix `[length, frames]` of `zoom`, which is linear in the values: computed once, applied to all tracks."""
    from scipy.ndimage import zoom  # here, not above: few recipes resize tracks, and it slows every start

    weights: Points = zoom(np.eye(frames), (length / frames, 1), order=3)
    return weights


def _bridged(joints: Floats, present: Present) -> Points:
    """Tracks with straight lines over gaps, held before the first and after the last sight."""
    tracks = np.where(present, joints, 0).astype(np.float64)
    time = np.arange(len(tracks))
    for body, joint in np.argwhere(~present[..., 0].all(axis=0) & present[..., 0].any(axis=0)):
        seen = present[:, body, joint, 0]
        for channel in range(tracks.shape[-1]):
            track = tracks[:, body, joint, channel]
            track[:] = np.interp(time, time[seen], track[seen])
    return tracks


def _bodies(joints: Floats, config: InputConfig) -> Floats:
    """The bodies kept, in as many frames as the clip is to have."""
    chosen = _choose(joints, config.bodies)
    whole = config.clip.whole
    return resize_tracks(chosen, whole.num_frames) if whole and whole.draw == "resize" else chosen


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


def _aligned(joints: Floats, config: InputConfig) -> tuple[Points, Present]:
    """As `_split`; for `center: spine` in the coordinates of the body."""
    points, present = _split(joints)
    trunk = LAYOUTS[joints.shape[-2]].trunk if config.center == "spine" else None
    return (points if trunk is None else _align(points, present, trunk)), present


def _align(points: Points, present: Present, trunk: Trunk) -> Points:
    """Points seen from a body: its middle spine is the origin, its spine on z, its shoulders in the x-z plane, right +x.

    As PreNormalize3D of pyskl, after 2s-AGCN: the body is the one seen in the most frames, and it is seen in the first of
    them; lengths stay meters. There the shoulders end on x itself, which tilts the spine by as much as they are no right
    angle to it and by an amount that depends on where the camera stood; here the spine stays, and nothing does.
    Without a frame that shows a trunk the points stay where they are.
    """
    spine = points[:, :, trunk.middle] - points[:, :, trunk.base]
    shoulders = points[:, :, trunk.right] - points[:, :, trunk.left]
    normals = np.cross(spine, shoulders)
    seen = present[:, :, list(trunk), 0].all(axis=2) & (np.linalg.norm(normals, axis=2) > _FLAT)
    if not seen.any():
        return points
    body = seen.sum(axis=0).argmax()
    first = seen[:, body].argmax(), body
    z, y = (vector[first] / np.linalg.norm(vector[first]) for vector in (spine, normals))
    turn = np.stack([np.cross(y, z), y, z], axis=1)
    stood: Points = np.where(present, (points - points[(*first, trunk.middle)]) @ turn, 0)
    return stood


def _split(joints: Floats) -> tuple[Points, Present]:
    """Coordinates `[T, M, V, 2 or 3]` with zeros for absent joints, and who is present `[T, M, V, 1]`."""
    channels, layout = joints.shape[-1], LAYOUTS.get(joints.shape[-2])
    coordinates = min(channels, layout.coordinates if layout else 3)
    points = joints[..., :coordinates].astype(np.float64)
    present = np.isfinite(joints).all(axis=-1, keepdims=True) & (points != 0).any(axis=-1, keepdims=True)
    if channels > coordinates:
        present &= joints[..., coordinates : coordinates + 1] > 0
    return np.where(present, points, 0), present


def _frame_of(points: Points, present: Present, center: bool | Literal["spine", "box"]) -> tuple[Points, float]:
    """Center and size of a clip, from all its present joints; where a body has given its own, the origin and 1.

    The center is their mean over frames, bodies and joints. The size is the root mean square distance of a joint from
    the mean joint of its own body in its own frame, so that neither traveling nor a second person makes a body larger.
    One center and one size per clip keep both: where a body goes, and where two bodies stand.
    """
    if center == "spine" or not present.any():
        return np.zeros(points.shape[-1]), 1.0
    mean = points.sum(axis=(0, 1, 2)) / present.sum()
    middle = points.sum(axis=2, keepdims=True) / np.maximum(present.sum(axis=2, keepdims=True), 1)
    size = float(np.sqrt(np.square(points - middle).sum(where=present) / present.sum()))
    return mean, size if center and size > 0 else 1.0


def _rotate(points: Points, degrees: float, *, upright: bool) -> Points:
    """In the image plane (2D), or about the vertical axis (3D): y of a camera, z of an upright body."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned, other = points.copy(), 1 if upright or points.shape[-1] == 2 else 2
    turned[..., 0] = cosine * points[..., 0] - sine * points[..., other]
    turned[..., other] = sine * points[..., 0] + cosine * points[..., other]
    return turned


def _tilt(points: Points, degrees: float) -> Points:
    """About the horizontal axis x, `[T, M, V, 3]`."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    tilted = points.copy()
    tilted[..., 1] = cosine * points[..., 1] - sine * points[..., 2]
    tilted[..., 2] = sine * points[..., 1] + cosine * points[..., 2]
    return tilted


def _boxed(points: Points, present: Present) -> Points:
    """Every axis from -1 to 1 over the clip's present joints; an axis without extent is 0."""
    if not present.any():
        return points
    low = np.where(present, points, np.inf).min(axis=(0, 1, 2))
    extent = np.where(present, points, -np.inf).max(axis=(0, 1, 2)) - low
    boxed: Points = np.where(extent > 0, (points - low) / np.where(extent > 0, extent, 1) * 2 - 1, 0)
    return boxed


def _flipped(joints: int) -> npt.NDArray[np.int64]:
    """Order of the joints after left and right have changed places."""
    order = np.arange(joints)
    for left, right in LAYOUTS[joints].pairs:
        order[[left, right]] = right, left
    return order


def _join(points: Points, present: Present, confidence: Floats, features: str, at: FramePairs | None) -> Floats:
    """`[C, T, V, M]` of these features at these frames, with zeros where a joint that they need is absent.

    The streams of 2s-AGCN (Shi et al., CVPR 2019): a bone is a joint less its parent, motion the next frame of the sample
    less this one, so its last frame has none. A confidence stays that of the joint.
    """
    now, after = frame_pairs(np.arange(len(points)), len(points)) if at is None else at
    if features.startswith("bone"):
        parents = list(LAYOUTS[points.shape[2]].parents)
        points, present = points - points[:, :, parents], present & present[:, :, parents]
    if features.endswith("motion"):
        points, present = points[after] - points[now], present[after] & present[now]
    else:
        points, present = points[now], present[now]
    joined = np.where(present, np.concatenate([points, confidence[now]], axis=-1), 0)
    return np.ascontiguousarray(joined.transpose(3, 0, 2, 1), dtype=np.float32)
