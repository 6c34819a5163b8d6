"""`prepare --verify`: what broke is mended, what is whole is only read, what is the user's is named."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from toys import toy_videos
from typer.testing import CliRunner

from harbench import api
from harbench.cli import app
from harbench.errors import MediaError
from harbench.frames.cache import open_cache
from harbench.recipe import CacheConfig

MODULE = """
from harbench.records import DatasetSpec
SPEC = DatasetSpec(
    name="toyzip", title="Toy", modality="video", unit="video", splits=("official",), group="person",
    counts={"official": (4, 0, 2)}, short_side=48,
)
"""
MEDIA = [f"{label}/{name}.avi" for label in ("left", "right") for name in ("ann_1", "ann_2", "bob_1")]
CACHE = "rgb-jpeg90-32"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two homes: `linked` to the user's videos, `zipped` from an archive; each with its cache."""
    folder = tmp_path_factory.mktemp("verify")
    toy_videos(folder / "videos")
    (folder / "videos/left/bob_1.avi").write_bytes(b"no video at all")
    rows = [f"{m},{m.split('/')[0]},{m[-9:-6]},{'test' if 'bob' in m else 'train'}\n" for m in MEDIA]
    for home in ("linked", "zipped"):
        (folder / home / "datasets").mkdir(parents=True)
        (folder / home / "datasets/toyzip.py").write_text(MODULE)
        (folder / home / "splits/toyzip").mkdir(parents=True)
        (folder / home / "splits/toyzip/samples.csv").write_text("media,class,group,official\n" + "".join(rows))
    (folder / "zipped/toyzip/archives").mkdir(parents=True)
    with zipfile.ZipFile(folder / "zipped/toyzip/archives/toy.zip", "w") as archive:
        for media in MEDIA:
            archive.write(folder / "videos" / media, media)
    api.prepare("toyzip", home=folder / "linked", source=folder / "videos", short_side=32, workers=1)
    api.prepare("toyzip", home=folder / "zipped", short_side=32, workers=1)
    return folder


def files_of(home: Path, *folders: str) -> list[Path]:
    found = (path for folder in folders for path in (home / "toyzip" / folder).rglob("*"))
    return sorted(path for path in found if path.is_file() and not path.is_symlink() and not path.name.startswith("."))


def state(paths: Iterable[Path]) -> dict[Path, tuple[int, int, bytes]]:
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


def frames(home: Path) -> dict[str, list[bytes]]:
    cache = open_cache(home / "toyzip/cache" / CACHE)
    return {media: cache.stored(media) for media in MEDIA if media in cache}


