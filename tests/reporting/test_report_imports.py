"""`harbench report` must stay quick: its read path loads none of the heavy libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from harbench.records import RunRecord

SCRIPT = """
import sys
from pathlib import Path
from harbench.reporting.leaderboard import build_leaderboard
from harbench.reporting.published import load_published
from harbench.reporting.render import render
from harbench.reporting.runs import load_runs
runs = load_runs(Path(sys.argv[1]))
board = build_leaderboard(runs, load_published("ucf101"))
sizes = [len(render(board, kind)) for kind in ("md", "csv", "tex", "html")]
heavy = {"torch", "pandas", "scipy", "numpy", "cv2", "matplotlib", "pydantic"} & set(sys.modules)
print(len(runs), min(sizes), ",".join(sorted(heavy)))
"""


def test_fifty_runs_are_reported_without_heavy_libraries(tmp_path: Path, make_run: Callable[..., RunRecord]) -> None:
    for number in range(50):
        record = make_run(f"recipe{number // 5}", seed=number % 5, top1=50.0 + number / 2)
        folder = tmp_path / record.folder
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps(asdict(record)), encoding="utf-8")
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert found.returncode == 0, found.stderr
    runs, smallest, heavy = found.stdout.rstrip("\n").split(" ")
    assert (int(runs), heavy) == (50, "")
    assert int(smallest) > 10_000
