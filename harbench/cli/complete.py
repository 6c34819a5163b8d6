"""What TAB offers: data sets, splits, recipes, runs. The standard library is enough for it, so that it is quick.

Where nothing here matches, the shell offers files.
"""

from __future__ import annotations

import os
from pathlib import Path

import typer

from harbench import paths


def datasets(context: typer.Context) -> list[str]:
    """Those of harbench, and those under the data home."""
    from harbench.datasets.tables import dataset_names

    return dataset_names(_global(context, "home"))


def splits(context: typer.Context) -> list[str]:
    """Those of the first data set that is typed. (An option without its value yet hides what was parsed before it.)"""
    from harbench.datasets.tables import load_spec, split_names

    home, typed = _global(context, "home"), os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")
    named = next((word for word in typed.split() if word in datasets(context)), None)
    return [*split_names(load_spec(named, home), home), "all"] if named else []


def recipes() -> list[str]:
    """The shipped ones, by name."""
    return sorted(path.stem for path in paths.shipped("recipes").glob("*.yaml"))


def runs(context: typer.Context) -> list[str]:
    """Finished runs under --runs."""
    return sorted(path.parent.as_posix() for path in _global(context, "runs").glob("*/*/*/*/run.json"))


def runs_and_recipes(context: typer.Context) -> list[str]:
    """Both."""
    return [*runs(context), *recipes()]


def _global(context: typer.Context, name: str) -> Path:
    return Path(context.find_root().params[name])
