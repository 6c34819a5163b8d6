"""The other decoders: upright, in order, beside PyAV; one that hangs or dies costs one media."""

from __future__ import annotations

import os
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from toys import write_video

from harbench.errors import MediaError
from harbench.frames.cache import build_cache
from harbench.frames.decode import DecodedMedia, open_video
from harbench.frames.decoders import VIDEO_DECODERS, choose_decoder, installed
from harbench.frames.fill import Decoding
from harbench.recipe import CacheConfig

OTHERS = [name for name in VIDEO_DECODERS if name != "av" and installed(name)]


def frames_of(path: Path, name: str) -> list[np.ndarray]:
    with choose_decoder(name)(path) as media:
        return [frame.image for frame in media.frames]


@pytest.mark.parametrize("name", OTHERS)
def test_real_videos_agree_with_pyav(name: str, test_data: Path) -> None:
    files = [test_data / "video/video_90.mov", test_data / "video/hollywood2_actioncliptrain00001_mpeg4.avi"]
    for folder in ("ucf101", "hmdb51", "kth", "weizmann"):
        files += sorted((test_data / folder).rglob("*.avi"))[:2]
    for path in files:
        frames, reference = frames_of(path, name), frames_of(path, "av")
        # Where B-frames are packed, decord repeats the last picture, and torchcodec does not reach it.
        odd = {"decord": 1, "torchcodec": -1}.get(name, 0)
        assert len(frames) - len(reference) in (0, odd), path.name
        for frame, other in list(zip(frames, reference, strict=False))[::20]:
            assert frame.shape == other.shape and frame.dtype == np.uint8
            assert np.abs(frame.astype(int) - other.astype(int)).mean() < 2, path.name


@pytest.mark.parametrize("name", OTHERS)
def test_broken_files_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty.avi").write_bytes(b"")
    (tmp_path / "noise.avi").write_bytes(bytes(range(256)) * 12)
    for broken in ("empty", "noise", "gone"):
        with pytest.raises(MediaError):
            frames_of(tmp_path / f"{broken}.avi", name)


def test_unknown_decoders_are_named() -> None:
    with pytest.raises(MediaError, match="av, decord, opencv, torchcodec"):
        choose_decoder("vlc")


def odd_decoder(path: Path) -> AbstractContextManager[DecodedMedia]:
    """Hangs, dies, raises or exits at files that are called so."""
    if path.stem == "hangs":
        time.sleep(600)
    if path.stem == "dies":
        os.abort()
    if path.stem == "raises":
        raise UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid continuation byte")
    if path.stem == "exits":
        sys.exit(7)
    return open_video(path)


def test_a_decoder_that_hangs_dies_or_raises_costs_one_media(tmp_path: Path) -> None:
    names = ("a", "hangs", "b", "dies", "raises", "exits", "c")
    for name in names:
        write_video(tmp_path / f"{name}.avi", np.zeros((3, 48, 64, 3), np.uint8))
    media = {f"{name}.avi": tmp_path / f"{name}.avi" for name in names}
    report = build_cache(media, tmp_path / "cache", CacheConfig(short_side=32), Decoding(1, odd_decoder, timeout=2))
    assert sorted(report.done) == ["a.avi", "b.avi", "c.avi"]
    assert report.failed["raises.avi"].startswith("the decoder raised UnicodeDecodeError: 'utf-8' codec can't")
    assert report.failed["exits.avi"] == "the decoder ended its process with exit code 7"
    assert "in 2 s" in report.failed["hangs.avi"] and "SIGABRT" in report.failed["dies.avi"]
