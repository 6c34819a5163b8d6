"""`run --workers N` and `run --slurm`: every recipe x split x seed as a process of its own, several at once.

Whatever becomes of one run, the others go on; interrupted, each finishes its step and saves, and the same command goes
on from there to the bit.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harbench.errors import RunError
from harbench.records import RunReport, Track, silent
from harbench.runs.execute import damaged, summary, without_number
from harbench.runs.folder import locked_run
from harbench.runs.fuse import check_current
from harbench.runs.plan import Planned, Wanted

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

    name = each.folder.relative_to(runs)
    words = [sys.executable, "-m", "harbench", "--home", str(home), "--runs", str(runs), "run", each.name]
    words += ["--split", each.recipe.data.split, "--seed", str(each.seed), *options]
    return Job(name.as_posix(), tuple(words), runs / "queue" / name.with_name(f"{name.name}.log"))


def _finished(each: Planned, runs: Path) -> RunReport:
    from harbench.runs.folder import load_run

    if damage := damaged(each):
        return damage
    with locked_run(each.recipe, each.folder, force=False):
        record = load_run(each.folder)
        check_current(record, runs)
        return summary(record, str(each.folder), "already finished")


def _run_here(
    planned: Sequence[Planned], jobs: Sequence[Job], workers: int, devices: int, device: str, track: Track
) -> dict[Path, RunReport]:
    from harbench.runs.folder import load_run

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


logger = logging.getLogger(__name__)

DONE = (0, 3)
"""Exit codes of a run that has its number; 3: some test samples have no score."""
Place = Mapping[str, str]
"""What a process finds in its environment beside the parent's: its GPUs, its number of threads."""


@dataclass(frozen=True)
class Job:
    """One run to be done."""

    name: str
    command: tuple[str, ...]
    log: Path
    """What the process says, both of stdout and stderr; begun anew with every start."""


@dataclass(frozen=True)
class Outcome:
    """A job that ended, well or not."""

    job: Job
    code: int
    """Exit code; negative: the signal that killed it."""
    seconds: float

    @property
    def trouble(self) -> str:
        """Why there is no number: the last message in the log, and where that is; empty when there is one."""
        if self.code in DONE:
            return ""
        text = "\n" + self.job.log.read_text(encoding="utf-8", errors="replace").strip()
        _, message, told = text.rpartition("\nharbench: ")  # as the command line puts an error in a log
        told = told if message else text.rpartition("\n")[2]
        ended = f"exit code {self.code}" if self.code >= 0 else f"killed by {signal.Signals(-self.code).name}"
        return f"{told}\n({ended}; all of it: {self.job.log})".strip()


