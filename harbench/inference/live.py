"""A camera, a stream address, or a file played at its own rate: answers that never lag behind.

A thread reads the source and keeps the newest picture only, so what cannot be taken in time is dropped and counted. The
model works in a second thread, on the last window, whenever it is free.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from harbench.errors import MediaError
from harbench.frames.buffer import Stored
from harbench.frames.decode import DecodedMedia, Frame, open_video
from harbench.frames.detectors import Joints
from harbench.inference.predictor import Prediction, Predictor, Windows, check_windows, rate_of
from harbench.inference.sources import live_media

Pixels = npt.NDArray[np.uint8]
WINDOW = 2.0
"""Seconds of a window, unless another was asked for."""
_OPEN_MS, _READ_MS = 8000, 5000
"""Milliseconds after which an address that does not answer has failed."""
_AGAIN = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each try to reach a source again that went away."""
NO_WINDOWS = Windows()
_LATENCIES = 1000
"""Answers whose latency is kept."""


@dataclass
class LiveStats:
    """How a live source does."""

    received: int = 0
    """Pictures that came."""
    dropped: int = 0
    """Pictures that were not taken in time."""
    reconnected: int = 0
    rate: float = 25.0
    """Pictures a second that the source sends."""
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))
    """Seconds from the newest picture of a window to its answer."""
    began: float = field(default_factory=time.monotonic)

    @property
    def fps(self) -> float:
        """Pictures taken a second."""
        return (self.received - self.dropped) / max(1e-3, time.monotonic() - self.began)

    def latency(self, percent: float) -> float:
        """A percentile of the latencies, in seconds; NaN before the first answer."""
        return float(np.percentile(self.latencies, percent)) if self.latencies else float("nan")


@dataclass(frozen=True)
class LiveView:
    """A picture as it is to be shown, and the newest answer."""

    image: Pixels
    prediction: Prediction | None
    """None before the first window is full."""
    new: bool
    """The answer was not there before."""
    stats: LiveStats
    joints: Joints | None = None
    """`[M, V, C]`, for a model that reads poses."""
    persons: tuple[Prediction, ...] = ()
    """Where several persons are followed, the answer of each; `prediction` is the surest."""


class Slot:
    """The newest picture of a source, in one place that both threads know."""

    def __init__(self, stats: LiveStats) -> None:
        self.stats, self.fps = stats, stats.rate
        self._ready = threading.Condition()
        self._frame: tuple[Pixels, float] | None = None
        self._ended: MediaError | bool = False

    def put(self, image: Pixels) -> None:
        """A new picture; one that was not taken is dropped."""
        with self._ready:
            self.stats.received += 1
            self.stats.dropped += self._frame is not None
            self._frame = image, time.monotonic()
            self._ready.notify()

    def end(self, why: MediaError | None = None) -> None:
        """There will be no more."""
        with self._ready:
            self._ended = why or True
            self._ready.notify()

    def take(self) -> tuple[Pixels, float] | None:
        """The newest picture and when it came; None at the end. Raises MediaError where the source went away."""
        with self._ready:
            self._ready.wait_for(lambda: self._frame is not None or self._ended)
            if self._frame is None:
                if isinstance(self._ended, MediaError):
                    raise self._ended
                return None
            frame, self._frame = self._frame, None
            return frame


@contextmanager
def captured(source: str, stats: LiveStats) -> Iterator[Slot]:
    """Read a live source in a thread for as long as the context is open.

    Raises MediaError where it cannot be opened.
    """
    slot, stop = Slot(stats), threading.Event()
    if source.lower().startswith("loop://"):
        path = Path(source[len("loop://") :])
        with open_video(path) as decoded:  # whether it can be opened, before a thread is started
            slot.fps = decoded.fps or 25.0
        read: Callable[[], None] = lambda: _play(path, slot, stop)  # noqa: E731
    else:
        reader = _opened(source)
        rate = float(reader.get(cv2.CAP_PROP_FPS))
        slot.fps = rate if 1 <= rate <= 240 else 25.0
        read = lambda: _read(source, reader, slot, stop)  # noqa: E731
    stats.rate = slot.fps
    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield slot
    finally:
        stop.set()
        thread.join(_READ_MS / 1000)


def _opened(source: str) -> Any:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it would write on stderr what we say
    if source.isdigit():
        reader = cv2.VideoCapture(int(source))
        missing = f"there is no camera {source} here, or another program has it"
    else:
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _READ_MS]
        reader = cv2.VideoCapture(source, cv2.CAP_FFMPEG, timeouts)
        missing = f"{source} does not answer, or sends no video"
    if not reader.isOpened():
        raise MediaError(missing)
    return reader


