"""The data that travels between the rooms: frozen dataclasses and Protocols, nothing that computes.

Percent are 0..100 everywhere outside metrics code. Frame ranges are 0-based and half-open. Ids and media are relative
POSIX paths. Tensors are `[B, C, T, H, W]`, skeletons `[B, C, T, V, M]` (channels, frames, joints, bodies).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

T = TypeVar("T")
Subset = Literal["train", "val", "test"]
Unit = Literal["video", "sequence", "image"]
Stream = Literal["rgb", "flow", "pose"]

UNKNOWN = "unknown"


# ---------------------------------------------------------------------------------------------------------- progress
class Track(Protocol):
    """Progress is a parameter: `track(items, "decoding", total)` yields the items and shows how far it is.

    With `unit="bytes"` the items are no things to count but ints: how many of the `total` bytes there are by now. So a
    transfer may begin behind the start, and begin again.
    """

    def __call__(
        self, items: Iterable[T], what: str, total: int | None = None, unit: Literal["items", "bytes"] = "items"
    ) -> Iterator[T]: ...


def silent(
    items: Iterable[T], what: str, total: int | None = None, unit: Literal["items", "bytes"] = "items"
) -> Iterator[T]:
    """The default `track`: shows nothing."""
    yield from items


# ---------------------------------------------------------------------------------------------------------- data sets
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
    streams: tuple[Stream, ...] = ("rgb",)
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
    """Regular expression on groups: those held out of train when a recipe asks for `val`; empty: carved by hash."""
    homepage: str = ""
    licence: str = ""
    citation: str = ""
    size: str = ""
    """Rough size of what has to be fetched, for people ("6.5 GB")."""
    registration: str = ""
    """What a user must do by hand before the data can be had; empty: nothing."""
    archives: tuple[Archive, ...] = ()
    rows: Callable[[str], Iterable[Sample]] | None = None
    """Makes the rows of a split by rule (NTU); None: they stand in `splits/<name>/samples.csv`."""
    rendered: bool = False
    """harbench makes the archives itself, with `ingest.render.render_archives`; False: they are fetched."""


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


# ------------------------------------------------------------------------------------------------------------- ingest
@dataclass(frozen=True)
class MediaMatch:
    """What of a table was found under a folder. Nothing is dropped silently: what is left over is listed."""

    present: Mapping[str, Path]
    """Official path -> the user's file."""
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    duplicated: Mapping[str, tuple[str, ...]]


# ------------------------------------------------------------------------------------------------------------- frames
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


@dataclass(frozen=True)
class CacheReport:
    """What `build_cache` did."""

    done: tuple[str, ...]
    reused: tuple[str, ...]
    failed: Mapping[str, str]
    """Media -> the decoder's own words."""


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
    """rgb: uint8 `[C, T, H, W]`, normalised on the device; pose: float32 `[C, T, V, M]`."""


