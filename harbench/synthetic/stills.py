"""The stills of `sample_stills`: a person in some pose with a prop in the left hand; its color is the class."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from harbench.datasets.sample import SCENARIOS
from harbench.datasets.sample_stills import PROPS, still_name
from harbench.synthetic import draw, motion
from harbench.synthetic.persons import draws
from harbench.synthetic.take import Take, make_take

Image = npt.NDArray[np.uint8]

POSES = ("walk", "box", "clap")
JPEG_QUALITY = 95
STICK = (70, 56, 44)


def still_members(person: int) -> Iterator[tuple[str, bytes]]:
    """Name and content of the stills of one person, each with its true mask (person and prop) and background plate."""
    for label in PROPS:
        for scenario in SCENARIOS:
            name = still_name(label, person, scenario)
            picture, mask, plate = still(label, person, scenario)
            _, content = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            png = name.removesuffix(".jpg") + ".png"
            yield name, content.tobytes()
            yield f"masks/{png}", draw.png(mask)
            yield f"plates/{png}", draw.png(plate)


def still(label: str, person: int, scenario: int) -> tuple[Image, Image, Image]:
    """(picture RGB `[120, 160, 3]`, mask `[120, 160]`, plate `[120, 160, 3]`), uint8. The pose is not the class's."""
    rng = draws("still", label, person, scenario)
    take = make_take(rng.choice(POSES), person, scenario, f"stills/{label}")
    take = take.only(rng.randint(len(take.scale)))
    color = take.light * np.clip(np.array(PROPS[label]) + rng.uniform(-14, 14, 3), 0, 255)
    canvas, white = next(draw.canvases(take)), draw.mask_canvas(take)
    _draw_prop(canvas, take, label, tuple(int(level) for level in color), STICK)
    _draw_prop(white, take, label, (255, 255, 255), (255, 255, 255))
    return draw.halved(canvas), draw.as_mask(white), draw.bare(take)


def _draw_prop(canvas: Image, take: Take, label: str, color: tuple[int, ...], stick: tuple[int, int, int]) -> None:
    """Flag, ball or umbrella at the left hand, in meters around it."""
    hand, meter = take.points()[0, motion.HAND_TIP[0]], take.scale[0]

    def at(x: float, y: float) -> tuple[int, int]:
        place = draw.fixed(hand + meter * np.array([x, -y]))
        return int(place[0]), int(place[1])

    if label.endswith("ball"):
        cv2.circle(canvas, at(0, 0.05), int(draw.fixed(0.14 * meter)), color, -1, cv2.LINE_8, draw.SHIFT)
        return
    width = max(round(draw.SUPER * meter * 0.035), 1)
    cv2.line(canvas, at(0, -0.08), at(0, 0.55), stick, width, cv2.LINE_8, draw.SHIFT)
    if label.endswith("flag"):
        outline = [at(0, 0.55), at(0.42, 0.50), at(0.42, 0.22), at(0, 0.26)]
    else:
        outline = [at(0.4 * np.cos(angle), 0.45 + 0.3 * np.sin(angle)) for angle in np.linspace(0, np.pi, 17)]
    cv2.fillPoly(canvas, [np.array(outline, np.int32)], color, cv2.LINE_8, draw.SHIFT)
