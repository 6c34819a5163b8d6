"""The page in headless Chromium: clicks, keyboard, phone, dark, print; and that no request leaves it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harbench.records import Leaderboard, Predictions, PublishedResult, RunRecord
from harbench.reporting.details import RunDetail, load_detail
from harbench.reporting.leaderboard import build_leaderboard
from harbench.reporting.page.build import render_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("there is no Chromium: the page was NOT tried in a browser", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: the page was NOT tried in a browser")

expect = sync_api.expect
expect.set_options(timeout=60_000)

PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
RUN = "run/ucf101/mc3_18/split1/seed0"
CONTRAST = """names => {
  const style = getComputedStyle(document.documentElement), probe = document.body.appendChild(document.createElement("i"));
  const light = name => {
    probe.style.color = style.getPropertyValue(name);
    const parts = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map(value => value / 255);
    const [r, g, b] = parts.map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return names.map(([text, page]) => {
    const [low, high] = [light(text), light(page)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  });
}"""
"""Contrast ratio of pairs of the page's colors, as WCAG 2 defines it."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield opened
        opened.close()


@pytest.fixture
def detail(tmp_path: Path, make_run: Callable[..., RunRecord], write_run: Callable[..., Predictions]) -> RunDetail:
    record = make_run("mc3_18", seed=0, top1=88.0)
    write_run(tmp_path / "runs", record)
    return replace(load_detail(tmp_path / "runs", record), pictures={"s1": PIXEL})


class Tab:
    """An open page, and every address that it asked for."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.requests: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def names(self, table: str = "#ucf101-1") -> list[str]:
        """Methods in the order in which they are seen."""
        return self.page.locator(f"{table} tbody tr[data-row]:visible .name").all_inner_texts()

    def head(self, text: str) -> Any:
        return self.page.locator("#ucf101-1 thead button", has_text=text)


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Tab]]:
    contexts = []

    def open_page(text: str, where: str = "", **options: Any) -> Tab:
        path = tmp_path / "page.html"
        path.write_text(text, encoding="utf-8")
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(60_000)
        tab = Tab(context.new_page())
        tab.page.goto(path.as_uri() + where)
        return tab

    yield open_page
    for context in contexts:
        context.close()


def test_no_request_leaves_the_page(board: Leaderboard, detail: RunDetail, opened: Callable[..., Tab]) -> None:
    tab = opened(render_page(board, [detail]))
    tab.page.get_by_role("link", name="mc3_18").first.click()
    tab.page.locator("dialog img").scroll_into_view_if_needed()
    tab.page.wait_for_function("document.querySelector('dialog img').naturalWidth === 1")
    outside = [url for url in tab.requests if not url.startswith(("data:", "file:"))]
    assert (outside, tab.errors) == ([], [])
    assert len([url for url in tab.requests if url.startswith("file:")]) == 1


def test_columns_sort_by_click_and_by_keyboard(board: Leaderboard, opened: Callable[..., Tab]) -> None:
    tab = opened(render_page(board))
    ranked = ["Known, ResNet-18", "mc3_18"]
    assert tab.names()[:2] == ranked
    tab.head("method").click()
    assert tab.head("method").locator("..").get_attribute("aria-sort") == "ascending"
    assert tab.names()[1:3] == ["Known, ResNet-18", "mc3_18"], "what is not a letter stands before letters"
    tab.head("top-1 accuracy").focus()
    tab.page.keyboard.press("Enter")
    assert tab.names()[:2] == ranked
    tab.page.keyboard.press("Space")
    assert tab.head("top-1 accuracy").locator("..").get_attribute("aria-sort") == "ascending"
    assert tab.names()[:3][::-1][:2] == ranked
    assert tab.names()[3:] == ["tiny", "Peeked, ResNet-18"], "what has no place stays below, sorted as well"
    for _ in range(2):
        tab.head("GFLOPs").click()
        assert tab.names()[0] == "mc3_18", "rows without a value stay last"
    assert tab.errors == []


def test_rows_are_filtered(board: Leaderboard, opened: Callable[..., Tab]) -> None:
    tab = opened(render_page(board))
    status, total = tab.page.get_by_role("status"), len([row for table in board.tables for row in table.rows])
    assert status.inner_text() == f"{total} rows"
    tab.page.get_by_role("searchbox").fill("PEEKED resnet")
    assert tab.names() == ["Peeked, ResNet-18"]
    assert status.inner_text() == f"1 of {total} rows"
    assert tab.page.locator(".board:visible").count() == 1
    tab.page.get_by_role("button", name="Reset").press("Enter")
    tab.page.wait_for_function(f"document.querySelector('#count').textContent === '{total} rows'")
    tab.page.get_by_label("Which rows").select_option("run")
    assert tab.names() == ["mc3_18", "tiny"]
    tab.page.get_by_label("Which rows").select_option("ranked")
    assert "tiny" not in tab.names()
    assert tab.page.locator("tr.group:visible").count() == 0
    tab.page.get_by_label("Which rows").select_option("")
    tab.page.locator("summary", has_text="Protocol").press("Enter")
    tab.page.get_by_label("pretraining").select_option("Kinetics-400")
    assert tab.names() == ["mc3_18", "tiny"]
    tab.page.keyboard.press("Escape")
    expect(tab.page.get_by_label("pretraining")).to_be_hidden()
    assert tab.page.locator("summary", has_text="Protocol").inner_text().split() == ["Protocol", "(1)"]
    assert tab.errors == []


def test_a_panel_opens_and_closes_by_keyboard(
    board: Leaderboard, detail: RunDetail, opened: Callable[..., Tab]
) -> None:
    tab = opened(render_page(board, [detail]))
    dialog, link = tab.page.get_by_role("dialog"), tab.page.get_by_role("link", name="mc3_18").first
    link.press("Enter")
    expect(dialog).to_be_visible()
    assert tab.page.url.endswith(f"#{RUN}")
    assert dialog.get_by_role("heading", name="mc3_18").evaluate("each => each === document.activeElement")
    assert detail.command in dialog.inner_text()
    expect(dialog.get_by_role("img", name="Confusion matrix of 3 classes")).to_be_visible()
    expect(dialog.get_by_role("img", name="loss over epochs")).to_be_visible()
    names = dialog.locator(".bars tbody th")
    assert names.all_inner_texts() == ["class 0 <b>", "class 1 <b>", "class 2 <b>"]
    dialog.get_by_role("button", name="recall").press("Enter")
    assert names.all_inner_texts() == ["class 1 <b>", "class 2 <b>", "class 0 <b>"]
    missing = dialog.locator(".siblings a").nth(1)
    assert missing.get_attribute("href") is None, "seed 1 is not in the page"
    tab.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    tab.page.wait_for_function("location.hash === ''")
    assert link.evaluate("each => each === document.activeElement")
    tab.page.locator("#ucf101-1 tr.run td").nth(4).click()
    expect(dialog, "the whole row opens it for a pointer").to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()
    assert tab.errors == []


def test_a_panel_has_an_address(board: Leaderboard, detail: RunDetail, opened: Callable[..., Tab]) -> None:
    tab = opened(render_page(board, [detail]), f"#{RUN}")
    expect(tab.page.get_by_role("dialog")).to_be_visible()
    other = opened(render_page(board, [detail]), "#run/nothing/here")
    expect(other.page.get_by_role("dialog")).to_be_hidden()


def test_a_long_table_shows_all_when_asked(
    make_published: Callable[..., PublishedResult], opened: Callable[..., Tab]
) -> None:
    rows = [make_published(f"Method {index}", 50 + index / 10, params_m=1.0 + index) for index in range(130)]
    tab = opened(render_page(build_leaderboard([], rows)))
    assert len(tab.names()) == 100
    tab.head("top-1 accuracy").click()
    tab.head("top-1 accuracy").click()
    assert tab.names()[0] == "Method 0, ResNet-18", "the hidden rows are sorted too"
    tab.page.get_by_role("button", name="Show all 130 rows").press("Enter")
    assert len(tab.names()) == 130
    tab.page.locator("[data-point='129']").dispatch_event("click")
    assert tab.page.locator("tr.marked .name").inner_text() == "Method 0, ResNet-18"


def test_without_scripts_every_row_can_be_read(
    make_published: Callable[..., PublishedResult], opened: Callable[..., Tab]
) -> None:
    rows = [make_published(f"Method {index}", 50 + index / 10) for index in range(110)]
    tab = opened(render_page(build_leaderboard([], rows)), java_script_enabled=False)
    assert len(tab.names()) == 110
    expect(tab.page.get_by_text("Without JavaScript the tables can be read")).to_be_visible()
    expect(tab.page.get_by_role("searchbox")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_down_only(
    board: Leaderboard, detail: RunDetail, opened: Callable[..., Tab], scheme: str
) -> None:
    tab = opened(render_page(board, [detail]), viewport={"width": 390, "height": 844}, color_scheme=scheme)
    width = "document.scrollingElement.scrollWidth"
    assert tab.page.evaluate(width) == 390
    assert tab.page.locator("#ucf101-1 .value:visible").first.bounding_box()["x"] < 300, "the number is seen at once"
    tab.page.get_by_role("link", name="mc3_18").first.click()
    assert tab.page.evaluate("document.querySelector('dialog').scrollWidth") <= 390
    dark = tab.page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    pairs = [(text, page) for text in ("--ink", "--soft", "--own", "--miss") for page in ("--page", "--raised")]
    pairs += [("--ink", "--own-page"), ("--soft", "--own-page"), ("--own", "--own-page")]
    found = tab.page.evaluate(CONTRAST, pairs)
    assert all(ratio >= 4.5 for ratio in found), list(zip(pairs, found, strict=True))


def test_print_has_every_row_and_no_controls(
    make_published: Callable[..., PublishedResult], opened: Callable[..., Tab]
) -> None:
    rows = [make_published(f"Method {index}", 50 + index / 10) for index in range(110)]
    tab = opened(render_page(build_leaderboard([], rows)))
    tab.page.emulate_media(media="print")
    assert len(tab.names()) == 110
    expect(tab.page.get_by_role("searchbox")).to_be_hidden()
    box = tab.page.locator(".scroll").evaluate("each => [each.scrollHeight, each.clientHeight]")
    assert box[0] == box[1], "nothing is cut off"


def test_everything_that_can_be_used_has_a_name(
    board: Leaderboard, detail: RunDetail, opened: Callable[..., Tab]
) -> None:
    tab = opened(render_page(board, [detail]), f"#{RUN}")
    tab.page.evaluate("document.querySelector('dialog').close(); document.querySelector('dialog').show()")
    snapshot = tab.page.locator("body").aria_snapshot()
    unnamed = [
        line for line in snapshot.splitlines() if line.strip(" -:") in ("button", "link", "img", "textbox", "combobox")
    ]
    assert unnamed == []
    assert tab.page.locator("table").count() == tab.page.locator("table:has(caption), #panel-body table").count()
