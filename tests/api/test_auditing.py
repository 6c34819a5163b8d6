"""`splits --audit --duplicates` looks at the largest cache."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from harbench.api.auditing import audit
from harbench.frames import duplicates
from harbench.frames.cache import MappedCache, build_cache
from harbench.recipe import CacheConfig


def test_duplicates_are_looked_for_in_the_largest_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((300, 300, 3), np.uint8))
    for side in (64, 128, 256):
        config = CacheConfig(short_side=side)
        build_cache({"a.avi": tmp_path / "a.png"}, tmp_path / "weizmann/cache" / config.name, config, workers=1)
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
