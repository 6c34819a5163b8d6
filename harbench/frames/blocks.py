"""One block of a frame cache on disk: a tar of frames and an index that says which media in it are whole.

A media's frames are appended to `frames-<k>.tar` and synced, then its line is appended to `frames-<k>.idx`. Whatever a
killed writer left behind the last indexed byte is cut off by the next one. A media that is written again gets a later
line, which counts.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

BLOCK = 64
"""Media a block, in official order."""
_RECORD = 512
_END = bytes(2 * _RECORD)
"""A tar ends with two empty records; the next append overwrites them."""


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
    notes: tuple[str, ...] = ()

    @property
    def end(self) -> int:
        """First byte after the last member."""
        return self.start + sum(map(padded, self.sizes)) + (len(self.sizes) - 1) * self.header


def padded(size: int) -> int:
    """Bytes that a member's content takes in a tar."""
    return -(-size // _RECORD) * _RECORD


def tar_path(folder: Path, block: int) -> Path:
    """`frames-<k>.tar`."""
    return folder / f"frames-{block}.tar"


def index_path(folder: Path, block: int) -> Path:
    """`frames-<k>.idx`."""
    return folder / f"frames-{block}.idx"


@contextmanager
def owned(folder: Path, block: int, *, wait: bool) -> Iterator[bool]:
    """Own a block by flock on its index; False when another process has it and `wait` is not set."""
    with open(index_path(folder, block), "ab") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def read_entries(folder: Path, block: int) -> dict[str, Entry]:
    """What a block holds, by media. A last line without its line end was cut by a kill and does not count.

    Neither does a line whose bytes are not in the tar: somebody cut or deleted it.
    """
    try:
        content = index_path(folder, block).read_bytes()
        length = tar_path(folder, block).stat().st_size
    except FileNotFoundError:
        return {}
    entries: dict[str, Entry] = {}
    for line in content[: content.rfind(b"\n") + 1].splitlines():
        entry = _parse(line)
        if entry is not None and entry.end <= length:
            entries[entry.media] = entry
    return entries


def _parse(line: bytes) -> Entry | None:
    try:
        values = json.loads(line)
        lists = {name: tuple(values[name]) for name in ("sizes", "source", "notes")}
        return Entry(**{**values, **lists})
    except (ValueError, TypeError, KeyError):
        return None


class BlockWriter:
    """Appends media to an owned block."""

    def __init__(self, folder: Path, block: int) -> None:
        self.entries = read_entries(folder, block)
        self._tar_path, self._index_path = tar_path(folder, block), index_path(folder, block)
        self._cut()
        self._end = max((entry.end for entry in self.entries.values()), default=0)

    def _cut(self) -> None:
        """Drop a half-written last line of the index."""
        content = self._index_path.read_bytes() if self._index_path.exists() else b""
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self._index_path, whole)

    def append(self, media: str, members: Iterable[tuple[str, bytes]], facts: Mapping[str, object]) -> None:
        """Append members and, once they are on disk, the media's index line with `facts` (the other fields of Entry)."""
        sizes: list[int] = []
        with open(self._tar_path, "r+b" if self._tar_path.exists() else "x+b") as tar:
            tar.truncate(self._end)
            tar.seek(self._end)
            header = 0
            for name, content in members:
                header = _write_member(tar, name, content)
                sizes.append(len(content))
            end = tar.tell()
            tar.write(_END)
            tar.flush()
            os.fsync(tar.fileno())
        entry = Entry(media=media, start=self._end + header, header=header, sizes=tuple(sizes), **facts)  # type: ignore[arg-type]
        with open(self._index_path, "ab") as index:
            index.write(json.dumps(asdict(entry), ensure_ascii=True, separators=(",", ":")).encode() + b"\n")
            index.flush()
            os.fsync(index.fileno())
        self.entries[media], self._end = entry, end


def _write_member(tar: IO[bytes], name: str, content: bytes) -> int:
    """Append one member with fixed metadata; returns the bytes of its header."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    header = info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
    tar.write(header)
    tar.write(content)
    tar.write(bytes(padded(len(content)) - len(content)))
    return len(header)


def npy_bytes(array: object) -> bytes:
    """An array as the content of a .npy file."""
    import numpy as np

    out = io.BytesIO()
    np.save(out, np.asarray(array), allow_pickle=False)
    return out.getvalue()
