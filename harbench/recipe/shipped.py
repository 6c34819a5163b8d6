"""The recipes that travel with harbench."""

from __future__ import annotations

from pathlib import Path

from harbench import paths
from harbench.errors import RecipeError, did_you_mean
from harbench.recipe.load import load_any
from harbench.recipe.schema import Recipe
from harbench.records import DatasetSpec


def recipe_paths() -> list[Path]:
    """Every recipe that travels with harbench."""
    return sorted(paths.shipped("recipes").glob("*.yaml"))


def recipe_to_try(spec: DatasetSpec, stream: str, *, incomplete: bool) -> str:
    """The command of a shipped recipe of a data set that reads this stream, if possible of one that states its number."""
    fitting: dict[str, bool] = {}
    for path in recipe_paths():
        recipe = load_any(path) if spec.name in path.read_text(encoding="utf-8") else None
        if isinstance(recipe, Recipe) and (recipe.data.dataset, recipe.data.cache.stream) == (spec.name, stream):
            fitting[path.name] = bool(recipe.expect)
    if not fitting:
        return f"a recipe with data.dataset: {spec.name}, then harbench run RECIPE (see `harbench recipes`)"
    chosen = next((name for name, states in fitting.items() if states), next(iter(fitting)))
    return f"harbench run recipes/{chosen}" + (" --ok-missing N" if incomplete else "")


def find_recipe(name: str) -> Path:
    """A recipe by path, or a shipped one by file or name (`recipes/mc3_18.yaml`, `mc3_18.yaml`, `mc3_18`)."""
    path = Path(name)
    if path.is_file():
        return path
    shipped = paths.shipped("recipes") / f"{path.name.removesuffix('.yaml')}.yaml"
    if path.parent.name in ("", "recipes") and shipped.is_file():
        return shipped
    near = did_you_mean(path.stem, [each.stem for each in recipe_paths()])
    raise RecipeError(f"there is no recipe {name}{near or '.'} `harbench recipes` lists those that are shipped.")
