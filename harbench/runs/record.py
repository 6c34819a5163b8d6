"""From a recipe and its inputs to the facts that a number carries: comparability key, protocol, checkpoint metadata."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harbench import __version__
from harbench.errors import RecipeError
from harbench.records import (
    UNKNOWN,
    Comparability,
    DatasetSpec,
    Metrics,
    Predictions,
    ProtocolFacts,
    RunRecord,
    SplitTable,
)
from harbench.runs.inputs import Inputs
from harbench.runs.seen import METADATA

if TYPE_CHECKING:
    from torch import nn

    from harbench.frames.streams import Stream
    from harbench.recipe import ClipConfig, Fusion, Recipe


def stream_of(recipe: Recipe) -> Stream:
    """What a recipe reads."""
    from harbench.frames.streams import STREAMS

    return STREAMS[recipe.data.cache.stream]


def key_of(inputs: Inputs) -> Comparability:
    """What a run's headline number may be ranked with."""
    from harbench.runs.comparability import level_of

    recipe, table = inputs.recipe, inputs.table
    total = inputs.official_classes
    classes = f"{total} classes" if len(table.classes) == total else f"{len(table.classes)} of {total} classes"
    clip = recipe.input.clip
    reads_pose = not stream_of(recipe).pictures or recipe.input.with_pose
    pose = reads_pose and any(inputs.spec.pose_shape)  # what is found in the pixels themselves is not given
    given = [*["boxes"] * recipe.data.boxes, *["poses"] * pose, *["class names"] * bool(recipe.model.prompts)]
    return Comparability(
        dataset=table.dataset,
        label_set=classes,
        split_set=table.split,
        unit=table.unit,
        metric="harmonic" if inputs.novel else inputs.spec.headline,
        level=level_of(table.unit, recipe.eval.views, spans_sample=bool(clip.segments or clip.whole)),
        given=" and ".join(given) or "none",
        complete=inputs.partial or "yes",
        kind=recipe.kind,
    )


def protocol_of(inputs: Inputs) -> ProtocolFacts:
    """How a run's number was made."""
    recipe = inputs.recipe
    pictures = stream_of(recipe).pictures
    return ProtocolFacts(
        modality=_modality(recipe, inputs.spec),
        pretraining=pretraining(recipe.model.init_from or recipe.model.weights),
        frames=str(recipe.input.clip.frames_per_clip),
        time_base=time_base(recipe.input.clip),
        size=str(recipe.input.size) if pictures else "",
        views=f"{recipe.eval.clips}x{recipe.eval.crops}",
        averaging=recipe.eval.average,
        selection=recipe.train.selection,
        decoder=decoders_of(inputs) if pictures else UNKNOWN,
        cache="+".join(inputs.caches) + stream_of(recipe).stored_as,
    )


def _modality(recipe: Recipe, spec: DatasetSpec) -> str:
    pose = "pose" if any(spec.pose_shape) else "2D pose (MediaPipe)"
    stream = stream_of(recipe)
    modality = stream.modality if stream.pictures else pose
    return f"{modality}+{pose}" if recipe.input.with_pose else modality


def decoders_of(inputs: Inputs) -> str:
    """Who decoded the media of the split, as the cache says, without versions: `PyAV`, `OpenCV`, `PyAV, decord`."""
    known = {"pyav": "PyAV", "opencv": "OpenCV"}
    said = {inputs.cache.info(media).decoder for media in inputs.table.media() if media in inputs.cache}
    names = {name.split()[0] for name in said if name}
    return ", ".join(sorted(known.get(name, name) for name in names)) or UNKNOWN


def decoding_notes(inputs: Inputs) -> tuple[str, ...]:
    """The footnote on media of the split that were decoded with a note; none where there is no such media."""
    media = inputs.table.media()
    noted = [(name, note) for name in media if name in inputs.cache and (note := inputs.cache.info(name).note)]
    return tuple(
        f"{len(noted)} of {len(media)} media were decoded with a note, the first is {name}: {note}"
        for name, note in noted[:1]
    )


def pretraining(weights: str | None) -> str:
    """In the words of the published tables; weights from a file have an unknown training set."""
    known = {None: "none (scratch)", "kinetics400": "Kinetics-400", "imagenet": "ImageNet", "imagenet_v1": "ImageNet"}
    return known.get(weights, UNKNOWN)


def time_base(clip: ClipConfig) -> str:
    """`stride 2`, `12.5 fps`, `segments`, `whole video`, `single frames`."""
    if clip.dense:
        return f"{clip.dense.fps:g} fps" if clip.dense.fps else f"stride {clip.dense.stride}"
    if clip.segments:
        return "segments"
    return "whole video" if clip.whole else "single frames"


def input_shape(recipe: Recipe, spec: DatasetSpec) -> tuple[int, ...]:
    """`[C, T, H, W]` of one view, or `[C, T, V, M]` for poses."""
    return stream_of(recipe).shape(recipe.input, pose_shape(spec))


def pose_shape(spec: DatasetSpec) -> tuple[int, int]:
    """Channels and joints of a data set's poses: its own, those that were found in it, or MediaPipe's."""
    from harbench.frames.detectors import CHANNELS, LANDMARKS

    return next((shape for shape in (spec.pose_shape, spec.found_joints) if any(shape)), (CHANNELS, LANDMARKS))


def input_shapes(recipe: Recipe, spec: DatasetSpec) -> tuple[tuple[int, ...], ...]:
    """`input_shape`, and `[C, T, V, M]` of the poses where the recipe puts them beside pictures."""
    from harbench.frames.streams import STREAMS

    shape = input_shape(recipe, spec)
    return (shape, STREAMS["pose"].shape(recipe.input, pose_shape(spec))) if recipe.input.with_pose else (shape,)


