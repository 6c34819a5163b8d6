"""`score`: every form of predictions that people have is read, and what is none is told in one line."""

from __future__ import annotations

import io
import pickle
import resource
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from damage import damaged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harbench import api
from harbench.analysis.score import Scoring, score_file
from harbench.datasets.tables import load_split
from harbench.errors import DatasetError, HarbenchError
from harbench.prepare.own import OwnOptions

TABLE = load_split("weizmann")
TEST = TABLE.subset("test")
IDS = [sample.sample_id for sample in TEST]
KEYS = [label.key for label in TABLE.classes]
TARGETS = [sample.target for sample in TEST]
SCORES = np.eye(len(KEYS), dtype=np.float32)[TARGETS]
COLUMNS = ",".join(KEYS)
ROWS = [f"{name},{','.join(f'{cell:.1f}' for cell in row)}" for name, row in zip(IDS, SCORES, strict=True)]


def score(file: Path, order: str = "", names: Path | None = None) -> Scoring:
    return score_file(file, dataset="weizmann", home=file.parent, classes_order=order, names=names)


def listed(folder: Path, first: int | None) -> str:
    """A class list without numbers, or with numbers from `first` on."""
    path = folder / f"classes_{first}.txt"
    path.write_text("".join(f"{'' if first is None else f'{k + first} '}{key}\n" for k, key in enumerate(KEYS)))
    return str(path)


def lines(*rows: str) -> str:
    return "\n".join(rows) + "\n"


# ------------------------------------------------------------------------------------------------------- tables
@pytest.mark.parametrize(
    ("content", "numbered"),
    [
        (lines(f"id,{COLUMNS}", *ROWS), False),
        (lines(f"clip name,{COLUMNS}", *ROWS), False),
        (lines(f",{COLUMNS}", *ROWS), False),
        (lines(f",id,{COLUMNS}", *(f"{n},{row}" for n, row in enumerate(ROWS))), False),
        (lines(f"path;{COLUMNS.replace(',', ';')}", *(row.replace(",", ";") for row in ROWS)), False),
        (lines(*(f"{name} {KEYS[target]}" for name, target in zip(IDS, TARGETS, strict=True))), False),
        (lines(*ROWS), True),
        (lines(*(row.replace(",", " ") for row in ROWS)), True),
        (lines(",".join(["id", *map(str, range(10))]), *ROWS), True),
        (lines(",".join(["id", *map(str, range(1, 11))]), *ROWS), True),
        (lines(",".join(["", *map(str, range(1, 11))]), *ROWS), True),
        (lines(",".join(["id", *(f"class_{k}" for k in range(10))]), *ROWS), True),
        (
            lines(
                ",".join(["id", *map(str, reversed(range(10)))]),
                *(",".join([row.split(",")[0], *row.split(",")[:0:-1]]) for row in ROWS),
            ),
            True,
        ),
    ],
    ids=["plain", "other", "index", "rows", "semicolons", "labels", "headless", "blanks", "0", "1", "index1", "words",
         "reversed"],
)  # fmt: skip
def test_tables_as_people_save_them(tmp_path: Path, content: str, numbered: bool) -> None:
    path = tmp_path / "p.csv"
    path.write_text(content)
    if numbered:
        with pytest.raises(DatasetError, match="--classes-order"):
            score(path)
    found = score(path, listed(tmp_path, 1) if numbered else "")
    assert (found.metrics["top1"], found.scored, found.unknown) == (100, len(IDS), ())


