"""From a recipe to trained weights: what `run` and `grid` have in common."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harbench.errors import HarbenchWarning, RunError
from harbench.evaluation.processes import environment, is_rank_zero
from harbench.files import write_text
from harbench.records import EpochStats, Track, silent
from harbench.runs.folder import keep_model_file, log_file
from harbench.runs.inputs import CACHES, Inputs, caches_of, from_runs, obstacles, open_inputs, with_seen
from harbench.runs.record import view_gflops
from harbench.runs.seen import write_train_ids

if TYPE_CHECKING:
    import torch
    from torch import nn

    from harbench.recipe import Recipe

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunOptions:
    """Where runs read and write, and how they are made, whatever the recipe."""

    home: Path
    runs: Path
    device: str = "auto"
    force: bool = False
    ok_missing: int = 0
    allow_seen: bool = False
    track: Track = silent


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


def warn_of_settings(recipe: Recipe) -> None:
    """Warn of what a recipe asks for that it can hardly mean."""
    from harbench.models.build import check_normalization

    check_normalization(recipe)
    for setting in recipe.idle:
        warnings.warn(f"without effect: {setting}", HarbenchWarning, stacklevel=2)


def train(
    inputs: Inputs, folder: Path, seed: int, device: torch.device, track: Track
) -> tuple[nn.Module, list[EpochStats]]:
    """The trained model. With `refit`, the number of epochs is chosen on val first, then all of train is used."""
    import torch

    from harbench.frames.streams import normalize
    from harbench.models.build import build_model
    from harbench.training.fit import chosen_epochs, fit
    from harbench.training.setup import TrainData

    recipe, config = inputs.recipe, inputs.recipe.train
    classes = [label.key for label in inputs.table.classes]

    def fresh() -> nn.Module:
        torch.manual_seed(seed)
        return build_model(recipe.model, len(classes), classes=classes)

    if is_rank_zero():
        warn_of_settings(recipe)
    view_gflops(fresh(), recipe, inputs.spec, len(classes))  # before hours of decoding: does the input fit the model?
    data = TrainData(inputs.train, inputs.val, partial(normalize, config=recipe.input), track)
    if inputs.all_train is not None:
        chosen = chosen_epochs(fit(fresh(), data, config, device=device, seed=seed, run_dir=folder / "choose"))
        log.info("val chose %d of %d epochs; training on train and val together", chosen, config.epochs)
        data = replace(data, train=inputs.all_train, val=None)
        config = config.model_copy(
            update={"stop_epoch": chosen, "selection": "last", "refit": False, "early_stopping": None}
        )
    model = fresh()
    return model, fit(model, data, config, device=device, seed=seed, run_dir=folder)
