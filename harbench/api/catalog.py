"""`datasets`, `splits`, `recipes`: what there is, and whether it is what it says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harbench import places
from harbench.errors import DatasetError, RecipeError, did_you_mean
from harbench.records import DatasetSpec, SplitCheck

if TYPE_CHECKING:
    from harbench.recipe import Fusion, Recipe


@dataclass(frozen=True)
class DatasetStatus:
    """One data set: what it is and what of it is under the data home."""

    name: str
    title: str
    modality: str
    classes: int
    samples: int
    """Rows of the default split's table."""
    splits: tuple[str, ...]
    group: str
    size: str
    licence: str
    homepage: str
    citation: str
    registration: str
    media_here: int
    """Media found under `<home>/<name>/media`."""
    media_total: int
    caches: tuple[str, ...]
    """Names of the frame caches under `<home>/<name>/cache`."""
    problem: str = ""
    """Why it cannot be used; all else is then empty."""


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


def datasets(name: str | None = None, *, home: Path) -> list[DatasetStatus]:
    """What can be prepared and what is here; one data set, or all.

    Of all, one that cannot be read says so in `problem`. Raises DatasetError where it is the one asked for.
    """
    from harbench.datasets.tables import dataset_names

    if name:
        return [_status(name, home)]
    found = []
    for each in dataset_names(home):
        try:
            found.append(_status(each, home))
        except DatasetError as error:
            found.append(DatasetStatus(each, each, "", 0, 0, (), "", "", "", "", "", "", 0, 0, (), str(error)))
    return found


def _status(name: str, home: Path) -> DatasetStatus:
    from harbench.datasets.tables import load_spec, load_split

    spec = load_spec(name, home)
    table = load_split(name, spec.splits[0], home)
    media = table.media()
    folder = places.media_folder(home, name)
    caches = home / name / "cache"
    return DatasetStatus(
        name=name,
        title=spec.title,
        modality=spec.modality,
        classes=len(table.classes),
        samples=len(table.samples),
        splits=spec.splits,
        group=spec.group,
        size=spec.size,
        licence=spec.licence,
        homepage=spec.homepage,
        citation=spec.citation,
        registration=spec.registration,
        media_here=sum((folder / path).exists() for path in media) if folder.is_dir() else 0,
        media_total=len(media),
        caches=tuple(sorted(path.name for path in caches.iterdir())) if caches.is_dir() else (),
    )


def splits(name: str, split: str = "all", *, home: Path) -> list[SplitCheck]:
    """The official partition of a data set, each split held against the publisher's counts.

    A split with `problems` did not hold; the command line then exits with 4.
    """
    from harbench.datasets.checks import check_split
    from harbench.datasets.tables import expand_splits, load_spec, load_split

    spec = load_spec(name, home)
    return [check_split(load_split(name, each, home), spec) for each in expand_splits(spec, split, home)]


def recipe_paths() -> list[Path]:
    """Every recipe that travels with harbench."""
    return sorted(places.shipped("recipes").glob("*.yaml"))


def recipe_to_try(spec: DatasetSpec, stream: str, *, incomplete: bool) -> str:
    """The command of a shipped recipe of a data set that reads this stream, if possible of one that states its number."""
    from harbench.recipe import Recipe, load_any

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
    shipped = places.shipped("recipes") / f"{path.name.removesuffix('.yaml')}.yaml"
    if path.parent.name in ("", "recipes") and shipped.is_file():
        return shipped
    near = did_you_mean(path.stem, [each.stem for each in recipe_paths()])
    raise RecipeError(f"there is no recipe {name}{near or '.'} `harbench recipes` lists those that are shipped.")


def read_recipe(name: str, overrides: tuple[str, ...] = (), *, home: Path) -> Recipe:
    """Load and validate a recipe against the data sets and models that exist."""
    from harbench.recipe import load_recipe

    return load_recipe(find_recipe(name), overrides, known=_known_names(home))


def read_any(name: str, overrides: tuple[str, ...] = (), *, home: Path) -> Recipe | Fusion:
    """As `read_recipe`, also of a recipe that fuses finished runs."""
    from harbench.recipe import load_any

    return load_any(find_recipe(name), overrides, known=_known_names(home))


def _known_names(home: Path) -> dict[str, set[str]]:
    from harbench.datasets.tables import dataset_names
    from harbench.models.find import model_names
    from harbench.reporting.published import published_names

    # kinetics400 has published numbers and no table: a recipe may name it, and it exists once the user has prepared it.
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


def recipe_text(summary: RecipeSummary) -> str:
    """The resolved recipe as YAML, every default written out."""
    import yaml

    return yaml.safe_dump(summary.resolved, sort_keys=False, allow_unicode=True).rstrip()
