"""`explain`: which of the usual causes could account for a number that is too low. Trains nothing, writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harbench.datasets.tables import keep_classes
from harbench.errors import DatasetError, RunError
from harbench.evaluation.distributed import choose_device
from harbench.records import Predictions, Sample, SplitTable, Track, silent
from harbench.runs.evaluate import OpenRun, open_run
from harbench.runs.plan import RunOptions
from harbench.runs.seen import media_id, read_train_ids

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from harbench.analysis.causes import Finding, Outcome, Trial
    from harbench.recipe import EvalConfig, InputConfig, Recipe

    Normalize = Callable[[torch.Tensor], torch.Tensor]

VIEWS = ((1, 1), (1, 3), (10, 1), (10, 3))
"""Clips and crops of 1, 3, 10 and 30 views."""


@dataclass(frozen=True)
class Explanation:
    """What each usual cause would change."""

    subject: str
    """Run folder, or file of predictions."""
    dataset: str
    split: str
    top1: float
    samples: int
    groups: int
    findings: tuple[Finding, ...]
    """Suggestions first, then by gain."""
    failed: tuple[str, ...] = ()
    """Samples that the run scored and that cannot be read now; they count as wrong in what was tried."""


@dataclass(frozen=True)
class Reading:
    """One other way from stored frames to the model's input."""

    cause: str
    change: str
    input: InputConfig
    views: EvalConfig
    normalize: Normalize


# --------------------------------------------------------------------------------------------------------------- a run
def explain(folder: Path, *, home: Path, runs: Path, device: str = "auto", track: Track = silent) -> Explanation:
    """Try the usual causes of a shortfall on a finished run: on its stored scores, and on its weights with other inputs.

    `folder` is a run folder, also relative to `runs`. Nothing is written: what was found by trying on test labels is a
    reason to look, never a result.

    Raises:
        RunError: there is no finished run, its weights are for other classes, or its scores are of other samples.
    """
    from harbench.analysis.causes import Trial
    from harbench.evaluation.predict import predict
    from harbench.runs.folder import load_predictions

    opened = open_run(folder, RunOptions(home, runs))
    recipe, inputs = opened.recipe, opened.inputs
    stored, rows = load_predictions(opened.folder), inputs.table.subset("test")
    if stored.ids != inputs.test.ids:
        raise RunError(
            f"{opened.folder}: expected scores of the {len(rows)} test samples of {inputs.table.split}, found "
            f"{len(stored.ids)}, or in another order; repeat the run with --force"
        )

    unread: dict[str, None] = {}

    def outcome(samples: Sequence[Sample], reading: Reading) -> Outcome:
        scored = predict(
            opened.model,
            inputs.read(samples, reading.input, reading.views),
            device=choose_device(device),
            normalize=reading.normalize,
            workers=recipe.train.workers,
            track=track,
        )
        unread.update(dict.fromkeys(name for name in scored.failed if name not in stored.failed))
        # What the run could not score stays missing: one cause at a time.
        return _outcome(_hits(scored, recipe.eval.average), samples, without=stored.failed)

    own = _outcome(_hits(stored, recipe.eval.average), rows)
    trials = _stored_trials(stored, inputs.table, recipe.eval)
    for reading in _readings(recipe, inputs.table.unit):
        trials.append(Trial(reading.cause, reading.change, own, outcome(rows, reading)))
    for split, samples in _other_splits(opened, home):
        words = f"data.split: {split} (its test samples of groups that training did not touch)"
        as_run = Reading("split", words, recipe.input, recipe.eval, _normalizing(recipe.input))
        trials.append(Trial("split", words, own, outcome(samples, as_run)))
    return replace(_explanation(str(opened.folder), inputs.table, own, trials), failed=tuple(unread))


def _readings(recipe: Recipe, unit: str) -> Iterator[Reading]:
    """Other views, crops and colors than those of the run."""
    yield from _other_views(recipe.input, recipe.eval, unit, recipe.data.cache.stream)
    if recipe.data.cache.stream != "pose":
        yield from _other_crops(recipe.input, recipe.eval)
    if recipe.data.cache.stream == "rgb":
        yield from _other_colors(recipe.input, recipe.eval)


