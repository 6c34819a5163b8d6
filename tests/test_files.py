"""Cells of csv files that people open in a spreadsheet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harbench.files import csv_cell, csv_text

TEXTS = st.text(st.sampled_from("=+-@\t\r'a1. e"), max_size=6) | st.text()


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
