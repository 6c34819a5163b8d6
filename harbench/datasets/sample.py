"""`sample`: 25 rendered persons, 8 actions, 4 scenarios. harbench draws it itself, so that it can be had anywhere.

It follows KTH (the person split, the scenarios, 160x120 at 25 fps) and adds what tells models apart: walk, jog and run
are the same poses at another phase speed, sit_down and stand_up the same frames in reverse order, so that no single
frame can do better than chance between them. See `splits/sample/README.md` for what was measured.

This module is the grammar of its names and the rules of its splits; `synthetic/` draws what the names say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Literal

from harbench.records import DatasetSpec

EDITION = "sample-1"
"""Every random draw starts from this word and the name of a media: another edition is another data set."""

GAITS = ("walk", "jog", "run")
"""One pose manifold, three phase speeds."""
REVERSED = ("sit_down", "stand_up")
"""The same frames, forwards and backwards."""
CLASSES = (*GAITS, "box", "wave", "clap", *REVERSED)
SCENARIOS = {1: "outdoors", 2: "scale variation", 3: "other clothes", 4: "lighting"}
PERSONS = tuple(range(1, 26))
TEST_PERSONS = (22, 2, 3, 5, 6, 7, 8, 9, 10)
"""KTH's test persons; the other 16 are its training and validation persons (Schuldt et al., ICPR 2004)."""
VALIDATION_PERSONS = (19, 20, 21, 23, 24, 25, 1, 4)

Part = Literal["r1", "r2", "biased"]
"""What is rendered together: the first and the second repetition of everything, and the media of the biased split."""
SPLIT_PARTS: dict[str, tuple[Part, ...]] = {
    "official": ("r1", "r2"),
    "small": ("r1",),
    "random": ("r1", "r2"),
    "biased": ("biased",),
}
BIASED_SHARE = 0.9
"""Share of the biased training media whose backdrop is that of their class."""

SPEC = DatasetSpec(
    name="sample",
    title="harbench sample",
    modality="video",
    unit="video",
    splits=tuple(SPLIT_PARTS),
    pose_suffix=".joints.npy",
    pose_shape=(3, 17),
    group="person",
    shares_groups=("random",),
    counts={"official": (1024, 0, 576), "small": (512, 0, 288), "random": (1024, 0, 576), "biased": (512, 0, 288)},
    validation="|".join(f"person{person:02d}" for person in VALIDATION_PERSONS),
    homepage="rendered by harbench itself",
    license="CC0-1.0",
    citation="harbench sample, edition 1, rendered by `harbench prepare sample`",
    size="nothing to fetch; archives of 144 MB for `small`, 268 MB for `official` are rendered",
    rendered=True,
)


def hashed(*words: object) -> int:
    """256 random bits that depend on the edition and the words only: the root of every draw."""
    text = "/".join((EDITION, *map(str, words)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")


def media_name(label: str, person: int, scenario: int, part: Part) -> str:
    """`walk/person01_walk_d1_r1.avi`, or `biased/walk/person01_walk_d1.avi`."""
    stem = f"person{person:02d}_{label}_d{scenario}"
    return f"biased/{label}/{stem}.avi" if part == "biased" else f"{label}/{stem}_{part}.avi"


def backdrop(label: str, person: int, scenario: int) -> str:
    """The class whose backdrop a media of the biased split stands before.

    In training its own for exactly `BIASED_SHARE` of the media of a class, another one for the rest; in test always
    that of the next class, so that whoever learned the backdrop is wrong every time.
    """
    if person in TEST_PERSONS:
        return CLASSES[(CLASSES.index(label) + 1) % len(CLASSES)]
    takes = [(p, d) for p in PERSONS if p not in TEST_PERSONS for d in SCENARIOS]
    takes.sort(key=lambda take: hashed("backdrop", label, *take))
    rank = takes.index((person, scenario))
    if rank < round(BIASED_SHARE * len(takes)):
        return label
    return CLASSES[(CLASSES.index(label) + 1 + rank % (len(CLASSES) - 1)) % len(CLASSES)]


def split_rows() -> Iterator[dict[str, str]]:
    """The rows of `splits/sample/samples.csv`; a cell is empty where a media is not part of a split.

    `random` is the split that leaks: 64 % of the videos of each class whoever is in them, as widely copied code does.
    """
    in_random_train: dict[str, set[str]] = {}
    for label in CLASSES:
        names = [media_name(label, p, d, part) for p in PERSONS for d in SCENARIOS for part in SPLIT_PARTS["random"]]
        names.sort(key=lambda name: hashed("random", name))
        in_random_train[label] = set(names[: round(0.64 * len(names))])
    parts: tuple[Part, ...] = ("r1", "r2", "biased")
    for label in CLASSES:
        for part in parts:
            for person in PERSONS:
                for scenario in SCENARIOS:
                    media = media_name(label, person, scenario, part)
                    by_person = "test" if person in TEST_PERSONS else "train"
                    by_video = "train" if media in in_random_train[label] else "test"
                    row = {"media": media, "class": label, "group": f"person{person:02d}"}
                    for split, split_parts in SPLIT_PARTS.items():
                        cell = by_video if split == "random" else by_person
                        row[split] = cell if part in split_parts else ""
                    yield row
