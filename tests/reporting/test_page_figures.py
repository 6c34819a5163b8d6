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
from harbench.reporting.page.axes import Axis, linear, logarithmic
from harbench.reporting.page.figures import HEIGHT, WIDTH, costs, curves, scatters
from harbench.reporting.page.matrix import matrix

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


# --------------------------------------------------------------------------------------------------------------- axes
@given(st.lists(st.floats(0, 100), min_size=1, max_size=20))
def test_a_linear_axis_holds_its_values(values: list[float]) -> None:
    axis = linear(values, 200.0, 10.0, within=(0.0, 100.0))
    places = [axis.at(value) for value in sorted(values)]
    assert places == sorted(places, reverse=True)
    assert all(10 <= place <= 200 for place in places)
    assert axis.at(axis.low - 1) == 200 and axis.at(axis.high + 1) == 10
    assert len(axis.ticks()) <= 7


@given(st.lists(st.floats(1e-3, 1e4), min_size=1, max_size=20))
def test_a_logarithmic_axis_holds_its_values(values: list[float]) -> None:
    axis = logarithmic(values, 40.0, 400.0)
    places = [axis.at(value) for value in sorted(values)]
    assert places == sorted(places)
    assert all(40 <= place <= 400 for place in places)
    ticks = axis.ticks()
    assert len({tick.text for tick in ticks}) == len(ticks) <= 12


def test_ticks_are_round() -> None:
    assert [tick.text for tick in Axis(71.3, 96.1, 0, 100).ticks()] == ["75", "80", "85", "90", "95"]
    assert [tick.text for tick in Axis(0.9, 1.31, 0, 100).ticks()] == ["0.9", "1", "1.1", "1.2", "1.3"]
    assert [tick.text for tick in Axis(0.5, 120, 0, 100, log=True).ticks()] == ["1", "3", "10", "30", "100"]
    assert [tick.text for tick in Axis(11, 12, 0, 100, log=True).ticks()] == [
        "11",
        "11.2",
        "11.4",
        "11.6",
        "11.8",
        "12",
    ]
    axis = Axis(1, 100, 0, 100, log=True)
    assert axis.at(10) == 50


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
    assert {label.text.split(",")[0] for label in figure.labels} == {"small", "large"}


def test_labels_cover_neither_points_nor_each_other(make_run: Run) -> None:
    runs = [
        replace(make_run(f"recipe{index}", top1=80 + index / 10), params_m=10.0 + index / 10) for index in range(30)
    ]
    for figure in scatters(table_of(runs, [])):
        boxes = [(label.x - (60 if label.anchor == "end" else 0), label.y) for label in figure.labels]
        assert 0 < len(boxes) < 30
        assert all(abs(a[0] - b[0]) > 20 or abs(a[1] - b[1]) > 8 for a in boxes for b in boxes if a is not b)
        assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in boxes)


def test_only_the_best_of_very_many_are_drawn(make_published: Published) -> None:
    rows = [make_published(f"M{index}", index / 5, params_m=1.0 + index) for index in range(250)]
    (figure,) = scatters(table_of([], rows))
    assert (len(figure.points), figure.left_out) == (200, 50)
    assert min(point.row.value for point in figure.points) == 10.0


def test_times_of_different_devices_are_not_drawn_together(make_run: Run) -> None:
    timed = [replace(make_run(f"r{index}"), latency_ms=10.0 + index, latency_on="H100") for index in range(3)]
    other = replace(make_run("slow"), latency_ms=900.0, latency_on="CPU, 2 threads")
    table = table_of([*timed, other], [])
    assert [cost.axis for cost in costs(table)][2] == "milliseconds a view, H100"
    figure = scatters(table)[2]
    assert (figure.cost, len(figure.points), figure.unknown) == ("latency", 3, 1)


# ------------------------------------------------------------------------------------------------- curves, confusions
def test_curves_follow_train_csv(detail: RunDetail) -> None:
    loss, top1 = curves(detail)
    assert [(name, last) for name, _, last in loss.lines] == [("train", pytest.approx(2 / 3))]
    assert [(name, last) for name, _, last in top1.lines] == [("train", 90.0)]
    heights = [float(place.split()[1]) for place in re.split("[ML]", top1.lines[0][1]) if place]
    assert heights == sorted(heights, reverse=True) and len(heights) == 3, "rising accuracy goes up"
    assert [tick.text for tick in top1.x_ticks] == ["0", "1", "2", "3"]
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
    assert [(each.truth, each.predicted, each.count, each.share) for each in shown.worst] == [
        ("class 0 <b>", "class 1 <b>", 3, 3.0),
        ("class 1 <b>", "class 0 <b>", 1, 50.0),
    ]
    assert matrix(replace(detail, confusion={})) is None


def test_many_classes_are_drawn_without_names(detail: RunDetail) -> None:
    many = replace(detail, classes=detail.classes * 10, confusion={(29, 28): 5})
    shown = matrix(many)
    assert shown is not None
    assert (shown.size, shown.names, shown.counts) == (30, (), ())
