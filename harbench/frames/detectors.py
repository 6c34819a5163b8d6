"""Persons and their joints in pictures: one small interface over MediaPipe and ONNX models, and tracks of several persons.

- MediaPipe's PoseLandmarker (`.task`): one person, 33 landmarks, x, y, z in pixels and visibility.
- MoveNet MultiPose (`.onnx`, one output `[1, 6, 56]`): up to 6 persons, 17 joints of COCO, x, y in pixels and a score.
- RTMO (`.onnx`, outputs `[1, N, 5]` and `[1, N, 17, 3]`, arXiv:2312.07526): several persons, the same joints.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from harbench.errors import HarbenchError, MediaError, damage
from harbench.files import replacing
from harbench.frames.decode import Decoder
from harbench.frames.decoders import decoder_for
from harbench.frames.stills import Pixels
from harbench.records import IMAGE_SUFFIXES, Track, silent
from harbench.workers import pool

Joints = npt.NDArray[np.float32]
"""`[V, C]` of one person."""
Finder = Callable[[Pixels], Joints]
"""A picture -> `[M, V, C]`: the joints of as many persons as are followed, zeros where one is absent."""

BUNDLE = "pose_landmarker_full.task"


URL = "https://storage.googleapis.com/mediapipe-models/pose_landmarker/pose_landmarker_full/float16/1/" + BUNDLE


LANDMARKS = 33


CHANNELS = 4
"""x, y, z in pixels of the picture (z as MediaPipe scales it, about as x), and how likely the landmark is visible."""
MOVENET_SIDE = 256
"""Pixels of the longer side that MoveNet is given; larger pictures find fewer persons."""
_RTMO_SIDE, _RTMO_GRAY = 640, 114
_SURE = {"movenet": 0.2, "rtmo": 0.3}
"""Scores from which a detection is a person."""
_SAME = 0.6
"""Intersection over union above which two detections are one person."""
_LOST = 30
"""Frames for which the track of a person who is not found is kept."""
_FAR = 0.7
"""Largest distance of joints, in heights of the body, at which a person goes on."""


@dataclass(frozen=True)
class PoseConfig:
    """How poses are found in pixels."""

    model: Path
    """MediaPipe's .task, or MoveNet or RTMO as .onnx."""
    persons: int = 1
    """Persons that are followed, each in a place of his own among the bodies."""


