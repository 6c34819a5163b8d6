"""What a page shows of a run: read from its folder, with pictures from the cache."""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from harbench.analysis.thumbnails import _joints, thumbnails
from harbench.frames.cache import build_cache
from harbench.frames.fill import Decoding
from harbench.paths import cache_folder
from harbench.recipe import CacheConfig
from harbench.records import Leaderboard, Predictions, RunRecord
from harbench.reporting.details import chosen_folders, load_detail, load_details, repeat_command

Run = Callable[..., RunRecord]
Write = Callable[..., Predictions]


def pixels(address: str) -> np.ndarray:
    """The picture of a data: address, RGB."""
    kind, _, content = address.partition(";base64,")
    assert kind == "data:image/jpeg"
    return cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR_RGB)


def test_a_run_folder_is_read(tmp_path: Path, make_run: Run, write_run: Write) -> None:
    record = make_run()
    write_run(tmp_path, record)
    detail = load_detail(tmp_path, record)
    assert detail.missing == ()
    assert [(line["epoch"], line["train_loss"], line["val_top1"]) for line in detail.curve] == [
        (1.0, 2.0, None),
        (2.0, 1.0, None),
        (3.0, pytest.approx(2 / 3), None),
    ]
    assert [(each.key, each.name, each.samples) for each in detail.classes] == [
        (f"c{index}", f"class {index} <b>", 4) for index in range(3)
    ]
    assert [each.recall for each in detail.classes] == [0.0, 100.0, 75.0]
    assert detail.confusion == {(0, 1): 4, (1, 1): 4, (2, 2): 3}
    assert [each.sample_id for each in detail.best] == ["s10", "s9", "s8", "s7"]
    assert [(each.sample_id, each.truth, each.predicted) for each in detail.worst[:2]] == [("s0", 0, 1), ("s1", 1, 1)]
    assert detail.worst[0].probability == pytest.approx(0.31)


def test_logits_decide_where_logits_were_averaged(tmp_path: Path, make_run: Run, write_run: Write) -> None:
    record = make_run()
    record = replace(record, protocol=replace(record.protocol, averaging="logit"))
    write_run(tmp_path, record)
    path = tmp_path / record.folder / "predictions.npz"
    with np.load(path) as arrays:
        changed = {**arrays, "logits": -arrays["logits"]}
    np.savez(path, **changed)
    assert all(truth != predicted for truth, predicted in load_detail(tmp_path, record).confusion)


def test_what_is_missing_is_told(tmp_path: Path, make_run: Run, write_run: Write) -> None:
    record = make_run()
    write_run(tmp_path, record)
    for name in ("predictions.npz", "train.csv", "recipe.yaml"):
        (tmp_path / record.folder / name).unlink()
    detail = load_detail(tmp_path, record)
    assert detail.missing[:2] == ("no recipe.yaml", "no train.csv")
    assert "no predictions.npz" in detail.missing[2]
    assert (detail.curve, detail.classes, detail.confusion, detail.best) == ((), (), {}, ())
    write_run(tmp_path / "other", record)
    (tmp_path / "other" / record.folder / "predictions.npz").write_bytes(b"PK\x03\x04 damaged")
    assert "predictions.npz is not the file that this run wrote" in load_detail(tmp_path / "other", record).damaged[0]


@pytest.mark.parametrize(
    ("recipe", "seed", "expected"),
    [
        ("mc3_18", 0, "--split split1"),
        ("mc3_18+deep", 2, "--split split1 --tag deep --seed 2"),
    ],
)
def test_the_command_repeats_the_run_elsewhere(make_run: Run, recipe: str, seed: int, expected: str) -> None:
    record = make_run(recipe, seed=seed)
    words = shlex.split(repeat_command(Path("my runs"), record))
    assert words[:4] == ["harbench", "--runs", "repeated", "run"]
    assert words[4] == f"my runs/{record.folder}/recipe.yaml"
    assert " ".join(words[5:]) == expected


