"""`evaluate`: a finished run's weights with other views, kept and counted beside the run's number."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harbench.errors import RunError
from harbench.evaluation.distributed import alone, choose_device
from harbench.files import locked, write_text
from harbench.paths import cache_folder
from harbench.records import RunRecord, Subset, Track, silent
from harbench.runs.folder import check_model_file
from harbench.runs.inputs import Inputs, caches_of, open_inputs
from harbench.runs.plan import RunOptions
from harbench.runs.seen import Seen, media_id

if TYPE_CHECKING:
    from torch import nn

    from harbench.recipe import Recipe

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """One more evaluation of a run."""

    folder: str
    number: int
    """How many evaluations this run has had on its test set, the first one after training included."""
    views: str
    average: str
    metrics: dict[str, float | None]
    first: dict[str, float | None]
    """The run's own number: its first evaluation."""
    failed: dict[str, str] = field(default_factory=dict)
    """Test sample without a score -> why; it counts as wrong."""
    partial: str = ""
    """Why the run is not ranked."""


@dataclass(frozen=True)
class OpenRun:
    """A finished run with its weights, ready to be evaluated."""

    folder: Path
    record: RunRecord
    recipe: Recipe
    inputs: Inputs
    model: nn.Module


def open_run(
    folder: Path,
    options: RunOptions,
    *,
    views: Mapping[str, object] | None = None,
    subsets: Sequence[Subset] = ("test",),
) -> OpenRun:
    """Open the finished run in `folder` (also relative to `runs`), with `views` in place of those of its recipe.

    The media of `subsets` have to be there, but for as many as the run could not score, and `options.ok_missing` more.

    Raises:
        RunError: there is no finished run, its weights are not those that it wrote or are for other classes, or they have
            seen the test samples.
        CacheError: media are missing.
    """
    from harbench.models.build import build_model
    from harbench.recipe import load_resolved
    from harbench.runs.folder import WEIGHTS, checked_file, load_run
    from harbench.training.checkpoint import load_model_weights

    home = options.home
    folder = folder if (folder / "run.json").exists() else options.runs / folder
    if not (folder / "run.json").exists():
        raise RunError(
            f"there is no finished run in {folder}; `harbench run` finishes it, `harbench report` lists those there are"
        )
    record = load_run(folder)
    if record.members:
        raise RunError(f"{folder} fuses the scores of runs and has no weights; take one of {', '.join(record.members)}")
    recipe = load_resolved(folder / "recipe.yaml", {"eval": dict(views or {})})
    check_model_file(recipe, folder)
    read = caches_of(folder)  # the same pixels as the run's, where they are here
    read = read if all(cache_folder(home, record.dataset, name).is_dir() for name in read) else ()
    missing = options.ok_missing + record.samples["test"] - record.samples["scored"]
    inputs = open_inputs(recipe, record.seed, home=home, ok_missing=missing, caches=read, subsets=subsets)
    _check_samples(folder, inputs)
    classes = [label.key for label in inputs.table.classes]
    try:
        state, metadata = load_model_weights(checked_file(folder, WEIGHTS))
        if json.loads(metadata.get("classes", "[]")) != classes:
            raise RunError(f"{folder}/{WEIGHTS} has other classes, or in another order, than {record.dataset} has now")
        with alone():
            model = build_model(recipe.model.untrained(), len(classes))
        model.load_state_dict(state)
    except (RuntimeError, ValueError) as error:  # tensors of another shape; metadata that is no JSON
        raise RunError(f"{folder}/{WEIGHTS} does not fit the model of recipe.yaml beside it: {error}") from None
    if count := _seen_in_test(folder, record, inputs, metadata, options.allow_seen):
        words = f"{count} of {len(inputs.test.ids)} test samples were in the training data of its weights"
        record = replace(record, partial=record.partial or words)
    return OpenRun(folder, record, recipe, inputs, model)


def _seen_in_test(
    folder: Path, record: RunRecord, inputs: Inputs, metadata: Mapping[str, str], allow_seen: bool
) -> int:
    """How many test samples the weights were trained on, beside what the run's own table trains on.

    RunError where there are any, unless `allow_seen` or the run's record says so itself.
    """
    from harbench.runs.folder import WEIGHTS

    path, source = folder / WEIGHTS, f"{record.dataset} {record.split}"
    seen = Seen.of_metadata(path, metadata)
    own = {media_id(inputs.spec, sample) for sample in inputs.table.samples if sample.subset != "test"}
    count = Seen(seen.ids - own).count(inputs.spec, inputs.table.subset("test"))
    elsewhere = metadata.get("trained_on", source) != source and bool(seen.unknown) and not seen.ids
    if allow_seen or (count <= record.samples.get("seen", 0) and not elsewhere):
        if seen.unknown:
            log.info("%s", seen.unknown)
        return count
    found = "other samples" if elsewhere else f"{count} of the {len(inputs.test.ids)} test samples of {source}"
    raise RunError(
        f"{path} was trained on {found}: it is of {metadata.get('trained_on', 'another training')}, and {folder} is not. "
        "Put the run's own weights back, repeat it with --force, or say --allow-seen: the score is then never ranked"
    )


