"""Hand-made run records and published rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harbench.records import Comparability, ProtocolFacts, PublishedResult, RunRecord
from harbench.reporting.comparability import fingerprint

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
        interval_method="bootstrap over 707 groups",
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
        key=key,
        protocol=protocol,
        value=value,
        year=2018,
        source_title="A paper",
        source_id="arXiv:1711.11248",
        where_seen="[primary] README",
        notes="",
    )
    return replace(result, **changes)


@pytest.fixture
def make_run() -> Callable[..., RunRecord]:
    return _make_run


@pytest.fixture
def make_published() -> Callable[..., PublishedResult]:
    return _make_published
