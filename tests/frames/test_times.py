"""Videos whose frame rate varies: their time stamps are kept, and decide where a recipe samples by time."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from harbench.errors import MediaError
from harbench.frames.cache import build_cache, open_cache
from harbench.frames.clips import ClipDataset
from harbench.frames.decode import times_shown
from harbench.frames.fill import Decoding
from harbench.recipe import CacheConfig, EvalConfig, InputConfig
from harbench.records import Sample

TIMES = (0.0, 0.1, 0.2, 0.6, 1.0, 1.1)
"""A camera that saves frames while nothing moves."""


def write_variable(path: Path, times: tuple[float, ...]) -> Path:
    """Frames of even gray, 20 brighter one after the other, each at its time."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 20 + 20 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_time_stamps_come_through_the_cache_and_decide_what_a_clip_shows(tmp_path: Path) -> None:
    regular = tuple(np.arange(6) / 10)
    media = {"a.mkv": write_variable(tmp_path / "a.mkv", TIMES), "b.mkv": write_variable(tmp_path / "b.mkv", regular)}
    assert build_cache(media, tmp_path / "cache", CacheConfig(short_side=32), Decoding(1)).done == ("a.mkv", "b.mkv")
    cache = open_cache(tmp_path / "cache")
    assert cache.info("b.mkv").times is None and cache.info("b.mkv").fps == pytest.approx(10, rel=0.01)
    times = cache.info("a.mkv").times
    assert times is not None and times.tolist() == pytest.approx(TIMES, abs=0.002)

    def shown(clip: dict[str, object], start: int | None = None) -> list[int]:
        config = InputConfig.model_validate({"clip": clip, "resize": 32, "size": 32})
        rows = [Sample("a", 0, "g", "test", "a.mkv", start, None if start is None else 6)]
        frames = ClipDataset(rows, cache, config, seed=0, views=EvalConfig())[0, 0, 0, 0].frames
        return [round((value - 20) / 20) for value in frames.float().mean((0, 2, 3)).tolist()]

    # The clips of 0.6 s begin at one of the first four frames: the middle one at 0.1 s, then 0.3, 0.5 and 0.7 s.
    assert shown({"dense": {"num_frames": 4, "fps": 5}}) == [1, 2, 2, 3]
    assert shown({"dense": {"num_frames": 4, "stride": 1}}) == [1, 2, 3, 4], "frames, whatever their time"
    assert shown({"dense": {"num_frames": 3, "fps": 5}}, start=3) == [3, 3, 4], "of a range, from its own first frame"
    # 1.32 s in all, the last frame shown for 0.22 s: at 1.5 s it begins again.
    assert shown({"dense": {"num_frames": 4, "fps": 2}}) == [0, 2, 4, 1]
    with pytest.raises(MediaError, match=r"1\.32 s are too short for a clip of 2\.00 s"):
        shown({"dense": {"num_frames": 4, "fps": 2}, "short": "error"})


def test_which_time_stamps_are_kept() -> None:
    assert times_shown(np.array(TIMES)) == TIMES
    assert times_shown(np.array([0, 0.2, 0.1, 0.6])) == (0, 0.1, 0.2, 0.6), "out of order: those of other frames"
    assert times_shown(np.array([0, 0.1, np.nan, 0.6, 1.0])) == ()
    assert times_shown(np.arange(9) / 25) == ()