def _other_views(config: InputConfig, views: EvalConfig, unit: str, stream: str) -> Iterator[Reading]:
    from harbench.recipe import Uniform

    for clips, crops in VIEWS:
        all_alike = (clips > 1 and (unit == "image" or config.clip.whole)) or (crops > 1 and stream == "pose")
        if all_alike or (clips, crops) == (views.clips, views.crops):
            continue
        changed = config
        if config.clip.uniform:
            clip = config.clip.model_copy(update={"uniform": Uniform(n=clips)})
            changed = config.model_copy(update={"clip": clip})
        other = views.model_copy(update={"clips": clips, "crops": crops})
        yield Reading("views", f"eval.clips: {clips}, eval.crops: {crops}", changed, other, _normalizing(changed))


def _other_crops(config: InputConfig, views: EvalConfig) -> Iterator[Reading]:
    """Squashed or cropped, with and without the usual margin of 8/7 (256 for 224)."""
    side, larger = config.size, round(config.size * 8 / 7)
    ways = {
        "the whole frame squashed": (side, side),
        "squashed, then the center": (larger, larger),
        "short side, then the center": side,
        "short side with a margin, then the center": None,
    }
    for words, resize in ways.items():
        if resize != config.resize:
            changed = config.model_copy(update={"resize": resize})
            value = "null" if resize is None else list(resize) if isinstance(resize, tuple) else resize
            yield Reading("resize and crop", f"input.resize: {value} ({words})", changed, views, _normalizing(changed))


def _other_colors(config: InputConfig, views: EvalConfig) -> Iterator[Reading]:
    from harbench.frames.streams import MEAN_STD

    for name in MEAN_STD:
        if name != config.normalize:
            changed = config.model_copy(update={"normalize": name})
            yield Reading("normalization", f"input.normalize: {name}", changed, views, _normalizing(changed))
    raw = config.model_copy(update={"normalize": "none"})
    yield Reading("value range", "values 0 to 255, not normalized", config, views, partial(_in_bytes, config=raw))
    if config.normalize != "none":
        words = f"values 0 to 255 under the mean and deviation of {config.normalize}"
        yield Reading("value range", words, config, views, partial(_in_bytes, config=config))
    if config.channels == "rgb":
        yield Reading("channel order", "blue, green, red", config, views, partial(_blue_first, config=config))


def _normalizing(config: InputConfig) -> Normalize:
    from harbench.frames.streams import normalize

    return partial(normalize, config=config)


def _blue_first(frames: torch.Tensor, config: InputConfig) -> torch.Tensor:
    from harbench.frames.streams import normalize

    return normalize(frames.flip(1), config)


def _in_bytes(frames: torch.Tensor, config: InputConfig) -> torch.Tensor:
    """What comes of forgetting to divide by 255: (255 x - mean) / std."""
    import torch

    from harbench.frames.streams import MEAN_STD, normalize

    mean, std = torch.tensor(MEAN_STD[config.normalize], device=frames.device).view(2, 1, 3, 1, 1, 1)
    values: torch.Tensor = 255 * normalize(frames, config) + 254 * mean / std
    return values


def _other_splits(opened: OpenRun, home: Path) -> Iterator[tuple[str, tuple[Sample, ...]]]:
    """The other official splits, each with those of its test samples whose groups the weights have not seen."""
    from harbench.datasets.tables import load_split

    table, chosen = opened.inputs.table, opened.recipe.data.classes
    tables = [load_split(table.dataset, split, home) for split in opened.inputs.spec.splits]
    trained = set(read_train_ids(opened.folder))
    spec = opened.inputs.spec
    seen = {s.sample_id for each in [table, *tables] for s in each.samples if media_id(spec, s) in trained}
    groups = {s.group for each in [table, *tables] for s in each.samples if s.sample_id in seen} - {""}
    own = {sample.sample_id for sample in table.subset("test")}
    for other in [keep_classes(each, chosen) if chosen else each for each in tables]:
        unseen = tuple(
            sample
            for sample in other.subset("test")
            if sample.sample_id not in seen and sample.group not in groups and sample.media in opened.inputs.cache
        )
        different = unseen and {sample.sample_id for sample in unseen} != own
        if different and other.split != table.split and other.classes == table.classes:
            yield other.split, unseen


