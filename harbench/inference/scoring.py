"""What the demo's page asks for, done: an upload scored in a process that can be killed, a webcam watched in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from harbench.errors import HarbenchError, MediaError
from harbench.frames.decoders import decoder_for
from harbench.inference.gradcam import heat_pictures
from harbench.inference.live import Slot, watch
from harbench.inference.overlay import NOTHING, color_of
from harbench.inference.predict import PredictOptions, predict_one
from harbench.inference.predictor import Predictor, Windows
from harbench.records import IMAGE_SUFFIXES
from harbench.workers import pool

LONG = 8.0
"""Seconds from which an upload is scored in windows."""


@dataclass(frozen=True)
class ScoreConfig:
    """How an upload is scored."""

    device: str
    pose_model: Path | None
    most_seconds: float
    """Of a video."""
    patience: float
    """Seconds after which a file that is not scored yet is given up, and its process killed."""


@cache
def predictor_of(run: str, device: str, pose_model: Path | None) -> Predictor:
    """The predictor of a run, opened once a process."""
    return Predictor.open(run, device=device, pose_model=pose_model)


def score_file(config: ScoreConfig, run: str, path: Path) -> dict[str, Any]:
    """The answers on an upload, and the name of its annotated copy beside it; `error` where there are none."""
    try:
        return _scored(config, predictor_of(run, config.device, config.pose_model), path)
    except HarbenchError as error:
        return {"error": str(error).replace(f"{path}: ", "").replace(str(path), "the file")}


def _scored(config: ScoreConfig, predictor: Predictor, path: Path) -> dict[str, Any]:
    length = 0.0 if path.suffix in IMAGE_SUFFIXES else _checked_length(path, config.most_seconds)
    windows = Windows(seconds=2.0, stride=0.5) if length > LONG else Windows()
    options = PredictOptions(5, windows, 5 if length > LONG else 1, path.with_name(f"{path.stem}_annotated"))
    found = predict_one(predictor, path, options)
    if found.error:
        return {"error": found.error}
    displays = {label.key: label.display for label in predictor.classes}
    mean = np.mean([each.probabilities for each in found.predictions], axis=0)
    whole = replace(found.predictions[0], probabilities=mean)
    return {
        "top": [[displays[key], p] for key, p in whole.top(5)],
        "segments": [
            [each.start, each.end, displays.get(each.label, NOTHING), each.probability, f"rgb{color_of(each.label)}"]
            for each in found.segments
        ],
        "seconds": {name: sum(each.seconds[name] for each in found.predictions) for name in ("decode", "model")},
        "copy": next((Path(each).name for each in found.saved if each.endswith((".mp4", ".jpg"))), None),
        "heat": heat_pictures(predictor, path),
    }


def _checked_length(path: Path, most: float) -> float:
    """Seconds of a video, by decoding it. Raises MediaError where it is too long."""
    with decoder_for(path)(path) as decoded:
        fps = decoded.fps or 25.0
        for count, _ in enumerate(decoded.frames, 1):
            if count > most * fps:
                raise MediaError(f"it is longer than {most:.0f} s; cut it, or use harbench predict")
    return count / fps


@dataclass
class Worker:
    """One process that scores uploads, in turn; a new one takes its place when it hangs or dies."""

    config: ScoreConfig
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    stack: ExitStack = field(default_factory=ExitStack)
    submit: Callable[..., Any] | None = None

    async def score(self, run: str, path: Path) -> dict[str, Any]:
        """What `score_file` returns; `error` where the process died or took too long."""
        async with self.turn:
            if self.submit is None:
                self.submit = self.stack.enter_context(pool(1)).submit
            try:
                job = asyncio.wrap_future(self.submit(score_file, self.config, run, path))
                answer: dict[str, Any] = await asyncio.wait_for(job, self.config.patience)
                return answer
            except TimeoutError:
                self.end()
                return {"error": f"it was not done in {self.config.patience:.0f} s, and was given up"}
            except BrokenProcessPool:
                self.end()
                return {"error": "the decoder ended its process at this file"}

    def end(self) -> None:
        """Kill the process."""
        self.submit = None
        self.stack.close()


def watch_webcam(config: ScoreConfig, run: str, slot: Slot, put: Callable[[dict[str, Any]], None]) -> None:
    """Answer to the pictures in `slot` until it ends."""
    try:
        predictor = predictor_of(run, config.device, config.pose_model)
        displays = {label.key: label.display for label in predictor.classes}
        for view in watch(predictor, slot, "webcam", Windows(seconds=2.0)):
            if view.new and view.prediction is not None:
                top = [[displays[key], p] for key, p in view.prediction.top(5)]
                facts = {
                    "latency": view.prediction.seconds["model"],
                    "fps": view.stats.fps,
                    "dropped": view.stats.dropped,
                }
                put({"top": top, **facts})
    except HarbenchError as error:
        put({"error": str(error)})
