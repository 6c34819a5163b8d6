"""`score`: the metrics of anybody's predictions on an official test set. Needs no media."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harbench.errors import DatasetError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from harbench.analysis.submissions import Submission
    from harbench.records import Metrics, Predictions, Sample, SplitTable

LABELS = "labels"
_NUMBERS = re.compile(r"([\s,;]+[0-9]+)+$")
"""What follows the sample in `path label` and `path frames label`."""


@dataclass(frozen=True)
class Scoring:
    """What somebody's predictions are worth."""

    file: str
    dataset: str
    split: str
    headline: str
    metrics: dict[str, float | None]
    """None where it cannot be told: top-5 and average precision of predicted labels."""
    intervals: dict[str, tuple[float, float]]
    """95 %, of top-1 and of the headline metric."""
    interval_methods: dict[str, str]
    samples: int
    """Official test samples: the denominator."""
    scored: int
    missing: tuple[str, ...]
    """Official test samples without a finite prediction; they count as wrong."""
    duplicates: int
    """Predictions that repeat another of the same sample, number for number; the first one counts."""
    elsewhere: int
    """Predictions of train or val samples of this split; they do not count."""
    unknown: tuple[str, ...]
    """Names that are no sample of the data set."""
    classes_from: str
    """What said which column is which class."""
    scores: str
    """What the scores were taken as."""
    per_class: dict[str, dict[str, float | None]]


@dataclass(frozen=True)
class Matched:
    """A file's predictions in the order of a split's test samples."""

    table: SplitTable
    predictions: Predictions
    duplicates: int
    elsewhere: int
    unknown: tuple[str, ...]
    classes_from: str
    scores: str


def score_file(
    file: Path, *, dataset: str, split: str = "", home: Path, classes_order: str = "", names: Path | None = None
) -> Scoring:
    """Score the predictions in `file` (csv, npz, mmaction2 dump) on the test samples of an official split.

    `classes_order` is a file of class names in the order of the scores, or `official`; `names` a list of the samples in
    the order of the predictions. Each is needed only where the file does not say it itself.

    Raises:
        DatasetError: a class or the samples are not named, two predictions of a sample differ, or the file's own truth
            contradicts the official one.
    """
    from harbench.datasets.tables import load_spec
    from harbench.evaluation.metrics import score
    from harbench.runs.record import intervals_of

    matched = match_file(file, dataset=dataset, split=split, home=home, classes_order=classes_order, names=names)
    table, predictions = matched.table, matched.predictions
    metrics, headline = score(predictions, table.classes), load_spec(dataset, home).headline
    told = _told(metrics, matched.scores == LABELS)
    groups = [sample.group for sample in table.subset("test")]
    known = [name for name in ("top1", headline) if told[name] is not None]
    intervals, methods = intervals_of(predictions, "prob", groups, known)
    return Scoring(
        file=str(file),
        dataset=table.dataset,
        split=table.split,
        headline=headline,
        metrics=told,
        intervals=intervals,
        interval_methods=methods,
        samples=metrics.samples,
        scored=metrics.scored,
        missing=tuple(predictions.failed),
        duplicates=matched.duplicates,
        elsewhere=matched.elsewhere,
        unknown=matched.unknown,
        classes_from=matched.classes_from,
        scores=matched.scores,
        per_class={key: dict(values) for key, values in metrics.per_class.items()},
    )


def match_file(
    file: Path, *, dataset: str, split: str = "", home: Path, classes_order: str = "", names: Path | None = None
) -> Matched:
    """The predictions in `file` as `score_file` scores them, from the same arguments. Raises DatasetError as it does."""
    from harbench.analysis.class_columns import column_classes
    from harbench.analysis.submissions import match_samples, read_submission
    from harbench.datasets.tables import load_split

    table = load_split(dataset, split, home)
    given = read_submission(file, table.classes)
    columns, source = column_classes(given, table.classes, classes_order, file)
    called = _names(given, names, file)
    matched = match_samples(called, table.samples)
    if given.targets and source != "the file":
        _agree(given.targets, columns, [table.samples[i] if i is not None else None for i in matched], file)
    test = {sample.sample_id: row for row, sample in enumerate(table.subset("test"))}
    rows = [None if index is None else test.get(table.samples[index].sample_id) for index in matched]
    if not any(row is not None for row in rows):
        raise DatasetError(
            f"{file}: none of its {len(rows)} names is a test sample of {table.dataset} {table.split}; the first is "
            f"{called[0]!r}, expected names as {next(iter(test))!r}. Another split?  --split"
        )
    predictions, repeated, taken_as = _predictions(given, columns, rows, table, file)
    return Matched(
        table=table,
        predictions=predictions,
        duplicates=repeated,
        elsewhere=sum(index is not None and row is None for index, row in zip(matched, rows, strict=True)),
        unknown=tuple(name for name, index in zip(called, matched, strict=True) if index is None),
        classes_from=source,
        scores=taken_as,
    )


