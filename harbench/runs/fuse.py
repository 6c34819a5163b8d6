"""`run` of a recipe with `fuse:`: scores of finished runs, weighted and added, as a run of its own."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harbench import __version__
from harbench.errors import RunError, did_you_mean
from harbench.evaluation.distributed import environment, is_rank_zero
from harbench.files import write_text
from harbench.records import (
    UNKNOWN,
    ClassLabel,
    Comparability,
    Metrics,
    Predictions,
    ProtocolFacts,
    RunRecord,
    RunReport,
)
from harbench.runs.folder import log_file
from harbench.runs.seen import Seen, run_seen, write_train_ids

if TYPE_CHECKING:
    from harbench.recipe import Fusion, Member

log = logging.getLogger(__name__)

SELECTIONS = ("last", "val", "unknown", "test")
"""From best to worst: a fusion is as much selected on test as the worst of its runs."""


@dataclass(frozen=True)
class _Part:
    """A finished run with its scores."""

    folder: Path
    weight: float
    record: RunRecord
    predictions: Predictions
    classes: tuple[str, ...]


def fuse_runs(fusion: Fusion, folder: Path, seed: int, *, home: Path, runs: Path) -> RunRecord:
    """Fuse the runs that `fusion` names into `folder`, which is held, and return its record.

    Raises:
        RunError: a run is not finished, with the commands that finish all of them; or two of them are not of the same
            samples, classes and split.
    """
    import torch

    from harbench.evaluation.metrics import fuse_scores, score
    from harbench.recipe import dump_recipe
    from harbench.runs.folder import save_run
    from harbench.runs.record import intervals_of

    parts = _opened(fusion, seed, runs)
    _check_alike(parts)
    predictions = fuse_scores([each.predictions for each in parts], [each.weight for each in parts], fusion.level)
    labels, groups = _facts_of(parts[0], home)
    metrics = score(predictions, labels, average="prob")
    told = [run_seen(each.folder) for each in parts]
    seen = Seen(
        frozenset().union(*(each.ids for each in told)), "; ".join(filter(None, (each.unknown for each in told)))
    )
    record = _record(fusion, parts, metrics, folder, seed, runs)
    intervals, methods = intervals_of(predictions, "prob", groups, ("top1", record.key.metric))
    record = replace(
        record,
        intervals=intervals,
        interval_methods=methods,
        samples={**record.samples, "train": len(seen.ids)},
        partial=_joined([record.partial, seen.unknown], "; "),
    )
    if is_rank_zero():
        write_text(folder / "recipe.yaml", dump_recipe(fusion))
        write_text(folder / "environment.json", json.dumps(environment(torch.device("cpu")), indent=2))
        write_train_ids(folder, seen)
        with log_file(folder / "log.txt"):
            log.info(
                "%s fuses %s", folder, ", ".join(f"{name} x {weight:g}" for name, weight in record.members.items())
            )
        save_run(folder, record, predictions, labels, metrics)
    return record


def fusion_plan(fusion: Fusion, folder: Path, seed: int, *, runs: Path) -> RunReport:
    """What `run --dry-run` says of a fusion: its runs, and which of them are still to be made."""
    from harbench.recipe import dump_recipe

    folders = {_folder_of(each, fusion, seed, runs): each.weight for each in fusion.fuse}
    missing = [command for each in fusion.fuse if (command := _command(each, fusion, seed, runs))]
    return RunReport(
        folder=str(folder),
        recipe=fusion.name,
        dataset=fusion.data.dataset,
        split=fusion.data.split,
        seed=seed,
        state="dry run",
        plan={
            "recipe": dump_recipe(fusion),
            "run folder": str(folder),
            "fuses": {str(each): weight for each, weight in folders.items()},
            "in the way": "nothing: harbench run starts"
            if not missing
            else "runs to finish first:\n" + "\n".join(missing),
        },
    )


def check_current(record: RunRecord, runs: Path) -> None:
    """RunError when one of the runs that a finished fusion is made of was repeated since."""
    from harbench.runs.folder import load_run

    for name in record.members:
        folder = _at(name, runs)
        if (folder / "run.json").exists() and load_run(folder).finished > record.finished:
            raise RunError(f"{folder} was repeated after {record.folder} was fused; --force fuses its new scores")


def _opened(fusion: Fusion, seed: int, runs: Path) -> list[_Part]:
    from harbench.runs.folder import load_class_keys, load_predictions, load_run

    missing = [command for each in fusion.fuse if (command := _command(each, fusion, seed, runs))]
    if missing:
        raise RunError(
            f"{fusion.name} fuses finished runs, and {len(missing)} of {len(fusion.fuse)} are not. Run first\n  "
            + "\n  ".join(missing)
        )
    folders = [_folder_of(each, fusion, seed, runs) for each in fusion.fuse]
    if len(set(folders)) < len(folders):
        raise RunError(f"{fusion.name} names a run twice; give it the sum of the weights once")
    return [
        _Part(folder, each.weight, load_run(folder), load_predictions(folder), load_class_keys(folder))
        for folder, each in zip(folders, fusion.fuse, strict=True)
    ]


def _at(name: str, runs: Path) -> Path:
    """A run folder by its path, or relative to `runs`."""
    return Path(name) if (Path(name) / "run.json").is_file() else runs / name


def _folder_of(member: Member, fusion: Fusion, seed: int, runs: Path) -> Path:
    if "/" in member.recipe:
        return _at(member.recipe, runs)
    return runs / fusion.data.dataset / member.recipe / fusion.data.split / f"seed{seed}"


def _command(member: Member, fusion: Fusion, seed: int, runs: Path) -> str:
    """What finishes the run; empty when it is finished."""
    from harbench.recipe.load import recipe_paths

    folder = _folder_of(member, fusion, seed, runs)
    if (folder / "run.json").is_file():
        return ""
    if "/" in member.recipe:
        return f"the run of {folder}"
    name, _, tag = member.recipe.partition("+")
    shipped = [path.stem for path in recipe_paths()]
    words = ["harbench run", name if name in shipped else "FILE", f"--split {fusion.data.split}"]
    words += [f"--seed {seed}"] * bool(seed) + [f"--tag {tag}"] * bool(tag)
    note = (
        ""
        if name in shipped
        else f"   (FILE of a recipe {name} of yours: none of this name is shipped{did_you_mean(name, shipped)})"
    )
    return " ".join(words) + note


def _check_alike(parts: Sequence[_Part]) -> None:
    """RunError unless all are scores of the same samples, in the same classes, on the same split."""
    first = parts[0]
    for other in parts[1:]:
        mine, theirs = first.record, other.record
        problems = [
            f"{what}: {a} against {b}"
            for what, a, b in (
                ("data set", mine.dataset, theirs.dataset),
                ("split", mine.split, theirs.split),
                ("what is scored", mine.key.unit, theirs.key.unit),
            )
            if a != b
        ]
        if first.classes != other.classes:
            problems.append(_difference("classes", first.classes, other.classes))
        if first.predictions.ids != other.predictions.ids:
            problems.append(_difference("samples", first.predictions.ids, other.predictions.ids))
        elif (first.predictions.targets != other.predictions.targets).any():
            problems.append("samples: the same ones under other classes")
        if problems:
            raise RunError(f"{first.folder} and {other.folder} cannot be fused:\n  " + "\n  ".join(problems))


def _difference(what: str, mine: Sequence[str], theirs: Sequence[str]) -> str:
    only, others = (
        [each for each in mine if each not in set(theirs)],
        [each for each in theirs if each not in set(mine)],
    )
    if not only and not others:
        return f"{what}: the same {len(mine)}, in another order"
    return f"{what}: {len(mine)} against {len(theirs)}; in one alone {', '.join([*only, *others][:5])}"


def _facts_of(part: _Part, home: Path) -> tuple[list[ClassLabel], list[str]]:
    """Class labels in the order of the scores, and the source group of every sample."""
    from harbench.datasets.tables import load_split

    table = load_split(part.record.dataset, part.record.split, home)
    labels = {label.key: label for label in table.classes}
    groups = {sample.sample_id: sample.group for sample in table.samples}
    gone = [name for name in part.classes if name not in labels] + [n for n in part.predictions.ids if n not in groups]
    if gone:
        raise RunError(
            f"{part.folder} scores what {table.dataset} {table.split} does not have now: {', '.join(gone[:5])}"
        )
    return [labels[key] for key in part.classes], [groups[name] for name in part.predictions.ids]


def _record(
    fusion: Fusion,
    parts: Sequence[_Part],
    metrics: Metrics,
    folder: Path,
    seed: int,
    runs: Path,
) -> RunRecord:
    """The record but for its intervals: what is equal stays, what differs is joined, what costs is summed."""
    from harbench.runs.comparability import fingerprint
    from harbench.runs.record import recipe_hash

    records = [each.record for each in parts]
    key, protocol = _key_of(records), _protocol_of(records)
    gflops = [each.gflops for each in records if each.gflops is not None]
    return RunRecord(
        folder=folder.relative_to(runs).as_posix(),
        recipe=folder.relative_to(runs).parts[1],
        dataset=records[0].dataset,
        split=records[0].split,
        seed=seed,
        model=" + ".join(each.model for each in records),
        family=fusion.family,
        key=key,
        protocol=protocol,
        fingerprint=fingerprint(key, protocol),
        metrics=dict(metrics.values),
        intervals={},
        samples={
            "val": max(each.samples["val"] for each in records),
            "test": metrics.samples,
            "scored": metrics.scored,
        },
        partial=_joined([each.partial for each in records if each.partial], "; "),
        exact=all(each.exact for each in records),
        params_m=sum(each.params_m for each in records),
        gflops=sum(gflops) if len(gflops) == len(records) else None,
        seconds={name: sum(each.seconds.get(name, 0.0) for each in records) for name in ("train", "evaluate")},
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        harbench=__version__,
        members={_name(each.folder, runs): each.weight for each in parts},
        recipe_sha256=recipe_hash(fusion),
        edition=next((each.edition for each in records if each.edition), ""),
        notes=tuple(dict.fromkeys(note for each in records for note in each.notes)),
    )


def _name(folder: Path, runs: Path) -> str:
    """Relative to `runs` where it lies there."""
    here = folder.resolve()
    return (here.relative_to(runs.resolve()) if here.is_relative_to(runs.resolve()) else here).as_posix()


def _key_of(records: Sequence[RunRecord]) -> Comparability:
    """What is given to one is given to the fusion; it sees the whole video if one of them does."""
    first = records[0].key
    given = sorted({word for each in records for word in each.key.given.split(" and ")} - {"none"})
    return Comparability(
        dataset=first.dataset,
        label_set=first.label_set,
        split_set=first.split_set,
        unit=first.unit,
        metric=first.metric,
        level="video" if any(each.key.level == "video" for each in records) else "clip",
        given=" and ".join(given) or "none",
        complete=_joined([each.key.complete for each in records if each.key.complete != "yes"], "; ") or "yes",
        kind=first.kind if len({each.key.kind for each in records}) == 1 else UNKNOWN,
    )


def _protocol_of(records: Sequence[RunRecord]) -> ProtocolFacts:
    facts = {
        each.name: _joined([getattr(record.protocol, each.name) for record in records], " and ")
        for each in fields(ProtocolFacts)
    }
    facts["modality"] = _joined([each.protocol.modality for each in records], "+")
    facts["selection"] = max((each.protocol.selection for each in records), key=SELECTIONS.index)
    return ProtocolFacts(**facts)


def _joined(words: Sequence[str], between: str) -> str:
    return between.join(dict.fromkeys(word for word in words if word))
