"""One take: who does what, how fast, before which backdrop and camera.

Every draw is made before the label is looked at, so that nothing but the motion depends on it.

A take depends on the edition and on its own name only, so any subset renders the same, in any order, in parallel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from harbench.datasets.sample import GAITS, REVERSED, backdrop
from harbench.synthetic import motion
from harbench.synthetic.persons import TAKE_SIGMA, Person, class_rate, draws, person

Array = npt.NDArray[np.float64]

WIDTH, HEIGHT, FPS = 160, 120, 25
MIN_FRAMES, MAX_FRAMES = 60, 76


@dataclass(frozen=True)
class Take:
    """All that is needed to draw one video; arrays run over its frames."""

    label: str
    who: Person
    scenario: int
    backdrop: str
    """Which plate it stands before: `person01/d1`, or `biased/<class>`."""
    rate: float
    """True cycles per second: what the oracle knows."""
    joints: Array
    """[T, 30, 3]: meters in camera axes (x right, y up from the ground, z towards the camera)."""
    scale: Array
    """[T] pixels per meter."""
    origin: Array
    """[T, 2]: where the point on the ground under the person is in the picture, shake included."""
    shake: Array
    """[T, 2] pixels by which the camera has moved."""
    yaw: float
    """Radians the person is turned; 0 faces the camera."""
    light: float
    """Factor on all colors."""

    @property
    def other_clothes(self) -> bool:
        """Scenario 3."""
        return self.scenario == 3

    def only(self, frame: int) -> Take:
        """One frame of the take, as a take."""
        at = slice(frame, frame + 1)
        return replace(self, joints=self.joints[at], scale=self.scale[at], origin=self.origin[at], shake=self.shake[at])

    def points(self) -> Array:
        """[T, 30, 2] pixels."""
        flat = self.joints[..., :2] * np.array([1.0, -1.0])
        return np.asarray(self.origin[:, None] + self.scale[:, None, None] * flat)


def make_take(label: str, number: int, scenario: int, part: str) -> Take:
    """Draw the take. Both directions of the reversed pair give the same motion, played forwards: sitting down."""
    behind = f"biased/{backdrop(label, number, scenario)}" if part == "biased" else f"person{number:02d}/d{scenario}"
    label = REVERSED[0] if label in REVERSED else label
    rng = draws(part, label, number, scenario)
    who = person(number)
    length = rng.randint(MIN_FRAMES, MAX_FRAMES + 1)
    seconds = np.arange(length) / FPS
    factor = float(np.exp(TAKE_SIGMA * rng.standard_normal()))
    start = rng.uniform(0, 2 * np.pi)
    hold = rng.uniform(0.08, 0.16)
    facing = rng.choice([-1.0, 1.0])
    turn = rng.uniform(-0.3, 0.3)
    origin, shake, scale = _camera(rng, seconds, scenario, facing)
    light = rng.uniform(0.5, 0.7) if scenario == 4 else rng.uniform(0.92, 1.05)
    rate = class_rate(label, factor, who)
    if label in REVERSED:
        phase = np.pi * np.clip((np.arange(length) / (length - 1) - hold) / (1 - 2 * hold), 0, 1)
    else:
        phase = start + 2 * np.pi * rate * seconds
    body = motion.joints(motion.pose_at(label, phase, who), who)
    yaw = turn + facing * _side_on(label)
    return Take(
        label=label,
        who=who,
        scenario=scenario,
        backdrop=behind,
        rate=rate,
        joints=turned(body, yaw),
        scale=scale / who.height,
        origin=origin,
        shake=shake,
        yaw=yaw,
        light=light,
    )


def _side_on(label: str) -> float:
    """How far an action is turned from the camera: gaits are seen from the side, waving and clapping from ahead."""
    if label in GAITS:
        return np.pi / 2
    return {"box": 1.2, REVERSED[0]: 1.3}.get(label, 0.0)


def _camera(rng: np.random.RandomState, seconds: Array, scenario: int, facing: float) -> tuple[Array, Array, Array]:
    """(origin [T, 2], shake [T, 2], height of the person in pixels [T]): the same distribution for every action.

    Whoever moves through the picture does so at a speed that has nothing to do with the cadence, as on a treadmill.
    """
    middle = seconds - seconds[-1] / 2
    drift = facing * rng.uniform(0, 10)
    x = rng.uniform(66, 94) + drift * middle
    y = np.full_like(seconds, rng.uniform(104, 113))
    size, growth = rng.uniform(68, 84), rng.uniform(-0.12, 0.12)
    height = size * (1 + growth * middle) if scenario == 2 else np.full_like(seconds, size)
    if scenario == 2:
        height *= rng.uniform(0.75, 1.05)
    shake = np.zeros((len(seconds), 2))
    for _ in range(2):
        frequency, angle, phase = rng.uniform(0.3, 1.5), rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi)
        size = rng.uniform(0.1, 0.6)
        shake += size * np.sin(2 * np.pi * frequency * seconds + phase)[:, None] * [np.cos(angle), np.sin(angle)]
    return np.stack([x, y], axis=-1) + shake, shake, height


def turned(points: Array, yaw: float) -> Array:
    """Body axes to camera axes, `[..., 3]`."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    return np.stack([x * np.cos(yaw) + z * np.sin(yaw), y, z * np.cos(yaw) - x * np.sin(yaw)], axis=-1)
