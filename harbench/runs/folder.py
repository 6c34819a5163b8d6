"""A run's folder: its name, its lock, the recipe it was made by, what a finished run leaves in it, and how that is read.

`predictions.npz`, `views.npz` (when small), `per_class.csv`, and `run.json`, which is written last: a folder without
it is not a finished run. It keeps the SHA-256 of what is read again, and whoever reads that takes it from
`checked_file`. Beside the splits of a set lies metrics over all of them, `mean-of-3/seed0.json`.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import math
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harbench.errors import RecipeError, RunError
from harbench.evaluation.distributed import is_rank_zero
from harbench.files import csv_cell, locked, replacing, sha256, write_text
from harbench.records import ClassLabel, JointInterval, Metrics, Predictions, RunRecord
from harbench.runs.comparability import pooled_split

if TYPE_CHECKING:
    import numpy.typing as npt
    from pydantic import TypeAdapter

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


log = logging.getLogger(__name__)
RECORD, WEIGHTS, TRAIN_IDS = "run.json", "model.safetensors", "train_ids.txt.gz"
_SCORES, _VIEWS = "predictions.npz", "views.npz"
_SAMPLES = ("train", "val", "test", "scored")
_MAX_VIEWS = 100 * 2**20
"""Bytes of per-view scores that are still kept."""
_ARRAYS = ("ids", "targets", "logits", "probabilities", "failed_ids", "failed_reasons", "classes")


# ------------------------------------------------------------------------------------------------------------- saving
def save_run(
    folder: Path, record: RunRecord, predictions: Predictions, classes: Sequence[ClassLabel], metrics: Metrics
) -> None:
    """Write a finished run into `folder`; `run.json` comes last and makes it one.

    `predictions.npz` holds ids [N], targets [N], logits and probabilities [N, K], class keys [K] in their order, and
    the ids that failed with the reasons: any metric can be computed again from it. Every file is whole or absent. The
    record takes the SHA-256 of these, and of the weights and training samples that lie there already.
    """
    import numpy as np

    _save_arrays(
        folder / _SCORES,
        ids=np.array(predictions.ids, dtype=np.str_),
        targets=predictions.targets,
        logits=predictions.logits,
        probabilities=predictions.probabilities,
        failed_ids=np.array(list(predictions.failed), dtype=np.str_),
        failed_reasons=np.array(list(predictions.failed.values()), dtype=np.str_),
        classes=np.array([label.key for label in classes], dtype=np.str_),
        **({} if predictions.novel is None else {"novel": predictions.novel}),
    )
    if predictions.views is not None and predictions.views.nbytes < _MAX_VIEWS:
        _save_arrays(folder / _VIEWS, views=predictions.views)
    else:
        (folder / _VIEWS).unlink(missing_ok=True)
    write_text(folder / "per_class.csv", _per_class_csv(classes, metrics))
    kept = [name for name in (WEIGHTS, TRAIN_IDS, _SCORES, _VIEWS) if (folder / name).is_file()]
    record = replace(record, files={name: sha256(folder / name) for name in kept})
    text = json.dumps(asdict(replace(record, record_sha256="")), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    write_text(folder / RECORD, text.replace('"record_sha256": ""', f'"record_sha256": "{digest}"'))


def _save_arrays(path: Path, **arrays: npt.NDArray[Any]) -> None:
    import numpy as np

    with replacing(path, "wb") as handle:
        np.savez(handle, allow_pickle=False, **arrays)


def _per_class_csv(classes: Sequence[ClassLabel], metrics: Metrics) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("class", "name", "samples", "recall", "ap"))
    for label in classes:
        values = metrics.per_class[label.key]
        samples, recall, ap = (values.get(name) for name in ("samples", "recall", "ap"))
        writer.writerow(
            (csv_cell(label.key), csv_cell(label.display), int(samples or 0), _percent(recall), _percent(ap))
        )
    return buffer.getvalue()


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


# ------------------------------------------------------------------------------------------------------------ reading
def load_runs(root: Path) -> tuple[list[RunRecord], dict[str, str]]:
    """The records of all finished runs under `root`, by folder name, and folder -> why it has none of a damaged one."""
    records: list[RunRecord] = []
    broken: dict[str, str] = {}
    for path in sorted(root.glob(f"*/*/*/*/{RECORD}")):
        name = path.parent.relative_to(root).as_posix()
        try:
            # A folder that was moved or copied is what it is called now.
            records.append(replace(load_run(path.parent), folder=name))
        except RunError as error:
            broken[name] = str(error)
    return _with_joint(_of_newest_data(records), root), broken


def _of_newest_data(records: Sequence[RunRecord]) -> list[RunRecord]:
    """The records, those on other samples than the newest training on a data set and split of these names being partial."""
    newest: dict[tuple[str, str], str] = {}
    for record in sorted(records, key=lambda record: record.finished):
        if record.edition and not record.members:  # what is fused is as old as its members
            newest[record.dataset, pooled_split(record.split)] = record.edition
    return [
        replace(record, partial=f"on other samples than newer runs: {record.dataset} was made again")
        if record.edition and not record.partial and record.edition != newest.get(place)
        else record
        for record in records
        for place in [(record.dataset, pooled_split(record.split))]
    ]


def save_joint(path: Path, finished: Mapping[str, str], joint: Sequence[JointInterval]) -> None:
    """Write metrics over a set of splits to `<recipe's folder>/<split set>/<seed>.json`.

    `finished` says when the run of each split was, so that a repeated one is not taken for it.
    """
    content = {"finished": dict(finished), "intervals": [asdict(each) for each in joint]}
    write_text(path, json.dumps(content, indent=2) + "\n")


def load_joint(path: Path) -> tuple[dict[str, str], tuple[JointInterval, ...]] | None:
    """When the run of each split was finished, and metrics over all; None where they have to be made (again)."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return dict(raw["finished"]), _model(tuple[JointInterval, ...]).validate_python(raw["intervals"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _with_joint(records: Sequence[RunRecord], root: Path) -> list[RunRecord]:
    """The records with the intervals of means over splits that were made of exactly these runs."""
    by_folder = {record.folder: record for record in records}
    for path in sorted(root.glob("*/*/*/seed*.json")):
        finished, joint = load_joint(path) or ({}, ())
        recipe = path.parent.parent.relative_to(root)
        folders = {split: (recipe / split / path.stem).as_posix() for split in finished}
        now = {split: by_folder[folder].finished for split, folder in folders.items() if folder in by_folder}
        if joint and now == finished:
            for folder in folders.values():
                record = by_folder[folder]
                by_folder[folder] = replace(record, joint={**record.joint, path.parent.name: joint})
    return list(by_folder.values())


