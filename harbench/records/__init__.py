"""The data that travels between the rooms: frozen dataclasses and Protocols, nothing that computes.

Percent are 0..100 everywhere outside metrics code. Frame ranges are 0-based and half-open. Ids and media are relative
POSIX paths. Tensors are `[B, C, T, H, W]`, skeletons `[B, C, T, V, M]` (channels, frames, joints, bodies).
"""

from harbench.records.datasets import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    Archive,
    CacheReport,
    ClassLabel,
    Clip,
    DatasetSpec,
    FrameCache,
    MediaInfo,
    MediaMatch,
    Sample,
    SplitCheck,
    SplitTable,
    Subset,
    Unit,
)
from harbench.records.progress import (
    Track,
    silent,
)
from harbench.records.results import (
    SUPERVISED,
    UNKNOWN,
    Comparability,
    EpochStats,
    JointInterval,
    Leaderboard,
    Metrics,
    Predictions,
    ProtocolFacts,
    PublishedResult,
    Row,
    RunRecord,
    RunReport,
    Table,
)

__all__ = [
    "IMAGE_SUFFIXES",
    "SUPERVISED",
    "UNKNOWN",
    "VIDEO_SUFFIXES",
    "Archive",
    "CacheReport",
    "ClassLabel",
    "Clip",
    "Comparability",
    "DatasetSpec",
    "EpochStats",
    "FrameCache",
    "JointInterval",
    "Leaderboard",
    "MediaInfo",
    "MediaMatch",
    "Metrics",
    "Predictions",
    "ProtocolFacts",
    "PublishedResult",
    "Row",
    "RunRecord",
    "RunReport",
    "Sample",
    "SplitCheck",
    "SplitTable",
    "Subset",
    "Table",
    "Track",
    "Unit",
    "silent",
]
