"""Thousands of mutated inputs over everything that harbench reads of others. By hand: `make accept-mutations`.

python tests/acceptance/mutations.py [--number 3000] [--seed 0] [--only score-csv,recipe]

A case takes a whole input (predictions, lists of other tools, tables, poses, pickles, checkpoints, recipes), changes one of
its files (bits, bytes, lines, numbers, a cut, a repetition) and reads it. Right is an answer that the checker cannot refute,
or an error of harbench's that names the input. Wrong are any other exception, a case that takes longer than 20 seconds or
more than 4 GB, a process that dies, and an answer that contradicts the input. Wrong cases are kept and listed; exit code 1.
"""

from __future__ import annotations

import argparse
import json
import pickle
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from toys import many_people

from harbench.errors import HarbenchError

SECONDS, MEMORY, BATCH = 20, 4 << 30, 25


# ---------------------------------------------------------------------------------------------------- whole inputs
CLASSES, TEST = ("left", "right"), ("left/eve", "left/fay", "right/eve", "right/fay")


def predictions(folder: Path) -> None:
    """The four test samples of `many` in every form that `score` takes, all right."""
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]], np.float32)
    rows = [f"{name},{a:.1f},{b:.1f}" for name, (a, b) in zip(TEST, scores, strict=True)]
    (folder / "scores.csv").write_text("\n".join(["sample_id,left,right", *rows]) + "\n")
    (folder / "labels.csv").write_text("path label\n" + "".join(f"{name}.avi {name.split('/')[0]}\n" for name in TEST))
    np.savez(folder / "scores.npz", ids=np.array(TEST), scores=scores, classes=np.array(CLASSES))
    dump = [
        {"pred_score": row, "gt_label": [n // 2], "frame_dir": name}
        for n, (name, row) in enumerate(zip(TEST, scores, strict=True))
    ]
    (folder / "dump.pkl").write_bytes(pickle.dumps(dump))
    (folder / "order.txt").write_text("1 left\n2 right\n")


def skeletons(folder: Path) -> None:
    """A pickle as pyskl writes it."""
    rng = np.random.default_rng(0)
    names = [f"{label}_{n}" for label in CLASSES for n in range(4)]
    annotations = [
        {"frame_dir": name, "label": n // 4, "total_frames": 9 + n, "img_shape": (100, 100), "original_shape": (100, 100),
         "keypoint": rng.random((1, 9 + n, 17, 2), np.float32), "keypoint_score": rng.random((1, 9 + n, 17), np.float32)}
        for n, name in enumerate(names)
    ]  # fmt: skip
    split = {"split1_train": names[:3] + names[4:7], "split1_test": [names[3], names[7]]}
    (folder / "annotations.pkl").write_bytes(pickle.dumps({"split": split, "annotations": annotations}))
    (folder / "label_map.txt").write_text("left\nright\n")


def poses(folder: Path) -> None:
    """Arrays in class folders of subset folders."""
    rng = np.random.default_rng(1)
    for n, (subset, label) in enumerate((s, c) for s in ("train", "test") for c in CLASSES):
        (folder / subset / label).mkdir(parents=True)
        for take in range(2):
            np.save(folder / subset / label / f"{take}.npy", rng.random((9 + n + take, 17, 2), np.float32))


def table(folder: Path) -> None:
    """A table beside media, which nothing decodes here."""
    rows = ["path,label,group,official"]
    for name in (*TEST, "left/ann", "right/ann", "left/bea", "right/bea"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.avi").write_bytes(name.encode())
        rows.append(f"{name}.avi,{name.split('/')[0]},{name.split('/')[1]},{'test' if name in TEST else 'train'}")
    (folder / "samples.csv").write_text("\n".join(rows) + "\n")


def checkpoint(folder: Path) -> None:
    """The weights of a small network in both formats."""
    import safetensors.torch
    import torch

    state = network().state_dict()
    torch.save({"state_dict": state, "epoch": 3}, folder / "weights.pth")
    safetensors.torch.save_file(state, folder / "weights.safetensors", {"classes": json.dumps(CLASSES)})


def recipe(folder: Path) -> None:
    """A recipe as shipped."""
    shutil.copy(Path(__file__).parents[2] / "recipes/mc3_18.yaml", folder / "recipe.yaml")


def exported(form: str) -> Callable[[Path], None]:
    """`many` as harbench writes it in another tool's format."""

    def build(folder: Path) -> None:
        from harbench import api

        api.convert("many", to=form, output=folder / "data", home=HOME)

    return build


# ------------------------------------------------------------------------------------------------- reading and checking
def score(file: str, order: str = "") -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from harbench import api

        found = api.score_file(
            folder / file, dataset="many", home=HOME, classes_order=str(folder / order) if order else ""
        )
        values = [value for value in found.metrics.values() if value is not None]
        assert found.samples == 4 and 0 <= found.scored <= 4, (found.samples, found.scored)
        assert all(0 <= value <= 100 for value in values), values
        assert found.metrics["top1"] is None or found.metrics["top1"] <= 25 * found.scored + 1e-9, found.metrics

    return read


def convert(form: str, source: str = "data") -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from harbench import api

        api.convert_from(form, folder / source, name="mine", home=folder / "home")
        consistent(folder / "home")

    return read


def own(folder: Path) -> None:
    from harbench import api

    try:
        api.prepare(str(folder), own=api.OwnOptions("mine"), home=folder / ".home", workers=1, dry_run=True)
    finally:
        assert not (folder / ".home").exists(), "a dry run wrote something"


def read_poses(folder: Path) -> None:
    from harbench.frames.poses import read_pose

    own(folder)
    for path in folder.rglob("*.npy"):
        pose = read_pose(path, "motion")
        assert pose.ndim == 4 and pose.size, (path, pose.shape)  # a joint that is not finite is absent


def load(file: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        import torch

        from harbench.models.weights import load_weights
        from harbench.recipe import ModelConfig

        model = network()
        load_weights(model, ModelConfig(name="small_cnn", weights=str(folder / file)), CLASSES)
        assert all(isinstance(value, torch.Tensor) for value in model.state_dict().values())

    return read


def read_recipe(folder: Path) -> None:
    from harbench.recipe import Recipe, load_any

    found = load_any(folder / "recipe.yaml")
    assert Recipe.model_validate(found.model_dump()) == found


def network() -> object:
    import torch

    from harbench.models.build import build_model
    from harbench.recipe import ModelConfig

    torch.manual_seed(0)
    return build_model(ModelConfig(name="small_cnn"), len(CLASSES))


def consistent(home: Path) -> None:
    """The data set `mine` of a home: every sample has its media, one class and one row; the listing shows it."""
    from harbench import api
    from harbench.datasets.tables import load_spec, load_split

    spec = load_spec("mine", home)
    for split in spec.splits:
        samples = load_split("mine", split, home).samples
        assert len({sample.sample_id for sample in samples}) == len(samples), "a sample stands twice"
        assert len({sample.target for sample in samples}) > 1, "one class"
        gone = [sample.media for sample in samples if not (home / "mine/media" / sample.media).exists()]
        assert not gone, f"no media: {gone[:3]}"
    api.datasets(home=home)


@dataclass(frozen=True)
class Kind:
    """One kind of input."""

    build: Callable[[Path], None]
    read: Callable[[Path], None]
    mutated: str = "*"
    """Which of its files are changed."""


KINDS: Mapping[str, Kind] = {
    "score-csv": Kind(predictions, score("scores.csv"), "scores.csv"),
    "score-labels": Kind(predictions, score("labels.csv"), "labels.csv"),
    "score-npz": Kind(predictions, score("scores.npz"), "scores.npz"),
    "score-dump": Kind(predictions, score("dump.pkl", "order.txt"), "dump.pkl"),
    "score-order": Kind(predictions, score("dump.pkl", "order.txt"), "order.txt"),
    "mmaction2": Kind(exported("mmaction2"), convert("mmaction2"), "*.txt"),
    "rawframes": Kind(exported("rawframes"), convert("rawframes"), "*.txt"),
    "videofolder": Kind(exported("videofolder"), convert("videofolder"), "*.csv"),
    "webdataset": Kind(exported("webdataset"), convert("webdataset"), "*.tar"),
    "skeleton": Kind(skeletons, convert("skeleton", "annotations.pkl"), "*.pkl"),
    "own-csv": Kind(table, own, "*.csv"),
    "pose": Kind(poses, read_poses, "*.npy"),
    "pth": Kind(checkpoint, load("weights.pth"), "*.pth"),
    "safetensors": Kind(checkpoint, load("weights.safetensors"), "*.safetensors"),
    "recipe": Kind(recipe, read_recipe, "*.yaml"),
}


# --------------------------------------------------------------------------------------------------------- mutations
def mutated(data: bytes, rng: random.Random) -> bytes:
    """`data` with one to three changes."""
    for _ in range(rng.randint(1, 3)):
        data = rng.choice((bits, piece, cut, repeated, inserted, lines, number))(data, rng)
    return data


def bits(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 4, 40)) if changed else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def piece(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.choice((1, 7, 100)) :]


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def repeated(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    end = at + rng.choice((1, 10, 1000))
    return data[:end] + data[at:end] + data[end:]


def inserted(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    words = (
        b"\x00",
        b"\xff\xfe",
        b"\n",
        b",",
        b"\t",
        b'"',
        b"nan",
        b"1e999",
        b"../../x",
        "\u00b2".encode(),
        b"-1",
        b"[" * 5000,
    )
    return data[:at] + rng.choice(words) + data[at:]


def lines(data: bytes, rng: random.Random) -> bytes:
    parts = data.split(b"\n")
    a, b = rng.randrange(len(parts)), rng.randrange(len(parts))
    how = rng.randrange(3)
    if how == 0:
        parts[a], parts[b] = parts[b], parts[a]
    elif how == 1:
        parts.insert(b, parts[a])
    else:
        del parts[a]
    return b"\n".join(parts)


def number(data: bytes, rng: random.Random) -> bytes:
    found = list(re.finditer(rb"\d+", data))
    if not found:
        return data
    one = rng.choice(found)
    other = rng.choice((b"0", b"-1", b"99999999999999999999", b"1" * 500, b"inf", b"", b"1.5", b"7"))
    return data[: one.start()] + other + data[one.end() :]


# -------------------------------------------------------------------------------------------------------------- cases
HOME = Path()


def started(home: Path) -> None:
    """In every worker: the home of `many`, limits, and what is slow to import, which no case should pay for."""
    global HOME
    HOME = home
    import pandas  # noqa: F401
    import scipy.stats  # noqa: F401
    import torchvision  # noqa: F401

    resource.setrlimit(resource.RLIMIT_AS, (resource.getrlimit(resource.RLIMIT_AS)[1], resource.RLIM_INFINITY))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    signal.signal(signal.SIGALRM, too_long)


def too_long(*_: object) -> None:
    raise TimeoutError(f"still at it after {SECONDS} s")


def case(kind: str, whole: Path, seed: str, keep: Path) -> tuple[str, str]:
    """Outcome (`answer`, `refused`, `wrong`) of one mutated input, and what was said."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "input"
        shutil.copytree(whole, folder, symlinks=True)
        files = sorted(path for path in folder.rglob(KINDS[kind].mutated) if path.is_file())
        victim = rng.choice(files)
        content = victim.read_bytes()
        victim.unlink()  # it may be a link to the home's own
        victim.write_bytes(mutated(content, rng))
        signal.alarm(SECONDS)
        try:
            KINDS[kind].read(folder)
            return "answer", ""
        except HarbenchError as error:
            said = str(error)
            vague = not said.strip() or re.search(r"Error: |Traceback|object has no attribute", said)
            return ("wrong", f"says {said[:200]!r}") if vague else ("refused", said)
        except BaseException as error:  # noqa: BLE001 (whatever it is, it is wrong)
            shutil.copytree(folder, keep / f"{kind}-{seed}", symlinks=True, dirs_exist_ok=True)
            where = traceback.extract_tb(error.__traceback__)[-1]
            return "wrong", f"{type(error).__name__}: {str(error)[:200]} ({Path(where.filename).name}:{where.lineno})"
        finally:
            signal.alarm(0)


def batch(kind: str, whole: Path, seeds: list[str], keep: Path) -> list[tuple[str, str, str]]:
    warnings.simplefilter("ignore")
    return [(seed, *case(kind, whole, seed, keep)) for seed in seeds]


def run_kind(kind: str, whole: Path, seeds: list[str], home: Path, keep: Path) -> list[tuple[str, str, str]]:
    """All cases of a kind; a process that dies is told, and its batch is run again one by one."""
    done: list[tuple[str, str, str]] = []
    groups = [seeds[at : at + BATCH] for at in range(0, len(seeds), BATCH)]
    while groups:
        broken = []
        with ProcessPoolExecutor(2, get_context("spawn"), started, (home,)) as pool:
            for group, future in [(group, pool.submit(batch, kind, whole, group, keep)) for group in groups]:
                try:
                    done += future.result()
                except BrokenProcessPool:
                    broken.append(group)
        done += [(group[0], "wrong", "its process died") for group in broken if len(group) == 1]
        groups = [[seed] for group in broken if len(group) > 1 for seed in group]
    return done


def unchanged(kind: str, whole: Path) -> str:
    """What is said against the whole input; empty where it is read."""
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(whole, Path(place) / "input", symlinks=True)
        try:
            KINDS[kind].read(Path(place) / "input")
        except HarbenchError as error:
            return str(error)
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(KINDS))
    args = parser.parse_args()
    work, kinds = Path(tempfile.mkdtemp(prefix="mutations-")), args.only.split(",")
    home = many_people(work) / "home"
    started(home)
    each, wrong = -(-args.number // len(kinds)), 0
    for kind in kinds:
        whole, began = work / "whole" / kind, time.monotonic()
        whole.mkdir(parents=True)
        KINDS[kind].build(whole)
        if refusal := unchanged(kind, whole):
            print(f"{kind:14} the unchanged input is refused, so its cases say nothing: {refusal}", flush=True)
            wrong += each
            continue
        found = run_kind(kind, whole, [f"{args.seed}.{n}" for n in range(each)], home, work / "wrong")
        counts = Counter(outcome for _, outcome, _ in found)
        print(f"{kind:14} {len(found):5} cases  {counts['answer']:5} answers  {counts['refused']:5} refused  "
              f"{counts['wrong']:5} wrong   {time.monotonic() - began:.0f} s", flush=True)  # fmt: skip
        for said, times in Counter(said for _, outcome, said in found if outcome == "wrong").most_common(8):
            seed = next(seed for seed, _, each_said in found if each_said == said)
            print(f"    {times} times, first {kind}-{seed}: {said}", flush=True)
        wrong += counts["wrong"]
    print(f"{wrong} wrong" + (f"; kept under {work / 'wrong'}" if wrong else ""))
    if not wrong:
        shutil.rmtree(work)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
