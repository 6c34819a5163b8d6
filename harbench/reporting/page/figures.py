"""Figures of a page as places in a drawing: number against cost, training curves. The templates draw them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harbench.records import Row, Table
from harbench.reporting.details import RunDetail
from harbench.reporting.page.axes import Axis, Tick, linear, logarithmic
from harbench.runs.comparability import METRICS

WIDTH, HEIGHT = 420, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 36, 10, 12, 38
_MOST = 200
"""Points of a figure at most, the best ones; more cannot be told apart."""
_FEWEST = 3
"""Points that make a figure."""
_CHARACTER, _LINE = 6.0, 12
"""Width and height of a letter of a label, for keeping labels apart."""


@dataclass(frozen=True)
class Cost:
    """What a number is drawn against."""

    name: str
    axis: str
    of: Callable[[Row], float | None]


def costs(table: Table) -> list[Cost]:
    """Parameters, multiply-adds, and time on the device on which most of the table's rows were timed."""
    devices = Counter(row.latency_on for row in table.rows if row.latency_ms)
    device = devices.most_common(1)[0][0] if devices else ""
    return [
        Cost("parameters", "parameters, millions", lambda row: row.params_m),
        Cost("GFLOPs", "GFLOPs of one view, multiply-adds", lambda row: row.gflops),
        Cost(
            "latency",
            f"milliseconds a view, {device}",
            lambda row: row.latency_ms if row.latency_on == device else None,
        ),
    ]


@dataclass(frozen=True, slots=True)
class Point:
    """One row of a table in a figure."""

    x: float
    y: float
    row: Row
    index: int
    """Position of the row in its table."""


@dataclass(frozen=True, slots=True)
class Label:
    """A name beside a point."""

    x: float
    y: float
    anchor: str
    text: str


@dataclass(frozen=True)
class Scatter:
    """A table's number against what it costs."""

    cost: str
    x_title: str
    y_title: str
    points: tuple[Point, ...]
    """Published rows first, so that own ones lie on top."""
    labels: tuple[Label, ...]
    frontier: str
    """Path of the best ranked number for its cost or less."""
    bounds: tuple[tuple[float, str], ...]
    """Height and name of the upper bounds, drawn as dashed lines."""
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    left_out: int
    """Rows that have the cost but are not drawn."""
    unknown: int
    """Rows whose cost nobody says."""


def scatters(table: Table) -> list[Scatter]:
    """A figure for every cost that at least three rows of the table have."""
    return [figure for cost in costs(table) if (figure := _scatter(table, cost)) is not None]


def _scatter(table: Table, cost: Cost) -> Scatter | None:
    rows = [(index, row) for index, row in enumerate(table.rows) if row.kind != "bound"]
    known = [(index, row, value) for index, row in rows if (value := cost.of(row))]
    bounds = [row for row in table.rows if row.kind == "bound"]
    if len(known) < _FEWEST:
        return None
    drawn = sorted(known, key=lambda each: -each[1].value)[:_MOST]
    drawn.sort(key=lambda each: (each[1].kind == "run", each[0]))
    x = logarithmic([value for _, _, value in drawn], _LEFT + 4, WIDTH - _RIGHT)
    y = linear(
        [row.value for row in (*(row for _, row, _ in drawn), *bounds)], HEIGHT - _BOTTOM, _TOP, within=(0.0, 100.0)
    )
    points = tuple(Point(x.at(value), y.at(row.value), row, index) for index, row, value in drawn)
    best = _frontier(points)
    return Scatter(
        cost=cost.name,
        x_title=cost.axis,
        y_title=METRICS.get(table.key.metric, table.key.metric),
        points=points,
        labels=_labels([*best, *(point for point in points if point.row.kind == "run")], points),
        frontier=_steps(best),
        bounds=tuple((y.at(row.value), row.name) for row in bounds),
        x_ticks=x.ticks(),
        y_ticks=y.ticks(),
        left_out=len(known) - len(drawn),
        unknown=len(rows) - len(known),
    )


def _frontier(points: Iterable[Point]) -> list[Point]:
    """The ranked points that no cheaper one beats, the cheapest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda each: (each.x, each.y)):
        if point.row.place is not None and (not best or point.y < best[-1].y):
            best.append(point)
    return best


def _steps(best: Sequence[Point]) -> str:
    if not best:
        return ""
    path = f"M{best[0].x:g} {best[0].y:g}" + "".join(f"H{each.x:g}V{each.y:g}" for each in best[1:])
    return f"{path}H{WIDTH - _RIGHT}"


def _labels(wanted: Iterable[Point], points: Sequence[Point]) -> tuple[Label, ...]:
    """Names of points, in order, as long as they cover neither a point nor another name."""
    labels: list[Label] = []
    taken = [(point.x - 3, point.y - 3, point.x + 3, point.y + 3) for point in points]
    for point in wanted:
        text = point.row.name if len(point.row.name) <= 26 else f"{point.row.name[:25]}…"
        width = _CHARACTER * len(text)
        for x, anchor, left in ((point.x + 6, "start", point.x + 6), (point.x - 6, "end", point.x - 6 - width)):
            box = (left, point.y - _LINE / 2, left + width, point.y + _LINE / 2)
            inside = box[0] > _LEFT and box[2] < WIDTH and box[1] > 0
            if inside and all(label.text != text for label in labels) and not any(_overlap(box, it) for it in taken):
                labels.append(Label(round(x, 1), round(point.y + 3.5, 1), anchor, text))
                taken.append(box)
                break
    return tuple(labels)


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


# ------------------------------------------------------------------------------------------------------------- curves
@dataclass(frozen=True)
class Curves:
    """Training and validation of one quantity over epochs."""

    title: str
    lines: tuple[tuple[str, str, float], ...]
    """(train or val, path, last value)"""
    x_ticks: list[Tick]
    y_ticks: list[Tick]


def curves(detail: RunDetail) -> list[Curves]:
    """Loss and top-1 over epochs, where train.csv has them."""
    drawn = (_curves(detail, what, title) for what, title in (("loss", "loss"), ("top1", "top-1 accuracy, percent")))
    return [figure for figure in drawn if figure is not None]


def _curves(detail: RunDetail, what: str, title: str) -> Curves | None:
    series = {name: _series(detail, f"{name}_{what}") for name in ("train", "val")}
    series = {name: values for name, values in series.items() if values}
    if not series:
        return None
    every = [each for values in series.values() for each in values]
    last = max(epoch for epoch, _ in every)
    x = Axis(0.0, max(last, 1.0), _LEFT, WIDTH - _RIGHT)
    y = linear([value for _, value in every], HEIGHT - _BOTTOM, _TOP, within=(0.0, 100.0) if what == "top1" else None)
    return Curves(
        title=title,
        lines=tuple((name, _path(values, x, y), values[-1][1]) for name, values in series.items()),
        x_ticks=[tick for tick in x.ticks() if "." not in tick.text],
        y_ticks=y.ticks(),
    )


def _series(detail: RunDetail, column: str) -> list[tuple[float, float]]:
    lines = ((line.get("epoch"), line.get(column)) for line in detail.curve)
    return [(epoch, value) for epoch, value in lines if epoch is not None and value is not None]


def _path(values: Sequence[tuple[float, float]], x: Axis, y: Axis) -> str:
    """A line through the values; of a single one, a dot (round line ends)."""
    places = [f"{x.at(epoch):g} {y.at(value):g}" for epoch, value in values]
    return f"M{'L'.join(places if len(places) > 1 else places * 2)}"
