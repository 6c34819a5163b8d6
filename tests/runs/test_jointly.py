"""The interval of a mean over splits: made once all are there, of exactly these runs, shown with their mean."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from harbench.datasets.tables import load_spec, load_split, split_names
from harbench.evaluation.intervals import joint_interval
from harbench.evaluation.metrics import score
from harbench.records import Comparability, Predictions, ProtocolFacts, RunRecord
from harbench.reporting.leaderboard import build_leaderboard
from harbench.runs.folder import load_predictions, load_run, load_runs, save_run
from harbench.runs.joint import join_splits

SPLITS = ("split1", "split2", "split3")
PROTOCOL = ProtocolFacts(averaging="prob", selection="last")


def save_split(
    runs: Path, split: str, seed: int = 0, finished: str = "2026-01-01T00:00:00+00:00", dataset: str = "jhmdb14"
) -> Path:
    """A finished run on a split that is right in about 70 % of the test samples."""
    table = load_split(dataset, split)
    test = table.subset("test")
    targets = np.array([sample.target for sample in test])
    wrong = np.random.default_rng([seed, *split[-2:].encode()]).random(len(test)) < 0.3
    scores = np.eye(len(table.classes), dtype=np.float32)[(targets + wrong) % len(table.classes)]
    predictions = Predictions(tuple(sample.sample_id for sample in test), targets, scores, scores)
    metrics = score(predictions, table.classes)
    record = RunRecord(
        folder=f"{dataset}/recipe/{split}/seed{seed}", recipe="recipe", dataset=dataset, split=split, seed=seed,
        model="m", family="skeleton", protocol=PROTOCOL, fingerprint="0", metrics=metrics.values, intervals={},
        key=Comparability(dataset, "all", split, "sequence", load_spec(dataset).headline, "video", "poses", "yes"),
        interval_methods={}, samples={"train": 4, "val": 0, "test": len(test), "scored": len(test)}, partial="",
        exact=True, params_m=1.0, gflops=1.0, seconds={}, finished=finished, harbench="0",
    )  # fmt: skip
    save_run(runs / record.folder, record, predictions, table.classes, metrics)
    return runs / record.folder


def test_the_last_split_makes_it_and_a_repeated_one_unmakes_it(tmp_path: Path) -> None:
    joined = tmp_path / "jhmdb14/recipe/mean-of-3/seed0.json"
    folders = []
    for split in SPLITS:
        assert not joined.exists()
        folders.append(save_split(tmp_path, split))
        join_splits(folders[-1], home=tmp_path)
    records = load_runs(tmp_path)[0]
    assert [list(record.joint) for record in records] == [["mean-of-3"]] * 3
    (joint,) = records[0].joint["mean-of-3"]
    mean = np.mean([record.metrics["top1"] for record in records])
    assert joint.low < mean < joint.high and "drawn for 3 splits together" in joint.method
    rows = [row for table in build_leaderboard(records, []).tables for row in table.rows]
    (row,) = [row for row in rows if row.interval]
    assert (row.value, row.interval) == (pytest.approx(mean), (joint.low, joint.high))
    first = joined.stat().st_mtime_ns
    join_splits(folders[0], home=tmp_path)
    assert joined.stat().st_mtime_ns == first

    save_split(tmp_path, "split2", finished="2026-02-02T00:00:00+00:00")
    assert [record.joint for record in load_runs(tmp_path)[0]] == [{}] * 3
    join_splits(folders[1], home=tmp_path)
    assert load_runs(tmp_path)[0][2].joint["mean-of-3"] == (joint,)


def test_the_mean_of_splits_over_seeds(tmp_path: Path) -> None:
    for seed in (0, 1):
        folders = [save_split(tmp_path, split, seed) for split in SPLITS]
        join_splits(folders[0], home=tmp_path)
    records = load_runs(tmp_path)[0]
    (table,) = [table for table in build_leaderboard(records, []).tables if table.key.split_set == "mean-of-3"]
    each = [next(record for record in records if record.seed == seed).joint["mean-of-3"][0] for seed in (0, 1)]
    assert table.rows[0].interval == pytest.approx((np.mean([i.low for i in each]), np.mean([i.high for i in each])))
    assert f"interval: mean over the seeds; {each[0].method}" in table.footnotes


def test_it_is_drawn_from_the_groups_of_the_split_tables(tmp_path: Path) -> None:
    """jhmdb14 knows none, so that a sample is its own, in every split that tests it."""
    folders = [save_split(tmp_path, split) for split in SPLITS]
    join_splits(folders[2], home=tmp_path)
    parts = []
    for split in SPLITS:
        test = load_split("jhmdb14", split).subset("test")
        wrong = np.random.default_rng([0, *split[-2:].encode()]).random(len(test)) < 0.3
        parts.append((~wrong, [sample.group or sample.sample_id for sample in test]))
    (joint,) = load_runs(tmp_path)[0][0].joint["mean-of-3"]
    low, high, method = joint_interval(parts)
    assert (joint.low, joint.high) == (low, high)
    assert joint.method == f"{method}; no groups are known, so samples count as independent"
    assert load_run(folders[0]).joint == {}


def test_splits_of_different_recipes_are_not_joined(tmp_path: Path) -> None:
    folders = [save_split(tmp_path, split) for split in SPLITS]
    raw = json.loads((folders[1] / "run.json").read_text())
    (folders[1] / "run.json").write_text(json.dumps(raw | {"recipe_sha256": "edited", "record_sha256": ""}))
    join_splits(folders[0], home=tmp_path)
    assert load_runs(tmp_path)[0][0].joint == {}


def test_folds_are_scored_together_by_the_headline_metric(tmp_path: Path) -> None:
    """KTH, whose headline is mean class accuracy, leaving each of 25 persons out: from the predictions of all folds."""
    targets, hits, persons, folder = [], [], [], tmp_path
    for split in split_names(load_spec("kth")):
        if not split.startswith("lopo-") or split.endswith("-video"):
            continue
        folder = save_split(tmp_path, split, dataset="kth")
        found = load_predictions(folder)
        targets.append(found.targets)
        hits.append(found.probabilities.argmax(1) == found.targets)
        persons += [split] * len(found.ids)
    join_splits(folder, home=tmp_path)
    top1, mean_class = load_runs(tmp_path)[0][0].joint["lopo"]
    truth, right = np.concatenate(targets), np.concatenate(hits)
    guesses = np.where(right, truth, (truth + 1) % 6)
    assert top1.value == pytest.approx(100 * right.mean())
    assert mean_class.value == pytest.approx(100 * balanced_accuracy_score(truth, guesses))
    assert mean_class.low < mean_class.value < mean_class.high and "25 groups" in mean_class.method
    (table,) = [
        each for each in build_leaderboard(load_runs(tmp_path)[0], []).tables if each.key.metric == "mean_class"
    ]
    (row,) = table.rows
    assert (row.place, row.value, row.interval) == (1, mean_class.value, (mean_class.low, mean_class.high))
