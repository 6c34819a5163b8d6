"""`run --grid`: ranked on val, test never scored, resumed, and the command that trains the winner."""

from __future__ import annotations

import csv
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
from toys import MANY_RECIPE, many_people

from harbench import api
from harbench.errors import RecipeError, RunError
from harbench.evaluation.predict import predict
from harbench.frames.clips import ClipDataset
from harbench.records import Predictions
from harbench.runs import grid as tuning
from harbench.training import fit as fit_module


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A prepared data home with six people who move a square left or right, and a recipe."""
    return many_people(tmp_path)


def search(work: Path, *axes: str, overrides: tuple[str, ...] = ("data.validation=0.5",)) -> api.GridResult:
    return api.grid(str(work / "many.yaml"), axes, home=work / "home", runs=work / "runs", overrides=overrides)


def test_every_combination_is_ranked_on_val(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[str] = []

    def spying(model: object, data: ClipDataset, *rest: object, **options: object) -> Predictions:
        scored.extend(data.ids)
        return predict(model, data, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(fit_module, "predict", spying)
    result = search(work, "train.optimizer.lr=1e-3,3e-2", "train.epochs=1,2")
    assert {tuple(trial.settings.values()) for trial in result.trials} == {
        ("1e-3", "1"), ("1e-3", "2"), ("3e-2", "1"), ("3e-2", "2"),
    }  # fmt: skip
    assert [trial.val_top1 for trial in result.trials] == sorted((t.val_top1 for t in result.trials), reverse=True)
    assert not list((work / "runs").rglob("run.json")) and not list((work / "runs").rglob("predictions.npz"))
    assert scored and not {name for name in scored if "eve" in name or "fay" in name}
    (table,) = (work / "runs/many/many+grid/official").glob("grid-*.csv")
    assert str(table) == result.table
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["train.epochs"] for row in rows] == [trial.settings["train.epochs"] for trial in result.trials]
    assert all((Path(row["folder"]) / "train.csv").exists() for row in rows)
    words = shlex.split(result.command)
    best = result.trials[0].settings
    assert [word for before, word in pairwise(words) if before == "--set"] == [
        f"{key}={value}" for key, value in best.items()
    ]
    kept = table.read_text()
    assert search(work, "train.epochs=1").table != str(table)  # another grid has a table of its own
    elsewhere = api.grid(
        str(work / "many.yaml"), ["train.epochs=1"], home=work / "home", runs=work / "runs", split="lopo-ann",
        overrides=("data.validation=0.5",),
    )  # fmt: skip
    assert "lopo-ann" in elsewhere.table and table.read_text() == kept
    again = search(work, "train.optimizer.lr=1e-3,3e-2", "train.epochs=1,2")
    assert [trial.val_loss for trial in again.trials] == [trial.val_loss for trial in result.trials]


def test_the_winner_keeps_val_where_it_needs_it(work: Path) -> None:
    needed = ("data.validation=0.5", "train.selection=val")
    assert "data.validation=0.5" in search(work, "train.epochs=1", overrides=needed).command
    (work / "many.yaml").write_text(MANY_RECIPE.replace("many,", "many, validation: 0.5,"), encoding="utf-8")
    assert search(work, "train.epochs=1", overrides=()).command.endswith("--set data.validation=null")


def test_axes() -> None:
    assert tuning._axis("train.freeze=[a,b],[]") == ("train.freeze", ["[a,b]", "[]"])
    for wrong in ("train.epochs", "=1,2", "train.epochs=1,,2"):
        with pytest.raises(RecipeError, match="expected section"):
            tuning._axis(wrong)


def test_mistakes_are_told_before_anything_is_trained(work: Path) -> None:
    with pytest.raises(RecipeError, match=r"--set data\.validation=0\.2"):
        search(work, "train.epochs=1,2", overrides=())
    with pytest.raises(RecipeError, match="never looks at test"):
        search(work, "train.selection=last,test")
    with pytest.raises(RecipeError, match=r"train\.epochs"):
        search(work, "train.epochs=1,-1")
    with pytest.raises(RunError, match="one split"):
        api.grid(str(work / "many.yaml"), ["train.epochs=1"], home=work / "home", runs=work / "runs",
                 split="lopo-*", overrides=("data.validation=0.5",))  # fmt: skip
    assert not (work / "runs").exists()
