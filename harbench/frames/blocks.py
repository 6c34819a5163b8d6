"""One block of a frame cache on disk: a tar of frames and an index that says which media in it are whole.

A media's frames are appended to `frames-<k>.tar` and synced, then its line is appended to `frames-<k>.idx`. Whatever a
killed writer left behind the last indexed byte is cut off by the next one. A media that is written again gets a later
line, which counts. A line ends with its own CRC-32 and holds that of the media's bytes: `harbench.frames.damage` looks.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import accumulate, chain, takewhile
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias, TypeVar

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

BLOCK = 64
"""Media a block, in official order."""
Content: TypeAlias = "bytes | npt.NDArray[np.uint8]"
Size = TypeVar("Size", int, "npt.NDArray[np.int64]")
_RECORD = 512
END = bytes(2 * _RECORD)
"""A tar ends with two empty records; the next append overwrites them."""
_SPOOLED = 1 << 25
"""Bytes of an array that are collected in memory; beyond, in a file without a name beside the block."""


@dataclass(frozen=True)
class Entry:
    """One media in a block: one line of the index."""

    media: str
    start: int
    """First byte of the first member's content in the tar."""
    header: int
    """Bytes of header before each member's content (512, more for very long names)."""
    sizes: tuple[int, ...]
    """Bytes of each member: one a frame, or one array of all frames."""
    frames: int
    fps: float
    width: int
    height: int
    source_width: int
    source_height: int
    """Pixels as decoded, before resizing; 0 for poses."""
    source: tuple[int, int]
    """Size and modification time (ns) of the file that was decoded; another one is decoded again."""
    decoder: str
    crc: int
    """CRC-32 of everything between `first` and `end`: headers, contents and padding."""
    variable: bool = False
    """The time between frames is not the same throughout."""
    times: tuple[float, ...] = ()
    """Seconds at which each frame is shown, where that is variable and known of all of them."""
    notes: tuple[str, ...] = ()
    channels: int = 3
    """Values a pixel; 2 for flow, whose JPEGs are gray, u above v."""

    @property
    def first(self) -> int:
        """First byte of the first member's header."""
        return self.start - self.header

    @property
    def note(self) -> str:
        """What its decoder noted, in one line."""
        return "; ".join(self.notes)

    @property
    def end(self) -> int:
        """First byte after the last member."""
        return self.start + sum(map(padded, self.sizes)) + (len(self.sizes) - 1) * self.header


