"""`compare`: two or more finished runs on the same test samples: a paired test by group, and which samples flipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harbench.errors import RunError
from harbench.files import write_text
from harbench.records import Predictions, RunRecord

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Hits = npt.NDArray[np.bool_]

CAVEAT = "This compares checkpoints. To compare methods, train three seeds or more of each (harbench run --seeds 3)."


@dataclass(frozen=True)
class ComparisonReport:
    """One run against others."""

    a: str
    others: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    adjusted: tuple[float, ...]
    """p of each comparison, adjusted for how many there are (Holm)."""
    page: Path | None
    """Where the flipped samples stand with their pictures."""
    caveat: str = CAVEAT
    broken: Mapping[str, str] = field(default_factory=dict)
    """Folder of a run that cannot be read -> why; the others are compared."""


def compare(a: Path, others: Sequence[Path], *, home: Path, runs: Path, output: Path | None = None) -> ComparisonReport:
    """Compare top-1 of finished run `a` with that of each of `others` on the same test samples.

    Folders may be relative to `runs`. Every run's own averaging over views decides what is correct. `output` is an html
    file that shows the flipped samples, with pictures of those whose media are in a cache under `home`.

    Raises:
        RunError: `a` or all of `others` are not finished or damaged, or split, classes or test samples are not the same.
        DatasetError: the data set is not known under `home`, so its groups are not either.
    """
    from harbench.datasets.tables import load_split
    from harbench.evaluation.intervals import holm
    from harbench.evaluation.metrics import right

    first, first_scores, classes = _load(a, runs)
    group_of = {sample.sample_id: sample.group for sample in load_split(first.dataset, first.split, home).samples}
    groups = [group_of.get(name, "") for name in first_scores.ids]
    others, loaded, broken = _load_each(others, runs)
    for other, (record, scores, keys) in zip(others, loaded, strict=True):
        _refuse_different(a, other, (first, first_scores, classes), (record, scores, keys))
    mine = right(first_scores, first.protocol.averaging)
    found = tuple(
        compare_hits(
            mine, right(scores, record.protocol.averaging), first_scores.ids, first_scores.targets, groups, classes
        )
        for record, scores, _ in loaded
    )
    adjusted = holm([each.p for each in found])
    report = ComparisonReport(str(a), tuple(map(str, others)), found, adjusted, output, broken=broken)
    if output is not None:
        write_text(
            output, _page(report, [(first, first_scores), *((run, scores) for run, scores, _ in loaded)], classes, home)
        )
    return report


def _page(
    report: ComparisonReport, scored: Sequence[tuple[RunRecord, Predictions]], classes: Sequence[str], home: Path
) -> str:
    """The flipped samples of every comparison, with pictures."""
    from harbench.analysis.thumbnails import thumbnails

    shown, wanted = [], []
    truth = dict(zip(scored[0][1].ids, (classes[target] for target in scored[0][1].targets.tolist()), strict=True))
    a_says = _said(*scored[0], classes)
    for number, (other, found) in enumerate(zip(report.others, report.comparisons, strict=True)):
        b_says = _said(*scored[number + 1], classes)
        shown.append(
            Flips(
                title=f"A {report.a}, B {other}",
                lines=tuple(test_lines(report, number)),
                changed=tuple((gain.key, gain.a, gain.b, gain.gain) for gain in found.per_class if gain.gain),
                gained=tuple(Flip(name, truth[name], a_says[name]) for name in found.gained),
                lost=tuple(Flip(name, truth[name], b_says[name]) for name in found.lost),
            )
        )
        wanted += [*found.gained[:MOST], *found.lost[:MOST]]
    return render_flips(shown, thumbnails(scored[0][0], wanted, home), report.caveat)


def _said(record: RunRecord, predictions: Predictions, classes: Sequence[str]) -> dict[str, str]:
    """Sample -> the class that the run took it for, empty without a score."""
    import numpy as np

    scores = predictions.logits if record.protocol.averaging == "logit" else predictions.probabilities
    return {
        name: classes[int(row.argmax())] if np.isfinite(row).all() else ""
        for name, row in zip(predictions.ids, scores, strict=True)
    }


def _load_each(
    folders: Sequence[Path], runs: Path
) -> tuple[list[Path], list[tuple[RunRecord, Predictions, tuple[str, ...]]], dict[str, str]]:
    """The folders that can be read, what is in them, and why the others cannot. Raises RunError where none can."""
    loaded, broken = {}, {}
    for folder in folders:
        try:
            loaded[folder] = _load(folder, runs)
        except RunError as error:
            broken[str(folder)] = str(error)
    if not loaded:
        raise RunError("\n".join(broken.values()))
    return list(loaded), list(loaded.values()), broken


def _load(folder: Path, runs: Path) -> tuple[RunRecord, Predictions, tuple[str, ...]]:
    from harbench.runs.folder import load_class_keys, load_predictions, load_run

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


def test_lines(report: ComparisonReport, number: int) -> list[str]:
    """One comparison's difference and test, in words."""
    found, several = report.comparisons[number], len(report.others)
    low, high = found.interval
    lines = [
        f"B - A  {found.difference:+.2f} points, 95 % {low:+.2f} to {high:+.2f} ({found.interval_method})",
        f"p      {found.p:.4g}, sign-flip permutation over {found.groups} groups, exact",
    ]
    if several > 1:
        lines.append(f"       {report.adjusted[number]:.4g} adjusted for {several} comparisons (Holm)")
    return lines


