"""JHMDB poses, the public copy of 14 classes: 609 sequences of 15 annotated 2D joints, three splits, no groups."""

from harbench.records import Archive, DatasetSpec

SPEC = DatasetSpec(
    name="jhmdb14",
    title="JHMDB poses, 14 classes",
    modality="pose",
    unit="video",
    splits=("split1", "split2", "split3"),
    pose_shape=(2, 15),
    split_sets={"mean-of-3": ("split1", "split2", "split3")},
    counts={"split1": (433, 0, 176), "split2": (433, 0, 176), "split3": (434, 0, 175)},
    homepage="http://jhmdb.is.tue.mpg.de/",
    license="unknown",
    citation=(
        "H. Jhuang, J. Gall, S. Zuffi, C. Schmid, M. J. Black. Towards Understanding Action Recognition. ICCV 2013; "
        "preprocessed copy: F. Yang, Y. Wu, S. Sakti, S. Nakamura. "
        "Make Skeleton-based Action Recognition Model Smaller, Faster and Better. MMAsia 2019. arXiv:1907.09658"
    ),
    size="1 MB",
    archives=(Archive(name="poses.npz"),),
)
