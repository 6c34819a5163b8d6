"""What one finished run left in its folder, as far as a page shows it: curves, classes, confusions, telling samples.

Only the standard library is loaded, and numpy where there are scores to read. A file that is missing is told, not fatal.
"""

from __future__ import annotations

import csv
import io
import math
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path

from harbench.analysis.thumbnails import thumbnails
from harbench.errors import RunError
from harbench.files import csv_text
from harbench.records import Leaderboard, RunRecord
from harbench.runs.folder import load_class_keys, load_predictions

SAMPLES = 4
"""Best and worst samples that are shown, each."""
_PICTURED = 3
"""Runs of a data set whose samples are shown as pictures."""
_CURVE = ("epoch", "train_loss", "val_loss", "train_top1", "val_top1")


@dataclass(frozen=True, slots=True)
class ClassResult:
    """One line of per_class.csv."""

    key: str
    name: str
    samples: int
    recall: float | None
    ap: float | None


@dataclass(frozen=True, slots=True)
class ScoredSample:
    """One test sample with the probability that its true class was given."""

    sample_id: str
    truth: int
    predicted: int
    probability: float


@dataclass(frozen=True)
class RunDetail:
    """One run as a page shows it."""

    record: RunRecord
    recipe: str
    """The resolved recipe as YAML; empty when the file is missing."""
    command: str
    """Repeats the run from its own recipe, in another folder of runs."""
    curve: tuple[Mapping[str, float | None], ...] = ()
    """Epoch, losses and top-1 of every epoch."""
    classes: tuple[ClassResult, ...] = ()
    """In the order of the scores."""
    confusion: Mapping[tuple[int, int], int] = field(default_factory=dict)
    """(truth, prediction) -> samples, where there are any; samples without a score are in none."""
    best: tuple[ScoredSample, ...] = ()
    worst: tuple[ScoredSample, ...] = ()
    pictures: Mapping[str, str] = field(default_factory=dict)
    """Sample id -> `data:` address of its middle frame."""
    missing: tuple[str, ...] = ()
    """What the folder does not have, in words."""
    damaged: tuple[str, ...] = ()
    """What it has and cannot be read, in words."""


_Scores = tuple[tuple[ClassResult, ...], dict[tuple[int, int], int], list[ScoredSample]]


def chosen_folders(board: Leaderboard, limit: int) -> list[str]:
    """The run folders whose details a page shows: of every data set the `limit` best placed, the best of all first."""
    by_dataset: dict[str, dict[str, None]] = {}
    for table in board.tables:
        folders = by_dataset.setdefault(table.key.dataset, {})
        folders.update(dict.fromkeys(folder for row in table.rows for folder in row.runs))
    ranked = [list(folders)[:limit] for folders in by_dataset.values()]
    # One of every data set in turn: where not all fit into the page, no data set goes without.
    return [folder for same in zip_longest(*ranked) for folder in same if folder is not None]


def load_details(
    board: Leaderboard, records: Iterable[RunRecord], root: Path, home: Path, limit: int
) -> Iterator[RunDetail]:
    """The details of the chosen runs under `root`, each read when it is asked for.

    The best runs of every data set bring pictures of their telling samples, from the caches under `home`.
    """
    by_folder = {record.folder: record for record in records}
    pictured: Counter[str] = Counter()
    for folder in chosen_folders(board, limit):
        record = by_folder[folder]
        detail = load_detail(root, record)
        pictured[record.dataset] += 1
        if pictured[record.dataset] <= _PICTURED:
            wanted = [sample.sample_id for sample in (*detail.best, *detail.worst)]
            detail = replace(detail, pictures=thumbnails(record, wanted, home))
        yield detail


