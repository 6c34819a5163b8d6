"""Tables of a user's own as people save them: read as they are meant, or refused with the line to type."""

from __future__ import annotations

import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harbench.datasets.tables import load_split
from harbench.errors import DatasetError
from harbench.prepare.own import OwnData, OwnOptions
from harbench.prepare.own_csv import read_own
from harbench.prepare.own_write import write_own

_FILES = ("clips/walk/p1.avi", "clips/walk/p2.avi", "clips/run/p 1.avi", "clips/run/p2.avi")


def _folder(folder: Path, name: str, text: str | bytes) -> Path:
    for file in _FILES:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(file)
    text = text.replace("ROOT", str(folder)) if isinstance(text, str) else text
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def _read(data: OwnData) -> list[tuple[str, str]]:
    return [(sample.media, sample.label) for sample in data.samples]


@pytest.mark.parametrize(
    "text",
    [
        "path,label\nclips/walk/p1.avi,walk\nclips/run/p2.avi,run\n",
        "clips/walk/p1.avi,walk\nclips/run/p2.avi,run\n",
        "clips/walk/p1.avi walk\nclips/run/p2.avi run",
        "File,Class\n./clips/walk/p1.avi,walk\nclips//run/../run/p2.avi,run\n",
        "filename;action\r\nclips\\walk\\p1.avi;walk\r\nclips\\run\\p2.avi;run\r\n",
        "\ufeffsep=;\r\nfilepath;label\r\nC:\\data\\clips\\walk\\p1.avi;walk\r\nC:\\data\\clips\\run\\p2.avi;run\r\n",
        ",video,label\n0,walk/p1,walk\n1,run/p2,run\n",
        "video\tcategory\nROOT/clips/walk/p1.avi\twalk\nROOT/clips/run/p2.avi\trun\n",
        "path,label\n/mnt/old/set/clips/walk/p1.avi,walk\n/mnt/old/set/clips/run/p2.avi,run\n",
        "id,file,label\n1,p1,walk\n2,p2,run\n",
        "name,video,label\nAnna,walk/p1.avi,walk\nBen,run/p2.avi,run\n",
        "clips/walk/p1.avi\nclips/run/p2.avi\n",
        "path,label\n\nclips/walk/p1.avi,walk\n\nclips/run/p2.avi,run\n,\n",
        "path,label\nclips/walk/p1.avi,walk\nclips/run/p2.avi,run\n".encode("utf-16"),
    ],
)
def test_tables_as_people_save_them(text: str | bytes, tmp_path: Path) -> None:
    data = read_own(_folder(tmp_path / "d", "labels.csv", text))
    assert _read(data) == [("clips/walk/p1.avi", "walk"), ("clips/run/p2.avi", "run")]
    assert any("2 files are in no table" in note for note in data.notes)
    assert any("begin with" in note for note in data.notes) == ("/mnt/old" in str(text) or "C:" in str(text))


def test_columns_and_words_of_splits(tmp_path: Path) -> None:
    text = (
        "idx,path,label,Fold 1,split\n1,clips/walk/p1.avi,walk,x,Training\n2,clips/walk/p2.avi,walk,x,TEST\n"
        "3,clips/run/p 1.avi,run,x,dev\n4,clips/run/p2.avi,run,x,\n"
    )
    data = read_own(_folder(tmp_path / "d", "my.csv", text))
    assert [dict(s.subsets or {}) for s in data.samples] == [
        {"split": "train"},
        {"split": "test"},
        {"split": "val"},
        {},
    ]
    assert "my.csv: columns that are not used: idx, Fold 1" in data.notes


@pytest.mark.parametrize("names", ["train.txt test.txt", "train_list.csv val-list.csv", "Training.tsv Testing.tsv"])
def test_lists_beside_a_folder_of_videos_are_the_split(names: str, tmp_path: Path) -> None:
    first, second = names.split()
    separator = "\t" if first.endswith(".tsv") else " "
    folder = _folder(tmp_path / "d/My", first, f"clips/walk/p1.avi{separator}walk\nclips/run/p2.avi{separator}run\n")
    _folder(folder, second, f"clips/walk/p2.avi{separator}walk\n")
    data = read_own(tmp_path / "d")  # one wrapper folder around it
    other = "val" if "val" in second else "test"
    assert {s.media: (s.subsets or {})["given"] for s in data.samples} == {
        "clips/walk/p1.avi": "train", "clips/run/p2.avi": "train", "clips/walk/p2.avi": other,
    }  # fmt: skip