@dataclass(frozen=True)
class ClassGain:
    """One class under both: recall in percent, and the gain in points."""

    key: str
    samples: int
    a: float
    b: float
    gain: float


@dataclass(frozen=True)
class Comparison:
    """What changes from A to B, in points of top-1 accuracy."""

    a: float
    b: float
    difference: float
    """b - a."""
    interval: tuple[float, float]
    """95 % of the difference, by groups."""
    interval_method: str
    p: float
    """Two-sided, exact, of the sign-flip permutation over groups."""
    groups: int
    per_class: tuple[ClassGain, ...]
    """Classes with samples, the largest change first."""
    gained: tuple[str, ...]
    """Samples that only B has right."""
    lost: tuple[str, ...]
    """Samples that only A has right."""


def compare_hits(
    a: Hits, b: Hits, ids: Sequence[str], targets: npt.NDArray[np.int64], groups: Sequence[str], classes: Sequence[str]
) -> Comparison:
    """Compare the correct samples `[N]` of two checkpoints; `groups` are "" where none is known.

    Raises ValueError for lengths that differ or no samples.
    """
    import numpy as np

    from harbench.evaluation.intervals import paired_interval, sign_flip

    if not len(ids) or len({len(a), len(b), len(ids), len(targets), len(groups)}) != 1:
        raise ValueError("expected the same samples, at least one, for both")
    change = b.astype(np.int64) - a.astype(np.int64)
    names = np.asarray(groups if all(groups) else ids)
    _, group_of = np.unique(names, return_inverse=True)
    sums = np.rint(np.bincount(group_of, weights=change)).astype(np.int64)
    low, high, method = paired_interval(change.astype(np.float64), groups)
    counts = np.bincount(targets, minlength=len(classes))
    right_a, right_b = (np.bincount(targets[hits], minlength=len(classes)) for hits in (a, b))
    gains = [
        ClassGain(key, int(n), 100 * float(x / n), 100 * float(y / n), 100 * float((y - x) / n))
        for key, n, x, y in zip(classes, counts, right_a, right_b, strict=True)
        if n
    ]
    return Comparison(
        a=100 * float(a.mean()),
        b=100 * float(b.mean()),
        difference=100 * float(change.mean()),
        interval=(low, high),
        interval_method=method if all(groups) else f"{method}; no groups are known, so samples count as independent",
        p=sign_flip(sums),
        groups=len(sums),
        per_class=tuple(sorted(gains, key=lambda gain: -abs(gain.gain))),
        gained=tuple(ids[row] for row in np.flatnonzero(change > 0).tolist()),
        lost=tuple(ids[row] for row in np.flatnonzero(change < 0).tolist()),
    )


TEMPLATES = Path(__file__).parent / "templates"
"""With the style that every page of harbench has."""
MOST = 60
"""Flipped samples with a picture, each way; the others are named."""


@dataclass(frozen=True)
class Flip:
    """One sample that only one of two runs has right."""

    sample_id: str
    truth: str
    wrong: str
    """What the other run said; empty where it has no score."""


@dataclass(frozen=True)
class Flips:
    """One run against another, in words and pictures."""

    title: str
    lines: tuple[str, ...]
    """The test, in words."""
    changed: tuple[tuple[str, float, float, float], ...]
    """Class, recall under A, under B, gain in points; classes that changed, the largest change first."""
    gained: tuple[Flip, ...]
    """Only B is right."""
    lost: tuple[Flip, ...]
    """Only A is right."""


def render_flips(comparisons: Sequence[Flips], pictures: Mapping[str, str], caveat: str) -> str:
    """One self-contained html page; `pictures` are sample id -> `data:` address, and may lack some."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(TEMPLATES)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    page = environment.get_template("flips.html.j2")
    return page.render(comparisons=comparisons, pictures=pictures, caveat=caveat, most=MOST)
