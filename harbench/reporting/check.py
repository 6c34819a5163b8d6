"""`check`: whether finished runs reproduce the published numbers that their recipes state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from harbench.errors import HarbenchError, RecipeError, RunError
from harbench.files import write_text
from harbench.records import RunRecord

if TYPE_CHECKING:
    from harbench.recipe import ExpectConfig
    from harbench.reporting.verdicts import Verdict


@dataclass(frozen=True)
class CheckReport:
    """The verdicts, and where they are written down."""

    verdicts: tuple[Verdict, ...]
    below: int
    """How many are BELOW; the only state that fails a check."""
    page: Path
    broken: Mapping[str, str] = field(default_factory=dict)
    """Folder of a run that cannot be read -> why. It takes no part."""


def check(
    names: Sequence[str] = (),
    *,
    home: Path,
    runs: Path,
    output: Path = Path("reproduction.md"),
    junit: Path | None = None,
) -> CheckReport:
    """Give a verdict on every number that a recipe states under `expect:`, from its finished runs.

    `names` are run folders or recipes; left out: every finished run whose own recipe expects something. The target is
    the one in the run's own recipe.yaml, so it was stated before the run. Runs with overrides or a tag are variants:
    they are checked only where they are named, or where they were selected on test as the target was.

    A run that cannot be read is named in `broken` and stops nothing.

    Raises:
        RunError: a named run or recipe has no finished run, or the named run is damaged.
        HarbenchError: there is nothing to check.
    """
    chosen, broken = _chosen(names, runs)
    verdicts, unread = verdicts_of(chosen, home=home, runs=runs)
    broken |= unread
    if not verdicts:
        raise HarbenchError(
            f"there is nothing to check: no finished run under {runs} has a recipe with expect:.\n"
            + "".join(f"{folder}: {why}\n" for folder, why in broken.items())
            + "State the published number in the recipe (expect: [{value: 90.0, source: ...}]), then harbench run it"
        )
    write_text(output, _markdown(verdicts, broken))
    if junit is not None:
        write_text(junit, _junit(verdicts, broken))
    return CheckReport(verdicts, sum(each.state == "BELOW" for each in verdicts), output, broken)


def verdicts_of(records: Sequence[RunRecord], *, home: Path, runs: Path) -> tuple[tuple[Verdict, ...], dict[str, str]]:
    """A verdict on every number that the recipes of these runs state, and folders whose recipe is damaged, with the reason."""
    groups, broken = _groups(records, runs)
    verdicts: list[Verdict] = []
    for expected, group in groups:
        try:
            verdicts += _verdicts(expected, group, home)
        except RunError as error:  # a metric that they do not have
            broken[group[0].folder] = str(error)
    return tuple(verdicts), broken


def plain_runs(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Those that are checked without being named: no variants, but such as were selected on test, as their target was."""
    return [each for each in records if "+" not in each.folder.split("/")[1] or each.protocol.selection == "test"]


def _chosen(names: Sequence[str], runs: Path) -> tuple[list[RunRecord], dict[str, str]]:
    """The finished runs that are meant, and those of the same recipes that cannot be read."""
    from harbench.recipe.load import find_recipe
    from harbench.runs.folder import load_run, load_runs

    records, damaged = load_runs(runs)
    plain = plain_runs(records)
    if not names:
        return plain, damaged
    found: list[RunRecord] = []
    broken: dict[str, str] = {}
    for name in names:
        folder = next((each for each in (Path(name), runs / name) if (each / "recipe.yaml").is_file()), None)
        if folder is not None:
            load_run(folder)  # says what is wrong with a run that is not finished
            inside = [each for each in records if (runs / each.folder).resolve() == folder.resolve()]
            if not inside:
                raise RunError(f"{folder} is not under {runs}; say where runs are:  harbench --runs DIR check")
        else:
            recipe = find_recipe(name).stem
            inside = [each for each in plain if each.recipe == recipe]
            of_it = {folder: why for folder, why in damaged.items() if folder.split("/")[1] == recipe}
            broken |= of_it
            if not inside and not of_it:
                raise RunError(f"{name} has no finished run under {runs}. Make them:  harbench run {name} --seeds 3")
        found += inside
    return list({each.folder: each for each in found}.values()), broken


