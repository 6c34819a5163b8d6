"""What `run` will do: recipes x splits x seeds, and for `--dry-run` what each costs here and what is in the way."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harbench import paths
from harbench.errors import HarbenchWarning, WeightsError
from harbench.records import RunReport, Track, silent
from harbench.runs.catalog import read_any
from harbench.runs.folder import run_folder
from harbench.runs.inputs import from_runs, load_table, obstacles, spec_of
from harbench.runs.record import input_shapes, view_gflops

if TYPE_CHECKING:
    from torch import nn

    from harbench.recipe import Fusion, Recipe
    from harbench.records import SplitTable


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


@dataclass(frozen=True)
class Planned:
    """One run, before anything of it is there."""

    name: str
    """The recipe as the user named it."""
    recipe: Recipe | Fusion
    """On its split."""
    folder: Path
    seed: int


@dataclass(frozen=True)
class Wanted:
    """Recipes x splits x seeds, as they were asked for."""

    recipes: Sequence[str]
    split: str = ""
    seeds: Sequence[int] = (0,)
    overrides: tuple[str, ...] = ()
    tag: str = ""

    def planned(self, home: Path, runs: Path) -> list[Planned]:
        """The single runs, in this order. Raises RecipeError before the first where any recipe is wrong."""
        from harbench.datasets.tables import expand_splits, load_spec

        planned = []
        for name, recipe in [(name, read_any(name, self.overrides, home=home)) for name in self.recipes]:
            spec = load_spec(recipe.data.dataset, home)
            for each in expand_splits(spec, self.split or recipe.data.split or spec.splits[0], home):
                chosen = recipe.model_copy(update={"data": recipe.data.model_copy(update={"split": each})})
                for seed in self.seeds:
                    folder = runs / run_folder(chosen, self.overrides, self.tag, seed)
                    planned.append(Planned(name, chosen, folder, seed))
        return planned


def warn_of_settings(recipe: Recipe) -> None:
    """Warn of what a recipe asks for that it can hardly mean."""
    from harbench.models.build import check_normalization

    check_normalization(recipe)
    for setting in recipe.idle:
        warnings.warn(f"without effect: {setting}", HarbenchWarning, stacklevel=2)


def plan(recipe: Recipe | Fusion, folder: Path, seed: int, options: RunOptions) -> RunReport:
    """Resolve, count and estimate; nothing is trained or written. Needs neither media nor weights."""
    from harbench.recipe import Fusion
    from harbench.runs.fuse import fusion_plan

    if isinstance(recipe, Fusion):
        return fusion_plan(recipe, folder, seed, runs=options.runs)
    return _training_plan(from_runs(recipe, options.runs), folder, seed, options.home, options.allow_seen)


def _training_plan(recipe: Recipe, folder: Path, seed: int, home: Path, allow_seen: bool) -> RunReport:
    from harbench.models.build import build_model
    from harbench.models.profile import count_parameters
    from harbench.recipe import dump_recipe

    table = load_table(recipe, home)
    model = build_model(recipe.model.untrained(), len(table.classes))
    warn_of_settings(recipe)
    spec = spec_of(recipe, home)
    shapes, gflops = input_shapes(recipe, spec), view_gflops(model, recipe, spec, len(table.classes))
    forward, activations = _one_step(model, shapes)
    samples = len(table.subset("train"))  # a backward pass takes two forward passes; a probe has none
    passes = 3 * recipe.train.last_epoch * recipe.train.clips_per_epoch * samples
    passes = recipe.eval.views * samples if recipe.model.probe else passes
    validated = recipe.train.last_epoch // recipe.train.val_every * len(table.subset("val"))
    views = len(table.subset("test")) * recipe.eval.views
    micro = min(recipe.train.micro_batch or recipe.train.batch_size, max(1, samples))
    parameters = count_parameters(model)
    in_the_way = obstacles(recipe, home=home, allow_seen=allow_seen) or _misfit(recipe, table)
    cache = paths.cache_folder(home, table.dataset, recipe.data.cache.name)
    details = {
        "recipe": dump_recipe(recipe),
        "run folder": str(folder),
        "samples": {name: len(table.subset(name)) for name in ("train", "val", "test")},
        "input": " and ".join("x".join(map(str, shape)) for shape in shapes),
        "parameters": f"{parameters / 1e6:.2f} M",
        "GFLOPs": f"{gflops:.2f} a view (multiply-adds), {recipe.eval.views} views a sample",
        "cache": f"about {_cache_bytes(recipe, table) / 1e9:.1f} GB in {cache}",
        "run disk": f"about {parameters * 4 * 4 / 1e6:.0f} MB (weights, optimizer, the previous state while saving)",
        "memory": f"about {(parameters * 16 + activations * micro) / 1e9:.1f} GB for a micro-batch of {micro}",
        "time": f"about {_hours((passes + validated) * forward)} of training and {_hours(views * forward)} of evaluation at "
        f"{forward * 1e3:.0f} ms a forward pass of one view, measured here on the CPU",
        "in the way": "nothing: harbench run starts" if not in_the_way else "\n\n".join(in_the_way),
    }
    return RunReport(
        folder=str(folder),
        recipe=recipe.name,
        dataset=table.dataset,
        split=table.split,
        seed=seed,
        state="dry run",
        plan=details,
    )


def _one_step(model: nn.Module, shapes: tuple[tuple[int, ...], ...]) -> tuple[float, int]:
    """Seconds of one forward pass of one view, and bytes that its backward pass keeps."""
    import torch

    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    view = [torch.zeros((2, *shape)) for shape in shapes]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.train()(*view)
    model.eval()
    with torch.inference_mode():
        started = time.perf_counter()
        model(*view)
        seconds = time.perf_counter() - started
    weights = sum(parameter.untyped_storage().nbytes() for parameter in model.parameters())
    return seconds / 2, max(0, sum(kept.values()) - weights) // 2


def _misfit(recipe: Recipe, table: SplitTable) -> list[str]:
    """Why weights from a file or a run do not fit the model; those of a hub are not fetched for that."""
    from harbench.models.build import build_model
    from harbench.models.hubs import is_published

    if recipe.model.init_from is None and (recipe.model.weights is None or is_published(recipe.model.weights)):
        return []
    classes = [label.key for label in table.classes]
    try:
        build_model(recipe.model, len(classes), classes=classes)
    except WeightsError as error:
        return [str(error)]
    return []


def _cache_bytes(recipe: Recipe, table: SplitTable) -> int:
    from harbench.frames.cache import estimate_cache_bytes

    return estimate_cache_bytes(len(table.media()), recipe.data.cache, unit=table.unit)


def _hours(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
