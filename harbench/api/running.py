"""`run`: one recipe x split x seed at a time, from cached frames to a run record."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harbench import __version__
from harbench.api.catalog import read_recipe
from harbench.api.facts import make_record, model_metadata, view_gflops
from harbench.api.inputs import Inputs, obstacles, open_inputs
from harbench.errors import RunError
from harbench.files import locked, replacing, write_text
from harbench.records import EpochStats, RunRecord, RunReport, Track, silent

if TYPE_CHECKING:
    import torch
    from torch import nn

    from harbench.recipe import Recipe, TrainConfig

log = logging.getLogger(__name__)


def run(
    recipes: Sequence[str],
    *,
    home: Path,
    runs: Path,
    split: str = "",
    seeds: int = 1,
    overrides: tuple[str, ...] = (),
    tag: str = "",
    device: str = "auto",
    dry_run: bool = False,
    force: bool = False,
    ok_missing: int = 0,
    track: Track = silent,
) -> list[RunReport]:
    """Train and evaluate every recipe on every split with every seed.

    All recipes are validated before the first is started. A finished run is left alone unless `force`; an unfinished
    one goes on where it was, to the bit.

    Raises:
        RecipeError: with every problem of a recipe at once.
        CacheError, WeightsError: what is missing, and the command that mends it.
        RunError: the folder belongs to another recipe, or is in use.
    """
    from harbench.api.planning import plan
    from harbench.datasets.tables import expand_splits, load_spec

    loaded = [read_recipe(name, overrides, home=home) for name in recipes]
    reports = []
    for recipe in loaded:
        spec = load_spec(recipe.data.dataset, home)
        for each in expand_splits(spec, split or recipe.data.split or spec.splits[0], home):
            chosen = recipe.model_copy(update={"data": recipe.data.model_copy(update={"split": each})})
            for seed in range(seeds):
                folder = runs / run_folder(chosen, overrides, tag, seed)
                if dry_run:
                    reports.append(plan(chosen, folder, seed, home=home))
                else:
                    reports.append(_one_run(chosen, folder, seed, home, runs, device, force, ok_missing, track))
    return reports


def run_folder(recipe: Recipe, overrides: Sequence[str], tag: str, seed: int) -> Path:
    """`<dataset>/<recipe>[+<tag or 8 hex of the overrides>]/<split>/seed<s>`."""
    mark = tag or (hashlib.sha256("\n".join(sorted(overrides)).encode()).hexdigest()[:8] if overrides else "")
    return Path(recipe.data.dataset, recipe.name + (f"+{mark}" if mark else ""), recipe.data.split, f"seed{seed}")


def _one_run(
    recipe: Recipe,
    folder: Path,
    seed: int,
    home: Path,
    runs: Path,
    device: str,
    force: bool,
    ok_missing: int,
    track: Track,
) -> RunReport:
    from harbench.recipe import dump_recipe
    from harbench.reporting.runs import load_run

    with locked(folder / ".lock", RunError(f"{folder} is in use by another harbench run; wait for it or stop it")):
        _same_recipe(recipe, folder, force)
        if (folder / "run.json").exists():
            log.info("%s is finished; --force repeats it", folder)
            return _summary(load_run(folder), str(folder), "already finished", 0)
        in_the_way = obstacles(recipe, home=home, ok_missing=ok_missing)
        if in_the_way:
            raise RunError("\n\n".join(in_the_way))
        inputs = open_inputs(recipe, seed, home=home, ok_missing=ok_missing)
        write_text(folder / "recipe.yaml", dump_recipe(recipe))
        with _log_file(folder / "log.txt"):
            log.info("%s", folder)
            return _train_and_evaluate(inputs, folder, seed, runs, device, track)


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """What the core logs also goes to the run's log.txt, with times; a continued run appends."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logging.getLogger("harbench").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("harbench").removeHandler(handler)
        handler.close()


def _same_recipe(recipe: Recipe, folder: Path, force: bool) -> None:
    """A folder whose recipe differs is never resumed; `force` empties it first."""
    import yaml
    from pydantic import ValidationError

    from harbench.recipe import Recipe, differing_keys

    if force and folder.exists():
        for entry in folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != ".lock":
                entry.unlink()
    if not (folder / "recipe.yaml").exists():
        return
    old = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    with suppress(ValidationError):  # an older harbench wrote fewer keys: their defaults are what they meant
        old = Recipe.model_validate(old).model_dump(mode="json")
    changed = differing_keys(old, recipe.model_dump(mode="json"))
    if changed:
        raise RunError(
            f"{folder} was made by a different recipe:\n  "
            + "\n  ".join(changed)
            + "\nGive this variant a --tag of its "
            "own, or repeat it from the beginning with --force."
        )


