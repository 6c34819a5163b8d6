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
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from multiprocessing.context import ForkProcess
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1]))
from toys import many_people

from harbench.errors import HarbenchError

FORK = multiprocessing.get_context("fork")
HEAVY = (
    "torchvision",
    "harbench.runs.execute",
    "harbench.models.build",
    "harbench.training.fit",
    "harbench.training.trackers",
)

MOMENTS = ("step", "save", "step", "evaluation")
TIMES = {"seconds", "finished", "samples_per_second", "latency_ms", "record_sha256"}
"""What may differ: of run.json and train.csv."""
SETTINGS = (
    "train.epochs=30", "train.batch_size=2", "train.ema=0.99", "train.mixup=0.2", "train.workers=1", "train.val_every=10",
    "data.validation=0.3", "train.selection=val", "eval.clips=30", "eval.batch_size=2",
)  # fmt: skip


def trained(work: Path, runs: str) -> None:
    """The run, or what is left of it."""
    from harbench import api

    try:
        api.run([str(work / "many.yaml")], home=work / "home", runs=work / runs, overrides=SETTINGS, tag="kill")
    except HarbenchError as error:
        (work / "words.txt").write_text(str(error))
        sys.exit(1)


def started(work: Path, runs: str) -> ForkProcess:
    """A process that trains; forked from one that has imported everything and done nothing, as imports take the longest."""
    process = FORK.Process(target=trained, args=(work, runs))
    process.start()
    return process


def folder_of(work: Path, runs: str) -> Path:
    return work / runs / "many/many+kill/official/seed0"


def epochs(folder: Path) -> int:
    """How many epochs are done, as state.pt's neighbor train.csv says."""
    path = folder / "train.csv"
    return max(0, len(path.read_text().splitlines()) - 1) if path.exists() else 0


def parts(folder: Path, name: str) -> list[Path]:
    """The file `name` while it is being written."""
    return list(folder.glob(f".{name}.*.part"))


def waited(process: ForkProcess, until: Callable[[], object]) -> bool:
    """Whether `until` came true before the process ended."""
    while process.is_alive():
        if until():
            return True
        time.sleep(1e-4)
    return False


def killed(work: Path, runs: str, moment: str, rng: random.Random, train: float, evaluate: float) -> bool:
    """Start the command, kill it at this moment; whether it hit."""
    folder = folder_of(work, runs)
    before, old = epochs(folder), set(parts(folder, "state.pt"))
    process = started(work, runs)
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
    ended = not process.is_alive()
    process.kill()
    process.join()
    if moment == "save":
        hit = bool(set(parts(folder, "state.pt")) - old)
    else:
        hit = (moment == "evaluation") == (folder / "model.safetensors").exists()
    hit = hit and not ended and not (folder / "run.json").exists()
    print(f"  {moment:10} epoch {epochs(folder):2}  {'hit' if hit else 'missed'}", flush=True)
    return hit


def finished(work: Path, runs: str) -> str:
    """Let the command end; its words where it did not end well."""
    process = started(work, runs)
    process.join()
    return "" if process.exitcode == 0 else f"exit code {process.exitcode}: {(work / 'words.txt').read_text()}"


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
    print(f"seed {options.seed}; {len(MOMENTS)} kills in each of {options.rounds} rounds", flush=True)
    with tempfile.TemporaryDirectory(prefix="kill-") as folder:
        work = Path(folder)
        preparing = FORK.Process(target=many_people, args=(work,))
        preparing.start()
        preparing.join()
        for name in HEAVY:
            import_module(name)
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
