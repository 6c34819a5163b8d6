"""Data sets whose table is made of the publisher's list: Kinetics-400 from a copy that lacks videos, Something-Something V2."""

from __future__ import annotations

import csv
import json
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from toys import write_video
from typer.testing import CliRunner

from harbench import api
from harbench.cli import app
from harbench.datasets.tables import listed_classes, load_spec, load_split
from harbench.errors import DatasetError, MediaError

GONE = 16


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the validation videos: 400 folders of two each, of which 2 % are gone, beside the official list."""
    folder = tmp_path_factory.mktemp("k400")
    rng = np.random.default_rng(0)
    write_video(folder / "one.mp4", rng.integers(0, 256, (4, 32, 48, 3), np.uint8))
    video = (folder / "one.mp4").read_bytes()
    (folder / "one.mp4").unlink()
    rows = []
    for number, label in enumerate(listed_classes(load_spec("kinetics400"))):
        for index in range(2):
            name, start = f"id{number:03d}-{index}_x", 7 * index
            rows.append((label.display, name, start, start + 10, "validate", 0))
            if index or number >= GONE:
                path = folder / "val" / label.display / f"{name}_{start:06d}_{start + 10:06d}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(video)
    with (folder / "val.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(("label", "youtube_id", "time_start", "time_end", "split", "is_cc"))
        writer.writerows(rows)
    return folder


def invoke(home: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["--home", str(home), "--runs", str(home.parent / "runs"), *words])
    return done.exit_code, done.output or str(done.exception)


def test_a_copy_that_lacks_videos(copy: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    code, told = invoke(home, "datasets", "kinetics400")
    assert code == 0 and "classes        400" in told and "problem        \n" in told
    code, told = invoke(home, "prepare", "kinetics400", "--from", str(copy))
    assert code == 1
    assert f"{GONE} of the 800 media of Kinetics-400 (val) were not found:" in told
    assert "abseiling/id000-0_x_000000_000010.mp4" in told and "--allow-missing" in told
    code, told = invoke(home, "prepare", "kinetics400", "--from", str(copy), "--allow-missing", "--limit", "20")
    assert code == 3 and "10 of 20 present, 10 missing" in told
    assert "the table is that of val.csv: 800 test" in told
    table = load_split("kinetics400", "", home)
    assert (table.split, len(table.subset("test")), len(table.classes)) == ("val", 800, 400)
    assert [label.key for label in table.classes][:2] == ["abseiling", "air_drumming"], "the order of published weights"
    for sample in table.samples:
        assert f"id{sample.target:03d}-" in sample.media
    (check,) = api.splits("kinetics400", home=home)
    assert not check.problems


def test_a_dry_run_writes_nothing(copy: Path, tmp_path: Path) -> None:
    report = api.prepare("kinetics400", home=tmp_path / "home", source=copy, dry_run=True)
    assert report.media == 800 and not (tmp_path / "home").exists()


def test_a_dry_run_keeps_no_list_that_it_fetched(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Path] = []

    def fetch(_: object, dest: Path, *__: object, **___: object) -> list[Path]:
        dest.mkdir(parents=True)
        kept.append(dest)
        return [Path(shutil.copy(copy / "val.csv", dest))]

    monkeypatch.setattr(import_module("harbench.prepare.lists"), "fetch_archives", fetch)
    api.prepare("kinetics400", home=tmp_path / "home", source=copy / "val", dry_run=True)
    assert len(kept) == 1 and not kept[0].exists() and not (tmp_path / "home").exists()


def test_the_list_by_its_path_and_what_is_wrong_with_it(copy: Path, tmp_path: Path) -> None:
    bare, home = copy / "val", tmp_path / "home"
    with pytest.raises(DatasetError, match="harbench prepare kinetics400 --from DIR"):
        load_split("kinetics400", "", home)
    with pytest.raises(MediaError, match=f"{GONE} of the 800 media"):
        api.prepare("kinetics400", home=home, source=bare, archives=[copy / "val.csv"], workers=1)
    for text, words in (
        ("label,youtube_id\nabseiling,x\n", "KeyError: 'time_start'"),
        (
            "label,youtube_id,time_start,time_end\nnothing,x,0,10\n",
            "of the class 'nothing', which kinetics400 does not have",
        ),
        ("label,youtube_id,time_start,time_end\nabseiling,../../x,0,10\n", "expected a relative path"),
        ("", "found no line of it"),
    ):
        (tmp_path / "val.csv").write_text(text)
        with pytest.raises(DatasetError, match=words):
            api.prepare("kinetics400", home=home, source=bare, archives=[tmp_path / "val.csv"], workers=1)
    assert len(load_split("kinetics400", "", home).samples) == 800, "a bad list leaves the table as it was"


def test_something_something(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    rows = []
    for index, template in enumerate(("Pushing [something] off of [something]", "Holding [something]")):
        write_video(videos / f"{index}.mp4", np.zeros((4, 32, 48, 3), np.uint8))
        (videos / f"{index}.mp4").rename(videos / f"{index}.webm")
        rows.append({"id": str(index), "label": "pushing a cup", "template": template, "placeholders": ["a cup"]})
    with pytest.raises(DatasetError, match=r"expected its official list validation\.json"):
        api.prepare("ssv2", home=tmp_path / "home", source=videos, workers=1)
    (videos / "labels").mkdir()
    (videos / "labels/validation.json").write_text(json.dumps(rows))
    report = api.prepare("ssv2", home=tmp_path / "home", source=videos, workers=1)
    assert (report.present, report.cached, report.failed) == (2, 2, {})
    table = load_split("ssv2", "val", tmp_path / "home")
    assert [table.classes[each.target].key for each in table.samples] == [
        "Pushing_something_off_of_something",
        "Holding_something",
    ]


def test_what_would_be_reproduced_by_evaluation_alone(copy: Path, tmp_path: Path) -> None:
    code, told = invoke(tmp_path / "home", "reproduce", "--evaluate-only", "--dry-run")
    assert code == 0
    assert "left out  r3d_18_kinetics400: kinetics400 has no table" in told and "left out  clip_zero_shot" in told
    assert "mc3_18:" not in told, "it trains"
    assert not (tmp_path / "reproduction.md").exists()
