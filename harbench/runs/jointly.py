"""The mean over the splits of a published set, once each has its run: its interval, kept beside them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from harbench.errors import RunError
from harbench.records import JointInterval, RunRecord

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

log = logging.getLogger(__name__)
METRIC = "top1"


def join_splits(folder: Path, *, home: Path) -> None:
    """Make the intervals of the means that the finished run in `folder` is part of, where all their splits are there.

    A source that is tested in several splits is drawn in all of them together, so a mean of splits is not told more
    exactly than its sources allow. Made once; again where a split was run again.
    """
    from harbench.datasets.tables import load_spec
    from harbench.evaluation.intervals import joint_interval
    from harbench.runs.comparability import LOPO
    from harbench.runs.store import RECORD, load_joint, load_run, save_joint

    record, recipe, seed = load_run(folder), folder.parent.parent, folder.name
    if record.split.startswith(LOPO):  # folds are pooled, not averaged
        return
    for name, splits in load_spec(record.dataset, home).split_sets.items():
        members = {split: recipe / split / seed for split in splits}
        if (
            record.split not in splits
            or len(splits) < 2
            or not all((each / RECORD).exists() for each in members.values())
        ):
            continue
        try:
            records = {split: load_run(member) for split, member in members.items()}
            finished = {split: each.finished for split, each in records.items()}
            made = load_joint(recipe / name / f"{seed}.json")
            if made is not None and made[0] == finished:
                continue
            parts = [_hits_by_group(records[split], member, home) for split, member in members.items()]
        except RunError as error:  # of another split: this run is whole
            log.warning("%s has no interval: %s", name, error)
        else:
            low, high, method = joint_interval([(hits, groups) for hits, groups, _ in parts])
            if not all(known for _, _, known in parts):
                method += "; no groups are known, so samples count as independent"
            save_joint(recipe, name, seed, finished, JointInterval(METRIC, low, high, method))


def _hits_by_group(record: RunRecord, folder: Path, home: Path) -> tuple[npt.NDArray[np.bool_], list[str], bool]:
    """Which test samples are right, the group of each, a sample without one being its own, and whether all have one."""
    from harbench.datasets.tables import load_split
    from harbench.evaluation.metrics import right
    from harbench.runs.store import load_predictions

    predictions = load_predictions(folder)
    group_of = {sample.sample_id: sample.group for sample in load_split(record.dataset, record.split, home).samples}
    groups = [group_of.get(name, "") for name in predictions.ids]
    named = [group or name for group, name in zip(groups, predictions.ids, strict=True)]
    return right(predictions, record.protocol.averaging), named, all(groups)
