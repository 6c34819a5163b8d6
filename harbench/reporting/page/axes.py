"""From values to places on a drawing: linear and logarithmic axes with round ticks. Pure arithmetic, for inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: where in the drawing, and what it says."""

    at: float
    text: str


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

    def ticks(self, count: int = 5) -> list[Tick]:
        """About `count` ticks at round values within the axis."""
        values = _log_values(self.low, self.high, count) if self.log else _round_values(self.low, self.high, count)
        return [Tick(self.at(value), f"{value:g}") for value in values]


def linear(values: Sequence[float], start: float, end: float, *, within: tuple[float, float] | None = None) -> Axis:
    """A linear axis a little wider than `values`, and inside `within`."""
    low, high = min(values), max(values)
    margin = max(0.06 * (high - low), 0.01 * abs(high), 1e-6)
    low, high = low - margin, high + margin
    if within is not None:
        low, high = max(low, within[0]), min(high, within[1])
    return Axis(low, high, start, end)


def logarithmic(values: Sequence[float], start: float, end: float) -> Axis:
    """A logarithmic axis a little wider than `values`, which are positive."""
    low, high = min(values), max(values)
    margin = max((high / low) ** 0.06, 1.15)
    return Axis(low / margin, high * margin, start, end, log=True)


def _round_values(low: float, high: float, count: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((each * power for each in (1, 2, 5) if each * power >= rough), 10 * power)
    return [round(step * index, 10) for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _log_values(low: float, high: float, count: int) -> list[float]:
    """1, 2 and 5 times powers of ten; fewer of them on a long axis, more on one too short for two."""
    powers = [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    for leading in ((1,), (1, 3), (1, 2, 5)):
        values = [round(each * power, 10) for power in powers for each in leading if low <= each * power <= high]
        if len(values) >= count - 1:
            break
    return values if len(values) > 1 else _round_values(low, high, count)
