"""The page of a comparison: classes that change, and what flipped, with a picture of each sample. One file, no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TEMPLATES = Path(__file__).parent / "templates"
"""With the style that every page of harbench has."""
MOST = 60
"""Flipped samples with a picture, each way; the others are named."""


@dataclass(frozen=True)
class Flip:
    """One sample that only one of two runs has right."""

    sample_id: str
    truth: str
    wrong: str
    """What the other run said; empty where it has no score."""


@dataclass(frozen=True)
class Flips:
    """One run against another, in words and pictures."""

    title: str
    lines: tuple[str, ...]
    """The test, in words."""
    changed: tuple[tuple[str, float, float, float], ...]
    """Class, recall under A, under B, gain in points; classes that changed, the largest change first."""
    gained: tuple[Flip, ...]
    """Only B is right."""
    lost: tuple[Flip, ...]
    """Only A is right."""


def render_flips(comparisons: Sequence[Flips], pictures: Mapping[str, str], caveat: str) -> str:
    """One self-contained html page; `pictures` are sample id -> `data:` address, and may lack some."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(TEMPLATES)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    page = environment.get_template("flips.html.j2")
    return page.render(comparisons=comparisons, pictures=pictures, caveat=caveat, most=MOST)