def _read(source: str, reader: Any, slot: Slot, stop: threading.Event) -> None:
    """A source that goes away is tried again for a while; a file behind an address has an end."""
    finite = reader.get(cv2.CAP_PROP_FRAME_COUNT) > 0
    while not stop.is_set():
        good, image = reader.read()
        if good:
            slot.put(np.ascontiguousarray(image[..., ::-1]))
            continue
        reader.release()
        if finite:
            slot.end()
            return
        for seconds in _AGAIN:
            if stop.wait(seconds):
                return
            with suppress(MediaError):
                reader = _opened(source)
                slot.stats.reconnected += 1
                break
        else:
            slot.end(MediaError(f"{source} went away, and did not come back in {sum(_AGAIN):.0f} s"))
            return
    reader.release()


def _play(path: Path, slot: Slot, stop: threading.Event) -> None:
    """A file again and again, at its own rate."""
    due = time.monotonic()
    try:
        while not stop.is_set():
            with open_video(path) as decoded:
                for frame in decoded.frames:
                    due += 1 / slot.fps
                    if stop.wait(max(0.0, due - time.monotonic())):
                        return
                    slot.put(frame.image)
    except MediaError as error:
        slot.end(error)


# --------------------------------------------------------------------------------------------------------------- views
def watch(predictor: Predictor, slot: Slot, name: str, windows: Windows) -> Iterator[LiveView]:
    """Every picture that is taken, with the newest answer beside it."""
    caches = tuple(cache for each in predictor.opened.models for cache in each.caches)
    shown: deque[tuple[Pixels, float]] = deque(maxlen=3)

    def frames() -> Iterator[Frame]:
        while (taken := slot.take()) is not None:
            shown.append(taken)
            yield Frame(taken[0], taken[1])

    with ExitStack() as stack:
        find = stack.enter_context(predictor.find_joints(False, slot.fps)) if predictor.find_joints else None
        media = live_media(DecodedMedia(frames(), slot.fps, "live"), caches, find)
        thread = ThreadPoolExecutor(1)
        stack.callback(thread.shutdown, wait=True, cancel_futures=True)
        seconds = windows.seconds or WINDOW
        fps = rate_of(media.facts[0]) if media.facts[0].fps else slot.fps
        size, step = max(1, round(seconds * fps)), max(1, round((windows.stride or seconds / 8) * windows.every * fps))
        held: deque[tuple[tuple[Stored, ...], float]] = deque(maxlen=size)
        answers: tuple[Prediction, ...] = ()
        job: tuple[Future[Any], float] | None = None
        since, began = 0, time.monotonic()
        for stored in media.frames:
            held.append((stored, shown[-1][1]))
            since += 1
            for facts in media.facts:
                del facts.times[:-1]
            new = job is not None and job[0].done()
            if job is not None and new:
                span = job[1] - began - seconds, job[1] - began
                taken = {"decode": 0.0, "model": time.monotonic() - job[1]}
                answers = tuple(
                    Prediction(name, *span, predictor.classes, found, taken, windows.threshold, person)
                    for person, found in _answers(job[0]).items()
                )
                slot.stats.latencies.append(taken["model"])
                job = None
            if job is None and len(held) == size and since >= step:
                clip, times = zip(*held, strict=True)
                columns = [list(each) for each in zip(*clip, strict=True)]
                job, since = (thread.submit(predictor.score_persons, columns, media.facts, list(times)), times[-1]), 0
            pose = next(
                (each for each in stored if isinstance(each, np.ndarray) and each.ndim == 3 and each.dtype.kind == "f"),
                None,
            )
            best = max(answers, key=lambda each: each.probabilities.max(), default=None)
            persons = answers if predictor.persons > 1 else ()
            yield LiveView(shown[-1][0], best, new and best is not None, slot.stats, pose, persons)


def _answers(job: Future[Any]) -> dict[int | None, Any]:
    """What the model said; nothing where there was nobody to be seen."""
    try:
        found: dict[int | None, Any] = job.result()
        return found
    except MediaError:
        return {}


def watch_source(
    source: str,
    *,
    run: str,
    device: str = "auto",
    pose_model: Path | None = None,
    persons: int = 1,
    windows: Windows = NO_WINDOWS,
    seconds: float | None = None,
) -> Iterator[LiveView]:
    """Watch a camera number, an address, or `loop://FILE`, for so many seconds or until nobody asks for more.

    Raises:
        RunError, WeightsError: there is no model there. MediaError: the source cannot be opened, or went away.
    """
    check_windows(windows)
    predictor = Predictor.open(run, device=device, pose_model=pose_model, persons=persons)
    with captured(source, LiveStats()) as slot:
        for view in watch(predictor, slot, source, windows):
            yield view
            if seconds is not None and time.monotonic() - slot.stats.began >= seconds:
                return


def has_window() -> bool:
    """Whether OpenCV can open a window here: it was built with one, and there is a display."""
    built = next((line for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GUI:")), "")
    display = sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return "NONE" not in built and bool(built) and display
