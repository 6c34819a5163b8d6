"""`prepare` end to end: the real command line, a data set of the user's own, and a server that misbehaves."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hostile_server import HostileServer
from toys import many_people, toy_videos

from harbench import api
from harbench.datasets.tables import load_spec
from harbench.errors import ArchiveError, CacheError, DownloadError, RecipeError, RunError
from harbench.prepare.pipeline import official_order
from harbench.prepare.plan import free_bytes

TOY = """
from harbench.records import Archive, DatasetSpec
SPEC = DatasetSpec(
    name="fetched", title="Fetched", modality="video", unit="video", splits=("official",), group="person",
    counts={{"official": (4, 0, 2)}}, short_side=48,
    archives=({archives}),
)
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[tuple[Path, HostileServer]]:
    """A home with a data set of two zips, one a class, on a server."""
    videos = toy_videos(tmp_path / "videos")
    contents: dict[str, bytes | Path] = {}
    for label in ("left", "right"):
        with zipfile.ZipFile(tmp_path / f"{label}.zip", "w") as archive:
            for path in sorted((videos / label).iterdir()):
                archive.write(path, f"{label}/{path.name}")
        contents[f"/{label}.zip"] = (tmp_path / f"{label}.zip").read_bytes()
    with HostileServer(contents) as server:
        archives = ", ".join(
            f'Archive("{label}.zip", ("{server.url}/gone/{label}.zip", "{server.url}/{label}.zip"), '
            f'"sha256:{hashlib.sha256(contents[f"/{label}.zip"]).hexdigest()}")'  # type: ignore[arg-type]
            for label in ("left", "right")
        )
        (tmp_path / "home/datasets").mkdir(parents=True)
        (tmp_path / "home/datasets/fetched.py").write_text(TOY.format(archives=archives))
        (tmp_path / "home/splits/fetched").mkdir(parents=True)
        rows = [
            f"{label}/{name}_{take}.avi,{label},{name},{'test' if name == 'bob' else 'train'}\n"
            for label in ("left", "right")
            for name, take in (("ann", 1), ("ann", 2), ("bob", 1))
        ]
        table = "media,class,group,official\n" + "".join(rows)
        (tmp_path / "home/splits/fetched/samples.csv").write_text(table)
        yield tmp_path / "home", server