def _groups(
    records: Sequence[RunRecord], runs: Path
) -> tuple[list[tuple[tuple[ExpectConfig, ...], list[RunRecord]]], dict[str, str]]:
    """Runs of one recipe on one data set that state the same expectation, with it; and those whose recipe is damaged."""
    groups: dict[tuple[str, str, tuple[ExpectConfig, ...]], list[RunRecord]] = {}
    broken = {}
    for record in records:
        try:
            expected = _expected(runs / record.folder)
        except RunError as error:
            broken[record.folder] = str(error)
            continue
        if expected:
            groups.setdefault((record.dataset, record.recipe, expected), []).append(record)
    return [(key[2], group) for key, group in groups.items()], broken


def _expected(folder: Path) -> tuple[ExpectConfig, ...]:
    """What the recipe of a finished run expects."""
    from pydantic import ValidationError

    from harbench.recipe import ExpectConfig, load_document

    path = folder / "recipe.yaml"
    if path.is_file() and "\nexpect: []" in path.read_text(encoding="utf-8", errors="replace"):
        return ()  # as most are; reading YAML takes milliseconds
    try:
        return tuple(ExpectConfig.model_validate(each) for each in load_document(path).get("expect") or ())
    except (RecipeError, ValidationError, TypeError) as error:
        raise RunError(f"{path} cannot be read as a recipe: {error}\nRepeat the run with --force.") from None


def _verdicts(expected: Sequence[ExpectConfig], records: Sequence[RunRecord], home: Path) -> list[Verdict]:
    from harbench.reporting.entries import run_entries
    from harbench.reporting.leaderboard import protocols_of
    from harbench.reporting.published import load_published
    from harbench.reporting.verdicts import target_of, verdict

    dataset = records[0].dataset
    rows = tuple(load_published(dataset, home))
    entries = run_entries(records, [item.metric for item in expected], protocols_of(dataset, records, home))
    found = []
    for item in expected:
        measured = [entry for entry in entries if entry.key.metric == item.metric]
        if not measured:
            raise RunError(f"{records[0].folder} has no metric {item.metric}; it has {', '.join(records[0].metrics)}")
        same_split = [entry for entry in measured if entry.key.split_set == item.split]
        for entry in same_split or measured:
            target = target_of(item, rows, entry)
            found.append(verdict(entry, target))
    return found


def _markdown(verdicts: Sequence[Verdict], broken: Mapping[str, str]) -> str:
    """`reproduction.md`: a table of the verdicts, then each in words."""
    from harbench.reporting.verdicts import sentence

    rows = ["| verdict | recipe | seeds | own | published | margin | difference |", "|---|---|---|---|---|---|---|"]
    for each in verdicts:
        difference = f"{each.judgment.difference:+.2f}" if each.judgment else ""
        cells = (each.state, each.name, each.seeds, f"{each.value:.2f}", f"{each.target.value:.2f}")
        rows.append(f"| {' | '.join(map(str, (*cells, f'{each.target.margin:g}', difference)))} |")
    details = []
    for each in verdicts:
        beside = f" Sampling interval {each.interval[0]:.2f} to {each.interval[1]:.2f}." if each.interval else ""
        notes = "".join(f" {note[0].upper()}{note[1:]}." for note in each.notes)
        details.append(
            f"- **{each.name}: {each.state}.** {sentence(each)}. Target: {each.target.source}.{beside}{notes}"
        )
    details += [f"- **{folder}: damaged.** {' '.join(why.split())}" for folder, why in broken.items()]
    return "\n".join(["# Reproduction", "", *rows, "", *details]) + "\n"


def _junit(verdicts: Sequence[Verdict], broken: Mapping[str, str]) -> str:
    """The verdicts as a JUnit suite: BELOW fails, what could not be decided is skipped, a damaged run is an error."""
    from harbench.reporting.verdicts import sentence

    states = [each.state for each in verdicts]
    skipped = sum(state in ("INCONCLUSIVE", "NOT COMPARABLE") for state in states)
    suite = ElementTree.Element(
        "testsuite",
        name="harbench check",
        tests=str(len(states) + len(broken)),
        errors=str(len(broken)),
        failures=str(states.count("BELOW")),
        skipped=str(skipped),
    )
    for each in verdicts:
        case = ElementTree.SubElement(suite, "testcase", classname=each.target.key.dataset, name=each.source)
        if each.state == "BELOW":
            ElementTree.SubElement(case, "failure", message=sentence(each))
        elif each.state != "REPRODUCED":
            ElementTree.SubElement(case, "skipped", message=f"{each.state}: {sentence(each)}")
    for folder, why in broken.items():
        case = ElementTree.SubElement(suite, "testcase", classname=folder.split("/")[0], name=folder)
        ElementTree.SubElement(case, "error", message=why)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
