"""What an archive holds, checked before a byte of it is written: where each member goes, how big it is, its checksum.

Every kind of archive (zip and tar in `unpack`, RAR in `rar`) is opened as an `OpenArchive`, so what is refused and what
is verified is the same for all.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import rarfile

from harbench.errors import ArchiveError
from harbench.records import DatasetSpec

MARK = ".archive.json"
"""In every finished folder: which archive it was extracted from."""
BLOCK = 1 << 20
"""Bytes that are read at a time."""
_RATIO, _TIMES, _SLACK = 200, 20, 1 << 30
"""An archive may unfold to 200 times its size, and to 20 times what the whole data set is published to weigh, plus a
gigabyte: media do not compress, and skeleton files do by about five."""
_LONGEST_NAME = 255
"""Bytes of a file name on every file system that matters."""


@dataclass(frozen=True)
class Member:
    """One file in an archive."""

    path: PurePosixPath
    size: int
    crc: int | None = None
    """CRC-32 of the content, where the archive says it (zip, RAR)."""
    blake2sp: bytes = b""
    """BLAKE2sp of the content, which RAR 5 can have in place of the CRC."""


Write = Callable[[Member, Iterator[bytes]], bool]
"""Takes a member and its content, in blocks; says whether the content is what the archive promised."""


@dataclass(frozen=True)
class OpenArchive:
    """An archive while it is open."""

    members: Sequence[Member]
    read: Callable[[Sequence[Member], Write], Iterator[None]]
    """Hands the wanted members to `Write`, in the archive's order, and yields after each."""
    packed: int
    """Bytes on disk, all volumes together."""


class Checksum(Protocol):
    """What a content is held against the archive's listing with."""

    def update(self, data: bytes) -> None: ...
    def digest(self) -> object: ...


def checksum(member: Member) -> Checksum:
    """An empty checksum of the kind that the archive states for this member."""
    started: Checksum = rarfile.Blake2SP() if member.blake2sp else rarfile.CRC32Context()
    return started


def holds(member: Member, size: int, found: Checksum) -> bool:
    """Whether a content of `size` bytes is the member's. Where the archive has no checksum (tar), the size decides."""
    stated = member.blake2sp or member.crc
    return size == member.size and stated in (None, found.digest())


def intact(member: Member, path: Path) -> bool:
    """Whether `path` is the member, whole, by size and checksum; False where the archive states no checksum."""
    if member.crc is None and not member.blake2sp:
        return False
    if path.is_symlink() or not path.is_file() or path.stat().st_size != member.size:
        return False
    found = checksum(member)
    with open(path, "rb") as handle:
        while block := handle.read(BLOCK):
            found.update(block)
    return holds(member, member.size, found)


def member_path(archive: Path, name: str) -> PurePosixPath:
    """The member's path, if it stays inside the folder that it is extracted to.

    Raises ArchiveError for an absolute path, a drive letter, `..`, a NUL, an empty, impossible or reserved name.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name or ":" in path.parts[0][1:2]:
        raise refused(archive, name, "would leave the folder it is extracted to")
    if MARK in path.parts or not all(map(_can_be_named, path.parts)):
        raise refused(archive, name, "has a name that no file can be given here")
    return path


def _can_be_named(part: str) -> bool:
    try:
        return len(os.fsencode(part)) <= _LONGEST_NAME
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def refused(archive: Path, name: str, why: str) -> ArchiveError:
    """The error for a member that no honest archive holds."""
    return ArchiveError(f"{archive}: the member {name!r} {why}; nothing was extracted. Do not trust this archive")


def encrypted(archive: Path, name: str) -> ArchiveError:
    """The error for an archive behind a password."""
    return ArchiveError(
        f"{archive}: {name} is encrypted, and harbench knows no password; no data set is published like this. Extract "
        "it yourself and say --from DIR"
    )


def refuse_collisions(archive: Path, members: Iterable[Member]) -> None:
    """No two members may be one file, on any file system: the same name, or a case or accent apart; nor a file a folder."""
    seen: dict[str, PurePosixPath] = {}
    for member in members:
        other = seen.setdefault(_key(member.path), member.path)
        if other is not member.path:
            raise refused(archive, str(member.path), f"is there twice (the other is {str(other)!r})")
    for path in seen.values():
        for parent in path.parents[:-1]:
            if _key(parent) in seen:
                raise refused(archive, str(path), f"lies in {str(parent)!r}, which is a file")


def _key(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", str(path)).casefold()


def unfolded_limit(spec: DatasetSpec, packed: int) -> int:
    """Bytes that an archive of `packed` bytes of this data set may unfold to."""
    limit = _RATIO * packed
    published = re.fullmatch(r"(?:about )?([\d.]+) (MB|GB)", spec.size)
    if published:
        limit = min(limit, int(_TIMES * float(published[1]) * {"MB": 1e6, "GB": 1e9}[published[2]]))
    return limit + _SLACK


def refuse_bombs(archive: Path, members: Iterable[Member], limit: int) -> None:
    """Raises ArchiveError when the members together are larger than `limit` bytes, or one has no possible size."""
    sizes = [member.size for member in members]
    if min(sizes, default=0) < 0 or sum(sizes) > limit:
        raise ArchiveError(
            f"{archive} would unfold to {sum(sizes)} bytes; at most {limit} are possible for an archive of this size "
            "and data set. Nothing was extracted. Do not trust this archive"
        )