def padded(size: Size) -> Size:
    """Bytes that a member's content takes in a tar; of a number or of an array of numbers."""
    return -(-size // _RECORD) * _RECORD


def tar_path(folder: Path, block: int) -> Path:
    """`frames-<k>.tar`."""
    return folder / f"frames-{block}.tar"


def index_path(folder: Path, block: int) -> Path:
    """`frames-<k>.idx`."""
    return folder / f"frames-{block}.idx"


def block_of(path: Path) -> int:
    """The number in a block's file name: `frames-12.idx` -> 12."""
    return int(path.stem.removeprefix("frames-"))


@contextmanager
def locked_block(folder: Path, block: int, *, wait: bool) -> Iterator[bool]:
    """Lock a block for writing; False when another process has it and `wait` is not set."""
    lock = FileLock(folder / f".frames-{block}.lock", timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        if not (index := index_path(folder, block)).exists():
            index.touch()
        yield True
    finally:
        lock.release()


def read_entries(folder: Path, block: int) -> dict[str, Entry]:
    """The entries of a block, by media: every line of the index up to the first that is damaged.

    A line without its line end was cut by a kill; one whose bytes are not in the tar lost them to somebody who cut or
    deleted the tar. `prepare` makes again what follows.
    """
    return {entry.media: entry for entry, _ in _whole_lines(folder, block)}


def _whole_lines(folder: Path, block: int) -> list[tuple[Entry, int]]:
    """Entries in order of writing, each with the byte of the index at which its line ends."""
    try:
        length = tar_path(folder, block).stat().st_size
        lines = index_lines(folder, block)
    except (FileNotFoundError, IsADirectoryError):
        return []
    return [(e, end) for e, end in takewhile(lambda line: line[0] and line[0].end <= length, lines) if e]


def index_lines(folder: Path, block: int) -> list[tuple[Entry | None, int]]:
    """Every line of a block's index with the byte at which it ends; None where a byte of it is not what was written."""
    lines = index_path(folder, block).read_bytes().splitlines(keepends=True)
    return list(zip(map(_parsed, lines), accumulate(map(len, lines)), strict=True))


def _parsed(line: bytes) -> Entry | None:
    content, _, check = line.rstrip(b"\n").rpartition(b" ")
    if not line.endswith(b"\n") or check != b"%08x" % zlib.crc32(content):
        return None
    try:
        values = json.loads(content)
        lists = {name: tuple(values.get(name, ())) for name in ("sizes", "source", "notes", "times")}
        return Entry(**{**values, **lists})
    except (ValueError, TypeError, KeyError):
        return None


def index_line(entry: Entry) -> bytes:
    """An entry as its line of the index, CRC-32 and line end included."""
    content = json.dumps(asdict(entry), ensure_ascii=True, separators=(",", ":")).encode()
    return content + b" %08x\n" % zlib.crc32(content)


def append_lines(folder: Path, block: int, entries: Iterable[Entry]) -> None:
    """Append entries to a block's index, on disk when this returns."""
    with open(index_path(folder, block), "ab") as index:
        index.write(b"".join(map(index_line, entries)))
        index.flush()
        os.fsync(index.fileno())


class BlockWriter:
    """Appends media to an owned block. Opening it cuts the index to its last whole line, the tar to its last media."""

    def __init__(self, folder: Path, block: int) -> None:
        lines = _whole_lines(folder, block)
        self.entries = {entry.media: entry for entry, _ in lines}
        self._folder, self._block, self._tar = folder, block, tar_path(folder, block)
        self._end = lines[-1][0].end if lines else 0
        os.truncate(index_path(folder, block), lines[-1][1] if lines else 0)
        if self._tar.exists() and self._tar.stat().st_size != self._end + len(END):
            with open(self._tar, "r+b") as tar:
                tar.truncate(self._end)
                self._finish(tar, self._end)

    def append(self, media: str, members: Iterable[tuple[str, Content]], facts: Mapping[str, object]) -> None:
        """Append members as they come and, once they are on disk, the media's index line with `facts`.

        A member is a file, or one frame of an array; frames become a .npy file together. `facts` are the other fields of
        Entry, and complete once `members` are exhausted. Raises OSError when they cannot be written (a full disk), and what
        `members` raises; what was there stays whole.
        """
        sizes: list[int] = []
        with (
            open(self._tar, "r+b" if self._tar.exists() else "x+b", 1 << 20) as tar,
            tempfile.SpooledTemporaryFile(_SPOOLED, dir=str(self._folder)) as spool,
        ):
            tar.seek(self._end)
            header = crc = 0
            try:
                for name, size, pieces in _files(members, spool):
                    header, crc = _write_member(tar, name, size, pieces, crc)
                    sizes.append(size)
                end = tar.tell()
            except BaseException:
                tar.truncate(self._end)
                self._finish(tar, self._end)
                raise
            self._finish(tar, end)
        entry = Entry(media=media, start=self._end + header, header=header, sizes=tuple(sizes), crc=crc, **facts)  # type: ignore[arg-type]
        append_lines(self._folder, self._block, [entry])
        self.entries[media], self._end = entry, end

    @staticmethod
    def _finish(tar: IO[bytes], end: int) -> None:
        """End the tar behind its byte `end`, on disk."""
        tar.seek(end)
        tar.write(END)
        tar.flush()
        os.fsync(tar.fileno())


def _files(members: Iterable[tuple[str, Content]], spool: IO[bytes]) -> Iterator[tuple[str, int, Iterable[bytes]]]:
    """Members as files: name, size and pieces. Frames are collected in `spool`, their number being known at the end."""
    name, frame, count = "", None, 0
    for name, content in members:
        if isinstance(content, bytes):
            yield name, len(content), [content]
        else:
            frame = content
            spool.write(frame.tobytes())
            count += 1
    if frame is not None:
        import numpy as np  # reports read indices without it

        about = {"descr": frame.dtype.str, "fortran_order": False, "shape": (count, *frame.shape)}
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(head, about)
        size = len(head.getvalue()) + spool.tell()
        spool.seek(0)
        yield name, size, chain([head.getvalue()], iter(partial(spool.read, 1 << 20), b""))


def _write_member(tar: IO[bytes], name: str, size: int, pieces: Iterable[bytes], crc: int) -> tuple[int, int]:
    """Append one member with fixed metadata; returns the bytes of its header, and `crc` taken further over it all."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    header = info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
    for part in chain([header], pieces, [bytes(padded(size) - size)]):
        tar.write(part)
        crc = zlib.crc32(part, crc)
    return len(header), crc
