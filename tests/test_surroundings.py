"""What surrounds a command: standard streams, the current folder, locales, and names and devices that are not there."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli import harbench
from toys import many_people

from harbench import api
from harbench.diagnose import doctor as checkup
from harbench.errors import RunError
from harbench.evaluation.distributed import choose_device
from harbench.runs.folder import checked_tag


def shell(line: str, cwd: Path, code: int, **environment: str) -> str:
    """stderr of a line of shell, in which `harbench` stands for the command line."""
    line = line.replace("harbench", f"{sys.executable} -m harbench")
    done = subprocess.run(
        ["sh", "-c", line],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    told = done.stderr.decode()
    assert done.returncode == code and "Traceback" not in told, told
    return told


@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize("command", ["--version", "--help", "recipes", "splits ucf101 --json"])
def test_a_full_standard_output(tmp_path: Path, command: str, buffered: str) -> None:
    told = shell(f"harbench {command} >/dev/full", tmp_path, 1, PYTHONUNBUFFERED=buffered)
    assert told.startswith("harbench: standard output: No space left")


def test_a_closed_standard_output(tmp_path: Path) -> None:
    assert "standard output is closed" in shell("harbench recipes >&-", tmp_path, 1)
    assert not shell("harbench splits ucf101 --json | head -c 1", tmp_path, 0)
    assert not shell("harbench recipes 2>&-", tmp_path, 0)


def test_a_current_folder_that_was_deleted(tmp_path: Path) -> None:
    for command in ("doctor", "prepare weizmann", "datasets"):
        assert "the current folder was deleted" in shell(f"mkdir x; cd x; rmdir ../x; harbench {command}", tmp_path, 1)


def test_names_in_a_posix_locale(tmp_path: Path) -> None:
    for path in (many_people(tmp_path) / "videos").rglob("*.avi"):
        path.rename(path.with_stem(f"é{path.stem}"))
    (tmp_path / "videos").rename(tmp_path / "Vidéos")
    posix = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    shell("harbench prepare Vidéos --name mine --split-by random --workers 1", tmp_path, 0, **posix)
    assert "no class 'für'" in shell("harbench prepare mine --classes für --dry-run", tmp_path, 1, **posix)


@pytest.mark.parametrize("text", ["[" * 5000 + "]" * 5000, "\n".join(" " * n + "a:" for n in range(5000))])
def test_a_recipe_nested_too_deeply(tmp_path: Path, text: str) -> None:
    (tmp_path / "deep.yaml").write_text("a: " + text if text[0] == "[" else text)
    assert "deep.yaml is not valid YAML: nested too deeply" in harbench("run", "deep.yaml", cwd=tmp_path, code=1).stderr
    value = "train.epochs=" + "[" * 5000
    assert "nested too deeply" in harbench("run", "mc3_18", "--set", value, "--dry-run", cwd=tmp_path, code=1).stderr


@pytest.mark.parametrize("setting", ["model.init_from=~nosuchuser/x", "model.weights=~nosuchuser/x.pth"])
def test_a_home_of_nobody(toy_home: Path, setting: str) -> None:
    shown = harbench(
        "--home", toy_home, "run", "mc3_18", "--set", "model.weights=null", "--set", setting, "--dry-run", cwd=toy_home
    ).stdout
    assert "~nosuchuser/x" in shown.partition("in the way")[2]


@pytest.mark.parametrize("tag", [".", "..", "...", "-x", "a/b", " ", "é"])
def test_a_tag_is_no_path_and_no_option(tag: str) -> None:
    with pytest.raises(RunError, match="--tag: expected letters"):
        checked_tag(tag)
    assert checked_tag("v1.2+x-_") == "v1.2+x-_"


@pytest.mark.parametrize("device", ["mps", "meta", "nonsense", "", "xpu:3"])
def test_a_device_that_is_not_there(device: str) -> None:
    if device == "mps" and sys.platform == "darwin":
        pytest.skip("this machine may have one")
    with pytest.raises(RunError, match="there is no device"):
        choose_device(device)


def test_a_class_name_that_is_nearly_right(tmp_path: Path) -> None:
    told = harbench("prepare", "ucf101", "--classes", "HandStandPushups", "--dry-run", cwd=tmp_path, code=1).stderr
    assert "did you mean 'HandstandPushups'?" in told


def test_str_where_a_path_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup, "_LIBRARIES", ())
    home = str(many_people(tmp_path) / "home")
    assert api.prepare("many", home=home, source=str(tmp_path / "videos"), short_side=32, workers=1).reused == 12  # type: ignore[arg-type]
    (media, *_) = map(str, (tmp_path / "videos").rglob("*.avi"))
    assert [len(api.doctor(files, home=home).files) for files in (media, [media])] == [1, 1]  # type: ignore[arg-type]
    with pytest.raises(RunError, match="no finished run in"):
        api.evaluate("nowhere", home=home, runs=str(tmp_path))  # type: ignore[arg-type]


def test_public_functions_can_be_sent_to_other_processes() -> None:
    for name in ("prepare", "run", "report"):
        assert pickle.loads(pickle.dumps(getattr(api, name))) is getattr(api, name)
