"""What a run reads, and what of it is not as listed."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import pytest

from harbench.datasets.tables import load_split
from harbench.frames.cache import cut_ranges, warn_of_cut_ranges
from harbench.records import MediaInfo


@dataclass(frozen=True)
class ShortCache:
    """Every video decodes in full but KTH's damaged one."""

    def __contains__(self, media: object) -> bool:
        return media != "person02_boxing_d4_uncomp.avi"

    def info(self, media: str) -> MediaInfo:
        return MediaInfo(304 if media == "person01_boxing_d4_uncomp.avi" else 1492, 25.0, 160, 120)


def test_the_damaged_kth_video_is_told(caplog: pytest.LogCaptureFixture) -> None:
    samples = load_split("kth", "official").samples
    cut = cut_ranges(samples, ShortCache())
    assert cut == {"person01_boxing_d4_uncomp/4": "frames 245 to 369, decoded up to 303"}
    with caplog.at_level(logging.WARNING):
        warn_of_cut_ranges(samples, ShortCache())
        warn_of_cut_ranges(samples[:3], ShortCache())
    assert [record.getMessage() for record in caplog.records] == [
        "frame ranges cut to what was decoded (1): person01_boxing_d4_uncomp/4 (frames 245 to 369, decoded up to 303)"
    ]
