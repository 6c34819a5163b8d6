"""`.skeleton` files at full size: 10,000 mutated ones, and the readers' speed beside plain ones. Run it by hand.

python tests/acceptance/skeleton_acceptance.py
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "prepare"))
from test_positions import check_positions  # type: ignore[import-not-found]  # beside no package
from test_skeleton import check_mutations  # type: ignore[import-not-found]

from harbench.datasets.skeleton_files import JOINTS, Body, read_skeleton, write_skeleton
from harbench.frames.fill import keep_freed_memory
from harbench.frames.positions import read_positions


def typical(frames: int, bodies: int) -> list[list[Body]]:
    """Joints with the digits of a published file."""
    rng = np.random.default_rng(0)
    joints = rng.uniform(-3, 3, (frames, bodies, JOINTS, 12)).round(7)
    joints[..., 11] = 2
    return [
        [Body(2**56 + slot, (0, 0, 1, 0, 1, 0, 0.0266, -0.0941, 2), rows) for slot, rows in enumerate(f)]
        for f in joints
    ]


BODY_KEYS = (
    "bodyID", "clipedEdges", "handLeftConfidence", "handLeftState", "handRightConfidence", "handRightState",
    "isResticted", "leanX", "leanY", "trackingState",
)  # fmt: skip
JOINT_KEYS = ("x", "y", "z", "depthX", "depthY", "colorX", "colorY", "wx", "wy", "wz", "ww", "trackingState")


def as_lists(path: Path) -> list[list[list[list[float]]]]:
    """Line by line, one float() a field: as plain as can be."""
    with open(path, encoding="ascii") as handle:
        frames = []
        for _ in range(int(handle.readline())):
            bodies = []
            for _ in range(int(handle.readline())):
                handle.readline()
                bodies.append([[float(x) for x in handle.readline().split()] for _ in range(int(handle.readline()))])
            frames.append(bodies)
    return frames


def as_array(path: Path) -> np.ndarray:
    """Line by line, a dict a body and a joint, then x, y, z into an array: what ST-GCN, its successors and mmaction2 do."""
    with open(path, encoding="ascii") as handle:
        frames = []
        for _ in range(int(handle.readline())):
            bodies = []
            for _ in range(int(handle.readline())):
                body: dict[str, Any] = {k: float(v) for k, v in zip(BODY_KEYS, handle.readline().split(), strict=True)}
                body["joints"] = [
                    {k: float(v) for k, v in zip(JOINT_KEYS, handle.readline().split(), strict=True)}
                    for _ in range(int(handle.readline()))
                ]
                bodies.append(body)
            frames.append(bodies)
    array = np.zeros((len(frames), max(map(len, frames)), JOINTS, 3))
    for time_, bodies in enumerate(frames):
        for slot, body in enumerate(bodies):
            for number, joint in enumerate(body["joints"]):
                array[time_, slot, number] = joint["x"], joint["y"], joint["z"]
    return array


def best(read: Callable[[Path], object], path: Path) -> float:
    """Milliseconds of CPU of the fastest of 20 reads."""
    seconds = []
    for _ in range(20):
        start = time.process_time()
        read(path)
        seconds.append(time.process_time() - start)
    return min(seconds) * 1e3


def main() -> None:
    keep_freed_memory()  # as the workers of `prepare` do
    with tempfile.TemporaryDirectory() as folder:
        for bodies in (1, 2):
            path = Path(folder) / "typical.skeleton"
            write_skeleton(path, typical(100, bodies))
            assert as_lists(path) == [[body.joints.tolist() for body in frame] for frame in read_skeleton(path)]
            assert read_positions(path).xyz.tolist() == as_array(path).reshape(-1, JOINTS, 3).tolist()
            print(f"100 frames, {bodies} bodies")
            ours = best(read_positions, path)
            for name, reader in (("lists", as_lists), ("dicts to array", as_array), ("read_skeleton", read_skeleton)):
                other = best(reader, path)
                print(f"  read_positions {ours:.2f} ms, {name} {other:.2f} ms: {other / ours:.1f} times")
        for check in (check_mutations, check_positions):
            start = time.perf_counter()
            read, refused = check(Path(folder), 10_000)
            seconds = time.perf_counter() - start
            print(f"{check.__name__}: 10,000 mutated files, {read} read, {refused} refused, {seconds:.0f} s")


if __name__ == "__main__":
    main()