def test_scores_alone_with_a_list_of_samples(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(lines(*(row.partition(",")[2] for row in ROWS)))
    (tmp_path / "names.txt").write_text(lines(*(f"{name}\t{t}" for name, t in zip(IDS, TARGETS, strict=True))))
    assert score(tmp_path / "p.csv", "official", tmp_path / "names.txt").metrics["top1"] == 100


@pytest.mark.parametrize(
    ("counted", "first", "part", "told"),
    [
        (1, 1, slice(None), "counted from 1"),
        (1, None, slice(None), "counted from 1"),  # 10 of 10 classes is none of 0 to 9
        (0, 1, slice(None), "counted from 0"),
        (1, 1, slice(0, 9), "counted from 1"),
        (0, 0, slice(1, 10), "counted from 0"),
        (1, None, slice(0, 9), None),
    ],
)
def test_numbers_count_as_the_class_list_does(
    tmp_path: Path, counted: int, first: int | None, part: slice, told: str | None
) -> None:
    path = tmp_path / "p.csv"
    pairs = [f"{name},{t + counted}" for name, t in zip(IDS, TARGETS, strict=True) if t in range(10)[part]]
    path.write_text(lines("id,label", *pairs))
    if told is None:
        with pytest.raises(DatasetError, match=r"may count from 0 or from 1.*`1 walk`"):
            score(path, listed(tmp_path, first))
        return
    found = score(path, listed(tmp_path, first))
    assert found.metrics["top1"] == 100 * len(pairs) / len(IDS)
    assert told in found.classes_from


@pytest.mark.parametrize(
    ("content", "order", "told"),
    [
        (lines("id,top1,top2,top3", *(f"{name},1,2,3" for name in IDS)), "official", r"top-k.*`id,label`"),
        (lines("id,top1,top2,top3", *(f"{name},run,walk,jump" for name in IDS)), "", r"top-k keep|top-k list keep"),
        (lines("id,label", *(f"{name},²" for name in IDS)), "official", "names its classes itself"),
        (lines("id,label", *(f"{name},{n}" for n, name in enumerate(IDS * 2))), "official", "expected labels of 10"),
        (lines("id,label", *(f"{name},11" for name in IDS)), "official", "from 1 to 10; found 11"),
        (lines(f"id,{COLUMNS}", *ROWS), "official", "leave out --classes-order"),
        (lines(f"id,{COLUMNS}", *ROWS, f"{IDS[0]}{',x' * 10}"), "", "line 12"),
        (lines(f"id,{COLUMNS}"), "", "there are no predictions"),
        (lines("," * 10, "," * 10), "official", "there are no predictions"),
    ],
    ids=["top-k", "top-k names", "square", "many", "range", "named", "cell", "header", "commas"],
)
def test_tables_that_are_no_scores_are_told(tmp_path: Path, content: str, order: str, told: str) -> None:
    path = tmp_path / "p.csv"
    path.write_text(content)
    with pytest.raises(DatasetError, match=told):
        score(path, order)


def test_class_lists_count_from_0_or_1(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(lines(*ROWS))
    for numbers, told in (([5, 6, *range(7, 15)], "0 or 1"), ([1] * 10, "each once"), (["²"] * 10, "no class")):
        (tmp_path / "list.txt").write_text(lines(*(f"{n} {key}" for n, key in zip(numbers, KEYS, strict=True))))
        with pytest.raises(DatasetError, match=told):
            score(tmp_path / "p.csv", str(tmp_path / "list.txt"))


# ----------------------------------------------------------------------------------------------------- npz, pickles
def test_byte_strings_are_text(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", ids=np.array(IDS, "S"), scores=SCORES, classes=np.array(KEYS, "S"))
    assert score(tmp_path / "p.npz").metrics["top1"] == 100


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"scores": SCORES.astype(str)}, "<U32"),
        ({"scores": SCORES.astype(complex)}, "complex128"),
        ({"scores": SCORES.astype("M8[s]")}, "datetime64"),
        ({"scores": SCORES.astype(bool)}, "bool"),
        ({"scores": SCORES.astype(object)}, "plain arrays.*Object arrays"),
        ({"scores": np.array(3.0)}, r"found \[\]"),
        ({"scores": SCORES[:, :5]}, "5 columns, found 10 ids and 10 classes"),
        ({"scores": SCORES[:5]}, "5 rows"),
        ({"ids": np.array("x")}, r"ids \[\]"),
        ({"ids": np.arange(10) / 2}, "ids .* of float64"),
        ({"ids": np.array([b"\xff"] * 10)}, "UTF-8"),
        ({"classes": np.array("x")}, r"classes \[\]"),
    ],
)
def test_arrays_of_another_kind_are_told(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    np.savez(tmp_path / "p.npz", **({"ids": IDS, "scores": SCORES, "classes": KEYS} | changed))
    with pytest.raises(DatasetError, match=told):
        score(tmp_path / "p.npz")


def test_files_that_are_no_whole_npz_are_told(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    with path.open("wb") as handle:
        np.save(handle, SCORES)
    with pytest.raises(DatasetError, match=r"one array \(.npy\).*np.savez"):
        score(path)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("scores.npy", header.getvalue())
    with pytest.raises(DatasetError, match="1000000"):
        score(path)
    np.savez_compressed(path, ids=IDS, scores=np.zeros((1 << 13, 1 << 14), np.float32))
    with pytest.raises(DatasetError, match=r"unpacks to 536,871,040 bytes.*np.savez"):
        score(path)


class Called:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


ITSELF: list[Any] = []
ITSELF += [ITSELF] * 10


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"pred_score": ["a", "b"]}, "found str"),
        ({"pred_score": "ab"}, "found str"),
        ({"pred_score": [[1], [1, 2]]}, "found list"),
        ({"pred_score": ITSELF}, "found list"),
        ({"pred_score": [{}, {}]}, "found dict"),
        ({"pred_score": {"item": {"item": 1}}}, "found dict"),
        ({"pred_score": [None] * 10}, "found NoneType"),
        ({"pred_score": [True] * 10}, "found bool"),
        ({"pred_score": [10**400] * 10}, "too large"),
        ({"pred_score": SCORES}, r"found \[10, 10\]"),
        ({"pred_score": SCORES[0].astype(complex)}, "complex128"),
        ({"pred_score": Called(torch._utils._rebuild_tensor_v2)}, "damage"),
        ({"pred_score": Called(print, 1)}, "found builtins.print"),
        ({"pred_score": SCORES[0], "gt_label": float("nan")}, "found nan"),
        ({"pred_score": SCORES[0], "gt_label": "x"}, "found str"),
        ({}, "a score a class"),
    ],
)
def test_entries_of_a_dump_that_are_no_scores_are_told(tmp_path: Path, entry: dict[str, Any], told: str) -> None:
    path = tmp_path / "p.pkl"
    path.write_bytes(pickle.dumps([entry | {"frame_dir": name} for name in IDS]))
    with pytest.raises(HarbenchError, match=rf"p\.pkl(.|\n)*entry 0.*{told}"):
        score(path, "official")


