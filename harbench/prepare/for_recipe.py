"""What a recipe needs of frame caches, and which shipped recipe reads what has been prepared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harbench.errors import CacheError, RecipeError
from harbench.records import DatasetSpec

if TYPE_CHECKING:
    from harbench.recipe import CacheConfig, Recipe


def recipe_of(dataset: str, recipe: str | Recipe) -> Recipe:
    """The recipe that `prepare --for` names. Raises RecipeError for one of another data set, or one that reads no media."""
    from harbench.recipe import Fusion, Recipe, load_any
    from harbench.recipe.shipped import find_recipe

    found = recipe if isinstance(recipe, Recipe) else load_any(find_recipe(recipe))
    if isinstance(found, Fusion):
        parts = ", ".join(each.recipe for each in found.fuse)
        raise RecipeError(
            f"--for {recipe}: it fuses runs and reads no media. Prepare for the recipes of its runs: {parts}"
        )
    if found.data.dataset != dataset:
        other = found.data.dataset
        raise RecipeError(
            f"--for {recipe}: expected a recipe of {dataset}, found one of {other}.\n"
            f"Next:  harbench prepare {other} --for {recipe}"
        )
    return found


def needed_caches(recipe: Recipe) -> list[CacheConfig]:
    """The caches that a recipe reads, its own last: `input.with_pose` reads poses beside it."""
    from harbench.recipe import CacheConfig

    return [CacheConfig(stream="pose")] * recipe.input.with_pose + [recipe.data.cache]


def missing_media(recipe: Recipe, home: Path) -> set[str] | None:
    """Media of the recipe's split that its caches lack; None where a cache does not exist, or the person boxes do not."""
    from harbench.datasets.tables import keep_classes, load_split
    from harbench.frames.cache import find_cache, open_cache
    from harbench.prepare.boxes import boxes_file

    data = recipe.data
    if data.boxes and not boxes_file(home, data.dataset).is_file():
        return None
    table = load_split(data.dataset, data.split, home)
    media = (keep_classes(table, data.classes) if data.classes else table).media()
    missing: set[str] = set()
    for config in needed_caches(recipe):
        try:
            cache = open_cache(find_cache(home, data.dataset, config, make=""))
        except CacheError:
            return None
        missing.update(each for each in media if each not in cache)
    return missing


def next_command(spec: DatasetSpec, stream: str, splits: Sequence[str], home: Path) -> str:
    """What to type once `splits` are prepared: the first shipped recipe of this stream that can read what is there.

    Recipes that state their number come first. Where the caches serve none of them: what makes the cache of the first.
    """
    from harbench.recipe import Recipe, load_any
    from harbench.recipe.shipped import recipe_paths

    loaded = [(path, load_any(path)) for path in recipe_paths() if spec.name in path.read_text(encoding="utf-8")]
    fitting = [
        (path.name, recipe)
        for path, recipe in loaded
        if isinstance(recipe, Recipe) and (recipe.data.dataset, recipe.data.cache.stream) == (spec.name, stream)
    ]
    fitting.sort(key=lambda each: not each[1].expect)
    for name, recipe in fitting:
        own = recipe.data.split or spec.splits[0]
        split = own if own in splits else splits[0]
        on_split = recipe.model_copy(update={"data": recipe.data.model_copy(update={"split": split})})
        missing = missing_media(on_split, home)
        if missing is not None:
            return run_command(f"recipes/{name}", split if split != own else "", len(missing))
    if fitting:
        return f"harbench prepare {spec.name} --for recipes/{fitting[0][0]}"
    return f"a recipe with data.dataset: {spec.name}, then harbench run RECIPE (see `harbench recipes`)"


def run_command(recipe: str, split: str, missing: int) -> str:
    """`harbench run RECIPE`, on another split than the recipe's own and without some media where these are given."""
    return " ".join(
        ["harbench run", recipe, *[f"--split {split}"] * bool(split), *[f"--ok-missing {missing}"] * bool(missing)]
    )
