from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable

import pytest

from harbench.errors import HarbenchError
from harbench.files import csv_text
from harbench.records import Leaderboard, PublishedResult
from harbench.reporting.leaderboard import build_leaderboard
from harbench.reporting.published import load_published
from harbench.reporting.render import render


def test_csv_reads_back(board: Leaderboard) -> None:
    rows = list(csv.DictReader(io.StringIO(render(board, "csv"))))
    shown = [(table, row) for table in board.tables for row in table.rows]
    assert len(rows) == len(shown)
    for found, (table, row) in zip(rows, shown, strict=True):
        assert found["name"] == row.name
        assert found["place"] == ("" if row.place is None else str(row.place))
        assert float(found["value"]) == pytest.approx(row.value, abs=0.005)
        assert (found["split_set"], found["metric"]) == (table.key.split_set, table.key.metric)
        assert (found["views"], found["why_not"], found["kind"]) == (row.protocol.views, row.why_not, row.kind)
    tuples = [tuple(found.items()) for found in rows]
    assert len(set(tuples)) == len(tuples)


def test_names_that_a_spreadsheet_would_run_are_quoted(make_published: Callable[..., PublishedResult]) -> None:
    board = build_leaderboard([], [make_published("=HYPERLINK(0)", backbone="=HYPERLINK(0)")])
    (row,) = csv.DictReader(io.StringIO(render(board, "csv")))
    assert (row["name"], csv_text(row["name"])) == ("'=HYPERLINK(0)", "=HYPERLINK(0)")


def test_markdown_rows_have_the_columns_of_their_header(board: Leaderboard) -> None:
    text = render(board, "md")
    tables = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    assert len(tables) == len(board.tables)
    for found, table in zip(tables, board.tables, strict=True):
        lines = found.strip().split("\n")
        assert len(lines) == len(table.rows) + 2
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert re.search(r"\| \*\*mc3\\_18\*\* <sup>\d</sup> \| 88\.50 ± 0\.71 \|", text)
    assert "<script>" not in text
    assert "a caveat \\| with a pipe" in text


def test_tex_is_escaped_and_closed(board: Leaderboard) -> None:
    text = render(board, "tex")
    assert r"50\% \& \$a\_b \#c \{d\} \textasciitilde{} \textasciicircum{} \textbackslash{}" in text
    assert text.count(r"\begin{") == text.count(r"\end{") == 2 * len(board.tables)
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    for table in re.findall(r"\\begin\{tabular\}.*?\\end\{tabular\}", text, re.DOTALL):
        rows = [line for line in re.split(r" \\\\\n", table) if "&" in line]
        columns = len(re.findall(r"(?<!\\)&", rows[0]))
        assert all(len(re.findall(r"(?<!\\)&", row)) == columns for row in rows)
    assert r"88.50 $\pm$ 0.71" in text


@pytest.mark.parametrize("kind", ["md", "csv", "tex"])
def test_shipped_numbers_and_an_empty_board_render(kind: str) -> None:
    published = [row for name in ("ucf101", "stanford40", "kth") for row in load_published(name)]
    assert len(render(build_leaderboard([], published), kind)) > 10_000
    assert render(Leaderboard((), "2026-01-02T03:04:05+00:00"), kind)


def test_an_unknown_format_is_told(board: Leaderboard) -> None:
    with pytest.raises(HarbenchError, match="there are md, csv, tex"):
        render(board, "pdf")
