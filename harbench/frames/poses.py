"""Pose files: the joints of a media as published or extracted, read into one array.

A Kinect takes tables and seats for bodies, and finds a person again under another id; frames without anybody happen. What
a paper did about it is part of its protocol: which bodies of an NTU file become a pose, and in what order, is a setting.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harbench.datasets.skeleton_files import JOINTS
from harbench.errors import MediaError
from harbench.files import read_npy
from harbench.frames.positions import Positions, read_positions
from harbench.recipe.inputs import Bodies

Pose = npt.NDArray[np.float32]

_MIN_FRAMES = 11
"""A body seen in no more frames than this is noise,"""
_WIDEST = 0.8
"""as is one whose joints spread more than this share of their height over the width"""
_NOISY = 0.69754
"""in this share of its frames or more (microsoft/SGN, data/ntu/get_raw_denoised_data.py; so CTR-GCN too)."""


def read_pose(path: Path, bodies: Bodies = "motion") -> Pose:
    """The joints of a media as float32 [T, M, V, C]: frames, bodies, joints, channels.

    A `.npy` holds [T, M, V, C], or [T, V, C] for one body. Of an NTU `.skeleton`, C is x, y, z in meters, and `bodies` says
    which of its bodies are taken; of a `joint_positions.mat` of JHMDB, C is x, y in pixels. Raises MediaError for anything
    else, and where there are no bodies to choose from.
    """
    try:
        with open(path, "rb") as handle:
            is_array = handle.read(6) == b"\x93NUMPY"  # joints from a pickle stand in for a .skeleton, under its name
        if path.suffix == ".skeleton" and not is_array:
            positions = read_positions(path)
            if not positions.body_ids:
                raise MediaError(f"{path.name}: none of its {positions.frames} frames has a body")
            return _CHOICES[bodies](positions)
        if bodies != "motion":
            raise MediaError(f"its bodies were chosen by who made it; --bodies {bodies} needs the .skeleton file")
        if path.suffix == ".mat":
            return _jhmdb(path)
        if path.suffix == ".json":
            return _sequence(path)
    except OSError as error:
        raise MediaError(f"cannot be read: {error.strerror or error}") from None
    array = read_npy(path)
    if array.dtype.kind not in "fiu" or array.ndim not in (3, 4) or not array.size:
        raise MediaError(f"expected numbers [T, M, V, C] or [T, V, C], found {array.dtype} {list(array.shape)}")
    return np.ascontiguousarray(array[:, None] if array.ndim == 3 else array, dtype=np.float32)


def _sequence(path: Path) -> Pose:
    """`skeletons` [T, V, C] of a sequence of Northwestern-UCLA, one body, as its public copy has it."""
    try:
        content = json.loads(path.read_bytes())
        array = np.array(content["skeletons"], np.float32)
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise MediaError(f"expected JSON with `skeletons` [T, V, C]: {error}") from None
    if array.ndim != 3 or not array.size:
        raise MediaError(f"expected `skeletons` [T, V, C] with one frame or more, found {list(array.shape)}")
    return array[:, None]


def _jhmdb(path: Path) -> Pose:
    """`pos_img` [2, 15, T] of a `joint_positions.mat`: x and y in the image (README of http://jhmdb.is.tue.mpg.de)."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        array = loadmat(path, variable_names=["pos_img"]).get("pos_img")
    except (MatReadError, ValueError, TypeError, LookupError, OverflowError, EOFError, zlib.error) as error:
        raise MediaError(f"not a MATLAB file: {error}") from None
    except NotImplementedError:
        raise MediaError("a MATLAB file of version 7.3; expected one of an earlier version, as published") from None
    if array is None or array.dtype.kind not in "fiu" or array.ndim != 3 or len(array) != 2 or not array.size:
        found = "none" if array is None else f"{array.dtype} {list(array.shape)}"
        raise MediaError(f"expected joints `pos_img` [2, 15, T], found {found}")
    return np.ascontiguousarray(array.transpose(2, 1, 0)[:, None], np.float32)


# -------------------------------------------------------------------------------------------------------------- bodies
def by_motion(found: Positions) -> Pose:
    """`[T, M, 25, 3]`: every body, tracked by its id (slots swap), zeros where absent, the most moving one first.

    Motion is the sum of the variances of x, y and z over joints and frames, as the authors' FAQ ranks bodies
    (https://github.com/shahroudy/NTURGB-D).
    """
    pose, seen = _tracks(found)
    motion = [_motion(pose[seen[:, body], body]) for body in range(pose.shape[1])]
    return np.ascontiguousarray(pose[:, np.argsort(motion)[::-1]])


def denoised(found: Positions) -> Pose:
    """`[T', 1 or 2, 25, 3]`: what is a person, as two actors at most, in the frames in which there is one.

    Of several bodies, those seen in 11 frames or fewer are dropped, then those wider than high in 70 % of their frames,
    but never all. The rest, by motion over their good frames, is laid on the track of the first actor where that is free,
    else of the second (microsoft/SGN, data/ntu/get_raw_denoised_data.py; so CTR-GCN, InfoGCN, HD-GCN). That code moves the
    later frames of a body that was lost for a while forward; here they stay where they are.
    """
    pose, seen = _tracks(found)
    motion = {body: _motion(pose[seen[:, body], body]) for body in range(pose.shape[1])}
    persons = [body for body in motion if seen[:, body].sum() > _MIN_FRAMES] or list(motion)
    for body in tuple(persons):
        if len(persons) == 1:
            break
        points = pose[seen[:, body], body]
        width, height, _ = np.ptp(points, axis=1).T
        noise = width > _WIDEST * height
        if noise.mean() >= _NOISY:
            persons.remove(body)
        elif noise.any():
            motion[body] = min(motion[body], _motion(points[~noise]))
    actors = np.zeros((found.frames, 2, JOINTS, 3), np.float32)
    spans = [(math.inf, -math.inf), (0, 0)]  # as in that code, the second actor's begins with the first frame
    for body in sorted(persons, key=lambda body: -motion[body]):
        start, end = np.flatnonzero(seen[:, body])[[0, -1]]
        for actor, (first, last) in enumerate(spans):
            if min(last, end) - max(first, start) <= 0:
                actors[seen[:, body], actor] = pose[seen[:, body], body]
                spans[actor] = min(first, start), max(last, end)
                break
    somebody = (actors != 0).any(axis=(2, 3))
    return np.ascontiguousarray(actors[somebody.any(axis=1), : 1 + int(somebody[:, 1].any())])


def _tracks(found: Positions) -> tuple[Pose, npt.NDArray[np.bool_]]:
    """`[T, M, 25, 3]` of all bodies in order of appearance, zeros where absent; and where each is seen, `[T, M]`."""
    place = {body_id: index for index, body_id in enumerate(dict.fromkeys(found.body_ids))}
    track = np.array([place[body_id] for body_id in found.body_ids])
    pose = np.zeros((found.frames, len(place), JOINTS, 3), np.float32)
    seen = np.zeros((found.frames, len(place)), bool)
    pose[found.frame, track] = found.xyz
    seen[found.frame, track] = True
    return pose, seen


def _motion(points: Pose) -> float:
    """Of `[T, V, 3]`."""
    return float(points.reshape(-1, 3).var(axis=0).sum())


_CHOICES: Mapping[Bodies, Callable[[Positions], Pose]] = {"motion": by_motion, "denoised": denoised}
"""By the name that `data.cache.bodies` gives them."""
