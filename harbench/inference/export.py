"""`export`: a run as ONNX. The graph takes views as they are cut from frames and gives probabilities.

Normalization and softmax are inside; classes, clips, caches and protocol are in its metadata, so that `predict` and
`evaluate` need nothing beside the file. Nothing is written unless onnxruntime says what torch says.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from harbench.errors import RunError, damage
from harbench.inference.trained import KEYS, load_model, onnx_runtime, temperature_of
from harbench.records import Track, silent

if TYPE_CHECKING:
    import torch
    from torch import nn

    from harbench.frames.clips import ClipDataset

FORMATS = ("onnx",)
SAMPLES = 256
"""Test samples on which both have to agree."""
BATCHES = (1, 3, 8)
TOLERANCE = 1e-3
"""Largest difference of a probability."""
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Export:
    """What was written, and how well it agrees."""

    output: str
    bytes: int
    samples: int
    """Test samples that both scored."""
    largest_difference: float
    """Of a probability."""
    same_top1: int
    """Samples of which both say the same class."""
    seconds: dict[str, float]
    """`export`; `torch` and `onnxruntime`: of one view, batch 1, the median of several."""


def export(
    run: Path, *, home: Path, runs: Path, output: Path | None = None, to: str = "onnx", full: bool = False,
    track: Track = silent,
) -> Export:  # fmt: skip
    """Write a finished run as ONNX to `output` (default: `<run>/model.onnx`), once it agrees with torch.

    They are compared on 256 test samples in batches of 1, 3 and 8, with `full` on all of them.

    Raises:
        RunError: there is no finished run, it is a fusion, ONNX is not installed, torch cannot export the model, or the
            two disagree. CacheError: the test samples are not prepared.
    """
    from harbench.runs.evaluate import open_run
    from harbench.runs.folder import WEIGHTS, checked_file
    from harbench.runs.plan import RunOptions

    if to not in FORMATS:
        raise RunError(f"--to {to}: expected {' or '.join(FORMATS)}")
    runtime = onnx_runtime()
    if missing := [name for name in ("onnx", "onnxscript") if find_spec(name) is None]:
        raise RunError(f"this needs {' and '.join(missing)}, which is not installed:  pip install 'harbench[onnx]'")
    opened = open_run(run, RunOptions(home, runs, allow_seen=True))
    folder, weights = opened.folder, checked_file(opened.folder, WEIGHTS)
    model, facts = load_model(weights, str(folder))
    data = opened.inputs.test
    views = _views(data, [0], 0)
    output = output or folder / "model.onnx"
    began = time.perf_counter()
    temporary = output.with_name(f".{output.name}.{os.getpid()}.part")
    temporary.parent.mkdir(parents=True, exist_ok=True)
    try:
        for _ in track([model], "exporting", 1):
            graph = _exported(deployed(model, facts["input"]), views, str(folder))
        _write(graph, temporary, weights, temperature_of(folder))
        seconds = {"export": time.perf_counter() - began}
        session = runtime.InferenceSession(temporary, providers=["CPUExecutionProvider"])
        chosen = range(len(data)) if full else np.unique(np.linspace(0, len(data) - 1, SAMPLES).astype(int)).tolist()
        largest, same = _compare(deployed(model, facts["input"]), session, data, chosen, track)
        seconds |= _latencies(deployed(model, facts["input"]), session, views)
        if largest > TOLERANCE or same < len(chosen):
            raise RunError(
                f"{folder}: onnxruntime does not say what torch says: {same} of {len(chosen)} test samples have the same "
                f"best class, and probabilities differ by up to {largest:.2g}. Nothing was written; please report it"
            )
        os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)
    return Export(str(output), output.stat().st_size, len(chosen), largest, same, seconds)


def deployed(model: nn.Module, config: Any) -> nn.Module:
    """The network from views as they are cut from frames to probabilities."""
    from torch import nn

    from harbench.frames.streams import normalize

    class Deployed(nn.Module):
        """Normalization, the model, softmax."""

        def __init__(self) -> None:
            super().__init__()
            self.model, self.prepared = model, partial(normalize, config=config)

        def forward(self, frames: torch.Tensor, poses: torch.Tensor | None = None) -> torch.Tensor:
            joints = () if poses is None else (poses,)
            logits: torch.Tensor = self.model(self.prepared(frames), *joints)
            return logits.softmax(dim=1)

    return Deployed().eval()


def _exported(module: nn.Module, views: Sequence[npt.NDArray[Any]], name: str) -> Any:
    import logging
    import warnings

    import torch

    batch = torch.export.Dim("batch", min=1, max=1024)
    arguments = tuple(torch.from_numpy(np.concatenate([each, each])) for each in views)
    shapes = tuple({0: batch} for _ in arguments)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.onnx.export(
                module, arguments, dynamo=True, dynamic_shapes=shapes, input_names=["frames", "poses"][: len(arguments)],
                output_names=["probabilities"], verbose=False, optimize=True,
            )  # fmt: skip
    except Exception as error:  # noqa: BLE001  the exporter raises what any part of torch raises
        raise RunError(f"{name}: torch cannot export this model to ONNX: {damage(error)}") from None


def _write(program: Any, path: Path, weights: Path, temperature: float) -> None:
    """The graph with the checkpoint's metadata, and without the paths of this machine that the exporter notes."""
    import onnx

    from harbench import __version__
    from harbench.models.weight_files import read_metadata

    for graph in (program.model.graph, *(each.graph for each in program.model.functions.values())):
        for node in graph.all_nodes():
            node.metadata_props.clear()
        graph.metadata_props.clear()
    model = program.model_proto
    metadata = read_metadata(weights)
    kept = {key: metadata[key] for key in KEYS} | {"harbench": __version__, "temperature": str(temperature)}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, kept)
    model.producer_name, model.producer_version = "harbench", __version__
    onnx.save(model, path)


