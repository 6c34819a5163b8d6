"""`browse`: a contact sheet of a prepared data set: every sample as a small picture that plays under the pointer.

One file, no network. The pictures of a class are one JPEG, of which each sample shows a part, so that thousands scroll well.
"""

from __future__ import annotations

import base64
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harbench import paths
from harbench.errors import CacheError, HarbenchError, RunError
from harbench.files import write_text
from harbench.records import FrameCache, Sample, SplitTable, Track, silent

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

TEMPLATES = Path(__file__).parent / "page" / "templates"
SIDE = 64
"""Pixels of a picture's side."""
FRAMES = 4
"""Pictures of a video, evenly spaced."""
MOST = 10_000
"""Pictures on a page, which keep it under about 20 MB; beyond them each class shows as many of its samples as others."""
_QUALITY = 55


@dataclass(frozen=True)
class Cell:
    """One sample on the sheet."""

    sample_id: str
    subset: str
    place: int
    """Of its pictures in the JPEG of its class."""
    frames: int
    said: str = ""
    """What the run took it for, where it is wrong; `no score` where it has none."""
    seconds: float = 0.0


@dataclass(frozen=True)
class ClassSheet:
    """The samples of one class."""

    key: str
    display: str
    samples: int
    cells: tuple[Cell, ...]
    sprite: str
    """A `data:` JPEG of one row of pictures after the other."""
    columns: int


@dataclass(frozen=True)
class Sheet:
    """What was written."""

    output: str
    dataset: str
    split: str
    samples: int
    shown: int
    bytes: int
    failed: dict[str, str] = field(default_factory=dict)
    """Media that could not be decoded -> why."""
    missing: int = 0
    """Samples whose media are not in the cache."""


def browse(
    name: str, *, home: Path, output: Path, split: str = "", run: Path | None = None, runs: Path = Path("runs"),
    duplicates: bool = False, track: Track = silent,
) -> Sheet:  # fmt: skip
    """Write the contact sheet of a split of a prepared data set to `output`, an .html.

    With `run`, the samples that a finished run has wrong stand out. With `duplicates`, pairs that look alike on both sides of
    the split are listed, to be looked at.

    Raises:
        CacheError: the data set is not prepared. DatasetError: there is no such data set or split. RunError: no such run.
    """
    from jinja2 import Environment, FileSystemLoader

    from harbench.datasets.tables import expand_splits, load_spec, load_split
    from harbench.frames.cache import open_cache
    from harbench.prepare.manifest import known_failures

    spec = load_spec(name, home)
    (chosen,) = expand_splits(spec, split or spec.splits[0], home)[:1]
    table = load_split(name, chosen, home)
    folder = _folder(home, name)
    cache = open_cache(folder)
    failed = known_failures(home, name, folder.name)
    said = _mistakes(run, runs, table) if run is not None else {}
    present = [sample for sample in table.samples if sample.media in cache]
    moving = any(cache.info(sample.media).frames > 1 for sample in present[:50])
    limit = _per_class(present, FRAMES if moving else 1)
    by_class: dict[int, list[Sample]] = defaultdict(list)
    for sample in sorted(present, key=lambda sample: sample.sample_id not in said):
        by_class[sample.target].append(sample)
    sheets = [
        _sheet(table, target, by_class[target], limit, cache, said)
        for target in track(range(len(table.classes)), "drawing", len(table.classes))
        if by_class[target]
    ]
    if not sheets:
        raise CacheError(f"none of the samples of {name} {chosen} is in {folder}; first   harbench prepare {name}")
    text = (
        Environment(loader=FileSystemLoader([TEMPLATES]), autoescape=True, trim_blocks=True, lstrip_blocks=True)
        .get_template("browse.html.j2")
        .render(
            title=f"{spec.title}, {chosen}", sheets=sheets, side=SIDE, failed=failed, cache=folder.name,
            counts=Counter(sample.subset for sample in table.samples), total=len(table.samples), run=run, wrong=len(said),
            missing=len(table.samples) - len(present), limit=limit,
            pairs=_pairs(table, spec.source, cache, track) if duplicates else None,
        )
    )  # fmt: skip
    write_text(output, text)
    shown = sum(len(sheet.cells) for sheet in sheets)
    missing = len(table.samples) - len(present)
    return Sheet(str(output), name, chosen, len(table.samples), shown, output.stat().st_size, failed, missing)


def _folder(home: Path, name: str) -> Path:
    """The smallest cache of pictures, else that of poses."""
    caches = [path for path in paths.cache_folder(home, name, "").glob("*") if any(path.glob("frames-*.idx"))]
    ranked = sorted(
        caches, key=lambda path: (not path.name.startswith("rgb"), "native" in path.name, len(path.name), path.name)
    )
    if not ranked or ranked[0].name.startswith("flow"):
        raise CacheError(f"{name} is not prepared here: there is no cache of frames; first   harbench prepare {name}")
    return ranked[0]


