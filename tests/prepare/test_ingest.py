"""Folders and archives, mixed, brought under official names."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from harbench.datasets.tables import load_spec, load_split
from harbench.errors import MediaError
from harbench.prepare.boxes import load_boxes
from harbench.prepare.ingest import IngestConfig, ingest
from harbench.prepare.poses import pose_files


def test_weizmann_from_a_folder(test_data: Path, tmp_path: Path) -> None:
    spec = load_spec("weizmann")
    tables = [load_split("weizmann", spec.splits[0])]
    found = ingest(spec, tables, tmp_path, IngestConfig(test_data / "weizmann"))
    assert len(found.present) == 90 and not found.missing and not found.extra
    assert found.present["bend/daria_bend.avi"].is_symlink()
    assert ingest(spec, tables, tmp_path, IngestConfig()).present == found.present


def test_stanford40_from_its_three_zips(test_data: Path, tmp_path: Path) -> None:
    spec = load_spec("stanford40")
    tables = [load_split("stanford40", "official")]
    wanted = {name for name in tables[0].media() if name.endswith("_001.jpg")}
    archives = []
    for part in ("JPEGImages", "XMLAnnotations", "ImageSplits"):
        name = f"Stanford40_{part}.zip"
        with zipfile.ZipFile(test_data / "stanford40" / name) as whole, zipfile.ZipFile(tmp_path / name, "w") as small:
            for member in whole.namelist():
                if Path(member).stem + ".jpg" in wanted:
                    small.writestr(member, whole.read(member))
        archives.append(tmp_path / name)
    found = ingest(spec, tables, tmp_path / "home", IngestConfig(archives=archives))
    assert set(found.present) == wanted and len(wanted) == 40
    assert set(load_boxes(tmp_path / "home", "stanford40")) == wanted
    assert len(found.missing) == 9532 - 40


def test_jhmdb14_poses_are_members_of_an_archive(test_data: Path, tmp_path: Path) -> None:
    spec = load_spec("jhmdb14")
    tables = [load_split("jhmdb14", "split1")]
    found = ingest(spec, tables, tmp_path, IngestConfig(test_data / "jhmdb14"))
    assert len(found.present) == 609 and not found.missing
    files = pose_files(spec, found.present, tmp_path)
    assert files.keys() == found.present.keys()
    with np.load(test_data / "jhmdb14/poses.npz") as poses:
        name = "catch/catch_001"
        np.testing.assert_array_equal(np.load(files[f"{name}.npy"]), poses[name])


def test_rendered_data_come_the_same_way(tmp_path: Path) -> None:
    spec = load_spec("sample_stills")
    tables = [load_split("sample_stills", spec.splits[0])]
    found = ingest(spec, tables, tmp_path, IngestConfig(workers=2))
    assert not found.missing and len(found.present) == len(tables[0].media())
    assert any((tmp_path / "sample_stills/archives").glob("*.zip"))


def test_a_wrong_source_is_told(tmp_path: Path) -> None:
    spec = load_spec("weizmann")
    (tmp_path / "weizmann.zip").write_bytes(b"")
    with pytest.raises(MediaError, match="--archive"):
        ingest(spec, [], tmp_path, IngestConfig(tmp_path / "weizmann.zip"))
