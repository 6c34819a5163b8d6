"""Watching a training: TensorBoard files, the curves as a picture, and trackers that a recipe names."""

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


@contextmanager
def watching(folder: Path, name: str, trackers: Sequence[str]) -> Iterator[Callable[[EpochStats], None]]:
    """A function that tells TensorBoard (`folder`/tensorboard) and each named tracker of an epoch.

    A continued training goes on in the same curves: its name is the run's, its steps are epochs.
    Raises RunError for a tracker that is not installed.
    """
    with ExitStack() as stack:
        told = [stack.enter_context(_tensorboard(folder))]
        for tracker in trackers:
            tracked = _wandb if tracker == "wandb" else _mlflow
            told.append(stack.enter_context(tracked(_library(tracker), folder, name)))

        def on_epoch(line: EpochStats) -> None:
            values = {curve: float(getattr(line, curve)) for curve in _CURVES if getattr(line, curve) is not None}
            with uninterrupted():
                for tell in told:
                    tell(values, line.epoch)

        yield on_epoch


Tell = Callable[[Mapping[str, float], int], Any]
"""Values by name, epoch."""


@contextmanager
def _tensorboard(folder: Path) -> Iterator[Tell]:
    # Not SummaryWriter: it writes through a queue and a thread, and a Ctrl-C amid `put` left the queue locked, for which its
    # `close` then waited forever.
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import scalar

    (folder / "tensorboard").mkdir(parents=True, exist_ok=True)
    with closing(EventsWriter(str(folder / "tensorboard" / "events"))) as writer:

        def tell(values: Mapping[str, float], epoch: int) -> None:
            for curve, value in values.items():
                writer.write_event(Event(wall_time=time.time(), step=epoch, summary=scalar(curve, value)))
            writer.flush()

        yield tell


@contextmanager
def _wandb(library: Any, folder: Path, name: str) -> Iterator[Tell]:
    identity = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    with library.init(project="harbench", name=name, id=identity, dir=str(folder), resume="allow") as run:
        yield lambda values, epoch: run.log(dict(values), step=epoch)


@contextmanager
def _mlflow(library: Any, folder: Path, name: str) -> Iterator[Tell]:
    """MLflow names its runs itself: the name is kept in mlflow.txt, under which a continued training goes on."""
    known = folder / "mlflow.txt"
    run_id = known.read_text(encoding="utf-8") if known.exists() else None
    library.set_experiment("harbench")
    with library.start_run(run_id=run_id, run_name=name) as run:
        write_text(known, run.info.run_id)
        yield lambda values, epoch: library.log_metrics(dict(values), step=epoch)


def _library(tracker: str) -> Any:
    try:
        return importlib.import_module(tracker)
    except ImportError:
        raise RunError(
            f"train.trackers: {tracker} is not installed; `pip install {tracker}`, or --set 'train.trackers=[]'"
        ) from None


def draw_curves(folder: Path, stats: Sequence[EpochStats]) -> None:
    """`folder`/curves.png: loss, top-1 and rate by epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.5), layout="constrained")
    epochs = [line.epoch for line in stats]
    for axes, what, label in zip(
        figure.subplots(1, 3), ("loss", "top1", "lr"), ("loss", "top-1 %", "rate"), strict=True
    ):
        for curve in ("lr",) if what == "lr" else (f"train_{what}", f"val_{what}"):
            values = [getattr(line, curve) for line in stats]
            shown = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if value is not None]
            if shown:
                axes.plot(*zip(*shown, strict=True), label=curve.removesuffix(f"_{what}"), marker=".", markersize=3)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        if stats:
            axes.legend()
    with replacing(folder / "curves.png", "wb") as handle:
        figure.savefig(handle, format="png", dpi=100)
