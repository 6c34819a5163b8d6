"""NTU RGB+D 120: skeletons of 120 actions, 106 persons, 32 camera setups."""

from collections.abc import Iterator

from harbench.datasets import ntu
from harbench.records import DatasetSpec, Sample


def _rows(split: str) -> Iterator[Sample]:
    return ntu.samples("ntu120", split, range(1, 121))


SPEC = DatasetSpec(
    name="ntu120",
    title="NTU RGB+D 120",
    modality="pose",
    unit="video",
    splits=("xsub", "xset"),
    streams=("pose",),
    pose_shape=(3, 25),
    group="person",
    shares_groups=("xset",),
    counts={"xsub": (63026, 0, 50919), "xset": (54468, 0, 59477)},
    homepage=ntu.HOMEPAGE,
    licence=ntu.LICENCE,
    citation=ntu.CITATION_120,
    size="10.3 GB",
    registration=ntu.REGISTRATION.format(
        name="ntu120", archives=f"{ntu.SKELETONS_60.name} and {ntu.SKELETONS_120.name}"
    ),
    archives=(ntu.SKELETONS_60, ntu.SKELETONS_120),
    rows=_rows,
)
