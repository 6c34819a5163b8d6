"""`doctor`: what does not work is told, never fatal."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from toys import write_video

from harbench import api
from harbench.diagnose import doctor as checkup


def test_parts_that_are_missing_broken_or_deadly_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deadly.py").write_text("import os\nos.write(2, b'illegal instruction\\n')\nos.abort()\n")
    (tmp_path / "broken.py").write_text("raise OSError('libavutil.so.99: cannot open shared object file')\n")
    (tmp_path / "needy.py").write_text("import needed_by_needy\n")
    (tmp_path / "fine.py").write_text("__version__ = '1.2'\n")
    monkeypatch.syspath_prepend(str(tmp_path))  # type: ignore[no-untyped-call]
    monkeypatch.setattr(
        checkup,
        "_LIBRARIES",
        tuple((name, name, "tests") for name in ("broken", "deadly", "gone", "needy", "fine")),
    )
    found = {part.name: part for part in api.doctor(home=tmp_path / "not/there").parts}
    assert (found["fine"].works, found["fine"].version) == (True, "1.2")
    assert "libavutil.so.99" in found["broken"].advice and not found["broken"].works
    assert "SIGABRT" in found["deadly"].advice and "illegal instruction" in found["deadly"].advice
    assert found["gone"].advice == "pip install gone"
    assert "pip install needed_by_needy" in found["needy"].advice
    assert found["7zz"].works and found["7zz"].version.startswith("7-Zip")
    assert found["python"].version == sys.version.split()[0]
    assert found["data home"].works and "GB free" in found["data home"].version
    (tmp_path / "file").touch()
    assert "--home" in {part.name: part for part in api.doctor(home=tmp_path / "file").parts}["data home"].advice


def test_every_installed_library_works(tmp_path: Path) -> None:
    quick = [each for each in checkup._LIBRARIES if each[0] in ("av", "cv2", "simplejpeg", "rarfile")]
    for part in checkup.import_libraries(quick):
        assert part.works and part.version, part


def test_files_good_and_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from harbench.cli import app

    monkeypatch.setattr(checkup, "_LIBRARIES", ())
    rng = np.random.default_rng(0)
    write_video(tmp_path / "good.avi", rng.integers(0, 255, (9, 48, 64, 3), np.uint8))
    (tmp_path / "empty.avi").touch()
    names = [str(tmp_path / name) for name in ("good.avi", "empty.avi", "gone.avi")]
    done = CliRunner().invoke(app, ["--quiet", "doctor", "--json", *names], catch_exceptions=False)
    assert done.exit_code == 0
    good, empty, gone = json.loads(done.stdout)["files"]
    assert {probe["name"] for probe in good["decoders"]} >= {"av", "opencv"}
    for probe in good["decoders"]:
        assert (probe["frames"], probe["size"], probe["problem"]) == (9, [64, 48], "")
        assert probe["in_order"] is (None if probe["name"] == "av" else True)
    assert all("empty" in probe["problem"] for probe in empty["decoders"])
    assert all("No such file" in probe["problem"] for probe in gone["decoders"])
    shown = CliRunner().invoke(app, ["--quiet", "doctor", names[1]], catch_exceptions=False)
    assert shown.exit_code == 0 and "0 bytes" in shown.stdout


def test_two_opencvs_over_each_other_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(__version__="5.0.0", getBuildInformation=lambda: "x\n  GUI:    NONE\n")
    here = {"opencv-python-headless": "5.0.0"}
    monkeypatch.setattr(checkup, "_version", lambda wheel: here.get(wheel, ""))
    good = checkup._opencv(module, "images")  # type: ignore[arg-type]
    assert (good.works, good.version) == (True, "5.0.0, opencv-python-headless, windows: none")
    here["opencv-contrib-python"] = "5.1.0"
    bad = checkup._opencv(module, "images")  # type: ignore[arg-type]
    assert not bad.works
    assert "pip uninstall opencv-python-headless opencv-contrib-python" in bad.advice


def test_weights_that_are_here_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    folder = tmp_path / "hub/hub/checkpoints"
    folder.mkdir(parents=True)
    (folder / "mc3_18-a90a0ba3.pth").write_bytes(b"cut short")
    (folder / "X3D_M.pyth").write_bytes(b"its name says no hash")
    monkeypatch.setattr(checkup, "_LIBRARIES", ())
    found = {part.name: part for part in api.doctor(home=tmp_path, weights=True).parts}
    assert "truncated or damaged" in found["mc3_18-a90a0ba3.pth"].advice
    assert found["X3D_M.pyth"].works and found["X3D_M.pyth"].purpose == "x3d_m; license: Apache-2.0 (PyTorchVideo)"
    assert found["r3d_18-b3b3357e.pth"].advice.startswith("not here; fetched when first used, from https://")
    assert "frozen_probe" in found["resnet50-11ad3fa6.pth"].purpose