def _train_and_evaluate(inputs: Inputs, folder: Path, seed: int, runs: Path, device: str, track: Track) -> RunReport:
    from harbench.evaluation.metrics import score
    from harbench.evaluation.predict import predict
    from harbench.frames.clips import normalize
    from harbench.reporting.runs import save_run
    from harbench.training.checkpoint import INEXACT, save_model

    recipe = inputs.recipe
    where = choose_device(device)
    batch_normalize = partial(normalize, config=recipe.input)
    write_text(folder / "environment.json", json.dumps(environment(where), indent=2))
    _write_train_ids(folder / "train_ids.txt.gz", inputs)
    model, stats = _train(inputs, folder, seed, where, track)
    save_model(folder / "model.safetensors", model, model_metadata(inputs))
    started = time.monotonic()
    predictions = predict(
        model,
        inputs.test,
        recipe.eval,
        device=where,
        normalize=batch_normalize,
        workers=recipe.train.workers,
        track=track,
    )
    metrics = score(predictions, inputs.table.classes, average=recipe.eval.average)
    seconds = {"train": sum(each.seconds for each in stats), "evaluate": time.monotonic() - started}
    name, exact = folder.relative_to(runs).as_posix(), not (folder / INEXACT).exists()
    record = make_record(inputs, model, predictions, metrics, name, seed, seconds, exact)
    save_run(folder, record, predictions, inputs.table.classes, metrics)
    return _summary(record, str(folder), "finished", len(predictions.failed))


def choose_device(name: str) -> torch.device:
    """`auto` is the first GPU where there is one, else the CPU."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise RunError(f"there is no device {name!r}; try auto, cpu, cuda or cuda:0") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RunError(f"--device {name}: torch finds no CUDA GPU here; try --device cpu")
    return device


def environment(device: torch.device) -> dict[str, Any]:
    """What a bit-exact repetition needs to be equal: device, versions, threads."""
    import platform

    import av
    import cv2
    import numpy
    import torch
    import torchvision

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "numpy": numpy.__version__}
    versions |= {
        "cv2": cv2.__version__,
        "av": av.__version__,
        "python": platform.python_version(),
        "harbench": __version__,
    }
    return {"device": str(device), "device_name": name, "threads": torch.get_num_threads(), "versions": versions}


def _train(
    inputs: Inputs, folder: Path, seed: int, device: torch.device, track: Track
) -> tuple[nn.Module, list[EpochStats]]:
    """The trained model. With `refit`, the number of epochs is chosen on val first, then all of train is used."""
    import torch

    from harbench.frames.clips import normalize
    from harbench.models.build import build_model
    from harbench.training.fit import chosen_epochs, fit
    from harbench.training.job import TrainData
    from harbench.training.watching import draw_curves, watching

    recipe, config = inputs.recipe, inputs.recipe.train
    classes = [label.key for label in inputs.table.classes]

    def fresh() -> nn.Module:
        torch.manual_seed(seed)
        return build_model(recipe.model, len(classes), classes=classes)

    view_gflops(fresh(), recipe, inputs.spec)  # before hours of decoding: does the input fit the model?
    data = TrainData(inputs.train, inputs.val, partial(normalize, config=recipe.input))

    def trained(model: nn.Module, data: TrainData, config: TrainConfig, where: Path) -> list[EpochStats]:
        with watching(where, f"{recipe.name} {recipe.data.split} seed {seed}", config.trackers) as on_epoch:
            stats = fit(model, data, config, device=device, seed=seed, run_dir=where, on_epoch=on_epoch, track=track)
        draw_curves(where, stats)
        return stats

    if inputs.all_train is not None:
        chosen = chosen_epochs(trained(fresh(), data, config, folder / "choose"))
        log.info("val chose %d of %d epochs; training on train and val together", chosen, config.epochs)
        data = TrainData(inputs.all_train, None, data.normalize)
        config = config.model_copy(
            update={"epochs": chosen, "selection": "last", "refit": False, "early_stopping": None}
        )
    model = fresh()
    return model, trained(model, data, config, folder)


def _write_train_ids(path: Path, inputs: Inputs) -> None:
    """The samples that the weights have seen, here or before, so that scoring them later can be refused.

    One `<dataset>/<sample id>` a line, sorted.
    """
    from harbench.models.weights import inherited_ids

    seen = {*inputs.trained_on, *inherited_ids(inputs.recipe.model)}
    with replacing(path, "wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
        packed.writelines(f"{name}\n".encode() for name in sorted(seen))


def _summary(record: RunRecord, folder: str, state: str, failed: int) -> RunReport:
    headline = record.key.metric
    return RunReport(
        folder=folder,
        recipe=record.recipe,
        dataset=record.dataset,
        split=record.split,
        seed=record.seed,
        state=state,
        metrics=dict(record.metrics),
        headline=headline,
        interval=record.intervals.get(headline),
        failed=failed,
        partial=record.partial,
        plan={},
        seconds=dict(record.seconds),
    )


def run_text(report: RunReport) -> str:
    """The report in lines for people."""
    if report.plan:
        return "\n".join(f"{key:12} {value}" for key, value in report.plan.items())
    shown = [f"{name} {value:.2f}" for name, value in report.metrics.items() if value is not None]
    interval = f"  (95 %: {report.interval[0]:.2f} to {report.interval[1]:.2f})" if report.interval else ""
    lines = [f"{report.folder}: {report.state}", f"  {'  '.join(shown)}{interval}"]
    lines += [f"  {name} took {seconds:.0f} s" for name, seconds in report.seconds.items()]
    if report.failed:
        lines.append(f"  {report.failed} test samples have no score and count as wrong")
    if report.partial:
        lines.append(f"  partial, never ranked: {report.partial}")
    return "\n".join(lines)