@dataclass(frozen=True)
class Person:
    """One person in a picture."""

    joints: Joints
    """`[V, C]`: x, y in pixels first."""
    box: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels."""
    score: float = 1.0


class OnnxDetector:
    """Persons in a picture, by MoveNet MultiPose or RTMO: which of them is told by the outputs of the file."""

    def __init__(self, path: Path) -> None:
        """Raises MediaError where onnxruntime is not installed, or the file is missing or another model."""
        if not path.is_file():
            raise MediaError(f"there is no pose model {path}; docs/use.md says which there are and where to get them")
        if find_spec("onnxruntime") is None:
            raise MediaError("poses by an .onnx model need onnxruntime:  pip install 'harbench[onnx]'")
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        try:
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001  onnxruntime raises classes of its own, that it does not export
            raise MediaError(f"{path}: expected an ONNX model, found damage: {damage(error)}") from None
        self.input = self.session.get_inputs()[0].name
        shapes = [each.shape for each in self.session.get_outputs()]
        last = [shape[-1] if shape else None for shape in shapes]
        if last == [56]:
            self.kind: Literal["movenet", "rtmo"] = "movenet"
        elif len(shapes) == 2 and last == [5, 3]:
            self.kind = "rtmo"
        else:
            raise MediaError(f"{path}: expected MoveNet MultiPose or RTMO, found a model with outputs {shapes}")

    def __call__(self, image: Pixels) -> list[Person]:
        """The persons in an RGB picture, surest first, each once."""
        found = self._movenet(image) if self.kind == "movenet" else self._rtmo(image)
        persons: list[Person] = []
        for each in sorted(found, key=lambda person: -person.score):
            if all(_overlap(each.box, other.box) < _SAME for other in persons):
                persons.append(each)
        return persons

    def _movenet(self, image: Pixels) -> list[Person]:
        height, width = image.shape[:2]
        scale = MOVENET_SIDE / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        padded = np.zeros((1, -(-size[1] // 32) * 32, -(-size[0] // 32) * 32, 3), np.int32)
        padded[0, : size[1], : size[0]] = small
        (rows,) = self.session.run(None, {self.input: padded})
        back = np.array([padded.shape[1], padded.shape[2]]) / scale
        persons = []
        for row in rows[0][rows[0][:, 55] >= _SURE["movenet"]]:
            points = row[:51].reshape(17, 3)
            joints = np.column_stack([points[:, 1] * back[1], points[:, 0] * back[0], points[:, 2]]).astype(np.float32)
            top, left, bottom, right = (row[51:55] * np.tile(back, 2)).tolist()
            persons.append(Person(joints, (left, top, right, bottom), float(row[55])))
        return persons

    def _rtmo(self, image: Pixels) -> list[Person]:
        """As in rtmlib: a letterbox of gray, BGR, no normalization."""
        height, width = image.shape[:2]
        scale = _RTMO_SIDE / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        padded = np.full((_RTMO_SIDE, _RTMO_SIDE, 3), _RTMO_GRAY, np.uint8)
        padded[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)[..., ::-1]
        boxes, points = self.session.run(None, {self.input: padded.transpose(2, 0, 1)[None].astype(np.float32)})
        persons = []
        for box, joints in zip(boxes[0], points[0], strict=True):
            if box[4] >= _SURE["rtmo"]:
                placed = np.column_stack([joints[:, :2] / scale, joints[:, 2]]).astype(np.float32)
                left, top, right, bottom = (box[:4] / scale).tolist()
                persons.append(Person(placed, (left, top, right, bottom), float(box[4])))
        return persons


# -------------------------------------------------------------------------------------------------------------- tracks
@dataclass
class Tracks:
    """Up to `count` persons followed from picture to picture, each in a place of his own."""

    count: int
    persons: list[Person | None] = field(default_factory=list)
    """As last seen; None: the place is free."""
    missed: list[int] = field(default_factory=list)
    """Pictures since."""

    def update(self, found: Sequence[Person]) -> list[Person | None]:
        """The person in each place now, None where he is not found. A newcomer takes a free place, the surest first."""
        self.persons += [None] * (self.count - len(self.persons))
        self.missed += [0] * (self.count - len(self.missed))
        pairs = sorted(
            (-likeness, place, number)
            for place, known in enumerate(self.persons)
            for number, each in enumerate(found)
            if known is not None and (likeness := _likeness(known, each)) > 0
        )
        now: list[Person | None] = [None] * self.count
        taken: set[int] = set()
        for _, place, number in pairs:
            if now[place] is None and number not in taken:
                now[place] = found[number]
                taken.add(number)
        for number, each in enumerate(found):
            free = [place for place in range(self.count) if now[place] is None and self.persons[place] is None]
            if number not in taken and free:
                now[free[0]] = each
        for place, person in enumerate(now):
            self.missed[place] = 0 if person else self.missed[place] + 1
            if person or self.missed[place] > _LOST:
                self.persons[place] = person
        return now


def _likeness(a: Person, b: Person) -> float:
    """From 0 (another person) to 2: intersection over union, and how near the joints are in heights of the body."""
    seen = (a.joints[:, :2] != 0).any(axis=1) & (b.joints[:, :2] != 0).any(axis=1)
    height = max(a.box[3] - a.box[1], b.box[3] - b.box[1], 1.0)
    near = 0.0
    if seen.any():
        near = max(
            0.0, 1 - float(np.linalg.norm(a.joints[seen, :2] - b.joints[seen, :2], axis=1).mean()) / (height * _FAR)
        )
    return _overlap(a.box, b.box) + near


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union of two boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


# -------------------------------------------------------------------------------------------------------------- finders
Opener = Callable[[bool, float], AbstractContextManager[Finder]]
"""(whether it is a still, frames a second) -> a finder for one source, for as long as the context is open."""


def check_finder(config: PoseConfig) -> None:
    """Raise MediaError, with what to do, where the model, or the library that runs it, is not at hand."""
    if config.model.suffix == ".onnx":
        OnnxDetector(config.model)
    else:
        check_landmarker(config.model)


def joints_of(model: Path) -> tuple[int, int]:
    """Channels and joints that a pose model finds."""
    return (3, 17) if model.suffix == ".onnx" else (CHANNELS, LANDMARKS)


@cache
def _detector(model: Path) -> OnnxDetector:
    """One for all sources of a process: it follows nobody."""
    return OnnxDetector(model)


def joint_finder(model: Path, persons: int) -> Opener:
    """What opens a finder of joints, of up to so many persons, for one source.

    A finder follows persons from picture to picture, so each source has one of its own. Raises MediaError where the model,
    or the library that runs it, is not at hand.
    """
    if model.suffix == ".onnx":
        detector = _detector(model)

        @contextmanager
        def opened(still: bool, fps: float) -> Iterator[Finder]:
            tracks = Tracks(persons)

            def find(image: Pixels) -> Joints:
                now = tracks.update(detector(image))
                return np.stack([np.zeros((17, 3), np.float32) if each is None else each.joints for each in now])

            yield find

        return opened
    return _mediapipe(model)


def _mediapipe(model: Path) -> Opener:
    check_landmarker(model)

    @contextmanager
    def opened(still: bool, fps: float) -> Iterator[Finder]:
        """One landmarker for all stills of a process (making one takes longer than a picture), one for each video."""
        if still:
            stills = _stills_landmarker(model)
            yield lambda image: _landmarks(stills.detect(_picture(image)), image)[None]
            return
        numbers = itertools.count()
        with _landmarker(model, "VIDEO") as landmarker:

            def find(image: Pixels) -> Joints:
                milliseconds = round(1000 * next(numbers) / (fps or 25))
                return _landmarks(landmarker.detect_for_video(_picture(image), milliseconds), image)[None]

            yield find

    return opened


# ------------------------------------------------------------------------------------------------------------ MediaPipe
def check_landmarker(bundle: Path) -> None:
    """Raise MediaError, with what to do, where MediaPipe or its model is not at hand."""
    if find_spec("mediapipe") is None:
        raise MediaError("poses from pixels need MediaPipe, which is not installed:  pip install 'harbench[pose]'")
    if not bundle.is_file():
        raise MediaError(f"MediaPipe's pose model is not at {bundle}. Get it:  curl --create-dirs -o {bundle} {URL}")


def extract_poses(
    files: Mapping[Path, Path],
    config: PoseConfig,
    *,
    decoder: Decoder | None = None,
    workers: int = 2,
    track: Track = silent,
) -> dict[Path, str]:
    """Write the poses of media (file -> .npy, float32 `[T, M, V, C]`); what is there already is left alone.

    A frame in which nobody is found is zeros, and so may be all of them: a method that needs a pose fails there. Returns
    the media that could not be decoded, with the decoder's words. `decoder` is for videos.

    Raises:
        MediaError: the model, or the library that runs it, is not at hand, or a decoder took its process down.
    """
    left = {media: pose for media, pose in files.items() if not pose.exists()}
    if not left:
        return {}
    check_finder(config)
    failed: dict[Path, str] = {}
    with pool(min(workers, len(left)), _mute) as processes:
        jobs = {processes.submit(_write, media, pose, config, decoder): media for media, pose in left.items()}
        try:
            for job in track(as_completed(jobs), "finding poses", len(jobs)):
                if why := job.result():
                    failed[jobs[job]] = why
        except BrokenProcessPool:
            raise MediaError("a process that looked for poses was killed; what was finished is kept") from None
    return failed


def _mute() -> None:
    """MediaPipe's C++ writes warnings of its own about every video to stderr, and there is no setting that stops it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _write(media: Path, pose: Path, config: PoseConfig, decoder: Decoder | None) -> str:
    """Write one pose file; why it could not be, or nothing."""
    try:
        still = media.suffix.lower() in IMAGE_SUFFIXES
        with (
            decoder_for(media, decoder)(media) as decoded,
            joint_finder(config.model, config.persons)(still, decoded.fps) as find,
        ):
            joints = np.stack([find(frame.image) for frame in decoded.frames])
    except HarbenchError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  whatever a decoder raises costs this media, not the others
        return f"the decoder raised {type(error).__name__}: {damage(error)}"
    with replacing(pose, "wb") as handle:
        np.save(handle, joints, allow_pickle=False)
    return ""


@cache
def _stills_landmarker(bundle: Path) -> Any:
    return _landmarker(bundle, "IMAGE")


def _landmarker(bundle: Path, mode: str) -> Any:
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.PoseLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(bundle)), running_mode=vision.RunningMode[mode]
    )
    return vision.PoseLandmarker.create_from_options(options)


def _picture(image: Pixels) -> Any:
    import mediapipe

    return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))


def _landmarks(result: Any, image: Pixels) -> Joints:
    """`[33, 4]`; zeros where nobody was found. MediaPipe's x and z are shares of the width, y of the height."""
    joints = np.zeros((LANDMARKS, CHANNELS), np.float32)
    height, width = image.shape[:2]
    for index, point in enumerate(result.pose_landmarks[0] if result.pose_landmarks else ()):
        joints[index] = point.x * width, point.y * height, point.z * width, point.visibility
    return joints
