"""Pose files: joints of a media as published or extracted, read into one array."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from harbench.errors import MediaError
from harbench.files import read_npy
from harbench.frames.bodies import CHOICES, Pose
from harbench.frames.positions import read_positions
from harbench.recipe.inputs import Bodies


def read_pose(path: Path, bodies: Bodies = "motion") -> Pose:
    """The joints of a media as float32 [T, M, V, C]: frames, bodies, joints, channels.

    A `.npy` holds [T, M, V, C], or [T, V, C] for one body. Of an NTU `.skeleton`, C is x, y, z in metres, and `bodies` says
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
            return CHOICES[bodies](positions)
        if bodies != "motion":
            raise MediaError(f"its bodies were chosen by who made it; --bodies {bodies} needs the .skeleton file")
        if path.suffix == ".mat":
            return _jhmdb(path)
    except OSError as error:
        raise MediaError(f"cannot be read: {error.strerror or error}") from None
    array = read_npy(path)
    if array.dtype.kind not in "fiu" or array.ndim not in (3, 4) or not array.size:
        raise MediaError(f"expected numbers [T, M, V, C] or [T, V, C], found {array.dtype} {list(array.shape)}")
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
