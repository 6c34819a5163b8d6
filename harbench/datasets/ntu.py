"""The rule that makes the samples of NTU RGB+D 60, 120 and their named subsets from 636 recordings.

Every recording (setup, performer, replication) was seen by 3 cameras and holds 60 actions: A1-60 in setups 1-17,
A61-120 in setups 18-32. `recordings.csv` lists the recordings, and with each the samples whose skeletons the authors
call missing or incomplete (https://github.com/shahroudy/NTURGB-D); those are in no split, as in published results.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby

from harbench import paths
from harbench.records import Archive, DatasetSpec, Sample, Subset

CITATION_60 = (
    "A. Shahroudy, J. Liu, T.-T. Ng, G. Wang. "
    "NTU RGB+D: A Large Scale Dataset for 3D Human Activity Analysis. CVPR 2016"
)
CITATION_120 = (
    "J. Liu, A. Shahroudy, M. Perez, G. Wang, L.-Y. Duan, A. C. Kot. "
    "NTU RGB+D 120: A Large-Scale Benchmark for 3D Human Activity Understanding. TPAMI 2020. arXiv:1905.04757"
)
HOMEPAGE = "https://rose1.ntu.edu.sg/dataset/actionRecognition/"
LICENSE = "release agreement of the ROSE Lab, academic use; media may not be passed on"
SKELETONS_60 = Archive(name="nturgbd_skeletons_s001_to_s017.zip", checksum="md5:67d9e24f858e5736a9826a2065e229fe")
SKELETONS_120 = Archive(name="nturgbd_skeletons_s018_to_s032.zip", checksum="md5:e8ae4bdd92c2be95dbd364ad54e82f89")
REGISTRATION = (
    f"NTU RGB+D requires you to accept the release agreement of the ROSE Lab at {HOMEPAGE}. After approval download "
    "the skeleton archives ({archives}) and name them: `harbench prepare {name} --archive PATH`. "
    "harbench does not download this data set for you."
)

# Training subjects of cross-subject: 20 of 40 for NTU 60 (Shahroudy 2016), and 33 more of 66 for NTU 120 (Liu 2020).
_TRAIN_60 = frozenset((1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38))
_TRAIN_120 = _TRAIN_60.union(
    (45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86, 89, 91, 92, 93, 94),
    (95, 97, 98, 100, 103),
)
_TEST_CAMERA = 1


def spec(
    name: str, title: str, table: str, actions: Sequence[int], counts: Mapping[str, tuple[int, int, int]]
) -> DatasetSpec:
    """What `actions` of `table` (`ntu60` or `ntu120`) are as a data set; the splits are those of `counts`, in order."""
    archives = (SKELETONS_60,) if table == "ntu60" else (SKELETONS_60, SKELETONS_120)
    return DatasetSpec(
        name=name,
        title=title,
        origin="ntu",
        modality="pose",
        unit="video",
        splits=tuple(counts),
        pose_shape=(3, 25),
        group="person",
        shares_groups=tuple(split for split in counts if split != "xsub"),
        counts=counts,
        homepage=HOMEPAGE,
        license=LICENSE,
        citation=CITATION_60 if table == "ntu60" else CITATION_120,
        size="5.8 GB" if table == "ntu60" else "10.3 GB",
        registration=REGISTRATION.format(name=name, archives=" and ".join(archive.name for archive in archives)),
        archives=archives,
        rows=partial(samples, table, actions),
    )


def samples(table: str, actions: Sequence[int], split: str) -> Iterator[Sample]:
    """The samples of `split` (`xsub`, `xview` or `xset`) whose action is in `actions`, ordered by name.

    `table` is the data set whose recordings.csv is read. The target is the position in `actions`, the group the person.
    """
    targets = {action: target for target, action in enumerate(actions)}
    with open(paths.shipped("splits") / table / "recordings.csv", encoding="utf-8", newline="") as handle:
        recordings = sorted(
            (int(row["setup"]), int(row["performer"]), int(row["replication"]), frozenset(row["incomplete"].split()))
            for row in csv.DictReader(handle)
        )
    for setup, of_setup in groupby(recordings, key=lambda recording: recording[0]):
        group = list(of_setup)
        recorded = [(f"A{action:03}", targets[action]) for action in _actions(setup) if action in targets]
        for camera in (1, 2, 3):
            for _, performer, replication, incomplete in group:
                subset: Subset = "train" if _is_train(split, setup, camera, performer) else "test"
                prefix, person = f"S{setup:03}C{camera:03}P{performer:03}R{replication:03}", f"P{performer:03}"
                for action, target in recorded:
                    if f"C{camera:03}{action}" not in incomplete:
                        name = prefix + action
                        yield Sample(name, target, person, subset, f"{name}.skeleton")


def _actions(setup: int) -> range:
    return range(1, 61) if setup <= 17 else range(61, 121)


def _is_train(split: str, setup: int, camera: int, performer: int) -> bool:
    if split == "xsub":
        return performer in _TRAIN_120
    if split == "xview":
        return camera != _TEST_CAMERA
    return setup % 2 == 0  # xset
