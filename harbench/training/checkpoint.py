"""state.pt, from which a killed training goes on to the bit, and model.safetensors, what it leaves behind."""

from __future__ import annotations

import json
import logging
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import safetensors.torch
import torch
from torch import nn

from harbench.errors import RunError, WeightsError
from harbench.evaluation import distributed
from harbench.files import replacing, write_text
from harbench.models.weight_files import UNREADABLE, read_tensors
from harbench.records import EpochStats

logger = logging.getLogger(__name__)

STATE = "state.pt"
INEXACT = "inexact.txt"
"""What kept a training from repeating to the bit, a line each; there is no such file when nothing did."""


class Stateful(Protocol):
    """A part of a training that can be put away and taken up again: model, optimizer, gradient scaler."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


@dataclass
class Progress:
    """How far a training is. The sums are those of the current epoch."""

    step: int = 0
    """Optimizer steps since the beginning of the training."""
    lr: float = 0.0
    """Learning rate of the last step, of a layer with the factor 1."""
    loss: float = 0.0
    correct: int = 0
    seen: int = 0
    seconds: float = 0.0
    stats: list[EpochStats] = field(default_factory=list)
    best: dict[str, torch.Tensor] | None = None
    """Weights of the epoch with the highest val_top1 so far, the earliest of equals."""


def save_state(
    folder: Path, progress: Progress, parts: Mapping[str, Stateful], plan: Mapping[str, Any], device: torch.device
) -> None:
    """Write `folder`/state.pt, tensors and plain values only, whole or not at all.

    `plan` says which training this is: what must be equal for going on with it.
    """
    state = {
        "plan": dict(plan),
        "environment": _environment(device),
        "parts": {name: part.state_dict() for name, part in parts.items()},
        "progress": {**vars(progress), "stats": [asdict(line) for line in progress.stats]},
    }
    with replacing(folder / STATE, "wb") as handle:
        torch.save(state, handle)


def resume(
    folder: Path, parts: Mapping[str, Stateful], plan: Mapping[str, Any], device: torch.device
) -> Progress | None:
    """Put `folder`/state.pt into `parts` and return how far it was; None when there is no such file.

    Raises RunError when it is damaged or of another `plan`. With another device, torch version or number of threads it
    goes on, and that is written down as a deviation.
    """
    path = folder / STATE
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not hold the tensors to their CRC-32
            if damaged := archive.testzip():
                raise RunError(f"{path} is damaged at {damaged}. Delete it to train this run from the start.")
        state = torch.load(path, map_location="cpu", weights_only=True)
        differing = [key for key in plan if plan[key] != state["plan"].get(key)]
        if differing:
            raise RunError(
                f"{path} belongs to another training: {', '.join(differing)} differ. Give this one a folder of its own, "
                "or delete the file to train from the start."
            )
        environment = dict(state["environment"])
        for name, part in parts.items():
            part.load_state_dict(state["parts"][name])
        progress = Progress(
            **state["progress"] | {"stats": [EpochStats(**line) for line in state["progress"]["stats"]]}
        )
    except (*UNREADABLE, zipfile.BadZipFile) as error:
        words = str(error).partition("\n")[0]
        raise RunError(
            f"{path} is damaged or of another model ({words}). Delete it to train this run from the start."
        ) from None
    for key, now in _environment(device).items():
        before = environment.get(key)
        if now != before:
            note_deviation(folder, f"went on with {key} {now} after {before}")
    return progress


def note_deviation(folder: Path, words: str) -> None:
    """Add a line to `folder`/inexact.txt, once; rank 0's word counts."""
    if distributed.rank() > 0:
        return
    path = folder / INEXACT
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    if words not in lines:
        logger.warning("not exact: %s", words)
        write_text(path, "\n".join([*lines, words]) + "\n")


def save_model(path: Path, model: nn.Module, metadata: Mapping[str, str]) -> None:
    """Write the weights as .safetensors with `metadata`: the same weights and metadata give the same bytes."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    with replacing(path, "wb") as handle:
        handle.write(_sorted_metadata(safetensors.torch.save(tensors, dict(metadata))))


def load_model_weights(
    path: Path, classes: Sequence[str] | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a model.safetensors; `classes` are the keys that it must know, in this order.

    `metadata["classes"]` is a JSON list of class keys. Raises WeightsError when the file is missing or damaged, or is
    for other classes or another order of them.
    """
    if not path.is_file():
        raise WeightsError(
            f"there is no {path}; `harbench run` writes it when training is done, and "
            "with --force again where it was lost"
        )
    state, metadata = read_tensors(path)
    theirs = json.loads(metadata.get("classes", "[]"))
    if classes is not None and theirs != list(classes):
        at = next((i for i, pair in enumerate(zip(theirs, classes, strict=False)) if pair[0] != pair[1]), None)
        where = f"class {at} is {theirs[at]!r} there, {classes[at]!r} here" if at is not None else "one list ends early"
        raise WeightsError(
            f"{path} was trained for {len(theirs)} classes, expected these {len(classes)} in the same order: {where}. "
            "Use the data set, the split and the class list that it was trained on."
        )
    return state, metadata


def _environment(device: torch.device) -> dict[str, Any]:
    """What has to be equal for a repetition to the bit, beside the plan."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "device": name,
        "ranks": distributed.size(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }


def _sorted_metadata(packed: bytes) -> bytes:
    """The same file with its metadata in sorted order: the library's own order differs from run to run.

    Layout (safetensors' format page): 8 bytes little-endian for the length of the JSON header, header, data.
    """
    length = int.from_bytes(packed[:8], "little")
    header = json.loads(packed[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + packed[8 + length :]
