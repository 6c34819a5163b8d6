"""`run --workers N` and `run --slurm`: every recipe x split x seed as a process of its own, several at once."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harbench.errors import RunError
from harbench.records import RunReport, Track, silent
from harbench.runs.execute import Planned, Wanted, damaged, summary, without_number
from harbench.runs.folder import locked_run
from harbench.runs.fuse import check_current

if TYPE_CHECKING:
    from harbench.runs.jobs import Job

log = logging.getLogger(__name__)


def queue(
    recipes: Sequence[str],
    *,
    home: Path,
    runs: Path,
    split: str = "",
    seeds: int = 1,
    overrides: tuple[str, ...] = (),
    tag: str = "",
    device: str = "auto",
    devices: int = 1,
    force: bool = False,
    ok_missing: int = 0,
    allow_seen: bool = False,
    workers: int = 0,
    slurm: Sequence[str] = (),
    track: Track = silent,
) -> list[RunReport]:
    """As `run`, with `workers` runs at once: on GPUs `devices` for each, on the CPU a share of the cores for each.

    A run that fails stops no other; its report says why in `error`. What each says is in
    `<runs>/queue/<its folder>.log`. Ctrl-C, or `kill`, lets all finish their step and save.

    With `slurm` (`partition=gpu`, `gpus_per_node=1`, `timeout_min=720`) the runs that are not finished are submitted as
    one array, of which `workers` run at the same time (0: no limit), and nothing is waited for. A run that is preempted,
    or needs more time, is queued again and goes on to the bit. submitit's files are in `<runs>/queue/slurm`.

    Raises:
        RecipeError: with every problem of a recipe at once, before any run is started.
        RunError: a finished folder belongs to another recipe, there are fewer GPUs than that, a setting is no
            key=value, or there is no SLURM.
    """
    from harbench.recipe import Fusion

    planned = Wanted(recipes, split, range(seeds), overrides, tag).planned(home, runs)
    reports = {
        each.folder: _finished(each, runs) for each in planned if not force and (each.folder / "run.json").exists()
    }
    options = [word for text in overrides for word in ("--set", text)] + (["--tag", tag] if tag else [])
    options += ["--device", device, "--devices", str(devices), "--ok-missing", str(ok_missing)]
    options += ["--force"] * force + ["--allow-seen"] * allow_seen
    waiting = [each for each in planned if each.folder not in reports]
    trainings = [each for each in waiting if not isinstance(each.recipe, Fusion)]
    fusions = [each for each in waiting if isinstance(each.recipe, Fusion)]
    job = partial(_job, home=home, runs=runs, options=options)
    if slurm:
        reports |= _submitted(trainings, list(map(job, trainings)), runs, slurm, workers)
        reports |= {each.folder: without_number(each, "not submitted: first its runs, then this") for each in fusions}
    else:
        for stage in (trainings, fusions):  # what fuses runs comes after them
            reports |= _run_here(stage, list(map(job, stage)), workers, devices, device, track)
    return [reports[each.folder] for each in planned]


def _job(each: Planned, *, home: Path, runs: Path, options: Sequence[str]) -> Job:
    """The command line of one run."""
    from harbench.runs.jobs import Job

    name = each.folder.relative_to(runs)
    words = [sys.executable, "-m", "harbench", "--home", str(home), "--runs", str(runs), "run", each.name]
    words += ["--split", each.recipe.data.split, "--seed", str(each.seed), *options]
    return Job(name.as_posix(), tuple(words), runs / "queue" / name.with_name(f"{name.name}.log"))


def _finished(each: Planned, runs: Path) -> RunReport:
    from harbench.runs.store import load_run

    if damage := damaged(each):
        return damage
    with locked_run(each.recipe, each.folder, force=False):
        record = load_run(each.folder)
        check_current(record, runs)
        return summary(record, str(each.folder), "already finished")


def _run_here(
    planned: Sequence[Planned], jobs: Sequence[Job], workers: int, devices: int, device: str, track: Track
) -> dict[Path, RunReport]:
    from harbench.runs.jobs import places, run_jobs, signals_interrupt
    from harbench.runs.store import load_run

    if not jobs:
        return {}
    reports: dict[Path, RunReport] = {}
    by_name = {job.name: each for each, job in zip(planned, jobs, strict=True)}
    with signals_interrupt(), closing(run_jobs(jobs, places(workers, devices, device))) as outcomes:
        for outcome in track(outcomes, "runs", len(jobs)):
            each, trouble = by_name[outcome.job.name], outcome.trouble
            if trouble:
                log.error("%s failed: %s", outcome.job.name, trouble)
                reports[each.folder] = without_number(each, "failed", trouble)
            else:
                log.info("%s: finished after %.0f s", outcome.job.name, outcome.seconds)
                record = load_run(each.folder)
                reports[each.folder] = summary(record, str(each.folder), "finished")
    return reports


def _submitted(
    planned: Sequence[Planned], jobs: Sequence[Job], runs: Path, slurm: Sequence[str], at_once: int
) -> dict[Path, RunReport]:
    from harbench.runs.jobs import submit

    if not jobs:
        return {}
    submitted = submit(jobs, runs / "queue/slurm", dict(map(_setting, slurm)), at_once=at_once)
    states = [
        f"submitted as job {each.job_id}, its log is {job.log}" for each, job in zip(submitted, jobs, strict=True)
    ]
    return {each.folder: without_number(each, state) for each, state in zip(planned, states, strict=True)}


def _setting(text: str) -> tuple[str, Any]:
    import yaml

    key, _, value = text.partition("=")
    try:
        loaded = yaml.safe_load(value)
    except (yaml.YAMLError, RecursionError):
        loaded = None
    if not key or loaded is None:
        raise RunError(f"--slurm {text}: expected key=value, e.g. partition=gpu or timeout_min=720")
    return key, loaded
