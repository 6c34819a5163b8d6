"""Metrics over all splits of a set, with intervals, kept beside the runs once every split has one."""

from __future__ import annotations

import logging
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from harbench.errors import RunError
from harbench.records import ClassLabel, DatasetSpec, JointInterval, Predictions, RunRecord

if TYPE_CHECKING:
    from harbench.evaluation.intervals import Part

log = logging.getLogger(__name__)


def join_splits(folder: Path, *, home: Path) -> None:
    """Write the metrics over each split set that the finished run in `folder` is part of, once all of its splits are there.

    A source that is tested in several splits is drawn in all of them together, so a mean of splits is not told more
    exactly than its sources allow. Made once; again where a split was run again. Runs of different recipes are left alone.
    """
    from harbench.datasets.tables import load_spec
    from harbench.runs.folder import RECORD, load_joint, load_run, save_joint

    record, recipe, seed = load_run(folder), folder.parent.parent, folder.name
    spec = load_spec(record.dataset, home)
    for name, splits in _sets_of(record, spec, home).items():
        members = [recipe / split / seed for split in splits]
        if not all((member / RECORD).exists() for member in members):
            continue
        path = recipe / name / f"{seed}.json"
        try:
            records = [load_run(member) for member in members]
            finished = {each.split: each.finished for each in records}
            made = load_joint(path)
            if len({each.recipe_sha256 for each in records}) > 1 or (made is not None and made[0] == finished):
                continue
            parts = [_part(each, member, home) for each, member in zip(records, members, strict=True)]
        except RunError as error:  # of another split: this run is whole
            log.warning("%s has no interval: %s", name, error)
        else:
            save_joint(path, finished, _over_splits(parts, records))


def _sets_of(record: RunRecord, spec: DatasetSpec, home: Path) -> dict[str, tuple[str, ...]]:
    """The sets of several splits that the record's split is one of: those published together, or all folds."""
    from harbench.datasets.tables import expand_splits
    from harbench.runs.comparability import LOPO, pooled_split

    if record.split.startswith(LOPO):
        name = pooled_split(record.split)
        return {name: tuple(expand_splits(spec, f"{LOPO}*{name.removeprefix('lopo')}", home))}
    return {name: splits for name, splits in spec.split_sets.items() if record.split in splits and len(splits) > 1}


def _over_splits(parts: list[Part], records: list[RunRecord]) -> list[JointInterval]:
    """Each metric with its interval: of the predictions of all folds together, or the mean over the splits."""
    from harbench.evaluation.intervals import METRICS, metric_interval
    from harbench.evaluation.metrics import score
    from harbench.runs.comparability import LOPO

    if folds := records[0].split.startswith(LOPO):
        parts = [_pooled(parts)]
        labels = [ClassLabel(str(column), str(column)) for column in range(parts[0][0].logits.shape[1])]
        values = score(parts[0][0], labels, average="logit" if parts[0][1] == "logit" else "prob").values
    found = []
    for metric in dict.fromkeys(("top1", records[0].key.metric)):
        each = [record.metrics.get(metric) for record in records]
        value = (
            values[metric]
            if folds
            else fmean(known for known in each if known is not None)
            if None not in each
            else None
        )
        if metric in METRICS and value is not None:
            found.append(JointInterval(metric, value, *metric_interval(metric, parts)))
    return found


def _part(record: RunRecord, folder: Path, home: Path) -> Part:
    """The predictions of a finished run and the group of each test sample."""
    from harbench.datasets.tables import load_split
    from harbench.runs.folder import load_predictions

    predictions = load_predictions(folder)
    group_of = {sample.sample_id: sample.group for sample in load_split(record.dataset, record.split, home).samples}
    return predictions, record.protocol.averaging, [group_of.get(name, "") for name in predictions.ids]


def _pooled(parts: list[Part]) -> Part:
    """The predictions of all folds as those of one split."""
    import numpy as np

    folds = [predictions for predictions, _, _ in parts]
    whole = Predictions(
        ids=tuple(name for fold in folds for name in fold.ids),
        targets=np.concatenate([fold.targets for fold in folds]),
        logits=np.concatenate([fold.logits for fold in folds]),
        probabilities=np.concatenate([fold.probabilities for fold in folds]),
        novel=folds[0].novel,
    )
    return whole, parts[0][1], [group for _, _, groups in parts for group in groups]