def test_the_same_file_name_in_train_and_test(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    for part, label in (("training", "a"), ("testing", "b")):
        (folder / part).mkdir(parents=True)
        (folder / part / "1.avi").write_text(part)
        (folder / f"{part}.csv").write_text(f"file_name,label\n1.avi,{label}\n")
    assert _read(read_own(folder)) == [("testing/1.avi", "b"), ("training/1.avi", "a")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,label\n../x.avi,walk\nclips/p9,walk\n", r"2 rows.* for example, clips/run/p 1.avi(?s:.*)relative path"),
        ("path,label\np2.avi,jump\n", r"line 2: p2.avi: could be clips/run/p2.avi, clips/walk/p2.avi"),
        ("path,label\nclips/walk/p1.avi,walk\nwalk/p1,walk\n", r"line 3: .* stands in labels.csv, line 2 already"),
        ("path,label,s\nclips/walk/p1.avi,walk,train\nclips/walk/p2.avi,walk,tset\n", r"line 3: s: expected train, val, test"),
        ("clip,klasse\nclips/walk/p1.avi,walk\n", r"line 1: expected a column .*path,label,split.*--layout class"),
        ("Datei,Klasse\nclips/walk/p1.avi,walk\n", r"line 1: Datei: .*if these are column names, write path,label"),
        ("clips/run/p 1.avi run\n", r"p 1\.avi|column names"),
    ],
)  # fmt: skip
def test_what_is_refused_says_what_settles_it(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=words):
        read_own(_folder(tmp_path / "d", "labels.csv", text))


def test_several_tables_and_half_the_labels(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "d", "a.csv", "path,label\nclips/walk/p1.avi,walk\n")
    _folder(folder, "b.csv", "path,label\n")
    with pytest.raises(DatasetError, match=r"which of these tables is it\? a.csv, b.csv. Name it samples.csv"):
        read_own(folder)
    assert len(read_own(folder, "class").samples) == 4  # the folders alone
    lists = _folder(tmp_path / "e", "train.txt", "clips/walk/p1.avi 0\n")
    _folder(lists, "test.txt", "clips/run/p2.avi\n")
    with pytest.raises(DatasetError, match=r"no labels in test.txt, but in the other tables"):
        read_own(lists)


cells = st.text(st.sampled_from("abc/.\\;,\t \"'\n\r0é\ufeff"), max_size=12)


@given(
    drawn=st.lists(st.lists(cells, min_size=1, max_size=4), max_size=5),
    separator=st.sampled_from(",; \t"),
    header=st.booleans(),
)
def test_no_table_ends_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[list[str]], separator: str, header: bool
) -> None:
    folder = tmp_path_factory.mktemp("table")
    for name in ("a/b.avi", "c/a.avi"):
        (folder / name).parent.mkdir()
        (folder / name).write_text(name)
    lines = [["path", "label"], *drawn] if header else drawn
    (folder / "x.csv").write_text("\n".join(separator.join(line) for line in lines), "utf-8")
    try:
        data = read_own(folder)
    except DatasetError:
        return
    assert {sample.media for sample in data.samples} <= {"a/b.avi", "c/a.avi"}


@pytest.mark.parametrize(
    ("name", "samples"),
    [("c1", {"walk/p1": "0 train", "run/p1": "1 train", "walk/p2": "0 test", "run/p2": "1 test"}),
     ("c2", {"walk/p1": "0 train", "run/p1": "1 train", "walk/p2": "0 test", "run/p2": "1 test"}),
     ("c7", {"walk/p1": "walk train", "run/p1": "run train"}),
     ("c8", {"walk/p1": "walk train", "run/p1": "run train", "run/p2": "run test"})],
)  # fmt: skip
def test_the_forms_of_real_tables(name: str, samples: dict[str, str], test_data: Path, tmp_path: Path) -> None:
    with tarfile.open(test_data / "odd/csv_forms.tgz") as archive:
        archive.extractall(tmp_path, filter="data")
    data = read_own(next(tmp_path.rglob(name)))
    assert {s.media: f"{s.label} {''.join((s.subsets or {}).values())}" for s in data.samples} == {
        f"videos/{media}.mp4": words for media, words in samples.items()
    }


def test_a_table_of_20000_rows_takes_seconds(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    names = [f"c{n % 20}/v{n:05d}.avi" for n in range(20_000)]
    for number in range(20):
        (folder / f"c{number}").mkdir()
    for name in names:
        (folder / name).touch()
    rows = (f"{name},{name.partition('/')[0]},{'test' if n % 5 == 0 else 'train'}\n" for n, name in enumerate(names))
    (folder / "samples.csv").write_text("path,label,split\n" + "".join(rows))
    started = time.process_time()
    write_own(read_own(folder), OwnOptions("mine"), tmp_path)
    assert time.process_time() - started < 5
    assert len(load_split("mine", "", tmp_path).samples) == 20_000
