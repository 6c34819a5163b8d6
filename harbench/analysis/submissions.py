"""Other frameworks' predictions, read and brought into the order of an official test set. Nothing is guessed.

Three kinds of file: `.csv` (a sample and one column a class, or a sample and its predicted label; column names may be
missing), `.npz` (`ids`, `scores` or harbench's own `probabilities`, and `classes`), `.pkl` (what mmaction2's test script
dumps).
"""

from __future__ import annotations

import io
import math
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harbench.datasets.match import PathIndex
from harbench.datasets.parse import PATH_COLUMNS
from harbench.errors import DatasetError, damage
from harbench.files import read_csv
from harbench.pickles import Stub, read_pickle
from harbench.records import ClassLabel, Sample

Scores = npt.NDArray[np.float32]
_NAMES = ("sample_id", *PATH_COLUMNS)
_FIRST = "the sample"
"""The first column of a table without a line of column names."""
_SCORES = ("scores", "probabilities", "logits")
_LARGE = 1 << 28
"""Bytes up to which an array may be unpacked from any file; larger ones from at least a hundredth of their size."""
_LABELS = ("label", "class", "prediction", "predicted", "predicted_label", "pred", "pred_label")


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
def read_submission(path: Path, classes: Sequence[ClassLabel]) -> Submission:
    """The predictions in a csv, npz or pickle file; `classes` are those of the data set, for tables without a header.

    Raises DatasetError when it is none of these or not of `[N, K]` numbers, PickleError when a pickle is damaged.
    """
    readers = {".csv": _read_csv, ".npz": _read_npz, ".pkl": _read_dump, ".pickle": _read_dump}
    reader = readers.get(path.suffix.lower())
    if not path.is_file() or reader is None:
        raise DatasetError(f"{path}: expected a file of predictions, {', '.join(readers)}; found none")
    found = reader(path, classes)
    if found.scores.ndim and not len(found.scores):
        raise DatasetError(f"{path}: there are no predictions in it")
    scores = checked_scores(found.scores, str(path))
    rows, columns = scores.shape
    if len(found.names) not in (0, rows) or len(found.classes) not in (0, columns):
        raise DatasetError(
            f"{path}: expected one id for each of the {rows} rows of scores and one class for each of the {columns} "
            f"columns, found {len(found.names)} ids and {len(found.classes)} classes"
        )
    return replace(found, scores=scores)


def checked_scores(values: npt.NDArray[Any], where: str) -> Scores:
    """Scores `[N, K]` as float32. What is not finite stays: it is no score. DatasetError for another type or rank."""
    if values.dtype.kind not in "fiu" or values.ndim != 2 or not values.size:
        raise DatasetError(
            f"{where}: expected scores [N, K], one row a sample and one column a class, as floats or integers; found "
            f"{list(values.shape)} of {values.dtype}"
        )
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _read_csv(path: Path, classes: Sequence[ClassLabel]) -> Submission:
    width, numbers = len(classes), tuple(map(str, range(len(classes))))
    headless = {width: numbers, width + 1: (_FIRST, *numbers), 2: (_FIRST, "label")}
    table = read_csv(path, (*_NAMES, *_LABELS), headless)
    columns = list(table.columns)
    if (
        len(table)
        and len(columns) > 2
        and columns == list(headless.get(len(columns), ()))
        and _is_header(table.iloc[0, 1:], width)
    ):
        columns, table = table.iloc[0].tolist(), table.iloc[1:]  # a header in which nothing but classes is known
    label = next((columns.index(name) for name in _LABELS if name in columns), None)
    if label is not None and len(columns) == 2:
        labels = table.iloc[:, label].tolist()
        place = {name: number for number, name in enumerate(sorted(set(labels)))}
        if len(place) > width:
            raise DatasetError(
                f"{path}: expected labels of {width} classes, found {len(place)}: {', '.join(list(place)[:5])}"
            )
        scores = np.eye(len(place), dtype=np.float32)[[place[name] for name in labels]]
        return Submission(tuple(table.iloc[:, 1 - label]), tuple(place), scores, True)
    sample = next((columns.index(name) for name in (_FIRST, *_NAMES) if name in columns), None)
    if sample is None and len(columns) != width:
        sample = 0
    scored = [number for number in range(len(columns)) if number != sample]
    rows, line = [], 0
    try:
        for line, *cells in table.iloc[:, scored].itertuples(name=None):  # noqa: B007  the message has it
            rows.append([float(cell or "nan") for cell in cells])
    except ValueError as error:
        raise DatasetError(
            f"{path}, line {line}: expected a score in every column but that of the sample, found {error}. A file of "
            "labels has two columns, `id,label`; of a top-k list keep the sample and the best class"
        ) from None
    names = () if sample is None else tuple(table.iloc[:, sample])
    return Submission(
        names, tuple(columns[number] for number in scored), np.array(rows).reshape(len(rows), len(scored))
    )


