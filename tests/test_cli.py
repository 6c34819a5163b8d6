"""The real command line, driven as a user would."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest
from toys import toy_videos

from harbench.cli import main, views

COMMANDS = (
    "check",
    "compare",
    "explain",
    "features",
    "convert",
    "datasets",
    "prepare",
    "splits",
    "recipes",
    "run",
    "evaluate",
    "report",
    "reproduce",
    "score",
    "ablate",
    "bench",
    "browse",
    "demo",
    "doctor",
    "export",
    "predict",
    "push",
)


@dataclass(frozen=True)
class Said:
    """What a call of the command line wrote."""

    stdout: str
    stderr: str


def harbench(*arguments: object, cwd: Path, code: int = 0) -> Said:
    """Run the command line in this process and hold its exit code."""
    out, err, ended = io.StringIO(), io.StringIO(), None
    with (
        chdir(cwd),
        redirect_stdout(out),
        redirect_stderr(err),
        patch.object(sys, "argv", ["harbench", *map(str, arguments)]),
    ):
        try:
            main()
        except SystemExit as exit:
            ended = exit.code
    assert (ended or 0) == code, f"{arguments} gave {ended}\n{out.getvalue()}\n{err.getvalue()}"
    return Said(out.getvalue(), err.getvalue())


def process(*arguments: object, cwd: Path, code: int = 0) -> Said:
    """The same in a process of its own, as a user would; a traceback is always a failure."""
    environment = {**os.environ, "COLUMNS": "160"}
    words = [sys.executable, "-m", "harbench", *map(str, arguments)]
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code, f"{arguments} gave {done.returncode}\n{done.stdout}\n{done.stderr}"
    return Said(done.stdout, done.stderr)


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines as long as on a wide terminal, whatever pytest runs in."""
    monkeypatch.setattr(views.out, "width", 160)
    monkeypatch.setattr(views.err, "width", 160)


