"""Other frameworks' predictions, read and brought into the order of an official test set. Nothing is guessed.

Three kinds of file: `.csv` (a sample and one column a class, or a sample and its predicted label), `.npz` (`ids`,
`scores` or harbench's own `probabilities`, and `classes`), `.pkl` (what mmaction2's test script dumps).
"""

from __future__ import annotations

import csv
import io
import math
import zipfile
from _pickle import UnpicklingError  # the error alone: nothing here unpickles
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harbench.datasets.parse import LABEL_COLUMNS, PATH_COLUMNS, without_suffix
from harbench.errors import DatasetError, did_you_mean
from harbench.pickles import Stub, read_pickle
from harbench.records import ClassLabel, Sample

Scores = npt.NDArray[np.float32]
_NAMES, _LABELS = ("sample_id", *PATH_COLUMNS), LABEL_COLUMNS


@dataclass(frozen=True)
class Submission:
    """Predictions as they stand in a file."""

    names: tuple[str, ...]
    """Of the samples; empty where the file does not say."""
    classes: tuple[str, ...]
    """Of the columns; empty where the file does not say. For labels: the distinct ones."""
    scores: Scores
    """`[N, K]`; one-hot for labels."""
    labels_only: bool = False
    """There are no scores, only the class that was predicted: neither top-5 nor average precision can be told."""
    targets: tuple[int, ...] = ()
    """The classes that the file itself holds to be true, by its own numbers; empty: it does not say."""


# ------------------------------------------------------------------------------------------------------------- reading
def read_submission(path: Path) -> Submission:
    """The predictions in a csv, npz or pickle file.

    Raises DatasetError when it is none of these, PickleError when a pickle is damaged.
    """
    readers = {".csv": _read_csv, ".npz": _read_npz, ".pkl": _read_dump, ".pickle": _read_dump}
    reader = readers.get(path.suffix.lower())
    if not path.is_file() or reader is None:
        raise DatasetError(f"{path}: expected a file of predictions, {', '.join(readers)}; found none")
    found = reader(path)
    if not len(found.scores):
        raise DatasetError(f"{path}: there are no predictions in it")
    return found


def _read_csv(path: Path) -> Submission:
    try:
        header, *rows = [row for row in csv.reader(path.read_text(encoding="utf-8-sig").splitlines()) if row]
    except (ValueError, csv.Error):
        raise DatasetError(f"{path}: expected a UTF-8 csv with a line of column names") from None
    wrong = next((number for number, row in enumerate(rows, 2) if len(row) != len(header)), None)
    if wrong or len(header) < 2:
        raise DatasetError(
            f"{path}, line {wrong or 1}: expected a sample and one column a class, or a sample and its label, "
            f"{len(header)} cells as in the first line"
        )
    lowered = [name.strip().casefold() for name in header]
    place = next((lowered.index(name) for name in _NAMES if name in lowered), 0)
    names = tuple(row[place].strip() for row in rows)
    label = next((lowered.index(name) for name in _LABELS if name in lowered), None)
    if label is not None and len(header) == 2:
        labels = [row[label].strip() for row in rows]
        classes = tuple(sorted(set(labels)))
        return Submission(names, classes, np.eye(len(classes), dtype=np.float32)[[*map(classes.index, labels)]], True)
    columns = [number for number in range(len(header)) if number != place]
    try:
        scores = np.array([[float(row[number] or "nan") for number in columns] for row in rows], dtype=np.float32)
    except ValueError as error:
        raise DatasetError(
            f"{path}: expected a score in every column but {header[place]!r}, found {error}. A file of labels has two "
            f"columns, the second called one of: {', '.join(_LABELS)}"
        ) from None
    return Submission(names, _named([header[number].strip() for number in columns]), scores)


def _read_npz(path: Path) -> Submission:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path}: expected an npz of plain arrays, found {error}") from None
    kind = next((name for name in ("scores", "probabilities", "logits") if name in arrays), None)
    if kind is None or arrays[kind].ndim != 2 or len(arrays.get("ids", ())) != len(arrays[kind]):
        raise DatasetError(
            f"{path}: expected `ids` [N] and `scores` [N, K] (and `classes` [K]), found "
            f"{', '.join(f'{name} {list(array.shape)}' for name, array in arrays.items())}"
        )
    classes = _named([str(name) for name in arrays.get("classes", ())])
    return Submission(tuple(map(str, arrays["ids"].tolist())), classes, arrays[kind].astype(np.float32))


def _read_dump(path: Path) -> Submission:
    """mmaction2: a list of dicts; `pred_score` and `gt_label` since 1.2, `pred_scores.item` and `gt_labels.item` before."""
    content = read_pickle(path)
    if not isinstance(content, list) or not all(isinstance(each, dict) for each in content):
        raise DatasetError(f"{path}: expected a list of dicts, as mmaction2's `--dump` writes it")
    rows: list[npt.NDArray[Any]] = []
    targets: list[int] = []
    names: list[str] = []
    for number, each in enumerate(content):
        score = _plain(each.get("pred_score", each.get("pred_scores")))
        if score is None or score.ndim != 1 or (rows and len(score) != len(rows[0])):
            raise DatasetError(f"{path}: entry {number}: expected `pred_score` with a score a class, as in the others")
        rows.append(score)
        truth = _plain(each.get("gt_label", each.get("gt_labels")))
        targets += [int(truth.reshape(-1)[0])] if truth is not None and truth.size == 1 else []
        names += [str(each[name]) for name in _NAMES if isinstance(each.get(name), str)][:1]
    return Submission(
        tuple(names) if len(names) == len(rows) else (),
        (),
        np.array(rows, dtype=np.float32),
        targets=tuple(targets) if len(targets) == len(rows) else (),
    )


