"""`probe`: finished runs' weights on clips reversed, shuffled and frozen, without the person and without the background."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harbench.errors import RunError
from harbench.evaluation.processes import choose_device
from harbench.files import write_text
from harbench.records import Track, silent
from harbench.runs.evaluate import OpenRun, open_run

if TYPE_CHECKING:
    from harbench.evaluation.probe import People
    from harbench.frames.clips import ClipDataset

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
    """Percent of the samples of which the model says the same as of the unaltered clips, right or wrong."""
    recall: dict[str, float | None]
    """Class key -> percent."""


@dataclass(frozen=True)
class Probe:
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


def probe(
    folders: Sequence[Path], *, home: Path, runs: Path, device: str = "auto", track: Track = silent
) -> list[Probe]:
    """Evaluate finished runs on their test samples as they are and altered.

    Frames of every clip are put into other orders; of media with person boxes, or with joints in a pose cache, the
    person is painted over, and all but the person. Several runs stand side by side: a model that saw order in training
    beside one that could not. Folders may be relative to `runs`. Each result is written to `<run>/probe.json`; the run's
    number stays what it is.

    Raises:
        RunError: there is no finished run, its weights are for other classes, or nothing of its input can be altered.
    """
    return [_probe(folder, home, runs, device, track) for folder in folders]


def _probe(folder: Path, home: Path, runs: Path, device: str, track: Track) -> Probe:
    import numpy as np

    from harbench.evaluation.intervals import paired_interval
    from harbench.evaluation.metrics import right, score
    from harbench.evaluation.predict import predict
    from harbench.frames.streams import normalize

    opened = open_run(folder, home=home, runs=runs)
    recipe, inputs = opened.recipe, opened.inputs
    alterations, left_out = _alterations(opened, home)
    if not alterations:
        raise RunError(f"{opened.folder}: nothing can be altered for probe: {'; '.join(left_out)}")
    evaluated = partial(
        predict,
        opened.model,
        config=recipe.eval,
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
        same = found.probabilities.argmax(axis=1) == own.probabilities.argmax(axis=1)
        recall = score(found, classes, average=average).per_class
        altered.append(
            Altered(
                change=change,
                top1=100 * float(right(found, average).mean()),
                difference=100 * float(differences.mean()),
                interval=(low, high),
                interval_method=method,
                same=100 * float(same.mean()),
                recall={key: values["recall"] for key, values in recall.items()},
            )
        )
    result = Probe(
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
    write_text(opened.folder / "probe.json", json.dumps(asdict(result), indent=2))
    return result


def _alterations(opened: OpenRun, home: Path) -> tuple[dict[str, ClipDataset], tuple[str, ...]]:
    """The test clips in every alteration that this run's input allows, and why the others are left out."""
    from harbench.evaluation.probe import ORDERS, Blanked

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

    from harbench.evaluation.probe import box_of_joints
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


def probe_text(results: Sequence[Probe]) -> str:
    """The probes in lines for people; several also side by side."""
    lines = [line for result in results for line in _told(result)]
    if len(results) > 1:
        changes = list(dict.fromkeys(each.change for result in results for each in result.altered))
        lines += ["", "  ".join(f"{name:>13}" for name in ("as it is", *changes))]
        for result in results:
            top1 = {each.change: f"{each.top1:.2f}" for each in result.altered}
            cells = [f"{result.top1:.2f}", *(top1.get(change, "") for change in changes)]
            lines.append("  ".join(f"{cell:>13}" for cell in cells) + f"  {result.folder}")
    return "\n".join(
        [*lines, "What is lost is an upper bound: altered clips also look like nothing the model was trained on."]
    )


def _told(result: Probe) -> list[str]:
    lines = [
        f"{result.folder}: {result.samples} test samples, clips of {result.frames} "
        f"frame{'s' * (result.frames != 1)}; one class for all of them would give {result.constant:.2f}",
        f"  {'as it is':13} top1 {result.top1:6.2f}",
    ]
    for each in result.altered:
        low, high = each.interval
        lines.append(
            f"  {each.change:13} top1 {each.top1:6.2f}  {each.difference:+7.2f} (95 %: {low:+.2f} to {high:+.2f}, "
            f"{each.interval_method}); says the same of {each.same:.0f} %"
        )
    by_name = {each.change: each for each in result.altered}
    if "frozen" in by_name:
        lines += _of_time(result, by_name)
    if NO_PERSON in by_name:
        lines += _of_scene(result, by_name[NO_PERSON], by_name[NO_BACKGROUND])
    if result.failed:
        lines.append(f"  {len(result.failed)} test samples have no score and count as wrong, first {result.failed[0]}")
    return lines + [f"  left out: {reason}" for reason in result.left_out]


def _of_time(result: Probe, by_name: dict[str, Altered]) -> list[str]:
    if result.frames == 1:
        return ["  Clips of one frame: this model cannot use motion; all of its score is appearance."]
    lost = ", ".join(_losers(result.recall, by_name["frozen"].recall))
    return [
        _verdict(by_name["frozen"], "rest on more than one frame of a clip", "one frame of each clip does as well"),
        _verdict(by_name["shuffled"], "rest on the order of frames", "their order does not matter to it"),
        _verdict(by_name["reversed"], "rest on the direction of time", "backwards does as well"),
        f"  Most is lost by, when frozen: {lost or 'no class'}",
    ]


def _verdict(each: Altered, lost: str, kept: str) -> str:
    if each.interval[1] < 0:
        return f"  {-each.difference:.2f} of {each.top1 - each.difference:.2f} points {lost}"
    return f"  {each.change}: no loss beyond chance; {kept}"


def _of_scene(result: Probe, no_person: Altered, no_background: Altered) -> list[str]:
    """What the two say together: a model that goes on saying the same without the person looks at the background."""
    lines = [
        f"  Without the person it says the same of {no_person.same:.0f} % of the samples, "
        f"without the background of {no_background.same:.0f} %"
    ]
    if no_person.same > no_background.same:
        lines.append("  So it goes by the BACKGROUND more than by the person.")
        if no_background.interval[0] > 0:
            lines.append(f"  The background misleads it here: without, {no_background.difference:+.2f} points.")
    else:
        lines.append("  So it goes by the person more than by the background.")
    if no_person.top1 > result.constant:
        lines.append(f"  {no_person.top1:.2f} of its {result.top1:.2f} points need no person to be seen.")
    return lines


def _losers(before: dict[str, float | None], after: dict[str, float | None]) -> Sequence[str]:
    """The three classes whose recall falls most."""
    lost = {key: (old, new) for key, old in before.items() if old is not None and (new := after[key]) is not None}
    falls = sorted((new - old, key) for key, (old, new) in lost.items() if new < old)
    return [f"{key} {lost[key][0]:.0f} to {lost[key][1]:.0f}" for _, key in falls[:3]]
