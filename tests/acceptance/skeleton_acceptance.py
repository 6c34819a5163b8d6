"""`.skeleton` files at full size: 10,000 mutated ones, and the reader's speed beside a plain one. Run it by hand.

python tests/acceptance/skeleton_acceptance.py
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "ingest"))
from test_skeleton import check_mutations  # type: ignore[import-not-found]  # beside no package

from harbench.ingest.skeleton import JOINTS, Body, read_skeleton, write_skeleton


def typical(frames: int, bodies: int) -> list[list[Body]]:
    """Joints with the digits of a published file."""
    rng = np.random.default_rng(0)
    joints = rng.uniform(-3, 3, (frames, bodies, JOINTS, 12)).round(7)
    joints[..., 11] = 2
    return [
        [Body(2**56 + slot, (0, 0, 1, 0, 1, 0, 0.0266, -0.0941, 2), rows) for slot, rows in enumerate(f)]
        for f in joints
    ]


JOINT_KEYS = ("x", "y", "z", "depthX", "depthY", "colorX", "colorY", "wx", "wy", "wz", "ww", "trackingState")


def plainly(path: Path) -> list[list[list[dict[str, float]]]]:
    """Line by line, a dict a joint and one float() a field, as the readers of the field's repositories do."""
    with open(path, encoding="ascii") as handle:
        frames = []
        for _ in range(int(handle.readline())):
            bodies = []
            for _ in range(int(handle.readline())):
                handle.readline()
                joints = range(int(handle.readline()))
                bodies.append(
                    [dict(zip(JOINT_KEYS, map(float, handle.readline().split()), strict=True)) for _ in joints]
                )
            frames.append(bodies)
    return frames


def best(read: Callable[[Path], object], path: Path) -> float:
    """Milliseconds of the fastest of 20 reads."""
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        read(path)
        seconds.append(time.perf_counter() - start)
    return min(seconds) * 1e3


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for bodies in (1, 2):
            path = Path(folder) / "typical.skeleton"
            write_skeleton(path, typical(100, bodies))
            ours = [[body.joints.tolist() for body in frame] for frame in read_skeleton(path)]
            assert ours == [[[[*joint.values()] for joint in body] for body in frame] for frame in plainly(path)]
            fast, plain = best(read_skeleton, path), best(plainly, path)
            print(f"100 frames, {bodies} bodies: {fast:.1f} ms, plain {plain:.1f} ms, ratio {plain / fast:.1f}")
        start = time.perf_counter()
        read, refused = check_mutations(Path(folder), 10_000)
        print(f"10,000 mutated files: {read} read, {refused} refused, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
