"""Tables as people save them, and cells of csv files that people open in a spreadsheet."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harbench.errors import DatasetError
from harbench.files import csv_cell, csv_text, read_csv, write_text

KNOWN = ("path", "label")
HEADLESS = {2: ("path", "label")}
WANTED = [["a/1.avi", "walk"], ["b 2.avi", "run"]]
TEXTS = st.text(st.sampled_from("=+-@\t\r'a1. e"), max_size=6) | st.text()


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"path,label\na/1.avi,walk\nb 2.avi,run\n", [2, 3]),
        (b"Path , LABEL\r\na/1.avi , walk\r\n\r\nb 2.avi,run\r\n", [2, 4]),
        (b"path;label\na/1.avi;walk\nb 2.avi;run\n", [2, 3]),
        (b"sep=;\npath;label\na/1.avi;walk\nb 2.avi;run", [3, 4]),
        (b"path\tlabel\na/1.avi\twalk\nb 2.avi\trun\n", [2, 3]),
        (b"a/1.avi,walk\nb 2.avi,run\n", [1, 2]),
        (b'"a/1.avi" walk\n"b 2.avi"  run\n', [1, 2]),
        (b",path,label,\n0,a/1.avi,walk,\n1,b 2.avi,run,\n", [2, 3]),
        (b"\xef\xbb\xbfpath,label\na/1.avi,walk\nb 2.avi,run\n", [2, 3]),
        ("path\tlabel\na/1.avi\twalk\nb 2.avi\trun\n".encode("utf-16"), [2, 3]),
    ],
    ids=["commas", "blanks", "semicolons", "excel", "tabs", "headless", "words", "index", "bom", "utf16"],
)
def test_every_form_gives_the_same_table(tmp_path: Path, content: bytes, lines: list[int]) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    table = read_csv(path, KNOWN, HEADLESS)
    assert table[["path", "label"]].to_numpy().tolist() == WANTED
    assert (list(table.columns), table.index.tolist()) == (["path", "label"], lines)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"path,label\na.avi,walk,more\n", "line 2"),
        (b"path,label,fold\na.avi,walk,1\nb.avi,run\n", "line 3"),
        (b"path,label,path\na,b,c\n", "'path'"),
        (b"x,y,z\na,b,c\n", "column names"),
        (b"path,label\na\xe9.avi,walk\n", "UTF-8"),
        (b'path,label\n"a.avi,walk\n', "EOF"),
    ],
)
def test_what_is_no_table_is_told_with_its_place(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=told):
        read_csv(path, KNOWN, HEADLESS)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_an_error_of_ours(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "list.csv"
    path.write_bytes(b"path,label\n" + content)
    try:
        assert isinstance(read_csv(path, KNOWN, HEADLESS), pd.DataFrame)
    except DatasetError as error:
        assert str(path) in str(error)


@given(TEXTS)
def test_no_cell_is_run_and_every_text_comes_back(text: str) -> None:
    cell = csv_cell(text)
    assert csv_text(cell) == text
    if cell[:1] in "=+-@\t\r" and cell:
        float(cell)  # a number alone may begin so


@pytest.mark.parametrize(
    ("value", "cell"),
    [("=1+1", "'=1+1"), ("@sum", "'@sum"), ("-walk", "'-walk"), ("\tx", "'\tx"), ("+1e3", "+1e3"), ("-2.5", "-2.5"),
     ("walk", "walk"), ("'quoted'", "'quoted'"), ("'=1", "''=1"), ("", ""), (-3, -3), (None, None)],
)  # fmt: skip
def test_only_what_a_spreadsheet_would_run_is_quoted(value: object, cell: object) -> None:
    assert csv_cell(value) == cell


def test_a_folder_in_the_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as told:
        write_text(tmp_path, "x")
    assert told.value.filename == str(tmp_path) and not list(tmp_path.parent.glob(".*.part"))
