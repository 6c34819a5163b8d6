"""`compare`: two or more finished runs on the same test samples, paired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harbench.errors import RunError
from harbench.records import Predictions, RunRecord

if TYPE_CHECKING:
    from harbench.evaluation.comparison import Comparison

CAVEAT = "This compares checkpoints. To compare methods, train three seeds or more of each (harbench run --seeds 3)."


@dataclass(frozen=True)
class ComparisonReport:
    """One run against others."""

    a: str
    others: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    adjusted: tuple[float, ...]
    """p of each comparison, adjusted for how many there are (Holm)."""
    caveat: str = CAVEAT


def compare(a: Path, others: Sequence[Path], *, home: Path, runs: Path) -> ComparisonReport:
    """Compare top-1 of finished run `a` with that of each of `others` on the same test samples.

    Folders may be relative to `runs`. Every run's own averaging over views decides what is correct.

    Raises:
        RunError: a run is not finished, or split, classes or test samples are not the same.
        DatasetError: the data set is not known under `home`, so its groups are not either.
    """
    from harbench.datasets.tables import load_split
    from harbench.evaluation.comparison import compare_hits, holm
    from harbench.evaluation.metrics import rank_of_target

    def hits(record: RunRecord, predictions: Predictions) -> Any:
        scores = predictions.logits if record.protocol.averaging == "logit" else predictions.probabilities
        return rank_of_target(scores, predictions.targets) == 0

    first, first_scores, classes = _load(a, runs)
    group_of = {sample.sample_id: sample.group for sample in load_split(first.dataset, first.split, home).samples}
    groups = [group_of.get(name, "") for name in first_scores.ids]
    loaded = [_load(other, runs) for other in others]
    for other, (record, scores, keys) in zip(others, loaded, strict=True):
        _refuse_different(a, other, (first, first_scores, classes), (record, scores, keys))
    mine = hits(first, first_scores)
    found = tuple(
        compare_hits(mine, hits(record, scores), first_scores.ids, first_scores.targets, groups, classes)
        for record, scores, _ in loaded
    )
    return ComparisonReport(str(a), tuple(map(str, others)), found, holm([each.p for each in found]))


def _load(folder: Path, runs: Path) -> tuple[RunRecord, Predictions, tuple[str, ...]]:
    from harbench.reporting.runs import load_class_keys, load_predictions, load_run

    folder = folder if (folder / "run.json").exists() else runs / folder
    return load_run(folder), load_predictions(folder), load_class_keys(folder)


def _refuse_different(
    a: Path,
    b: Path,
    mine: tuple[RunRecord, Predictions, tuple[str, ...]],
    other: tuple[RunRecord, Predictions, tuple[str, ...]],
) -> None:
    """Raise RunError unless both scored the same samples into the same classes."""
    (run, scores, classes), (run_b, scores_b, classes_b) = mine, other
    found = ""
    if (run.dataset, run.split) != (run_b.dataset, run_b.split):
        found = f"{run.dataset} {run.split} against {run_b.dataset} {run_b.split}"
    elif classes != classes_b:
        found = f"{len(classes)} classes against {len(classes_b)}, or in another order"
    elif scores.ids != scores_b.ids:
        common = len(set(scores.ids) & set(scores_b.ids))
        found = f"{len(scores.ids)} test samples against {len(scores_b.ids)}, {common} of them in both"
    elif scores.targets.tolist() != scores_b.targets.tolist():
        found = "the same samples with other classes"
    if found:
        raise RunError(
            f"{a} and {b} cannot be paired: {found}.\n"
            "Compare runs of one split, one list of classes and the same test samples; `harbench report` lists runs."
        )


def comparison_text(report: ComparisonReport, limit: int = 10) -> str:
    """The report for people: the difference, the classes that change most, flipped samples."""
    lines = []
    for other, found, adjusted in zip(report.others, report.comparisons, report.adjusted, strict=True):
        low, high = found.interval
        lines += [
            f"A {report.a}: {found.a:.2f}",
            f"B {other}: {found.b:.2f}",
            f"  B - A  {found.difference:+.2f} points, 95 % {low:+.2f} to {high:+.2f} ({found.interval_method})",
            f"  p      {found.p:.4g}, sign-flip permutation over {found.groups} groups, exact",
        ]
        if len(report.others) > 1:
            lines.append(f"         {adjusted:.4g} adjusted for {len(report.others)} comparisons (Holm)")
        changed = [gain for gain in found.per_class if gain.gain][:limit]
        lines += [f"  {gain.gain:+7.2f}  {gain.key} ({gain.a:.1f} to {gain.b:.1f})" for gain in changed]
        for what, ids in (("only B is right", found.gained), ("only A is right", found.lost)):
            lines.append(f"  {what}: {len(ids)}")
            lines += [f"    {name}" for name in ids[:limit]]
            if len(ids) > limit:
                lines.append(f"    ... and {len(ids) - limit} more (--json has all)")
    return "\n".join([*lines, report.caveat])
