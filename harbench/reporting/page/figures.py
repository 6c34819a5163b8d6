"""Figures of a page as places in a drawing: number against cost and year, curves, confusions. The templates draw them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from harbench.records import Row, Table
from harbench.reporting.details import RunDetail
from harbench.runs.comparability import METRICS

WIDTH, HEIGHT = 420, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 36, 10, 12, 38
_MOST = 200
"""Points of a figure at most, the best ones; more cannot be distinguished."""
_FEWEST = 3
"""Points that make a figure."""
_LEVELS = (0.05, 0.2, 0.4, 0.7)
"""Shares of a class at which the shade of a confusion deepens."""
_NUMBERED = 20
"""Classes up to which a confusion matrix has counts and names."""
_WORST = 10
"""Pairs of classes that are listed as most confused."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Values `low` to `high` lie at `start` to `end` of the drawing; beyond them at the nearer end."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Place of a value in the drawing, to a tenth of a unit."""
        low, high, value = (math.log(each) if self.log else each for each in (self.low, self.high, value))
        share = (min(max(value, low), high) - low) / (high - low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, count: int = 5) -> list[tuple[float, str]]:
        """(place, text) at about `count` round values: multiples of 1, 2 or 5 times a power of ten."""
        if self.log and self.high > 3 * self.low:
            powers = [
                10.0**power for power in range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)))
            ]
            leading = (1,) if len(powers) > count else (1, 3) if len(powers) > 1 else (1, 2, 5)
            values = [round(each * power, 10) for power in powers for each in leading]
        else:
            rough = (self.high - self.low) / count
            power = 10.0 ** math.floor(math.log10(rough))
            step = next((each * power for each in (1, 2, 5) if each * power >= rough), 10 * power)
            values = [round(step * index, 10) for index in range(math.ceil(self.low / step), int(self.high / step) + 1)]
        return [(self.at(value), f"{value:g}") for value in values if self.low <= value <= self.high]


def linear(values: Sequence[float], start: float, end: float, *, percent: bool = True) -> Axis:
    """A linear axis a little wider than `values`; with `percent` inside 0 to 100."""
    low, high = min(values), max(values)
    margin = max(0.06 * (high - low), 0.01 * abs(high), 1e-6)
    low, high = low - margin, high + margin
    return Axis(max(low, 0.0), min(high, 100.0), start, end) if percent else Axis(low, high, start, end)


def logarithmic(values: Sequence[float], start: float, end: float) -> Axis:
    """A logarithmic axis a little wider than `values`, which are positive."""
    margin = max((max(values) / min(values)) ** 0.06, 1.15)
    return Axis(min(values) / margin, max(values) * margin, start, end, log=True)


# --------------------------------------------------------------------------------------------- number against cost
@dataclass(frozen=True, slots=True)
class Point:
    """One row of a table in a figure."""

    x: float
    y: float
    row: Row
    index: int
    """Position of the row in its table."""


@dataclass(frozen=True)
class Scatter:
    """A table's number against what it costs."""

    cost: str
    x_title: str
    y_title: str
    points: tuple[Point, ...]
    """Published rows first, so that own ones lie on top."""
    labels: tuple[tuple[float, float, str, str], ...]
    """(x, y, anchor, name) beside points, where they cover nothing."""
    frontier: str
    """Path of the best ranked number for its cost or less, or of its year or before."""
    bounds: tuple[tuple[float, str], ...]
    """Height and name of the upper bounds, drawn as dashed lines."""
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    left_out: int
    """Rows that have the cost but are not drawn."""
    unknown: int
    """Rows whose cost nobody states."""


def scatters(table: Table) -> list[Scatter]:
    """A figure for every cost that at least three rows of the table have: parameters, multiply-adds, and time on the device
    on which most of the rows were timed; and for the year where they are of three years at least."""
    devices = Counter(row.latency_on for row in table.rows if row.latency_ms)
    device = devices.most_common(1)[0][0] if devices else ""
    costs: dict[tuple[str, str], Callable[[Row], float | None]] = {
        ("parameters", "parameters, millions"): lambda row: row.params_m,
        ("GFLOPs", "GFLOPs of one view, multiply-adds"): lambda row: row.gflops,
        ("latency", f"milliseconds a view, {device}"): lambda row: row.latency_ms if row.latency_on == device else None,
        ("year", "year of publication, or of the run"): lambda row: row.year,
    }
    drawn = (_scatter(table, name, title, cost) for (name, title), cost in costs.items())
    return [figure for figure in drawn if figure is not None]


