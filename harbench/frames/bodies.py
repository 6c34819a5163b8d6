"""Which bodies of an NTU file become a pose, and in what order: the field's choices by name.

A Kinect takes tables and seats for bodies, and finds a person again under another id; frames without anybody happen.
What a paper did about it is part of its protocol.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from harbench.datasets.skeleton_files import JOINTS
from harbench.frames.positions import Positions
from harbench.recipe.inputs import Bodies

Pose = npt.NDArray[np.float32]

_MIN_FRAMES = 11
"""A body seen in no more frames than this is noise,"""
_WIDEST = 0.8
"""as is one whose joints spread more than this share of their height over the width"""
_NOISY = 0.69754
"""in this share of its frames or more (microsoft/SGN, data/ntu/get_raw_denoised_data.py; so CTR-GCN too)."""
_SLOTS = 4
"""Bodies of a frame that ST-GCN and its successors look at."""


def by_motion(found: Positions) -> Pose:
    """`[T, M, 25, 3]`: every body, followed by its id (slots swap), zeros where absent, the most moving one first.

    Motion is the sum of the variances of x, y and z over joints and frames, as the authors' FAQ ranks bodies
    (https://github.com/shahroudy/NTURGB-D).
    """
    pose, seen = _tracks(found)
    motion = [_motion(pose[seen[:, body], body]) for body in range(pose.shape[1])]
    return np.ascontiguousarray(pose[:, np.argsort(motion)[::-1]])


def by_energy(found: Positions) -> Pose:
    """`[T, 2, 25, 3]`: of the first four slots of a frame, whoever is in them, the two of the largest energy.

    Energy is the sum of the standard deviations of x, y and z over the joints of all frames in which the slot is taken
    (lshiwjx/2s-AGCN, data_gen/ntu_gendata.py; so MS-G3D and mmaction2).
    """
    slots = np.zeros((found.frames, _SLOTS, JOINTS, 3), np.float32)
    seen = found.slot < _SLOTS
    slots[found.frame[seen], found.slot[seen]] = found.xyz[seen]
    taken = (slots != 0).any(axis=(2, 3))
    points = [slots[taken[:, slot], slot].reshape(-1, 3) for slot in range(_SLOTS)]
    energy = [points_of.std(axis=0).sum() if len(points_of) else 0 for points_of in points]
    return np.ascontiguousarray(slots[:, np.argsort(energy)[::-1][:2]])


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


CHOICES: Mapping[Bodies, Callable[[Positions], Pose]] = {"motion": by_motion, "energy": by_energy, "denoised": denoised}
"""By the name that `data.cache.bodies` gives them."""
