from __future__ import annotations

import csv
import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from harbench.datasets.tables import published_names
from harbench.errors import PublishedError
from harbench.paths import shipped
from harbench.reporting.published import COLUMNS, load_published

COUNTS = {
    "hmdb51": 124,
    "jhmdb": 4,
    "jhmdb14": 4,
    "kinetics400": 96,
    "kth": 16,
    "ntu120": 97,
    "ntu60": 135,
    "ntu7": 1,
    "sample": 4,
    "stanford40": 14,
    "ucf101": 184,
}
ROW = {
    **dict.fromkeys(COLUMNS, "unknown"),
    "method": "Mine",
    "family": "3d-cnn",
    "backbone": "",
    "params_m": "1.5",
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
    assert Counter(r.key.dataset for r in chosen) == {"ucf101": 8, "hmdb51": 5, "stanford40": 4, "jhmdb": 4, "ntu7": 1}
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
    assert all(r.notes.startswith("self-reported") for r in claims)
    ranked = [r for r in claims if r.protocol.selection != "test" and r.key.split_set != "unknown"]
    assert not ranked
    assert not [r for r in claims if r.value == 82.8 or (r.value == 85.0 and "dronefreak" in r.source_id)]


# -------------------------------------------------------------------------------------------------------- the builder
@pytest.fixture(scope="module")
def builder() -> ModuleType:
    path = shipped("splits") / "build_published.py"
    spec = importlib.util.spec_from_file_location("build_published", path)
    assert spec is not None and spec.loader is not None
    before = list(sys.path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


def test_rebuilding_gives_the_same_bytes(builder: ModuleType, test_data: Path) -> None:
    source = test_data.parent / "baselines.csv"
    if not source.exists():
        pytest.skip(f"{source} is not there: the published tables were NOT rebuilt and compared")
    tables = builder.build(source)
    # The row of `sample` is computed by harbench itself; splits/build_sample.py writes it.
    assert {*tables, "sample"} == set(published_names())
    for dataset, text in tables.items():
        assert (shipped("splits") / dataset / "published.csv").read_bytes() == text.encode()
    with open(source, encoding="utf-8", newline="") as handle:
        taken = Counter(row["ship"] in ("yes", "secondary") for row in csv.DictReader(handle))
    with open(shipped("splits") / "published_more.csv", encoding="utf-8", newline="") as handle:
        more = len(list(csv.DictReader(handle)))
    assert (taken[True], more) == (668, 7)
    assert sum(text.count("\n") - 1 for text in tables.values()) == taken[True] + more


RAW = {
    **dict.fromkeys(("method", "backbone", "params_m", "year", "source_title", "where_seen", "notes"), ""),
    "dataset": "Toy",
    "protocol": "fold A",
    "metric": "acc",
    "views": "",
    "input": "RGB",
    "pretrain": "none",
    "family": "3d-cnn",
    "value": "50",
    "source_id": "x",
    "ship": "yes",
}
MAPPING = """column,dataset,raw,says,why
dataset,toy,Toy,label_set=2 classes; unit=video; given=none,
protocol,toy,fold A,split_set=split1; level=clip,
metric,,acc,metric=top1,
views,,,level=video,
input,,RGB,modality=RGB,
pretrain,,none,pretraining=none (scratch),
"""


def _source(path: Path, *rows: dict[str, str]) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(RAW))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_the_mapping_translates_and_the_specific_text_wins(builder: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text(MAPPING)
    source = _source(tmp_path / "raw.csv", RAW, RAW | {"ship": "no", "protocol": "never mapped"})
    (tmp_path / "more.csv").write_text("dataset," + ",".join(COLUMNS) + "\ntoy2" + ",x" * len(COLUMNS) + "\n")
    tables = builder.build(source, tmp_path / "map.csv", tmp_path / "more.csv")
    assert tables["toy2"].splitlines()[1] == ",".join("x" * len(COLUMNS))
    (row,) = csv.DictReader(tables["toy"].splitlines())
    assert (row["split_set"], row["level"], row["modality"], row["views"]) == ("split1", "clip", "RGB", "unknown")


def test_a_text_without_translation_and_a_stale_one_are_errors(builder: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text(MAPPING)
    source = _source(tmp_path / "raw.csv", RAW | {"protocol": "fold B"})
    with pytest.raises(SystemExit, match="fold B"):
        builder.build(source, tmp_path / "map.csv", None)
    (tmp_path / "map.csv").write_text(MAPPING + "views,,9x9,views=9x9,\n")
    with pytest.raises(SystemExit, match="9x9"):
        builder.build(_source(tmp_path / "raw.csv", RAW), tmp_path / "map.csv", None)
    (tmp_path / "map.csv").write_text(MAPPING + "views,,1x1,veiws=1x1,\n")
    with pytest.raises(SystemExit, match="veiws"):
        builder.build(_source(tmp_path / "raw.csv", RAW), tmp_path / "map.csv", None)


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
        ({"given": "hints"}, "expected one of none, boxes, poses"),
        ({"params_m": "-1"}, "params_m"),
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
    with pytest.raises(PublishedError, match="expected 24 fields, found 3"):
        load_published("toy", tmp_path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(PublishedError, match="not a UTF-8 csv file"):
        load_published("toy", tmp_path)
