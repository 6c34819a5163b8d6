"""Filling cache blocks in worker processes: decode, shrink, encode, append.

A worker owns one block at a time and says what it begins and ends with. A decoder that takes its process down costs one
media, and so does one that hangs: it is reported, and a new worker goes on behind it. A worker whose parent is gone stops
at the next media.
"""

from __future__ import annotations

import io
import signal
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from harbench.errors import CacheError, MediaError, damage
from harbench.frames.blocks import BlockWriter, Content, owned
from harbench.frames.decode import (
    Decoder,
    Frame,
    Image,
    ShortSide,
    decoder_for,
    frame_rate,
    is_variable,
    shrunk_size,
    times_shown,
)
from harbench.frames.flow import flow_images, stacked
from harbench.frames.pose import read_pose
from harbench.recipe import CacheConfig
from harbench.workers import SECONDS, SPAWN

Pixels = TypeVar("Pixels", Image, npt.NDArray[np.float32])


@dataclass(frozen=True)
class Job:
    """One block to fill."""

    folder: Path
    block: int
    media: tuple[tuple[str, Path], ...]
    """(official path, file) in official order."""
    config: CacheConfig
    decoder: Decoder | None = None
    """Of videos; a function that a spawned process can import. None: PyAV."""
    patience: float = 120.0
    """Seconds after which a decoder at a small file is taken for hung; ten more for each MB."""
    wait: bool = False
    """Wait for a block that another process owns; else it is `busy`."""


@dataclass(frozen=True, slots=True)
class Event:
    """What a worker says: about a media, or (`busy`, `full`, `finished`) about its block."""

    what: Literal["begun", "done", "reused", "failed", "busy", "full", "finished"]
    media: str = ""
    reason: str = ""
    """Why it failed; of a media that is there, what its decoder noted."""


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    job: Job | None = None
    media: str = ""
    """What it is decoding now."""
    deadline: float = float("inf")
    """When that is taken for hung, by the monotonic clock."""


# --------------------------------------------------------------------------------------------------------- the parent
def fill_blocks(jobs: Sequence[Job], workers: int) -> Generator[Event, None, None]:
    """Fill blocks with up to `workers` processes; one `done`, `reused` or `failed` event a media, as they come.

    Blocks that another process owns are waited for last, and what that process did is `reused`. Raises CacheError when
    the cache cannot be written.
    """
    busy: list[Job] = []
    yield from _run(jobs, workers, busy)
    yield from _run([replace(job, wait=True) for job in busy], workers, busy)


def _run(jobs: Sequence[Job], workers: int, busy: list[Job]) -> Iterator[Event]:
    waiting = deque(jobs)
    crew = [_hire() for _ in range(min(workers, len(jobs)))]
    try:
        for worker in crew:
            _assign(worker, waiting)
        while any(worker.job for worker in crew):
            deadline = min(worker.deadline for worker in crew)
            left = None if deadline == float("inf") else max(deadline - time.monotonic(), 0)
            ready = wait([worker.connection for worker in crew if worker.job], left)
            for index, worker in enumerate(crew):
                if worker.job is None:
                    continue
                hung = worker.connection not in ready and time.monotonic() >= worker.deadline
                if worker.connection not in ready and not hung:
                    continue
                event = None if hung else _hear(worker)
                if event is None:
                    yield _end(worker) if hung else _autopsy(worker)
                    crew[index] = _hire()
                    waiting.appendleft(_behind(worker.job, worker.media))
                    _assign(crew[index], waiting)
                elif event.what == "begun":
                    worker.media = event.media
                    worker.deadline = time.monotonic() + _seconds_allowed(worker.job, event.media)
                elif event.what == "full":
                    raise CacheError(event.reason)
                elif event.what in ("busy", "finished"):
                    busy += [worker.job] if event.what == "busy" else []
                    _assign(worker, waiting)
                else:
                    worker.media, worker.deadline = "", float("inf")
                    yield event
    finally:
        for worker in crew:
            worker.process.kill()
        for worker in crew:
            worker.process.join(SECONDS)
            worker.connection.close()


