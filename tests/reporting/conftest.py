"""Hand-made run records, published rows and run folders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harbench.evaluation.metrics import score
from harbench.records import (
    ClassLabel,
    Comparability,
    Leaderboard,
    Predictions,
    ProtocolFacts,
    PublishedResult,
    RunRecord,
)
from harbench.reporting.leaderboard import build_leaderboard
from harbench.runs.comparability import fingerprint
from harbench.runs.folder import save_run

KEY = Comparability(
    dataset="ucf101",
    label_set="101 classes",
    split_set="split1",
    unit="video",
    metric="top1",
    level="video",
    given="none",
    complete="yes",
)
PROTOCOL = ProtocolFacts(
    modality="RGB",
    pretraining="Kinetics-400",
    frames="16",
    time_base="12.5 fps",
    size="112",
    views="10x1",
    averaging="prob",
    selection="last",
    decoder="PyAV",
    cache="rgb-jpeg90-128",
)

HOSTILE = "<script>alert('x')</script> | 50% & $a_b #c {d} ~ ^ \\ \"q\"\nnew line"


def _make_run(
    recipe: str = "mc3_18",
    split: str = "split1",
    seed: int = 0,
    top1: float = 90.0,
    *,
    key: Comparability = KEY,
    protocol: ProtocolFacts = PROTOCOL,
    partial: str = "",
    test: int = 3783,
    **metrics: float | None,
) -> RunRecord:
    key = replace(key, split_set=split, complete=partial or "yes")
    return RunRecord(
        folder=f"{key.dataset}/{recipe}/{split}/seed{seed}",
        recipe=recipe.partition("+")[0],
        dataset=key.dataset,
        split=split,
        seed=seed,
        model="mc3_18",
        family="3d-cnn",
        key=key,
        protocol=protocol,
        fingerprint=fingerprint(key, protocol),
        metrics={"top1": top1, **metrics},
        intervals={"top1": (max(0.0, top1 - 1), min(100.0, top1 + 1))},
        interval_methods={"top1": "bootstrap over 707 groups"},
        samples={"train": 9537, "val": 0, "test": test, "scored": test},
        partial=partial,
        exact=True,
        params_m=11.7,
        gflops=43.34,
        seconds={"train": 3600.0, "evaluate": 60.0},
        finished="2026-01-02T03:04:05+00:00",
        harbench="0.1.0",
    )


def _make_published(method: str = "Somebody", value: float = 85.0, **changes: Any) -> PublishedResult:
    key = replace(KEY, **changes.pop("key", {}))
    protocol = replace(ProtocolFacts(), **changes.pop("protocol", {}))
    result = PublishedResult(
        method=method,
        family="3d-cnn",
        backbone="ResNet-18",
        params_m=33.4,
        gflops=None,
        key=key,
        protocol=protocol,
        value=value,
        year=2018,
        source_title="A paper",
        source_id="arXiv:1711.11248",
        where_seen="Read in the README.",
        notes="",
    )
    return replace(result, **changes)


@pytest.fixture
def make_run() -> Callable[..., RunRecord]:
    return _make_run


@pytest.fixture
def make_published() -> Callable[..., PublishedResult]:
    return _make_published


def _write_run(root: Path, record: RunRecord, classes: int = 3, samples: int = 12) -> Predictions:
    """A finished run's folder under `root`: sample `s<i>` is of class i modulo `classes`; every third is mistaken for the
    next class, the last has no score. The probability of the true class grows with i.
    """
    targets = np.arange(samples) % classes
    probabilities = np.full((samples, classes), 0.01, np.float32)
    for i, target in enumerate(targets):
        probabilities[i, target] += 0.3 + 0.02 * i
        probabilities[i, (target + 1) % classes] += 0.9 if i % 3 == 0 else 0.0
    probabilities[-1] = np.nan
    predictions = Predictions(
        ids=tuple(f"s{i}" for i in range(samples)),
        targets=targets,
        logits=np.log(probabilities),
        probabilities=probabilities,
        failed={f"s{samples - 1}": "no frame decoded"},
    )
    labels = [ClassLabel(f"c{index}", f"class {index} <b>") for index in range(classes)]
    folder = root / record.folder
    folder.mkdir(parents=True)
    lines = [f"{epoch},0.1,{2 / epoch},{30 * epoch},,,1.0,2.0" for epoch in (1, 2, 3)]
    header = "epoch,lr,train_loss,train_top1,val_loss,val_top1,seconds,samples_per_second"
    (folder / "train.csv").write_text("\n".join([header, *lines]) + "\n")
    (folder / "recipe.yaml").write_text(f"name: {record.recipe}\ndescription: a <recipe> & more\n")
    save_run(folder, record, predictions, labels, score(predictions, labels))
    return predictions


@pytest.fixture
def write_run() -> Callable[..., Predictions]:
    return _write_run


@pytest.fixture
def board(make_run: Callable[..., RunRecord], make_published: Callable[..., PublishedResult]) -> Leaderboard:
    """Two seeds, a partial run, and published rows: known, with a name that every format must escape, selected on test,
    and with an unknown part in its key."""
    runs = [
        *(make_run("mc3_18", seed=seed, top1=88.0 + seed) for seed in range(2)),
        make_run("tiny", top1=12.5, partial="16 of 3783 test samples"),
    ]
    published = [
        make_published("Known", 91.4, notes="a caveat | with a pipe"),
        make_published(HOSTILE, 80.0),
        make_published("Peeked", 93.0, protocol={"selection": "test"}),
        make_published("Unclear", 92.0, key={"split_set": "unknown"}),
    ]
    return build_leaderboard(runs, published)
