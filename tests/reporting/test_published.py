from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

from harbench.datasets.tables import published_names
from harbench.errors import PublishedError
from harbench.records import Leaderboard
from harbench.reporting.leaderboard import build_leaderboard
from harbench.reporting.page.build import render_page
from harbench.reporting.published import COLUMNS, UPPER_BOUND, address, load_published

COUNTS = {
    "hmdb51": 151,
    "jhmdb": 4,
    "jhmdb14": 4,
    "kinetics400": 96,
    "kth": 15,
    "ntu120": 108,
    "ntu60": 147,
    "ntu7": 1,
    "nwucla": 15,
    "sample": 4,
    "stanford40": 14,
    "ucf101": 207,
}
ACRONYMS = {"README", "ICML", "SEVERE", "FROSTER"}
ROW = {
    **dict.fromkeys(COLUMNS, "unknown"),
    "method": "Mine",
    "family": "3d-cnn",
    "backbone": "",
    "params_m": "1.5",
    "gflops": "40.7",
    "value": "88.5",
    "year": "2024",
    "metric": "top1",
    "source_id": "https://example.org/paper",
    "notes": "",
}


def write_rows(folder: Path, *rows: dict[str, str], columns: tuple[str, ...] = COLUMNS) -> Path:
    path = folder / "splits" / "toy" / "published.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


# ------------------------------------------------------------------------------------------------------- shipped rows
def test_every_shipped_table_loads_and_no_row_is_lost() -> None:
    assert {name: len(load_published(name)) for name in published_names()} == COUNTS


@pytest.mark.parametrize("dataset", COUNTS)
def test_shipped_rows_are_told_apart(dataset: str) -> None:
    results = load_published(dataset)
    # A method may stand there twice only with another backbone, protocol or source.
    told = Counter((r.method, r.backbone, r.key, r.protocol, r.value, r.source_id, r.where_seen) for r in results)
    assert max(told.values()) == 1
    assert all(result.key.dataset == dataset and result.key.complete == "yes" for result in results)


def test_numbers_that_are_often_misquoted_are_kept_apart() -> None:
    means = [r for r in load_published("kinetics400") if r.key.metric == "mean of top1 and top5"]
    assert len(means) == 10
    stanford = load_published("stanford40")
    assert {r.key.given for r in stanford if r.key.metric == "mAP"} == {"none", "boxes"}
    assert [r.value for r in stanford if "Mohammadi" in r.method and r.key.metric == "top1"] == [93.17]
    kinds = {(r.protocol.modality, r.key.given) for r in load_published("ntu60")}
    assert ("3D pose (Kinect)", "poses") in kinds and ("2D pose heatmaps (HRNet)", "none") in kinds
    clip = {r.value for r in load_published("kinetics400") if "(docs <=0.13)" in r.method and r.key.level == "clip"}
    assert clip == {52.75, 53.9, 57.5}


def test_numbers_selected_on_test_say_so() -> None:
    chosen = [r for name in COUNTS for r in load_published(name) if r.protocol.selection == "test"]
    assert Counter(r.key.dataset for r in chosen) == {
        "ucf101": 8,
        "hmdb51": 5,
        "stanford40": 4,
        "jhmdb": 4,
        "ntu7": 1,
        "nwucla": 6,
    }
    assert all(r.protocol.selection == "test" for r in load_published("ucf101") if "dronefreak" in r.method)
    assert all(r.protocol.selection == "test" for r in load_published("jhmdb"))


def test_kth_per_file_numbers_are_counts_of_216_files() -> None:
    """The 216 test files of the official persons; 863 sequences would not give these values."""
    rows = [r for r in load_published("kth") if r.key.split_set == "official-video"]
    assert len(rows) == 5
    for row in rows:
        assert abs(row.value - 100 * round(row.value * 2.16) / 216) < 0.01, row.method


def test_claims_of_origin_projects_are_marked_and_the_uncited_ones_left_out() -> None:
    origins = ("dronefreak/", "LoylP/", "vidyacheekuri/")
    claims = [r for name in COUNTS for r in load_published(name) if any(each in r.source_id for each in origins)]
    assert len(claims) == 12
    assert all(r.notes.startswith("Self-reported") for r in claims)
    ranked = [r for r in claims if r.protocol.selection != "test" and r.key.split_set != "unknown"]
    assert not ranked
    assert not [r for r in claims if r.value == 82.8 or (r.value == 85.0 and "dronefreak" in r.source_id)]


