"""Does `explain` find what is wrong? Eight faults that cost 5 points or more, planted one at a time, and two sound runs.

    python tests/acceptance/explain_acceptance.py [--work FOLDER]

Three small models are trained on `sample_stills` and the poses of `sample`; a fault is a changed recipe or changed weights of
such a run, evaluated again. The right cause has to be the first suggestion or tied with it; a sound run gets none. Some minutes
of CPU time, most of it rendering and training; `--work` keeps what was made. Exit code 1 when one is missed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import yaml

from harbench import api
from harbench.datasets.tables import load_split
from harbench.evaluation.metrics import score
from harbench.evaluation.predict import predict
from harbench.files import sha256
from harbench.frames.streams import normalize
from harbench.paths import media_folder
from harbench.runs.evaluate import open_run
from harbench.runs.folder import save_run
from harbench.runs.plan import RunOptions
from harbench.training.checkpoint import load_model_weights

Tensors = dict[str, torch.Tensor]

RECIPES = {
    "stills": """
family: image-cnn
data: {dataset: sample_stills, cache: {short_side: 96}}
input: {clip: {uniform: {n: 1}}, resize: 96, size: 80, normalize: none}
model: {name: small_cnn, args: {width: 16}}
train: {epochs: 14, batch_size: 32, workers: 0, optimizer: {name: adamw, lr: 0.004}}
""",
    "poses": """
family: skeleton
data: {dataset: sample, split: small, cache: {stream: pose}}
input: {clip: {dense: {num_frames: 6, stride: 1}}, augment: {flip: 0.5}}
model: {name: cnn_lstm}
train: {epochs: 8, batch_size: 32, workers: 0, optimizer: {name: adamw, lr: 0.002}}
eval: {clips: 10}
""",
    "dim": """
family: image-cnn
data: {dataset: lights, split: dim, cache: {short_side: 96}}
input: {clip: {uniform: {n: 1}}, resize: 96, size: 80, normalize: none}
model: {name: small_cnn, args: {width: 16}}
train: {epochs: 16, batch_size: 32, workers: 0, optimizer: {name: adamw, lr: 0.004}}
""",
}
LIGHTS = """
from harbench.records import DatasetSpec
SPEC = DatasetSpec(
    name="lights", title="Stills by light", modality="image", unit="image", splits=("light", "dim"), group="person"
)
"""
"""The stills again, as a data set of one's own: trained on scenarios 1 to 3, tested on them or on the dim fourth."""
FIRST_LAYER = "net.0.weight"
"""Of `small_cnn`; its classification layer is the other tensor of two dimensions."""


@dataclass(frozen=True)
class Fault:
    """What is done to a sound run, and the causes of which one has to be suggested first."""

    run: str
    causes: tuple[str, ...]
    recipe: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    weights: Callable[[Tensors], Tensors] | None = None
    lost: int = 0
    """Every how manieth test sample has no score; 0: none."""


def _sorted_rows(state: Tensors) -> Tensors:
    """The classification layer of a training whose classes stood in the order of sorted()."""
    keys = sorted(
        range(6),
        key=("red_flag", "blue_flag", "yellow_ball", "cyan_ball", "orange_umbrella", "azure_umbrella").__getitem__,
    )
    return {name: value[keys] if value.shape[:1] == (6,) else value for name, value in state.items()}


def _first_layer(state: Tensors, change: Callable[[torch.Tensor], torch.Tensor]) -> Tensors:
    return {name: change(value) if name == FIRST_LAYER else value for name, value in state.items()}


FAULTS = {
    "swapped class order": Fault("stills", ("class order",), weights=_sorted_rows),
    "BGR": Fault("stills", ("channel order",), weights=partial(_first_layer, change=lambda weight: weight.flip(1))),
    "value range": Fault("stills", ("value range",), weights=partial(_first_layer, change=lambda weight: weight / 255)),
    "normalization": Fault("stills", ("normalization",), {"input": {"normalize": "imagenet"}}),
    "squash for crop": Fault("stills", ("resize and crop",), {"input": {"resize": [80, 80]}}),
    "missing samples": Fault("stills", ("missing samples",), lost=6),
    "clip level": Fault("poses", ("views",), {"eval": {"clips": 1}}),
    "wrong split": Fault("dim", ("split",)),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="where data and runs are kept; default: nowhere")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        work = arguments.work or Path(scratch)
        prepare(work / "home")
        missed = [] if stays_silent(trained("stills", work), work) else ["sound stills"]
        missed += [name for name, fault in FAULTS.items() if not is_found(name, fault, trained(fault.run, work), work)]
        missed += [] if stays_silent(trained("poses", work), work) else ["sound poses"]
    print(
        f"\n{len(FAULTS) + 2 - len(missed)} of {len(FAULTS) + 2} hold"
        + "".join(f"\n  missed: {name}" for name in missed)
    )
    return 1 if missed else 0


