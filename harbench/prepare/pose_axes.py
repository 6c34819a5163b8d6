"""Which axis of a pose array is what: frames T, bodies M, joints V, channels C. Decided by the lengths of all, or asked for.

harbench keeps [T, M, V, C]. pyskl's `keypoint` is [M, T, V, C]; ST-GCN and what follows it feed [C, T, V, M].
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harbench.errors import DatasetError, MediaError, damage
from harbench.files import NPY_DAMAGE, read_npy, replacing

_ORDERS = ("TMVC", "MTVC", "CTVM", "TVC", "CTV")
_NAMES = {"T": "frames", "M": "bodies", "V": "joints", "C": "channels"}
_CHANNELS = (2, 3, 4)
_MOST_BODIES, _FEWEST_JOINTS = 10, 5
_DAMAGED = (*NPY_DAMAGE, OSError, NotImplementedError, RuntimeError, zlib.error, zipfile.BadZipFile)
"""What zipfile and numpy raise on damaged archives."""
Shapes = Mapping[str, tuple[int, ...]]
"""Media -> shape of its array."""


@dataclass(frozen=True)
class PoseAxes:
    """How the arrays of a data set are read."""

    shape: tuple[int, int] = (0, 0)
    """(C, V)."""
    orders: tuple[str, ...] = ()
    """Axes in order (`TMVC`), one for each number of axes that occurs."""
    note: str = ""
    """The reading, with one array as an example."""

    def put(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """An array as [T, M, V, C], or [T, V, C] without bodies."""
        order = next((each for each in self.orders if len(each) == array.ndim), "")
        return array.transpose([order.index(axis) for axis in "TMVC" if axis in order]) if order else array

    @property
    def as_kept(self) -> bool:
        """Whether files need no change."""
        return {*self.orders} <= {"TMVC", "TVC"}


def read_axes(shapes: Shapes, asked: str = "") -> PoseAxes:
    """How arrays of these shapes are to be read; `asked` (e.g. `CTVM`) goes before what their lengths say.

    Raises DatasetError where the lengths fit several orders or none, or joints and channels are not the same in all.
    """
    asked = asked.upper()
    if asked and sorted(asked) not in (sorted("TVC"), sorted("TMVC")):
        raise DatasetError(f"--pose-axes {asked}: expected T, V, C and M, each once, e.g. TMVC; without M for one body")
    ranks: dict[int, list[tuple[int, ...]]] = defaultdict(list)
    for shape in shapes.values():
        ranks[len(shape)].append(shape)
    orders = tuple(asked if len(asked) == rank else _order(shapes, found, rank) for rank, found in ranks.items())
    read = {(_lengths(order, ranks[len(order)], "C"), _lengths(order, ranks[len(order)], "V")) for order in orders}
    if len(read) != 1 or any(len(lengths) != 1 for pair in read for lengths in pair):
        raise DatasetError(f"expected poses that all have the same joints and channels; found {_shown(shapes)}")
    ((channels, joints),) = read
    first, shape = next(iter(shapes.items()))
    order = next(each for each in orders if len(each) == len(shape))
    said = ", ".join(f"{axis} {_NAMES[axis]}" for axis in order)
    return PoseAxes((*channels, *joints), orders, f"poses are read as {said}: {first} is {list(shape)}")  # type: ignore[arg-type]


def _lengths(order: str, shapes: Sequence[tuple[int, ...]], axis: str) -> tuple[int, ...]:
    return tuple(sorted({shape[order.index(axis)] for shape in shapes}))


def _order(shapes: Shapes, found: Sequence[tuple[int, ...]], rank: int) -> str:
    """The only order that the lengths of all arrays of this rank fit."""
    fitting = [order for order in _ORDERS if len(order) == rank and _fits(order, found)]
    if len(fitting) == 1:
        return fitting[0]
    said = f"their lengths fit {' and '.join(fitting)}" if fitting else "their lengths do not say which axis is what"
    raise DatasetError(
        f"expected poses [T, M, V, C], [M, T, V, C], [C, T, V, M], [T, V, C] or [C, T, V] (T frames, M bodies, V joints, "
        f"C channels); found {_shown(shapes)}, and {said}. Say it:  --pose-axes {(fitting or ['TMVC'])[0]}"
    )


def _fits(order: str, shapes: Sequence[tuple[int, ...]]) -> bool:
    channels, joints = _lengths(order, shapes, "C"), _lengths(order, shapes, "V")
    bodies = [shape[order.index("M")] for shape in shapes] if "M" in order else [1] * len(shapes)
    return (
        len(channels) == len(joints) == 1
        and channels[0] in _CHANNELS
        and joints[0] >= _FEWEST_JOINTS
        and max(bodies) <= _MOST_BODIES
        and sum(shape[order.index("T")] for shape in shapes) >= sum(bodies)
    )


def _shown(shapes: Shapes) -> str:
    kinds: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for name, shape in shapes.items():
        kinds[shape].append(name)
    some = [f"{list(shape)} ({len(names)} times, e.g. {names[0]})" for shape, names in list(kinds.items())[:4]]
    return "; ".join(some) + ("; ..." if len(kinds) > 4 else "") or "none"


# --------------------------------------------------------------------------------------------------------------- files
def array_shapes(files: Mapping[str, Path]) -> Shapes:
    """Shapes of pose files, read from their headers; a `.skeleton` is 25 joints in space. MediaError for damage."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, path in files.items():
        if path.suffix == ".skeleton":
            shapes[name] = (1000, 2, 25, 3)
            continue
        try:
            shapes[name] = read_npy(path, mapped=True).shape
        except MediaError as error:
            raise MediaError(f"{path}: {error}") from None
    return shapes


def npz_shapes(path: Path) -> Shapes:
    """Shapes of the arrays (`<id>.npy`) of a poses.npz, read from their headers. MediaError for damage."""
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    version = np.lib.format.read_magic(member)
                    read = (
                        np.lib.format.read_array_header_1_0
                        if version == (1, 0)
                        else np.lib.format.read_array_header_2_0
                    )
                    shapes[name] = read(member)[0]
    except _DAMAGED as error:
        raise MediaError(f"{path}: expected an .npz of pose arrays, found damage: {damage(error)}") from None
    return shapes


def write_poses(media: Mapping[str, Path], poses: Path | None, axes: PoseAxes, into: Path) -> dict[str, Path]:
    """Arrays of `.npy` files, or of the archive `poses`, as [T, M, V, C] or [T, V, C] below `into`: media -> file."""
    files = dict(media)
    with np.load(poses, allow_pickle=False) if poses else nullcontext({}) as archive:
        for name, path in media.items():
            if poses or path.suffix == ".npy":
                files[name] = into / name
                array = archive[name.removesuffix(".npy")] if poses else read_npy(path)
                content = io.BytesIO()
                np.save(content, axes.put(array), allow_pickle=False)
                if (
                    not files[name].is_file() or files[name].read_bytes() != content.getvalue()
                ):  # else it is cached anew
                    with replacing(files[name], "wb") as handle:
                        handle.write(content.getvalue())
    return files