# --------------------------------------------------------------------------------------------------------- evaluation
@dataclass(frozen=True)
class Predictions:
    """Scores of every sample that was to be scored, in the order of the split table."""

    ids: tuple[str, ...]
    targets: npt.NDArray[np.int64]
    """[N]"""
    logits: npt.NDArray[np.float32]
    """[N, K], averaged over views; rows of NaN for samples that could not be scored."""
    probabilities: npt.NDArray[np.float32]
    """[N, K], softmax averaged over views; rows of NaN likewise."""
    views: npt.NDArray[np.float16] | None = None
    """[N, views, K] logits, when under 100 MB."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """sample id -> why it has no score. It counts as wrong."""


@dataclass(frozen=True)
class Metrics:
    """All in percent; undefined is None (mean AP without a positive, top-5 of four classes)."""

    values: Mapping[str, float | None]
    """`top1`, `top5`, `mean_class`, `mAP`, `mAP_voc`, `mAP_11`; with `clip_top1` where views were kept."""
    per_class: Mapping[str, Mapping[str, float | None]]
    """Class key -> `samples`, `recall`, `ap`."""
    samples: int
    scored: int
    confusion: tuple[tuple[int, ...], ...]
    """[K, K] counts, rows are truth; samples without a score are in none of its cells."""


@dataclass(frozen=True, slots=True)
class EpochStats:
    """One line of train.csv."""

    epoch: int
    lr: float
    train_loss: float
    train_top1: float
    val_loss: float | None
    val_top1: float | None
    seconds: float
    samples_per_second: float


# ---------------------------------------------------------------------------------------------------------- reporting
@dataclass(frozen=True, slots=True)
class Comparability:
    """The comparability key: two numbers are ranked together only if every part is equal and known."""

    dataset: str
    label_set: str
    """`101 classes`, or `14 of 21 classes`."""
    split_set: str
    """`split1`, `mean-of-3`, `xsub`, `official`, `lopo` (all folds pooled)."""
    unit: str
    metric: str
    level: str
    """`video` (all views averaged) or `clip` (one clip, no averaging); `image` and `sequence` units use `video`."""
    given: str
    """What the method is given at test time beside the media: `none`, `boxes`, `poses`."""
    complete: str
    """`yes` when all test samples were scored; else what was left out, in words."""


@dataclass(frozen=True, slots=True)
class ProtocolFacts:
    """How a number was made. Shown as columns, filterable; a difference is footnoted, `unknown` is a value of its own."""

    modality: str = UNKNOWN
    pretraining: str = UNKNOWN
    frames: str = UNKNOWN
    time_base: str = UNKNOWN
    size: str = UNKNOWN
    views: str = UNKNOWN
    averaging: str = UNKNOWN
    selection: str = UNKNOWN
    """`last`, `val`, `test` or `unknown`. A row selected on test stands in grey without a place."""
    decoder: str = UNKNOWN
    cache: str = UNKNOWN


@dataclass(frozen=True)
class RunRecord:
    """run.json: what a finished run is. A run is a resolved recipe x split x seed."""

    folder: str
    """`<dataset>/<recipe>[+tag]/<split>/seed<s>`, relative to the runs folder."""
    recipe: str
    dataset: str
    split: str
    seed: int
    model: str
    family: str
    key: Comparability
    protocol: ProtocolFacts
    fingerprint: str
    metrics: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float]]
    """metric -> 95 % interval in percent."""
    interval_method: str
    samples: Mapping[str, int]
    """`train`, `val`, `test`, `scored`."""
    partial: str
    """Why the run is not ranked ("downscaled media", "16 of 3783 test samples"); empty: it is complete."""
    exact: bool
    """False when the run had to deviate from bit-exact repetition."""
    params_m: float
    gflops: float | None
    """Per view, multiply-adds counted once."""
    seconds: Mapping[str, float]
    """Wall time of `train`, `evaluate`."""
    finished: str
    """ISO 8601, UTC."""
    harbench: str
    """Version that wrote the record."""


@dataclass(frozen=True)
class RunReport:
    """What `run` says of one run: what it is, where it lies, and what came out."""

    folder: str
    recipe: str
    dataset: str
    split: str
    seed: int
    state: str
    """`finished` now, `already finished`, or `dry run`."""
    metrics: Mapping[str, float | None]
    interval: tuple[float, float] | None
    headline: str
    failed: int
    """Test samples without a score; they count as wrong."""
    partial: str
    plan: Mapping[str, object]
    """Dry run only: resolved recipe, parameters, FLOPs, sizes, and what is in the way."""
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class PublishedResult:
    """One row of a published.csv: somebody else's number, with its source."""

    method: str
    family: str
    backbone: str
    params_m: float | None
    key: Comparability
    protocol: ProtocolFacts
    value: float
    """Percent."""
    year: int | None
    source_title: str
    source_id: str
    where_seen: str
    notes: str


@dataclass(frozen=True)
class Row:
    """One line of a leaderboard: a run, several runs taken together, or a published number."""

    place: int | None
    """None: shown, not ranked."""
    name: str
    kind: Literal["run", "published"]
    value: float
    interval: tuple[float, float] | None
    spread: float | None
    """Standard deviation over seeds, in points; None with fewer than two."""
    seeds: int
    family: str
    params_m: float | None
    gflops: float | None
    protocol: ProtocolFacts
    footnotes: tuple[int, ...]
    """1-based indices into the table's footnotes."""
    why_not: str
    """Why the row has no place, in words; empty when it has one."""
    source: str
    """Source of a published number, or the run folder(s)."""
    year: int | None


@dataclass(frozen=True)
class Table:
    """All numbers under one comparability key."""

    key: Comparability
    title: str
    rows: tuple[Row, ...]
    footnotes: tuple[str, ...]


@dataclass(frozen=True)
class Leaderboard:
    """Tables of one or more data sets, and what could not be compared with anything, with the reason in words."""

    tables: tuple[Table, ...]
    generated: str
    """ISO 8601, UTC."""
