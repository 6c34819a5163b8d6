"""UCF-101: 13,320 YouTube clips of 101 actions, cut from 25 source videos ("groups") a class."""

from harbench.records import Archive, DatasetSpec

SPEC = DatasetSpec(
    name="ucf101",
    title="UCF-101",
    modality="video",
    unit="video",
    splits=("split1", "split2", "split3"),
    group="source video",
    overlaps=("ucf50", "ucf11"),
    split_sets={"mean-of-3": ("split1", "split2", "split3")},
    counts={"split1": (9537, 0, 3783), "split2": (9586, 0, 3734), "split3": (9624, 0, 3696)},
    # Groups 22 to 25 are in train of every split, and hold all classes: 2,107 clips that touch no test split.
    validation=r"/g2[2-5]$",
    short_side=240,
    homepage="https://www.crcv.ucf.edu/data/UCF101.php",
    license="unknown; research use, the clips come from YouTube",
    citation=(
        "K. Soomro, A. R. Zamir, M. Shah. UCF101: A Dataset of 101 Human Actions Classes From Videos in The Wild. "
        "CRCV-TR-12-01, 2012. arXiv:1212.0402"
    ),
    size="6.5 GB",
    archives=(
        Archive(
            name="UCF101.rar",
            urls=(
                "https://www.crcv.ucf.edu/data/UCF101/UCF101.rar",
                "https://www.crcv.ucf.edu/datasets/human-actions/ucf101/UCF101.rar",
            ),
            checksum="sha256:ca8dfadb4c891cb11316f94d52b6b0ac2a11994e67a0cae227180cd160bd8e55",
        ),
        # The THUMOS challenge's copy: flat, and spelt v_HandstandPushups_*; files are matched whatever their case.
        Archive(
            name="UCF101_videos.zip",
            urls=("https://storage.googleapis.com/thumos14_files/UCF101_videos.zip",),
            checksum="sha256:dabf56f573cd19c79e096563529fec8126a2a34e18e10c72eb621dd687532b0d",
            bytes=6_960_400_115,
            instead_of="UCF101.rar",
        ),
    ),
)
