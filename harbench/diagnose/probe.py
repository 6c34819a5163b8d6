"""What each decoder makes of a video: how many frames, in which order, how far from PyAV's, how fast; with a time limit."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from harbench.errors import MediaError
from harbench.frames.decode import open_video
from harbench.frames.decoders import VIDEO_DECODERS, choose_decoder, installed
from harbench.frames.stills import Pixels
from harbench.workers import SECONDS, SPAWN


@dataclass(frozen=True)
class DecoderProbe:
    """One decoder at one video. Differences are means over the channels of all pixels, of 255; None: not compared."""

    name: str
    """As in `--decoder`."""
    version: str = ""
    frames: int = 0
    """Frames that it gave; before it stopped, where there is a `problem`."""
    size: tuple[int, int] = (0, 0)
    """Width and height as it shows them."""
    compared: int = 0
    """Frames that PyAV gave too."""
    first: float | None = None
    """Difference of the first frame from PyAV's."""
    last: float | None = None
    """Difference of the last frame that both gave."""
    mean: float | None = None
    """Mean difference of the frames that both gave."""
    in_order: bool | None = None
    """No frame is much nearer to PyAV's frame before or after it than to PyAV's of the same number."""
    frames_per_second: float = 0.0
    """Of the decoder alone, one thread."""
    problem: str = ""
    """Why it gave nothing, or stopped, in its own words; empty: it read the video to its end."""
    notes: tuple[str, ...] = ()


def probe_video(path: Path, names: Sequence[str] = (), *, patience: float = 60.0) -> tuple[DecoderProbe, ...]:
    """Read a video with these decoders (default: all that are installed), each in a process of its own.

    A decoder that crashes or is still at it after `patience` seconds, and ten more for each MB, is a `problem` of its row.
    """
    seconds = patience + (path.stat().st_size / 1e5 if path.is_file() else 0)
    found: list[DecoderProbe] = []
    for name in names or [name for name in VIDEO_DECODERS if installed(name)]:
        try:
            found += answers(read_beside_pyav, name, path, patience=seconds)
        except MediaError as error:
            found.append(DecoderProbe(name, problem=f"{name} {error}"))
    return tuple(found)


def read_beside_pyav(name: str, path: Path) -> Iterator[DecoderProbe]:
    """Read a video with a decoder and with PyAV in step; yields one probe, at the end."""
    cv2.setNumThreads(1)
    probe, count, seconds = DecoderProbe(name), 0, 0.0
    differences: list[float] = []
    misplaced = 0
    with ExitStack() as stack:
        reference = _reference(path, stack) if name != "av" else iter(())
        before, same, after = None, next(reference, None), next(reference, None)
        started = time.perf_counter()
        try:
            media = stack.enter_context(choose_decoder(name)(path))
            probe = replace(probe, version=media.decoder)
            frames = iter(media.frames)
            while (frame := next(frames, None)) is not None:
                seconds += time.perf_counter() - started
                count += 1
                if count == 1:
                    probe = replace(probe, size=(frame.image.shape[1], frame.image.shape[0]))
                if same is not None and same.shape == frame.image.shape:
                    differences.append(difference(frame.image, same))
                    neighbors = [difference(frame.image, other) for other in (before, after) if other is not None]
                    # By half: a decoder that converts colors otherwise is a little off everywhere.
                    misplaced += min(neighbors, default=np.inf) < differences[-1] / 2
                before, same, after = same, after, next(reference, None)
                started = time.perf_counter()
            probe = replace(probe, notes=tuple(media.notes))
        except MediaError as error:
            probe = replace(probe, problem=str(error))
    probe = replace(probe, frames=count, frames_per_second=count / seconds if seconds else 0.0)
    if differences:
        probe = replace(
            probe, compared=len(differences), first=differences[0], last=differences[-1],
            mean=float(np.mean(differences)), in_order=misplaced == 0,
        )  # fmt: skip
    yield probe


def difference(image: Pixels, other: Pixels) -> float:
    """Mean absolute difference over all pixels and channels, of 255."""
    return float(cv2.norm(image, other, cv2.NORM_L1)) / image.size


def _reference(path: Path, stack: ExitStack) -> Iterator[Pixels]:
    """PyAV's frames, up to where it cannot read on: that is told in its own row."""
    try:
        media = stack.enter_context(open_video(path))
        for frame in media.frames:
            yield frame.image
    except MediaError:
        return


def answers(function: Callable[..., Iterator[Any]], *args: Any, patience: float) -> Iterator[Any]:
    """What a generator function yields in a spawned process; both it and its arguments must be importable there.

    Raises MediaError when it takes more than `patience` seconds to its next answer, or when its process ends before it
    does: with the last line that the process wrote on stderr, which C libraries print to.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "stderr"
        here, there = SPAWN.Pipe(duplex=False)
        process = SPAWN.Process(target=_answer, args=(there, log, function, args), daemon=True)
        process.start()
        there.close()
        try:
            while here.poll(patience):
                try:
                    answer = here.recv()
                except EOFError:
                    process.join(SECONDS)
                    raise MediaError(f"its process {_end(process.exitcode)}{_last_line(log)}") from None
                if answer is None:
                    return
                yield answer[0]
            raise MediaError(f"was still at it after {patience:.0f} s, and was ended{_last_line(log)}")
        finally:
            process.kill()
            process.join(SECONDS)
            here.close()


def _answer(connection: Connection, log: Path, function: Callable[..., Iterator[Any]], args: tuple[Any, ...]) -> None:
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 2)
    for answer in function(*args):
        connection.send((answer,))
    connection.send(None)


def _end(code: int | None) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code and code < 0 else f"ended with exit code {code}"


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    words = [line.strip() for line in lines if line.strip()]
    return f": {words[-1]}" if words else ""
