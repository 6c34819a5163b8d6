"""`check` on run folders: what is found, what is written, which exit code."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from harbench import api
from harbench.cli import app
from harbench.errors import HarbenchError, RunError
from harbench.records import Comparability, ProtocolFacts, RunRecord

KEY = Comparability("ucf101", "101 classes", "split1", "video", "top1", "video", "none", "yes")
EXPECT = "expect: [{value: 85.0, split: split1, source: a paper}]\n"


def make_run(runs: Path, recipe: str, seed: int, top1: float, expect: str = EXPECT, **changes: object) -> RunRecord:
    record = RunRecord(
        folder=f"ucf101/{recipe}/split1/seed{seed}", recipe=recipe.partition("+")[0], dataset="ucf101", split="split1",
        seed=seed, model="mc3_18", family="3d-cnn", key=KEY, protocol=ProtocolFacts(selection="last"), fingerprint="0",
        metrics={"top1": top1}, intervals={"top1": (top1 - 1, top1 + 1)},
        samples={"train": 9537, "val": 0, "test": 3783, "scored": 3783}, partial="", exact=True, params_m=11.5,
        gflops=1.0, seconds={}, finished="2026-01-01T00:00:00+00:00", harbench="0",
    )  # fmt: skip
    record = replace(record, **changes)  # type: ignore[arg-type]
    folder = runs / record.folder
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(f"name: {recipe}\n{expect}", encoding="utf-8")
    (folder / "run.json").write_text(json.dumps(asdict(record)), encoding="utf-8")
    return record


def invoke(tmp_path: Path, *arguments: str, code: int) -> str:
    words = ["--runs", str(tmp_path / "runs"), "check", "-o", str(tmp_path / "reproduction.md"), *arguments]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == code, done.output
    return done.stdout


def test_seeds_are_taken_together_and_written_down(tmp_path: Path) -> None:
    for seed, top1 in enumerate((84.9, 85.0, 85.1)):
        make_run(tmp_path / "runs", "mc3_18", seed, top1)
    make_run(tmp_path / "runs", "mc3_18+quick", 0, 20.0)
    make_run(tmp_path / "runs", "r3d_18", 0, 20.0, expect="")
    (found,) = json.loads(invoke(tmp_path, "--json", "--junit", str(tmp_path / "junit.xml"), code=0))["verdicts"]
    assert (found["state"], found["seeds"], found["target"]["margin"]) == ("REPRODUCED", 3, 1.0)
    page = (tmp_path / "reproduction.md").read_text(encoding="utf-8")
    assert "| REPRODUCED | mc3_18 | 3 | 85.00 | 85.00 | 1 | +0.00 |" in page
    assert "Sampling interval 84.00 to 86.00" in page
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("1", "0", "0")


def test_only_below_is_exit_4(tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "mc3_18", 0, 84.5)
    assert "INCONCLUSIVE" in invoke(tmp_path, code=0)
    partial = replace(KEY, complete="16 of 3783 test samples")
    make_run(tmp_path / "runs", "s3d", 0, 20.0, key=partial, partial="16 of 3783 test samples")
    assert "16 of 3783 test samples" in invoke(tmp_path, "s3d", code=0)
    make_run(tmp_path / "runs", "mc3_18+variant", 0, 70.0)
    named = "ucf101/mc3_18+variant/split1/seed0"
    told = invoke(tmp_path, named, "--junit", str(tmp_path / "junit.xml"), code=4)
    assert "BELOW" in told
    assert ElementTree.parse(tmp_path / "junit.xml").getroot().get("failures") == "1"


def test_nothing_to_check_says_what_to_do(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with pytest.raises(HarbenchError, match="recipe with expect:"):
        api.check(home=tmp_path, runs=runs, output=tmp_path / "x.md")
    with pytest.raises(RunError, match="harbench run mc3_18 --seeds 3"):
        api.check(["mc3_18"], home=tmp_path, runs=runs, output=tmp_path / "x.md")
