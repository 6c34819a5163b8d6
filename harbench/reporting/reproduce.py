"""`reproduce`: every recipe that states a number and whose data is here, run and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harbench.errors import DatasetError, HarbenchError
from harbench.files import write_text
from harbench.recipe.load import recipe_paths
from harbench.records import Track, silent
from harbench.reporting.check import CheckReport, check
from harbench.runs.catalog import read_any
from harbench.runs.execute import run
from harbench.runs.plan import Wanted

if TYPE_CHECKING:
    from harbench.recipe import Fusion, Recipe


@dataclass(frozen=True)
class Reproduction:
    """What was run, what came of it, and what could not be."""

    check: CheckReport | None
    """None of a dry run."""
    planned: dict[str, str]
    """Dry run only: recipe -> the splits that it would be run on, and the numbers that it states."""
    seconds: dict[str, float]
    """Recipe -> training and evaluation of all its runs, those finished before included."""
    left_out: dict[str, str]
    """Recipe -> what it would need."""
    failed: dict[str, str]
    """Recipe -> why a run of it ended without a number."""


def reproduce(
    names: Sequence[str] = (),
    *,
    home: Path,
    runs: Path,
    seeds: int = 1,
    device: str = "auto",
    output: Path = Path("reproduction.md"),
    junit: Path | None = None,
    evaluate_only: bool = False,
    dry_run: bool = False,
    track: Track = silent,
) -> Reproduction:
    """Run every recipe with `expect:` (or those of `names`) on the splits it states, and check each.

    What lacks data or weights is left out and told. Finished runs are left alone, unfinished ones go on; one that fails
    stops no other. Recipes that fuse runs come after those that are trained. Everything is written to `output`. With
    `evaluate_only` those that train something are left alone: what remains scores published weights. A dry run says what
    would be run, and runs and writes nothing.

    Raises:
        RecipeError: with every problem of a recipe at once.
        HarbenchError: the data of none is under `home`.
    """
    recipes = [(name, read_any(name, home=home)) for name in names or map(str, recipe_paths())]
    stating = sorted((each for each in recipes if each[1].expect), key=lambda each: _fuses(each[1]))
    if evaluate_only:
        stating = [each for each in stating if not _trains(each[1])]
    planned: dict[str, str] = {}
    seconds: dict[str, float] = {}
    left_out: dict[str, str] = {}
    failed: dict[str, str] = {}
    for name, recipe in stating:
        try:
            split = _splits(recipe, home)
            needed = _needed(name, split, seeds, home, runs)
        except DatasetError as error:  # a data set of the user's own, not made yet
            needed = str(error)
        if needed:
            left_out[recipe.name] = needed
            continue
        if dry_run:
            numbers = ", ".join(f"{item.metric} {item.value:.2f}" for item in recipe.expect)
            planned[recipe.name] = f"{split}: {numbers}"
            continue
        try:
            done = run([name], home=home, runs=runs, split=split, seeds=seeds, device=device, track=track)
        except HarbenchError as error:
            failed[recipe.name] = str(error)
        else:
            seconds[recipe.name] = sum(sum(each.seconds.values()) for each in done)
    if dry_run:
        return Reproduction(None, planned, seconds, left_out, failed)
    if not seconds:
        told = "\n".join(f"{name}: {why.splitlines()[0]}" for name, why in (failed | left_out).items())
        raise HarbenchError(
            f"of {len(stating)} recipes that state a number none could be run under {home}.\n"
            f"{told or 'Give one an expect: section.'}"
        )
    chosen = [name for name, recipe in stating if recipe.name in seconds]
    checked = check(chosen, home=home, runs=runs, output=output, junit=junit)
    left_out |= {
        name: f"its runs were made before the recipe stated a number, and a margin counts only if it stands before the "
        f"run. Make them again:  harbench run {name} --force"
        for name in sorted(seconds.keys() - {each.name for each in checked.verdicts})
    }
    found = Reproduction(checked, planned, seconds, left_out, failed)
    write_text(output, output.read_text(encoding="utf-8") + _appendix(found))
    return found


def _fuses(recipe: Recipe | Fusion) -> bool:
    from harbench.recipe import Fusion

    return isinstance(recipe, Fusion)


def _trains(recipe: Recipe | Fusion) -> bool:
    from harbench.recipe import Fusion

    return isinstance(recipe, Fusion) or recipe.fits


def _splits(recipe: Recipe | Fusion, home: Path) -> str:
    """The splits that the recipe states numbers of, as `run` takes them; its own where one is no split of ours."""
    from harbench.datasets.tables import expand_splits, load_spec

    spec = load_spec(recipe.data.dataset, home)
    found: dict[str, None] = {}
    for item in recipe.expect:
        try:
            expand_splits(spec, item.split or recipe.data.split, home)
        except DatasetError:  # a published protocol that is told, and cannot be run
            found[recipe.data.split] = None
        else:
            found[item.split or recipe.data.split] = None
    return ",".join(found)


def _needed(name: str, split: str, seeds: int, home: Path, runs: Path) -> str:
    """What is in the way of a recipe's runs, the first of it; empty when they can start."""
    from harbench.recipe import Fusion
    from harbench.runs.fuse import fusion_plan
    from harbench.runs.inputs import from_runs, obstacles

    for each in Wanted([name], split, range(seeds)).planned(home, runs):
        if isinstance(each.recipe, Fusion):
            in_the_way = str(fusion_plan(each.recipe, each.folder, each.seed, runs=runs).plan["in the way"])
            if not in_the_way.startswith("nothing"):
                return in_the_way
        elif each.seed == 0 and (found := obstacles(from_runs(each.recipe, runs), home=home)):
            return found[0]
    return ""


def _appendix(found: Reproduction) -> str:
    """What stands in the page below the verdicts: times, failures, and what was left out."""
    lines = ["", "## Time", "", "| recipe | training and evaluation |", "|---|---|"]
    lines += [f"| {name} | {seconds:.0f} s |" for name, seconds in found.seconds.items()]
    for title, reasons in (("Failed", found.failed), ("Left out", found.left_out)):
        if reasons:
            lines += [
                "",
                f"## {title}",
                "",
                *(f"- **{name}**: {' '.join(why.split())}" for name, why in reasons.items()),
            ]
    return "\n".join(lines) + "\n"