def hurt(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    how = chance.choice(["flip", "cut", "gone"])
    if how == "flip":
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
    elif how == "cut":
        path.write_bytes(content[: chance.randrange(len(content))])
    else:
        path.unlink()


def test_the_manifest_says_what_was_decoded(whole: Path) -> None:
    with open(whole / "zipped/toyzip/media.csv", newline="") as handle:
        rows = {row["media"]: row for row in csv.DictReader(handle)}
    assert sorted(rows) == sorted(MEDIA)
    row = rows["right/ann_1.avi"]
    assert (row["frames"], row["fps"], row["width"], row["height"]) == ("12", "25.0", "64", "48")
    assert (row["seconds"], row["variable"], row["caches"]) == ("0.48", "False", CACHE)
    assert rows["left/bob_1.avi"]["frames"] == "0", "nothing could be decoded"
    with open(whole / "zipped/toyzip/failed.csv", newline="") as handle:
        assert [(row["cache"], row["media"]) for row in csv.DictReader(handle)] == [(CACHE, "left/bob_1.avi")]
    plan = api.prepare("toyzip", home=whole / "zipped", short_side=32, dry_run=True)
    assert list(plan.failed) == ["left/bob_1.avi"] and plan.failed["left/bob_1.avi"]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_breaks_is_mended_and_the_rest_untouched(whole: Path, seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    home = whole / "zipped"
    expected = frames(home)
    everything = files_of(home, "unpacked", "cache")
    broken = chance.sample(files_of(home, "unpacked"), 2) + chance.sample(files_of(home, "cache"), 1)
    before = state(everything)
    link = home / "toyzip/media" / chance.choice(MEDIA)
    link.unlink()
    for path in broken:
        hurt(path, chance)
    untouched = state(path for path in everything if path not in broken and path.suffix == ".avi")

    found = api.verify("toyzip", home=home, workers=1)
    assert found.left == {} and len(found.repaired) == len(found.damaged) >= 4, found
    assert frames(home) == expected
    assert state(untouched) == untouched, "what is whole is only read"
    media = [path for path in broken if path.suffix == ".avi"]
    assert all(state([path])[path][1:] == before[path][1:] for path in media), "content and time are those of before"
    assert link.is_symlink() and link.exists()
    after = state(files_of(home, "unpacked", "cache"))
    again = api.verify("toyzip", home=home, workers=1)
    assert (again.damaged, again.left) == ({}, {}) and again.checked == len(MEDIA) + len(expected)
    assert state(files_of(home, "unpacked", "cache")) == after


def test_a_damaged_file_of_the_users_is_named_and_left(whole: Path) -> None:
    home, path = whole / "linked", whole / "videos/right/ann_2.avi"
    expected = frames(home)
    kept = path.read_bytes(), path.stat().st_mtime_ns
    path.write_bytes(kept[0][:500])
    tar = home / "toyzip/cache" / CACHE / "frames-0.tar"
    tar.unlink()
    done = CliRunner().invoke(app, ["--home", str(home), "prepare", "toyzip", "--verify", "--workers", "1", "--json"])
    assert done.exit_code == 3, done.output
    found = json.loads(done.stdout)
    assert sorted(found["left"]) == [f"{CACHE}/right/ann_2.avi", "right/ann_2.avi"]
    assert str(path) in found["left"]["right/ann_2.avi"] and "500 bytes" in found["left"]["right/ann_2.avi"]
    assert path.read_bytes() == kept[0][:500]
    assert frames(home) == {media: stored for media, stored in expected.items() if media != "right/ann_2.avi"}
    path.write_bytes(kept[0])
    os.utime(path, ns=(kept[1], kept[1]))
    shown = CliRunner().invoke(app, ["--home", str(home), "prepare", "toyzip", "--verify", "--workers", "1"])
    assert shown.exit_code == 0 and f"mended     {CACHE}/right/ann_2.avi" in shown.output, shown.output
    assert frames(home) == expected


def test_an_archive_that_is_gone_is_asked_for(whole: Path, tmp_path: Path) -> None:
    home = whole / "zipped"
    archive = shutil.move(home / "toyzip/archives/toy.zip", tmp_path / "toy.zip")
    path = home / "toyzip/unpacked/toy/left/ann_1.avi"
    path.unlink()
    found = api.verify("toyzip", home=home, workers=1)
    assert list(found.left) == ["left/ann_1.avi"] and "--verify --archive FILE" in found.left["left/ann_1.avi"]
    assert api.verify("toyzip", home=home, archives=[archive], workers=1).repaired == ("left/ann_1.avi",)


def test_joints_beside_a_video_are_recorded_and_mended_too(tmp_path: Path) -> None:
    home, media = tmp_path / "home", "left/ann_1.avi"
    (home / "datasets").mkdir(parents=True)
    (home / "datasets/toyzip.py").write_text(
        MODULE.replace("short_side=48", 'short_side=48, pose_suffix=".joints.npy"')
    )
    (home / "splits/toyzip").mkdir(parents=True)
    (home / "splits/toyzip/samples.csv").write_text(f"media,class,group,official\n{media},left,ann,train\n")
    np.save(tmp_path / "joints.npy", np.arange(60, dtype=np.float32).reshape(5, 2, 3, 2))
    with zipfile.ZipFile(tmp_path / "toy.zip", "w") as archive:
        archive.writestr(media, b"the video is not looked at")
        archive.write(tmp_path / "joints.npy", "left/ann_1.joints.npy")
    api.prepare("toyzip", home=home, archives=[tmp_path / "toy.zip"], stream="pose", workers=1)
    joints, tar = home / "toyzip/unpacked/toy/left/ann_1.joints.npy", home / "toyzip/cache/pose/frames-0.tar"
    before = joints.read_bytes(), tar.read_bytes()
    hurt(joints, random.Random(0))
    os.truncate(tar, 700)
    found = api.verify("toyzip", home=home, archives=[tmp_path / "toy.zip"], workers=1)
    assert (sorted(found.damaged), found.left) == (["left/ann_1.joints.npy", f"pose/{media}"], {})
    assert (joints.read_bytes(), tar.read_bytes()) == before


def test_usage(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="harbench prepare weizmann"):
        api.verify("weizmann", home=tmp_path)
    done = CliRunner().invoke(app, ["prepare", "weizmann", "--verify", "--dry-run"])
    assert done.exit_code == 2


@pytest.mark.parametrize(
    "name",
    [
        "pose",
        "pose-denoised",
        "rgb-jpeg90-128",
        "rgb-raw-native",
        "flow-dis-jpeg95-256",
        "flow-dis-raw-64",
    ],
)
def test_a_cache_name_says_its_settings(name: str) -> None:
    config = CacheConfig.parse(name)
    assert config is not None and config.name == name
    assert CacheConfig.parse("thumbnails") is None
