"""Whether `harbench report` stays quick with 2,000 runs: time, memory, size of the page, and how it behaves in a browser.

    python tests/acceptance/report_scale.py [--runs 2000] [--keep DIR]

Times are of the processor, so that they hold on a busy machine too.
Run folders are made up, whole: record, recipe, curves, classes, scores of every test sample. Half of the runs are recipes
of their own, the others three seeds of one, over UCF-101 (split 1), HMDB51 (split 1) and `sample`. The browser part needs
Debian's chromium and playwright, and is told as not done without them. Exit code 1 where a bound does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from harbench.datasets.tables import load_split
from harbench.evaluation.metrics import score
from harbench.records import Comparability, Metrics, Predictions, ProtocolFacts, RunRecord, SplitTable
from harbench.runs.comparability import fingerprint
from harbench.runs.folder import save_run

BOUNDS = {
    "page, MB": 5.0,
    "CPU, s": 30.0,
    "memory, MB": 600.0,
    "first view, s": 5.0,
    "sort, s": 1.0,
    "filter, s": 1.0,
}
PLACES = (("ucf101", "split1", 6), ("hmdb51", "split1", 3), ("sample", "small", 1))
"""Data set, split, share of the runs."""
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def predictions_of(table: SplitTable, accuracy: float) -> Predictions:
    """Scores of every test sample, right with probability `accuracy`."""
    rng = np.random.default_rng(0)
    rows = table.subset("test")
    targets = np.array([row.target for row in rows])
    logits = rng.normal(size=(len(rows), len(table.classes))).astype(np.float32)
    right = rng.random(len(rows)) < accuracy
    shown = np.where(right, targets, rng.integers(0, len(table.classes), len(rows)))
    logits[np.arange(len(rows)), shown] += 6
    exponent = np.exp(logits)
    return Predictions(
        tuple(row.sample_id for row in rows), targets, logits, exponent / exponent.sum(axis=1, keepdims=True)
    )


def record_of(
    table: SplitTable, recipe: str, seed: int, top1: float, draw: random.Random, metrics: Metrics
) -> RunRecord:
    key = Comparability(
        table.dataset, f"{len(table.classes)} classes", table.split, table.unit, "top1", "video", "none", "yes"
    )
    protocol = ProtocolFacts(
        modality=draw.choice(("RGB", "flow", "RGB+flow")),
        pretraining=draw.choice(("none (scratch)", "Kinetics-400", "ImageNet")),
        frames=draw.choice(("8", "16", "32")),
        time_base=draw.choice(("stride 2", "segments")),
        size=draw.choice(("112", "224")),
        views=draw.choice(("1x1", "10x1", "10x3")),
        averaging="prob",
        selection="last",
        decoder="PyAV",
        cache="rgb-jpeg90-128",
    )
    return RunRecord(
        folder=f"{table.dataset}/{recipe}/{table.split}/seed{seed}",
        recipe=recipe.partition("+")[0],
        dataset=table.dataset,
        split=table.split,
        seed=seed,
        model="r3d_18",
        family="3d-cnn",
        key=key,
        protocol=protocol,
        fingerprint=fingerprint(key, protocol),
        metrics={**metrics.values, "top1": top1},
        intervals={"top1": (max(0.0, top1 - 2), min(100.0, top1 + 2))},
        interval_methods={"top1": "bootstrap over 707 groups"},
        samples={"val": 0, "train": len(table.subset("train")), "test": metrics.samples, "scored": metrics.scored},
        partial="",
        exact=True,
        params_m=round(10 ** draw.uniform(0, 2.3), 2),
        gflops=round(10 ** draw.uniform(0, 3), 2),
        seconds={"train": 3600.0, "evaluate": 60.0},
        finished="2026-01-02T03:04:05+00:00",
        harbench="0.1.0",
    )


def make_runs(root: Path, number: int) -> None:
    """`number` finished runs under `root`; the scores of a data set are one file, linked."""
    recipe = (Path(__file__).parents[2] / "recipes" / "mc3_18.yaml").read_text(encoding="utf-8")
    header = "epoch,lr,train_loss,train_top1,val_loss,val_top1,seconds,samples_per_second\n"
    curve = "".join(
        f"{epoch},0.01,{4 / epoch},{100 - 99 / epoch},{5 / epoch},{90 - 80 / epoch},60,150\n" for epoch in range(1, 51)
    )
    total = sum(share for *_, share in PLACES)
    for dataset, split, share in PLACES:
        table, draw = load_split(dataset, split), random.Random(dataset)
        predictions = predictions_of(table, 0.6)
        metrics = score(predictions, table.classes)
        first: Path | None = None
        for index in range(number * share // total):
            alone = index % 2
            name, seed = (f"r3d_18+alone{index}", 0) if alone else (f"r3d_18+seeds{index // 6}", index // 2 % 3)
            own = random.Random(name)
            record = record_of(table, name, seed, own.uniform(20, 97) + draw.uniform(-0.5, 0.5), own, metrics)
            folder = root / record.folder
            folder.mkdir(parents=True)
            if first is None:
                save_run(folder, record, predictions, table.classes, metrics)
                first = folder
            else:
                for scores in ("predictions.npz", "per_class.csv"):
                    os.link(first / scores, folder / scores)
                (folder / "run.json").write_text(json.dumps(asdict(record)), encoding="utf-8")
            (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
            (folder / "train.csv").write_text(header + curve, encoding="utf-8")


def report(folder: Path) -> tuple[dict[str, float], Path]:
    """Run `harbench report` as a user does; what it took, and the page."""
    command = [sys.executable, "-m", "harbench", "--home", str(folder / "home"), "--runs", str(folder / "runs")]
    started = time.monotonic()
    subprocess.run(
        [*command, "report", "--output", str(folder / "reports"), "--limit", "3"], check=True, stdout=subprocess.DEVNULL
    )
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    page = next((folder / "reports").glob("*.html"))
    measured = {
        "wall, s": time.monotonic() - started,
        "CPU, s": used.ru_utime + used.ru_stime,
        "memory, MB": used.ru_maxrss / 1024,
        "page, MB": page.stat().st_size / 1e6,
    }
    return measured, page


def browse(page: Path) -> dict[str, float]:
    """Seconds of the page's thread until it is seen, its largest table is sorted, rows are filtered, all are shown."""
    from playwright.sync_api import sync_playwright

    took: dict[str, float] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page()
        tab.set_default_timeout(120_000)
        session = tab.context.new_cdp_session(tab)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})

        def spent() -> float:
            tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
            return float(metrics["ThreadTime"])

        tab.goto(page.as_uri())
        took["first view, s"] = before = spent()
        largest = (
            "[...document.querySelectorAll('.board')].sort((a, b) => b.textContent.length - a.textContent.length)[0]"
        )
        for name, action in (
            ("sort, s", f"sort({largest}.querySelectorAll('thead button')[1])"),
            ("filter, s", "words.value = 'alone12'; filter()"),
            ("show all, s", f"words.value = ''; filter(); {largest}.querySelector('.more').click()"),
        ):
            tab.evaluate(f"() => {{ {action} }}")
            took[name], before = spent() - before, spent()
        took["rows"] = tab.evaluate("rows.length")
        browser.close()
    return took


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--keep", type=Path, help="an empty folder for runs and reports, kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        make_runs(folder / "runs", options.runs)
        measured, page = report(folder)
        if CHROMIUM is None:
            print("no chromium here: the page was NOT opened")
        else:
            measured |= browse(page)
    for name, value in measured.items():
        bound = BOUNDS.get(name)
        print(
            f"{name:14} {value:10.2f}"
            + ("" if bound is None else f"   at most {bound:g}{'' if value <= bound else '   EXCEEDED'}")
        )
    return int(any(measured.get(name, 0) > bound for name, bound in BOUNDS.items()))


if __name__ == "__main__":
    sys.exit(main())
