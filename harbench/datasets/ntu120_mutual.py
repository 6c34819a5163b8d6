"""NTU RGB+D 120, its 26 actions between two persons (A50 to A60, A106 to A120), on the official partitions.

Which actions are mutual is the authors' own list (https://github.com/shahroudy/NTURGB-D).
"""

from collections.abc import Iterator

from harbench.datasets import ntu
from harbench.records import DatasetSpec, Sample


def _rows(split: str) -> Iterator[Sample]:
    return ntu.samples("ntu120", split, (*range(50, 61), *range(106, 121)))


SPEC = DatasetSpec(
    name="ntu120_mutual",
    title="NTU RGB+D 120, mutual actions",
    modality="pose",
    unit="video",
    splits=("xsub", "xset"),
    streams=("pose",),
    pose_shape=(3, 25),
    group="person",
    shares_groups=("xset",),
    counts={"xsub": (13072, 0, 11660), "xset": (11864, 0, 12868)},
    homepage=ntu.HOMEPAGE,
    licence=ntu.LICENCE,
    citation=ntu.CITATION_120,
    size="10.3 GB",
    registration=ntu.REGISTRATION.format(
        name="ntu120_mutual", archives=f"{ntu.SKELETONS_60.name} and {ntu.SKELETONS_120.name}"
    ),
    archives=(ntu.SKELETONS_60, ntu.SKELETONS_120),
    rows=_rows,
)
