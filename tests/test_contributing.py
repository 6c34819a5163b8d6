"""CONTRIBUTING.md's worked example, followed literally: in a copy of the checkout, and outside it with a data home."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from conftest import fenced_blocks, toy_videos

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def harbench(folder: Path, *arguments: str, package: Path) -> subprocess.CompletedProcess[str]:
    """The command line of the package in `package`, run in `folder`."""
    environment = {**os.environ, "PYTHONPATH": str(package), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "harbench", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"harbench {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done


def follow(folder: Path, place: dict[str, Path], package: Path) -> list[str]:
    """Write every file of the guide where `place` says, run every shell line, return the files written."""
    touched = []
    for name, language, code in fenced_blocks(GUIDE):
        if language == "sh":
            for line in code.strip().splitlines():
                words = line.split()
                harbench(folder, *(str(place.get(word, word)) for word in words[1:]), package=package)
            continue
        target = place.get(name, folder / name if not name.startswith("splits/<") else place["published"])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(code, encoding="utf-8")
        touched.append(name)
    return touched


def test_the_guide_names_two_two_and_one_files() -> None:
    files = [name for name, language, _ in fenced_blocks(GUIDE) if language != "sh"]
    assert len(files) == 5
    assert [Path(name).suffix for name in files] == [".py", ".csv", ".py", ".yaml", ".csv"]


def test_in_the_checkout(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for part in ("harbench", "splits", "recipes"):
        shutil.copytree(ROOT / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
    toy_videos(checkout / "toy_videos")
    follow(checkout, {"published": checkout / "splits/toy/published.csv"}, checkout)
    done = harbench(checkout, "report", "toy", package=checkout)
    assert "Toy baseline" in done.stdout
    assert "toy_net_toy" in done.stdout


def test_outside_the_checkout(tmp_path: Path) -> None:
    work = tmp_path / "elsewhere"
    home = work / "data"
    toy_videos(work / "toy_videos")
    model = work / "toy_net.py"
    place = {
        "harbench/datasets/toy.py": home / "datasets/toy.py",
        "splits/toy/samples.csv": home / "splits/toy/samples.csv",
        "harbench/models/toy_net.py": model,
        "recipes/toy_net_toy.yaml": work / "toy_net_toy.yaml",
        "published": home / "splits/toy/published.csv",
    }
    installed = Path(__import__("harbench").__file__).parent.parent
    follow_files = {name: path for name, path in place.items()}
    for name, language, code in fenced_blocks(GUIDE):
        if language == "sh":
            continue
        target = follow_files.get(name, place["published"])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(code.replace("name: toy_net", f"name: {model}:toy_net"), encoding="utf-8")
    harbench(work, "splits", "toy", "--check", package=installed)
    harbench(work, "prepare", "toy", "--from", "toy_videos", "--short-side", "32", package=installed)
    harbench(work, "run", "toy_net_toy.yaml", package=installed)
    assert "Toy baseline" in harbench(work, "report", "toy", package=installed).stdout