# --------------------------------------------------------------------------------------------------- anybody's scores
def explain_file(
    file: Path, *, dataset: str, split: str = "", home: Path, classes_order: str = "", names: Path | None = None
) -> Explanation:
    """Try the causes that need no weights on the predictions in `file`; arguments and errors as of `score_file`."""
    from harbench.analysis.causes import Trial
    from harbench.analysis.score import match_file
    from harbench.datasets.tables import load_spec
    from harbench.recipe import EvalConfig

    matched = partial(match_file, file, dataset=dataset, home=home, classes_order=classes_order, names=names)
    given = matched(split=split)
    own = _outcome(_hits(given.predictions, "prob"), given.table.subset("test"))
    trials = _stored_trials(given.predictions, given.table, EvalConfig())
    for name in load_spec(dataset, home).splits:
        try:
            other = matched(split=name)
        except DatasetError:
            continue  # not one of that split's test samples is in the file
        # A file that also predicts training samples of that split was not made for it.
        if name != given.table.split and not other.elsewhere:
            after = _outcome(_hits(other.predictions, "prob"), other.table.subset("test"))
            trials.append(Trial("split", f"--split {name}", own, after))
    return _explanation(str(file), given.table, own, trials)


# --------------------------------------------------------------------------------------------------------- stored scores
def _stored_trials(predictions: Predictions, table: SplitTable, views: EvalConfig) -> list[Trial]:
    """What stored scores alone can tell: order of classes, averaging, level, missing samples."""
    import numpy as np

    from harbench.analysis.causes import Trial, class_orders, reordered
    from harbench.evaluation.metrics import rank_of_target

    rows, hits, targets = table.subset("test"), _hits(predictions, views.average), predictions.targets
    own = _outcome(hits, rows)
    scores = predictions.probabilities if views.average == "prob" else predictions.logits
    trials = []
    for words, order in class_orders([label.key for label in table.classes]).items():
        moved = rank_of_target(reordered(scores, order), targets) < 1
        trials.append(Trial("class order", words, own, _outcome(moved, rows)))
    if views.views > 1:
        other = "logit" if views.average == "prob" else "prob"
        trials.append(Trial("averaging", f"eval.average: {other}", own, _outcome(_hits(predictions, other), rows)))
    if predictions.views is not None and predictions.views.shape[1] > 1:
        each = np.stack([rank_of_target(view, targets) < 1 for view in predictions.views.transpose(1, 0, 2)])
        trials.append(Trial("level", "clip level, every view by itself", own, _outcome(each.mean(axis=0), rows)))
    if predictions.failed and len(predictions.failed) < len(rows):
        alone = [replace(row, group="") for row in rows]  # samples go missing one by one
        scored = np.array([row.sample_id not in predictions.failed for row in rows])
        kept = [row for row in alone if row.sample_id not in predictions.failed]
        words = f"without the {len(rows) - len(kept)} test samples that have no score and count as wrong"
        trials.append(Trial("missing samples", words, _outcome(hits, alone), _outcome(hits[scored], kept)))
    return trials


def _hits(predictions: Predictions, average: str) -> npt.NDArray[np.bool_]:
    from harbench.evaluation.metrics import rank_of_target

    scores = predictions.probabilities if average == "prob" else predictions.logits
    return rank_of_target(scores, predictions.targets) < 1


def _outcome(
    hits: npt.NDArray[np.floating] | npt.NDArray[np.bool_], rows: Sequence[Sample], without: Container[str] = ()
) -> Outcome:
    """Hits with their groups; the samples in `without` are wrong whatever they scored."""
    from harbench.analysis.causes import Outcome

    values = hits.astype(float)
    values[[row.sample_id in without for row in rows]] = 0
    return Outcome(values, [row.group or row.sample_id for row in rows])


def _explanation(subject: str, table: SplitTable, own: Outcome, trials: Sequence[Trial]) -> Explanation:
    from harbench.analysis.causes import rank_causes

    return Explanation(
        subject, table.dataset, table.split, own.top1, len(own.hits), len(set(own.groups)), rank_causes(trials)
    )
