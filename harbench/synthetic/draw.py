"""From a take to pixels: a backdrop of value noise, a person of capsules, both drawn at twice the size and averaged.

Drawing is integer arithmetic (OpenCV's fixed-point lines and circles without antialiasing), so the pixels do not depend
on the machine; only an OpenCV that rasterises differently would change them, which the committed hashes would show.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from harbench.datasets.sample import CLASSES, REVERSED
from harbench.synthetic import motion as m
from harbench.synthetic.persons import Person, draws
from harbench.synthetic.take import HEIGHT, WIDTH, Take, turned

Image = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]

SUPER = 2
MARGIN = 6
"""Pixels of backdrop around the picture, for the shake."""
SHIFT = 4
"""Fractional bits of the coordinates that OpenCV is given."""

PARTS: tuple[tuple[int, int, float, str], ...] = (
    (m.HIP[0], m.HIP[1], 0.052, "trousers"),
    (m.BASE, m.SPINE_SHOULDER, 0.078, "shirt"),
    (m.SHOULDER[0], m.SHOULDER[1], 0.040, "shirt"),
    (m.SPINE_SHOULDER, m.NECK, 0.032, "skin"),
    *((m.HIP[s], m.KNEE[s], 0.046, "trousers") for s in (0, 1)),
    *((m.KNEE[s], m.ANKLE[s], 0.036, "trousers") for s in (0, 1)),
    *((m.ANKLE[s], m.FOOT[s], 0.026, "shoes") for s in (0, 1)),
    *((m.SHOULDER[s], m.ELBOW[s], 0.033, "shirt") for s in (0, 1)),
    *((m.ELBOW[s], m.WRIST[s], 0.027, "skin") for s in (0, 1)),
    *((m.WRIST[s], m.HAND_TIP[s], 0.022, "skin") for s in (0, 1)),
    (m.HEAD, m.HEAD, 0.064, "hair"),
    (m.NOSE, m.HEAD, 0.034, "skin"),
)
"""Capsules of a body: from joint, to joint, radius as a fraction of the height, color."""
LIMBS = len(PARTS) - 2
"""All but the head."""

_GROUNDS = {1: ((176, 196, 214), (128, 150, 104)), 2: ((196, 200, 206), (190, 172, 134)),
            3: ((176, 196, 214), (128, 150, 104)), 4: ((196, 178, 150), (140, 108, 84))}  # fmt: skip
"""Scenario -> RGB of what is behind and of the ground."""


def frames(take: Take) -> list[Image]:
    """Every frame of a take: uint8 `[120, 160, 3]`, RGB."""
    return [halved(canvas) for canvas in canvases(take)]


def canvases(take: Take) -> Iterator[Image]:
    """The frames at twice the size, before they are averaged down; one array, drawn on again and again."""
    canvas = np.empty((SUPER * HEIGHT, SUPER * WIDTH, 3), np.uint8)
    ground, corners = plate(take.backdrop, take.light), _corners(take)
    for corner, seat, body in zip(corners, _furniture(take), _capsules(take), strict=True):
        canvas[:] = _window(ground, corner)
        _draw(canvas, seat + body)
        yield canvas


def mask_canvas(take: Take) -> Image:
    """The person of a take's first frame, white on black, at twice the size."""
    canvas = np.zeros((SUPER * HEIGHT, SUPER * WIDTH, 3), np.uint8)
    _draw(canvas, [(start, end, width, (255, 255, 255)) for start, end, width, _ in _capsules(take)[0]])
    return canvas


def as_mask(canvas: Image) -> Image:
    """Where a white-on-black canvas covers at least half of a pixel: uint8 `[120, 160]`, 0 or 255."""
    covered: Image = np.where(halved(canvas)[..., 0] >= 128, 255, 0).astype(np.uint8)
    return covered


def bare(take: Take) -> Image:
    """A take's first frame without person and chair: its background plate."""
    return halved(_window(plate(take.backdrop, take.light), _corners(take)[0]))