def _plain(value: Any) -> npt.NDArray[Any] | None:
    """A tensor of a pickle (its bytes stand in it as a file of torch's), an array or a list, as an array."""
    if isinstance(value, dict):
        return _plain(value.get("item"))
    if not isinstance(value, Stub):
        return None if value is None else np.asarray(value)
    if value.name != "torch._utils._rebuild_tensor_v2" or not isinstance(value.args[0], Stub):
        raise DatasetError(f"expected scores as tensors, arrays or lists, found {value.name}")
    import torch

    storage, offset, size, stride = value.args[:4]
    try:
        typed = torch.load(io.BytesIO(storage.args[0]), weights_only=True)
        flat = torch.empty(0, dtype=typed.dtype).set_(typed)
    except (UnpicklingError, RuntimeError, EOFError, AttributeError, IndexError, TypeError) as error:
        raise DatasetError(f"a tensor in it cannot be read: {error}") from None
    count, step = math.prod(size), stride[0] if size else 1
    if len(size) > 1 or step < 1 or not 0 <= offset <= len(flat) - 1 - (count - 1) * step:
        raise DatasetError(f"expected tensors of one dimension, found {list(size)}")
    return flat[offset:][: count * step : step].double().numpy().reshape(size)


def _named(columns: Sequence[str]) -> tuple[str, ...]:
    """Names of columns; none where they are mere numbers."""
    return () if all(name.isdigit() for name in columns) else tuple(columns)


# ------------------------------------------------------------------------------------------------------------- classes
def read_class_order(path: Path) -> tuple[str, ...]:
    """One class a line: a name (mmaction2's label_map.txt), or a number from 0 or 1 and a name (UCF-101's classInd.txt)."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: expected class names, one a line, in the order of the scores: {error}") from None
    numbered = [line.split(maxsplit=1) for line in lines]
    if lines and all(len(parts) == 2 and parts[0].isdigit() for parts in numbered):
        ordered = sorted((int(number), name) for number, name in numbered)
        first = ordered[0][0]
        if [number for number, _ in ordered] != list(range(first, first + len(ordered))):
            raise DatasetError(f"{path}: expected every number from {first} on once before the class names")
        return tuple(name for _, name in ordered)
    return tuple(lines)


def class_columns(names: Sequence[str], classes: Sequence[ClassLabel], where: str) -> list[int]:
    """The official index of each name: its key or display name, without regard to case, blanks and punctuation.

    Raises DatasetError for a name that is none, or that two columns have.
    """
    known: dict[str, set[int]] = defaultdict(set)
    for index, label in enumerate(classes):
        known[_folded(label.key)].add(index)
        known[_folded(label.display)].add(index)
    found, problems = [], []
    for name in names:
        indices = known.get(_folded(name), set())
        if len(indices) == 1:
            found.append(min(indices))
        else:
            near = did_you_mean(name, [label.key for label in classes]).removeprefix("; ")
            problems.append(f"{name!r}" + (f" ({near})" if near else ""))
    twice = {classes[index].key for index in found if found.count(index) > 1}
    if problems or twice:
        raise DatasetError(
            f"{where}: "
            + "; ".join(
                ([f"no class of this data set: {', '.join(problems[:5])}"] if problems else [])
                + ([f"more than once: {', '.join(sorted(twice)[:5])}"] if twice else [])
            )
        )
    return found


def _folded(name: str) -> str:
    return "".join(char for char in name.casefold() if char.isalnum())


# ------------------------------------------------------------------------------------------------------------- samples
def match_samples(names: Sequence[str], samples: Sequence[Sample]) -> list[int | None]:
    """The sample that each name means: by id or media, case folded, with or without suffix and leading folders.

    A base name that several samples have is the one whose path agrees on the most trailing parts, if it is one.
    """
    by_base: dict[str, dict[tuple[str, ...], int]] = defaultdict(dict)
    media: dict[str, list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        media[sample.media].append(index)
        parts = _parts(sample.sample_id)
        by_base[parts[-1]][parts] = index
    for path, owners in media.items():
        if len(owners) == 1:
            parts = _parts(path)
            by_base[parts[-1]].setdefault(parts, owners[0])
    return [_owner(_parts(name), by_base) for name in names]


def _owner(parts: tuple[str, ...], by_base: Mapping[str, Mapping[tuple[str, ...], int]]) -> int | None:
    candidates = by_base.get(parts[-1], {})
    if parts in candidates:
        return candidates[parts]
    best: dict[int, int] = {}
    for official, index in candidates.items():
        pairs = zip(reversed(parts), reversed(official), strict=False)
        agreed = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(parts), len(official)))
        best[index] = max(agreed, best.get(index, 0))
    most = max(best.values(), default=0)
    owners = [index for index, agreed in best.items() if agreed == most]
    return owners[0] if len(owners) == 1 else None


def _parts(name: str) -> tuple[str, ...]:
    parts = [part for part in name.replace("\\", "/").casefold().split("/") if part] or [""]
    return (*parts[:-1], without_suffix(parts[-1]))
