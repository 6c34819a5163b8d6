"""Seven everyday actions of NTU RGB+D 120, the label set of a widespread skeleton demo, on the official partitions.

Fall down, jump up, kick, punch, run, sit down, stand up: mapped to A43 A27 A24 A50 A99 A8 A9 by name, an inference.
"""

from collections.abc import Iterator

from harbench.datasets import ntu
from harbench.records import DatasetSpec, Sample


def _rows(split: str) -> Iterator[Sample]:
    return ntu.samples("ntu120", split, (43, 27, 24, 50, 99, 8, 9))


SPEC = DatasetSpec(
    name="ntu7",
    title="NTU RGB+D, 7 actions",
    modality="pose",
    unit="video",
    splits=("xsub", "xset"),
    streams=("pose",),
    pose_shape=(3, 25),
    group="person",
    shares_groups=("xset",),
    counts={"xsub": (4394, 0, 2222), "xset": (3120, 0, 3496)},
    homepage=ntu.HOMEPAGE,
    licence=ntu.LICENCE,
    citation=ntu.CITATION_120,
    size="10.3 GB",
    registration=ntu.REGISTRATION.format(name="ntu7", archives=f"{ntu.SKELETONS_60.name} and {ntu.SKELETONS_120.name}"),
    archives=(ntu.SKELETONS_60, ntu.SKELETONS_120),
    rows=_rows,
)