def prepare(home: Path) -> None:
    """The stills, the stills by light, and the poses of `sample`."""
    api.prepare("sample_stills", home=home, short_side=96)
    api.prepare("sample", home=home, split="small", stream="pose")
    rows = ["media,class,group,light,dim"]
    for sample in load_split("sample_stills").samples:
        dim = "_d4" in sample.media
        uses = ("", "test") if dim else ("test", "")
        if sample.subset == "train":
            uses = ("", "") if dim else ("train", "train")
        rows.append(f"{sample.media},{sample.media.split('/')[0]},{sample.group},{','.join(uses)}")
    for path, text in (
        (home / "datasets/lights.py", LIGHTS),
        (home / "splits/lights/samples.csv", "\n".join(rows) + "\n"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    api.prepare("lights", home=home, source=media_folder(home, "sample_stills"), split="light,dim", short_side=96)


def trained(name: str, work: Path) -> Path:
    """The folder of a finished run of one of the recipes."""
    recipe = work / f"{name}.yaml"
    recipe.write_text(RECIPES[name], encoding="utf-8")
    (done,) = api.run([str(recipe)], home=work / "home", runs=work / "runs")
    return Path(done.folder)


def stays_silent(folder: Path, work: Path) -> bool:
    """Whether a sound run gets no suggestion."""
    found = api.explain(folder, home=work / "home", runs=work / "runs")
    suggested = [f"{each.cause} ({each.change}) {each.gain:+.2f}" for each in found.findings if each.suggested]
    best = max(found.findings, key=lambda each: each.gain)
    print(
        f"sound, {folder.parent.parent.name}: {found.top1:.2f}; the best of {len(found.findings)} {best.cause} "
        f"{best.gain:+.2f} with noise {best.noise:.2f}; suggested: {', '.join(suggested) or 'nothing'}",
        flush=True,
    )
    return not suggested


def is_found(name: str, fault: Fault, sound: Path, work: Path) -> bool:
    """Whether a fault costs what it has to, and its cause is the first suggestion or tied with it."""
    folder = work / "runs" / "planted" / name.replace(" ", "_")
    before, after = planted(sound, fault, folder, work)
    found = api.explain(folder, home=work / "home", runs=work / "runs")
    first = [each for each in found.findings if each.tied]
    # The split costs what another one would give; all else what the sound run had.
    cost = max((each.gain for each in first), default=0.0) if name == "wrong split" else before - after
    held = cost >= 5 and any(each.cause in fault.causes for each in first)
    print(
        f"{name}: {after:.2f}, costs {cost:.2f}; first: "
        + (
            "; ".join(f"{each.cause} ({each.change}) {each.gain:+.2f}, noise {each.noise:.2f}" for each in first)
            or "nothing"
        )
        + f"; suggested in all {sum(each.suggested for each in found.findings)} of {len(found.findings)}"
        + ("" if held else "  MISSED"),
        flush=True,
    )
    return held


def planted(sound: Path, fault: Fault, folder: Path, work: Path) -> tuple[float, float]:
    """Copy a run to `folder`, put the fault in, evaluate it again; top-1 before and after."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound, folder)
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    for part, values in fault.recipe.items():
        recipe[part] |= values
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    if fault.weights:
        state, metadata = load_model_weights(folder / "model.safetensors")
        state = {name: value.contiguous() for name, value in fault.weights(state).items()}
        safetensors.torch.save_file(state, folder / "model.safetensors", metadata)
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        record["files"]["model.safetensors"] = sha256(folder / "model.safetensors")
        (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    opened = open_run(folder, RunOptions(work / "home", work / "runs"))
    config, classes = opened.recipe, opened.inputs.table.classes
    scored = predict(opened.model, opened.inputs.test, device="cpu", normalize=partial(normalize, config=config.input))
    if fault.lost:
        for array in (scored.logits, scored.probabilities, scored.views):
            if array is not None:
                array[:: fault.lost] = np.nan
        scored = replace(scored, failed=dict.fromkeys(scored.ids[:: fault.lost], "planted"))
    metrics = score(scored, classes, average=config.eval.average)
    save_run(folder, replace(opened.record, metrics=metrics.values), scored, classes, metrics)
    return float(opened.record.metrics["top1"] or 0), float(metrics.values["top1"] or 0)


if __name__ == "__main__":
    sys.exit(main())
