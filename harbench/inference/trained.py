"""What a checkpoint says of itself, and the function that scores views with it: of a run, a .safetensors or an .onnx file.

Classes, input, views and caches come from here alone: what was evaluated is what is predicted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from harbench.errors import RunError, WeightsError, damage
from harbench.files import expanded
from harbench.paths import CALIBRATION
from harbench.recipe import CacheConfig, EvalConfig, InputConfig
from harbench.records import ClassLabel
from harbench.runs.seen import Seen

if TYPE_CHECKING:
    from torch import nn

Arrays = Sequence[npt.NDArray[Any]]
"""Views as they are cut from frames, uint8 `[B, C, T, H, W]` or joints float32 `[B, C, T, V, M]`; joints beside pictures
second."""
Scorer = Callable[[Arrays], npt.NDArray[np.float32]]
"""Views -> logits `[B, K]`, up to a constant of each row."""
KEYS = (
    "classes",
    "displays",
    "model",
    "input",
    "eval",
    "caches",
    "boxes",
    "joints",
    "license",
    "protocol",
    "trained_on",
)
"""Metadata of a checkpoint that prediction needs."""


@dataclass(frozen=True)
class Trained:
    """One trained model: what it reads, what it knows, and how to score with it."""

    name: str
    """What was opened, for people."""
    classes: tuple[ClassLabel, ...]
    """In the order of the scores."""
    input: InputConfig
    views: EvalConfig
    caches: tuple[CacheConfig, ...]
    """Of what the run read: frames or joints, then the joints beside pictures."""
    boxes: bool
    """It was trained on pictures cropped to a given person box."""
    joints: tuple[int, int]
    """Channels and joints of the poses that it reads."""
    protocol: Mapping[str, str]
    trained_on: str
    license: str
    seen: Seen = field(repr=False)
    """The media that it was trained on."""
    score: Scorer = field(repr=False)
    temperature: float = 1.0
    """Of `calibration.json`: logits are divided by it."""
    module: nn.Module | None = field(default=None, repr=False)
    """The network, where torch runs it."""


@dataclass(frozen=True)
class Opened:
    """One model, or those of a fusion."""

    models: tuple[Trained, ...]
    weights: tuple[float, ...] = (1.0,)
    adds_logits: bool = False
    """Of a fusion: logits are added, not probabilities."""


def open_trained(source: str, device: str = "auto") -> Opened:
    """The model behind a run folder, a .safetensors, an .onnx or `hf:owner/name`; of a fusion all of its models.

    Raises:
        RunError: there is no finished run.
        WeightsError: the file is damaged, of another program, or does not say what prediction needs.
    """
    if source.startswith("hf:"):
        return Opened((_of_weights(_from_hub(source), source, device),))
    path = expanded(source)
    if path.is_dir():
        return _of_run(path, device)
    if not path.is_file():
        raise RunError(
            f"{source}: expected a run folder, a .safetensors or .onnx file, or hf:owner/name; found nothing"
        )
    return Opened(((_of_onnx if path.suffix == ".onnx" else _of_weights)(path, source, device),))


def _of_run(folder: Path, device: str) -> Opened:
    from harbench.runs.folder import WEIGHTS, checked_file, load_run

    record = load_run(folder)
    if not record.members:
        return Opened((_of_weights(checked_file(folder, WEIGHTS), str(folder), device, temperature_of(folder)),))
    from harbench.recipe import load_document

    runs = folder.resolve().parents[3]
    parts = [_of_run(runs / name, device) for name in record.members]
    if any(len(part.models) > 1 for part in parts):
        raise RunError(f"{folder} fuses a fusion; name its runs in one recipe")
    models = tuple(part.models[0] for part in parts)
    level = load_document(folder / "recipe.yaml").get("level", "probabilities")
    return Opened(models, tuple(record.members.values()), level == "logits")


def temperature_of(folder: Path) -> float:
    """The fitted temperature of a run; 1 where none was. Raises RunError where the file is damaged."""
    path = folder / CALIBRATION
    if not path.exists():
        return 1.0
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))["temperature"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path} is damaged ({damage(error)}); fit it again with harbench evaluate --calibrate"
        ) from None


def _from_hub(source: str) -> Path:
    from harbench.models.hubs import fetched, hub_of
    from harbench.recipe import ModelConfig

    return fetched(hub_of(ModelConfig(name="any", weights=source)))


def load_model(path: Path, name: str) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a .safetensors on the CPU, in evaluation mode, and the fields of `Trained` that the file says.

    Raises WeightsError where it is damaged, says too little, or its weights are of another network.
    """
    from harbench.evaluation.distributed import alone
    from harbench.models.build import build_model
    from harbench.models.weight_files import read_tensors
    from harbench.recipe import ModelConfig

    state, metadata = read_tensors(path)
    facts = read_facts(name, metadata)
    try:
        with alone():
            model = build_model(ModelConfig.model_validate_json(metadata["model"]).untrained(), len(facts["classes"]))
        model.load_state_dict(state)
    except (RuntimeError, ValidationError) as error:
        raise WeightsError(f"{name}: its weights do not fit the model that it names: {damage(error)}") from None
    return model.eval(), facts


