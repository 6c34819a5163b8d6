"""Filling a block: a frame at a time, and nothing of a media that fails on the way."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from harbench.errors import MediaError
from harbench.frames.blocks import tar_path
from harbench.frames.cache import open_cache
from harbench.frames.damage import mend_block
from harbench.frames.decode import DecodedMedia, Decoder, Frame
from harbench.frames.fill import Decoding, Job, fill_block
from harbench.recipe import CacheConfig

FRAMES = 30


def drawn(alive: list[int], fails: bool = False) -> Decoder:
    """A decoder of noise; `alive` gets how many of its frames were in memory at each new one."""

    @contextmanager
    def reads(path: Path) -> Iterator[DecodedMedia]:
        noise = np.random.default_rng(0)

        def frames() -> Iterator[Frame]:
            seen: list[weakref.ref[Frame]] = []
            for _ in range(FRAMES):
                image = noise.integers(0, 255, (600, 800, 3), np.uint8)
                seen.append(weakref.ref(image))  # type: ignore[arg-type]
                alive.append(sum(each() is not None for each in seen))
                yield Frame(image)
            if fails:
                raise MediaError("damaged at the end")

        yield DecodedMedia(frames(), 25.0, "drawn", ["a note"])

    return reads


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_memory_does_not_grow_with_the_frames(encoding: Literal["raw", "jpeg"], tmp_path: Path) -> None:
    alive: list[int] = []
    config = CacheConfig(encoding=encoding, short_side="native")
    job = Job(tmp_path, 0, (("long.avi", tmp_path / "long.avi"),), config, Decoding(decoder=drawn(alive)))
    assert [event.what for event in fill_block(job)] == ["begun", "done", "finished"]
    assert len(alive) == FRAMES and max(alive) <= 3
    cache = open_cache(tmp_path)
    assert cache.info("long.avi").frames == FRAMES and cache.info("long.avi").note == "a note"
    expected = np.random.default_rng(0).integers(0, 255, (600, 800, 3), np.uint8)
    frames = cache.read("long.avi", np.array([0, FRAMES - 1]))
    assert frames.shape == (2, 600, 800, 3)
    assert encoding == "jpeg" or np.array_equal(frames[0], expected)
    assert mend_block(tmp_path, 0, ["long.avi"]).other == ()


def test_a_media_that_fails_at_its_end_leaves_nothing(tmp_path: Path) -> None:
    config = CacheConfig(short_side=64)
    for name, fails in (("a.avi", False), ("b.avi", True)):
        before = tar_path(tmp_path, 0).read_bytes() if fails else b""
        events = list(
            fill_block(Job(tmp_path, 0, ((name, tmp_path / name),), config, Decoding(decoder=drawn([], fails))))
        )
        assert events[1].what == ("failed" if fails else "done")
    assert events[1].reason == "damaged at the end"
    assert tar_path(tmp_path, 0).read_bytes() == before
    # A worker that was killed at it: the next one cuts off what it left.
    tar_path(tmp_path, 0).write_bytes(before[:-1024] + bytes(range(256)) * 40)
    assert [event.what for event in fill_block(Job(tmp_path, 0, (), config))] == ["finished"]
    assert tar_path(tmp_path, 0).read_bytes() == before
