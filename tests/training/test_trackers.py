"""Curves of a training, and trackers, installed or not."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest

from harbench.errors import RunError
from harbench.records import EpochStats
from harbench.training.trackers import draw_curves, trackers

LINES = [EpochStats(1, 0.1, 2.0, 30.0, None, None, 1.0, 10.0), EpochStats(2, 0.1, 1.0, 60.0, 1.5, 40.0, 1.0, 10.0)]


def test_curves_and_tensorboard_files(tmp_path: Path) -> None:
    with trackers(tmp_path, ()) as on_epoch:
        for line in LINES:
            on_epoch(line)
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"val_top1" in events.read_bytes()
    draw_curves(tmp_path, LINES)
    assert cv2.imread(str(tmp_path / "curves.png")).shape == (350, 1200, 3)
    draw_curves(tmp_path, [])


class Run:
    """What wandb.init returns, as far as it is used."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.finished = False

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *failure: object) -> None:
        self.finished = True

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((step, values))


def test_wandb_is_told_and_a_continued_run_keeps_its_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []
    runs: list[Run] = []

    def init(**settings: object) -> Run:
        asked.append(settings)
        runs.append(Run())
        return runs[-1]

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    for line in LINES:  # interrupted after the first epoch
        with trackers(tmp_path, ("wandb",)) as on_epoch:
            on_epoch(line)
    (first,), (second,) = (run.logged for run in runs)
    assert first == (1, {"lr": 0.1, "train_loss": 2.0, "train_top1": 30.0, "samples_per_second": 10.0})
    assert second[0] == 2 and second[1]["val_top1"] == 40.0
    assert all(run.finished for run in runs)
    assert asked[0] == asked[1] and asked[0]["resume"] == "allow"
    with trackers(tmp_path / "other", ("wandb",)):
        assert asked[2]["id"] != asked[0]["id"]


def test_mlflow_is_told_and_a_continued_run_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []

    def start_run(run_id: str | None, run_name: str) -> nullcontext[SimpleNamespace]:
        told.append(run_id)
        return nullcontext(SimpleNamespace(info=SimpleNamespace(run_id="7f")))

    fake = SimpleNamespace(
        set_experiment=told.append,
        start_run=start_run,
        log_metrics=lambda values, step: told.append((step, values["train_loss"])),
    )
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    for line in LINES:
        with trackers(tmp_path, ("mlflow",)) as on_epoch:
            on_epoch(line)
    first, second = ["harbench", None, (1, 2.0)], ["harbench", "7f", (2, 1.0)]
    assert told == first + second


@pytest.mark.parametrize("tracker", ["wandb", "mlflow"])
def test_a_tracker_that_is_not_installed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker: str) -> None:
    monkeypatch.setitem(sys.modules, tracker, None)
    with pytest.raises(RunError, match=f"pip install {tracker}"), trackers(tmp_path, (tracker,)):
        pass
