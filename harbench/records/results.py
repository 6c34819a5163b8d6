"""Numbers that can be compared: scores, metrics, runs, published results, leaderboards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

UNKNOWN = "unknown"
SUPERVISED = "supervised"


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
    kind: str = SUPERVISED
    """`supervised`, `frozen-probe` (a classification layer on a body that was not trained), `4-shot` (so many training samples
    a class), `zero-shot`, `base-to-novel`."""


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
    """`last`, `val`, `test` or `unknown`. A row selected on test stands in gray without a place."""
    decoder: str = UNKNOWN
    cache: str = UNKNOWN


@dataclass(frozen=True, slots=True)
class JointInterval:
    """A metric over the splits of a set, in percent, with its 95 % interval, whose groups were drawn for all together.

    Over the splits that are published together it is the mean; over the folds of leave-one-person-out it is made of the
    predictions of all folds.
    """

    metric: str
    value: float
    low: float
    high: float
    method: str


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
    samples: Mapping[str, int]
    """`train`, `val`, `test`, `scored`; `seen` where the weights were trained on some of the test samples before."""
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
    members: Mapping[str, float] = field(default_factory=dict)
    """Folder -> weight of the runs whose scores this one fuses; empty: it was trained."""
    interval_methods: Mapping[str, str] = field(default_factory=dict)
    """metric -> how its interval was made, in words."""
    joint: Mapping[str, tuple[JointInterval, ...]] = field(default_factory=dict)
    """Split set -> metrics over all of its splits, where all are there. They lie beside them, not in run.json."""
    latency_ms: float | None = None
    """Median wall time of one forward pass of one view; None where it was not measured."""
    latency_on: str = ""
    """The device that it was measured on, in words."""
    recipe_sha256: str = ""
    """Of the resolved recipe without its split: seeds are averaged only where it is equal. Empty: not recorded."""
    edition: str = ""
    """Digest of the split's test samples (of a fold: of all samples) with their classes, which a data set that is made again
    changes. Empty: not recorded, or not all of the data set was used."""
    files: Mapping[str, str] = field(default_factory=dict)
    """File name -> SHA-256 of weights, predictions, views and training samples. Empty: an older harbench kept none."""
    notes: tuple[str, ...] = ()
    """Footnotes: what decoders noted of the media of the split."""
    record_sha256: str = ""
    """Of this file with nothing in this place; empty: an older harbench kept none."""


@dataclass(frozen=True)
class RunReport:
    """What `run` says of one run: what it is, where it lies, and what came out."""

    folder: str
    recipe: str
    dataset: str
    split: str
    seed: int
    state: str
    """`finished` now, `already finished`, `dry run`, `failed`, `damaged` where the record of a finished run cannot be read,
    or as which job it was submitted; numbers only if finished."""
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    interval: tuple[float, float] | None = None
    headline: str = ""
    failed: int = 0
    """Test samples without a score; they count as wrong."""
    partial: str = ""
    plan: Mapping[str, object] = field(default_factory=dict)
    """Dry run only: resolved recipe, parameters, FLOPs, sizes, and what is in the way."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    """Why there is no number, of a run that failed among others."""
    notes: tuple[str, ...] = ()
    """As in the run's record."""


@dataclass(frozen=True, slots=True)
class PublishedResult:
    """One row of a published.csv: somebody else's number, with its source."""

    method: str
    family: str
    backbone: str
    params_m: float | None
    gflops: float | None
    """Multiply-adds of one view, 10^9."""
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
    kind: Literal["run", "published", "bound"]
    """A bound is an upper bound, such as an oracle: a line that other rows are measured against, without a place."""
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
    link: str = ""
    """Address of the source of a published number."""
    runs: tuple[str, ...] = ()
    """Folders of the runs behind the number; a published number has none."""
    latency_ms: float | None = None
    latency_on: str = ""


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
    broken: Mapping[str, str] = field(default_factory=dict)
    """Run folder, or `data set NAME` -> what of it cannot be read, and why."""


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
    novel: npt.NDArray[np.bool_] | None = None
    """[K], the classes that were not trained on, where a sample is scored among those of its own half alone."""


@dataclass(frozen=True)
class Metrics:
    """All in percent; undefined is None (mean AP without a positive, top-5 of four classes)."""

    values: Mapping[str, float | None]
    """`top1`, `top5`, `mean_class`, `mAP`, `mAP_voc`, `mAP_11`; with `clip_top1` where views were kept, and
    `base`, `novel`, `harmonic` where half of the classes are novel."""
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
