"""Finished runs that are made up, whole: record, recipe, curves, classes, scores of every test sample."""

from __future__ import annotations

import json
import os
import random
from dataclasses import asdict
from pathlib import Path

import numpy as np

from harbench import paths
from harbench.datasets.tables import load_split
from harbench.evaluation.metrics import score
from harbench.records import Comparability, Metrics, Predictions, ProtocolFacts, RunRecord, SplitTable
from harbench.runs.comparability import fingerprint
from harbench.runs.folder import save_run

_PLACES = (("ucf101", "split1", 6), ("hmdb51", "split1", 3), ("sample", "small", 1))
"""Data set, split, share of the runs."""


def _predictions(table: SplitTable, accuracy: float) -> Predictions:
    """Scores of every test sample, right with probability `accuracy`."""
    rng = np.random.default_rng(0)
    rows = table.subset("test")
    targets = np.array([row.target for row in rows])
    logits = rng.normal(size=(len(rows), len(table.classes))).astype(np.float32)
    right = rng.random(len(rows)) < accuracy
    shown = np.where(right, targets, rng.integers(0, len(table.classes), len(rows)))
    logits[np.arange(len(rows)), shown] += 6
    exponent = np.exp(logits)
    return Predictions(
        tuple(row.sample_id for row in rows), targets, logits, exponent / exponent.sum(axis=1, keepdims=True)
    )


def _record(table: SplitTable, recipe: str, seed: int, top1: float, draw: random.Random, metrics: Metrics) -> RunRecord:
    key = Comparability(
        table.dataset, f"{len(table.classes)} classes", table.split, table.unit, "top1", "video", "none", "yes"
    )
    protocol = ProtocolFacts(
        modality=draw.choice(("RGB", "flow", "RGB+flow")),
        pretraining=draw.choice(("none (scratch)", "Kinetics-400", "ImageNet")),
        frames=draw.choice(("8", "16", "32")),
        time_base=draw.choice(("stride 2", "segments")),
        size=draw.choice(("112", "224")),
        views=draw.choice(("1x1", "10x1", "10x3")),
        averaging="prob",
        selection="last",
        decoder="PyAV",
        cache="rgb-jpeg90-128",
    )
    return RunRecord(
        folder=f"{table.dataset}/{recipe}/{table.split}/seed{seed}",
        recipe=recipe.partition("+")[0],
        dataset=table.dataset,
        split=table.split,
        seed=seed,
        model="r3d_18",
        family="3d-cnn",
        key=key,
        protocol=protocol,
        fingerprint=fingerprint(key, protocol),
        metrics={**metrics.values, "top1": top1},
        intervals={"top1": (max(0.0, top1 - 2), min(100.0, top1 + 2))},
        interval_methods={"top1": "bootstrap over 707 groups"},
        samples={"val": 0, "train": len(table.subset("train")), "test": metrics.samples, "scored": metrics.scored},
        partial="",
        exact=True,
        params_m=round(10 ** draw.uniform(0, 2.3), 2),
        gflops=round(10 ** draw.uniform(0, 3), 2),
        seconds={"train": 3600.0, "evaluate": 60.0},
        finished="2026-01-02T03:04:05+00:00",
        harbench="0.1.0",
    )


def make_runs(root: Path, number: int) -> None:
    """`number` finished runs under `root`, over UCF-101 and HMDB51 (split 1) and `sample`.

    Half of them are recipes of their own, the others three seeds of one. The scores of a data set are one file, linked.
    """
    recipe = (paths.shipped("recipes") / "mc3_18.yaml").read_text(encoding="utf-8")
    header = "epoch,lr,train_loss,train_top1,val_loss,val_top1,seconds,samples_per_second\n"
    curve = "".join(
        f"{epoch},0.01,{4 / epoch},{100 - 99 / epoch},{5 / epoch},{90 - 80 / epoch},60,150\n" for epoch in range(1, 51)
    )
    total = sum(share for *_, share in _PLACES)
    for dataset, split, share in _PLACES:
        table, draw = load_split(dataset, split), random.Random(dataset)
        predictions = _predictions(table, 0.6)
        metrics = score(predictions, table.classes)
        first: Path | None = None
        for index in range(number * share // total):
            alone = index % 2
            name, seed = (f"r3d_18+alone{index}", 0) if alone else (f"r3d_18+seeds{index // 6}", index // 2 % 3)
            own = random.Random(name)
            record = _record(table, name, seed, own.uniform(20, 97) + draw.uniform(-0.5, 0.5), own, metrics)
            folder = root / record.folder
            folder.mkdir(parents=True)
            if first is None:
                save_run(folder, record, predictions, table.classes, metrics)
                first = folder
            else:
                for scores in ("predictions.npz", "per_class.csv"):
                    os.link(first / scores, folder / scores)
                (folder / "run.json").write_text(json.dumps(asdict(record)), encoding="utf-8")
            (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
            (folder / "train.csv").write_text(header + curve, encoding="utf-8")