def _hire() -> _Worker:
    here, there = SPAWN.Pipe()
    process = SPAWN.Process(target=_work, args=(there,), daemon=True)
    process.start()
    there.close()
    return _Worker(process, here)


def _assign(worker: _Worker, waiting: deque[Job]) -> None:
    worker.job, worker.media = (waiting.popleft() if waiting else None), ""
    if worker.job:
        with suppress(BrokenPipeError):  # it died already: the next _hear says so
            worker.connection.send(worker.job)


def _hear(worker: _Worker) -> Event | None:
    """What a worker says; None when it is dead."""
    try:
        event = worker.connection.recv()
    except (EOFError, ConnectionResetError):
        return None
    assert isinstance(event, Event)
    return event


def _seconds_allowed(job: Job, media: str) -> float:
    return job.patience + source_of(dict(job.media)[media])[0] / 1e5


def _end(worker: _Worker) -> Event:
    """Kill a worker whose decoder hangs."""
    assert worker.job is not None
    worker.process.kill()
    worker.process.join(SECONDS)
    worker.connection.close()
    seconds = _seconds_allowed(worker.job, worker.media)
    return Event("failed", worker.media, f"the decoder was still at it after {seconds:.0f} s, and was ended")


def _autopsy(worker: _Worker) -> Event:
    """The media at which a worker died; between two media a signal came from outside, anything else is our fault."""
    worker.process.join(SECONDS)
    worker.connection.close()
    code = worker.process.exitcode or 0
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended its process with exit code {code}"
    if worker.media:
        return Event("failed", worker.media, f"the decoder {how}")
    if code >= 0:
        raise RuntimeError(f"a cache worker {how} between two media; see its traceback")
    raise CacheError(f"a cache worker {how} between two media; nothing is lost, repeat the command")


def _behind(job: Job, media: str) -> Job:
    names = [name for name, _ in job.media]
    return replace(job, media=job.media[names.index(media) + 1 :])


# --------------------------------------------------------------------------------------------------------- the worker
def _work(parent: Connection) -> None:
    cv2.setNumThreads(1)
    keep_freed_memory()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone
        while True:
            for event in fill_block(parent.recv()):
                parent.send(event)


def keep_freed_memory() -> None:
    """Have this process use freed memory again instead of giving it back: pages given back are cleared before their next use.

    glibc takes the size of a large block that is freed, up to 32 MB, as the bound above which it gives back (mallopt(3),
    M_MMAP_THRESHOLD). A `.skeleton` file is then read in two thirds of the time.
    """
    np.empty(31 << 20, np.uint8)


def fill_block(job: Job) -> Iterator[Event]:
    """Add the missing media of one block, in this process."""
    with owned(job.folder, job.block, wait=job.wait) as mine:
        if not mine:
            yield Event("busy")
            return
        writer = BlockWriter(job.folder, job.block)
        for media, path in job.media:
            source = source_of(path)
            known = writer.entries.get(media)
            if known is not None and known.source == source:
                yield Event("reused", media, known.note)
                continue
            yield Event("begun", media)
            facts: dict[str, object] = {"source": source}
            try:
                writer.append(media, _by_name(encode(media, path, job.config, facts, job.decoder)), facts)
            except MediaError as error:
                yield Event("failed", media, str(error))
            except OSError as error:
                yield Event("full", media, f"{job.folder} cannot be written: {error.strerror}. What was finished is kept; "
                            "make room (or mend what is wrong) and repeat the command")  # fmt: skip
                return
            else:
                yield Event("done", media, writer.entries[media].note)
    yield Event("finished")


def source_of(path: Path) -> tuple[int, int]:
    """Size and modification time of a file: another one is another source."""
    try:
        about = path.stat()
    except OSError:
        return 0, 0
    return about.st_size, about.st_mtime_ns


