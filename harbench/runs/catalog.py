"""`recipes`: what is shipped, read and held against the data sets and models that exist."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harbench.recipe.load import find_recipe, recipe_paths

if TYPE_CHECKING:
    from harbench.recipe import Fusion, Recipe


@dataclass(frozen=True)
class RecipeSummary:
    """One shipped recipe, or one that a path names."""

    name: str
    path: str
    description: str
    family: str
    model: str
    dataset: str
    split: str
    expect: tuple[str, ...]
    """Published numbers it is to reproduce, in words."""
    resolved: dict[str, Any]
    """Every key with its value, defaults included."""


def read_recipe(name: str, overrides: tuple[str, ...] = (), *, home: Path) -> Recipe:
    """Load and validate a recipe against the data sets and models that exist."""
    from harbench.recipe import load_recipe

    return load_recipe(find_recipe(name), overrides, known=_known_names(home))


def read_any(name: str, overrides: tuple[str, ...] = (), *, home: Path) -> Recipe | Fusion:
    """As `read_recipe`, also of a recipe that fuses finished runs."""
    from harbench.recipe import load_any

    return load_any(find_recipe(name), overrides, known=_known_names(home))


def _known_names(home: Path) -> dict[str, set[str]]:
    from harbench.datasets.tables import dataset_names, published_names
    from harbench.models.find import model_names

    # jhmdb has published numbers and no table: a recipe may name it, and it exists once the user has prepared it.
    return {"data.dataset": {*dataset_names(home), *published_names(home)}, "model.name": set(model_names())}


def recipes(name: str | None = None, *, home: Path) -> list[RecipeSummary]:
    """List and validate the shipped recipes, or show one by name or path."""
    found = []
    for path in [find_recipe(name)] if name else recipe_paths():
        recipe = read_any(str(path), home=home)
        found.append(
            RecipeSummary(
                name=recipe.name,
                path=str(path),
                description=recipe.description,
                family=recipe.family,
                model=_what(recipe),
                dataset=recipe.data.dataset,
                split=recipe.data.split,
                expect=tuple(
                    f"{item.metric} {item.value:.2f} {item.split}".strip() + f" ({item.source})"
                    for item in recipe.expect
                ),
                resolved=recipe.model_dump(mode="json"),
            )
        )
    return found


def _what(recipe: Recipe | Fusion) -> str:
    """The model, or the runs that are fused."""
    from harbench.recipe import Fusion

    return " + ".join(each.recipe for each in recipe.fuse) if isinstance(recipe, Fusion) else recipe.model.name


def recipe_schema() -> dict[str, Any]:
    """JSON schema of a recipe, for editors: one that trains, or one that fuses."""
    from pydantic import TypeAdapter

    from harbench.recipe import Fusion, Recipe

    schema = {"title": "Recipe", **TypeAdapter(Recipe | Fusion).json_schema()}
    for kind in ("Recipe", "Fusion"):
        schema["$defs"][kind]["properties"]["base"] = {
            "type": "string",
            "description": "File of the recipe it builds upon",
        }
    for part in ("Recipe", "Fusion", "DataConfig", "FusionData", "InputConfig", "ModelConfig"):
        schema["$defs"][part].pop("required", None)  # the base may have it
    return schema