def places(workers: int, devices: int, device: str) -> list[Place]:
    """Where `workers` runs can be at once, each on `devices` GPUs that no other of them has, or with its share of cores.

    `device` is auto, cpu or cuda. A user's own CUDA_VISIBLE_DEVICES says which GPUs there are, and OMP_NUM_THREADS wins.
    Raises RunError when there are fewer GPUs.
    """
    import torch

    threads = str(max(1, (os.cpu_count() or 1) // (workers * devices)))
    place = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads)}
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return [place] * workers
    if device not in ("auto", "cuda"):
        raise RunError(f"--device {device}: several runs at once have no use for one device; say cuda, cpu or auto")
    there = torch.cuda.device_count()
    if workers * devices > there:
        raise RunError(
            f"{workers} runs at once need {workers * devices} GPUs, and there are {there}. "
            + (f"Say --workers {there // devices}, or --device cpu" if there >= devices else "Say --device cpu")
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = visible.split(",") if visible else [str(number) for number in range(there)]
    shares = [names[first : first + devices] for first in range(0, workers * devices, devices)]
    return [{**place, "CUDA_VISIBLE_DEVICES": ",".join(share)} for share in shares]


def run_jobs(jobs: Sequence[Job], places: Sequence[Place]) -> Generator[Outcome, None, None]:
    """Run every job once, one at a time in each place, and yield them as they end.

    Closed early, or interrupted, it stops what runs: each finishes its step and saves.
    """
    waiting, free = deque(jobs), deque(places)
    running: dict[subprocess.Popen[bytes], tuple[Job, Place, float]] = {}
    try:
        while waiting or running:
            while waiting and free:
                job, place = waiting.popleft(), free.popleft()
                running[start(job, place)] = job, place, time.monotonic()
                logger.info("%s: started, its log is %s", job.name, job.log)
            for process in [each for each in running if each.poll() is not None]:
                job, place, began = running.pop(process)
                free.append(place)
                yield Outcome(job, process.returncode, time.monotonic() - began)
            time.sleep(0.1)
    finally:
        if running:
            logger.info("stopping %d runs after their current step", len(running))
        stop(running)


def start(job: Job, place: Place) -> subprocess.Popen[bytes]:
    """The job's process. It has a group of its own: a Ctrl-C at the terminal reaches it once, through `stop`."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with open(job.log, "wb") as log:
        return subprocess.Popen(
            job.command,
            env={**os.environ, **place},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
        )


def stop(processes: Collection[subprocess.Popen[bytes]]) -> None:
    """Interrupt the processes and wait until they have saved; a second Ctrl-C kills them."""
    for process in processes:
        process.send_signal(signal.SIGINT)
    try:
        for process in processes:
            process.wait()
    except KeyboardInterrupt:
        for process in processes:
            process.kill()
        raise


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Within the block `kill` and a closed terminal are Ctrl-C, so that no process of the queue is left behind.

    Ctrl-C itself arrives even where a shell had it ignored, in a background job; `nohup` is respected.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class Submitted:
    """A job as submitit calls it on a node. Preempted or out of time, its run saves and the job is queued again."""

    job: Job
    process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """The exit code of the run; raises RunError where it has no number."""
        began = time.monotonic()
        handler = signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # SLURM sends it to every process of the job: it is
        try:  # for submitit, would end the run, and what is ignored here is ignored by a new process
            self.process = start(self.job, {})
        finally:
            signal.signal(signal.SIGUSR2, handler)
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)  # unlike `wait`, leaves that to `checkpoint`
        outcome = Outcome(self.job, self.process.wait(), time.monotonic() - began)
        if outcome.trouble:
            raise RunError(f"{self.job.name}: {outcome.trouble}")
        return outcome.code

    def checkpoint(self) -> Any:
        """What submitit queues instead: the same again, which goes on where this one was."""
        from submitit.helpers import DelayedSubmission

        if self.process is not None:
            stop([self.process])
        return DelayedSubmission(Submitted(self.job))


def submit(
    jobs: Sequence[Job], folder: Path, parameters: Mapping[str, Any], *, at_once: int = 0, cluster: str = "slurm"
) -> list[Any]:
    """Submit the jobs as one array and return submitit's jobs; its own files and logs go to `folder`.

    `parameters` are submitit's (timeout_min, gpus_per_node, ...) or SLURM's (partition, account, gres, ...); at most
    `at_once` run at the same time, 0: no limit. A job that runs out of time is queued again, as often as it takes.

    Raises RunError: submitit is not installed, this is no cluster, or it refuses the parameters.
    """
    try:
        import submitit
    except ImportError:
        raise RunError(
            "--slurm submits through submitit, which is not installed: pip install 'harbench[slurm]'"
        ) from None
    if not {"timeout_min", "time"} & parameters.keys():
        raise RunError("say how many minutes a job may take, e.g. --slurm timeout_min=720; one that needs more goes on")
    named = {f"{cluster}_{key}": value for key, value in parameters.items()}
    if at_once:
        named[f"{cluster}_array_parallelism"] = at_once
    try:
        executor = submitit.AutoExecutor(folder, cluster=cluster, **{f"{cluster}_max_num_timeout": 1000})
        executor.update_parameters(name="harbench", stderr_to_stdout=True, **named)
        with executor.batch():
            return [executor.submit(Submitted(job)) for job in jobs]
    except (RuntimeError, NameError, ValueError) as error:
        raise RunError(f"SLURM does not take the jobs: {error}") from None