def harbench(home: Path, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "harbench", "--home", str(home), *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "160", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, cwd=home.parent, env=environment, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    return done


def test_a_plain_prepare_fetches_unpacks_and_caches(home: tuple[Path, HostileServer]) -> None:
    where, server = home
    plan = harbench(where, "prepare", "fetched", "--dry-run").stdout
    assert "left.zip" in plan and f"{server.url}/right.zip" in plan and "free" in plan
    assert server.seen == [] and not (where / "fetched").exists()

    server.plan["/left.zip"] = ["reset 1000", "ignore-range", "status 503"]
    server.plan["/right.zip"] = ["redirect /moved.zip"]
    server.contents["/moved.zip"] = server.contents["/right.zip"]
    done = harbench(where, "prepare", "fetched", "--short-side", 32, "--limit-rate", "20M")
    assert "6 of 6 present" in done.stdout and "may be deleted" in done.stdout
    assert "HTTP 404" in done.stderr, "a dead mirror is told"
    asked = len(server.seen)

    for path in (where / "fetched/archives").glob("*.zip"):
        path.unlink()
    (where / "fetched/media/left/ann_1.avi").unlink()
    again = json.loads(harbench(where, "prepare", "fetched", "--short-side", 32, "--json").stdout)
    assert (again["present"], again["reused"], again["fetched"]) == (6, 6, [])
    assert len(server.seen) == asked, "what is unpacked needs no archive"


def test_what_cannot_be_fetched_ends_in_one_message(home: tuple[Path, HostileServer]) -> None:
    where, server = home
    server.always["/right.zip"] = "status 403"
    with pytest.raises(DownloadError) as told:
        api.prepare("fetched", home=where, workers=1)
    for words in ("could not fetch right.zip", "HTTP 403", "--archive FILE", "--from DIR", "--url right.zip=URL"):
        assert words in str(told.value)
    found = api.prepare("fetched", home=where, workers=1, allow_missing=True)
    assert (found.present, len(found.missing), found.fetched) == (3, 3, ())
    server.contents["/mine.zip"] = server.contents["/right.zip"]
    mine = f"right.zip={server.url}/mine.zip"
    found = api.prepare("fetched", home=where, workers=1, urls=[mine])
    assert (found.present, found.cached, found.reused, len(found.fetched)) == (6, 3, 3, 2)


def test_a_mismatch_and_an_archive_damaged_on_disk(
    home: tuple[Path, HostileServer], caplog: pytest.LogCaptureFixture
) -> None:
    where, server = home
    right = server.contents["/right.zip"]
    assert isinstance(right, bytes)
    server.contents["/right.zip"] = right + b" "
    with pytest.raises(ArchiveError, match=r"(?s)right\.zip\.mismatch.*--accept-hash"):
        api.prepare("fetched", home=where, workers=1)
    assert not (where / "fetched/unpacked").exists()
    server.contents["/right.zip"] = right
    left = where / "fetched/archives/left.zip"
    data, date = left.read_bytes(), left.stat()
    left.write_bytes(data[:500] + b"?" * 50 + data[550:])
    os.utime(left, ns=(date.st_atime_ns, date.st_mtime_ns))  # so that only its members tell
    assert api.prepare("fetched", home=where, workers=1).present == 6
    assert "left.zip damaged since fetched; fetched again" in caplog.text and left.read_bytes() == data
    assert [path for path, _ in server.seen].count("/left.zip") == 2


def test_killed_while_fetching_it_goes_on(home: tuple[Path, HostileServer]) -> None:
    where, server = home
    server.always["/left.zip"] = "slow 10000"
    words = [sys.executable, "-m", "harbench", "--home", str(where), "prepare", "fetched"]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    part = where / "fetched/archives/left.zip.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    server.always.clear()
    assert json.loads(harbench(where, "prepare", "fetched", "--json").stdout)["present"] == 6
    asked = [asked for path, asked in server.seen if path == "/left.zip"]
    assert asked[0] is None and asked[1] and asked[1].startswith("bytes=")


def test_usage(home: tuple[Path, HostileServer]) -> None:
    where, _ = home
    harbench(where, "prepare", "fetched", "--limit-rate", "soon", code=2)
    assert (
        "--seed" in harbench(where, "prepare", "fetched", "--seed", "3", code=2).stderr
    )  # not of a folder of one's own
    (where / "file").touch()
    told = harbench(where / "file", "prepare", "weizmann", "--url", "http://x/weizmann.zip", code=1).stderr
    assert "Not a directory" in told and "--home" in told
    with pytest.raises(CacheError, match="expected i/n"):
        api.prepare("fetched", home=where, shard="3/2")
    with pytest.raises(DownloadError, match="say --url NAME=URL"):
        api.prepare("fetched", home=where, urls=["http://x/y.zip"])


def test_shards_of_a_home_make_the_whole_cache(tmp_path: Path, test_data: Path) -> None:
    from harbench.frames.blocks import BLOCK

    options = {"home": tmp_path, "source": test_data / "weizmann", "short_side": 32, "workers": 1}
    first = api.prepare("weizmann", shard="1/2", **options)  # type: ignore[arg-type]
    assert (first.present, first.cached) == (90, BLOCK)
    second = api.prepare("weizmann", shard="2/2", **options)  # type: ignore[arg-type]
    assert second.cached == 90 - BLOCK
    whole = api.prepare("weizmann", **options)  # type: ignore[arg-type]
    assert (whole.cached, whole.reused) == (0, 90)
    assert len(official_order(load_spec("weizmann"), tmp_path)) == 90


def test_free_space_is_that_of_the_nearest_folder(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not/yet/there") > 0


def test_what_is_named_next_works(tmp_path: Path, test_data: Path) -> None:
    """`prepare` names a recipe only where its cache serves it; `--for` and `run --prepare` make the one it reads."""
    home, source, recipe = tmp_path / "home", test_data / "weizmann", "recipes/motion3d_weizmann.yaml"
    make = partial(api.prepare, "weizmann", workers=2)
    assert make(home=home, source=source, short_side=64).next == f"harbench prepare weizmann --for {recipe}"
    made = make(home=home, recipe=recipe)
    assert (made.next, made.cached) == (f"harbench run {recipe}", 90)
    harbench(home, *made.next.split()[1:], "--dry-run")
    assert make(home=home, short_side=64).next == f"harbench run {recipe}", "another cache serves it now"
    harbench(home, "prepare", "weizmann", "--for", recipe, "--stream", "pose", code=2)
    with pytest.raises(RecipeError, match="found one of weizmann"):
        api.prepare("kth", home=home, recipe=recipe)
    assert make(home=tmp_path / "few", source=source, limit=80).next == f"harbench run {recipe} --ok-missing 10"


def test_run_prepares_what_its_recipe_reads(tmp_path: Path) -> None:
    home, runs = many_people(tmp_path) / "home", tmp_path / "runs"
    recipe, settings = [str(tmp_path / "many.yaml")], ("data.cache.short_side=48", "train.epochs=1")
    with pytest.raises(RunError, match="short-side 48"):
        api.run(recipe, home=home, runs=runs, overrides=settings)
    (done,) = api.run(recipe, home=home, runs=runs, overrides=settings, prepare=True)
    assert done.state == "finished" and (home / "many/cache/rgb-jpeg90-48").is_dir()
    inode = {path: path.stat().st_mtime_ns for path in (home / "many/cache").rglob("*.tar")}
    api.run(recipe, home=home, runs=runs, overrides=(*settings, "train.optimizer.lr=0.02"), prepare=True)
    assert inode == {path: path.stat().st_mtime_ns for path in (home / "many/cache").rglob("*.tar")}
