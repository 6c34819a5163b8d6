"""JHMDB from its makers' folders and lists: what is in them is the table, and they must agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from harbench import api
from harbench.datasets.checks import check_split
from harbench.datasets.tables import load_spec, load_split
from harbench.errors import DatasetError
from harbench.frames.cache import open_cache
from harbench.prepare.own import OwnOptions
from harbench.prepare.own_csv import read_own

CLIPS = {
    "brush_hair": ["April_09_brush_hair_u_nm_np1_ba_goo_0", "April_09_brush_hair_u_nm_np1_ba_goo_1",
                   "Brushing_my_Hair!_brush_hair_u_cm_np1_ri_med_0"],
    "climb_stairs": ["BIG_(WALL)_climb_stairs_f_cm_np1_ba_med_0", "BIG_(WALL)_climb_stairs_f_cm_np1_ba_med_1"],
}  # fmt: skip


def joints_of(clip: str) -> np.ndarray:
    """`pos_img` [2, 15, T]."""
    return np.random.default_rng(len(clip)).uniform(0, 240, (2, 15, 3 + len(clip) % 4))


def jhmdb(folder: Path) -> Path:
    """A few clips in the official layout; in split n, the n-th clip of a class is test (the last, where there is none)."""
    (folder / "splits").mkdir(parents=True)
    for label, clips in CLIPS.items():
        for clip in clips:
            target = folder / "joint_positions" / label / clip
            target.mkdir(parents=True)
            savemat(target / "joint_positions.mat", {"pos_img": joints_of(clip)})
        for split in (1, 2, 3):
            test = clips[min(split, len(clips)) - 1]
            lines = (f"{clip}.avi {1 + (clip == test)}\r\n" for clip in clips)
            (folder / f"splits/{label}_test_split{split}.txt").write_text("".join(lines), newline="")
    (folder / "splits/._brush_hair_test_split1.txt").write_bytes(b"\x00\x05\x16\x07")
    return folder


def test_joints_and_lists_become_the_data_set(tmp_path: Path) -> None:
    folder, home = jhmdb(tmp_path / "d"), tmp_path / "home"
    pattern = r"(.+)_[fhlu]_(?:cm|nm)_np"
    report = api.prepare(str(folder), own=OwnOptions("jhmdb", pattern), home=home, workers=1)
    assert (report.media, report.cached, dict(report.failed)) == (5, 5, {})
    assert any("here are 5 clips of 2 classes, 3 splits, split 1 of 3 and 2" in note for note in report.notes)
    spec = load_spec("jhmdb", home)
    assert spec.split_sets == {"mean-of-3": ("split1", "split2", "split3")}
    assert (spec.pose_shape, spec.modality, spec.unit) == ((2, 15), "pose", "video")
    for number, split in enumerate(("split1", "split2", "split3"), 1):
        table = load_split("jhmdb", split, home)
        assert {sample.sample_id for sample in table.subset("test")} == {
            f"{label}/{clips[min(number, len(clips)) - 1]}" for label, clips in CLIPS.items()
        }
        assert len(table.subset("train")) == 3
        assert not [problem for problem in check_split(table, spec).problems if "the same group" not in problem]
    assert {sample.group for sample in table.samples} == {
        "brush_hair/April_09_brush_hair", "brush_hair/Brushing_my_Hair!_brush_hair", "climb_stairs/BIG_(WALL)_climb_stairs"
    }  # fmt: skip
    cache = open_cache(Path(report.cache))
    for sample in table.samples:
        joints = joints_of(sample.sample_id.partition("/")[2])
        read = cache.read(sample.media, np.arange(joints.shape[2]))
        np.testing.assert_array_equal(read[:, 0], joints.transpose(2, 1, 0).astype(np.float32))


def test_what_does_not_agree_is_told_at_once(tmp_path: Path) -> None:
    folder = jhmdb(tmp_path / "d")
    lists = folder / "splits"
    first = CLIPS["brush_hair"][0]
    (lists / "brush_hair_test_split1.txt").write_text(
        "".join(f"{clip}.avi 1\n" for clip in CLIPS["brush_hair"]) + f"{first}.avi 2\nnobody.avi 2\nodd 3\n"
    )
    (lists / "climb_stairs_test_split2.txt").unlink()
    (folder / "joint_positions/climb_stairs/extra").mkdir()
    savemat(folder / "joint_positions/climb_stairs/extra/joint_positions.mat", {"pos_img": joints_of("x")})
    with pytest.raises(DatasetError) as error:
        read_own(folder)
    told = str(error.value)
    for problem in (
        f"brush_hair_test_split1.txt, line 4: {first}.avi stands in a list of split1 already",
        "brush_hair_test_split1.txt, line 6: expected a clip and 1 or 2, found 'odd 3'",
        "brush_hair/nobody.mat: in no list of split2",
        "brush_hair/nobody.mat: listed, but there is no joint_positions.mat of it",
        f"climb_stairs/{CLIPS['climb_stairs'][0]}.mat: in no list of split2",
        "climb_stairs/extra.mat: in no list",
    ):
        assert problem in told


def test_the_whole_is_called_so(tmp_path: Path) -> None:
    """928 clips of 21 classes by count; one joint file stands in for all."""
    folder = tmp_path / "d"
    (folder / "splits").mkdir(parents=True)
    test = 268
    for number in range(21):
        clips = [f"film_c{number}_u_nm_np1_fr_med_{index}" for index in range(44 + (number < 4))]
        for clip in clips:
            target = folder / f"joint_positions/c{number}/{clip}"
            target.mkdir(parents=True)
            (target / "joint_positions.mat").touch()
        tested = min(13, test)
        test -= tested
        for split in (1, 2, 3):
            lines = (f"{clip}.avi {1 + (index < tested)}\n" for index, clip in enumerate(clips))
            (folder / f"splits/c{number}_test_split{split}.txt").write_text("".join(lines))
    assert "as published" in read_own(folder).notes[0]
