"""`run`: one recipe x split x seed at a time, from cached frames to a run record."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harbench.errors import RunError
from harbench.evaluation.distributed import choose_device, environment, is_rank_zero, process_group
from harbench.files import write_text
from harbench.records import EpochStats, RunRecord, RunReport, Track, silent
from harbench.runs.folder import keep_model_file, locked_run, log_file
from harbench.runs.inputs import CACHES, Inputs, caches_of, from_runs, obstacles, open_inputs, with_seen
from harbench.runs.joint import join_splits
from harbench.runs.plan import Planned, RunOptions, Wanted, plan, warn_of_settings
from harbench.runs.record import Evaluated, make_record, model_metadata, view_gflops
from harbench.runs.seen import write_train_ids

if TYPE_CHECKING:
    import torch
    from torch import nn

    from harbench.recipe import Recipe

log = logging.getLogger(__name__)


def run(
    recipes: str | Sequence[str],
    *,
    home: Path,
    runs: Path,
    split: str = "",
    seeds: int = 1,
    seed: int | None = None,
    overrides: tuple[str, ...] = (),
    tag: str = "",
    device: str = "auto",
    dry_run: bool = False,
    force: bool = False,
    ok_missing: int = 0,
    prepare: bool = False,
    allow_seen: bool = False,
    track: Track = silent,
) -> list[RunReport]:
    """Train and evaluate a recipe, or several, on every split with every seed, or with one `seed` alone.

    All recipes are validated before the first is started. A finished run is left alone unless `force`; an unfinished
    one goes on where it was, to the bit. Under `torchrun` every process calls this, and all return the same. With
    `prepare`, the media and caches that the recipes read are made first, as `prepare_inputs` does. Weights that have seen
    test samples are refused unless `allow_seen`.

    Raises:
        RecipeError: with every problem of a recipe at once.
        CacheError, WeightsError: what is missing, and the command that mends it.
        RunError: the folder belongs to another recipe, or is in use.
    """
    recipes = [recipes] if isinstance(recipes, str) else recipes
    wanted = Wanted(recipes, split, range(seeds) if seed is None else (seed,), overrides, tag)
    if prepare and not dry_run:
        prepare_inputs(recipes, home=home, split=split, overrides=overrides, ok_missing=ok_missing, track=track)
    with process_group(device):
        options = RunOptions(home, runs, device, force, ok_missing, allow_seen, track if is_rank_zero() else silent)
        planned = wanted.planned(home, runs)
        if dry_run:
            return [plan(each.recipe, each.folder, each.seed, options) for each in planned]
        done = []
        for each in planned:
            if len(planned) > 1 and not force and (damage := damaged(each)):
                done.append(damage)
                continue
            done.append(_one_run(each, options))
            if is_rank_zero():
                join_splits(each.folder, home=home)
        return done


def prepare_inputs(
    recipes: Sequence[str],
    *,
    home: Path,
    split: str = "",
    overrides: tuple[str, ...] = (),
    ok_missing: int = 0,
    track: Track = silent,
) -> None:
    """Fetch the media and build the frame caches that these recipes read, where they are not there yet.

    One process prepares a data set at a time; the others wait for it, and find the caches. With `ok_missing` media that
    cannot be had stop nothing. Raises what `prepare` raises.
    """
    from harbench.files import locked
    from harbench.prepare.pipeline import prepare
    from harbench.prepare.plan import missing_media
    from harbench.recipe import Fusion

    for planned in Wanted(recipes, split, overrides=overrides).planned(home, home):
        recipe = planned.recipe
        if isinstance(recipe, Fusion):
            continue
        with locked(home / recipe.data.dataset / ".prepare.lock"):
            missing = missing_media(recipe, home)
            if missing is None or len(missing) > ok_missing:
                prepare(recipe.data.dataset, home=home, recipe=recipe, allow_missing=ok_missing > 0, track=track)


def _one_run(planned: Planned, options: RunOptions) -> RunReport:
    from harbench.recipe import Fusion
    from harbench.runs.folder import load_run
    from harbench.runs.fuse import check_current, fuse_runs

    recipe, folder, seed, runs = planned.recipe, planned.folder, planned.seed, options.runs
    with locked_run(recipe, folder, options.force) as finished:
        if finished:
            log.info("%s is finished; --force repeats it", folder)
            record = load_run(folder)
            check_current(record, runs)
            return summary(record, str(folder), "already finished")
        if isinstance(recipe, Fusion):
            record = fuse_runs(recipe, folder, seed, home=options.home, runs=runs)
            return summary(record, str(folder), "finished")
        where = choose_device(options.device)
        with opened(recipe, folder, seed, where, options) as inputs:
            return _train_and_evaluate(inputs, folder, seed, where, options)


def _train_and_evaluate(
    inputs: Inputs, folder: Path, seed: int, device: torch.device, options: RunOptions
) -> RunReport:
    import numpy as np

    from harbench.evaluation.metrics import among_own_half, score
    from harbench.evaluation.predict import predict
    from harbench.frames.streams import normalize
    from harbench.runs.folder import save_run
    from harbench.runs.probe import fit_probe
    from harbench.training.checkpoint import INEXACT, save_model

    recipe, scored = inputs.recipe, None
    if is_rank_zero():
        warn_of_settings(recipe)
    if recipe.model.probe:
        model = fresh_model(inputs, seed)
        stats, scored = fit_probe(model, inputs, options.home, device, seed, options.track)
    else:
        model, stats = train(inputs, folder, seed, device, options.track)
    if is_rank_zero():
        save_model(folder / "model.safetensors", model, model_metadata(inputs))
    started = time.monotonic()
    predictions = scored or predict(
        model,
        inputs.test,
        device=device,
        normalize=partial(normalize, config=recipe.input),
        workers=recipe.train.workers,
        track=options.track,
    )
    if inputs.novel:
        predictions = among_own_half(predictions, np.array(inputs.novel))
    metrics = score(predictions, inputs.table.classes, average=recipe.eval.average)
    seconds = {"train": sum(each.seconds for each in stats), "evaluate": time.monotonic() - started}
    evaluated = Evaluated(predictions, metrics, seconds, exact=not (folder / INEXACT).exists())
    record = make_record(inputs, model, evaluated, folder.relative_to(options.runs).as_posix(), seed)
    if is_rank_zero():
        save_run(folder, record, predictions, inputs.table.classes, metrics)
    return summary(record, str(folder), "finished")


@contextmanager
def opened(recipe: Recipe, folder: Path, seed: int, device: torch.device, options: RunOptions) -> Iterator[Inputs]:
    """What the recipe reads, with everything beside the weights written into `folder`; log lines go to its log.txt.

    Raises RunError with all that is in the way at once.
    """
    from harbench.recipe import dump_recipe

    written, recipe = recipe, from_runs(recipe, options.runs)
    read: dict[str, Any] = {"home": options.home, "ok_missing": options.ok_missing, "caches": caches_of(folder)}
    in_the_way = obstacles(recipe, allow_seen=options.allow_seen, **read)
    if in_the_way:
        raise RunError("\n\n".join(in_the_way))
    inputs = with_seen(open_inputs(recipe, seed, **read), allow_seen=options.allow_seen)
    if not is_rank_zero():
        yield inputs
        return
    write_text(folder / "recipe.yaml", dump_recipe(written))
    write_text(folder / CACHES, "\n".join(inputs.caches) + "\n")
    keep_model_file(recipe, folder)
    write_text(folder / "environment.json", json.dumps(environment(device), indent=2))
    write_train_ids(folder, inputs.seen)
    with log_file(folder / "log.txt"):
        log.info("%s", folder)
        if inputs.seen_in_test or inputs.seen.unknown:
            log.warning("%s: this run will be shown and never ranked", inputs.partial)
        yield inputs


def fresh_model(inputs: Inputs, seed: int) -> nn.Module:
    """The recipe's model before training, once it is known that it can take the recipe's input. Raises RecipeError."""
    import torch

    from harbench.models.build import build_model
    from harbench.models.prompts import write_prompts

    classes = [label.key for label in inputs.table.classes]
    torch.manual_seed(seed)
    model = build_model(inputs.recipe.model, len(classes), classes=classes)
    if inputs.recipe.model.prompts:
        write_prompts(model, inputs.recipe.model, inputs.words)
    view_gflops(
        model, inputs.recipe, inputs.spec, len(classes)
    )  # before hours of decoding: does the input fit the model?
    return model


def train(
    inputs: Inputs, folder: Path, seed: int, device: torch.device, track: Track
) -> tuple[nn.Module, list[EpochStats]]:
    """The trained model. With `refit`, the number of epochs is chosen on val first, then all of train is used."""
    from harbench.frames.streams import normalize
    from harbench.training.fit import chosen_epochs, fit
    from harbench.training.setup import TrainData

    recipe, config = inputs.recipe, inputs.recipe.train
    model = fresh_model(inputs, seed)
    data = TrainData(inputs.train, inputs.val, partial(normalize, config=recipe.input), track)
    if inputs.all_train is not None:
        chosen = chosen_epochs(fit(model, data, config, device=device, seed=seed, run_dir=folder / "choose"))
        model = fresh_model(inputs, seed)
        log.info("val chose %d of %d epochs; training on train and val together", chosen, config.epochs)
        data = replace(data, train=inputs.all_train, val=None)
        config = config.model_copy(
            update={"stop_epoch": chosen, "selection": "last", "refit": False, "early_stopping": None}
        )
    return model, fit(model, data, config, device=device, seed=seed, run_dir=folder)


def damaged(each: Planned) -> RunReport | None:
    """What is said of a finished run among others whose record cannot be read; None where there is nothing to say."""
    from harbench.runs.folder import RECORD, load_run

    try:
        if (each.folder / RECORD).exists():
            load_run(each.folder)
    except RunError as error:
        return without_number(each, "damaged", str(error))
    return None


def without_number(each: Planned, state: str, error: str = "") -> RunReport:
    """What is said of a run that has no number (yet)."""
    return RunReport(
        folder=str(each.folder),
        recipe=each.recipe.name,
        dataset=each.recipe.data.dataset,
        split=each.recipe.data.split,
        seed=each.seed,
        state=state,
        error=error,
    )


def summary(record: RunRecord, folder: str, state: str) -> RunReport:
    """What is said of a finished run."""
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
        failed=record.samples["test"] - record.samples["scored"],
        partial=record.partial,
        plan={},
        seconds=dict(record.seconds),
        notes=record.notes,
    )