def test_every_command_has_help_and_stands_in_the_readme(tmp_path: Path) -> None:
    text = process("--help", cwd=tmp_path).stdout
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    listed = [
        line.split()[0] for line in text.split("Commands:")[1].splitlines() if line.startswith("  ") and line[2] != " "
    ]
    assert sorted(listed) == sorted(COMMANDS)
    for command in COMMANDS:
        assert f"harbench {command}" in readme, f"{command} is not in the README"
        usage = harbench(command, "--help", cwd=tmp_path).stdout
        assert len(usage.splitlines()) > 5


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    words = [sys.executable, "-X", "importtime", "-m", "harbench", "--help"]
    said = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stderr
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in said.splitlines()}
    assert "typer" in loaded and not loaded & {"torch", "numpy", "pandas", "pydantic", "rich", "scipy", "cv2", "yaml"}


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("prep", {"prepare"}),
        ("prepare ucf10", {"ucf101"}),
        ("prepare ucf101 --split ", {"split1", "split2", "split3", "all"}),
        ("splits weizmann --split lopo-de", {"lopo-denis"}),
        ("run mc3_18_ht", set()),
        ("run motion3d_sample_", {"motion3d_sample_tuned"}),
        ("compare runs/sam", {"runs/sample/tiny/small/seed0"}),
        ("predict clip.mp4 --run ", {"runs/sample/tiny/small/seed0"}),
    ],
)
def test_tab_offers_commands_data_sets_splits_recipes_and_runs(typed: str, offered: set[str], tmp_path: Path) -> None:
    folder = tmp_path / "runs/sample/tiny/small/seed0"
    folder.mkdir(parents=True)
    (folder / "run.json").touch()
    words = f"harbench {typed}"
    asked = {"_HARBENCH_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    with patch.dict(os.environ, asked):
        assert set(harbench(cwd=tmp_path).stdout.split()) == offered


def test_usage_errors_are_exit_2(tmp_path: Path) -> None:
    assert "Missing argument" in harbench("run", cwd=tmp_path, code=2).stderr
    assert "No such command" in process("nonsense", cwd=tmp_path, code=2).stderr


def test_typos_name_the_nearest(tmp_path: Path) -> None:
    assert "ucf101" in harbench("splits", "ucf10", cwd=tmp_path, code=1).stderr
    assert "split1" in harbench("splits", "ucf101", "--split", "9", cwd=tmp_path, code=1).stderr
    assert "mc3_18" in harbench("run", "recipes/mc3.yaml", cwd=tmp_path, code=1).stderr
    told = harbench("run", "mc3_18", "--set", "train.epoch=1", "--set", "model.name=mc3", cwd=tmp_path, code=1).stderr
    assert "train.epoch" in told and "epochs" in told
    assert "mc3_18" in told


def test_json_is_alone_on_stdout(tmp_path: Path) -> None:
    found = json.loads(harbench("splits", "ucf101", "--check", "--json", cwd=tmp_path).stdout)
    assert [(each["counts"]["train"], each["counts"]["test"]) for each in found] == [
        (9537, 3783),
        (9586, 3734),
        (9624, 3696),
    ]
    names = {each["name"] for each in json.loads(harbench("datasets", "--json", cwd=tmp_path).stdout)}
    assert {"ucf101", "hmdb51", "stanford40", "kth", "ntu60", "ntu120", "weizmann", "sample"} <= names
    recipes = json.loads(harbench("recipes", "--json", cwd=tmp_path).stdout)
    assert {"mc3_18", "motion3d_weizmann", "motion3d_sample"} <= {each["name"] for each in recipes}
    assert json.loads(harbench("recipes", "--schema", cwd=tmp_path).stdout)["title"] == "Recipe"


RECIPE = """
description: toy
family: 3d-cnn
data: {dataset: toy, cache: {short_side: 32}}
input:
  clip: {dense: {num_frames: 16, stride: 1}}
  resize: 32
  size: 32
  normalize: half
  augment: {flip: 0.0}
model: {name: motion3d, args: {width: 4}}
train: {epochs: 2, batch_size: 2, workers: 0}
eval: {clips: 2}
"""


@pytest.fixture
def toy_work(tmp_path: Path, toy_home: Path) -> Path:
    """A working folder with the toy data home as ./home, its videos, and a recipe."""
    toy_videos(tmp_path / "videos")
    (tmp_path / "toy.yaml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def test_from_a_folder_of_videos_to_a_page(toy_work: Path) -> None:
    home = ("--home", "home")
    assert "harbench prepare toy" in harbench(*home, "run", "toy.yaml", cwd=toy_work, code=1).stderr
    prepared = json.loads(
        harbench(*home, "prepare", "toy", "--from", "videos", "--short-side", 32, "--json", cwd=toy_work).stdout
    )
    assert (prepared["present"], prepared["cached"], prepared["missing"], prepared["failed"]) == (6, 6, [], {})
    again = json.loads(harbench(*home, "prepare", "toy", "--short-side", 32, "--json", cwd=toy_work).stdout)
    assert (again["cached"], again["reused"]) == (0, 6)

    (first,) = json.loads(process(*home, "run", "toy.yaml", "--json", cwd=toy_work).stdout)
    assert first["state"] == "finished"
    folder = toy_work / first["folder"]
    for name in (
        "recipe.yaml", "environment.json", "train.csv", "log.txt", "model.safetensors", "train_ids.txt.gz",
        "predictions.npz", "views.npz", "per_class.csv", "run.json",
    ):  # fmt: skip
        assert (folder / name).is_file(), name
    before = (folder / "run.json").read_bytes()
    (second,) = json.loads(harbench(*home, "run", "toy.yaml", "--json", cwd=toy_work).stdout)
    assert second["state"] == "already finished"
    assert (folder / "run.json").read_bytes() == before
    told = harbench(*home, "run", "toy.yaml", "--tag", "x", "--set", "train.epochs=1", cwd=toy_work)
    assert "toy+x" in told.stdout
    refused = harbench(*home, "run", "toy.yaml", "--tag", "x", "--set", "train.epochs=3", cwd=toy_work, code=1).stderr
    assert "train.epochs: 1 -> 3" in refused

    more = json.loads(harbench(*home, "evaluate", first["folder"], "--clips", 1, "--json", cwd=toy_work).stdout)
    assert more["views"] == "1x1"
    assert (folder / "run.json").read_bytes() == before

    (probed,) = json.loads(harbench(*home, "ablate", first["folder"], "--json", cwd=toy_work).stdout)
    assert probed["top1"] == first["metrics"]["top1"] and len(probed["altered"]) == 3
    scored = harbench(*home, "score", folder / "predictions.npz", "--dataset", "toy", "--json", cwd=toy_work).stdout
    assert json.loads(scored)["metrics"]["top1"] == first["metrics"]["top1"]

    process(*home, "report", "toy", cwd=toy_work)
    for kind in ("md", "csv", "tex", "html"):
        assert "toy" in (toy_work / "reports" / f"toy.{kind}").read_text(encoding="utf-8")


def test_missing_media_are_counted_never_dropped(toy_work: Path) -> None:
    (toy_work / "videos/left/bob_1.avi").unlink()
    (toy_work / "videos/right/ann_2.avi").write_bytes(b"")
    home = ("--home", "home")
    told = harbench(*home, "prepare", "toy", "--from", "videos", cwd=toy_work, code=1).stderr
    assert "left/bob_1.avi" in told and "--allow-missing" in told
    options = ("prepare", "toy", "--from", "videos", "--short-side", 32, "--allow-missing", "--json")
    prepared = json.loads(harbench(*home, *options, cwd=toy_work, code=3).stdout)
    assert prepared["missing"] == ["left/bob_1.avi"]
    assert list(prepared["failed"]) == ["right/ann_2.avi"]
    told = harbench(*home, "run", "toy.yaml", cwd=toy_work, code=1).stderr
    assert (
        "1 of them failed when they were prepared" in told and "right/ann_2.avi: " in told and "--ok-missing 2" in told
    )
    (done,) = json.loads(harbench(*home, "run", "toy.yaml", "--ok-missing", 2, "--json", cwd=toy_work).stdout)
    assert done["failed"] == 1
    assert "1 of 2 test samples" in done["partial"]
    assert done["metrics"]["top1"] <= 50.0
    page = harbench(*home, "report", "toy", cwd=toy_work).stdout
    assert "1 of 2 test samples" in page


def test_dry_run_says_everything_and_writes_nothing(tmp_path: Path) -> None:
    (plan,) = json.loads(harbench("run", "mc3_18", "--dry-run", "--json", cwd=tmp_path).stdout)
    details = plan["plan"]
    assert details["parameters"].startswith("11.54 M")
    assert "harbench prepare ucf101 --split split1" in details["in the way"]
    assert "mc3_18-a90a0ba3.pth" in details["in the way"]
    assert details["samples"] == {"train": 9537, "val": 0, "test": 3783}
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from harbench import cli

    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/state.pt")

    monkeypatch.setattr(cli, "app", full)
    with pytest.raises(SystemExit, match="1"):
        main()
    told = capsys.readouterr().err
    assert "runs/state.pt: No space left on device. What was saved before is whole: make room" in told
