"""Northwestern-UCLA: skeletons of 10 actions by 10 persons before three Kinects, the public copy that CTR-GCN reads."""

from harbench.records import Archive, DatasetSpec

SPEC = DatasetSpec(
    name="nwucla",
    title="Northwestern-UCLA (skeletons)",
    modality="pose",
    unit="video",
    splits=("xview",),
    pose_shape=(3, 20),
    group="person",
    shares_groups=("xview",),
    counts={"xview": (1020, 0, 464)},
    homepage="https://wangjiangb.github.io/my_data.html",
    license="unknown",
    citation=(
        "J. Wang, X. Nie, Y. Xia, Y. Wu, S.-C. Zhu. Cross-view Action Modeling, Learning and Recognition. CVPR 2014. "
        "arXiv:1405.2941"
    ),
    size="16 MB",
    registration="The README of https://github.com/Uason-Chen/CTR-GCN links a copy of the skeletons, all_sqe.zip.",
    archives=(Archive(name="all_sqe.zip"),),
)