def _is_header(cells: Iterable[str], classes: int) -> bool:
    """Whether a line names columns: not all are numbers, or they are the numbers of the classes."""
    try:
        numbers = sorted(float(cell or "nan") for cell in cells)
    except ValueError:
        return True
    return classes > 2 and numbers in ([*range(classes)], [*range(1, classes)], [*range(1, classes + 1)])


def _read_npz(path: Path, classes: Sequence[ClassLabel]) -> Submission:
    arrays = _arrays(path)
    kind = next((name for name in _SCORES if name in arrays), None)
    texts = {name: arrays[name] for name in ("ids", "classes") if name in arrays}
    if kind is None or any(array.ndim != 1 or array.dtype.kind not in "USiu" for array in texts.values()):
        raise DatasetError(
            f"{path}: expected texts `ids` [N] and numbers `scores` [N, K] (and texts `classes` [K]), found "
            f"{', '.join(f'{name} {list(array.shape)} of {array.dtype}' for name, array in arrays.items()) or 'none'}"
        )
    try:
        named = {
            name: tuple(each.decode() if isinstance(each, bytes) else str(each) for each in array.tolist())
            for name, array in texts.items()
        }
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: expected texts in UTF-8, found {error}") from None
    return Submission(named.get("ids", ()), named.get("classes", ()), arrays[kind])


def _arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an npz that predictions are read from. None is made before its size is held against the file's."""
    found = {}
    try:
        with path.open("rb") as handle:
            if handle.read(6) == np.lib.format.MAGIC_PREFIX:
                raise DatasetError(
                    f"{path}: this is one array (.npy), not an npz. Save it with its samples: "
                    "np.savez('scores.npz', ids=ids, scores=scores, classes=classes)"
                )
            handle.seek(0)
            archive = np.load(handle, allow_pickle=False)
            for name in ("ids", "classes", *_SCORES):
                if name in archive.files:
                    _check_size(path, name, archive.zip)
                    found[name] = archive[name]
    except DatasetError:
        raise
    except Exception as error:  # noqa: BLE001  numpy, zipfile, zlib and ast raise what a damaged file makes them raise
        raise DatasetError(
            f"{path}: expected an npz of plain arrays as np.savez writes it, found damage ({damage(error)})"
        ) from None
    return found


def _check_size(path: Path, name: str, archive: zipfile.ZipFile) -> None:
    size = archive.getinfo(f"{name}.npy").file_size
    with archive.open(f"{name}.npy") as member:
        old = np.lib.format.read_magic(member) == (1, 0)
        shape, _, dtype = (np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0)(member)
    if math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"`{name}` of {size:,} bytes where its header says {list(shape)} of {dtype}")
    if size > max(_LARGE, 100 * path.stat().st_size):
        raise DatasetError(f"{path}: `{name}` unpacks to {size:,} bytes. Save it uncompressed, np.savez")


