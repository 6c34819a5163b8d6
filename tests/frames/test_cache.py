"""The frame cache: what was stored comes back, whatever killed, cut or doubled its builder."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import write_video

from harbench.errors import CacheError
from harbench.frames.blocks import index_path, read_entries, tar_path
from harbench.frames.cache import build_cache, find_cache, open_cache
from harbench.frames.fill import Decoding
from harbench.recipe import CacheConfig

SMALL = CacheConfig(short_side=32)


def videos(folder: Path, count: int, frames: int = 6) -> dict[str, Path]:
    """Videos that differ: a gray level each, brighter with every frame, red on the left and blue on the right."""
    found = {}
    for number in range(count):
        clip = np.full((frames, 48, 64, 3), 30 + number % 60, np.uint8)
        clip += (np.arange(frames, dtype=np.uint8) * 8)[:, None, None, None]
        clip[:, :, :20, 0], clip[:, :, 44:, 2] = 230, 230
        found[f"c/v{number:03d}.avi"] = folder / f"v{number:03d}.avi"
        write_video(found[f"c/v{number:03d}.avi"], clip)
    return found


def content(folder: Path) -> dict[str, bytes]:
    """Every member of every tar, by name: what a user of `tar xf` gets."""
    members = {}
    for path in sorted(folder.glob("frames-*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                members[member.name] = tar.extractfile(member).read()
    return members


def test_frames_come_back_in_order_and_color(tmp_path: Path) -> None:
    media = videos(tmp_path, 3)
    report = build_cache(media, tmp_path / "cache", SMALL, Decoding(1))
    assert (report.done, report.reused, report.failed) == (tuple(media), (), {})
    cache = open_cache(tmp_path / "cache")
    info = cache.info("c/v001.avi")
    assert (info.frames, info.fps, info.width, info.height, info.source_size) == (6, 25.0, 43, 32, (64, 48))
    frames = cache.read("c/v001.avi", np.array([5, 0, 0, 3]))
    assert frames.shape == (4, 32, 43, 3) and frames.dtype == np.uint8
    assert np.array_equal(frames[1], frames[2])
    middle = frames[:, :, 18:26].mean(axis=(1, 2, 3))
    assert middle[0] > middle[3] > middle[1]
    left, right = frames[0, :, 3:8].mean(axis=(0, 1)), frames[0, :, -8:-3].mean(axis=(0, 1))
    assert left[0] > left[2] + 60 and right[2] > right[0] + 60, "red and blue are swapped"
    assert pickle.loads(pickle.dumps(cache)).info("c/v001.avi") == info
    assert "c/v009.avi" not in cache
    with pytest.raises(CacheError, match="is not in the cache"):
        cache.read("c/v009.avi", np.array([0]))
    with pytest.raises(CacheError, match="has 6 frames"):
        cache.read("c/v001.avi", np.array([6]))


def test_a_second_split_only_adds_and_blocks_follow_the_official_order(tmp_path: Path) -> None:
    media = videos(tmp_path, 70, frames=2)
    order, names = list(media), list(media)
    some = {name: media[name] for name in names[:2] + names[66:]}
    build_cache(some, tmp_path / "cache", SMALL, order=order)
    assert list(read_entries(tmp_path / "cache", 1)) == names[66:]
    before = tar_path(tmp_path / "cache", 0).read_bytes()[: 512 * 4]
    report = build_cache(media, tmp_path / "cache", SMALL, order=order)
    assert set(report.reused) == set(some) and len(report.done) == 64
    assert tar_path(tmp_path / "cache", 0).read_bytes()[: 512 * 4] == before
    build_cache(media, tmp_path / "whole", SMALL, order=order)
    assert content(tmp_path / "cache") == content(tmp_path / "whole")


BUILDER = """
import sys
from pathlib import Path
from harbench.frames.cache import build_cache
from harbench.frames.fill import Decoding
from harbench.recipe import CacheConfig
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    media = {f"c/{p.name}": p for p in sorted(folder.glob("*.avi"))}
    build_cache(media, folder / sys.argv[2], CacheConfig(short_side=32), Decoding(2))