def _of_weights(path: Path, name: str, device: str, temperature: float = 1.0) -> Trained:
    """With torch."""
    import torch

    from harbench.evaluation.distributed import choose_device
    from harbench.evaluation.predict import autocast
    from harbench.frames.streams import normalize

    model, facts = load_model(path, name)
    where = choose_device(device)
    model.to(where)
    prepared = partial(normalize, config=facts["input"])

    def score(arrays: Arrays) -> npt.NDArray[np.float32]:
        frames, *poses = (torch.from_numpy(np.ascontiguousarray(each)).to(where) for each in arrays)
        with torch.inference_mode(), autocast(where, facts["views"].amp):
            logits: npt.NDArray[np.float32] = model(prepared(frames), *poses).float().cpu().numpy()
        return logits

    return Trained(name=name, score=score, temperature=temperature, module=model, **facts)


def _of_onnx(path: Path, name: str, device: str) -> Trained:
    """With onnxruntime alone. The graph normalizes, and gives probabilities."""
    onnxruntime = onnx_runtime()
    providers = [each for each in onnxruntime.get_available_providers() if device != "cpu" or each.startswith("CPU")]
    try:
        session = onnxruntime.InferenceSession(path, providers=providers)
        metadata = dict(session.get_modelmeta().custom_metadata_map)
    except Exception as error:  # noqa: BLE001  onnxruntime raises classes of its own, that it does not export
        raise WeightsError(f"{name}: expected an ONNX model, found damage ({damage(error)}). Export it again") from None
    facts = read_facts(name, metadata)
    names = [each.name for each in session.get_inputs()]
    temperature = float(metadata.get("temperature", "1"))

    def score(arrays: Arrays) -> npt.NDArray[np.float32]:
        feed = {key: np.ascontiguousarray(each) for key, each in zip(names, arrays, strict=True)}
        (probabilities,) = session.run(None, feed)
        logits: npt.NDArray[np.float32] = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
        return logits

    return Trained(name=name, score=score, temperature=temperature, **facts)


def onnx_runtime() -> Any:
    """The module; RunError with what to install where it is not there."""
    try:
        import onnxruntime
    except ImportError:
        raise RunError("this needs onnxruntime, which is not installed:  pip install 'harbench[onnx]'") from None
    onnxruntime.set_default_logger_severity(3)
    return onnxruntime


def read_facts(name: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    """The fields of `Trained` that a checkpoint's metadata says. Raises WeightsError with what is missing or damaged."""
    missing = [key for key in KEYS if key not in metadata]
    if missing:
        made = (
            f"harbench {metadata['harbench']} made it"
            if "harbench" in metadata
            else "it is not a checkpoint of harbench"
        )
        raise WeightsError(
            f"{name} does not say {', '.join(missing)}, which prediction needs ({made}). Train it again with harbench run, "
            "or name another run"
        )
    try:
        keys, displays = json.loads(metadata["classes"]), json.loads(metadata["displays"])
        caches = [CacheConfig.parse(each) for each in json.loads(metadata["caches"])]
        channels, joints = json.loads(metadata["joints"])
        facts = {
            "classes": tuple(ClassLabel(str(key), str(text)) for key, text in zip(keys, displays, strict=True)),
            "input": InputConfig.model_validate_json(metadata["input"]),
            "views": EvalConfig.model_validate_json(metadata["eval"]),
            "caches": tuple(each for each in caches if each is not None),
            "boxes": bool(json.loads(metadata["boxes"])),
            "joints": (int(channels), int(joints)),
            "protocol": dict(json.loads(metadata["protocol"])),
            "trained_on": metadata["trained_on"],
            "license": metadata["license"],
            "seen": Seen.of_metadata(Path(name), metadata),
        }
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{name}: what it says of itself is damaged: {damage(error)}. Fetch or train it again"
        ) from None
    if not keys or not caches or None in caches:
        raise WeightsError(f"{name}: expected classes and caches in its metadata, found {metadata['caches'][:80]}")
    return facts