def view_gflops(model: nn.Module, recipe: Recipe, spec: DatasetSpec, classes: int) -> float:
    """GFLOPs of one view. Raises RecipeError when the model cannot make logits of the recipe's input."""
    from harbench.models.build import UNBUILDABLE
    from harbench.models.profile import count_flops

    shapes = input_shapes(recipe, spec)
    if len(shapes) > len(inspect.signature(model.forward).parameters):
        raise RecipeError(f"input.with_pose: model {recipe.model.name} takes pictures alone; pose_image takes both")
    try:
        return count_flops(model, *shapes, classes=classes) / 1e9
    except UNBUILDABLE as error:
        words = " and ".join(" x ".join(map(str, shape)) for shape in shapes)
        raise RecipeError(
            f"model {recipe.model.name} cannot take this recipe's input of {words} "
            f"(channels, frames, then height and width or joints and bodies): {error}\n"
            "Change input.size, input.clip, model.args or the model."
        ) from None


def training_hash(inputs: Inputs) -> str:
    """SHA-256 over the sorted media of what was trained on."""
    ids = sorted(inputs.trained_on)
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def edition_of(table: SplitTable) -> str:
    """`RunRecord.edition`: twelve hexadecimal digits of SHA-256 over sorted samples and their classes."""
    from harbench.runs.comparability import LOPO

    # Folds are pooled over all samples, so that each has to be of the same ones.
    samples = table.samples if table.split.startswith(LOPO) else table.subset("test")
    rows = sorted(f"{sample.sample_id}\t{table.classes[sample.target].key}" for sample in samples)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:12]


def model_metadata(inputs: Inputs) -> dict[str, str]:
    """What model.safetensors knows about itself: classes in order, model, input, views, caches, protocol, training samples."""
    from dataclasses import asdict

    recipe = inputs.recipe
    return {
        "harbench": __version__,
        "classes": json.dumps([label.key for label in inputs.table.classes], ensure_ascii=False),
        "displays": json.dumps([label.display for label in inputs.table.classes], ensure_ascii=False),
        "model": recipe.model.model_dump_json(),
        "input": recipe.input.model_dump_json(),
        "eval": recipe.eval.model_dump_json(),
        "caches": json.dumps(inputs.caches),
        "boxes": json.dumps(recipe.data.boxes),
        "joints": json.dumps(pose_shape(inputs.spec)),
        "license": inputs.spec.license,
        "protocol": json.dumps(asdict(protocol_of(inputs))),
        "trained_on": f"{inputs.table.dataset} {inputs.table.split}",
        "train_samples": str(len(inputs.trained_on)),
        "train_sha256": training_hash(inputs),
        METADATA: inputs.seen.packed,
    }


def intervals_of(
    predictions: Predictions, average: str, groups: Sequence[str], metrics: Iterable[str]
) -> tuple[dict[str, tuple[float, float]], dict[str, str]]:
    """95 % interval of each metric that has one, by source group (one a sample), and how each was made."""
    from harbench.evaluation.intervals import METRICS, metric_interval

    found = {
        name: metric_interval(name, [(predictions, average, groups)])
        for name in dict.fromkeys(metrics)
        if name in METRICS
    }
    return {name: (low, high) for name, (low, high, _) in found.items()}, {
        name: each[2] for name, each in found.items()
    }


def recipe_hash(recipe: Recipe | Fusion) -> str:
    """SHA-256 of what a resolved recipe says of the training and its evaluation, without the split."""
    document = recipe.model_dump(mode="json", exclude={"description": True, "expect": True, "data": {"split"}})
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Evaluated:
    """What the evaluation of a trained model gave."""

    predictions: Predictions
    metrics: Metrics
    seconds: dict[str, float]
    """Of `train` and `evaluate`."""
    exact: bool
    """Whether nothing kept the run from being bit-exactly repeatable."""


def make_record(inputs: Inputs, model: nn.Module, found: Evaluated, folder: str, seed: int) -> RunRecord:
    """The run record of a finished evaluation."""
    from harbench.models.profile import count_parameters, latency
    from harbench.runs.comparability import fingerprint

    recipe, key, protocol = inputs.recipe, key_of(inputs), protocol_of(inputs)
    groups = [sample.group for sample in inputs.table.subset("test")]
    intervals, methods = intervals_of(found.predictions, recipe.eval.average, groups, ("top1", key.metric))
    seen = inputs.seen_in_test
    milliseconds, where = latency(model, *input_shapes(recipe, inputs.spec))
    return RunRecord(
        folder=folder,
        recipe=folder.split("/")[1],
        dataset=inputs.table.dataset,
        split=inputs.table.split,
        seed=seed,
        model=recipe.model.name,
        family=recipe.family,
        key=key,
        protocol=protocol,
        fingerprint=fingerprint(key, protocol),
        metrics=dict(found.metrics.values),
        intervals=intervals,
        interval_methods=methods,
        samples={
            "train": len(inputs.trained_on),
            "val": len(inputs.table.subset("val")),
            "test": found.metrics.samples,
            "scored": found.metrics.scored,
            **({"seen": seen} if seen else {}),
        },
        partial=inputs.partial,
        exact=found.exact,
        params_m=count_parameters(model) / 1e6,
        gflops=view_gflops(model, recipe, inputs.spec, len(inputs.table.classes)),
        seconds=found.seconds,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        harbench=__version__,
        latency_ms=milliseconds,
        latency_on=where,
        recipe_sha256=recipe_hash(recipe),
        edition="" if inputs.partial else edition_of(inputs.table),
        notes=decoding_notes(inputs),
    )
