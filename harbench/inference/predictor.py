"""`Predictor`: the one object behind every way to use a model.

    predictor = Predictor.open("runs/ucf101/mc3_18/split1/seed0")
    for result in predictor("clip.mp4"):
        print(result.top(3))

Frames pass through the very steps of the run's evaluation: the same decoder, the same size and JPEG of the cache, the same
clips, crops and normalization. So a file of the test set gets the score that the run has of it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from harbench.errors import HarbenchError, MediaError, RunError
from harbench.frames.buffer import FrameBuffer, Stored
from harbench.frames.clips import Beside, ClipDataset
from harbench.frames.decode import frame_rate, is_variable, times_shown
from harbench.frames.detectors import Opener, joint_finder, joints_of
from harbench.frames.streams import Encoded
from harbench.inference.sources import Media, expanded_sources, open_media
from harbench.inference.trained import Opened, Trained, open_trained
from harbench.records import IMAGE_SUFFIXES, ClassLabel, MediaInfo, Sample

Floats = npt.NDArray[np.float64]
LONG = 60.0
"""Seconds: a longer video is scored in windows even where none were asked for."""
WINDOW = 4.0
"""Seconds of such a window."""
_FPS = 25.0
"""Of media that have no frame rate."""
_TIMES = 4096
"""Time stamps that are held."""
_WHOLE_FRAME = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Prediction:
    """What a model says of a source, or of a window of it."""

    source: str
    start: float
    """Seconds."""
    end: float
    classes: tuple[ClassLabel, ...] = field(repr=False)
    probabilities: Floats = field(repr=False)
    """`[K]`, in the order of the classes; zeros where poses were looked for and nobody was found."""
    seconds: dict[str, float] = field(default_factory=dict)
    """`decode` and `model`."""
    threshold: float = 0.0
    """Below this probability the answer is "nothing"."""
    person: int | None = None
    """Which of several tracked persons, from 0; None: the whole picture, or the only one."""

    @property
    def label(self) -> str:
        """The key of the best class; empty where it is below the threshold, or nobody was found."""
        best = int(self.probabilities.argmax())
        return self.classes[best].key if self.probabilities[best] >= max(self.threshold, 1e-9) else ""

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The `k` best classes, by key, with their probabilities."""
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.classes[number].key, float(self.probabilities[number])) for number in order]

    def plot(self, image: npt.NDArray[np.uint8], k: int = 5) -> npt.NDArray[np.uint8]:
        """An RGB picture `[H, W, 3]` with the `k` best classes drawn on a copy of it."""
        from harbench.inference.overlay import draw_bars

        return draw_bars(image.copy(), self.top(k), self.label)

    def to_dict(self, k: int | None = None) -> dict[str, Any]:
        """Plain values, for JSON; the `k` best classes, or all."""
        person = {} if self.person is None else {"person": self.person}
        return {
            "source": self.source, **person, "start": round(self.start, 3), "end": round(self.end, 3),
            "label": self.label or None,
            "probabilities": {key: round(p, 6) for key, p in self.top(k or len(self.classes))},
            "seconds": {name: round(value, 4) for name, value in self.seconds.items()},
        }  # fmt: skip


@dataclass(frozen=True)
class Windows:
    """How a long source is cut."""

    seconds: float | None = None
    """Of a window; None: a file is one, unless it is longer than a minute."""
    stride: float | None = None
    """Seconds from one window to the next; None: half of one."""
    threshold: float = 0.0
    """Below this probability the answer is "nothing"."""
    every: int = 1
    """Only every so many windows are scored."""


def check_windows(windows: Windows) -> None:
    """Raise RunError for windows or strides of no length."""
    for option, seconds in (("--window", windows.seconds), ("--stride", windows.stride)):
        if seconds is not None and not seconds > 0:
            raise RunError(f"{option} {seconds:g}: expected more than 0 seconds")


