"""Faults injected, promises checked: the same final bytes as undisturbed, nothing lost, no partial file taken for whole.

python tests/drill/drill.py [--seed N] [--scale 1.0] [--only kill-run,disk]     (`make drill ARGS=...`)

| drill | fault | promise |
|---|---|---|
| kill-prepare, kill-run, kill-report | kill -9 at 200, 100, 50 random moments | the same command ends as undisturbed |
| disk | 60 writes that end at a random byte (RLIMIT_FSIZE: as a full disk, errno EFBIG) | one message, and then the same |
| damage | 1,000 bits flipped, or files cut, in caches, checkpoints, records, recipes and tables | told, or without effect |
| together | two and eight processes prepare and run the same at once | one result, whole |
| loader | 100,000 random clips through the loader | memory and open files do not grow |

Everything is done by processes that are forked from one that has imported everything. Exit code 1 where a promise is broken.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import logging
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1]))
import numpy as np
from toys import many_people

from harbench import api
from harbench.errors import HarbenchError

FORK = multiprocessing.get_context("fork")
HEAVY = (
    "torchvision", "harbench.runs.execute", "harbench.models.build", "harbench.training.fit", "harbench.training.trackers",
    "harbench.reporting.page.build", "harbench.prepare.pipeline", "jinja2", "harbench.frames.cache",
)  # fmt: skip
SETTINGS = ("train.epochs=4", "train.batch_size=2", "train.workers=0", "train.ema=0.99", "eval.clips=3")
TIMES = {"seconds", "finished", "samples_per_second", "latency_ms", "record_sha256"}
RUN = "runs/many/many+drill/official/seed0"
COUNTS = {
    "kill-prepare": 200,
    "kill-run": 100,
    "kill-report": 50,
    "disk": 60,
    "damage": 1000,
    "together": 2,
    "loader": 100_000,
}


# ---------------------------------------------------------------------------------------------------------- what is done
def prepare(work: Path) -> None:
    """The data set's second cache, at another size."""
    api.prepare("many", home=work / "home", source=work / "videos", short_side=24, workers=1)


def run(work: Path) -> None:
    """A training with an evaluation."""
    api.run([str(work / "many.yaml")], home=work / "home", runs=work / "runs", overrides=SETTINGS, tag="drill")


def report(work: Path) -> None:
    """The page of what is there."""
    api.report("many", home=work / "home", runs=work / "runs", output=work / "reports")


def cache_of(work: Path) -> object:
    """Every frame of the cache that `prepare` makes."""
    from harbench.frames.cache import open_cache

    cache, videos = open_cache(work / "home/many/cache/rgb-jpeg90-24"), sorted((work / "videos").rglob("*.avi"))
    digest = hashlib.sha256()
    for path in videos:
        name = path.relative_to(work / "videos").as_posix()
        digest.update(cache.read(name, np.arange(cache.info(name).frames)).tobytes())
    return digest.hexdigest()


def run_of(work: Path) -> object:
    """What a run left, but for times."""
    folder = work / RUN
    names = ("model.safetensors", "predictions.npz", "views.npz", "per_class.csv", "train_ids.txt.gz", "recipe.yaml")
    record = json.loads((folder / "run.json").read_text())
    lines = list(csv.DictReader((folder / "train.csv").open()))
    return (
        {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names},
        {key: value for key, value in record.items() if key not in TIMES},
        [{key: value for key, value in line.items() if key not in TIMES} for line in lines],
    )


def page_of(work: Path) -> object:
    """The tables, without the day."""
    return (work / "reports/many.csv").read_text()


JOBS: dict[str, tuple[Callable[[Path], None], Callable[[Path], object], tuple[str, ...]]] = {
    "prepare": (prepare, cache_of, ("home/many/cache/rgb-jpeg90-24",)),
    "run": (run, run_of, ("runs/many",)),
    "report": (report, page_of, ("reports",)),
}
"""The work, what it gives, and the folders that are taken away before it."""


# ------------------------------------------------------------------------------------------------------------- processes
def child(work: Path, job: str, limit: int | None) -> None:
    """In a process of its own: exit code 0 done, 1 told in one message (words.txt), 3 anything else (traceback.txt)."""
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    code = 0
    try:
        JOBS[job][0](work)
    except HarbenchError as error:
        code, words = 1, str(error)
    except OSError as error:  # the command line says which file, and what to do
        code, words = (1 if error.filename else 3), traceback.format_exc() if error.filename is None else str(error)
    except BaseException:  # noqa: BLE001 - that is what is looked for
        code, words = 3, traceback.format_exc()
    if code:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
        sys.stderr.write(f"{words}\n")
    os._exit(code)


