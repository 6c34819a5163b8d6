"""Who acts and how fast: the persons of `sample`, and the distributions from which every take is drawn.

The rate of a gait is (rate of its class) x (factor of the person) x (factor of the take), all log-normal, so the best
possible classifier of the gaits is known in closed form: `gait_accuracy`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

from harbench.datasets.sample import CLASSES, GAITS, PERSONS, TEST_PERSONS, hashed

GAIT_RATES = dict(zip(GAITS, (0.70, 1.22, 2.13), strict=True))
"""Cycles (two steps) per second of an average person; neighbors are equally far apart in the logarithm."""
OTHER_RATES = {"box": 1.1, "wave": 1.1, "clap": 1.3}
PERSON_SIGMA = 0.16
"""Standard deviation of the logarithm of a person's cadence factor. Large: this is what a random split leaks."""
TAKE_SIGMA = 0.06
"""The same for one take of a person."""

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Person:
    """What stays the same in all takes of a person. Lengths are fractions of the height."""

    number: int
    height: float
    """Meters."""
    cadence: float
    """Factor on every rate."""
    leg: float
    """Length of thigh and shin."""
    arm: float
    torso: float
    girth: float
    """Factor on the thickness of limbs."""
    hip_swing: float
    """Radians to either side in a gait; the style of the gait does not depend on its speed."""
    knee_lift: float
    arm_swing: float
    elbow: float
    lean: float
    skin: Color
    hair: Color
    shirt: Color
    trousers: Color
    shoes: Color
    other_shirt: Color
    other_trousers: Color
    """Worn in scenario 3."""


def draws(*words: object) -> np.random.RandomState:
    """Random numbers that belong to `words` and the edition. RandomState, because its stream is frozen (NEP 19)."""
    return np.random.RandomState(hashed(*words) % 2**32)


@cache
def person(number: int) -> Person:
    """One of the 25 persons."""
    rng = draws("person", number)
    skin = (0.35 + 0.6 * rng.uniform()) * np.array([236, 190, 160])
    clothes = [_color(rng) for _ in range(4)]
    return Person(
        number=number,
        height=rng.uniform(1.55, 1.90),
        cadence=_cadences()[number],
        leg=rng.uniform(0.232, 0.256),
        arm=rng.uniform(0.155, 0.175),
        torso=rng.uniform(0.275, 0.300),
        girth=rng.uniform(0.85, 1.2),
        hip_swing=rng.uniform(0.45, 0.62),
        knee_lift=rng.uniform(0.8, 1.15),
        arm_swing=rng.uniform(0.4, 0.75),
        elbow=rng.uniform(0.4, 1.2),
        lean=rng.uniform(0.0, 0.14),
        skin=(int(skin[0]), int(skin[1]), int(skin[2])),
        hair=_gray(rng, 20, 110),
        shirt=clothes[0],
        trousers=clothes[1],
        shoes=_gray(rng, 15, 70),
        other_shirt=clothes[2],
        other_trousers=clothes[3],
    )


@cache
def _cadences() -> dict[int, float]:
    """Evenly spaced quantiles, dealt at random within the training and within the test persons.

    So that few persons still stand for the distribution, and no subset is slower than the other.
    """
    factors = {}
    for test in (False, True):
        numbers = [number for number in PERSONS if (number in TEST_PERSONS) == test]
        order = draws("cadence", test).permutation(len(numbers))
        for number, rank in zip(numbers, order, strict=True):
            factors[number] = math.exp(PERSON_SIGMA * NormalDist().inv_cdf((rank + 0.5) / len(numbers)))
    return factors


def _color(rng: np.random.RandomState) -> Color:
    """A saturated or a plain color, never as pale as the backdrops."""
    rgb = rng.uniform(20, 200, 3)
    return int(rgb[0]), int(rgb[1]), int(rgb[2])


def _gray(rng: np.random.RandomState, low: float, high: float) -> Color:
    level = rng.uniform(low, high)
    return int(level), int(level * 0.85), int(level * 0.75)


def class_rate(label: str, take_factor: float, who: Person) -> float:
    """Cycles per second of a take."""
    return (GAIT_RATES | OTHER_RATES).get(label, 1.0) * who.cadence * take_factor


def gait_accuracy(sigma: float) -> float:
    """Share of gaits that the Bayes classifier gets right when the log rate is N(log class rate, sigma).

    Three equally likely normals at equal distance g: the thresholds lie halfway, the outer two err to one side, the
    middle one to both, so the error is 4/3 Q(g / 2 sigma).
    """
    walk, jog, _ = GAIT_RATES.values()
    return 1 - 4 / 3 * NormalDist().cdf(-math.log(jog / walk) / (2 * sigma))


def oracle_accuracy(*, knows_person: bool) -> float:
    """Best possible accuracy over all classes, which are equally frequent: only the gaits can be confused."""
    sigma = TAKE_SIGMA if knows_person else math.hypot(PERSON_SIGMA, TAKE_SIGMA)
    return 1 - len(GAITS) / len(CLASSES) * (1 - gait_accuracy(sigma))
