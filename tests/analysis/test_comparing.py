"""`compare` on run folders: same samples or a refusal in words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from harbench import api
from harbench.cli import app
from harbench.datasets.tables import load_split
from harbench.errors import RunError
from harbench.evaluation.metrics import score
from harbench.records import Comparability, Predictions, ProtocolFacts, RunRecord
from harbench.runs.folder import save_run


def make_run(runs: Path, recipe: str, home: Path, wrong: tuple[int, ...], samples: int | None = None) -> Path:
    """A finished run on the toy data set that is wrong on the test samples at `wrong`."""
    table = load_split("toy", "official", home)
    test = table.subset("test")[:samples]
    targets = np.array([sample.target for sample in test])
    guessed = np.array([1 - target if row in wrong else target for row, target in enumerate(targets)])
    scores = np.eye(2, dtype=np.float32)[guessed]
    predictions = Predictions(tuple(sample.sample_id for sample in test), targets, scores, scores)
    metrics = score(predictions, table.classes)
    folder = f"toy/{recipe}/official/seed0"
    record = RunRecord(
        folder=folder, recipe=recipe, dataset="toy", split="official", seed=0, model="m", family="3d-cnn",
        key=Comparability("toy", "2 classes", "official", "video", "top1", "video", "none", "yes"),
        protocol=ProtocolFacts(averaging="prob"), fingerprint="0", metrics=metrics.values, intervals={},
        interval_methods={}, samples={"train": 4, "val": 0, "test": len(test), "scored": len(test)}, partial="",
        exact=True, params_m=1.0, gflops=1.0, seconds={}, finished="2026-01-01T00:00:00+00:00", harbench="0",
    )  # fmt: skip
    save_run(runs / folder, record, predictions, table.classes, metrics)
    return Path(folder)


def test_two_runs_and_several(tmp_path: Path, toy_home: Path) -> None:
    runs = tmp_path / "runs"
    good, bad, same = (
        make_run(runs, name, toy_home, wrong) for name, wrong in (("good", ()), ("bad", (0,)), ("same", ()))
    )
    words = ["--runs", str(runs), "--home", str(toy_home), "compare", str(bad), str(good)]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)["comparisons"]
    lost = load_split("toy", "official", toy_home).subset("test")[0].sample_id
    assert (found["gained"], found["lost"], found["difference"]) == ([lost], [], 50.0)
    told = CliRunner().invoke(app, [*words, str(same)]).stdout
    assert "Holm" in told
    page = tmp_path / "flips.html"
    assert f"Flipped samples with pictures:  {page}" in CliRunner().invoke(app, [*words, "-o", str(page)]).stdout
    html = page.read_text(encoding="utf-8")
    assert f"<code>{lost}</code>" in html and "taken for <b>" in html and "Only B is right: 1" in html
    assert "three seeds" in html and "http" not in html.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert "three seeds" in told


def test_other_samples_are_refused_in_words(tmp_path: Path, toy_home: Path) -> None:
    runs = tmp_path / "runs"
    whole, part = make_run(runs, "whole", toy_home, ()), make_run(runs, "part", toy_home, (), samples=1)
    with pytest.raises(RunError, match="2 test samples against 1, 1 of them in both"):
        api.compare(whole, [part], home=toy_home, runs=runs)
    with pytest.raises(RunError, match="not a finished run"):
        api.compare(whole, [Path("nowhere")], home=toy_home, runs=runs)
