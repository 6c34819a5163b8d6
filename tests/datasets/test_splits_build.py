"""`splits/build.py` makes the committed tables, to the byte."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harbench import paths


def test_the_committed_tables_are_what_the_script_writes(test_data: Path, tmp_path: Path) -> None:
    script = paths.shipped("splits") / "build.py"
    command = [sys.executable, str(script), "--from", str(test_data), "--to", str(tmp_path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    built = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert len(built) == 24
    for name, content in built.items():
        assert (paths.shipped("splits") / name).read_bytes() == content, f"{name} is not what splits/build.py writes"


def test_no_shipped_table_is_made_by_hand() -> None:
    tables = {
        path.parent.name for path in paths.shipped("splits").glob("*/*.*") if path.stem in ("samples", "recordings")
    }
    rendered = {name for name in tables if name.startswith("sample")}
    text = (paths.shipped("splits") / "build.py").read_text(encoding="utf-8")
    assert all(f"def {name}(source: Path)" in text for name in tables - rendered)
