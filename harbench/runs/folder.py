"""A run's folder: its name, its lock, the recipe it was made by, its log and what its weights have seen."""

from __future__ import annotations

import gzip
import hashlib
import logging
import re
import shutil
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harbench.errors import RecipeError, RunError
from harbench.evaluation.processes import follows
from harbench.files import expanded, locked, replacing, write_text
from harbench.runs.inputs import Inputs

if TYPE_CHECKING:
    from harbench.recipe import Fusion, ModelConfig, Recipe
    from harbench.training.checkpoint import Seen

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
def held(recipe: Recipe | Fusion, folder: Path, force: bool) -> Iterator[bool]:
    """Hold the lock of `folder`, which is this recipe's or new; `force` empties it first. Yields whether it is finished.

    Of several ranks the first holds it, and tells the others.

    Raises RunError when another harbench has it, or when another recipe made it.
    """
    from harbench.evaluation import distributed

    if follows():
        yield distributed.agreed(False)
        return
    with locked(folder / ".lock", RunError(f"{folder} is in use by another harbench run; wait for it or stop it")):
        for part in folder.glob(".*.part"):  # what a killed run was writing
            part.unlink()
        _same_recipe(recipe, folder, force)
        yield distributed.agreed((folder / "run.json").exists())


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


# ------------------------------------------------------------------------------------------- what weights have seen
def seen_before(config: ModelConfig) -> Seen:
    """What the weights that a recipe starts from have seen; nothing is said of weights from elsewhere."""
    from harbench.models.hubs import is_published
    from harbench.models.weight_files import read_metadata
    from harbench.runs.store import WEIGHTS
    from harbench.training.checkpoint import Seen, samples_of

    if config.init_from is not None:
        folder = expanded(config.init_from)
        path, told = folder / WEIGHTS, run_seen(folder)
    elif config.weights is not None and not is_published(config.weights):
        path, told = expanded(config.weights), Seen(frozenset())
    else:
        return Seen(frozenset())
    own = samples_of(path, read_metadata(path)) or Seen(frozenset())  # whatever the folder says of them
    return Seen(told.ids | own.ids, told.unknown or own.unknown)


def run_seen(folder: Path) -> Seen:
    """What the weights of a finished run have seen; *unknown* where its list is missing, empty or damaged."""
    from harbench.training.checkpoint import Seen

    try:
        return Seen.of(read_train_ids(folder), folder)
    except RunError as error:
        log.warning("%s", error)
        return Seen(frozenset(), f"the training samples of {folder} are not known")


def write_train_ids(folder: Path, seen: Seen) -> None:
    """train_ids.txt.gz, so that scoring these samples later can be refused."""
    from harbench.runs.store import TRAIN_IDS

    with replacing(folder / TRAIN_IDS, "wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
        packed.writelines(f"{line}\n".encode() for line in seen.lines)


def seen_in_test(inputs: Inputs, ids: Collection[str]) -> int:
    """How many of the test samples are among `ids`."""
    return sum(f"{inputs.table.dataset}/{sample.sample_id}" in ids for sample in inputs.table.subset("test"))


def with_seen(inputs: Inputs) -> tuple[Inputs, str]:
    """The inputs with what the weights that the recipe starts from have seen, and that test samples are, or may be,
    among that: why the run is then partial.
    """
    from harbench.training.checkpoint import Seen

    config, test = inputs.recipe.model, inputs.table.subset("test")
    before = seen_before(config)
    count = seen_in_test(inputs, before.ids)
    known = f"{count} of {len(test)} test samples were in the training data of {config.init_from or config.weights}"
    words = "; ".join([known] * bool(count) + [before.unknown] * bool(before.unknown))
    partial = "; ".join(filter(None, (inputs.partial, words)))
    return replace(inputs, seen=Seen(before.ids | inputs.seen.ids, before.unknown), partial=partial), words


def read_train_ids(folder: Path) -> list[str]:
    """The lines of a finished run's train_ids.txt.gz. Raises RunError when it is missing, empty or damaged."""
    from harbench.runs.store import TRAIN_IDS, checked_file

    try:
        with gzip.open(checked_file(folder, TRAIN_IDS), "rt", encoding="utf-8") as lines:
            found = lines.read().splitlines()
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise RunError(f"{folder}/{TRAIN_IDS} cannot be read ({error}); repeat that run with --force") from None
    if not found:
        raise RunError(f"{folder}/{TRAIN_IDS} is empty, so what was trained on is not known; repeat it with --force")
    return found
