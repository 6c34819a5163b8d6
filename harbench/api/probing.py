"""`probe`: a finished run's weights on clips reversed, shuffled and frozen in time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harbench.api.evaluating import open_run
from harbench.api.processes import choose_device
from harbench.errors import RunError
from harbench.files import write_text
from harbench.records import Predictions, Track, silent

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class Altered:
    """The run's accuracy with altered clips, beside its own."""

    order: str
    """`reversed`, `shuffled`, `frozen`."""
    top1: float
    difference: float
    """Points against the unaltered clips."""
    interval: tuple[float, float]
    """95 % of the difference, paired by sample, by group."""
    interval_method: str
    recall: dict[str, float | None]
    """Class key -> percent."""


@dataclass(frozen=True)
class Probe:
    """How much of a run's accuracy needs time."""

    folder: str
    top1: float
    samples: int
    frames: int
    """Of one clip."""
    recall: dict[str, float | None]
    altered: tuple[Altered, ...]


def probe(folder: Path, *, home: Path, runs: Path, device: str = "auto", track: Track = silent) -> Probe:
    """Evaluate a finished run on its test samples with the frames of every clip in their order and in others.

    `folder` is a run folder, also relative to `runs`. The result is written to `<run>/probe.json`; the run's number
    stays what it is.

    Raises:
        RunError: there is no finished run, its weights are for other classes, or its input has no frames to reorder.
    """
    from harbench.evaluation.intervals import paired_interval
    from harbench.evaluation.metrics import score
    from harbench.evaluation.predict import predict
    from harbench.evaluation.probe import ORDERS
    from harbench.frames.clips import normalize

    opened = open_run(folder, home=home, runs=runs)
    recipe, inputs = opened.recipe, opened.inputs
    if inputs.table.unit == "image" or recipe.data.cache.stream == "flow":
        raise RunError(
            f"{opened.folder}: probe reorders the frames of clips, and this run reads "
            + ("stills" if inputs.table.unit == "image" else "optical flow, in which the motion is already")
        )
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
    hits, metrics = _hits(own, average), score(own, classes, average=average)
    altered = []
    for name, order in ORDERS.items():
        found = evaluated(inputs.test.reordered(order))
        differences = _hits(found, average).astype(float) - hits
        low, high, method = paired_interval(differences, groups)
        recall = score(found, classes, average=average).per_class
        altered.append(
            Altered(
                order=name,
                top1=100 * float(_hits(found, average).mean()),
                difference=100 * float(differences.mean()),
                interval=(low, high),
                interval_method=method,
                recall={key: values["recall"] for key, values in recall.items()},
            )
        )
    result = Probe(
        folder=str(opened.folder),
        top1=100 * float(hits.mean()),
        samples=len(hits),
        frames=recipe.input.clip.frames_per_clip,
        recall={key: values["recall"] for key, values in metrics.per_class.items()},
        altered=tuple(altered),
    )
    write_text(opened.folder / "probe.json", json.dumps(asdict(result), indent=2))
    return result


def _hits(predictions: Predictions, average: str) -> npt.NDArray[np.bool_]:
    from harbench.evaluation.metrics import rank_of_target

    scores = predictions.probabilities if average == "prob" else predictions.logits
    return rank_of_target(scores, predictions.targets) < 1


def probe_text(result: Probe) -> str:
    """The probe in lines for people."""
    lines = [
        f"{result.folder}: {result.samples} test samples, clips of {result.frames} frames",
        f"  in order  top1 {result.top1:6.2f}",
    ]
    for each in result.altered:
        low, high = each.interval
        lines.append(
            f"  {each.order:9} top1 {each.top1:6.2f}  {each.difference:+7.2f} (95 %: {low:+.2f} to {high:+.2f}, "
            f"{each.interval_method})"
        )
    if result.frames == 1:
        return "\n".join(
            [*lines, "  Clips of one frame: this model cannot use motion; all of its score is appearance."]
        )
    by_name = {each.order: each for each in result.altered}
    lines += [
        _verdict(by_name["frozen"], "rest on more than one frame of a clip", "one frame of each clip does as well"),
        _verdict(by_name["shuffled"], "rest on the order of frames", "their order does not matter to it"),
        _verdict(by_name["reversed"], "rest on the direction of time", "backwards does as well"),
        f"  Most is lost by, when frozen: {', '.join(_losers(result.recall, by_name['frozen'].recall)) or 'no class'}",
        "  Upper bounds: altered clips also look like nothing the model was trained on.",
    ]
    return "\n".join(lines)


def _verdict(each: Altered, lost: str, kept: str) -> str:
    if each.interval[1] < 0:
        return f"  {-each.difference:.2f} of {each.top1 - each.difference:.2f} points {lost}"
    return f"  {each.order}: no loss beyond chance; {kept}"


def _losers(before: dict[str, float | None], after: dict[str, float | None]) -> Sequence[str]:
    """The three classes whose recall falls most."""
    lost = {key: (old, new) for key, old in before.items() if old is not None and (new := after[key]) is not None}
    falls = sorted((new - old, key) for key, (old, new) in lost.items() if new < old)
    return [f"{key} {lost[key][0]:.0f} to {lost[key][1]:.0f}" for _, key in falls[:3]]