def _per_class(samples: Sequence[Sample], frames: int) -> int:
    """Samples of a class that are shown: as many as keep the page small."""
    sizes = sorted(Counter(sample.target for sample in samples).values(), reverse=True)
    limit = max(sizes, default=1)
    while sum(min(size, limit) for size in sizes) * frames > MOST and limit > 1:
        limit -= max(1, limit // 20)
    return limit


def _mistakes(run: Path, runs: Path, table: SplitTable) -> dict[str, str]:
    """Sample -> what a run took it for, of those that it has wrong. Raises RunError for a run of another split."""
    import numpy as np

    from harbench.runs.folder import load_class_keys, load_predictions, load_run

    folder = run if (run / "run.json").is_file() else runs / run
    record = load_run(folder)
    if (record.dataset, record.split) != (table.dataset, table.split):
        raise RunError(
            f"{folder} is a run on {record.dataset} {record.split}, and this sheet is of {table.dataset} {table.split}; "
            f"say   harbench browse {record.dataset} --split {record.split} --run {run}"
        )
    predictions, keys = load_predictions(folder), load_class_keys(folder)
    scores = predictions.logits if record.protocol.averaging == "logit" else predictions.probabilities
    return {
        name: keys[int(row.argmax())] if np.isfinite(row).all() else "no score"
        for name, target, row in zip(predictions.ids, predictions.targets.tolist(), scores, strict=True)
        if not np.isfinite(row).all() or int(row.argmax()) != target
    }


def _sheet(
    table: SplitTable, target: int, samples: Sequence[Sample], limit: int, cache: FrameCache, said: Mapping[str, str]
) -> ClassSheet:
    """One class: its cells, and the JPEG that they are parts of."""
    import cv2
    import numpy as np

    pictures: list[npt.NDArray[np.uint8]] = []
    cells = []
    for sample in samples[:limit]:
        try:
            frames = _pictures(cache, sample)
        except HarbenchError:  # damaged since; `prepare --verify` says so
            continue
        info = cache.info(sample.media)
        length = (min(sample.end or info.frames, info.frames) - (sample.start or 0)) / info.fps if info.fps else 0.0
        cells.append(
            Cell(sample.sample_id, sample.subset, len(pictures), len(frames), said.get(sample.sample_id, ""), length)
        )
        pictures += frames
    columns = max(1, min(64, len(pictures)))
    rows = -(-len(pictures) // columns)
    image = np.zeros((rows * SIDE, columns * SIDE, 3), np.uint8)
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        image[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE] = picture
    content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
    sprite = f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
    label = table.classes[target]
    return ClassSheet(label.key, label.display, len(samples), tuple(cells), sprite, columns)


def _pictures(cache: FrameCache, sample: Sample) -> list[Any]:
    """A few frames of a sample, each a square of `SIDE`."""
    import cv2
    import numpy as np

    info = cache.info(sample.media)
    start, end = sample.start or 0, min(sample.end or info.frames, info.frames)
    wanted = np.unique(np.linspace(start, max(start, end - 1), FRAMES + 2)[1:-1].round().astype(np.int64))
    frames = cache.read(sample.media, wanted)
    if frames.dtype != np.uint8:
        return _drawn(np.asarray(frames, np.float32))
    squares = []
    for frame in np.asarray(frames, np.uint8):
        scale = SIDE / max(frame.shape[:2])
        size = max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale))
        small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        square = np.zeros((SIDE, SIDE, 3), np.uint8)
        top, left = (SIDE - size[1]) // 2, (SIDE - size[0]) // 2
        square[top : top + size[1], left : left + size[0]] = small
        squares.append(square)
    return squares


def _drawn(joints: npt.NDArray[np.float32]) -> list[Any]:
    """Poses `[T, M, V, C]` as skeletons, all frames in one scale; a third coordinate means that the second grows upwards."""
    import cv2
    import numpy as np

    from harbench.frames.skeletons import LAYOUTS

    points = np.nan_to_num(joints[..., :2].astype(np.float64))
    seen = (points != 0).any(axis=-1)
    layout = LAYOUTS.get(joints.shape[2])
    if layout is not None and layout.coordinates == 3 and joints.shape[2] == 25:  # a Kinect's y grows upwards
        points[..., 1] *= -1
    low = points[seen].min(axis=0) if seen.any() else np.zeros(2)
    span = max(float(np.ptp(points[seen], axis=0).max()), 1e-6) if seen.any() else 1.0
    placed = 4 + (points - low) / span * (SIDE - 8)
    squares = []
    for frame, visible in zip(placed, seen, strict=True):
        square = np.full((SIDE, SIDE, 3), 24, np.uint8)
        for body, there in zip(frame, visible, strict=True):
            for joint, parent in enumerate(layout.parents if layout else range(len(body))):
                if there[joint] and there[parent]:
                    ends = [tuple(body[each].astype(int).tolist()) for each in (joint, parent)]
                    cv2.line(square, ends[0], ends[1], (120, 190, 255), 1, cv2.LINE_AA)
        squares.append(square)
    return squares


def _pairs(table: SplitTable, source: str, cache: FrameCache, track: Track) -> list[tuple[str, str, float]]:
    """Pairs of media that look alike in test and train."""
    from harbench.frames.duplicates import find_duplicates

    sides: dict[str, dict[str, Sample]] = defaultdict(dict)
    for sample in table.samples:
        sides["test" if sample.subset == "test" else "train"].setdefault(sample.media, sample)
    both = {**sides["train"], **sides["test"]}
    looks = {media: (each.group.partition("/")[2] if source else each.group) for media, each in both.items()}
    labels = {media: table.classes[each.target].key for media, each in both.items()}
    train = tuple(media for media in sides["train"] if media not in sides["test"])
    found = find_duplicates(cache, train, tuple(sides["test"]), looks, labels, track=track)
    return [(pair.test, pair.train, pair.distance) for pair in found.pairs[:200]]
