"""Experiment tracking: TensorBoard files, the curves as an image, and the trackers that a recipe names."""

from __future__ import annotations

import hashlib
import importlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from harbench.errors import RunError
from harbench.files import replacing, write_text
from harbench.records import EpochStats
from harbench.workers import uninterrupted

_CURVES = ("lr", "train_loss", "train_top1", "val_loss", "val_top1", "samples_per_second")
Log = Callable[[Mapping[str, float], int], Any]
"""Values by name, epoch."""


@contextmanager
def trackers(folder: Path, names: Sequence[str]) -> Iterator[Callable[[EpochStats], None]]:
    """A function that logs an epoch to TensorBoard (`folder`/tensorboard) and to each named tracker.

    A resumed training continues the same curves: the identity is the folder, the steps are epochs.
    Raises RunError for a tracker that is not installed.
    """
    title = "/".join(folder.resolve().parts[-4:])
    with ExitStack() as stack:
        logs = [stack.enter_context(_tensorboard(folder))]
        for name in names:
            opened = _wandb if name == "wandb" else _mlflow
            logs.append(stack.enter_context(opened(_library(name), folder, title)))

        def log_epoch(line: EpochStats) -> None:
            values = {curve: float(getattr(line, curve)) for curve in _CURVES if getattr(line, curve) is not None}
            with uninterrupted():
                for log in logs:
                    log(values, line.epoch)

        yield log_epoch


@contextmanager
def _tensorboard(folder: Path) -> Iterator[Log]:
    # Not SummaryWriter: it writes through a queue and a thread, and a Ctrl-C during `put` left the queue locked, so that
    # its `close` waited forever.
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import scalar

    (folder / "tensorboard").mkdir(parents=True, exist_ok=True)
    with closing(EventsWriter(str(folder / "tensorboard" / "events"))) as writer:

        def log(values: Mapping[str, float], epoch: int) -> None:
            for curve, value in values.items():
                writer.write_event(Event(wall_time=time.time(), step=epoch, summary=scalar(curve, value)))
            writer.flush()

        yield log


@contextmanager
def _wandb(library: Any, folder: Path, title: str) -> Iterator[Log]:
    run_id = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    with library.init(project="harbench", name=title, id=run_id, dir=str(folder), resume="allow") as run:
        yield lambda values, epoch: run.log(dict(values), step=epoch)


@contextmanager
def _mlflow(library: Any, folder: Path, title: str) -> Iterator[Log]:
    """MLflow chooses the id of a run itself: it is kept in mlflow.txt for a resumed training."""
    kept = folder / "mlflow.txt"
    run_id = kept.read_text(encoding="utf-8") if kept.exists() else None
    library.set_experiment("harbench")
    with library.start_run(run_id=run_id, run_name=title) as run:
        write_text(kept, run.info.run_id)
        yield lambda values, epoch: library.log_metrics(dict(values), step=epoch)


def _library(tracker: str) -> Any:
    try:
        return importlib.import_module(tracker)
    except ImportError:
        raise RunError(
            f"train.trackers: {tracker} is not installed. `pip install {tracker}`, or --set 'train.trackers=[]'"
        ) from None


def draw_curves(folder: Path, stats: Sequence[EpochStats]) -> None:
    """`folder`/curves.png: loss, top-1 and learning rate by epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.5), layout="constrained")
    shown = {"loss": ("train_loss", "val_loss"), "top-1 %": ("train_top1", "val_top1"), "learning rate": ("lr",)}
    for axes, (label, curves) in zip(figure.subplots(1, 3), shown.items(), strict=True):
        for curve in curves:
            points = [(line.epoch, getattr(line, curve)) for line in stats if getattr(line, curve) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), label=curve, marker=".", markersize=3)
        axes.set(xlabel="epoch", ylabel=label)
        if stats:
            axes.legend()
    with replacing(folder / "curves.png", "wb") as handle:
        figure.savefig(handle, format="png", dpi=100)