# --------------------------------------------------------------------------------------------------- damaged files
def npz(**arrays: Any) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


DUMP = [
    {"pred_score": torch.tensor(row), "gt_label": torch.tensor([target]), "frame_dir": name}
    for row, target, name in zip(SCORES, TARGETS, IDS, strict=True)
]
NAMES = lines(*IDS).encode()
ORDER = lines(*(f"{number} {key}" for number, key in enumerate(KEYS, 1))).encode()
FILES = {
    "p.csv": lines(f"id,{COLUMNS}", *ROWS).encode(),
    "labels.csv": lines(*(f"{name} {KEYS[t]}" for name, t in zip(IDS, TARGETS, strict=True))).encode(),
    "p.npz": npz(ids=IDS, scores=SCORES, classes=KEYS),
    "bare.npz": npz(scores=SCORES),
    "p.pkl": pickle.dumps(DUMP),
    "list.pkl": pickle.dumps([entry | {"pred_score": SCORES[0].tolist(), "gt_label": 3} for entry in DUMP]),
    "array.pkl": pickle.dumps([entry | {"pred_score": row} for entry, row in zip(DUMP, SCORES, strict=True)]),
    "order.txt": ORDER,
    "names.txt": NAMES,
}


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=20, deadline=20_000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files_are_read_or_told(tmp_path: Path, name: str, data: st.DataObject) -> None:
    contents = {"p.pkl": FILES["p.pkl"], "order.txt": ORDER, "names.txt": NAMES, name: damaged(FILES[name], data)}
    for each, content in contents.items():
        (tmp_path / each).write_bytes(content)
    ordered = name in ("order.txt", "names.txt", "bare.npz") or name.endswith(".pkl")
    file = tmp_path / ("p.pkl" if name.endswith(".txt") else name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        found = score(
            file,
            str(tmp_path / "order.txt") if ordered else "",
            tmp_path / "names.txt" if name in ("names.txt", "bare.npz") else None,
        )
        assert 0 <= (found.metrics["top1"] or 0) <= 100
    except HarbenchError as error:
        assert str(tmp_path) in str(error)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 19, "half a GB for one small file"


# ------------------------------------------------------------------------------------------------------- real files
def test_columns_without_names_are_numbers_of_classes_called_so(tmp_path: Path, test_data: Path) -> None:
    with tarfile.open(test_data / "odd/folders_num.tgz") as archive:
        archive.extractall(tmp_path, filter="data")
    home = tmp_path / "home"
    api.prepare(str(tmp_path / "num"), own=OwnOptions("num"), home=home, workers=1)
    found = score_file(test_data / "odd/num_scores.npz", dataset="num", home=home)
    assert (found.metrics["top1"], found.scored) == (100, 12)
