"""Run folders: what a finished run leaves on disk, and how it is read again.

`predictions.npz`, `views.npz` (when small), `per_class.csv`, and `run.json`, which is written last: a folder without
it is not a finished run. Beside the splits of a set lies the interval of their mean, `mean-of-3/seed0.json`. Reading
records needs only the standard library.
"""

from __future__ import annotations

import csv
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harbench.errors import HarbenchWarning, RunError
from harbench.files import replacing, write_text
from harbench.records import ClassLabel, Comparability, JointInterval, Metrics, Predictions, ProtocolFacts, RunRecord
from harbench.reporting.entries import pooled_split

if TYPE_CHECKING:
    import numpy.typing as npt

RECORD = "run.json"
_MAX_VIEWS = 100 * 2**20
"""Bytes of per-view scores that are still kept."""
_ARRAYS = ("ids", "targets", "logits", "probabilities", "failed_ids", "failed_reasons", "classes")


# ------------------------------------------------------------------------------------------------------------- saving
def save_run(
    folder: Path, record: RunRecord, predictions: Predictions, classes: Sequence[ClassLabel], metrics: Metrics
) -> None:
    """Write a finished run into `folder`; `run.json` comes last and makes it one.

    `predictions.npz` holds ids [N], targets [N], logits and probabilities [N, K], class keys [K] in their order, and
    the ids that failed with the reasons: any metric can be computed again from it. Every file is whole or absent.
    """
    import numpy as np

    _save_arrays(
        folder / "predictions.npz",
        ids=np.array(predictions.ids, dtype=np.str_),
        targets=predictions.targets,
        logits=predictions.logits,
        probabilities=predictions.probabilities,
        failed_ids=np.array(list(predictions.failed), dtype=np.str_),
        failed_reasons=np.array(list(predictions.failed.values()), dtype=np.str_),
        classes=np.array([label.key for label in classes], dtype=np.str_),
    )
    if predictions.views is not None and predictions.views.nbytes < _MAX_VIEWS:
        _save_arrays(folder / "views.npz", views=predictions.views)
    else:
        (folder / "views.npz").unlink(missing_ok=True)
    write_text(folder / "per_class.csv", _per_class_csv(classes, metrics))
    write_text(folder / RECORD, json.dumps(asdict(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


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
        writer.writerow((label.key, label.display, int(samples or 0), _percent(recall), _percent(ap)))
    return buffer.getvalue()


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


# ------------------------------------------------------------------------------------------------------------ reading
def load_runs(root: Path) -> list[RunRecord]:
    """The records of all finished runs under `root`, by folder name. Warns of a damaged run.json and goes on."""
    records: list[RunRecord] = []
    for path in sorted(root.glob(f"*/*/*/*/{RECORD}")):
        try:
            record = load_run(path.parent)
        except RunError as error:
            warnings.warn(f"{error}\nThis run is left out.", HarbenchWarning, stacklevel=2)
            continue
        # A folder that was moved or copied is what it is called now.
        records.append(replace(record, folder=path.parent.relative_to(root).as_posix()))
    return _with_joint(_of_newest_data(records), root)


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


def save_joint(recipe: Path, split_set: str, seed: str, finished: Mapping[str, str], joint: JointInterval) -> None:
    """Write the interval of a mean over splits to `<recipe's folder>/<split set>/<seed>.json`.

    `finished` says when the run of each split was, so that a repeated one is not taken for it.
    """
    content = {"finished": dict(finished), **asdict(joint)}
    write_text(recipe / split_set / f"{seed}.json", json.dumps(content, indent=2) + "\n")


def load_joint(path: Path) -> tuple[dict[str, str], JointInterval] | None:
    """When the run of each split was finished, and the interval of their mean; None where it has to be made (again)."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return dict(raw.pop("finished")), JointInterval(**raw)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _with_joint(records: Sequence[RunRecord], root: Path) -> list[RunRecord]:
    """The records with the intervals of means over splits that were made of exactly these runs."""
    by_folder = {record.folder: record for record in records}
    for path in sorted(root.glob("*/*/*/seed*.json")):
        finished, joint = load_joint(path) or ({}, None)
        recipe = path.parent.parent.relative_to(root)
        folders = {split: (recipe / split / path.stem).as_posix() for split in finished}
        now = {split: by_folder[folder].finished for split, folder in folders.items() if folder in by_folder}
        if joint is not None and now == finished:
            for folder in folders.values():
                record = by_folder[folder]
                by_folder[folder] = replace(record, joint={**record.joint, path.parent.name: joint})
    return list(by_folder.values())


def load_run(folder: Path) -> RunRecord:
    """The record of one finished run. Raises RunError when there is none, or when it is damaged."""
    path = folder / RECORD
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return _record(raw)
    except FileNotFoundError:
        raise RunError(f"{folder} has no {RECORD}, so it is not a finished run; `harbench run` finishes it") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} is damaged ({type(error).__name__}: {error}); delete it and run the recipe again to write it anew"
        ) from None


def load_predictions(folder: Path) -> Predictions:
    """The scores of a finished run, with its views where they were kept.

    Raises RunError when they are missing or damaged.
    """
    import zipfile

    path = folder / "predictions.npz"
    try:
        arrays = _load_arrays(path, _ARRAYS)
        views = folder / "views.npz"
        kept = _load_arrays(views, ("views",))["views"] if views.exists() else None
    except FileNotFoundError:
        raise RunError(f"{folder} has no predictions.npz; `harbench run` makes it") from None
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise RunError(f"the scores in {folder} are damaged ({error}); repeat the run with --force") from None
    return Predictions(
        ids=tuple(arrays["ids"].tolist()),
        targets=arrays["targets"],
        logits=arrays["logits"],
        probabilities=arrays["probabilities"],
        views=kept,
        failed=dict(zip(arrays["failed_ids"].tolist(), arrays["failed_reasons"].tolist(), strict=True)),
    )


def load_class_keys(folder: Path) -> tuple[str, ...]:
    """The class keys in the order of a finished run's scores; its scores can be read (`load_predictions`)."""
    return tuple(_load_arrays(folder / "predictions.npz", ("classes",))["classes"].tolist())


def _load_arrays(path: Path, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    import numpy as np

    # numpy does not close a file that it opened and found damaged.
    with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as archive:
        return {name: archive[name] for name in names}


def _record(raw: Mapping[str, Any]) -> RunRecord:
    names = {each.name for each in fields(RunRecord)}
    known = {name: value for name, value in raw.items() if name in names}
    known["key"] = Comparability(**raw["key"])
    known["protocol"] = ProtocolFacts(**raw["protocol"])
    known["metrics"] = {name: None if value is None else float(value) for name, value in raw["metrics"].items()}
    known["intervals"] = {name: (float(low), float(high)) for name, (low, high) in raw["intervals"].items()}
    known["samples"] = {name: int(count) for name, count in raw["samples"].items()}
    return RunRecord(**known)
