from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harbench.errors import HarbenchWarning, RunError
from harbench.records import ClassLabel, Metrics, Predictions, RunRecord
from harbench.reporting import runs as runs_module
from harbench.reporting.runs import load_predictions, load_run, load_runs, save_run

CLASSES = (ClassLabel("jump", "jump high"), ClassLabel("run", "run"))
METRICS = Metrics(
    values={"top1": 50.0},
    per_class={
        "jump": {"samples": 2, "recall": 50.0, "ap": 66.6667},
        "run": {"samples": 0, "recall": None, "ap": None},
    },
    samples=2,
    scored=1,
    confusion=((1, 0), (0, 0)),
)


def _predictions(views: bool = True) -> Predictions:
    logits = np.array([[2.0, 1.0], [np.nan, np.nan]], dtype=np.float32)
    return Predictions(
        ids=("jump/ä (1)", "jump/b"),
        targets=np.array([0, 0]),
        logits=logits,
        probabilities=logits / 3,
        views=np.stack([logits, logits], axis=1).astype(np.float16) if views else None,
        failed={"jump/b": "no frame decoded"},
    )


def test_a_saved_run_comes_back(tmp_path: Path, make_run: Callable[..., RunRecord]) -> None:
    record = make_run(top5=None)
    folder = tmp_path / record.folder
    predictions = _predictions()
    save_run(folder, record, predictions, CLASSES, METRICS)
    assert load_runs(tmp_path) == [record] == [load_run(folder)]
    found = load_predictions(folder)
    assert found.ids == predictions.ids and found.failed == predictions.failed
    assert found.views is not None and predictions.views is not None
    for name in ("targets", "logits", "probabilities", "views"):
        mine, theirs = getattr(predictions, name), getattr(found, name)
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)
    with open(folder / "per_class.csv", encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert rows[0] == {"class": "jump", "name": "jump high", "samples": "2", "recall": "50.00", "ap": "66.67"}
    assert rows[1]["samples"] == "0" and rows[1]["recall"] == rows[1]["ap"] == ""


def test_nothing_in_the_archives_is_a_pickle_and_bytes_repeat(
    tmp_path: Path, make_run: Callable[..., RunRecord]
) -> None:
    for name in ("a", "b"):
        save_run(tmp_path / name, make_run(), _predictions(), CLASSES, METRICS)
    with zipfile.ZipFile(tmp_path / "a" / "predictions.npz") as archive:
        assert "classes.npy" in archive.namelist()
        assert all(b"'|O'" not in archive.read(name)[:128] for name in archive.namelist())
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_large_views_are_not_kept(
    tmp_path: Path, make_run: Callable[..., RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_run(tmp_path, make_run(), _predictions(), CLASSES, METRICS)
    assert (tmp_path / "views.npz").exists()
    monkeypatch.setattr(runs_module, "_MAX_VIEWS", 16)  # these views take 16 bytes
    save_run(tmp_path, make_run(), _predictions(), CLASSES, METRICS)
    assert not (tmp_path / "views.npz").exists()
    assert load_predictions(tmp_path).views is None


def test_run_json_is_written_last(
    tmp_path: Path, make_run: Callable[..., RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    write = runs_module.write_text

    def dying(path: Path, text: str) -> None:
        written.append(path.name)
        if path.name == "run.json":
            assert {each.name for each in path.parent.iterdir()} == {"predictions.npz", "views.npz", "per_class.csv"}
            raise KeyboardInterrupt
        write(path, text)

    monkeypatch.setattr(runs_module, "write_text", dying)
    folder = tmp_path / make_run().folder
    with pytest.raises(KeyboardInterrupt):
        save_run(folder, make_run(), _predictions(), CLASSES, METRICS)
    assert written[-1] == "run.json"
    assert load_runs(tmp_path) == []
    with pytest.raises(RunError, match="not a finished run"):
        load_run(folder)


def test_a_moved_run_is_called_what_it_is_called_now(tmp_path: Path, make_run: Callable[..., RunRecord]) -> None:
    save_run(tmp_path / "ucf101" / "mine+lr2" / "split1" / "seed0", make_run(), _predictions(), CLASSES, METRICS)
    assert [record.folder for record in load_runs(tmp_path)] == ["ucf101/mine+lr2/split1/seed0"]


def test_runs_on_a_data_set_made_again_are_not_ranked_with_newer_ones(
    tmp_path: Path, make_run: Callable[..., RunRecord]
) -> None:
    days = iter(range(10, 30))

    def on(edition: str, name: str, split: str = "split1", **changes: object) -> RunRecord:
        run = make_run(name, split=split, partial=str(changes.pop("partial", "")))
        return replace(run, edition=edition, finished=f"2026-01-{next(days)}T00:00:00+00:00", **changes)

    made = [
        on("a", "old"), on("b", "old", "split2"), on("all", "old", "lopo-ann"), on("all", "old", "lopo-bob"),
        on("c", "untouched", "split3"), on("", "unknown"), on("a", "less", partial="3 of 9 classes"),
        on("f", "new", "split2"), on("e", "new"), on("e", "new_too"), on("All", "new", "lopo-ann"),
        on("a", "fused", members={"old": 1.0}),
    ]  # fmt: skip
    for record in made:
        save_run(tmp_path / record.folder, record, _predictions(), CLASSES, METRICS)
    told = {(record.recipe, record.split): record.partial for record in load_runs(tmp_path)}
    words = "on other samples than newer runs: ucf101 was made again"
    gone = [("old", split) for split in ("split1", "split2", "lopo-ann", "lopo-bob")] + [("fused", "split1")]
    assert {which for which, partial in told.items() if partial == words} == set(gone)
    assert told.pop(("less", "split1")) == "3 of 9 classes"
    assert not any(partial for which, partial in told.items() if which not in gone)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"key": 1}', '"word"', '{"folder": "x", "unknown": 3}', "\udcff"]
)
def test_a_damaged_record_is_a_warning_and_the_others_are_read(
    tmp_path: Path, make_run: Callable[..., RunRecord], text: str
) -> None:
    good = make_run()
    save_run(tmp_path / good.folder, good, _predictions(), CLASSES, METRICS)
    bad = tmp_path / make_run(seed=1).folder
    bad.mkdir(parents=True)
    (bad / "run.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.warns(HarbenchWarning, match="damaged"):
        assert load_runs(tmp_path) == [good]
    with pytest.raises(RunError, match="damaged"):
        load_run(bad)


def test_a_record_of_a_later_version_with_more_fields_is_read(
    tmp_path: Path, make_run: Callable[..., RunRecord]
) -> None:
    record = make_run()
    save_run(tmp_path, record, _predictions(), CLASSES, METRICS)
    raw = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    (tmp_path / "run.json").write_text(json.dumps(raw | {"energy_kwh": 1.5}), encoding="utf-8")
    assert load_run(tmp_path) == record


def test_values_that_json_cannot_hold_are_refused(tmp_path: Path, make_run: Callable[..., RunRecord]) -> None:
    record = replace(make_run(), metrics={"top1": float("nan")})
    with pytest.raises(ValueError, match="JSON compliant"):
        save_run(tmp_path, record, _predictions(), CLASSES, METRICS)
    assert not (tmp_path / "run.json").exists()


def test_missing_and_damaged_scores_are_told(tmp_path: Path, make_run: Callable[..., RunRecord]) -> None:
    with pytest.raises(RunError, match=r"no predictions\.npz"):
        load_predictions(tmp_path)
    save_run(tmp_path, make_run(), _predictions(), CLASSES, METRICS)
    whole = (tmp_path / "predictions.npz").read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"PK" + whole[2:40]):
        (tmp_path / "predictions.npz").write_bytes(damaged)
        with pytest.raises(RunError, match="damaged"):
            load_predictions(tmp_path)
