"""What is classified and by which partition: samples, tables, and what a data set is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

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
