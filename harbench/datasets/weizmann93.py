"""Weizmann as its authors publish it: 93 files, because lena runs, skips and walks twice. Leave-one-person-out."""

import re

from harbench.datasets import weizmann
from harbench.records import Archive, DatasetSpec

_ACTIONS = ("bend", "jack", "jump", "pjump", "run", "side", "skip", "walk", "wave1", "wave2")
_SITE = "www.wisdom.weizmann.ac.il/~vision/VideoAnalysis/Demos/SpaceTimeActions/DB"
_SPLITS = weizmann.SPEC.splits


def _media_of_weizmann(media: str) -> str:
    """lena runs, skips and walks twice, and the edition of 90 files has one of the two: it may be either."""
    return re.sub(r"(?<=/lena_)(run|skip|walk)[12]$", r"\1", media)


SPEC = DatasetSpec(
    name="weizmann93",
    title="Weizmann (93 files)",
    origin="weizmann",
    origin_media=_media_of_weizmann,
    modality="video",
    unit="video",
    splits=_SPLITS,
    group="person",
    leave_one_group_out=True,
    split_sets={"lopo": _SPLITS},
    counts=dict.fromkeys(_SPLITS, (83, 0, 10)) | {"lopo-lena": (80, 0, 13)},
    short_side=144,
    homepage=weizmann.SPEC.homepage,
    license=weizmann.SPEC.license,
    citation=weizmann.SPEC.citation,
    archives=tuple(
        Archive(name=f"{action}.zip", urls=tuple(f"{scheme}://{_SITE}/{action}.zip" for scheme in ("https", "http")))
        for action in _ACTIONS
    ),
)