def load_detail(root: Path, record: RunRecord) -> RunDetail:
    """What the folder of a finished run holds beside its record."""
    folder, damaged = root / record.folder, list[str]()
    text = _text(folder / "recipe.yaml", damaged)
    lines = {name: _lines(folder / name, damaged) for name in ("train.csv", "per_class.csv")}
    expected = {"recipe.yaml": text, "per_class.csv": lines["per_class.csv"]}
    expected |= {} if record.members else {"train.csv": lines["train.csv"]}
    missing = [
        f"no {name}" for name in sorted(expected) if not expected[name] and not any(name in each for each in damaged)
    ]
    scores: _Scores = (), {}, []
    if (folder / "predictions.npz").exists():
        try:
            scores = _scores(folder, record, lines["per_class.csv"])
        except RunError as error:
            damaged.append(str(error))
    else:
        missing.append("no predictions.npz")
    classes, confusion, ordered = scores
    return RunDetail(
        record=record,
        recipe=text,
        command=repeat_command(root, record),
        curve=tuple({name: _number(line.get(name)) for name in _CURVE} for line in lines["train.csv"]),
        classes=classes,
        confusion=confusion,
        best=tuple(ordered[-SAMPLES:][::-1]),
        worst=tuple(ordered[:SAMPLES]),
        missing=tuple(missing),
        damaged=tuple(damaged),
    )


def repeat_command(root: Path, record: RunRecord) -> str:
    """The command that trains a run again from its own recipe, beside the first and not over it.

    A fusion is made anew where it is: it needs the runs that it fuses.
    """
    mark = record.folder.split("/")[1].partition("+")[2] if "/" in record.folder else ""
    runs = str(root) if record.members else "repeated"
    words = ["harbench", "--runs", runs, "run", str(root / record.folder / "recipe.yaml")]
    words += ["--split", record.split]
    words += ["--tag", mark] if mark else []
    words += ["--seed", str(record.seed)] if record.seed else []
    words += ["--force"] if record.members else []
    return shlex.join(words)


def _text(path: Path, damaged: list[str]) -> str:
    """What stands in a file of the folder, nothing where there is none; `damaged` is told of one that cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        if not text:
            damaged.append(f"{path.name} is empty")
        return text
    except FileNotFoundError:
        pass
    except OSError as error:
        damaged.append(f"{path.name} cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        damaged.append(f"{path.name} is not a UTF-8 text file: {error}")
    return ""


def _lines(path: Path, damaged: list[str]) -> list[dict[str, str]]:
    try:
        found = list(csv.DictReader(io.StringIO(_text(path, damaged), newline="")))
        return [{name: csv_text(cell) for name, cell in line.items() if isinstance(cell, str)} for line in found]
    except csv.Error as error:
        damaged.append(f"{path.name} is not a csv file: {error}")
        return []


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:  # a line that a kill cut short
        return None
    return value if math.isfinite(value) else None


def _scores(folder: Path, record: RunRecord, lines: list[dict[str, str]]) -> _Scores:
    """Classes, confusions, and the scored samples, the worst first. Raises RunError when they cannot be read."""
    import numpy as np

    scores = load_predictions(folder)
    table = scores.logits if record.protocol.averaging == "logit" else scores.probabilities
    scored = np.flatnonzero(~np.isnan(table).any(axis=1))
    truth, predicted = scores.targets[scored], table[scored].argmax(axis=1)
    given = scores.probabilities[scored, truth]
    order = np.argsort(given, kind="stable")
    pairs, counts = np.unique(np.stack([truth, predicted]), axis=1, return_counts=True)
    confusion = {(int(t), int(p)): int(n) for (t, p), n in zip(pairs.T, counts, strict=True)}
    kept = [*order[:SAMPLES], *order[max(SAMPLES, len(order) - SAMPLES) :]]
    samples = [
        ScoredSample(scores.ids[scored[i]], int(truth[i]), int(predicted[i]), float(given[i])) for i in map(int, kept)
    ]
    by_key = {line.get("class"): line for line in lines}
    classes = tuple(_class_result(key, by_key.get(key, {})) for key in load_class_keys(folder))
    return classes, confusion, samples


def _class_result(key: str, line: Mapping[str, str]) -> ClassResult:
    count = _number(line.get("samples"))
    return ClassResult(
        key=key,
        name=line.get("name") or key,
        samples=int(count or 0),
        recall=_number(line.get("recall")),
        ap=_number(line.get("ap")),
    )