def _by_name(members: Iterator[tuple[str, Content]]) -> Iterator[tuple[str, Content]]:
    """`members`; whatever making them raises is a MediaError: it costs this media, not the others."""
    try:
        yield from members
    except MediaError:
        raise
    except Exception as error:  # a decoder may raise anything
        raise MediaError(f"the decoder raised {type(error).__name__}: {damage(error)}") from error


def encode(
    media: str, path: Path, config: CacheConfig, facts: dict[str, object], decoder: Decoder | None = None
) -> Iterator[tuple[str, Content]]:
    """The members of a media for `BlockWriter.append`, one frame in memory at a time, then `facts` of its index line.

    Raises MediaError when it cannot be decoded.
    """
    stem = str(PurePosixPath(media).with_suffix(""))
    if config.stream == "pose":
        pose = read_pose(path, config.bodies)
        sizes = dict.fromkeys(("width", "height", "source_width", "source_height"), 0)
        facts |= {"frames": len(pose), "fps": 0.0, "decoder": f"numpy {np.__version__}"} | sizes
        yield f"{stem}.npy", _npy_bytes(pose)
        return
    times: list[float] = []
    size = source_size = (0, 0)
    # Flow is between full frames.
    reads = decoder_for(path, decoder, config.short_side if config.stream == "rgb" else "native")
    with reads(path) as decoded:
        for frame, image in _images(decoded.frames, config):
            if source_size not in ((0, 0), frame.size):
                raise MediaError(f"its frames change size from {source_size} to {frame.size} (height, width)")
            size, source_size = image.shape[:2], frame.size
            times.append(np.nan if frame.time is None else frame.time)
            if config.encoding == "raw":
                yield f"{stem}.npy", image
            else:
                untouched = frame.original if image is frame.image else None
                yield f"{stem}/{len(times):06d}.jpg", untouched or encode_jpeg(image, config.quality)
    if not times:
        raise MediaError("there is no frame in it")
    channels, stamps = 2 if config.stream == "flow" else 3, np.array(times)
    facts |= {
        "frames": len(times), "fps": frame_rate(decoded.fps, stamps), "width": size[1], "height": size[0],
        "source_width": source_size[1], "source_height": source_size[0], "decoder": decoded.decoder,
        "variable": is_variable(stamps), "times": times_shown(stamps), "notes": tuple(decoded.notes),
        "channels": channels,
    }  # fmt: skip


def _images(frames: Iterator[Frame], config: CacheConfig) -> Iterator[tuple[Frame, Image]]:
    """Each frame with what is stored of it: itself, or its flow, shrunk."""
    if config.stream == "flow":
        yield from flow_images(frames, config.flow, lambda pixels: shrink(pixels, config.short_side))
        return
    for frame in frames:
        yield frame, shrink(frame.image, config.short_side)


def shrink(image: Pixels, short_side: ShortSide) -> Pixels:
    """Resize to a short side in pixels, never up; `native` is untouched."""
    height, width = shrunk_size((image.shape[0], image.shape[1]), short_side)
    if (height, width) == image.shape[:2]:
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), image.dtype)


def encode_jpeg(image: Image, quality: int) -> bytes:
    """RGB uint8 [H, W, 3] as a JPEG with 4:2:0 colours; flow [H, W, 2] as a grey one. Raises MediaError above 65,500 pixels.

    Huffman tables of its own would make it 6 % smaller and take two and a half times as long.
    """
    space, subsampling = ("GRAY", "Gray") if image.shape[2] == 2 else ("RGB", "420")
    pixels = np.ascontiguousarray(stacked(image)[..., None] if image.shape[2] == 2 else image)
    try:
        data = simplejpeg.encode_jpeg(pixels, quality=quality, colorspace=space, colorsubsampling=subsampling)
    except ValueError as error:
        raise MediaError(f"a frame of {image.shape[1]} x {image.shape[0]} cannot be a JPEG: {error}") from None
    return bytes(data)


def _npy_bytes(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> bytes:
    """An array as the content of a .npy file."""
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()
