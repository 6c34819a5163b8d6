"""Pose files: joints of a media as published or extracted, read into one array."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harbench.errors import MediaError
from harbench.ingest.skeleton import JOINTS, Frames, read_skeleton

Pose = npt.NDArray[np.float32]


def read_pose(path: Path) -> Pose:
    """The joints of a media as float32 [T, M, V, C]: frames, bodies, joints, channels.

    A `.npy` holds [T, M, V, C], or [T, V, C] for one body. Of an NTU `.skeleton`, C is x, y, z in metres, and M counts every
    body id in it; of a `joint_positions.mat` of JHMDB, C is x, y in pixels. Raises MediaError for anything else.
    """
    try:
        with open(path, "rb") as handle:
            is_array = handle.read(6) == b"\x93NUMPY"  # joints from a pickle stand in for a .skeleton, under its name
        if path.suffix == ".skeleton" and not is_array:
            return _bodies_by_motion(path, read_skeleton(path))
        if path.suffix == ".mat":
            return _jhmdb(path)
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise MediaError(f"cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError) as error:
        raise MediaError(f"not an array file: {error}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or array.ndim not in (3, 4) or not array.size:
        found = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else "several arrays"
        raise MediaError(f"expected numbers [T, M, V, C] or [T, V, C], found {found}")
    return np.ascontiguousarray(array[:, None] if array.ndim == 3 else array, dtype=np.float32)


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


def _bodies_by_motion(path: Path, frames: Frames) -> Pose:
    """Bodies followed by their id (slots swap), zeros where absent, the most moving one first.

    Motion is the sum of the variances of x, y and z over joints and frames, as the authors' FAQ 6 ranks bodies.
    """
    ids = sorted({body.body_id for bodies in frames for body in bodies})
    if not ids:
        raise MediaError(f"{path.name}: none of its {len(frames)} frames has a body")
    slot = {body_id: index for index, body_id in enumerate(ids)}
    pose = np.zeros((len(frames), len(ids), JOINTS, 3), np.float32)
    seen = np.zeros((len(frames), len(ids)), bool)
    for time, bodies in enumerate(frames):
        for body in bodies:
            pose[time, slot[body.body_id]] = body.joints[:, :3]
            seen[time, slot[body.body_id]] = True
    motion = [pose[seen[:, index], index].reshape(-1, 3).var(axis=0).sum() for index in range(len(ids))]
    return np.ascontiguousarray(pose[:, np.argsort(motion)[::-1]])