def _names(given: Submission, names: Path | None, file: Path) -> Sequence[str]:
    """The name of the sample of each prediction: the file's own, or those of a list in the same order."""
    if names is None:
        if not given.names:
            raise DatasetError(
                f"{file} does not name its samples. Give the list that was tested, in its order:  --names FILE  (one "
                "`path label` or `path` a line, as the annotation file of the test)"
            )
        return given.names
    try:
        lines = [line.strip() for line in names.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"--names {names}: expected a list of samples: {error}") from None
    if len(lines) != len(given.scores):
        raise DatasetError(f"--names {names} has {len(lines)} lines, {file} {len(given.scores)} predictions")
    return [_NUMBERS.sub("", line) for line in lines]


def _agree(targets: Sequence[int], columns: Sequence[int], samples: Sequence[Sample | None], file: Path) -> None:
    """Hold the truth that the file states against the official one: another order of classes would show here."""
    pairs = [(number, sample) for number, sample in zip(targets, samples, strict=True) if sample is not None]
    wrong = [sample for number, sample in pairs if not 0 <= number < len(columns) or columns[number] != sample.target]
    if wrong:
        raise DatasetError(
            f"{file}: its own truth (gt_label) is another class than the official one for {len(wrong)} of {len(pairs)} "
            f"samples, first {wrong[0].sample_id}. The order of classes or the names of samples belong to another list"
        )


def _predictions(
    given: Submission, columns: Sequence[int], rows: Sequence[int | None], table: SplitTable, file: Path
) -> tuple[Predictions, int, str]:
    """Predictions in official order, how many were repeated, and what the scores were taken as."""
    import numpy as np

    from harbench.records import Predictions

    test = table.subset("test")
    logits = np.full((len(test), len(table.classes)), np.nan, dtype=np.float32)
    seen: dict[int, int] = {}
    for place, row in enumerate(rows):
        if row is None:
            continue
        first = seen.setdefault(row, place)
        if not np.array_equal(given.scores[first], given.scores[place], equal_nan=True):
            raise DatasetError(
                f"{file}: {test[row].sample_id} stands there twice, in entries {first + 1} and {place + 1}, with "
                "different scores. Average or choose before scoring"
            )
    for row, place in seen.items():
        logits[row, :] = 0 if given.labels_only else np.nan
        logits[row, columns] = given.scores[place]
    bare = ~np.isfinite(logits).all(axis=1)
    logits[bare] = np.nan
    failed = {
        test[row].sample_id: "its scores are not finite" if row in seen else f"no prediction in {file.name}"
        for row in np.flatnonzero(bare).tolist()
    }
    probabilities, taken_as = (logits, LABELS) if given.labels_only else _probabilities(logits)
    targets = np.array([sample.target for sample in test], dtype=np.int64)
    ids = tuple(sample.sample_id for sample in test)
    found = sum(row is not None for row in rows)
    return Predictions(ids, targets, logits, probabilities, None, failed), found - len(seen), taken_as


def _probabilities(scores: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], str]:
    """Average precision is of probabilities: scores beyond 0..1 are logits, and their softmax is taken."""
    import numpy as np
    from scipy.special import softmax

    known = scores[np.isfinite(scores)]
    if not len(known) or (known.min() >= 0 and known.max() <= 1 + 1e-6):
        return scores, "probabilities"
    return np.asarray(softmax(scores, axis=1), dtype=np.float32), "logits, softmax taken"


def _told(metrics: Metrics, labels_only: bool) -> dict[str, float | None]:
    return {
        name: None if labels_only and name not in ("top1", "mean_class") else value
        for name, value in metrics.values.items()
    }
