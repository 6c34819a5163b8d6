"""The queue with jobs that cost nothing: who runs where, what becomes of failures, Ctrl-C, and what SLURM is asked."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from harbench.errors import RunError
from harbench.runs.queue import Job, Submitted, places, run_jobs, signals_interrupt, submit

HERE = {"PLACE": "one"}
WAITS = """
import signal, sys, time
def stop(*_): print('saved'); sys.exit(130)
signal.signal(signal.SIGINT, stop)
print('waits', flush=True)
time.sleep(60)
"""


@pytest.fixture
def job(tmp_path: Path) -> Callable[[str, str], Job]:
    def made(name: str, code: str) -> Job:
        return Job(name, (sys.executable, "-S", "-c", code), tmp_path / "log" / f"{name}.log")

    return made


def until(there: Callable[[], bool]) -> None:
    for _ in range(600):
        if there():
            return
        time.sleep(0.05)
    pytest.fail("it did not come")


def said(job: Job) -> str:
    return job.log.read_text() if job.log.exists() else ""


def test_every_job_runs_once_and_one_at_a_time_in_a_place(job: Callable[[str, str], Job]) -> None:
    code = (
        "import os, time; print(os.environ['PLACE'], time.monotonic()); time.sleep(0.2); print('x', time.monotonic())"
    )
    jobs = [job(str(number), code) for number in range(4)]
    outcomes = list(run_jobs(jobs, [HERE, {"PLACE": "two"}]))
    assert sorted(outcome.job.name for outcome in outcomes) == ["0", "1", "2", "3"]
    assert all(outcome.trouble == "" for outcome in outcomes)
    spans: dict[str, list[tuple[float, float]]] = {"one": [], "two": []}
    for each in jobs:
        place, began, _, ended = said(each).split()
        spans[place].append((float(began), float(ended)))
    for span in spans.values():
        assert all(end <= begin for (_, end), (begin, _) in pairwise(sorted(span)))
    assert spans["one"] and spans["two"]


def test_a_failure_is_told_and_stops_no_other(job: Callable[[str, str], Job]) -> None:
    jobs = [
        job("mended", "import sys; print('harbench: the disk is gone.\\nBuy one.'); sys.exit(1)"),
        job("broken", "import sys; print('Traceback\\nValueError: what'); sys.exit(1)"),
        job("killed", "import os; os.kill(os.getpid(), 9)"),
        job("incomplete", "import sys; sys.exit(3)"),
        job("fine", ""),
    ]
    trouble = {outcome.job.name: outcome.trouble for outcome in run_jobs(jobs, [HERE])}
    assert trouble["mended"] == f"the disk is gone.\nBuy one.\n(exit code 1; all of it: {jobs[0].log})"
    assert trouble["broken"].startswith("ValueError: what\n(exit code 1;")
    assert trouble["killed"].startswith("(killed by SIGKILL")
    assert trouble["incomplete"] == trouble["fine"] == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_lets_all_save_and_starts_no_other(job: Callable[[str, str], Job], number: int) -> None:
    before = signal.getsignal(signal.SIGTERM)
    jobs = [job("a", WAITS), job("b", WAITS), job("c", WAITS)]

    def interrupt() -> None:
        until(lambda: "waits" in said(jobs[0]) and "waits" in said(jobs[1]))
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt), signals_interrupt(), closing(run_jobs(jobs, [HERE, HERE])) as outcomes:
        list(outcomes)
    assert [said(each) for each in jobs] == ["waits\nsaved\n", "waits\nsaved\n", ""]
    assert signal.getsignal(signal.SIGTERM) is before


def test_places_share_cores_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert places(3, 1, "auto") == [{"OMP_NUM_THREADS": "5"}] * 3
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert places(2, 2, "cpu") == [{"OMP_NUM_THREADS": "4"}] * 2
    assert [place["CUDA_VISIBLE_DEVICES"] for place in places(2, 2, "auto")] == ["0,1", "2,3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,5,7")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert places(2, 1, "cuda") == [
        {"OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": "GPU-a"},
        {"OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": "GPU-b"},
    ]
    with pytest.raises(RunError, match=r"need 9 GPUs, and there are 4. Say --workers 1"):
        places(3, 3, "auto")
    with pytest.raises(RunError, match="no use for one device"):
        places(2, 1, "cuda:1")


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_slurm_is_asked_for_one_array(
    tmp_path: Path, job: Callable[[str, str], Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [job(name, "") for name in "abc"]
    with pytest.raises(RunError, match="--slurm timeout_min=720"):
        submit(jobs, tmp_path / "slurm", {"partition": "gpu"})
    settings = {"partition": "gpu", "timeout_min": 90, "gpus_per_node": 1}
    with pytest.raises(RunError, match="on a slurm cluster"):
        submit(jobs, tmp_path / "slurm", settings)
    program(tmp_path / "bin", "srun", "")
    program(tmp_path / "bin", "sbatch", f'cp "$1" {tmp_path}/asked; echo Submitted batch job 17')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    submitted = submit(jobs, tmp_path / "slurm", settings, at_once=2)
    assert [each.job_id for each in submitted] == ["17_0", "17_1", "17_2"]
    asked = (tmp_path / "asked").read_text()
    for line in ("--array=0-2%2", "--partition=gpu", "--time=90", "--gpus-per-node=1", "--job-name=harbench"):
        assert f"#SBATCH {line}\n" in asked
    with pytest.raises(RunError, match="Unknown argument 'parition'"):
        submit(jobs, tmp_path / "slurm", {**settings, "parition": "gpu"})
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(RunError, match=r"harbench\[slurm\]"):
        submit(jobs, tmp_path / "slurm", settings)


def test_a_submitted_job_that_fails_says_why(job: Callable[[str, str], Job]) -> None:
    assert Submitted(job("incomplete", "import sys; sys.exit(3)"))() == 3
    with pytest.raises(RunError, match="failing: no such thing"):
        Submitted(job("failing", "import sys; print('harbench: no such thing'); sys.exit(1)"))()
