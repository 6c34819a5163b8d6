"""What is classified and by which partition, what a data set is, media on disk and in caches, and clips cut from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

Subset = Literal["train", "val", "test"]
Unit = Literal["video", "sequence", "image"]


@dataclass(frozen=True, slots=True)
class ClassLabel:
    """One class. The key is `[A-Za-z0-9_+-]+` and may be a folder name; the display name is for people."""

    key: str
    display: str


@dataclass(frozen=True, slots=True)
class Sample:
    """What is classified: a media, or frames [start, end) of one."""

    sample_id: str
    """Safe relative path, unique in the data set, never a bare basename of an ambiguous file."""
    target: int
    """Index into the classes of the table."""
    group: str
    """What must not straddle train and test (source video, person); empty when the publisher does not say."""
    subset: Subset
    media: str
    """Official relative path of the media."""
    start: int | None = None
    end: int | None = None
    """Half-open frame range; None is the whole media."""


@dataclass(frozen=True)
class SplitTable:
    """One official partition: which sample is in which subset, with its class and group. Needs no media."""

    dataset: str
    split: str
    unit: Unit
    classes: tuple[ClassLabel, ...]
    samples: tuple[Sample, ...]

    def subset(self, name: Subset) -> tuple[Sample, ...]:
        """The samples of one subset, in official order."""
        return tuple(sample for sample in self.samples if sample.subset == name)

    def media(self) -> tuple[str, ...]:
        """The distinct media of the table in order of first appearance."""
        return tuple(dict.fromkeys(sample.media for sample in self.samples))


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive as published."""

    name: str
    urls: tuple[str, ...] = ()
    """Mirrors, in the order in which they are tried."""
    checksum: str = ""
    """`sha256:<hex>`, `sha1:<hex>` or `md5:<hex>` of the file; empty: nobody published one."""
    bytes: int | None = None
    instead_of: str = ""
    """Name of an archive that holds the same media in another packing: one of the two is enough."""


@dataclass(frozen=True)
class DatasetSpec:
    """What a data set IS. One module under `datasets/` each, found by its name."""

    name: str
    title: str
    modality: Literal["video", "image", "pose"]
    unit: Unit
    """What one row of the default split is."""
    splits: tuple[str, ...]
    """Official splits, the default one first. `lopo-<group>` and `<split>-video` are derived, not listed."""
    pose_shape: tuple[int, int] = (0, 0)
    """(C, V) of its poses: channels and joints; zeros where it has none."""
    found_joints: tuple[int, int] = (0, 0)
    """(C, V) of poses that were found in the pixels of its media, as a frame cache here has them; zeros: not known."""
    pose_suffix: str = ""
    """Where a video data set carries joints: the pose file of a media is its path with the suffix replaced by this."""
    boxes: bool = False
    """Person boxes come with the media, in the publisher's XML."""
    group: str = ""
    """What a group is, in words ("source video", "person"); empty: the publisher gives none."""
    source: str = ""
    """Where a group is `<class>/<source>` and the same source is under other classes too: what it is ("film")."""
    origin: str = ""
    """The collection that its media come from, where that is not its own name: media of one origin and one path without
    suffix are the same media (NTU 60 is part of NTU 120)."""
    origin_media: Callable[[str], str] | None = None
    """From a media path without suffix to its path in the origin; None: they are the same."""
    overlaps: tuple[str, ...] = ()
    """Data sets that share clips with this one, under the same base names; harbench may have no table of them."""
    leave_one_group_out: bool = False
    """`lopo-<group>` splits are part of the field's protocols for this data set."""
    shares_groups: tuple[str, ...] = ()
    """Splits that by definition have a group on both sides of train and test (NTU's cross-view: the same persons)."""
    split_sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name of a set of splits whose mean is published -> its splits, e.g. `mean-of-3`."""
    counts: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    """Official number of train, val, test samples of each split; `splits --check` holds the table against it."""
    short_side: int = 0
    """Pixels: the median short side of the media as published is at least this; smaller ones are downscaled copies."""
    headline: str = "top1"
    """The metric that the field reports on this data set."""
    validation: str = ""
    """Regular expression on the training groups that `data.validation: official` holds out; empty: there are none."""
    homepage: str = ""
    license: str = ""
    citation: str = ""
    size: str = ""
    """Rough size of what has to be fetched, for people ("6.5 GB")."""
    registration: str = ""
    """What a user must do by hand before the data can be had; empty: nothing."""
    archives: tuple[Archive, ...] = ()
    rows: Callable[[str], Iterable[Sample]] | None = None
    """Makes the rows of a split by rule (NTU); None: they stand in `splits/<name>/samples.csv`."""
    lists: Mapping[Subset, Archive] = field(default_factory=dict)
    """Official lists of its media, of which `prepare` makes the table in the data home: where every copy lacks others, or
    lists may not be passed on. Empty: the table is shipped."""
    read_list: Callable[[str], Iterable[tuple[str, str]]] | None = None
    """From the text of such a list to (media, name of the class)."""
    rendered: bool = False
    """harbench makes the archives itself, with `synthetic.render_archives`; False: they are fetched."""


@dataclass(frozen=True)
class SplitCheck:
    """Whether a split table is what the publisher says. `problems` is empty when everything holds."""

    dataset: str
    split: str
    counts: Mapping[str, int]
    """Samples per subset."""
    expected: Mapping[str, int] | None
    groups: Mapping[str, int]
    """Distinct groups per subset; 0 where the publisher gives none."""
    shared_groups: int
    """Groups on both sides of train/val and test."""
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What is so in the publisher's own partition, and a user should know."""