def _check_samples(folder: Path, inputs: Inputs) -> None:
    """RunError where the data set was made again since, with other test samples, which the weights may have seen."""
    from harbench.runs.folder import load_predictions

    scored, test = set(load_predictions(folder).ids), set(inputs.test.ids)
    if scored != test:
        raise RunError(
            f"{folder} was made on another {inputs.table.dataset} {inputs.table.split}: {len(test - scored)} of the "
            f"{len(test)} test samples of today are not among its {len(scored)}. Repeat the run with --force, or give "
            "the other data set a name of its own"
        )


def evaluate(
    folder: Path,
    *,
    home: Path,
    runs: Path,
    clips: int | None = None,
    crops: int | None = None,
    average: str | None = None,
    allow_seen: bool = False,
    ok_missing: int = 0,
    device: str = "auto",
    track: Track = silent,
) -> Evaluation:
    """Score a finished run's test samples again with other views or averaging.

    `folder` is a run folder, also relative to `runs`. The result is written to `<run>/evaluations/<n>.json`.

    Raises:
        RunError: there is no finished run, or its weights are for other classes.
    """
    import numpy as np

    from harbench.evaluation.metrics import among_own_half, score
    from harbench.evaluation.predict import predict
    from harbench.frames.streams import normalize

    changes = {"clips": clips, "crops": crops, "average": average}
    given = {key: value for key, value in changes.items() if value is not None}
    options = RunOptions(home, runs, ok_missing=ok_missing, allow_seen=allow_seen)
    opened = open_run(folder, options, views=given)
    folder, record, recipe, inputs = opened.folder, opened.record, opened.recipe, opened.inputs
    views = recipe.eval
    predictions = predict(
        opened.model,
        inputs.test,
        device=choose_device(device),
        normalize=partial(normalize, config=recipe.input),
        workers=recipe.train.workers,
        track=track,
    )
    if inputs.novel:
        predictions = among_own_half(predictions, np.array(inputs.novel))
    metrics = score(predictions, inputs.table.classes, average=views.average)
    result = Evaluation(
        folder=str(folder),
        number=0,
        views=f"{views.clips}x{views.crops}",
        average=views.average,
        metrics=dict(metrics.values),
        first=dict(record.metrics),
        failed=dict(predictions.failed),
        partial=record.partial,
    )
    kept = folder / "evaluations"
    with locked(kept / ".lock"):  # of several at a time, each has a number of its own
        number = max((int(path.stem) for path in kept.glob("*.json") if path.stem.isdigit()), default=1) + 1
        result = replace(result, number=number)
        write_text(kept / f"{number}.json", json.dumps(asdict(result), indent=2))
    return result


@dataclass(frozen=True)
class Calibration:
    """A temperature fitted on val, and what it does there."""

    folder: str
    temperature: float
    samples: int
    nll: tuple[float, float]
    """Mean negative log likelihood before and after, in nats."""
    error: tuple[float, float]
    """Expected calibration error over 15 bins before and after, in percent (arXiv:1706.04599)."""


def calibrate(folder: Path, *, home: Path, runs: Path, device: str = "auto", track: Track = silent) -> Calibration:
    """Fit the temperature by which logits are divided before softmax, on val, and store it with the run.

    It changes no ranking of classes, only how sure `predict` says that it is (arXiv:1706.04599).

    Raises:
        RunError: there is no finished run, or none of its data was held out for val.
    """
    import numpy as np
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    from harbench.evaluation.predict import predict
    from harbench.frames.streams import normalize
    from harbench.paths import CALIBRATION

    opened = open_run(folder, RunOptions(home, runs, allow_seen=True), subsets=("val",))
    recipe, rows = opened.recipe, opened.inputs.table.subset("val")
    if not rows or recipe.train.refit:
        raise RunError(
            f"{opened.folder} was trained on all of train, and a temperature needs samples that were held out: train with "
            "--set data.validation=0.1 (and without train.refit), and calibrate that run"
        )
    data = opened.inputs.read(rows, recipe.input, recipe.eval)
    found = predict(
        opened.model,
        data,
        device=choose_device(device),
        normalize=partial(normalize, config=recipe.input),
        workers=recipe.train.workers,
        track=track,
    )
    scored = np.isfinite(found.logits).all(axis=1)
    targets = found.targets[scored]
    scores = found.logits if recipe.eval.average == "logit" else np.log(np.maximum(found.probabilities, 1e-30))
    scores = scores[scored].astype(np.float64)

    def nll(temperature: float) -> float:
        return -float(log_softmax(scores / temperature, axis=1)[np.arange(len(targets)), targets].mean())

    def error(temperature: float) -> float:
        probabilities = np.exp(log_softmax(scores / temperature, axis=1))
        sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
        bins = np.minimum((sure * 15).astype(int), 14)
        gaps = [abs(sure[bins == each].sum() - right[bins == each].sum()) for each in range(15)]
        return 100 * float(sum(gaps)) / len(targets)

    fitted = float(np.exp(minimize_scalar(lambda log_t: nll(float(np.exp(log_t))), bounds=(-3, 3), method="bounded").x))
    result = Calibration(str(opened.folder), fitted, len(targets), (nll(1.0), nll(fitted)), (error(1.0), error(fitted)))
    write_text(opened.folder / CALIBRATION, json.dumps(asdict(result), indent=2) + "\n")
    return result
