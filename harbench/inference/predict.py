"""`predict`: a model on files, folders, lists and patterns; annotated copies, segments, subtitles."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from harbench.errors import HarbenchError, MediaError
from harbench.files import replacing, write_text
from harbench.frames.decoders import decoder_for
from harbench.frames.detectors import Finder, Joints, Opener
from harbench.inference.overlay import NOTHING, draw_skeleton, draw_timeline, video_writer
from harbench.inference.predictor import Prediction, Predictor, Windows, check_windows
from harbench.inference.segments import Segment, merged, smoothed, srt_text
from harbench.inference.sources import JOINTS, expanded_sources
from harbench.records import IMAGE_SUFFIXES, Track, silent


@dataclass(frozen=True)
class FilePrediction:
    """What was said of one file."""

    source: str
    predictions: tuple[Prediction, ...] = ()
    """One, or one a window."""
    segments: tuple[Segment, ...] = ()
    """Of a video in several windows: neighbors of one label merged."""
    error: str = ""
    """Why there are none."""
    saved: tuple[str, ...] = ()
    """Files that were written."""

    def to_dict(self, top: int) -> dict[str, Any]:
        """Plain values, for JSON."""
        found: dict[str, Any] = {"source": self.source}
        if self.error:
            return {**found, "error": self.error}
        found["predictions"] = [each.to_dict(top) for each in self.predictions]
        found["segments"] = [vars(each) for each in self.segments]
        return {**found, "saved": list(self.saved)}


@dataclass(frozen=True)
class PredictOptions:
    """How answers are made and shown."""

    top: int = 5
    windows: Windows = field(default_factory=Windows)
    smooth: int = 1
    """Windows whose mean is taken."""
    save: Path | None = None
    """For annotated copies, and subtitles of what has segments: a folder; of one file, their path without a suffix."""


def predict(
    source: str,
    *,
    run: str,
    device: str = "auto",
    pose_model: Path | None = None,
    persons: int = 1,
    options: PredictOptions = PredictOptions(),
    track: Track = silent,
) -> Iterator[FilePrediction]:
    """Score every file that `source` means with the model of `run`; a file that cannot be scored says so in `error`.

    `source` is a video, a picture, joints, a folder, a pattern, a list (.txt, .csv) or `-` for standard input; `run` a run
    folder, a .safetensors, an .onnx file or `hf:owner/name`.

    Raises:
        RunError, WeightsError: there is no model there. MediaError: the source means nothing.
    """
    check_windows(options.windows)
    predictor = Predictor.open(run, device=device, pose_model=pose_model, persons=persons)
    with expanded_sources(source) as paths:
        for path in track(paths, "predicting", len(paths)) if len(paths) > 1 else paths:
            save = target_of(path, paths, options.save)
            yield predict_one(predictor, path, replace(options, save=save))


def predict_one(predictor: Predictor, path: Path, options: PredictOptions) -> FilePrediction:
    """What is said of one file; its annotated copy, where it is asked for."""
    joints: list[Joints] = []
    recording = replace(predictor, find_joints=_recorded(predictor.find_joints, joints)) if options.save else predictor
    try:
        found = list(recording.predict_file(path, options.windows))
        if predictor.persons == 1:
            found = smoothed(found, options.smooth)
        segments = tuple(merged(found)) if len(found) > 1 and predictor.persons == 1 else ()
        saved = _save(path, options, found, segments, joints) if options.save else ()
    except HarbenchError as error:
        return FilePrediction(str(path), error=str(error).removeprefix(f"{path}: "))
    return FilePrediction(str(path), tuple(found), segments, saved=tuple(map(str, saved)))


def target_of(path: Path, paths: Sequence[Path], folder: Path | None) -> Path | None:
    """Where the copy of a file goes, without a suffix: below `folder` as it lies below the others, never over a source."""
    if folder is None:
        return None
    base = Path(os.path.commonpath([each.parent.absolute() for each in paths]))
    twins = sum(each.with_suffix("") == path.with_suffix("") for each in paths)
    name = path.name if twins > 1 else path.stem
    return folder / path.parent.absolute().relative_to(base) / f"{name}_annotated"


def _recorded(find: Opener | None, into: list[Joints]) -> Opener | None:
    """`find`, whose joints are kept for the annotated copy."""
    if find is None:
        return None

    @contextmanager
    def opened(still: bool, fps: float) -> Iterator[Finder]:
        with find(still, fps) as each:

            def call(image: npt.NDArray[np.uint8]) -> Joints:
                into.append(each(image))
                return into[-1]

            yield call

    return opened


def _save(
    path: Path,
    options: PredictOptions,
    found: Sequence[Prediction],
    segments: Sequence[Segment],
    joints: Sequence[Joints],
) -> list[Path]:
    """The annotated copy of a file at `options.save` with a suffix, and subtitles where there are segments."""
    assert options.save is not None
    target = options.save
    written: list[Path] = []
    if segments:
        written.append(target.with_name(f"{target.name}.srt"))
        write_text(written[-1], srt_text(segments))
    suffix = path.suffix.lower()
    if suffix in JOINTS:
        return written
    with decoder_for(path)(path) as decoded:
        if suffix in IMAGE_SUFFIXES:
            image = annotated(next(decoded.frames).image, found, options.top, joints[0] if joints else None)
            written.append(target.with_name(f"{target.name}.jpg"))
            with replacing(written[-1], "wb") as handle:
                handle.write(cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes())
            return written
        written.append(target.with_name(f"{target.name}.mp4"))
        length, fps = found[-1].end, decoded.fps or 25.0
        centers = np.array([(each.start + each.end) / 2 for each in found])
        with video_writer(written[-1], fps) as write:
            for number, frame in enumerate(decoded.frames):
                now = number / fps
                near = np.abs(centers - now)
                said = [found[place] for place in np.flatnonzero(near == near.min()).tolist()]
                image = annotated(frame.image, said, options.top, joints[number] if number < len(joints) else None)
                write(draw_timeline(image, segments, now, length) if segments else image)
    return written


def annotated(
    image: npt.NDArray[np.uint8], said: Sequence[Prediction], top: int, joints: Joints | None = None
) -> npt.NDArray[np.uint8]:
    """A copy of a picture, small ones enlarged so that words can be read, with skeletons and the best classes.

    Of several persons each has his class at his box.
    """
    image, scale = resized(image), scale_of(image)
    labels = {each.person: each for each in said if each.person is not None}
    for person, each in enumerate(joints if joints is not None else ()):
        if each.any():
            his = labels.get(person)
            words = f"{his.label or NOTHING} {100 * his.probabilities.max():.0f}%" if his else ""
            draw_skeleton(image, each * [scale, scale, *[1] * (each.shape[1] - 2)], words, boxed=his is not None)
    return image if labels or not said else said[0].plot(image, top)


def scale_of(image: npt.NDArray[np.uint8]) -> int:
    """How many times a picture is enlarged, so that words on it can be read."""
    return max(1, -(-320 // int(min(image.shape[:2]))))


def resized(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A copy of a picture, enlarged by `scale_of`."""
    scale = scale_of(image)
    return np.repeat(np.repeat(image, scale, axis=0), scale, axis=1) if scale > 1 else image.copy()


def check_save(folder: Path | None) -> None:
    """Raise MediaError where annotated copies cannot be written."""
    if folder is not None and folder.exists() and not folder.is_dir():
        raise MediaError(f"--save {folder}: expected a folder, found a file")