@pytest.mark.parametrize("dataset", COUNTS)
def test_footnotes_are_plain_sentences_and_every_row_has_a_link(dataset: str) -> None:
    for row in load_published(dataset):
        for text in (row.notes, row.where_seen):
            assert not text or re.fullmatch(r"\w.*[.]", text), text
            assert not re.search(r"[.] [A-Z]|->|[(]unverified|[\[][a-z]", text), (
                f"one sentence, no research notes: {text}"
            )
            assert set(re.findall(r"(?<![/\w-])[A-Z]{4,}(?![/\w-])", text)) <= ACRONYMS, f"no shouting: {text}"
        assert row.where_seen
        assert address(row.source_id) or row.family == UPPER_BOUND, row.source_id


def test_an_upper_bound_is_a_line_and_never_a_place() -> None:
    (table,) = [
        each for each in build_leaderboard([], load_published("sample")).tables if each.key.split_set == "small"
    ]
    (row,) = table.rows
    assert (row.kind, row.place) == ("bound", None)
    page = render_page(Leaderboard((table,), ""))
    assert '<tr class="bound' in page and "Upper bound" in page


# ------------------------------------------------------------------------------------------------------ a user's rows
def test_a_users_rows_come_after_the_shipped_ones(tmp_path: Path) -> None:
    path = write_rows(tmp_path, ROW)
    target = tmp_path / "splits" / "ucf101"
    target.mkdir()
    path.rename(target / "published.csv")
    results = load_published("ucf101", tmp_path)
    assert len(results) == COUNTS["ucf101"] + 1
    assert (results[-1].method, results[-1].params_m, results[-1].year) == ("Mine", 1.5, 2024)
    assert "ucf101" in published_names(tmp_path)


def test_a_new_data_set_of_the_user(tmp_path: Path) -> None:
    write_rows(tmp_path, ROW)
    assert published_names(tmp_path) == sorted([*COUNTS, "toy"])
    assert [result.value for result in load_published("toy", tmp_path)] == [88.5]
    assert load_published("never heard of", tmp_path) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": "101"}, "percent"),
        ({"value": "nan"}, "percent"),
        ({"value": ""}, "percent"),
        ({"value": "88,5"}, "expected a number"),
        ({"source_id": ""}, "source_id is empty"),
        ({"modality": ""}, "modality is empty"),
        ({"metric": "accuracy"}, "expected one of top1"),
        ({"level": "frame"}, "level is 'frame'"),
        ({"selection": "best"}, "selection is 'best'"),
        ({"kind": "shots"}, "kind is 'shots'; expected supervised"),
        ({"given": "hints"}, "expected one of none, boxes, poses"),
        ({"params_m": "-1"}, "params_m"),
        ({"gflops": "0"}, "gflops"),
        ({"year": "20240"}, "year"),
        ({"year": "2024.5"}, "year"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, change: dict[str, str], message: str) -> None:
    path = write_rows(tmp_path, ROW, ROW | {"method": "Other"} | change)
    with pytest.raises(PublishedError, match=message) as caught:
        load_published("toy", tmp_path)
    assert f"{path}:3: " in str(caught.value)


def test_order_duplicates_and_columns(tmp_path: Path) -> None:
    write_rows(tmp_path, ROW | {"method": "b"}, ROW | {"method": "a"})
    with pytest.raises(PublishedError, match="'a' belongs before 'b'"):
        load_published("toy", tmp_path)
    path = write_rows(tmp_path, ROW, ROW)
    with pytest.raises(PublishedError, match=f"the same row stands at {path}:2"):
        load_published("toy", tmp_path)
    write_rows(tmp_path, ROW, columns=COLUMNS[:-1])
    with pytest.raises(PublishedError, match="expected the columns method,family"):
        load_published("toy", tmp_path)
    path.write_text(",".join(COLUMNS) + "\nonly,three,fields\n")
    with pytest.raises(PublishedError, match="expected 26 fields, found 3"):
        load_published("toy", tmp_path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(PublishedError, match="not a UTF-8 csv file"):
        load_published("toy", tmp_path)
