"""Child processes: wherever they are started, and however their parent ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from toys import many_people

from harbench.workers import SPAWN, pool, uninterrupted

SCRIPT = """
import sys
from multiprocessing import Pool
from pathlib import Path
from harbench import api

print("started")

def prepared(home):
    return api.prepare("many", home=home, source=Path(home).parent / "videos", workers=2, short_side=64).cached

if "run" in sys.argv:
    work = Path(sys.argv[1]).parent
    settings = ("train.epochs=1", "train.workers=2")
    (done,) = api.run([str(work / "many.yaml")], home=sys.argv[1], runs=work / "runs", overrides=settings)
    print(12 if done.state == "finished" else done)
elif "pool" in sys.argv:
    with Pool(1) as pool:
        print(pool.apply(prepared, (sys.argv[1],)))
else:
    print(prepared(sys.argv[1]))
"""


def living(group: int) -> list[str]:
    """The processes of a group that are not dead."""
    asked = ["ps", "-o", "stat=", "-o", "args=", "-g", str(group)]
    lines = subprocess.run(asked, capture_output=True, text=True).stdout.splitlines()
    return [
        line for line in lines if line[0] != "Z" and "[" not in line and "resource_tracker" not in line
    ]  # [python] is dying


@pytest.mark.parametrize("how", ["script", "pool", "run"])
def test_a_script_without_a_guard_and_a_daemonic_process(tmp_path: Path, how: str) -> None:
    home = many_people(tmp_path) / "home"
    (tmp_path / "script.py").write_text(SCRIPT)
    words = [sys.executable, tmp_path / "script.py", home, how]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("started\n12\n", 0), done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_ended_says_so_in_one_line_and_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    work = many_people(tmp_path)
    words = [sys.executable, "-m", "harbench", "--home", "home", "run", "many.yaml", "--device", "cpu", "--tag", "x"]
    settings = ["--set", "train.epochs=500", "--set", "train.workers=2"]
    process = subprocess.Popen([*words, *settings], cwd=work, stderr=subprocess.PIPE, text=True, start_new_session=True)
    state, deadline = work / "runs/many/many+x/official/seed0/state.pt", time.monotonic() + 60
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    os.killpg(process.pid, number)  # as a terminal, or SLURM, sends it
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in told
    assert told.count("harbench: Interrupted.") == 1 and told.endswith("the same command goes on from there.\n")
    assert not living(process.pid)


def test_ended_while_workers_start(tmp_path: Path) -> None:
    work = many_people(tmp_path)
    words = [sys.executable, "-m", "harbench", "--home", "home", "prepare", "many", "--short-side", "64"]
    for wait in (0.15, 0.3, 0.5, 0.7, 0.9):
        process = subprocess.Popen(words, cwd=work, stderr=subprocess.PIPE, text=True, start_new_session=True)
        time.sleep(wait)
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=30)
        assert process.returncode in (130, 0, -signal.SIGINT) and "Traceback" not in told, told
        assert not living(process.pid)


def test_a_pool_left_early_ends_at_once() -> None:
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), pool(2) as processes:
        jobs = [processes.submit(time.sleep, 100) for _ in range(9)]
        while not jobs[0].running():
            time.sleep(0.01)
        children = list(processes._processes.values())
        raise KeyboardInterrupt
    assert time.monotonic() - started < 20
    for child in children:  # `is_alive` may ask while the pool's own thread collects the exit status
        with pytest.raises(ProcessLookupError):
            os.kill(child.pid or 0, 0)


def test_a_child_ends_when_told() -> None:
    child = SPAWN.Process(target=time.sleep, args=(100,), daemon=True)
    child.start()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(child.pid or 0, number)
    child.join(0.5)
    assert child.is_alive()
    child.terminate()
    child.join(10)
    assert child.exitcode == -signal.SIGKILL
    assert sys.modules["__main__"].__dict__.get("__name__") == "__main__" and not signal.pthread_sigmask(0, ())


def test_ctrl_c_waits_for_the_end_of_a_block() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        os.kill(os.getpid(), signal.SIGINT)
        seen.append(1)
    assert seen == [1] and signal.getsignal(signal.SIGINT) is before
    with pytest.raises(ValueError), uninterrupted():
        raise ValueError
    thread = threading.Thread(target=lambda: uninterrupted().__enter__())
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
