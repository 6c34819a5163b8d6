"""Damage to a frame cache: exactly what broke is taken out, and made again byte for byte."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harbench.frames.blocks import index_path, tar_path
from harbench.frames.cache import build_cache
from harbench.frames.damage import mend_block
from harbench.frames.fill import Decoding, Job, fill_block
from harbench.recipe import CacheConfig

SMALL = CacheConfig(short_side=32)
NAMES = [f"c/{number}.png" for number in range(5)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of five pictures, beside them."""
    folder = tmp_path_factory.mktemp("whole")
    noise = np.random.default_rng(0)
    for name in NAMES:
        (folder / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / name), noise.integers(0, 255, (40, 50, 3), np.uint8))
    build_cache(pictures(folder), folder / "cache", SMALL, Decoding(1))
    return folder


def pictures(folder: Path) -> dict[str, Path]:
    return {name: folder / name for name in NAMES}


def contents(cache: Path) -> tuple[bytes, bytes]:
    return tar_path(cache, 0).read_bytes(), index_path(cache, 0).read_bytes()


def copy(whole: Path, name: str) -> Path:
    target = whole / name
    shutil.rmtree(target, ignore_errors=True)
    return shutil.copytree(whole / "cache", target)


def test_what_is_whole_is_only_read(whole: Path) -> None:
    cache = copy(whole, "untouched")
    before = [path.stat().st_mtime_ns for path in sorted(cache.iterdir())]
    found = mend_block(cache, 0, NAMES)
    assert (found.media, found.other) == ({}, ())
    assert [path.stat().st_mtime_ns for path in sorted(cache.iterdir())] == before


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["tar", "idx"]), st.sampled_from(["flip", "cut", "gone"]), st.randoms(use_true_random=False))
def test_any_damage_is_found_and_made_again(whole: Path, which: str, how: str, chance: random.Random) -> None:
    cache = copy(whole, "hurt")
    path = tar_path(cache, 0) if which == "tar" else index_path(cache, 0)
    content = bytearray(path.read_bytes())
    if how == "flip":
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
    elif how == "cut":
        path.write_bytes(content[: chance.randrange(len(content))])
    else:
        path.unlink()
    found = mend_block(cache, 0, NAMES)
    assert found.media or found.other, "no byte of a block is without a checksum"
    if how == "flip":
        # The byte between two lines of the index belongs to both.
        assert len(found.media) <= (2 if which == "idx" else 1), "a flipped bit costs no more than what it touches"
    job = Job(cache, 0, tuple(pictures(whole).items()), SMALL)
    assert {event.media for event in fill_block(job) if event.what == "done"} == set(found.media)
    assert same_frames(cache, whole / "cache")
    again = mend_block(cache, 0, NAMES)
    assert (again.media, again.other) == ({}, ())


def same_frames(a: Path, b: Path) -> bool:
    """The same members, in whatever order."""
    from harbench.frames.cache import open_cache

    first, second = open_cache(a), open_cache(b)
    return all(first.stored(name) == second.stored(name) and first.info(name) == second.info(name) for name in NAMES)


def test_a_media_that_broke_leaves_the_others_their_bytes(whole: Path) -> None:
    cache = copy(whole, "one")
    tar, _ = contents(cache)
    content = bytearray(tar)
    content[700] ^= 1
    tar_path(cache, 0).write_bytes(content)
    found = mend_block(cache, 0, NAMES)
    assert found.media == {NAMES[0]: "its bytes in frames-0.tar have changed"} and found.other == ()
    assert tar.endswith(tar_path(cache, 0).read_bytes()), "what is whole moves up, and nothing in it changes"
