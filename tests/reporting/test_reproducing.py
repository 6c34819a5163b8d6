"""`reproduce`: which recipes are run, what is left out, what is written, which exit code; and the workflows that call it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from toys import MANY_RECIPE, many_people
from typer.testing import CliRunner

from harbench import api
from harbench.cli import app
from harbench.errors import HarbenchError, RunError
from harbench.records import Comparability, ProtocolFacts, RunRecord, RunReport
from harbench.reporting import reproduce as reproducing
from harbench.runs.execute import summary
from harbench.runs.plan import Wanted

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return many_people(tmp_path_factory.mktemp("reproducing"))


@pytest.fixture
def work(tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prepared data set, recipes that state numbers of it, and a `run` that is always right in half of the samples."""
    (tmp_path / "home").symlink_to(prepared / "home")
    expected = "expect: [{{value: {value}, split: {split}, source: a paper}}]\n"
    recipes = {
        "met": MANY_RECIPE + expected.format(value=50.0, split="official"),
        "missed": MANY_RECIPE + expected.format(value=90.0, split="official"),
        "elsewhere": MANY_RECIPE + expected.format(value=90.0, split="a-split-of-theirs"),
        "unready": MANY_RECIPE.replace("short_side: 32", "short_side: 64")
        + expected.format(value=50.0, split="official"),
        "broken": MANY_RECIPE + expected.format(value=50.0, split="official"),
        "unmade": MANY_RECIPE.replace("dataset: many", "dataset: kinetics400")
        + expected.format(value=50.0, split="val"),
        "late": MANY_RECIPE + expected.format(value=50.0, split="official"),
        "silent": MANY_RECIPE,
    }
    for name, text in recipes.items():
        (tmp_path / f"{name}.yaml").write_text(text)

    def run(names: Sequence[str], *, home: Path, runs: Path, split: str, seeds: int, **_: Any) -> list[RunReport]:
        return [
            halfway(each.recipe.name, each.folder, runs, each.seed)
            for each in Wanted(names, split, range(seeds)).planned(home, runs)
        ]

    def halfway(name: str, folder: Path, runs: Path, seed: int) -> RunReport:
        if name == "broken":
            raise RunError("the loss is not finite")
        key = Comparability("many", "2 classes", "official", "video", "top1", "video", "none", "yes")
        record = RunRecord(
            folder=folder.relative_to(runs).as_posix(), recipe=name, dataset="many", split="official", seed=seed,
            model="m", family="3d-cnn", key=key, protocol=ProtocolFacts(selection="last"), fingerprint="0",
            metrics={"top1": 50.0}, intervals={}, interval_methods={}, samples={"train": 8, "val": 0, "test": 4, "scored": 4},
            partial="", exact=True, params_m=1.0, gflops=1.0, seconds={"train": 30.0, "evaluate": 2.0},
            finished="2026-01-01T00:00:00+00:00", harbench="0",
        )  # fmt: skip
        folder.mkdir(parents=True)
        stated = "silent" if name == "late" else name  # as if it had been run before its recipe stated a number
        (folder / "recipe.yaml").write_text((tmp_path / f"{stated}.yaml").read_text())
        (folder / "run.json").write_text(json.dumps(asdict(record)))
        return summary(record, str(folder), "finished")

    monkeypatch.setattr(reproducing, "run", run)
    return tmp_path


def invoke(work: Path, *names: str, code: int, options: Sequence[str] = ()) -> str:
    words = ["--home", str(work / "home"), "--runs", str(work / "runs"), "reproduce"]
    recipes = [str(work / f"{name}.yaml") for name in names]
    done = CliRunner().invoke(app, [*words, *recipes, "-o", str(work / "reproduction.md"), *options])
    assert done.exit_code == code, done.output
    return done.stdout


def test_a_number_stated_after_the_run_has_no_verdict_and_that_is_told(work: Path) -> None:
    told = invoke(work, "met", "late", code=0)
    assert "left out  late: its runs were made before the recipe stated a number" in told


def test_what_is_here_is_run_and_the_rest_is_told(work: Path) -> None:
    told = invoke(work, "met", "unready", "unmade", "silent", code=0, options=["--seeds", "2"])
    assert "ran       met: 64 s" in told and "silent" not in told
    page = (work / "reproduction.md").read_text()
    assert "| REPRODUCED | met | 2 | 50.00 | 50.00 |" in page
    assert "| met | 64 s |" in page
    assert "- **unmade**: kinetics400 has no table in this data home yet." in page.split("## Left out")[1]
    assert (
        "- **unready**: " in page
        and "harbench prepare many --split official --short-side 64" in page.split("## Left out")[1]
    )


def test_below_is_exit_4_and_a_failed_run_exit_1(work: Path) -> None:
    told = invoke(work, "broken", "met", code=1)
    assert "FAILED    broken: the loss is not finite" in told and "REPRODUCED" in told
    invoke(work, "missed", code=4, options=["--junit", str(work / "junit.xml")])


def test_a_split_that_is_not_ours_leaves_the_recipe_its_own(work: Path) -> None:
    found = api.reproduce([str(work / "elsewhere.yaml")], home=work / "home", runs=work / "runs", output=work / "r.md")
    assert (work / "runs/many/elsewhere/official/seed0/run.json").exists()
    assert (found.left_out, found.failed, found.check.verdicts[0].state) == ({}, {}, "NOT COMPARABLE")


def test_nothing_to_run_says_why(work: Path) -> None:
    with pytest.raises(HarbenchError, match="of 1 recipes that state a number none could be run"):
        api.reproduce([str(work / "unready.yaml")], home=work / "home", runs=work / "runs", output=work / "r.md")


@pytest.mark.parametrize("name", ["test", "reproduce"])
def test_workflows_call_make_targets_that_exist(name: str) -> None:
    text = (ROOT / f".github/workflows/{name}.yml").read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert {"name", "jobs"} <= set(workflow) and True in workflow, "YAML reads `on:` as a truth value"
    targets = (ROOT / "Makefile").read_text(encoding="utf-8")
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert all(("uses" in step) != ("run" in step) for step in steps)
    made = [
        word
        for step in steps
        for line in step.get("run", "").splitlines()
        if line.startswith("make ")
        for word in line.split()[1:2]
    ]
    assert made and all(f"\n{target}:" in targets for target in made)
