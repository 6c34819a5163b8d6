"""Poses from pixels: MediaPipe's PoseLandmarker over every frame of media that carry no joints.

BlazePose (Bazarevsky et al., arXiv:2006.10204): 33 landmarks of one person. What it finds is stored as a pose file a media,
which is then cached like any other. MediaPipe is imported here only, and only when poses are asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harbench.errors import HarbenchError, MediaError, damage
from harbench.files import replacing
from harbench.frames.decode import Decoder, Frame
from harbench.frames.decoders import decoder_for
from harbench.records import IMAGE_SUFFIXES, Track, silent
from harbench.workers import pool

BUNDLE = "pose_landmarker_full.task"
URL = "https://storage.googleapis.com/mediapipe-models/pose_landmarker/pose_landmarker_full/float16/latest/" + BUNDLE
LANDMARKS = 33
CHANNELS = 4
"""x, y, z in pixels of the picture (z as MediaPipe scales it, about as x), and how likely the landmark is visible."""


def check_landmarker(bundle: Path) -> None:
    """Raise MediaError, with what to do, where MediaPipe or its model is not at hand."""
    if find_spec("mediapipe") is None:
        raise MediaError("poses from pixels need MediaPipe, which is not installed:  pip install 'harbench[pose]'")
    if not bundle.is_file():
        raise MediaError(f"MediaPipe's pose model is not at {bundle}. Get it:  curl --create-dirs -o {bundle} {URL}")


def extract_poses(
    files: Mapping[Path, Path], bundle: Path, *, decoder: Decoder | None = None, workers: int = 2, track: Track = silent
) -> dict[Path, str]:
    """Write the poses of media (file -> .npy, float32 `[T, 1, 33, 4]`); what is there already is left alone.

    A frame in which nobody is found is zeros, and so may be all of them: a method that needs a pose fails there. Returns
    the media that could not be decoded, with the decoder's words. `decoder` is for videos.

    Raises:
        MediaError: MediaPipe or its model is not at hand, or a decoder took its process down.
    """
    left = {media: pose for media, pose in files.items() if not pose.exists()}
    if not left:
        return {}
    check_landmarker(bundle)
    failed: dict[Path, str] = {}
    with pool(min(workers, len(left)), _mute) as processes:
        jobs = {processes.submit(_write, media, pose, bundle, decoder): media for media, pose in left.items()}
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


def _write(media: Path, pose: Path, bundle: Path, decoder: Decoder | None) -> str:
    """Write one pose file; why it could not be, or nothing."""
    try:
        with decoder_for(media, decoder)(media) as decoded:
            still = media.suffix.lower() in IMAGE_SUFFIXES
            found = _still(decoded.frames, bundle) if still else _video(decoded.frames, decoded.fps, bundle)
            joints = np.stack([*found])[:, None]
    except HarbenchError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  whatever a decoder raises costs this media, not the others
        return f"the decoder raised {type(error).__name__}: {damage(error)}"
    with replacing(pose, "wb") as handle:
        np.save(handle, joints, allow_pickle=False)
    return ""


def _still(frames: Iterator[Frame], bundle: Path) -> Iterator[npt.NDArray[np.float32]]:
    for frame in frames:
        yield _landmarks(_stills_landmarker(bundle).detect(_picture(frame)), frame)


@cache
def _stills_landmarker(bundle: Path) -> Any:
    """One for all stills of a process: making one takes longer than a picture."""
    return _landmarker(bundle, "IMAGE")


def _video(frames: Iterator[Frame], fps: float, bundle: Path) -> Iterator[npt.NDArray[np.float32]]:
    """Followed from frame to frame, by time: a landmarker belongs to one video."""
    with _landmarker(bundle, "VIDEO") as landmarker:
        for number, frame in enumerate(frames):
            milliseconds = round(1000 * number / (fps or 25))
            yield _landmarks(landmarker.detect_for_video(_picture(frame), milliseconds), frame)


def _landmarker(bundle: Path, mode: str) -> Any:
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.PoseLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(bundle)), running_mode=vision.RunningMode[mode]
    )
    return vision.PoseLandmarker.create_from_options(options)


def _picture(frame: Frame) -> Any:
    import mediapipe

    return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(frame.image))


def _landmarks(result: Any, frame: Frame) -> npt.NDArray[np.float32]:
    """`[33, 4]`; zeros where nobody was found. MediaPipe's x and z are shares of the width, y of the height."""
    joints = np.zeros((LANDMARKS, CHANNELS), np.float32)
    height, width = frame.image.shape[:2]
    for index, point in enumerate(result.pose_landmarks[0] if result.pose_landmarks else ()):
        joints[index] = point.x * width, point.y * height, point.z * width, point.visibility
    return joints