def test_a_fusion_is_made_anew_beside_its_runs(tmp_path: Path, make_run: Run, write_run: Write) -> None:
    record = replace(make_run("both"), members={"ucf101/rgb/split1/seed0": 1.0, "ucf101/flow/split1/seed0": 1.5})
    assert shlex.split(repeat_command(Path("runs"), record))[1:3] == ["--runs", "runs"]
    assert repeat_command(Path("runs"), record).endswith("--force")
    write_run(tmp_path, record)
    (tmp_path / record.folder / "train.csv").unlink()
    assert load_detail(tmp_path, record).missing == ()


def test_the_best_runs_of_every_data_set_are_chosen_in_turn(board: Leaderboard, make_run: Run) -> None:
    assert chosen_folders(board, 50) == [
        "ucf101/mc3_18/split1/seed0",
        "ucf101/mc3_18/split1/seed1",
        "ucf101/tiny/split1/seed0",
    ]
    other = [replace(table, key=replace(table.key, dataset="kth")) for table in board.tables]
    assert len(chosen_folders(replace(board, tables=(*board.tables, *other)), 2)) == 4
    assert chosen_folders(board, 0) == []


def test_details_are_read_one_by_one(tmp_path: Path, board: Leaderboard, make_run: Run, write_run: Write) -> None:
    records = [make_run("mc3_18", seed=0), make_run("mc3_18", seed=1), make_run("tiny")]
    write_run(tmp_path, records[0])
    details = load_details(board, records, tmp_path, tmp_path / "home", 50)
    assert next(details).missing == ()
    assert "no recipe.yaml" in next(details).missing


# ---------------------------------------------------------------------------------------------------------- pictures
@pytest.mark.parametrize("encoding", ["jpeg", "raw"])
def test_the_middle_frame_is_shown(tmp_path: Path, toy_home: Path, make_run: Run, encoding: str) -> None:
    from toys import write_video

    from harbench.datasets.tables import dataset_names, load_split

    name = next(each for each in dataset_names(toy_home) if (toy_home / "splits" / each).is_dir())
    sample = load_split(name, "", toy_home).samples[0]
    frames = np.zeros((11, 400, 600, 3), np.uint8)
    frames[5] = (200, 40, 40)
    write_video(tmp_path / "a.avi", frames)
    config = CacheConfig(stream="rgb", short_side=256, encoding=encoding)
    folder = cache_folder(toy_home, name, config.name)
    assert not build_cache({sample.media: tmp_path / "a.avi"}, folder, config, Decoding(1)).failed
    run = make_run()
    record = replace(
        run, dataset=name, split=load_split(name, "", toy_home).split, protocol=replace(run.protocol, cache=config.name)
    )
    shown = thumbnails(record, [sample.sample_id, "nobody"], toy_home)
    assert list(shown) == [sample.sample_id]
    picture = pixels(shown[sample.sample_id])
    assert picture.shape == (128, 192, 3)
    assert np.abs(picture.mean((0, 1)) - (200, 40, 40)).max() < 12
    elsewhere = replace(record, protocol=replace(record.protocol, cache="unknown"))
    assert thumbnails(elsewhere, [sample.sample_id], toy_home) == shown, "any cache of pixels serves"
    assert thumbnails(record, [sample.sample_id], tmp_path / "empty") == {}


def test_of_poses_the_joints_are_drawn() -> None:
    bodies = np.zeros((2, 4, 3), np.float32)
    bodies[0] = [(0, 0, 1), (10, 0, 1), (5, 20, 1), (np.nan, 3, 0)]
    places = {}
    for upwards in (False, True):
        kind, _, content = _joints(bodies, upwards).partition(";base64,")
        assert kind == "data:image/svg+xml"
        drawn = base64.b64decode(content).decode()
        places[upwards] = [tuple(map(int, each)) for each in re.findall(r'cx="(\d+)" cy="(\d+)"', drawn)]
    assert places[False] == [(57, 12), (39, 84)], "absent joints, at zero or not a number, are not drawn"
    assert places[True] == [(57, 84), (39, 12)]
    assert _joints(np.zeros((1, 3, 2), np.float32), False) == ""
