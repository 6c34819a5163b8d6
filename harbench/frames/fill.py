"""Filling cache blocks in worker processes: decode, shrink, encode, append.

A worker owns one block at a time and says what it begins and ends with. A decoder that takes its process down costs one
media, and so does one that hangs: it is reported, and a new worker goes on with the next media. A worker whose parent is
gone stops at the next media.
"""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import inf
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from harbench.errors import CacheError, MediaError, damage
from harbench.frames.blocks import BlockWriter, Content, locked_block
from harbench.frames.decode import Decoder
from harbench.frames.streams import encode
from harbench.recipe import CacheConfig
from harbench.workers import SECONDS, SPAWN


@dataclass(frozen=True)
class Decoding:
    """How media are decoded."""

    workers: int = 2
    """Processes."""
    decoder: Decoder | None = None
    """Of videos; a function that a spawned process can import. None: PyAV."""
    timeout: float = 120.0
    """Seconds after which a decoder at a small file is taken for hung; ten more for each MB."""


@dataclass(frozen=True)
class Job:
    """One block to fill."""

    folder: Path
    block: int
    media: tuple[tuple[str, Path], ...]
    """(official path, file) in official order."""
    config: CacheConfig
    decoding: Decoding = Decoding()
    wait: bool = False
    """Wait for a block that another process owns; else it is `busy`."""

    def after(self, media: str) -> Job:
        """What is left once `media` has been dealt with."""
        names = [name for name, _ in self.media]
        return replace(self, media=self.media[names.index(media) + 1 :])

    def seconds_for(self, media: str) -> float:
        """After which its decoder is taken for hung."""
        return self.decoding.timeout + source_of(dict(self.media)[media])[0] / 1e5


@dataclass(frozen=True, slots=True)
class Event:
    """What a worker says: about a media, or (`busy`, `full`, `finished`) about its block."""

    what: Literal["begun", "done", "reused", "failed", "busy", "full", "finished"]
    media: str = ""
    reason: str = ""
    """Why it failed; of a media that is there, what its decoder noted."""


# --------------------------------------------------------------------------------------------------------- the parent
def fill_blocks(jobs: Sequence[Job], workers: int) -> Generator[Event, None, None]:
    """Fill blocks with up to `workers` processes; one `done`, `reused` or `failed` event a media, as they come.

    Blocks that another process owns are waited for last, and what that process did is `reused`. Raises CacheError when
    the cache cannot be written.
    """
    busy: list[Job] = []
    yield from _fill(deque(jobs), workers, busy)
    yield from _fill(deque(replace(job, wait=True) for job in busy), workers, [])


@dataclass
class _Worker:
    """A process and what it is at."""

    process: BaseProcess
    connection: Connection
    job: Job | None = None
    media: str = ""
    """What it is decoding now."""
    deadline: float = field(default=inf)
    """When that is taken for hung, by the monotonic clock."""

    def assign(self, waiting: deque[Job]) -> None:
        """Give it the next block, if there is one."""
        self.job, self.media, self.deadline = (waiting.popleft() if waiting else None), "", inf
        if self.job:
            with suppress(BrokenPipeError):  # it died already: the next receive says so
                self.connection.send(self.job)

    def stop(self) -> None:
        self.process.kill()
        self.process.join(SECONDS)
        self.connection.close()


def _started() -> _Worker:
    here, there = SPAWN.Pipe()
    process = SPAWN.Process(target=_work, args=(there,), daemon=True)
    process.start()
    there.close()
    return _Worker(process, here)


def _fill(waiting: deque[Job], workers: int, busy: list[Job]) -> Iterator[Event]:
    """`busy` gets the jobs of blocks that another process owns."""
    crew = [_started() for _ in range(min(workers, len(waiting)))]
    try:
        for worker in crew:
            worker.assign(waiting)
        while active := [worker for worker in crew if worker.job]:
            left = min(worker.deadline for worker in active) - time.monotonic()
            ready = wait([worker.connection for worker in active], None if left == inf else max(left, 0))
            for worker in active:
                hung = worker.connection not in ready and time.monotonic() >= worker.deadline
                if worker.connection not in ready and not hung:
                    continue
                assert worker.job is not None
                try:
                    event = None if hung else worker.connection.recv()
                except (EOFError, ConnectionResetError):
                    event = None
                if event is None:
                    yield Event("failed", worker.media, f"the decoder {_end_of(worker, hung)}")
                    waiting.appendleft(worker.job.after(worker.media))
                    crew[crew.index(worker)] = successor = _started()
                    successor.assign(waiting)
                elif event.what == "begun":
                    worker.media = event.media
                    worker.deadline = time.monotonic() + worker.job.seconds_for(event.media)
                elif event.what == "full":
                    raise CacheError(event.reason)
                elif event.what in ("busy", "finished"):
                    busy += [worker.job] if event.what == "busy" else []
                    worker.assign(waiting)
                else:
                    worker.media, worker.deadline = "", inf
                    yield event
    finally:
        for worker in crew:
            worker.process.kill()  # all at once, then wait
        for worker in crew:
            worker.stop()


def _end_of(worker: _Worker, hung: bool) -> str:
    """How a worker ended at a media. Between two of them a signal came from outside, anything else is our fault."""
    if not hung:
        worker.process.join(SECONDS)
    code = worker.process.exitcode or 0
    worker.stop()
    if hung:
        assert worker.job is not None
        return f"did not finish in {worker.job.seconds_for(worker.media):.0f} s and was stopped"
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended its process with exit code {code}"
    if worker.media:
        return how
    if code >= 0:
        raise RuntimeError(f"a cache worker {how} between two media; see its traceback")
    raise CacheError(f"a cache worker {how} between two media; nothing is lost, repeat the command")


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
    with locked_block(job.folder, job.block, wait=job.wait) as locked:
        if not locked:
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
                members = encode(media, path, job.config, facts, job.decoding.decoder)
                writer.append(media, _as_media_error(members), facts)
            except MediaError as error:
                yield Event("failed", media, str(error))
            except OSError as error:
                yield Event("full", media, f"{job.folder} cannot be written: {error.strerror}. What was finished is kept; "
                            "make room (or correct the cause) and repeat the command")  # fmt: skip
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


def _as_media_error(members: Iterator[tuple[str, Content]]) -> Iterator[tuple[str, Content]]:
    """`members`; whatever making them raises is a MediaError: it costs this media, not the others."""
    try:
        yield from members
    except MediaError:
        raise
    except Exception as error:  # a decoder may raise anything
        raise MediaError(f"the decoder raised {type(error).__name__}: {damage(error)}") from error
