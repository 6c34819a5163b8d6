"""Skeleton pickles as pyskl and mmaction2 publish them, taken apart into one pose file a media.

Such a file is a dict of `split` and `annotations`, a list of dicts with `frame_dir`, `label`, `total_frames` and
`keypoint` [M, T, V, C] (https://github.com/kennymckormick/pyskl/blob/main/tools/data/README.md). Only the joints are taken:
splits and labels are the data set's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from harbench.errors import MediaError
from harbench.files import replacing
from harbench.pickles import read_pickle
from harbench.records import DatasetSpec, MediaMatch, SplitTable, Track, silent


def is_annotations(path: Path) -> bool:
    """A pickle, by its name."""
    return path.suffix in (".pkl", ".pickle")


def unpack_annotations(
    spec: DatasetSpec, tables: Sequence[SplitTable], pickle: Path, dest: Path, *, track: Track = silent
) -> MediaMatch:
    """Write the joints of each media of `tables` that `pickle` holds to `<dest>/<sample>.npy`, float32 [T, M, V, C].

    Files that are there and newer than the pickle stay. Annotations of other samples are listed as extra.

    Raises MediaError when the pickle is something else, holds other joints than the data set's, or holds a sample twice.
    """
    official = {PurePosixPath(media).stem.casefold(): media for table in tables for media in table.media()}
    present: dict[str, Path] = {}
    extra: list[str] = []
    annotations = list(_annotations(pickle))
    for name, keypoint in track(annotations, f"reading {pickle.name}", len(annotations)):
        media = official.get(name.casefold())
        if media is None:
            extra.append(name)
            continue
        if media in present:
            raise MediaError(f"{pickle}: it holds {name} twice; use the file as published")
        target = dest / f"{PurePosixPath(media).stem}.npy"
        _check(spec, pickle, name, keypoint)
        if not target.is_file() or target.stat().st_mtime_ns < pickle.stat().st_mtime_ns:
            with replacing(target, "wb") as handle:
                np.save(handle, np.ascontiguousarray(keypoint.transpose(1, 0, 2, 3), np.float32), allow_pickle=False)
        present[media] = target
    missing = tuple(media for media in official.values() if media not in present)
    return MediaMatch(present, missing, tuple(extra), {})


def _annotations(pickle: Path) -> Iterator[tuple[str, Any]]:
    """(frame_dir, keypoint) of every annotation."""
    content = read_pickle(pickle)
    listed = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(listed, list):
        raise MediaError(
            f"{pickle}: expected a skeleton pickle of pyskl or mmaction2, a dict with a list of `annotations`, "
            f"found {_described(content)}. If it is something else, move it out of the folder that you named"
        )
    for number, annotation in enumerate(listed):
        name = annotation.get("frame_dir") if isinstance(annotation, dict) else None
        if not isinstance(name, str) or "keypoint" not in annotation:
            raise MediaError(f"{pickle}, annotation {number}: expected a dict with `frame_dir` and `keypoint`")
        yield name, annotation["keypoint"]


def _described(content: object) -> str:
    if isinstance(content, dict):
        return f"a dict of {', '.join(repr(key)[:30] for key in list(content)[:5]) or 'nothing'}"
    return f"a {type(content).__name__}"


def _check(spec: DatasetSpec, pickle: Path, name: str, keypoint: Any) -> None:
    """Joints that are another detector's (17 of HRNet in the image) are not those of the data set."""
    channels, joints = spec.pose_shape
    good = isinstance(keypoint, np.ndarray) and keypoint.dtype.kind == "f" and keypoint.ndim == 4 and keypoint.size
    if not good or keypoint.shape[2:] != (joints, channels):
        found = f"{keypoint.dtype} {list(keypoint.shape)}" if isinstance(keypoint, np.ndarray) else _described(keypoint)
        raise MediaError(
            f"{pickle}, {name}: expected the joints of {spec.title}, numbers [bodies, frames, {joints}, {channels}], "
            f"found {found}; the 3D pickle is the one to use, not the 2D one"
        )
