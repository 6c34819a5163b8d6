"""The page as text: whole, escaped, loading nothing, and small."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harbench.records import Leaderboard, Predictions, PublishedResult, RunRecord
from harbench.reporting.details import RunDetail, load_detail
from harbench.reporting.leaderboard import build_leaderboard
from harbench.reporting.page import build
from harbench.reporting.page.build import render_page
from harbench.reporting.published import load_published
from harbench.reporting.verdicts import Target, Verdict

VOID = {"meta", "input", "img", "br"}


class Page(HTMLParser):
    """Checks nesting while it collects what the page shows and loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

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

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open and self.open[-1] == tag, f"</{tag}> closes <{self.open[-1:]}>"
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def detail(tmp_path: Path, make_run: Callable[..., RunRecord], write_run: Callable[..., Predictions]) -> RunDetail:
    record = make_run("mc3_18", seed=0, top1=88.0)
    write_run(tmp_path, record)
    return load_detail(tmp_path, record)


def words(text: str) -> str:
    return " ".join(text.split())


def test_the_page_is_balanced_and_loads_nothing(board: Leaderboard, detail: RunDetail) -> None:
    text = render_page(board, [replace(detail, pictures={"s1": "data:image/jpeg;base64,AAAA"})])
    page = Page(text)
    assert page.open == []
    assert page.loads == ["data:image/jpeg;base64,AAAA"]
    style_and_script = re.findall(r"<(?:style|script)>.*?</(?:style|script)>", text, re.DOTALL)
    assert len(style_and_script) == 2
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest|import\(", "".join(style_and_script))
    assert len(page.ids) == len(set(page.ids))
    elsewhere = {target for target in page.targets if target not in page.ids}
    assert elsewhere == {"run/ucf101/mc3_18/split1/seed1"}, "only a sibling that is not in the page leads nowhere"


def test_the_page_shows_every_row_and_escapes_names(board: Leaderboard) -> None:
    text = render_page(board)
    page = Page(text)
    shown = words(page.text)
    assert "<script>alert('x')</script>" in shown
    assert "&lt;script&gt;alert(&#39;x&#39;)" in text
    assert page.tags.count("table") == len(board.tables) == page.tags.count("caption")
    for table in board.tables:
        assert table.title in shown
        for row in table.rows:
            assert words(row.name) in shown
            assert f"{row.value:.2f}" in shown
            assert not row.why_not or f"not ranked: {row.why_not}" in shown
        for note in table.footnotes:
            assert note in shown
    assert text.count('<tr class="run') == 2
    assert text.count('<tr class="published') == 4


def test_what_was_reproduced_here_is_said_first(board: Leaderboard, make_run: Callable[..., RunRecord]) -> None:
    own = make_run("mc3_18", seed=0, top1=88.0)
    target = Target(88.2, 1.0, "a paper", own.key, own.protocol)
    found = Verdict("mc3_18", own.folder, target, "REPRODUCED", 88.0, 1, None, None, (), ())
    page = Page(render_page(board, (), [found]))
    assert "reproduced here 88.00 mc3_18, published 88.20" in words(page.text)


def test_a_panel_has_record_recipe_command_and_figures(board: Leaderboard, detail: RunDetail) -> None:
    text = render_page(board, [detail])
    page = Page(text)
    shown = words(page.text)
    assert page.targets.count("run/ucf101/mc3_18/split1/seed0") == 3, "from the card, the row, and among its siblings"
    assert "run/ucf101/mc3_18/split1/seed0" in page.ids
    assert detail.command in shown
    assert words(detail.recipe) in shown
    assert words(build.record_text(detail.record)) in shown
    assert page.tags.count("figure") == 1 + 1 + 2, "one cost, a confusion matrix, two curves"
    assert "class 0 <b>class 1 <b>4100 %" in page.text, "all four samples of class 0 were taken for class 1"
    assert "Panels of 1 of 3 runs are in this page, the best placed first: harbench report --details N" in shown


def test_panels_stop_where_the_page_would_grow_too_large(
    monkeypatch: pytest.MonkeyPatch, board: Leaderboard, detail: RunDetail
) -> None:
    other = replace(detail, record=replace(detail.record, folder="ucf101/mc3_18/split1/seed1", seed=1))
    assert render_page(board, [detail, other]).count("<template") == 2
    monkeypatch.setattr(build, "MAX_PAGE", 20_000)
    text = render_page(board, [detail, other])
    assert text.count("<template") == 1
    assert "Panels of 1 of 3 runs are in this page, the best placed first: as many as fit" in text


def test_a_table_says_why_it_is_apart(make_published: Callable[..., PublishedResult]) -> None:
    rows = [make_published(name, 80.0 + len(name)) for name in ("One", "Other")]
    apart = make_published("Boxes", 95.0, key={"metric": "mAP", "given": "boxes", "label_set": "14 of 21 classes"})
    shown = words(Page(render_page(build_leaderboard([], [*rows, apart]))).text)
    told = "Not ranked with the first table: mAP with boxes given against top-1 accuracy; 14 of 21 classes against"
    assert told in shown


def test_the_best_of_each_kind_stands_above_the_tables(make_published: Callable[..., PublishedResult]) -> None:
    def row(method: str, value: float, **key: str) -> PublishedResult:
        return make_published(method, value, key=key)

    rows = [
        row("A", 90.0),
        row("B", 80.0),
        row("C", 70.0, kind="zero-shot"),
        row("D", 75.0, split_set="split2", kind="zero-shot"),
    ]
    page = render_page(build_leaderboard([], rows))
    assert re.findall(r"best ([\w-]+), ([\w ]+)</small> <b>([\d.]+)</b>", page) == [
        ("supervised", "split 1", "90.00"), ("zero-shot", "split 1", "70.00"),
    ], "rows of two splits are not held against each other"  # fmt: skip
    assert 'class="best"' not in render_page(build_leaderboard([], rows[:2]))


def test_sources_with_an_address_are_links(make_published: Callable[..., PublishedResult]) -> None:
    ids = ("doi:10.1109/CVPR.2019.00807", "arXiv:1711.11248v2", "https://github.com/a/b", "CRCV-TR-12-01")
    board = build_leaderboard([], [make_published(name, 50.0, source_id=name) for name in ids])
    found = set(re.findall(r'<a href="(http[^"]+)"', render_page(board)))
    assert found == {
        "https://doi.org/10.1109/CVPR.2019.00807",
        "https://arxiv.org/abs/1711.11248v2",
        "https://github.com/a/b",
    }


def test_shipped_numbers_and_an_empty_board_render() -> None:
    published = [row for name in ("ucf101", "stanford40", "kth") for row in load_published(name)]
    page = Page(render_page(build_leaderboard([], published)))
    assert page.open == []
    assert page.tags.count("figure") > 1
    assert set(page.targets) <= set(page.ids)
    assert Page(render_page(Leaderboard((), "2026-01-02T03:04:05+00:00"))).open == []