@dataclass(frozen=True)
class Predictor:
    """Trained models, several for a fusion, that answer together."""

    opened: Opened
    find_joints: Opener | None = None
    """Opens what finds joints in pictures, for models that read poses."""
    persons: int = 1
    """Persons that are followed; more than the model reads at once get an answer each."""

    @classmethod
    def open(
        cls, source: str | Path, *, device: str = "auto", pose_model: str | Path | None = None, persons: int = 1
    ) -> Predictor:
        """Open a run folder, a .safetensors, an .onnx file, or `hf:owner/name`.

        `pose_model` finds joints in pictures for models that read them: MediaPipe's .task, or an .onnx of several `persons`.

        Raises:
            RunError, WeightsError: there is no model there, or it does not say what prediction needs.
        """
        opened = open_trained(str(source), device)
        models = opened.models
        if len({each.classes for each in models}) > 1:
            raise MediaError(f"{source}: its runs are of different classes")
        read = [each for each in models if any(cache.stream == "pose" for cache in each.caches)]
        if pose_model is None or not read:
            return cls(opened)
        found, bodies = joints_of(Path(pose_model)), max(each.input.bodies for each in read)
        if read[0].joints != found:
            channels, joints = read[0].joints
            raise RunError(
                f"{source} reads {joints} joints of {channels} channels, and {pose_model} finds {found[1]} of {found[0]}: "
                "they do not go together"
            )
        return cls(opened, joint_finder(Path(pose_model), max(persons, bodies)), max(persons, bodies) // bodies)

    @property
    def classes(self) -> tuple[ClassLabel, ...]:
        """What it can answer, in the order of the probabilities."""
        return self.opened.models[0].classes

    def __call__(self, source: str | Path, windows: Windows = Windows()) -> Iterator[Prediction]:
        """Score every file that a source means. A file that cannot be scored raises MediaError, with its name."""
        with expanded_sources(str(source)) as paths:
            for path in paths:
                yield from self.predict_file(path, windows)

    def predict_file(self, path: Path, windows: Windows = Windows()) -> Iterator[Prediction]:
        """The predictions on one file: one, or one a window. Memory holds the frames of a window.

        Raises MediaError, which names the file, where it cannot be decoded or scored.
        """
        caches = tuple(cache for each in self.opened.models for cache in each.caches)
        try:
            with open_media(path, caches, self.find_joints) as media:
                still = path.suffix.lower() in IMAGE_SUFFIXES
                yield from self.predict_media(media, str(path), windows, still=still)
        except HarbenchError as error:
            raise MediaError(f"{path}: {error}") from None

    def center_view(self, path: Path) -> npt.NDArray[np.uint8]:
        """The center view `[C, T, H, W]` that the first model sees of a file, or of its first window. Raises MediaError."""
        trained = self.opened.models[0]
        with open_media(path, trained.caches, self.find_joints) as media:
            _, stored, times = next(cut_windows(media, Windows()))
            data = _dataset(trained, list(zip(stored, media.facts, strict=True)), times)
            frames, _ = data.view((0, 0, 0, data.views // 2))
            return np.ascontiguousarray(frames)

    def predict_media(self, media: Media, name: str, windows: Windows, *, still: bool = False) -> Iterator[Prediction]:
        """The predictions on an open source, as its frames come."""
        began = time.perf_counter()
        for start, stored, times in cut_windows(media, windows):
            decoded = time.perf_counter()
            fps = rate_of(media.facts[0])
            end = start if still else start + len(stored[0]) / fps
            answers = self.score_persons(stored, media.facts, times)
            seconds = {"decode": decoded - began, "model": time.perf_counter() - decoded}
            for person, probabilities in answers.items():
                yield Prediction(name, start, end, self.classes, probabilities, seconds, windows.threshold, person)
                seconds = dict.fromkeys(seconds, 0.0)
            began = time.perf_counter()

    def score_persons(
        self, stored: Sequence[Sequence[Stored]], facts: Sequence[Encoded], times: Sequence[float]
    ) -> dict[int | None, Floats]:
        """`score` of each person who is seen, by his place; of the whole where one is followed. Raises MediaError.

        Where joints are looked for in pictures and nobody is found, all probabilities are 0.
        """
        if self.find_joints is None:
            return {None: self.score(stored, facts, times)}
        poses = [cache.stream == "pose" for each in self.opened.models for cache in each.caches]
        joints = np.stack([np.asarray(frame) for frame in stored[poses.index(True)]])
        if not joints.any():
            return {None: np.zeros(len(self.classes))}
        if self.persons == 1:
            return {None: self.score(stored, facts, times)}
        bodies = joints.shape[1] // self.persons
        found: dict[int | None, Floats] = {}
        for person in range(self.persons):
            mine = slice(person * bodies, (person + 1) * bodies)
            if joints[:, mine].any():
                his = [
                    [np.asarray(f)[mine] for f in each] if pose else each
                    for each, pose in zip(stored, poses, strict=True)
                ]
                found[person] = self.score(his, facts, times)
        return found

    def score(self, stored: Sequence[Sequence[Stored]], facts: Sequence[Encoded], times: Sequence[float]) -> Floats:
        """Probabilities `[K]` of a clip: for each cache its frames as stored. Raises MediaError."""
        given, models = iter(zip(stored, facts, strict=True)), self.opened.models
        parts = [_score(each, list(islice(given, len(each.caches))), times) for each in models]
        shares = np.array(self.opened.weights) / sum(self.opened.weights)
        logits, probabilities = (np.tensordot(shares, np.stack(each), axes=1) for each in zip(*parts, strict=True))
        only = models[0] if len(models) == 1 else None
        if self.opened.adds_logits or (only and only.views.average == "logit"):
            probabilities = softmax(logits)
        if only and only.temperature != 1:
            probabilities = softmax(np.log(np.maximum(probabilities, 1e-30)) / only.temperature)
        answer: Floats = probabilities
        return answer


def _score(
    trained: Trained, stored: list[tuple[Sequence[Stored], Encoded]], times: Sequence[float]
) -> tuple[Floats, Floats]:
    """Mean logits and mean probabilities `[K]` of one model over its views."""
    data, views = _dataset(trained, stored, times), trained.views
    made = [data.view((0, 0, 0, number)) for number in range(views.views)]
    logits = []
    for first in range(0, len(made), views.batch_size):
        part = made[first : first + views.batch_size]
        arrays = [np.stack([frames for frames, _ in part])]
        arrays += [np.stack([joints for _, joints in part if joints is not None])] if trained.input.with_pose else []
        logits.append(trained.score(arrays))
    scores = np.concatenate(logits).astype(np.float64)
    if not np.isfinite(scores).all():
        raise MediaError("the model's output is not finite")
    return scores.mean(axis=0), softmax(scores, axis=1).mean(axis=0)


def _dataset(trained: Trained, stored: list[tuple[Sequence[Stored], Encoded]], times: Sequence[float]) -> ClipDataset:
    """The clips of one sample, the frames that are held."""
    buffers = [
        FrameBuffer(config.stream, frames, _info(frames, encoded, times))
        for (frames, encoded), config in zip(stored, trained.caches, strict=True)
    ]
    poses = buffers[1] if trained.input.with_pose else None
    boxes = {"": _WHOLE_FRAME} if trained.boxes else None
    sample = Sample("", 0, "", "test", "")
    return ClipDataset([sample], buffers[0], trained.input, seed=0, views=trained.views, beside=Beside(poses, boxes))


def _info(frames: Sequence[Stored], encoded: Encoded, times: Sequence[float]) -> MediaInfo:
    stamps = np.array(times)
    shown = times_shown(stamps) if len(times) == len(frames) and is_variable(stamps) else ()
    fps = frame_rate(encoded.fps, stamps) if len(times) == len(frames) else encoded.fps
    height, width = encoded.size
    return MediaInfo(len(frames), fps, width, height, times=np.array(shown) if shown else None)


def rate_of(encoded: Encoded) -> float:
    """Frames a second; 25 where the media has no rate."""
    return encoded.fps or _FPS


Window = tuple[float, list[list[Stored]], list[float]]
"""Seconds at which it begins; of each cache its frames; their time stamps."""


def cut_windows(media: Media, windows: Windows) -> Iterator[Window]:
    """The windows of a source as its frames come. The last one ends with the last frame, and may overlap more."""
    first = next(media.frames, None)
    if first is None:
        raise MediaError("there is no frame in it")
    frames, seconds = chain([first], media.frames), windows.seconds
    if seconds is None:
        most = int(LONG * rate_of(media.facts[0]))
        held = list(islice(frames, most + 1))
        if len(held) <= most:
            yield 0.0, [list(each) for each in zip(*held, strict=True)], list(media.facts[0].times)
            return
        frames, seconds = chain(held, frames), WINDOW
    stride = (windows.stride or seconds / 2) * windows.every
    yield from _sliding(frames, media.facts[0], seconds, stride)


def _sliding(frames: Iterator[tuple[Stored, ...]], facts: Encoded, seconds: float, stride: float) -> Iterator[Window]:
    fps = rate_of(facts)
    size, step = max(1, round(seconds * fps)), max(1, round(stride * fps))
    held: deque[tuple[Stored, ...]] = deque(maxlen=size)
    times: deque[float] = deque(maxlen=size)
    count = covered = dropped = 0
    for stored in frames:
        held.append(stored)
        times.append(facts.times[count - dropped])
        if count - dropped > _TIMES:  # of an endless stream only the latest are kept
            del facts.times[: count - dropped]
            dropped = count
        count += 1
        if count >= size and (count - size) % step == 0:
            covered = count
            yield (count - size) / fps, [list(each) for each in zip(*held, strict=True)], list(times)
    if covered < count:
        yield max(0, count - size) / fps, [list(each) for each in zip(*held, strict=True)], list(times)