def _read_dump(path: Path, classes: Sequence[ClassLabel]) -> Submission:
    """mmaction2: a list of dicts; `pred_score` and `gt_label` since 1.2, `pred_scores.item` and `gt_labels.item` before."""
    content = read_pickle(path)
    if not isinstance(content, list) or not content or not all(isinstance(each, dict) for each in content):
        raise DatasetError(f"{path}: expected a list of dicts, as mmaction2's `--dump` writes it")
    rows: list[npt.NDArray[Any]] = []
    targets: list[int] = []
    names: list[str] = []
    for number, each in enumerate(content):
        where = f"{path}: entry {number}"
        row = _numbers(each.get("pred_score", each.get("pred_scores")), f"{where}: `pred_score`")
        if row is None or (rows and len(row) != len(rows[0])):
            raise DatasetError(f"{where}: expected `pred_score` with a score a class, as in the others")
        rows.append(row)
        truth = _numbers(each.get("gt_label", each.get("gt_labels")), f"{where}: `gt_label`")
        if truth is not None and len(truth) == 1:
            if truth.dtype.kind not in "iu" and not float(truth[0]).is_integer():
                raise DatasetError(f"{where}: expected `gt_label` as the number of a class, found {truth[0]}")
            targets.append(int(truth[0]))
        names += [each[name] for name in _NAMES if isinstance(each.get(name), str)][:1]
    return Submission(
        tuple(names) if len(names) == len(rows) else (),
        (),
        np.array(rows),
        targets=tuple(targets) if len(targets) == len(rows) else (),
    )


_NUMBER = (int, float, np.integer, np.floating)


def _numbers(value: Any, where: str) -> npt.NDArray[Any] | None:
    """A number, a list, an array or a tensor (its bytes stand in a pickle as a file of torch's), as an array [K]."""
    if isinstance(value, dict):
        value = value.get("item")
    if value is None:
        return None
    if isinstance(value, Stub):
        value = _tensor(value, where)
    elif not isinstance(value, np.ndarray):
        values = value if isinstance(value, (list, tuple)) else [value]
        odd = [each for each in values if type(each) is bool or not isinstance(each, _NUMBER)]
        if odd:
            raise DatasetError(f"{where}: expected numbers, found {type(odd[0]).__name__}")
        try:
            value = np.array(values, dtype=np.float64)
        except OverflowError as error:
            raise DatasetError(f"{where}: expected numbers, found {error}") from None
    array: npt.NDArray[Any] = np.atleast_1d(np.asarray(value))
    if array.ndim != 1 or array.dtype.kind not in "fiu":
        raise DatasetError(f"{where}: expected numbers of one dimension, found {list(array.shape)} of {array.dtype}")
    return array


def _tensor(value: Stub, where: str) -> npt.NDArray[Any]:
    """A tensor of one dimension, from what torch would be called with."""
    import torch

    from harbench.models.weight_files import UNREADABLE

    if value.name != "torch._utils._rebuild_tensor_v2":
        raise DatasetError(f"{where}: expected tensors, arrays or lists, found {value.name}")
    try:
        storage, offset, (count,), (step,) = value.args[:4]
        typed = torch.load(io.BytesIO(storage.args[0]), weights_only=True)
        flat = torch.empty(0, dtype=typed.dtype).set_(typed)
        if step < 1 or count < 1 or not 0 <= offset <= len(flat) - 1 - (count - 1) * step:
            raise ValueError(f"{count} numbers at {offset} of {len(flat)}")
        return flat[offset:][: count * step : step].double().numpy()
    except UNREADABLE as error:
        raise DatasetError(f"{where}: expected a tensor of one dimension, found damage ({damage(error)})") from None


# ------------------------------------------------------------------------------------------------------------- samples
def match_samples(names: Sequence[str], samples: Sequence[Sample]) -> list[int | None]:
    """The sample that each name means: by id or media, case folded, with or without suffix and leading folders.

    A base name that several samples have is the one whose path agrees on the most trailing parts, if it is one.
    """
    owners: dict[str, list[int]] = defaultdict(list)
    for number, sample in enumerate(samples):
        owners[sample.media].append(number)
    by_id = [(sample.sample_id, number) for number, sample in enumerate(samples)]
    index = PathIndex.of([*by_id, *((media, each[0]) for media, each in owners.items() if len(each) == 1)])
    found = map(index.find, names)
    return [owner[0] if owner else None for owner in found]
