"""A run's folder: its name, its lock, the recipe it was made by, its log and what its weights have seen."""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from harbench.errors import RecipeError, RunError
from harbench.evaluation.processes import is_rank_zero
from harbench.files import locked, write_text

if TYPE_CHECKING:
    from harbench.recipe import Fusion, Recipe

log = logging.getLogger(__name__)
MODEL_FILE = "model.py"
_TAG = re.compile(r"\w[\w.+-]*", re.ASCII)


def run_folder(recipe: Recipe | Fusion, overrides: Sequence[str], tag: str, seed: int) -> Path:
    """`<dataset>/<recipe>[+<tag or 8 hex of the overrides>]/<split>/seed<s>`."""
    mark = checked_tag(tag) or (
        hashlib.sha256("\n".join(sorted(overrides)).encode()).hexdigest()[:8] if overrides else ""
    )
    return Path(recipe.data.dataset, recipe.name + (f"+{mark}" if mark else ""), recipe.data.split, f"seed{seed}")


def checked_tag(tag: str) -> str:
    """`tag`, which is part of a folder's name. Raises RunError where it would be a path."""
    if tag and not _TAG.fullmatch(tag):
        raise RunError(f"--tag: expected letters, digits, '_' and, not at the start, '.', '+' or '-'; found {tag!r}")
    return tag


@contextmanager
def locked_run(recipe: Recipe | Fusion, folder: Path, force: bool) -> Iterator[bool]:
    """Hold the lock of `folder`, which is this recipe's or new; `force` empties it first. Yields whether it is finished.

    Of several ranks the first holds it, and tells the others.

    Raises RunError when another harbench has it, or when another recipe made it.
    """
    from harbench.evaluation import distributed

    if not is_rank_zero():
        yield distributed.broadcast_object(False)
        return
    with locked(folder / ".lock", RunError(f"{folder} is in use by another harbench run; wait for it or stop it")):
        for part in folder.glob(".*.part"):  # what a killed run was writing
            part.unlink()
        _same_recipe(recipe, folder, force)
        yield distributed.broadcast_object((folder / "run.json").exists())


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """What the core logs also goes to the run's log.txt, with times; a continued run appends."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logging.getLogger("harbench").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("harbench").removeHandler(handler)
        handler.close()


def _same_recipe(recipe: Recipe | Fusion, folder: Path, force: bool) -> None:
    """A folder whose recipe differs is never resumed; `force` empties it first."""
    from pydantic import ValidationError

    from harbench.recipe import differing_keys, load_document

    if force and folder.exists():
        for entry in folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != ".lock":
                entry.unlink()
    if not any((folder / trained).exists() for trained in ("state.pt", "run.json", "choose")):
        return  # nothing was trained
    check_model_file(recipe, folder)
    try:
        old = load_document(folder / "recipe.yaml")
    except RecipeError as error:
        raise RunError(
            f"{error}\nSo what made {folder} is not known; repeat it from the beginning with --force"
        ) from None
    with suppress(ValidationError):  # an older harbench wrote fewer keys: their defaults are what they meant
        old = type(recipe).model_validate(old).model_dump(mode="json")
    new = recipe.model_dump(mode="json")
    for words in ("description", "expect"):  # they train nothing; a run is held to what its own recipe.yaml expected
        old.pop(words, None)
        new.pop(words, None)
    changed = differing_keys(old, new)
    if changed:
        raise RunError(
            f"{folder} was made by a different recipe:\n  "
            + "\n  ".join(changed)
            + "\nGive this variant a --tag of its "
            "own, or repeat it from the beginning with --force."
        )


def keep_model_file(recipe: Recipe, folder: Path) -> None:
    """A copy of the file of a user's own model, as model.py: what this run's weights belong to."""
    if source := _model_file(recipe):
        write_text(folder / MODEL_FILE, source.read_text(encoding="utf-8"))


def check_model_file(recipe: Recipe | Fusion, folder: Path) -> None:
    """Raise RunError where the user's own model is not what it was when the run in `folder` was begun."""
    from harbench.recipe import Recipe

    source, kept = _model_file(recipe) if isinstance(recipe, Recipe) else None, folder / MODEL_FILE
    if source and source.is_file() and kept.is_file() and source.read_bytes() != kept.read_bytes():
        raise RunError(
            f"{source} has changed since {folder} was begun, which keeps it as {MODEL_FILE}. Put that back, give the new "
            "model a --tag of its own, or repeat the run from the beginning with --force."
        )


def _model_file(recipe: Recipe) -> Path | None:
    """The file of `model.name: path/to/file.py:function`."""
    place, _, function = recipe.model.name.rpartition(":")
    return Path(place) if function and place.endswith(".py") else None
