"""`ablate`: finished runs' weights on clips with something taken away: the order of frames, the person, the background.

What a model still recognizes without it tells how much of its score rests on it. A model that was not trained on such
clips may also stumble over how they look, so what is lost is an upper bound.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from harbench.errors import RunError
from harbench.evaluation.distributed import choose_device
from harbench.files import write_text
from harbench.frames.clips import Reorder
from harbench.records import FrameCache, MediaInfo, Predictions, Track, silent
from harbench.runs.evaluate import OpenRun, open_run
from harbench.runs.plan import RunOptions

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from harbench.frames.clips import ClipDataset

Indices = npt.NDArray[np.int64]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom as fractions of the picture."""
People = Callable[[str], Box | None]
"""The box around the person in all frames of a media; None where nobody is known to be."""

_GRAY = 127
"""What is painted over: the middle of the range, which tells nothing of what was there."""
_MARGIN = 0.15
"""Of the longer side, added around joints on each side: they end at nose, wrists and ankles."""


def _backwards(indices: Indices, rng: np.random.Generator) -> Indices:
    return indices[::-1].copy()


def _shuffled(indices: Indices, rng: np.random.Generator) -> Indices:
    return rng.permutation(indices)


def _frozen(indices: Indices, rng: np.random.Generator) -> Indices:
    return np.full_like(indices, indices[len(indices) // 2])


ORDERS: Mapping[str, Reorder] = {"reversed": _backwards, "shuffled": _shuffled, "frozen": _frozen}
"""`reversed` keeps everything but the direction of time, `shuffled` all frames but not their order, `frozen` only the
middle frame of each clip, repeated."""


@dataclass(frozen=True)
class Blanked:
    """The frames of an open cache in gray, inside the person's box or outside of it.

    One box a media, not one a frame: a box that moved with the person would tell how it moves.
    """

    cache: FrameCache
    people: People
    person: bool
    """True: the person is blanked, and the background stays; False: the other way round."""

    def __contains__(self, media: object) -> bool:
        return media in self.cache

    def info(self, media: str) -> MediaInfo:
        return self.cache.info(media)

    def read(self, media: str, indices: Indices) -> npt.NDArray[np.generic]:
        """uint8 `[len(indices), H, W, 3]`. Where nobody is known to be, all is background."""
        frames = np.array(self.cache.read(media, indices))
        height, width = frames.shape[1:3]
        left, top, right, bottom = self.people(media) or (0.0, 0.0, 0.0, 0.0)
        rows = slice(int(top * height), int(np.ceil(bottom * height)))
        columns = slice(int(left * width), int(np.ceil(right * width)))
        if self.person:
            frames[:, rows, columns] = _GRAY
            return frames
        kept = np.full_like(frames, _GRAY)
        kept[:, rows, columns] = frames[:, rows, columns]
        return kept


def box_of_joints(pose: npt.NDArray[np.float32], width: int, height: int) -> Box | None:
    """The box around everybody's joints in all frames, `[T, M, V, C]` with x and y in pixels first; None without any.

    A joint at 0, 0 was not found.
    """
    points = pose[..., :2].reshape(-1, 2).astype(np.float64)
    points = points[np.isfinite(points).all(axis=1) & points.any(axis=1)]
    if not len(points):
        return None
    low, high = points.min(axis=0), points.max(axis=0)
    margin = _MARGIN * float((high - low).max())
    left, top = np.clip((low - margin) / (width, height), 0, 1).tolist()
    right, bottom = np.clip((high + margin) / (width, height), 0, 1).tolist()
    return left, top, right, bottom


NO_PERSON, NO_BACKGROUND = "no person", "no background"


@dataclass(frozen=True)
class Altered:
    """A run's accuracy with altered clips, beside its own."""

    change: str
    """`reversed`, `shuffled`, `frozen`, `no person`, `no background`."""
    top1: float
    difference: float
    """Points against the unaltered clips."""
    interval: tuple[float, float]
    """95 % of the difference, paired by sample, by group."""
    interval_method: str
    same: float
    """Percent of the scored samples for which the model predicts the same class as for the unaltered clips."""
    recall: dict[str, float | None]
    """Class key -> percent."""


@dataclass(frozen=True)
class Ablation:
    """How much of a run's accuracy needs time, the person, the background."""

    folder: str
    top1: float
    constant: float
    """What always saying the most frequent class of the test samples gives."""
    samples: int
    frames: int
    """Of one clip."""
    recall: dict[str, float | None]
    altered: tuple[Altered, ...]
    left_out: tuple[str, ...]
    """What could not be altered, and why."""
    failed: tuple[str, ...] = ()
    """Test samples without a score; they count as wrong."""


def ablate(
    folders: Sequence[Path], *, home: Path, runs: Path, device: str = "auto", track: Track = silent
) -> list[Ablation]:
    """Evaluate finished runs on their test samples as they are and altered.

    Frames of every clip are put into other orders; of media with person boxes, or with joints in a pose cache, the
    person is painted over, and all but the person. Several runs stand side by side: a model that saw order in training
    beside one that could not. Folders may be relative to `runs`. Each result is written to `<run>/ablate.json`; the run's
    number stays what it is.

    Raises:
        RunError: there is no finished run, its weights are for other classes, or nothing of its input can be altered.
    """
    return [_ablate(folder, home, runs, device, track) for folder in folders]


def _ablate(folder: Path, home: Path, runs: Path, device: str, track: Track) -> Ablation:
    import numpy as np

    from harbench.evaluation.intervals import paired_interval
    from harbench.evaluation.metrics import right, score
    from harbench.evaluation.predict import predict
    from harbench.frames.streams import normalize

    opened = open_run(folder, RunOptions(home, runs))
    recipe, inputs = opened.recipe, opened.inputs
    alterations, left_out = _alterations(opened, home)
    if not alterations:
        raise RunError(f"{opened.folder}: nothing of its input can be altered: {'; '.join(left_out)}")
    evaluated = partial(
        predict,
        opened.model,
        device=choose_device(device),
        normalize=partial(normalize, config=recipe.input),
        workers=recipe.train.workers,
        track=track,
    )
    groups = [sample.group for sample in inputs.table.subset("test")]
    classes, average = inputs.table.classes, recipe.eval.average
    own = evaluated(inputs.test)
    hits, metrics = right(own, average), score(own, classes, average=average)
    altered = []
    for change, data in alterations.items():
        found = evaluated(data)
        differences = right(found, average).astype(float) - hits
        low, high, method = paired_interval(differences, groups)
        same = _same_class(own, found, average)
        recall = score(found, classes, average=average).per_class
        altered.append(
            Altered(
                change=change,
                top1=100 * float(right(found, average).mean()),
                difference=100 * float(differences.mean()),
                interval=(low, high),
                interval_method=method,
                same=100 * float(same.mean()) if len(same) else 0.0,
                recall={key: values["recall"] for key, values in recall.items()},
            )
        )
    result = Ablation(
        folder=str(opened.folder),
        top1=100 * float(hits.mean()),
        constant=100 * float(np.bincount(own.targets).max() / len(hits)),
        samples=len(hits),
        frames=recipe.input.clip.frames_per_clip,
        recall={key: values["recall"] for key, values in metrics.per_class.items()},
        altered=tuple(altered),
        left_out=left_out,
        failed=tuple(own.failed),
    )
    write_text(opened.folder / "ablate.json", json.dumps(asdict(result), indent=2))
    return result


def _same_class(own: Predictions, found: Predictions, average: str) -> npt.NDArray[np.bool_]:
    """Of the samples that have a score in `own`: whether `found` has one and predicts the same class."""
    import numpy as np

    first, second = (each.probabilities if average == "prob" else each.logits for each in (own, found))
    scored = ~np.isnan(first).any(axis=1)
    first, second = first[scored], second[scored]
    same: npt.NDArray[np.bool_] = first.argmax(axis=1) == second.argmax(axis=1)
    return same & ~np.isnan(second).any(axis=1)


def _alterations(opened: OpenRun, home: Path) -> tuple[dict[str, ClipDataset], tuple[str, ...]]:
    """The test clips in every alteration that this run's input allows, and why the others are left out."""

    data, unit, stream = opened.inputs.test, opened.inputs.table.unit, opened.recipe.data.cache.stream
    found, left_out = {}, []
    if unit == "image":
        left_out.append("stills have no order of frames")
    elif stream == "flow":
        left_out.append("optical flow has the motion in every frame, so their order is not altered")
    else:
        found = {name: data.reordered(order) for name, order in ORDERS.items()}
    people = _people(opened, home)
    if isinstance(people, str):
        left_out.append(f"person and background are not blanked: {people}")
    else:
        blanked = {NO_PERSON: True, NO_BACKGROUND: False}
        found |= {name: data.with_cache(Blanked(opened.inputs.cache, people, each)) for name, each in blanked.items()}
    return found, tuple(left_out)


def _people(opened: OpenRun, home: Path) -> People | str:
    """Where the person is in each test media, or why that is not known."""
    import numpy as np

    from harbench.frames.cache import open_cache
    from harbench.paths import cache_folder
    from harbench.prepare.boxes import boxes_file, load_boxes

    recipe, inputs = opened.recipe, opened.inputs
    spec, name = inputs.spec, inputs.table.dataset
    if recipe.data.cache.stream != "rgb":
        return f"the run reads {recipe.data.cache.stream}, not pictures"
    if recipe.input.with_pose:
        return "the run sees the joints too, which show the person"
    if recipe.data.boxes:
        return "the run sees the person's box alone"
    if spec.boxes:
        return load_boxes(home, name).get if boxes_file(home, name).is_file() else "no boxes were prepared"
    if not spec.pose_suffix:
        return f"{name} has neither person boxes nor joints in pixels"
    folder = cache_folder(home, name, "pose")
    make = f"harbench prepare {name} --split {inputs.table.split} --stream pose"
    if not folder.is_dir():
        return f"no joints are prepared:  {make}"
    poses = open_cache(folder)
    media = dict.fromkeys(sample.media for sample in inputs.table.subset("test") if sample.media in inputs.cache)
    if missing := [each for each in media if each not in poses]:
        return f"the joints of {len(missing)} of {len(media)} test media are not prepared:  {make}"
    boxes = {}
    for each in media:
        joints = poses.read(each, np.arange(poses.info(each).frames)).astype(np.float32, copy=False)
        boxes[each] = box_of_joints(joints, *inputs.cache.info(each).source_size)
    return boxes.get
