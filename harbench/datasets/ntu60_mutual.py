"""NTU RGB+D 60, its 11 actions between two persons (A50 to A60), on the official partitions.

Which actions are mutual is the authors' own list (https://github.com/shahroudy/NTURGB-D).
"""

from collections.abc import Iterator

from harbench.datasets import ntu
from harbench.records import DatasetSpec, Sample


def _rows(split: str) -> Iterator[Sample]:
    return ntu.samples("ntu60", split, range(50, 61))


SPEC = DatasetSpec(
    name="ntu60_mutual",
    title="NTU RGB+D 60, mutual actions",
    modality="pose",
    unit="video",
    splits=("xsub", "xview"),
    streams=("pose",),
    pose_shape=(3, 25),
    group="person",
    shares_groups=("xview",),
    counts={"xsub": (7319, 0, 3028), "xview": (6889, 0, 3458)},
    homepage=ntu.HOMEPAGE,
    licence=ntu.LICENCE,
    citation=ntu.CITATION_60,
    size="5.8 GB",
    registration=ntu.REGISTRATION.format(name="ntu60_mutual", archives=ntu.SKELETONS_60.name),
    archives=(ntu.SKELETONS_60,),
    rows=_rows,
)