def _views(data: ClipDataset, rows: Sequence[int], view: int) -> list[npt.NDArray[Any]]:
    """A view of some samples, stacked: frames, then the joints beside them if there are any."""
    made = [data.view((0, row, row, view)) for row in rows]
    arrays = [np.stack([np.ascontiguousarray(frames) for frames, _ in made])]
    joints = [each for _, each in made if each is not None]
    return [*arrays, np.stack(joints)] if joints else arrays


def _compare(
    module: nn.Module, session: Any, data: ClipDataset, rows: Sequence[int], track: Track
) -> tuple[float, int]:
    """The largest difference of a probability, and the samples with the same best class, over the center view."""
    import torch

    largest, same = 0.0, 0
    for part in track(list(_batches(rows)), "comparing with onnxruntime"):
        arrays = _views(data, part, data.views // 2)
        with torch.inference_mode():
            expected = module(*(torch.from_numpy(each) for each in arrays)).numpy()
        found = run_session(session, arrays)
        largest = max(largest, float(np.abs(expected - found).max()))
        same += int((expected.argmax(axis=1) == found.argmax(axis=1)).sum())
    return largest, same


def run_session(session: Any, arrays: Sequence[npt.NDArray[Any]]) -> Floats:
    """Probabilities `[B, K]` of an onnxruntime session."""
    names = [each.name for each in session.get_inputs()]
    found: Floats = session.run(None, dict(zip(names, map(np.ascontiguousarray, arrays), strict=True)))[0]
    return found


def _batches(rows: Sequence[int]) -> Iterator[Sequence[int]]:
    """Batches of 1, 3 and 8 in turn."""
    at = turn = 0
    while at < len(rows):
        size = BATCHES[turn % len(BATCHES)]
        yield rows[at : at + size]
        at, turn = at + size, turn + 1


def _latencies(module: nn.Module, session: Any, views: Sequence[npt.NDArray[Any]]) -> dict[str, float]:
    """Median seconds of one view in both, taken in turn."""
    import torch

    taken: dict[str, list[float]] = {"torch": [], "onnxruntime": []}
    tensors = [torch.from_numpy(each) for each in views]
    for _ in range(7):
        began = time.perf_counter()
        with torch.inference_mode():
            module(*tensors)
        between = time.perf_counter()
        run_session(session, views)
        taken["torch"].append(between - began)
        taken["onnxruntime"].append(time.perf_counter() - between)
    return {name: float(np.median(each[2:])) for name, each in taken.items()}
