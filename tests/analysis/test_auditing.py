"""`splits --audit --duplicates` looks at the largest cache."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from harbench.analysis.audit_split import audit
from harbench.frames import duplicates
from harbench.frames.cache import MappedCache, build_cache
from harbench.frames.fill import Decoding
from harbench.recipe import CacheConfig


def test_duplicates_are_looked_for_in_the_largest_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((300, 300, 3), np.uint8))
    for side in (64, 128, 256):
        config = CacheConfig(short_side=side)
        build_cache({"a.avi": tmp_path / "a.png"}, tmp_path / "weizmann/cache" / config.name, config, Decoding(1))
    (tmp_path / "train.txt").write_text("bend/daria_bend.avi\n")
    (tmp_path / "test.txt").write_text("bend/denis_bend.avi\n")
    seen: list[str] = []

    def look(cache: MappedCache, *_: object, **__: object) -> str:
        seen.append(cache.folder.name)
        return "found"

    monkeypatch.setattr(duplicates, "find_duplicates", look)
    sources = [f"train={tmp_path / 'train.txt'}", f"test={tmp_path / 'test.txt'}"]
    audit("weizmann", sources, home=tmp_path, duplicates=True)
    assert seen == ["rgb-jpeg90-256"]


def test_the_command_line_finds_a_copy_and_exits_0(tmp_path: Path) -> None:
    lists = {
        "train": ["bend/daria_bend.avi", "jack/daria_jack.avi"],
        "test": ["run/denis_run.avi", "walk/denis_walk.avi"],
    }
    words = [sys.executable, "-m", "harbench", "--home", str(tmp_path / "home"), "splits", "weizmann", "--duplicates"]
    for side, media in lists.items():
        (tmp_path / f"{side}.txt").write_text("\n".join(media) + "\n")
        words += ["--audit", f"{side}={tmp_path / side}.txt"]
    none = subprocess.run(words, capture_output=True, text=True, check=False)
    assert none.returncode == 1 and "harbench prepare weizmann" in none.stderr and "Traceback" not in none.stderr

    rng = np.random.default_rng(0)
    pictures = [cv2.resize(rng.integers(0, 255, (9, 9, 3), np.uint8), (160, 120)) for _ in range(3)]
    files = {}
    for name, picture in zip([*lists["train"], *lists["test"]], [*pictures, pictures[0]], strict=True):
        files[name] = tmp_path / f"{Path(name).stem}.jpg"
        quality = 60 if name == "walk/denis_walk.avi" else 95  # another file, the same sight
        cv2.imwrite(str(files[name]), picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    config = CacheConfig(short_side=64)
    build_cache(files, tmp_path / "home/weizmann/cache" / config.name, config, Decoding(1))
    done = subprocess.run([*words, "--check", "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["duplicates"].values()
    assert [(pair["test"], pair["train"]) for pair in found["pairs"]] == [
        ("walk/denis_walk.avi", "bend/daria_bend.avi")
    ]
    told = subprocess.run(words, capture_output=True, text=True, check=False)
    assert told.returncode == 0 and "1 near-duplicate candidates" in told.stdout
