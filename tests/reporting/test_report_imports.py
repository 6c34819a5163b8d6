"""`harbench report` must stay quick: its read path loads none of the heavy libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from harbench.records import Predictions, RunRecord

SCRIPT = """
import sys
from pathlib import Path
from harbench.reporting.leaderboard import build_leaderboard
from harbench.reporting.details import load_details
from harbench.reporting.page.build import render_page
from harbench.reporting.published import load_published
from harbench.reporting.render import render
from harbench.runs.folder import load_runs
runs, _ = load_runs(Path(sys.argv[1]))
board = build_leaderboard(runs, load_published("ucf101"))
sizes = [len(render(board, kind)) for kind in ("md", "csv", "tex")]
sizes.append(len(render_page(board, load_details(board, runs, Path(sys.argv[1]), Path(sys.argv[1]) / "home", 50))))
heavy = {"torch", "pandas", "scipy", "numpy", "cv2", "av", "matplotlib"} & set(sys.modules)
print(len(runs), min(sizes), ",".join(sorted(heavy)))
"""


def reported(root: Path) -> tuple[int, set[str]]:
    """Runs under `root` that a fresh interpreter reports in every format, and the heavy libraries that it loaded."""
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(root)], capture_output=True, text=True, check=False, timeout=60
    )
    assert found.returncode == 0, found.stderr
    runs, smallest, heavy = found.stdout.rstrip("\n").split(" ")
    assert int(smallest) > 5_000
    return int(runs), set(heavy.split(",")) - {""}


def test_fifty_runs_are_reported_without_heavy_libraries(tmp_path: Path, make_run: Callable[..., RunRecord]) -> None:
    for number in range(50):
        record = make_run(f"recipe{number // 5}", seed=number % 5, top1=50.0 + number / 2)
        folder = tmp_path / record.folder
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps(asdict(record)), encoding="utf-8")
    assert reported(tmp_path) == (50, set())


def test_scores_are_read_with_numpy_alone(
    tmp_path: Path, make_run: Callable[..., RunRecord], write_run: Callable[..., Predictions]
) -> None:
    write_run(tmp_path, make_run())
    assert reported(tmp_path) == (1, {"numpy"})