IMAGE_SUFFIXES = frozenset((
    ".avif", ".bmp", ".dib", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
))  # fmt: skip
"""Stills that OpenCV decodes. Lower case, as VIDEO_SUFFIXES."""
VIDEO_SUFFIXES = frozenset((
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg",
    ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mpv", ".mts", ".mxf", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob",
    ".webm", ".wmv",
))  # fmt: skip
"""Videos that PyAV decodes."""


@dataclass(frozen=True)
class MediaMatch:
    """What of a table was found under a folder. Nothing is dropped silently: what is left over is listed."""

    present: Mapping[str, Path]
    """Official path -> the user's file."""
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    duplicated: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What is known of a cached media: decoded frame count (never the header's), time base, stored size."""

    frames: int
    fps: float
    """Frames per second; 0 for stills."""
    width: int
    height: int
    source_size: tuple[int, int] = (0, 0)
    """Width and height as decoded, before resizing; zeros where unknown."""
    decoder: str = ""
    """Who decoded it, with version: `pyav 18.1.0`; empty where unknown."""
    times: npt.NDArray[np.float64] | None = field(default=None, compare=False)
    """Seconds `[frames]` at which each frame is shown, where the frame rate varies; else `fps` says it."""
    note: str = ""
    """What its decoder noted (`cut short after frame 32 of 60`); empty: nothing."""


@dataclass(frozen=True)
class CacheReport:
    """What `build_cache` did."""

    done: tuple[str, ...]
    reused: tuple[str, ...]
    failed: Mapping[str, str]
    """Media -> the decoder's own words."""
    noted: Mapping[str, str] = field(default_factory=dict)
    """Media that are there, and what their decoder noted."""


class FrameCache(Protocol):
    """An open cache: random reads through mmap, cheap to send to a loader process (it reopens by path)."""

    def __contains__(self, media: object) -> bool: ...

    def info(self, media: str) -> MediaInfo: ...

    def read(self, media: str, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.generic]:
        """rgb: uint8 `[len(indices), H, W, 3]` in RGB order; pose: float32 `[len(indices), M, V, C]`."""
        ...


@dataclass(frozen=True, slots=True)
class Clip:
    """One view of one sample, ready to be batched."""

    sample_id: str
    target: int
    view: int
    frames: torch.Tensor
    """rgb: uint8 `[C, T, H, W]`, normalized on the device; pose: float32 `[C, T, V, M]`."""
    poses: torch.Tensor | None = None
    """Joints of the same frames, float32 `[C, T, V, M]`, where pictures come with poses."""
