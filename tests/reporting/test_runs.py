from __future__ import annotations

import csv
import hashlib
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from harbench.errors import RunError
from harbench.records import ClassLabel, Metrics, Predictions, RunRecord
from harbench.reporting.details import load_detail
from harbench.runs import folder as runs_module
from harbench.runs.folder import load_predictions, load_run, load_runs, save_run

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
    assert load_runs(tmp_path)[0] == [load_run(folder)]
    assert replace(load_run(folder), files={}, record_sha256="") == record
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
    assert load_runs(tmp_path) == ([], {})
    with pytest.raises(RunError, match="not a finished run"):
        load_run(folder)


def test_a_moved_run_is_called_what_it_is_called_now(tmp_path: Path, make_run: Callable[..., RunRecord]) -> None:
    save_run(tmp_path / "ucf101" / "mine+lr2" / "split1" / "seed0", make_run(), _predictions(), CLASSES, METRICS)
    assert [record.folder for record in load_runs(tmp_path)[0]] == ["ucf101/mine+lr2/split1/seed0"]


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
    told = {(record.recipe, record.split): record.partial for record in load_runs(tmp_path)[0]}
    words = "on other samples than newer runs: ucf101 was made again"
    gone = [("old", split) for split in ("split1", "split2", "lopo-ann", "lopo-bob")] + [("fused", "split1")]
    assert {which for which, partial in told.items() if partial == words} == set(gone)
    assert told.pop(("less", "split1")) == "3 of 9 classes"
    assert not any(partial for which, partial in told.items() if which not in gone)


WRONG = {
    "": "EOF while parsing",
    "{": "EOF while parsing",
    "[]": "object",
    "[" * 50_000: "recursion limit",
    '"word"': "object",
    "\udcff": "expected value",
    '{"dataset": 5, "seed": "x", "samples": []}': r"dataset: .*\n  (.*\n  )*seed: .*\n  (.*\n  )*samples: ",
    "change samples={}": r"samples.train: missing\n  samples.val: missing\n",
    'change metrics={"top5": 3.0}': r"metrics\.top1: missing",
    'change intervals={"top1": [NaN, 3.0]}': "expected finite numbers",
    'change key={"dataset": "ucf101"}': "key.label_set: ",
}


@pytest.mark.parametrize(("text", "words"), WRONG.items())
def test_a_damaged_record_is_named_with_all_its_problems_and_the_others_are_read(
    tmp_path: Path, make_run: Callable[..., RunRecord], text: str, words: str
) -> None:
    good, bad = make_run(), tmp_path / make_run(seed=1).folder
    save_run(tmp_path / good.folder, good, _predictions(), CLASSES, METRICS)
    if text.startswith("change "):
        name, _, value = text.removeprefix("change ").partition("=")
        text = json.dumps(asdict(good) | {name: json.loads(value)})
    bad.mkdir(parents=True)
    (bad / "run.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    records, broken = load_runs(tmp_path)
    assert ([record.seed for record in records], list(broken)) == ([0], [make_run(seed=1).folder])
    assert re.search(f"run.json is damaged:\n  (.*\n  )*.*{words}", broken[make_run(seed=1).folder])


def test_a_folder_in_place_of_a_record(tmp_path: Path, make_run: Callable[..., RunRecord]) -> None:
    (tmp_path / make_run().folder / "run.json").mkdir(parents=True)
    assert "cannot be read: Is a directory" in load_runs(tmp_path)[1][make_run().folder]


def test_a_record_of_a_later_version_with_more_fields_is_read(
    tmp_path: Path, make_run: Callable[..., RunRecord]
) -> None:
    record = make_run()
    save_run(tmp_path, record, _predictions(), CLASSES, METRICS)
    raw = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    (tmp_path / "run.json").write_text(json.dumps(raw | {"energy_kwh": 1.5, "record_sha256": ""}), encoding="utf-8")
    assert replace(load_run(tmp_path), files={}) == record


def test_a_changed_number_in_a_record_is_told(tmp_path: Path, make_run: Callable[..., RunRecord]) -> None:
    save_run(tmp_path, make_run(top1=87.25), _predictions(), CLASSES, METRICS)
    text = (tmp_path / "run.json").read_text(encoding="utf-8")
    assert "87.25" in text
    (tmp_path / "run.json").write_text(text.replace("87.25", "97.25"), encoding="utf-8")
    with pytest.raises(RunError, match="it is not what was written: expected SHA-256"):
        load_run(tmp_path)


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
    expected, flipped = load_run(tmp_path).files["predictions.npz"], bytes([*whole[:-1], whole[-1] ^ 1])
    assert hashlib.sha256(whole).hexdigest() == expected
    for damaged in (b"", whole[: len(whole) // 2], b"PK" + whole[2:40], flipped):
        (tmp_path / "predictions.npz").write_bytes(damaged)
        found = hashlib.sha256(damaged).hexdigest()
        with pytest.raises(RunError, match=rf"predictions\.npz is not .*expected SHA-256 {expected}, found {found}"):
            load_predictions(tmp_path)
    (tmp_path / "predictions.npz").write_bytes(whole)
    (tmp_path / "views.npz").write_bytes(b"")
    with pytest.raises(RunError, match=r"views\.npz is not"):
        load_predictions(tmp_path)


def test_a_run_of_an_older_harbench_is_read_with_a_note(
    tmp_path: Path, make_run: Callable[..., RunRecord], caplog: pytest.LogCaptureFixture
) -> None:
    save_run(tmp_path, make_run(), _predictions(), CLASSES, METRICS)
    (tmp_path / "run.json").write_text(json.dumps(asdict(make_run())), encoding="utf-8")
    with caplog.at_level("INFO", logger="harbench"):
        assert load_predictions(tmp_path).ids == _predictions().ids
    assert caplog.text.count("kept no SHA-256") == 1
    for damaged in (b"", b"PK\x03\x04 nothing", b"\x93NUMPY"):
        (tmp_path / "predictions.npz").write_bytes(damaged)
        with pytest.raises(RunError, match="damaged"):
            load_predictions(tmp_path)


def test_a_class_that_a_spreadsheet_would_run_is_quoted(tmp_path: Path, make_run: Callable[..., RunRecord]) -> None:
    labels = (ClassLabel("jump", "=HYPERLINK(0)"), ClassLabel("run", "-1"))
    save_run(tmp_path, make_run(), _predictions(), labels, METRICS)
    with open(tmp_path / "per_class.csv", encoding="utf-8", newline="") as handle:
        assert [row["name"] for row in csv.DictReader(handle)] == ["'=HYPERLINK(0)", "-1"]
    assert [each.name for each in load_detail(tmp_path.parent, replace(make_run(), folder=tmp_path.name)).classes] == [
        "=HYPERLINK(0)",
        "-1",
    ]
