"""`run --grid`: settings chosen on samples held out of train. The test subset is never scored."""

from __future__ import annotations

import csv
import hashlib
import itertools
import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harbench.errors import RecipeError, RunError
from harbench.evaluation.distributed import choose_device, is_rank_zero, process_group
from harbench.files import csv_cell, replacing
from harbench.records import EpochStats, Track, silent
from harbench.runs.catalog import read_recipe
from harbench.runs.execute import opened, train
from harbench.runs.folder import checked_tag, locked_run
from harbench.runs.plan import RunOptions, Wanted

if TYPE_CHECKING:
    from harbench.recipe import Recipe

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trial:
    """One combination of the grid, trained."""

    settings: Mapping[str, str]
    val_top1: float
    """Percent, one center clip a sample, of the epoch whose weights the recipe's selection would keep."""
    val_loss: float | None
    epoch: int
    seconds: float
    folder: str


@dataclass(frozen=True)
class GridResult:
    """Every combination, the best first."""

    trials: tuple[Trial, ...]
    table: str
    """Path of grid-<hash>.csv, in the folder of the split."""
    command: str
    """Trains and evaluates the best combination, on all of train unless the recipe itself needs val."""


def grid(
    recipe: str,
    axes: Sequence[str],
    *,
    home: Path,
    runs: Path,
    split: str = "",
    overrides: tuple[str, ...] = (),
    tag: str = "grid",
    device: str = "auto",
    force: bool = False,
    ok_missing: int = 0,
    track: Track = silent,
) -> GridResult:
    """Train the recipe with every combination of the values of `axes` and rank them by top-1 on val.

    An axis is `section.key=value,value`. Each combination has a folder `<runs>/<dataset>/<recipe>+<tag>/<split>/<hash>`,
    goes on where it was interrupted, and leaves no run record. All recipes are validated before the first is trained.

    Raises:
        RecipeError: a recipe with all its problems, or one without `data.validation`, or a damaged axis.
        RunError: more than one split, or a folder in use.
    """
    with process_group(device):
        options = RunOptions(
            home, runs, device, force, ok_missing, allow_seen=True, track=track if is_rank_zero() else silent
        )
        return _grid(axes, Wanted([recipe], split, overrides=overrides, tag=tag), options)


def _grid(axes: Sequence[str], wanted: Wanted, options: RunOptions) -> GridResult:
    (recipe,), split, overrides, home = wanted.recipes, wanted.split, wanted.overrides, options.home
    combinations = [
        dict(zip((key for key, _ in parsed), values, strict=True))
        for parsed in [[_axis(text) for text in axes]]
        for values in itertools.product(*(values for _, values in parsed))
    ]
    recipes = [_without_refit(read_recipe(recipe, (*overrides, *_sets(each)), home=home)) for each in combinations]
    chosen = [_on_split(each, _only_split(each, split, home)) for each in recipes]
    _check(recipe, chosen)
    top = options.runs / chosen[0].data.dataset / f"{chosen[0].name}+{checked_tag(wanted.tag)}"
    trials = []
    for settings, each in zip(combinations, chosen, strict=True):
        words = "\n".join(sorted((*overrides, *_sets(settings))))
        folder = top / each.data.split / hashlib.sha256(words.encode()).hexdigest()[:8]
        log.info("grid: %s", ", ".join(_sets(settings)))
        where = choose_device(options.device)
        with locked_run(each, folder, options.force), opened(each, folder, 0, where, options) as inputs:
            _, stats = train(inputs, folder, 0, where, options.track)
        trials.append(_trial(settings, stats, each.train.selection, folder))
    ranked = tuple(sorted(trials, key=lambda trial: (-trial.val_top1, trial.val_loss or 0.0)))
    searched = hashlib.sha256("\n".join(sorted(trial.folder for trial in trials)).encode()).hexdigest()[:8]
    table = top / chosen[0].data.split / f"grid-{searched}.csv"  # of these combinations: another grid has its own
    if is_rank_zero():
        _write(table, ranked)
    command = _command(wanted, ranked[0].settings, options)
    return GridResult(ranked, str(table), command)


def _axis(text: str) -> tuple[str, list[str]]:
    """`train.freeze=[a,b],[]` -> the key and its values; commas within brackets belong to a value."""
    key, _, listed = text.partition("=")
    values, depth = [""], 0
    for character in listed:
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            values.append("")
        else:
            values[-1] += character
    if not key or not all(values):
        raise RecipeError(f"--grid {text!r}: expected section.key=value,value, e.g. train.optimizer.lr=1e-3,3e-3")
    return key, values


def _sets(settings: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{key}={value}" for key, value in settings.items())


def _without_refit(recipe: Recipe) -> Recipe:
    """Only the choice on val counts here."""
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"refit": False})})


def _on_split(recipe: Recipe, split: str) -> Recipe:
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"split": split})})


def _only_split(recipe: Recipe, split: str, home: Path) -> str:
    from harbench.datasets.tables import expand_splits, load_spec

    spec = load_spec(recipe.data.dataset, home)
    found = expand_splits(spec, split or recipe.data.split or spec.splits[0], home)
    if len(found) > 1:
        raise RunError(f"--grid searches on one split, not on {len(found)}; say --split {found[0]}")
    return found[0]


def _check(name: str, recipes: Sequence[Recipe]) -> None:
    """Something is held out, the test subset chooses nothing, and there is something to rank."""
    for recipe in recipes:
        if recipe.data.validation is None:
            raise RecipeError(
                f"--grid ranks on samples held out of train, and {name} holds out none: add --set data.validation=0.2"
            )
        if recipe.train.selection == "test":
            raise RecipeError(f"--grid never looks at test, and {name} selects on it: add --set train.selection=last")
        if not recipe.train.epochs:
            raise RecipeError(f"--grid compares trainings, and {name} has none: add --set train.epochs=10")


def _trial(settings: Mapping[str, str], stats: Sequence[EpochStats], selection: str, folder: Path) -> Trial:
    from harbench.training.fit import chosen_epochs

    line = stats[chosen_epochs(list(stats)) - 1 if selection == "val" else -1]
    seconds = sum(each.seconds for each in stats)
    return Trial(settings, line.val_top1 or 0.0, line.val_loss, line.epoch, seconds, str(folder))


def _write(path: Path, trials: Sequence[Trial]) -> None:
    with replacing(path) as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow([*trials[0].settings, "val_top1", "val_loss", "epoch", "seconds", "folder"])
        for trial in trials:
            loss = "" if trial.val_loss is None else f"{trial.val_loss:.4f}"
            numbers = (f"{trial.val_top1:.2f}", loss, trial.epoch, f"{trial.seconds:.1f}")
            writer.writerow(map(csv_cell, [*trial.settings.values(), *numbers, trial.folder]))


def _command(wanted: Wanted, settings: Mapping[str, str], options: RunOptions) -> str:
    """The winner's run: on all of train, as val has done its work, unless selection or schedule need val."""
    (recipe,), overrides, home = wanted.recipes, wanted.overrides, options.home
    train = read_recipe(recipe, (*overrides, *_sets(settings)), home=home).train
    sets = [*overrides, *_sets(settings)]
    if train.selection == "last" and train.early_stopping is None and not train.schedule.needs_val:
        sets = [each for each in sets if not each.startswith("data.validation=")]
        if read_recipe(recipe, tuple(sets), home=home).data.validation is not None:
            sets.append("data.validation=null")
    words = ["harbench", "--home", str(home), "--runs", str(options.runs), "run", recipe]
    words += ["--split", wanted.split] if wanted.split else []
    return shlex.join([*words, *(word for each in sets for word in ("--set", each))])