def load_run(folder: Path) -> RunRecord:
    """The record of one finished run. Raises RunError when there is none, or with all that is wrong with it at once."""
    from pydantic import ValidationError

    path = folder / RECORD
    try:
        content = path.read_bytes()
        record: RunRecord = _model(RunRecord).validate_json(content, strict=True)
        problems = _problems(record) + _changed(content, record.record_sha256)
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"{folder} has no {RECORD}, so it is not a finished run; `harbench run` finishes it") from None
    except OSError as error:
        problems = [f"it cannot be read: {error.strerror}"]
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}".lstrip(": ") for each in error.errors()]
    if problems:
        listed = "\n  ".join(problems)
        raise RunError(f"{path} is damaged:\n  {listed}\nDelete it and run the recipe again to write it anew")
    return record


@cache
def _model(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _changed(content: bytes, expected: str) -> list[str]:
    """Whether a record is not what was written; one of an older harbench does not say."""
    found = hashlib.sha256(content.replace(expected.encode(), b"", 1)).hexdigest() if expected else ""
    return [f"it is not what was written: expected SHA-256 {expected}, found {found}"] * (found != expected)


def _problems(record: RunRecord) -> list[str]:
    """What cannot be in a record whose types are right."""
    counts, metrics = record.samples, record.metrics
    numbers = [*metrics.values(), *(end for both in record.intervals.values() for end in both), record.params_m]
    found = [f"samples.{name}: missing" for name in _SAMPLES if name not in counts]
    if not found and not 0 <= counts["scored"] <= counts["test"] > 0:
        found.append(f"samples: {counts['scored']} of {counts['test']} test samples cannot be scored")
    if not all(math.isfinite(value) for value in numbers if value is not None):
        found.append("metrics, intervals, params_m: expected finite numbers")
    return found + ([] if record.key.metric in metrics else [f"metrics.{record.key.metric}: missing"])


def checked_file(folder: Path, name: str) -> Path:
    """The path of a file of a finished run, once its bytes are those that the run wrote.

    Raises RunError where it is missing or has another SHA-256 than run.json keeps. A run that an older harbench made keeps
    none: its files are taken as they are, and that is noted.
    """
    path = folder / name
    if not path.exists():
        raise RunError(f"{folder} has no {name}; repeat the run with --force")
    files = load_run(folder).files
    if not files:
        _note_unchecked(folder)
        return path
    try:
        found = sha256(path)
    except OSError as error:
        found = f"no readable file ({error.strerror})"
    if found != files.get(name):
        raise RunError(
            f"{path} is not the file that this run wrote, or was damaged since: expected SHA-256 "
            f"{files.get(name, 'of no such file')}, found {found}. Put the file back, or repeat the run with --force"
        )
    return path


@cache
def _note_unchecked(folder: Path) -> None:
    """Once a folder and process."""
    log.info("%s was made by an older harbench, which kept no SHA-256: its files are taken as they are", folder)


def load_predictions(folder: Path) -> Predictions:
    """The scores of a finished run, with its views where they were kept.

    Raises RunError when they are missing or damaged.
    """
    import struct
    import zipfile
    import zlib

    try:
        arrays = _load_arrays(checked_file(folder, _SCORES), _ARRAYS, ("novel",))
        kept = _load_arrays(checked_file(folder, _VIEWS), ("views",))["views"] if (folder / _VIEWS).exists() else None
        failed = dict(zip(arrays["failed_ids"].tolist(), arrays["failed_reasons"].tolist(), strict=True))
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        RuntimeError,
        struct.error,
        zlib.error,
        zipfile.BadZipFile,
    ) as error:
        raise RunError(f"the scores in {folder} are damaged ({error}); repeat the run with --force") from None
    return Predictions(
        ids=tuple(arrays["ids"].tolist()),
        targets=arrays["targets"],
        logits=arrays["logits"],
        probabilities=arrays["probabilities"],
        views=kept,
        failed=failed,
        novel=arrays.get("novel"),
    )


def load_class_keys(folder: Path) -> tuple[str, ...]:
    """The class keys in the order of a finished run's scores; its scores can be read (`load_predictions`)."""
    return tuple(_load_arrays(folder / _SCORES, ("classes",))["classes"].tolist())


def _load_arrays(path: Path, names: Sequence[str], optional: Sequence[str] = ()) -> dict[str, npt.NDArray[Any]]:
    import numpy as np

    # numpy does not close a file that it opened and found damaged.
    with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as archive:
        return {name: archive[name] for name in (*names, *(name for name in optional if name in archive))}