def _scatter(table: Table, name: str, title: str, cost: Callable[[Row], float | None]) -> Scatter | None:
    rows = [(index, row) for index, row in enumerate(table.rows) if row.kind != "bound"]
    known = [(index, row, value) for index, row in rows if (value := cost(row))]
    bounds = [row for row in table.rows if row.kind == "bound"]
    if len(known) < _FEWEST or (name == "year" and len({value for _, _, value in known}) < _FEWEST):
        return None
    drawn = sorted(known, key=lambda each: -each[1].value)[:_MOST]
    drawn.sort(key=lambda each: (each[1].kind == "run", each[0]))
    costs = [value for _, _, value in drawn]
    ends = _LEFT + 4, WIDTH - _RIGHT
    x = Axis(min(costs) - 0.5, max(costs) + 0.5, *ends) if name == "year" else logarithmic(costs, *ends)
    y = linear([row.value for row in (*(row for _, row, _ in drawn), *bounds)], HEIGHT - _BOTTOM, _TOP)
    points = tuple(Point(x.at(value), y.at(row.value), row, index) for index, row, value in drawn)
    best = _frontier(points)
    steps = "".join(f"H{each.x:g}V{each.y:g}" for each in best[1:])
    return Scatter(
        cost=name,
        x_title=title,
        y_title=METRICS.get(table.key.metric, table.key.metric),
        points=points,
        labels=_labels([*best, *(point for point in points if point.row.kind == "run")], points),
        frontier=f"M{best[0].x:g} {best[0].y:g}{steps}H{WIDTH - _RIGHT}" if best else "",
        bounds=tuple((y.at(row.value), row.name) for row in bounds),
        x_ticks=[tick for tick in x.ticks() if name != "year" or "." not in tick[1]],
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


def _labels(wanted: Iterable[Point], points: Sequence[Point]) -> tuple[tuple[float, float, str, str], ...]:
    """Names of points, in order, as long as they cover neither a point nor another name."""
    labels: dict[str, tuple[float, float, str, str]] = {}
    taken = [(point.x - 3, point.y - 3, point.x + 3, point.y + 3) for point in points]
    for point in wanted:
        text = point.row.name if len(point.row.name) <= 26 else f"{point.row.name[:25]}…"
        width = 6.0 * len(text)
        for x, anchor, left in ((point.x + 6, "start", point.x + 6), (point.x - 6, "end", point.x - 6 - width)):
            box = (left, point.y - 6, left + width, point.y + 6)
            inside = box[0] > _LEFT and box[2] < WIDTH and box[1] > 0
            free = not any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken)
            if inside and free and text not in labels:
                labels[text] = (round(x, 1), round(point.y + 3.5, 1), anchor, text)
                taken.append(box)
                break
    return tuple(labels.values())


# ------------------------------------------------------------------------------------------------------------- curves
@dataclass(frozen=True)
class Curves:
    """Training and validation of one quantity over epochs."""

    title: str
    lines: tuple[tuple[str, str, float], ...]
    """(train or val, path, last value)"""
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]


def curves(detail: RunDetail) -> list[Curves]:
    """Loss and top-1 over epochs, where train.csv has them."""
    drawn = (_curves(detail, what, title) for what, title in (("loss", "loss"), ("top1", "top-1 accuracy, percent")))
    return [figure for figure in drawn if figure is not None]


def _curves(detail: RunDetail, what: str, title: str) -> Curves | None:
    series: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for line in detail.curve:
        for name in ("train", "val"):
            epoch, value = line.get("epoch"), line.get(f"{name}_{what}")
            if epoch is not None and value is not None:
                series[name].append((epoch, value))
    if not series:
        return None
    every = [each for values in series.values() for each in values]
    x = Axis(0.0, max(1.0, *(epoch for epoch, _ in every)), _LEFT, WIDTH - _RIGHT)
    y = linear([value for _, value in every], HEIGHT - _BOTTOM, _TOP, percent=what == "top1")
    return Curves(
        title=title,
        lines=tuple((name, _path(values, x, y), values[-1][1]) for name, values in series.items()),
        x_ticks=[tick for tick in x.ticks() if "." not in tick[1]],
        y_ticks=y.ticks(),
    )


def _path(values: Sequence[tuple[float, float]], x: Axis, y: Axis) -> str:
    """A line through the values; of a single one, a dot (round line ends)."""
    places = [f"{x.at(epoch):g} {y.at(value):g}" for epoch, value in values]
    return f"M{'L'.join(places if len(places) > 1 else places * 2)}"


# --------------------------------------------------------------------------------------------------------- confusions
@dataclass(frozen=True)
class Matrix:
    """A confusion matrix: cells in units of one class, rows are truth."""

    size: int
    shades: Mapping[str, str]
    """`hit-<level>` or `miss-<level>` -> path of all cells of that shade."""
    names: tuple[str, ...]
    """Of the classes, where they are few."""
    counts: tuple[tuple[int, int, int], ...]
    """(row, column, samples), where they are few."""
    worst: tuple[tuple[str, str, int, float], ...]
    """(true class, predicted class, samples, percent of the class's scored samples), the most frequent first."""


def matrix(detail: RunDetail) -> Matrix | None:
    """The confusion matrix of a run; None where it has no scores."""
    if not detail.confusion:
        return None
    totals: Counter[int] = Counter()
    for (truth, _), count in detail.confusion.items():
        totals[truth] += count
    paths: dict[str, list[str]] = defaultdict(list)
    for (truth, predicted), count in sorted(detail.confusion.items()):
        level = sum(count / totals[truth] > bound for bound in _LEVELS)
        paths[f"{'hit' if truth == predicted else 'miss'}-{level}"].append(f"M{predicted} {truth}h1v1h-1z")
    names = [each.name for each in detail.classes]
    wrong = sorted((-count, pair) for pair, count in detail.confusion.items() if pair[0] != pair[1])[:_WORST]
    few = len(names) <= _NUMBERED
    return Matrix(
        size=len(names),
        shades={shade: "".join(cells) for shade, cells in paths.items()},
        names=tuple(names) if few else (),
        counts=tuple((t, p, n) for (t, p), n in sorted(detail.confusion.items())) if few else (),
        worst=tuple((names[t], names[p], -count, -100 * count / totals[t]) for count, (t, p) in wrong),
    )
