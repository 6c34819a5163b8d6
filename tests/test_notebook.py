"""docs/sample.ipynb runs from its first cell to its last, in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

NOTEBOOK = Path(__file__).parent.parent / "docs/sample.ipynb"


def test_every_cell_runs(tmp_path: Path) -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells), "outputs are pictures, which the repository does not hold"
    script = "\n\n".join(f"# cell {number}\n{''.join(cell['source'])}" for number, cell in enumerate(cells))
    for written, quicker in (
        ("short_side=64)", "short_side=64, classes=('clap', 'wave'))"),
        ('"train.epochs=1",', '"train.epochs=1", "data.classes=[clap,wave]", "data.train_subset.n=8", "eval.clips=1",'),
    ):
        assert written in script
        script = script.replace(written, quicker)  # for the time
    script += "\n\nassert sum(p for _, p in answer.top(2)) > 0.999, answer\nassert prepared.failed == {}\n"
    environment = {**os.environ, "MPLBACKEND": "agg", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/sample/motion3d_sample+quick/small/seed0/run.json").is_file()
