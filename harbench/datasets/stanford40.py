"""Stanford 40 Actions: 9,532 stills of 40 actions, each with the box of the person; the field reports mean AP."""

from harbench.records import Archive, DatasetSpec

_SITE = "http://vision.stanford.edu/Datasets"

SPEC = DatasetSpec(
    name="stanford40",
    title="Stanford 40 Actions",
    modality="image",
    unit="image",
    splits=("official",),
    counts={"official": (4000, 0, 5532)},
    boxes=True,
    short_side=200,
    headline="mAP",
    homepage="http://vision.stanford.edu/Datasets/40actions.html",
    license="unknown",
    citation=(
        "B. Yao, X. Jiang, A. Khosla, A. L. Lin, L. Guibas, L. Fei-Fei. "
        "Human Action Recognition by Learning Bases of Action Attributes and Parts. ICCV 2011"
    ),
    size="about 0.3 GB",
    archives=(
        Archive(name="Stanford40_JPEGImages.zip", urls=(f"{_SITE}/Stanford40_JPEGImages.zip",)),
        Archive(name="Stanford40_XMLAnnotations.zip", urls=(f"{_SITE}/Stanford40_XMLAnnotations.zip",)),
    ),
)
