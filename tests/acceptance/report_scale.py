"""Whether `harbench report` stays quick with 2,000 runs: time, memory, size of the page, and how it behaves in a browser.

    python tests/acceptance/report_scale.py [--runs 2000] [--keep DIR]

Times are of the processor, so that they hold on a busy machine too.
Run folders are made up, whole. The browser part needs
Debian's chromium and playwright, and is told as not done without them. Exit code 1 where a bound does not hold.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harbench.diagnose.bench.made_runs import make_runs

BOUNDS = {
    "page, MB": 5.0,
    "CPU, s": 30.0,
    "memory, MB": 600.0,
    "first view, s": 5.0,
    "sort, s": 1.0,
    "filter, s": 1.0,
}
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


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
