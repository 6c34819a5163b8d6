"""Finds what broke in a frame cache since it was written, and takes exactly that out, so that `build_cache` makes it again.

What is whole is decided by checksums alone: a CRC-32 over each media's bytes in the tar, one over each line of the index.
A block in which something broke is written anew from its whole media, byte for byte; other blocks are only read.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from harbench.files import replacing
from harbench.frames.blocks import END, Entry, append_lines, index_lines, index_path, locked_block, tar_path

_PIECE = 1 << 22


@dataclass(frozen=True)
class BlockDamage:
    """What broke in one block and was taken out of it."""

    media: Mapping[str, str]
    """Media whose frames have to be made again -> what is wrong with them."""
    other: tuple[str, ...]
    """What else was wrong and is mended: no media was lost to it."""


def mend_block(folder: Path, block: int, expected: Iterable[str]) -> BlockDamage:
    """Read a whole block; where something in it broke, write it anew from the media that are whole.

    `expected` are the media that it held when all was well. A block that another process fills is waited for. Killed
    half-way, the block is as it was, or empty: `build_cache` then makes all of it again.
    """
    with locked_block(folder, block, wait=True):
        lines = index_lines(folder, block)
        entries = {entry.media: entry for entry, _ in lines if entry}
        name = index_path(folder, block).name
        other = [f"line {number} of {name} is damaged" for number, (entry, _) in enumerate(lines, 1) if not entry]
        tar = tar_path(folder, block)
        wrong = {media: reason for media, entry in entries.items() if (reason := _wrong_bytes(tar, entry))}
        wrong |= {media: "its line in the index is lost" for media in expected if media not in entries}
        whole = sorted((entry for entry in entries.values() if entry.media not in wrong), key=lambda entry: entry.first)
        if not wrong and not _ends_well(tar, whole):
            other.append(f"{tar.name} does not end as a tar ends")
        if wrong or other:
            _rewrite(folder, block, whole)
    return BlockDamage(wrong, tuple(other))


def _wrong_bytes(tar: Path, entry: Entry) -> str:
    """What is wrong with the bytes of a media; empty when they are those that were written."""
    if not tar.is_file():
        return f"{tar.name} is gone"
    if tar.stat().st_size < entry.end:
        return f"{tar.name} ends before it"
    crc = 0
    with open(tar, "rb") as handle:
        for piece in _pieces(handle, entry):
            crc = zlib.crc32(piece, crc)
    return "" if crc == entry.crc else f"its bytes in {tar.name} have changed"


def _pieces(handle: IO[bytes], entry: Entry) -> Iterator[bytes]:
    """The bytes of a media in the tar, headers and padding included, a few megabytes at a time."""
    handle.seek(entry.first)
    left = entry.end - entry.first
    while left > 0:
        yield (piece := handle.read(min(left, _PIECE)))
        left -= len(piece)


def _ends_well(tar: Path, whole: list[Entry]) -> bool:
    """Whether a tar ends where its last media does; a block that never held anything has no tar."""
    if not whole:
        return not tar.is_file() or tar.read_bytes() in (b"", END)
    with open(tar, "rb") as handle:
        handle.seek(whole[-1].end)
        return handle.read(len(END) + 1) == END


def _rewrite(folder: Path, block: int, whole: list[Entry]) -> None:
    """Write a block anew with the media that are `whole`, in their order."""
    tar, moved = tar_path(folder, block), []
    with replacing(tar, "wb") as target:
        for entry in whole:
            moved.append(replace(entry, start=entry.start + target.tell() - entry.first))
            with open(tar, "rb") as source:
                target.writelines(_pieces(source, entry))
        target.write(END)
        # Emptied before the tar changes, or its lines would point to other bytes for a moment.
        os.truncate(index_path(folder, block), 0)
    append_lines(folder, block, moved)
