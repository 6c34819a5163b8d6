from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from harbench.errors import HarbenchError
from harbench.records import Leaderboard, PublishedResult, RunRecord
from harbench.reporting.leaderboard import build_leaderboard
from harbench.reporting.published import load_published
from harbench.reporting.render import render

HOSTILE = "<script>alert('x')</script> | 50% & $a_b #c {d} ~ ^ \\ \"q\"\nnew line"
VOID = {"meta", "input", "line", "circle", "br"}


@pytest.fixture
def board(make_run: Callable[..., RunRecord], make_published: Callable[..., PublishedResult]) -> Leaderboard:
    runs = [
        *(make_run("mc3_18", seed=seed, top1=88.0 + seed) for seed in range(2)),
        make_run("tiny", top1=12.5, partial="16 of 3783 test samples"),
    ]
    published = [
        make_published("Known", 91.4, notes="a caveat | with a pipe"),
        make_published(HOSTILE, 80.0),
        make_published("Peeked", 93.0, protocol={"selection": "test"}),
        make_published("Unclear", 92.0, key={"split_set": "unknown"}),
    ]
    return build_leaderboard(runs, published)


class Page(HTMLParser):
    """Checks nesting while it collects what the page shows and loads."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.loads: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag == "a" and str(found["href"]).startswith("#"):
            self.targets.append(str(found["href"])[1:])
        self.loads += [str(found[name]) for name in ("src", "srcset", "data", "action", "poster") if name in found]
        self.loads += [str(found["href"])] if tag in ("link", "use", "image", "base") else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open and self.open[-1] == tag, f"</{tag}> closes <{self.open[-1:]}>"
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _page(board: Leaderboard) -> Page:
    page = Page()
    page.feed(render(board, "html"))
    page.close()
    return page


def test_the_page_is_balanced_and_loads_nothing(board: Leaderboard) -> None:
    page = _page(board)
    assert page.open == []
    assert page.loads == []
    style_and_script = re.findall(r"<(?:style|script)>.*?</(?:style|script)>", render(board, "html"), re.DOTALL)
    assert not re.search(r"https?://|@import|url\(|fetch\(", "".join(style_and_script))
    assert len(page.ids) == len(set(page.ids))
    assert set(page.targets) <= set(page.ids), "every footnote and data set link leads somewhere"
    assert page.tags.count("table") == len(board.tables) == page.tags.count("caption")
    assert page.tags.count("script") == 1


def test_the_page_shows_every_row_and_escapes_names(board: Leaderboard) -> None:
    page = _page(board)
    text = " ".join(" ".join(page.text).split())
    assert "<script>alert('x')</script>" in text
    assert "&lt;script&gt;alert(&#39;x&#39;)" in render(board, "html")
    for table in board.tables:
        assert table.title in text
        for row in table.rows:
            assert " ".join(row.name.split()) in text
            assert f"{row.value:.2f}" in text
            assert not row.why_not or f"not ranked: {row.why_not}" in text
        for note in table.footnotes:
            assert note in text
    assert page.tags.count("circle") == sum(len(table.rows) for table in board.tables)


def test_sources_with_an_address_are_links(make_published: Callable[..., PublishedResult]) -> None:
    ids = ("doi:10.1109/CVPR.2019.00807", "arXiv:1711.11248v2", "https://github.com/a/b", "CRCV-TR-12-01")
    board = build_leaderboard([], [make_published(name, 50.0, source_id=name) for name in ids])
    found = set(re.findall(r'<a href="(http[^"]+)"', render(board, "html")))
    assert found == {
        "https://doi.org/10.1109/CVPR.2019.00807",
        "https://arxiv.org/abs/1711.11248v2",
        "https://github.com/a/b",
    }


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


@pytest.mark.parametrize("kind", ["md", "csv", "tex", "html"])
def test_shipped_numbers_and_an_empty_board_render(kind: str) -> None:
    published = [row for name in ("ucf101", "stanford40", "kth") for row in load_published(name)]
    assert len(render(build_leaderboard([], published), kind)) > 10_000
    assert render(Leaderboard((), "2026-01-02T03:04:05+00:00"), kind)


def test_an_unknown_format_is_told(board: Leaderboard) -> None:
    with pytest.raises(HarbenchError, match="there are md, csv, tex, html"):
        render(board, "pdf")
