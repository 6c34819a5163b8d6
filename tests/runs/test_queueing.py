"""Several runs at once: through the command line's queue, and through submitit, preempted and queued again."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from submitit.helpers import DelayedSubmission
from toys import many_people
from typer.testing import CliRunner

from harbench import api
from harbench.cli import app
from harbench.errors import RunError
from harbench.runs.folder import load_run
from harbench.runs.queue import Job, submit

MODEL = """
import os
import signal
import time
from pathlib import Path

import torch
from torch import nn


class Net(nn.Module):
    \"\"\"Fails with seed 1 where `fails` lies; asks SLURM's question once, amid a step, where `preempt` lies.\"\"\"

    def __init__(self, num_classes):
        super().__init__()
        self.head = nn.Linear(3 * 16, num_classes)
        self.dropout = nn.Dropout(0.2)
        if torch.initial_seed() == 1 and Path("fails").exists():
            nn.init.constant_(self.head.weight, float("nan"))
        self.steps = 0

    def forward(self, frames):
        self.steps += self.training
        if self.steps == 4 and Path("preempt").exists():
            Path("preempt").unlink()
            before, told = signal.getsignal(signal.SIGINT), []
            signal.signal(signal.SIGINT, lambda *which: (told.append(1), before(*which)))
            os.kill(os.getppid(), signal.SIGUSR2)
            os.kill(os.getpid(), signal.SIGUSR2)
            while not told:
                time.sleep(0.02)
        return self.head(self.dropout(frames.mean((3, 4)).flatten(1)))


def net(num_classes):
    return Net(num_classes)
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Prepared data, a recipe with a model of its own, and the folder to be in."""
    many_people(tmp_path)
    recipe = tmp_path / "many.yaml"
    recipe.write_text(recipe.read_text().replace("{name: motion3d, args: {width: 4}}", '{name: "model.py:net"}'))
    (tmp_path / "model.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)


def alone(seed: int) -> Path:
    """The folder of the same run, done in this process."""
    (report,) = api.run(["many.yaml"], home=Path("home"), runs=Path("alone"), seed=seed)
    return Path(report.folder)


def equal(one: Path, other: Path) -> bool:
    names = ("model.safetensors", "predictions.npz", "per_class.csv", "train_ids.txt.gz")
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_a_queue_gives_what_runs_give_one_by_one(work: Path) -> None:
    (work / "fails").touch()
    words = ["--home", "home", "--runs", "runs", "run", "many.yaml", "--seeds", "2", "--workers", "2", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1, done.output
    fine, failed = json.loads(done.stdout)
    assert (fine["state"], fine["seed"], failed["state"], failed["seed"]) == ("finished", 0, "failed", 1)
    assert failed["error"].startswith("the loss is nan at step 0")
    assert "runs/queue/many/many/official/seed1.log" in failed["error"]
    assert equal(Path(fine["folder"]), alone(seed=0))
    (again,) = api.queue(["many.yaml"], home=Path("home"), runs=Path("runs"), workers=1)
    assert (again.state, again.metrics) == ("already finished", fine["metrics"])


def test_a_preempted_job_is_queued_again_and_ends_equal(work: Path) -> None:
    (work / "preempt").touch()
    command = (sys.executable, "-m", "harbench", "--home", "home", "--runs", "runs", "run", "many.yaml", "--seed", "0")
    (submitted,) = submit([Job("a run", command, Path("a.log"))], work / "slurm", {"timeout_min": 10}, cluster="local")
    assert submitted.result() == 0
    assert not (work / "preempt").exists()
    assert "resuming after step 4 of 6" in Path("a.log").read_text()
    assert "Requeued" in submitted.stdout()
    folder = Path("runs/many/many/official/seed0")
    assert equal(folder, alone(seed=0))
    assert load_run(folder).exact


def test_slurm_is_told_what_is_not_finished(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("srun", ""), ("sbatch", "echo Submitted batch job 17")):
        (work / name).write_text(f"#!/bin/sh\n{text}\n")
        (work / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(work), prepend=os.pathsep)
    ask = partial(api.queue, ["many.yaml"], home=Path("home"), runs=Path("runs"), seeds=2)
    states = [report.state for report in ask(slurm=["timeout_min=5", "partition=gpu"])]
    assert states == [
        f"submitted as job 17_{seed}, its log is runs/queue/many/many/official/seed{seed}.log" for seed in (0, 1)
    ]
    (pickled,) = (work / "runs/queue/slurm").glob("17_1_submitted.pkl")
    job = DelayedSubmission.load(pickled).function.job
    assert job.name == "many/many/official/seed1"
    assert " ".join(job.command).endswith(
        "harbench --home home --runs runs run many.yaml --split official --seed 1 --device auto --devices 1 --ok-missing 0"
    )
    with pytest.raises(RunError, match="expected key=value"):
        ask(slurm=["gpu"])


def test_options_that_exclude_each_other_are_usage_errors(work: Path) -> None:
    for words in (
        ("--seed", "1", "--workers", "2"),
        ("--seed", "1", "--seeds", "2"),
        ("--grid", "a=1", "--workers", "2"),
    ):
        assert CliRunner().invoke(app, ["run", "many.yaml", *words]).exit_code == 2
