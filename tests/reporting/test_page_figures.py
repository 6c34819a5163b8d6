"""Axes, figures and confusion matrices of the page, as places in a drawing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harbench.records import Predictions, PublishedResult, RunRecord, Table
from harbench.reporting.details import RunDetail, load_detail
from harbench.reporting.leaderboard import build_leaderboard
from harbench.reporting.page.figures import WIDTH, Axis, curves, linear, logarithmic, matrix, scatters

Run = Callable[..., RunRecord]
Published = Callable[..., PublishedResult]


@pytest.fixture
def detail(tmp_path: Path, make_run: Run, write_run: Callable[..., Predictions]) -> RunDetail:
    record = make_run()
    write_run(tmp_path, record)
    return load_detail(tmp_path, record)


def table_of(runs: list[RunRecord], published: list[PublishedResult]) -> Table:
    (table,) = build_leaderboard(runs, published).tables
    return table


@pytest.mark.parametrize("axis_of", [linear, logarithmic])
@given(values=st.lists(st.floats(1e-3, 100), min_size=1, max_size=20))
def test_an_axis_holds_its_values_and_has_distinct_ticks(axis_of: Callable[..., Axis], values: list[float]) -> None:
    axis = axis_of(values, 40.0, 400.0)
    places = [axis.at(value) for value in sorted(values)]
    assert places == sorted(places) and all(40 <= place <= 400 for place in places)
    assert axis.at(axis.low / 2) == 40 and axis.at(2 * axis.high) == 400, "beyond an end lies at the end"
    texts = [text for _, text in axis.ticks()]
    assert len(set(texts)) == len(texts) <= 12


# ------------------------------------------------------------------------------------------------------------ figures
def test_a_figure_needs_three_rows_that_say_their_cost(make_run: Run, make_published: Published) -> None:
    two = [make_published("A", 80.0), make_published("B", 81.0), make_published("C", 82.0, params_m=None)]
    assert scatters(table_of([], two)) == []
    (figure,) = scatters(table_of([make_run("mine", top1=79.0)], two))
    assert (figure.cost, len(figure.points), figure.unknown, figure.left_out) == ("parameters", 3, 1, 0)
    assert figure.points[-1].row.kind == "run", "own runs lie on top"
    assert [point.index for point in figure.points] == [1, 2, 3]


def test_the_frontier_goes_through_what_no_cheaper_row_beats(make_published: Published) -> None:
    sizes = {"small": (10.0, 70.0), "worse": (20.0, 60.0), "large": (40.0, 90.0), "peeked": (5.0, 99.0)}
    rows = [make_published(name, value, params_m=size) for name, (size, value) in sizes.items()]
    rows[-1] = replace(rows[-1], protocol=replace(rows[-1].protocol, selection="test"))
    (figure,) = scatters(table_of([], rows))
    places = {point.row.name.split(",")[0]: (point.x, point.y) for point in figure.points}
    (small, large) = places["small"], places["large"]
    expected = f"M{small[0]:g} {small[1]:g}H{large[0]:g}V{large[1]:g}H{WIDTH - 10}"
    assert figure.frontier == expected, "a number that was selected on test is on no frontier"
    assert {name.split(",")[0] for _, _, _, name in figure.labels} == {"small", "large"}


def test_only_the_best_of_very_many_are_drawn(make_published: Published) -> None:
    rows = [make_published(f"M{index}", index / 5, params_m=1.0 + index) for index in range(250)]
    (figure,) = scatters(table_of([], rows))
    assert (len(figure.points), figure.left_out) == (200, 50)
    assert min(point.row.value for point in figure.points) == 10.0


def test_the_best_number_so_far_over_the_years(make_run: Run, make_published: Published) -> None:
    rows = [make_published(f"M{year}", value, year=year, params_m=None) for year, value in ((2014, 70.0), (2018, 60.0))]
    assert scatters(table_of([make_run("mine", top1=65.0)], rows[:1])) == [], "two years are no development"
    (figure,) = scatters(table_of([make_run("mine", top1=75.0)], rows))
    assert (figure.cost, [text for _, text in figure.x_ticks]) == (
        "year",
        ["2015", "2020", "2025"],
    )
    assert {point.row.name.partition(",")[0]: point.index for point in figure.points} == {
        "mine": 0,
        "M2014": 1,
        "M2018": 2,
    }
    assert figure.frontier.count("H") == 2, "2018 was no better than 2014"


def test_times_of_different_devices_are_not_drawn_together(make_run: Run) -> None:
    timed = [replace(make_run(f"r{index}"), latency_ms=10.0 + index, latency_on="H100") for index in range(3)]
    other = replace(make_run("slow"), latency_ms=900.0, latency_on="CPU, 2 threads")
    table = table_of([*timed, other], [])
    figure = scatters(table)[2]
    assert (figure.x_title, len(figure.points), figure.unknown) == ("milliseconds a view, H100", 3, 1)


# ------------------------------------------------------------------------------------------------- curves, confusions
def test_curves_follow_train_csv(detail: RunDetail) -> None:
    loss, top1 = curves(detail)
    assert [(name, last) for name, _, last in loss.lines] == [("train", pytest.approx(2 / 3))]
    assert [(name, last) for name, _, last in top1.lines] == [("train", 90.0)]
    heights = [float(place.split()[1]) for place in re.split("[ML]", top1.lines[0][1]) if place]
    assert heights == sorted(heights, reverse=True) and len(heights) == 3, "rising accuracy goes up"
    assert [text for _, text in top1.x_ticks] == ["0", "1", "2", "3"]
    once = replace(detail, curve=detail.curve[:1])
    assert len(re.findall("[ML]", curves(once)[0].lines[0][1])) == 2, "a single epoch is a dot"
    assert curves(replace(detail, curve=())) == []


def test_a_confusion_matrix_shows_shares_of_the_true_class(detail: RunDetail) -> None:
    shown = matrix(replace(detail, confusion={(0, 0): 97, (0, 1): 3, (1, 1): 1, (1, 0): 1}))
    assert shown is not None
    assert shown.size == 3 and shown.names == ("class 0 <b>", "class 1 <b>", "class 2 <b>")
    assert shown.shades == {
        "hit-4": "M0 0h1v1h-1z",
        "miss-0": "M1 0h1v1h-1z",
        "miss-3": "M0 1h1v1h-1z",
        "hit-3": "M1 1h1v1h-1z",
    }
    assert shown.worst == (("class 0 <b>", "class 1 <b>", 3, 3.0), ("class 1 <b>", "class 0 <b>", 1, 50.0))
    assert matrix(replace(detail, confusion={})) is None


def test_many_classes_are_drawn_without_names(detail: RunDetail) -> None:
    many = replace(detail, classes=detail.classes * 10, confusion={(29, 28): 5})
    shown = matrix(many)
    assert shown is not None
    assert (shown.size, shown.names, shown.counts) == (30, (), ())
