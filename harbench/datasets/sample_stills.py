"""`sample_stills`: rendered persons holding a prop whose color decides the class.

Each class has a twin that only differs by exchanging red and blue, so a model that is fed BGR for RGB, or a reader that
forgot to swap, scores near zero instead of a little lower.
"""

from __future__ import annotations

from collections.abc import Iterator

from harbench.datasets.sample import PERSONS, SCENARIOS, TEST_PERSONS, VALIDATION_PERSONS
from harbench.records import DatasetSpec

PROPS: dict[str, tuple[int, int, int]] = {
    "red_flag": (214, 40, 40),
    "blue_flag": (40, 40, 214),
    "yellow_ball": (226, 206, 30),
    "cyan_ball": (30, 206, 226),
    "orange_umbrella": (236, 128, 24),
    "azure_umbrella": (24, 128, 236),
}
"""Class -> RGB of its prop; neighbors are each other's red-blue exchange."""

SPEC = DatasetSpec(
    name="sample_stills",
    title="harbench sample, stills",
    modality="image",
    unit="image",
    splits=("official",),
    group="person",
    counts={"official": (384, 0, 216)},
    validation="|".join(f"person{person:02d}" for person in VALIDATION_PERSONS),
    homepage="rendered by harbench itself",
    license="CC0-1.0",
    citation="harbench sample, edition 1, rendered by `harbench prepare sample_stills`",
    size="nothing to fetch; archives of 10 MB are rendered",
    rendered=True,
)


def still_name(label: str, person: int, scenario: int) -> str:
    """`red_flag/person01_red_flag_d1.jpg`."""
    return f"{label}/person{person:02d}_{label}_d{scenario}.jpg"


def split_rows() -> Iterator[dict[str, str]]:
    """The rows of `splits/sample_stills/samples.csv`."""
    for label in PROPS:
        for person in PERSONS:
            for scenario in SCENARIOS:
                subset = "test" if person in TEST_PERSONS else "train"
                media = still_name(label, person, scenario)
                yield {"media": media, "class": label, "group": f"person{person:02d}", "official": subset}
