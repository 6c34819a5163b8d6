"""NTU from `.skeleton` files and from a pickle of the same joints: the command line gives equal caches."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harbench.datasets.skeleton_files import JOINTS, Body, write_skeleton
from harbench.datasets.tables import load_spec, load_split
from harbench.errors import MediaError
from harbench.frames.cache import open_cache
from harbench.frames.poses import read_pose
from harbench.prepare.formats.skeleton import unpack_annotations

NAMES = [
    f"S001C{camera:03}P{person:03}R001A{action:03}" for camera in (1, 2) for person in (1, 3) for action in (7, 50)
]


def skeletons(folder: Path) -> Path:
    """A folder of files that `ntu60` knows, with one or two bodies."""
    rng = np.random.default_rng(5)
    for number, name in enumerate(NAMES):
        frames = []
        for _ in range(4 + number):
            joints = rng.normal(size=(1 + number % 2, JOINTS, 12)).round(6)
            joints[..., 11] = 2
            frames.append([Body(2**56 + slot, (0,) * 9, rows) for slot, rows in enumerate(joints)])
        write_skeleton(folder / f"{name}.skeleton", frames)
    return folder


def annotation(path: Path) -> dict[str, Any]:
    keypoint = read_pose(path).transpose(1, 0, 2, 3)
    label = int(path.stem[-3:]) - 1
    return {"frame_dir": path.stem, "label": label, "keypoint": keypoint, "total_frames": keypoint.shape[1]}


def write_pickle(path: Path, annotations: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps({"split": {"xsub_train": []}, "annotations": annotations}, protocol=4))
    return path


def prepare(home: Path, *arguments: str) -> dict[str, Any]:
    """What `harbench prepare ntu60` says in JSON; exit code 3: most of the data set is missing."""
    command = [sys.executable, "-m", "harbench", "--home", str(home), "prepare", "ntu60", "--split", "xsub"]
    done = subprocess.run([*command, "--allow-missing", "--json", *arguments], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_files_a_zip_and_a_pickle_give_equal_joints(tmp_path: Path) -> None:
    folder = skeletons(tmp_path / "skeletons")
    files = sorted(folder.glob("*.skeleton"))
    archive = tmp_path / "mine.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in files:
            packed.write(path, f"nturgb+d_skeletons/{path.name}")
    pickled = write_pickle(tmp_path / "pickles" / "ntu60_3danno.pkl", [annotation(path) for path in files])
    reports = {
        "files": prepare(tmp_path / "files", "--from", str(folder)),
        "pickle": prepare(tmp_path / "pickle", "--archive", str(pickled)),
        "zip": prepare(tmp_path / "zip", "--archive", str(archive)),
    }
    caches = {way: open_cache(Path(report["cache"])) for way, report in reports.items()}
    for report in reports.values():
        assert (report["present"], report["cached"], report["failed"]) == (len(NAMES), len(NAMES), {})
    for name in NAMES:
        media = f"{name}.skeleton"
        every = np.arange(caches["files"].info(media).frames)
        for way in ("pickle", "zip"):
            np.testing.assert_array_equal(caches[way].read(media, every), caches["files"].read(media, every))


def test_other_samples_are_extra_and_nothing_is_written_twice(tmp_path: Path) -> None:
    files = sorted(skeletons(tmp_path / "skeletons").glob("*.skeleton"))
    strange = annotation(files[0]) | {"frame_dir": "S099C001P001R001A001"}
    pickled = write_pickle(tmp_path / "a.pkl", [*(annotation(path) for path in files), strange])
    spec, tables = load_spec("ntu60_mutual"), [load_split("ntu60_mutual", "xsub")]
    match = unpack_annotations(spec, tables, pickled, tmp_path / "out")
    assert sorted(match.present) == [f"{name}.skeleton" for name in sorted(NAMES) if name.endswith("50")]
    assert set(match.extra) == {name for name in NAMES if name.endswith("07")} | {"S099C001P001R001A001"}
    before = {path: path.stat().st_mtime_ns for path in match.present.values()}
    again = unpack_annotations(spec, tables, pickled, tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in again.present.values()} == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "found a list"),
        ({"train": []}, "found a dict of 'train'"),
        ({"annotations": [{"label": 1}]}, "annotation 0: expected a dict with `frame_dir`"),
        ({"annotations": [{"frame_dir": NAMES[0], "keypoint": np.zeros((1, 5, 17, 2), np.float16)}]}, "not the 2D one"),
        ({"annotations": [{"frame_dir": NAMES[0], "keypoint": [1, 2]}]}, "found a list"),
        ({"annotations": [{"frame_dir": NAMES[0], "keypoint": np.ones((1, 2, 25, 3), np.float16)}] * 2}, "twice"),
    ],
)
def test_other_pickles_are_refused(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(MediaError, match=message):
        unpack_annotations(load_spec("ntu60"), [load_split("ntu60", "xsub")], path, tmp_path / "out")
