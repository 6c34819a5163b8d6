"""Curves of a training, and trackers that are not installed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest

from harbench.errors import RunError
from harbench.records import EpochStats
from harbench.training.watching import draw_curves, watching

LINES = [EpochStats(1, 0.1, 2.0, 30.0, None, None, 1.0, 10.0), EpochStats(2, 0.1, 1.0, 60.0, 1.5, 40.0, 1.0, 10.0)]


def test_curves_and_tensorboard_files(tmp_path: Path) -> None:
    with watching(tmp_path, "a run", ()) as on_epoch:
        for line in LINES:
            on_epoch(line)
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"val_top1" in events.read_bytes()
    draw_curves(tmp_path, LINES)
    assert cv2.imread(str(tmp_path / "curves.png")).shape == (350, 1200, 3)
    draw_curves(tmp_path, [])


def test_a_tracker_is_told_or_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import nullcontext

    told: list[object] = []
    fake = SimpleNamespace(
        set_experiment=lambda name: None,
        start_run=lambda run_name: nullcontext(),
        log_metrics=lambda values, step: told.append((step, values["train_loss"])),
    )
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    with watching(tmp_path, "a run", ("mlflow",)) as on_epoch:
        on_epoch(LINES[0])
    assert told == [(1, 2.0)]
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(RunError, match="pip install wandb"), watching(tmp_path, "a run", ("wandb",)):
        pass
