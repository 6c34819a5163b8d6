"""`explain` on anybody's predictions and on a run, and `features` of the same run."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from toys import many_people
from typer.testing import CliRunner

from harbench import api
from harbench.analysis.explain import Explanation, _blue_first, _in_bytes
from harbench.analysis.features import _neighbors
from harbench.cli import app
from harbench.cli.texts import explanation_text, features_text
from harbench.datasets.tables import load_split
from harbench.frames.streams import MEAN_STD, normalize
from harbench.recipe import InputConfig

TABLE = load_split("hmdb51", "split1")
KEYS = [label.key for label in TABLE.classes]


def write_scores(path: Path, split: str, keep: float = 1.0, turned: int = 0) -> Path:
    """Scores that are right for about 70 % of a split's test samples, their columns `turned` places away."""
    rng = np.random.default_rng(0)
    test = [sample for sample in load_split("hmdb51", split).subset("test") if rng.random() < keep]
    scores = rng.normal(size=(len(test), len(KEYS)))
    scores[np.arange(len(test)), [sample.target for sample in test]] += 3.0
    names = np.array([sample.sample_id for sample in test])
    np.savez(path, ids=names, scores=np.roll(scores, turned, axis=1), classes=np.array(KEYS))
    return path


def explained(file: Path, home: Path) -> Explanation:
    return api.explain_file(file, dataset="hmdb51", split="1", home=home)


def first_of(found: Explanation) -> set[str]:
    return {each.cause for each in found.findings if each.tied}


def test_nothing_is_suggested_for_sound_predictions(tmp_path: Path) -> None:
    found = explained(write_scores(tmp_path / "p.npz", "1"), tmp_path)
    assert found.samples == 1530 and {each.cause for each in found.findings} == {"class order"}
    assert not any(each.suggested for each in found.findings)
    assert "none of them is suggested" in explanation_text(found)


def test_what_is_wrong_with_predictions_is_found(tmp_path: Path) -> None:
    assert first_of(explained(write_scores(tmp_path / "turned.npz", "1", turned=1), tmp_path)) == {"class order"}
    gaps = explained(write_scores(tmp_path / "gaps.npz", "1", keep=0.8), tmp_path)
    assert first_of(gaps) == {"missing samples"}
    (missing,) = (each for each in gaps.findings if each.tied)
    assert missing.top1 == pytest.approx(gaps.top1 * 1530 / missing.samples)
    other = explained(write_scores(tmp_path / "other.npz", "2"), tmp_path)
    assert "split" in first_of(other) and "--split split2" in explanation_text(other)


def test_a_file_needs_its_data_set(tmp_path: Path) -> None:
    file = write_scores(tmp_path / "p.npz", "1")
    told = CliRunner().invoke(app, ["explain", str(file)])
    assert told.exit_code == 2 and "--dataset" in told.output


def test_other_colors_are_what_they_say() -> None:
    frames = torch.randint(0, 256, (2, 3, 4, 5, 6), dtype=torch.uint8)
    config = InputConfig.model_validate({"clip": {"uniform": {"n": 1}}, "normalize": "imagenet"})
    mean, std = (torch.tensor(values).view(1, 3, 1, 1, 1) for values in MEAN_STD["imagenet"])
    assert torch.allclose(_in_bytes(frames, config), (frames.float() - mean) / std, atol=1e-3)
    assert torch.equal(_blue_first(frames, config), normalize(frames[:, [2, 1, 0]], config))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data home in `home` and a finished run in `runs`."""
    folder = many_people(tmp_path_factory.mktemp("explained"))
    overrides = ("train.epochs=1",)
    api.run([str(folder / "many.yaml")], home=folder / "home", runs=folder / "runs", overrides=overrides, tag="x")
    return folder


RUN = Path("many/many+x/official/seed0")


def test_a_run_is_explained_and_left_as_it_was(work: Path) -> None:
    before = {path: path.read_bytes() for path in (work / "runs" / RUN).rglob("*") if path.is_file()}
    words = ["--quiet", "--home", str(work / "home"), "--runs", str(work / "runs"), "explain", str(RUN)]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert {path: path.read_bytes() for path in (work / "runs" / RUN).rglob("*") if path.is_file()} == before
    causes = {each["cause"] for each in found["findings"]}
    assert {"views", "averaging", "level", "normalization", "value range", "channel order", "resize and crop"} <= causes
    assert found["groups"] == 2 and not any(each["suggested"] for each in found["findings"])
    assert "2 groups are too few to tell any gain from noise; 5 are the least" in CliRunner().invoke(app, words).stdout
    (one,) = (each for each in found["findings"] if each["change"] == "eval.clips: 1, eval.crops: 1")
    again = api.evaluate(RUN, home=work / "home", runs=work / "runs", clips=1)
    assert one["top1"] == again.metrics["top1"]


def test_features_of_a_run(work: Path) -> None:
    found = api.features(RUN, home=work / "home", runs=work / "runs")
    with np.load(found.file) as arrays:
        assert arrays["train_features"].shape == (8, found.dimensions) and arrays["test_features"].shape[0] == 4
        assert set(arrays["train_ids"]).isdisjoint(arrays["test_ids"])
        assert arrays["classes"].tolist() == ["left", "right"]
    assert sorted(found.neighbors) == [1, 5] and found.l2 in found.held_out
    assert all(0 <= value <= 100 for value in (*found.neighbors.values(), found.probe))
    assert "linear probe" in features_text(found)


def test_neighbors_are_found_in_parts_of_the_test_samples() -> None:
    """The similarities of all test samples at once would take 160 MB here, and 10 GB on NTU RGB+D 60."""
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(10_000, 8)), rng.normal(size=(2_000, 8))
    targets = rng.integers(0, 3, len(train))
    tracemalloc.start()
    found = _neighbors(train, targets, test, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120e6
    expected = KNeighborsClassifier(1, metric="cosine").fit(train, targets).predict(test)
    assert (found[1] == expected).all() and len(found[20]) == len(test)