def started(work: Path, job: str, limit: int | None = None) -> multiprocessing.process.BaseProcess:
    """The job in a process of its own; what it says goes to words.txt."""

    def quiet() -> None:
        log = os.open(work / "words.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 2)
        os.dup2(log, 1)
        child(work, job, limit)

    process = FORK.Process(target=quiet)
    process.start()
    return process


def ended(work: Path, job: str, limit: int | None = None) -> int | None:
    """The exit code of the job."""
    (work / "words.txt").write_text("")
    process = started(work, job, limit)
    process.join()
    return process.exitcode


def words(work: Path) -> str:
    """The last line that a job said."""
    lines = [line for line in (work / "words.txt").read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "nothing"


def clear(work: Path, job: str) -> None:
    """As before the job."""
    for name in JOBS[job][2]:
        shutil.rmtree(work / name, ignore_errors=True)


def left_behind(work: Path, job: str) -> list[str]:
    """Temporary files that a later command of the same kind did not take away."""
    return [path.name for name in JOBS[job][2] for path in (work / name).rglob("*.part")]


# ---------------------------------------------------------------------------------------------------------------- drills
def killed(work: Path, job: str, number: int, rng: random.Random) -> tuple[int, list[str]]:
    """kill -9 at random moments, until it ends; then all over again."""
    clear(work, job)
    began = time.monotonic()
    ended(work, job)
    took, expected = time.monotonic() - began, JOBS[job][1](work)
    hits, defects = 0, []
    while hits < number:
        clear(work, job)
        while True:  # of one job at most a handful: each must get on
            process = started(work, job)
            process.join(rng.uniform(0, took))
            if process.exitcode is not None:
                break
            process.kill()
            process.join()
            hits += 1
            if rng.random() < 0.3 or hits >= number:
                break
        if code := ended(work, job):
            defects.append(f"{job}: exit code {code} after kills: {words(work)}")
        elif JOBS[job][1](work) != expected:
            defects.append(f"{job}: another result after kills")
        elif left := left_behind(work, job):
            defects.append(f"{job}: left behind {left}")
    return hits, defects


def disk(work: Path, number: int, rng: random.Random) -> tuple[int, list[str]]:
    """Writes that end at a random byte of a file."""
    defects = []
    for job in JOBS:
        clear(work, job)
        ended(work, job)
        expected = JOBS[job][1](work)
        largest = max(
            path.stat().st_size for name in JOBS[job][2] for path in (work / name).rglob("*") if path.is_file()
        )
        for _ in range(number // len(JOBS)):
            clear(work, job)
            limit = int(largest * rng.random() ** 3)
            code = ended(work, job, limit)
            if code not in (0, 1):
                defects.append(f"{job}: exit code {code} with files of at most {limit} bytes: {words(work)}")
            elif code == 1 and "Traceback" in (work / "words.txt").read_text():
                defects.append(f"{job}: a traceback with files of at most {limit} bytes")
            if ended(work, job) or JOBS[job][1](work) != expected:
                defects.append(f"{job}: not as undisturbed after a full disk ({limit} bytes): {words(work)}")
    return number, defects


def damaged(work: Path, number: int, rng: random.Random) -> tuple[int, list[str]]:
    """A bit, a run of bytes or the end of one file: what reads it tells of it, or gives what it gave before."""
    for job in JOBS:
        clear(work, job)
        ended(work, job)
    chosen = [
        path
        for place in ("home/many/cache/rgb-jpeg90-24", "home/many/cache/rgb-jpeg90-32", "home/splits", RUN)
        for path in sorted((work / place).rglob("*"))
        if path.is_file()
        and path.stat().st_size
        and not path.name.startswith((".", "log", "events"))
        and path.suffix != ".png"
    ]
    expected = _read_all(work)
    shutil.copytree(work / "home/many", work / "whole", symlinks=True)
    told: Counter[str] = Counter()
    defects = []
    for _ in range(number):
        path = rng.choice(chosen)
        content = path.read_bytes()
        path.write_bytes(_damage(content, rng))
        began = time.monotonic()
        reader, writer = FORK.Pipe(duplex=False)
        process = FORK.Process(target=lambda to=writer: to.send(_read_all(work)))
        process.start()
        if not reader.poll(60):
            process.kill()
            defects.append(f"{path.relative_to(work)}: still at it after {time.monotonic() - began:.0f} s")
            found = expected
        else:
            found = reader.recv()
        process.join()
        path.write_bytes(content)
        shutil.rmtree(work / "home/many")  # which --verify mended, into files of another order
        shutil.copytree(work / "whole", work / "home/many", symlinks=True)
        known = str(found["verify"]).startswith("told")  # pixels that changed without an error are for --verify to find
        for what, value in found.items():
            if str(value).startswith("told"):
                told[path.name] += 1
            elif value != expected[what] and not (known and "cache" in path.parts and "Traceback" not in str(value)):
                defects.append(f"{path.relative_to(work)}: {what}: {str(value)[:300]}")
                break
    print(f"  told: {dict(told)}", flush=True)
    return number, defects


def _damage(content: bytes, rng: random.Random) -> bytes:
    at, kind = rng.randrange(len(content)), rng.random()
    if kind < 0.5:
        return content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]
    if kind < 0.75:
        return content[:at]
    return content[:at] + rng.randbytes(min(16, len(content) - at)) + content[at + 16 :]


def _read_all(work: Path) -> dict[str, object]:
    """What reads a data home and a run, each a value or `told: ...`."""

    def attempt(work_of: Callable[[], object]) -> object:
        try:
            return work_of()
        except HarbenchError as error:
            return f"told: {error}"
        except BaseException:  # noqa: BLE001
            return traceback.format_exc()[-600:]

    def scores() -> object:
        found = api.evaluate(work / RUN, home=work / "home", runs=work / "runs", device="cpu")
        shutil.rmtree(work / RUN / "evaluations", ignore_errors=True)
        if found.failed:
            return f"told: {found.failed}"
        return found.metrics

    def board() -> object:
        made = api.report("many", home=work / "home", runs=work / "runs", output=work / "reports").board
        if made.broken:
            return f"told: {made.broken}"
        return [(row.name, row.value, row.interval) for table in made.tables for row in table.rows]

    def verified() -> object:
        found = api.verify("many", home=work / "home", workers=1)  # mends what it finds
        return f"told: {found.damaged}" if found.damaged else cache_of(work)

    def predicted() -> object:
        predictor = api.Predictor.open(work / RUN, device="cpu")
        (answer,) = predictor(sorted((work / "videos").rglob("*.avi"))[0])
        return np.round(answer.probabilities, 6).tolist()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        parts = {"evaluate": scores, "report": board, "predict": predicted, "verify": verified}
        return {name: attempt(part) for name, part in parts.items()}


def together(work: Path, number: int, rng: random.Random) -> tuple[int, list[str]]:
    """Several processes at the same work: whoever does not do it waits, or says who does."""
    defects, tries = [], 0
    for job in JOBS:
        clear(work, job)
        ended(work, job)
        expected = JOBS[job][1](work)
        for crowd in (2, 8) * number:
            clear(work, job)
            (work / "words.txt").write_text("")
            processes = []
            for _ in range(crowd):
                processes.append(started(work, job))
                time.sleep(rng.uniform(0, 0.05))
            for process in processes:
                process.join()
            codes = Counter(process.exitcode for process in processes)
            tries += 1
            if set(codes) - {0, 1} or not codes[0]:
                defects.append(f"{job}: {crowd} at once ended with {dict(codes)}: {words(work)}")
            elif JOBS[job][1](work) != expected:
                defects.append(f"{job}: {crowd} at once gave another result")
    return tries, defects


def loader(work: Path, number: int, rng: random.Random) -> tuple[int, list[str]]:
    """Random clips: memory in use and open files after a tenth of them, and after all."""
    from harbench.frames.cache import open_cache
    from harbench.frames.clips import ClipDataset
    from harbench.frames.loader import load_each
    from harbench.recipe import InputConfig
    from harbench.records import Sample

    cache = open_cache(work / "home/many/cache/rgb-jpeg90-32")
    names = [path.relative_to(work / "videos").as_posix() for path in sorted((work / "videos").rglob("*.avi"))]
    config = InputConfig.model_validate({"clip": {"dense": {"num_frames": 4, "stride": 1}}, "size": 24, "resize": 32})
    data = ClipDataset([Sample(name, 0, "", "train", name) for name in names], cache, config, seed=0, views=None)
    batches = ([(epoch, at, rng.randrange(len(names)), 0) for at in range(100)] for epoch in range(number // 100))
    measured = []
    for index, _ in enumerate(load_each(data, batches, workers=2)):
        if index in (number // 1000, number // 100 - 1):
            family = [os.getpid(), *map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())]
            pss = [Path(f"/proc/{pid}/smaps_rollup").read_text().split("Pss:")[1].split()[0] for pid in family]
            handles = [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in family]
            measured.append((sum(map(int, pss)) / 1024, sum(handles)))
    (before, opened), (after, still) = measured
    print(f"  memory {before:.0f} MB, then {after:.0f} MB; open files {opened}, then {still}", flush=True)
    grown = [f"memory grew from {before:.0f} to {after:.0f} MB"] * (after > before + 20)
    return number, grown + [f"open files grew from {opened} to {still}"] * (still > opened + 4)


DRILLS: dict[str, Callable[[Path, int, random.Random], tuple[int, list[str]]]] = {
    "kill-prepare": lambda work, number, rng: killed(work, "prepare", number, rng),
    "kill-run": lambda work, number, rng: killed(work, "run", number, rng),
    "kill-report": lambda work, number, rng: killed(work, "report", number, rng),
    "disk": disk,
    "damage": damaged,
    "together": together,
    "loader": loader,
}


def main() -> int:
    """Exit code 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the faults")
    parser.add_argument("--only", default=",".join(DRILLS))
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="drill-") as folder:
        work = Path(folder)
        many_people(work)
        for name in HEAVY:
            import_module(name)
        for name in options.only.split(","):
            began, number = time.monotonic(), max(1, round(COUNTS[name] * options.scale))
            tries, defects = DRILLS[name](work, number, random.Random(f"{options.seed}/{name}"))
            print(f"| {name} | {tries} | {len(defects)} broken | {time.monotonic() - began:.0f} s |", flush=True)
            for defect, times in Counter(defects).most_common(30):
                print(f"  {times} x {defect}", flush=True)
            failed += len(defects)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
