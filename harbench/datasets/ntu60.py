"""NTU RGB+D: skeletons of 60 actions, 40 persons, 3 cameras."""

from collections.abc import Iterator

from harbench.datasets import ntu
from harbench.records import DatasetSpec, Sample


def _rows(split: str) -> Iterator[Sample]:
    return ntu.samples("ntu60", split, range(1, 61))


SPEC = DatasetSpec(
    name="ntu60",
    title="NTU RGB+D 60",
    modality="pose",
    unit="video",
    splits=("xsub", "xview"),
    streams=("pose",),
    pose_shape=(3, 25),
    group="person",
    shares_groups=("xview",),
    counts={"xsub": (40091, 0, 16487), "xview": (37646, 0, 18932)},
    homepage=ntu.HOMEPAGE,
    licence=ntu.LICENCE,
    citation=ntu.CITATION_60,
    size="5.8 GB",
    registration=ntu.REGISTRATION.format(name="ntu60", archives=ntu.SKELETONS_60.name),
    archives=(ntu.SKELETONS_60,),
    rows=_rows,
)
