"""kill -9 at 20 random moments of small trainings, against one that nobody disturbed. By hand: `make accept-kill`.

python tests/acceptance/kill_acceptance.py [--seed N] [--rounds 5]

A round is a run of its own that is killed four times: twice amid steps, once while state.pt is being written, once amid
the evaluation; each time the same command goes on. Only the process itself is killed, not its loader: what is left behind
must not be in the way. In the end weights, predictions, views, train.csv and record must be those of the undisturbed run,
to the byte, but for times. A kill that misses its moment is drawn again.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from toys import many_people

MOMENTS = ("step", "save", "step", "evaluation")
TIMES = {"seconds", "finished", "samples_per_second"}
"""What may differ: of run.json and train.csv."""
SETTINGS = (
    "train.epochs=30", "train.batch_size=2", "train.ema=0.99", "train.mixup=0.2", "train.workers=1", "train.val_every=10",
    "data.validation=0.3", "train.selection=val", "eval.clips=30", "eval.batch_size=2",
)  # fmt: skip


def command(work: Path, runs: str) -> list[str]:
    """The command that starts a run, and goes on with it."""
    words = [sys.executable, "-m", "harbench", "--quiet", "--home", str(work / "home"), "--runs", str(work / runs)]
    return [*words, "run", str(work / "many.yaml"), "--tag", "kill", *(w for s in SETTINGS for w in ("--set", s))]


def folder_of(work: Path, runs: str) -> Path:
    return work / runs / "many/many+kill/official/seed0"


def epochs(folder: Path) -> int:
    """How many epochs are done, as state.pt's neighbour train.csv says."""
    path = folder / "train.csv"
    return max(0, len(path.read_text().splitlines()) - 1) if path.exists() else 0


def parts(folder: Path, name: str) -> list[Path]:
    """The file `name` while it is being written."""
    return list(folder.glob(f".{name}.*.part"))


def waited(process: subprocess.Popen[bytes], until: Callable[[], object]) -> bool:
    """Whether `until` came true before the process ended."""
    while process.poll() is None:
        if until():
            return True
        time.sleep(1e-4)
    return False


def killed(work: Path, runs: str, moment: str, rng: random.Random, train: float, evaluate: float) -> bool:
    """Start the command, kill it at this moment; whether it hit."""
    folder = folder_of(work, runs)
    before, old = epochs(folder), set(parts(folder, "state.pt"))
    process = subprocess.Popen(command(work, runs), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first = rng.randint(1, 4)
    if moment == "save":
        waited(process, lambda: epochs(folder) >= before + first)
        waited(process, lambda: set(parts(folder, "state.pt")) - old)
    elif moment == "step":
        waited(process, lambda: epochs(folder) > before)
        time.sleep(rng.uniform(0, train / 6))
    else:
        waited(process, lambda: (folder / "model.safetensors").exists())
        time.sleep(rng.uniform(0, evaluate))
    ended = process.poll() is not None
    process.send_signal(signal.SIGKILL)
    process.wait()
    if moment == "save":
        hit = bool(set(parts(folder, "state.pt")) - old)
    else:
        hit = (moment == "evaluation") == (folder / "model.safetensors").exists()
    hit = hit and not ended and not (folder / "run.json").exists()
    print(f"  {moment:10} epoch {epochs(folder):2}  {'hit' if hit else 'missed'}", flush=True)
    return hit


def finished(work: Path, runs: str) -> str:
    """Let the command end; its words where it did not end well."""
    done = subprocess.run(command(work, runs), capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr[-600:]}"


def differences(one: Path, other: Path) -> list[str]:
    """What of two run folders is not equal to the byte, but for times."""
    names = ("model.safetensors", "predictions.npz", "views.npz", "per_class.csv", "train_ids.txt.gz", "recipe.yaml")
    found = [name for name in names if (one / name).read_bytes() != (other / name).read_bytes()]
    records = [json.loads((folder / "run.json").read_text()) for folder in (one, other)]
    found += [f"run.json {key}" for key in records[0] if key not in TIMES and records[0][key] != records[1].get(key)]
    stats = [list(csv.DictReader((folder / "train.csv").open())) for folder in (one, other)]
    for line in (*stats[0], *stats[1]):
        for name in TIMES & line.keys():
            del line[name]
    found += ["train.csv"] * (stats[0] != stats[1])
    return found + [f"left behind: {path.name}" for path in other.glob(".*.part")]


def main() -> int:
    """Exit code 1 when anything differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=random.randrange(1000))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    os.environ["OMP_NUM_THREADS"] = "1"
    print(f"seed {options.seed}; {len(MOMENTS)} kills in each of {options.rounds} rounds", flush=True)
    with tempfile.TemporaryDirectory(prefix="kill-") as folder:
        work = many_people(Path(folder))
        if words := finished(work, "whole"):
            print(words)
            return 1
        seconds = json.loads((folder_of(work, "whole") / "run.json").read_text())["seconds"]
        print(f"undisturbed: training {seconds['train']:.1f} s, evaluation {seconds['evaluate']:.1f} s", flush=True)
        hits, misses, problems = 0, 0, []
        for number in range(options.rounds):
            runs, order = f"round{number}", [*rng.sample(MOMENTS[:-1], 3), MOMENTS[-1]]
            print(f"round {number + 1}", flush=True)
            while order and misses < 30:
                hit = killed(work, runs, order[0], rng, seconds["train"], seconds["evaluate"])
                hits, misses = hits + hit, misses + (not hit)
                if hit:
                    order.pop(0)
                elif (folder_of(work, runs) / "model.safetensors").exists() and order[0] != "evaluation":
                    runs += "b"  # its training is over: this moment comes in a new run
            words = finished(work, runs)
            problems += [words] if words else differences(folder_of(work, "whole"), folder_of(work, runs))
            print(f"  {'; '.join(problems) or 'equal to the byte'}", flush=True)
        expected = options.rounds * len(MOMENTS)
        print(
            f"{hits} of {expected} kills hit their moment ({misses} missed and were drawn again); {len(problems)} differences"
        )
        return 0 if not problems and hits == expected else 1


if __name__ == "__main__":
    sys.exit(main())
