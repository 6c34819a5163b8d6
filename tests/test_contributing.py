"""CONTRIBUTING.md's worked example, followed literally: in a copy of the checkout, and outside it with an installed wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from toys import fenced_blocks, toy_videos

ROOT = Path(__file__).parent.parent
BLOCKS = fenced_blocks((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
PUBLISHED = "splits/<data set>/published.csv"


def harbench(folder: Path, package: Path, *arguments: str) -> str:
    """Standard output of the command line of the package under `package`, run in `folder`."""
    environment = {**os.environ, "PYTHONPATH": str(package), "COLUMNS": "200"}
    words = [sys.executable, "-m", "harbench", *arguments]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"harbench {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def follow(folder: Path, package: Path, place: dict[str, Path], model: str = "toy_net") -> str:
    """Write every file of the guide where `place` says, type its commands, return the last report."""
    for name, language, code in BLOCKS:
        if language != "sh":
            place[name].parent.mkdir(parents=True, exist_ok=True)
            place[name].write_text(code.replace("name: toy_net", f"name: {model}"), encoding="utf-8")
    shown = ""
    for name, language, code in BLOCKS:
        if language == "sh":
            for line in code.strip().splitlines():
                words = [str(place.get(word, word)) for word in line.split()]
                assert words[0] == "harbench", name
                shown = harbench(folder, package, *words[1:])
    return shown


def test_the_guide_touches_two_two_and_one_files() -> None:
    files = [name for name, language, _ in BLOCKS if language != "sh"]
    assert files == [
        "harbench/datasets/toy.py",
        "splits/toy/samples.csv",
        "harbench/models/toy_net.py",
        "recipes/toy_net_toy.yaml",
        PUBLISHED,
    ]


def test_in_the_checkout(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for part in ("harbench", "splits", "recipes"):
        shutil.copytree(ROOT / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
    toy_videos(checkout / "toy_videos")
    place = {name: checkout / name for name, language, _ in BLOCKS if language != "sh"}
    place[PUBLISHED] = checkout / "splits/toy/published.csv"
    shown = follow(checkout, checkout, place)
    assert "Toy baseline" in shown and "toy_net_toy" in shown


def test_outside_the_checkout_with_a_wheel(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    source = tmp_path / "source"
    for part in ("harbench", "splits", "recipes"):
        shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / part, source / part)
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    work = tmp_path / "elsewhere"
    toy_videos(work / "toy_videos")
    place = {
        "harbench/datasets/toy.py": work / "data/datasets/toy.py",
        "splits/toy/samples.csv": work / "data/splits/toy/samples.csv",
        "harbench/models/toy_net.py": work / "toy_net.py",
        "recipes/toy_net_toy.yaml": work / "toy_net_toy.yaml",
        PUBLISHED: work / "data/splits/toy/published.csv",
    }
    shown = follow(work, tmp_path / "site", place, model=f"{work / 'toy_net.py'}:toy_net")
    assert "Toy baseline" in shown and "toy_net_toy" in shown
    assert "13320" in harbench(work, tmp_path / "site", "datasets")
