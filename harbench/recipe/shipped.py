"""The recipes that travel with harbench."""

from __future__ import annotations

from pathlib import Path

from harbench import paths
from harbench.errors import RecipeError, did_you_mean


def recipe_paths() -> list[Path]:
    """Every recipe that travels with harbench."""
    return sorted(paths.shipped("recipes").glob("*.yaml"))


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