"""


def start(folder: Path, cache: str) -> subprocess.Popen[bytes]:
    script = folder / "builder.py"
    script.write_text(BUILDER)
    return subprocess.Popen([sys.executable, str(script), str(folder), cache], start_new_session=True)


def test_killed_at_random_moments_and_built_by_two_at_once(tmp_path: Path) -> None:
    media = videos(tmp_path, 80, frames=8)
    build_cache(media, tmp_path / "whole", SMALL)
    moments = random.Random(0)
    for _ in range(3):
        process = start(tmp_path, "killed")
        deadline = time.monotonic() + 20
        goal = len(list((tmp_path / "killed").glob("*.tar"))) and moments.randrange(2000, 60000)
        while process.poll() is None and time.monotonic() < deadline:
            size = sum(path.stat().st_size for path in (tmp_path / "killed").glob("*.tar"))
            if size > goal:
                break
            time.sleep(0.002)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    both = [start(tmp_path, "killed"), start(tmp_path, "killed")]
    assert [process.wait() for process in both] == [0, 0]
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    cache = open_cache(tmp_path / "killed")
    assert all(cache.info(name).frames == 8 for name in media)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures, and a cache of them that stays whole."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(4):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((40, 50, 3), 20 * number, np.uint8))
    build_cache({f"c/{n}.png": folder / f"{n}.png" for n in range(4)}, folder / "cache", SMALL, Decoding(1))
    return folder


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["tar", "idx"]), st.floats(0, 1))
def test_a_cut_file_loses_only_what_was_cut(
    pictures: Path, tmp_path_factory: pytest.TempPathFactory, which: str, share: float
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    media = {f"c/{n}.png": pictures / f"{n}.png" for n in range(4)}
    shutil.copytree(pictures / "cache", folder / "cache")
    whole = content(folder / "cache")
    path = tar_path(folder / "cache", 0) if which == "tar" else index_path(folder / "cache", 0)
    os.truncate(path, int(path.stat().st_size * share))
    kept = [name for name in media if name in read_entries(folder / "cache", 0)]
    assert kept == list(media)[: len(kept)]
    report = build_cache(media, folder / "cache", SMALL, Decoding(1))
    assert (list(report.reused), len(report.done)) == (kept, 4 - len(kept))
    assert content(folder / "cache") == whole


def test_bad_media_are_reported_and_stop_nothing(tmp_path: Path) -> None:
    media = videos(tmp_path, 2)
    (tmp_path / "empty.avi").write_bytes(b"")
    (tmp_path / "noise.avi").write_bytes(os.urandom(3000))
    media |= {
        "c/empty.avi": tmp_path / "empty.avi",
        "c/noise.avi": tmp_path / "noise.avi",
        "c/gone.avi": tmp_path / "gone.avi",
    }
    report = build_cache(media, tmp_path / "cache", SMALL)
    assert sorted(report.failed) == ["c/empty.avi", "c/gone.avi", "c/noise.avi"]
    assert all(report.failed.values())
    assert len(report.done) == 2


def test_a_changed_file_is_decoded_again(tmp_path: Path) -> None:
    media = videos(tmp_path, 1)
    build_cache(media, tmp_path / "cache", SMALL, Decoding(1))
    write_video(media["c/v000.avi"], np.zeros((3, 48, 64, 3), np.uint8))
    assert build_cache(media, tmp_path / "cache", SMALL, Decoding(1)).done == ("c/v000.avi",)
    assert open_cache(tmp_path / "cache").info("c/v000.avi").frames == 3


def test_poses_and_raw_frames(tmp_path: Path) -> None:
    pose = np.random.default_rng(0).normal(size=(9, 15, 2)).astype(np.float32)
    np.save(tmp_path / "a.npy", pose)
    build_cache({"c/a.npy": tmp_path / "a.npy"}, tmp_path / "pose", CacheConfig(stream="pose"), Decoding(1))
    cache = open_cache(tmp_path / "pose")
    np.testing.assert_array_equal(cache.read("c/a.npy", np.array([8, 2]))[:, 0], pose[[8, 2]])
    media = videos(tmp_path, 1)
    build_cache(media, tmp_path / "raw", CacheConfig(short_side="native", encoding="raw"), Decoding(1))
    raw = open_cache(tmp_path / "raw").read("c/v000.avi", np.arange(6))
    reader = cv2.VideoCapture(str(media["c/v000.avi"]))
    for frame in raw:
        assert np.abs(frame.astype(int) - reader.read()[1][..., ::-1].astype(int)).max() <= 4


def test_an_equal_or_larger_cache_serves(tmp_path: Path) -> None:
    folder = tmp_path / "toy/cache"
    names = ("rgb-jpeg90-128", "rgb-jpeg90-256", "rgb-jpeg80-native", "rgb-raw-64", "flow-dis-raw-64", "pose", "notes")
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "frames-0.idx").write_text("")

    def found(**asked: object) -> str:
        return find_cache(tmp_path, "toy", CacheConfig(**asked), make="harbench prepare toy").name

    assert found(short_side=128) == "rgb-jpeg90-128"
    assert found(short_side=112) == "rgb-jpeg90-128"
    assert found(short_side=200) == "rgb-jpeg90-256"
    assert found(short_side=300, quality=75) == "rgb-jpeg80-native"
    assert found(stream="pose") == "pose"
    assert found(short_side=64, encoding="raw") == found(short_side=48) == "rgb-raw-64"
    assert found(stream="flow", short_side=64) == "flow-dis-raw-64"
    for asked in ({"short_side": 128, "encoding": "raw"}, {"stream": "flow", "short_side": 32}):
        with pytest.raises(CacheError, match="harbench prepare toy"):
            found(**asked)
    with pytest.raises(CacheError, match="harbench prepare toy"):
        found(short_side=300)