def halved(canvas: Image) -> Image:
    """A canvas at the size of the picture, every pixel the mean of four."""
    return np.asarray(cv2.resize(canvas, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def png(picture: Image) -> bytes:
    """A picture (RGB) or a mask as a PNG file."""
    _, content = cv2.imencode(".png", picture if picture.ndim == 2 else picture[..., ::-1])
    encoded: bytes = content.tobytes()
    return encoded


def _window(ground: Image, corner: tuple[int, int]) -> Image:
    x, y = corner
    return ground[y : y + SUPER * HEIGHT, x : x + SUPER * WIDTH]


def _corners(take: Take) -> list[tuple[int, int]]:
    """Top left corner of the picture within the plate, in canvas pixels."""
    corners = np.rint(SUPER * (MARGIN - take.shake)).astype(int)
    return [(x, y) for x, y in corners.tolist()]


def plate(key: str, light: float) -> Image:
    """A lit backdrop with its margin, at canvas size."""
    return np.clip(np.rint(light * _unlit(key)), 0, 255).astype(np.uint8)


@lru_cache(maxsize=8)
def _unlit(key: str) -> Array:
    """`[h, w, 3]`, RGB; `biased/<class>` has the colors of that class."""
    rng = draws("plate", key)
    h, w = SUPER * (HEIGHT + 2 * MARGIN), SUPER * (WIDTH + 2 * MARGIN)
    if key.startswith("biased/"):
        hue = CLASSES.index(key.removeprefix("biased/")) / len(CLASSES)
        back, ground = (255 * np.array(colorsys.hsv_to_rgb(hue, 0.35, value)) for value in (0.8, 0.6))
    else:
        back, ground = (np.array(rgb) for rgb in _GROUNDS[int(key[-1])])
    tint = rng.uniform(-14, 14, (2, 3))
    horizon = int(h * rng.uniform(0.58, 0.74))
    rows = np.arange(h)[:, None, None]
    color = np.where(rows < horizon, back + tint[0] + 14 * rows / h, ground + tint[1])
    texture = sum(strength * _noise(rng, h, w, cells) for strength, cells in ((14, 3), (9, 9), (5, 30)))
    side = np.linspace(rng.uniform(0.85, 1.0), rng.uniform(0.85, 1.0), w)[None, :, None]
    picture: Array = side * (color + np.asarray(texture)[..., None])
    return picture


def _noise(rng: np.random.RandomState, h: int, w: int, cells: int) -> Array:
    """Value noise in [-1, 1]: a grid of random values, linearly interpolated. `[h, w]`"""
    grid = rng.uniform(-1, 1, (cells + 1, cells + 1))
    down, across = np.linspace(0, cells, h), np.linspace(0, cells, w)
    columns = np.stack([np.interp(down, np.arange(cells + 1), grid[:, k]) for k in range(cells + 1)])
    at = np.minimum(across.astype(int), cells - 1)
    part = across - at
    noise = columns[at] * (1 - part)[:, None] + columns[at + 1] * part[:, None]
    return np.ascontiguousarray(noise.T)


Stroke = tuple[tuple[int, int], tuple[int, int], int, tuple[int, ...]]
"""From, to (fixed point), width in canvas pixels, color."""


def _draw(canvas: Image, strokes: list[Stroke]) -> None:
    for start, end, width, color in strokes:
        cv2.line(canvas, start, end, color, width, cv2.LINE_8, SHIFT)


def fixed(points: Array) -> npt.NDArray[np.int64]:
    """Picture pixels to OpenCV's fixed-point canvas coordinates."""
    return np.rint(points * (SUPER << SHIFT)).astype(np.int64)


def _capsules(take: Take) -> list[list[Stroke]]:
    """The strokes of the body in every frame, the farthest first, what is farther a little darker."""
    colors = _colors(take.who, take.other_clothes)
    points = fixed(take.points())
    first, second = [part[0] for part in PARTS], [part[1] for part in PARTS]
    depth = (take.joints[:, first, 2] + take.joints[:, second, 2]) / 2
    radius = np.array([part[2] for part in PARTS]) * take.who.height
    radius[:LIMBS] *= take.who.girth
    widths = np.maximum(np.rint(2 * SUPER * take.scale[:, None] * radius), 1).astype(int)
    shade = take.light * (0.86 + 0.14 * np.clip(depth / 0.12, -1, 1))
    paint = np.rint(np.clip(shade[..., None] * np.array([colors[part[3]] for part in PARTS]), 0, 255)).astype(int)
    order = np.argsort(depth, axis=1, kind="stable")
    strokes = []
    for t in range(len(points)):
        place, width, color = points[t].tolist(), widths[t].tolist(), paint[t].tolist()
        strokes.append([(place[first[k]], place[second[k]], width[k], tuple(color[k])) for k in order[t].tolist()])
    return strokes


def _colors(who: Person, other_clothes: bool) -> dict[str, tuple[int, int, int]]:
    return {
        "skin": who.skin,
        "hair": who.hair,
        "shoes": who.shoes,
        "shirt": who.other_shirt if other_clothes else who.shirt,
        "trousers": who.other_trousers if other_clothes else who.trousers,
    }


def _furniture(take: Take) -> list[list[Stroke]]:
    """A chair behind whoever sits down or stands up; nothing otherwise."""
    if take.label not in REVERSED:
        return [[] for _ in take.scale]
    h = take.who.height
    depth, seat = take.who.leg * h, (take.who.leg - 0.035) * h
    front, back = -0.45 * depth, -1.35 * depth
    corners = [(front, seat), (back, seat), (back, seat + 0.24 * h), (front, 0.0), (back, 0.0)]
    pairs = [(0, 1), (1, 2), (0, 3), (1, 4)]
    strokes: list[list[Stroke]] = [[] for _ in take.scale]
    color = tuple(int(take.light * level) for level in (96, 66, 44))
    for x in (-0.11 * h, 0.11 * h):
        body = np.array([(x, y, z) for z, y in corners])
        camera = turned(body, take.yaw)[None, :, :2] * np.array([1.0, -1.0])
        points = fixed(take.origin[:, None] + take.scale[:, None, None] * camera).tolist()
        for t, scale in enumerate(take.scale):
            width = max(round(SUPER * scale * 0.05 * h), 1)
            strokes[t] += [(points[t][a], points[t][b], width, color) for a, b in pairs]
    return strokes
