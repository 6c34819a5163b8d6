"""Archives to folders: every member checked before it is written, every folder whole or absent.

An archive `name.zip` becomes the folder `<dest>/name`. Members go to a hidden neighbour, which gets its own name last.
What a killed extraction left is kept where its checksum holds, and a finished one is a no-op. Names are data: no shell,
no glob.
"""

from __future__ import annotations

import json
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from harbench.errors import ArchiveError
from harbench.files import replacing
from harbench.records import DatasetSpec, Track, silent

ZIPS = (".zip", ".npz")
"""An .npz is a zip of .npy members."""
TARS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
RARS = (".rar",)
_ORIGIN = ".archive.json"
_BOMB_RATIO, _BOMB_SLACK = 200, 1 << 30
"""An archive that unfolds to more than 200 times its size and a gigabyte is refused: media do not compress."""


@dataclass(frozen=True)
class Member:
    """One file in an archive."""

    path: PurePosixPath
    size: int
    open: Callable[[], IO[bytes]]
    """Reads the content; a bad checksum is an error at its end."""
    crc: int | None
    """CRC-32 of the content where the archive says it (zip)."""


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive that harbench knows."""
    return path.name.lower().endswith((*ZIPS, *TARS, *RARS))


def folder_name(archive: Path) -> str:
    """`UCF101.tar.gz` -> `UCF101`."""
    lower = archive.name.lower()
    suffix = next((each for each in (*TARS, *ZIPS, *RARS) if lower.endswith(each)), "")
    return archive.name[: len(archive.name) - len(suffix)]


def unpack(spec: DatasetSpec, archives: Sequence[Path], dest: Path, *, track: Track = silent) -> list[Path]:
    """Extract `archives` of a data set into folders under `dest` and return these, in order.

    Raises:
        ArchiveError: an archive is missing, damaged, encrypted, of a kind that cannot be read, holds a member that
            would leave the folder (absolute, `..`, a link), or unfolds beyond all bounds. Nothing is left outside.
    """
    return [_unpack_one(spec, archive, dest, track) for archive in archives]


def _unpack_one(spec: DatasetSpec, archive: Path, dest: Path, track: Track) -> Path:
    if not archive.is_file():
        raise ArchiveError(f"there is no archive {archive}; give the path of a downloaded archive of {spec.title}")
    target = dest / folder_name(archive)
    about = archive.stat()
    origin = json.dumps({"archive": archive.name, "size": about.st_size, "mtime": about.st_mtime_ns})
    if (target / _ORIGIN).is_file() and (target / _ORIGIN).read_text(encoding="utf-8") == origin:
        return target
    unfinished = dest / f".{target.name}.part"
    with _members(archive) as members:
        _refuse_bombs(archive, members)
        for member in track(members, f"unpacking {archive.name}", len(members)):
            _extract(archive, member, unfinished)
    unfinished.mkdir(parents=True, exist_ok=True)
    os.sync()
    with replacing(unfinished / _ORIGIN) as handle:
        handle.write(origin)
    if target.exists():
        shutil.rmtree(target)
    os.replace(unfinished, target)
    return target


@contextmanager
def _members(archive: Path) -> Iterator[list[Member]]:
    """The checked file members of an archive, which stays open meanwhile."""
    lower = archive.name.lower()
    try:
        if lower.endswith(ZIPS):
            with zipfile.ZipFile(archive) as opened:
                yield [_zip_member(archive, opened, info) for info in opened.infolist() if not info.is_dir()]
        elif lower.endswith(TARS):
            with tarfile.open(archive) as opened_tar:
                yield [_tar_member(archive, opened_tar, info) for info in opened_tar.getmembers() if not info.isdir()]
        elif lower.endswith(RARS):
            raise ArchiveError(
                f"{archive} is a RAR, which this version does not extract; extract it yourself (7z x {archive.name}) "
                "and give the folder with --from"
            )
        else:
            raise ArchiveError(f"{archive} is not an archive that harbench knows ({', '.join((*ZIPS, *TARS, *RARS))})")
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError) as error:
        raise ArchiveError(f"{archive} is damaged ({error}); download it again") from None


def _zip_member(archive: Path, opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    if stat.S_ISLNK(info.external_attr >> 16):
        raise _hostile(archive, info.filename, "is a link")
    if info.flag_bits & 1:
        raise ArchiveError(f"{archive}: {info.filename} is encrypted; extract it yourself and say --from DIR")
    path = _safe(archive, info.filename.replace("\\", "/"))
    return Member(path, info.file_size, partial(opened.open, info), info.CRC)


def _tar_member(archive: Path, opened: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    if not info.isreg():
        raise _hostile(archive, info.name, "is a link or a device")

    def content() -> IO[bytes]:
        stream = opened.extractfile(info)
        assert stream is not None  # a regular file has content
        return stream

    return Member(_safe(archive, info.name), info.size, content, None)


def _safe(archive: Path, name: str) -> PurePosixPath:
    """The member's path if it stays inside the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name or ":" in path.parts[0][1:2]:
        raise _hostile(archive, name, "would leave the folder it is extracted to")
    return path


def _hostile(archive: Path, name: str, why: str) -> ArchiveError:
    return ArchiveError(f"{archive}: the member {name!r} {why}; nothing was extracted. Do not trust this archive")


def _refuse_bombs(archive: Path, members: Sequence[Member]) -> None:
    total, packed = sum(member.size for member in members), archive.stat().st_size
    if total > _BOMB_RATIO * packed + _BOMB_SLACK:
        raise ArchiveError(
            f"{archive} ({packed} bytes) would unfold to {total} bytes, more than {_BOMB_RATIO} times its size; "
            "nothing was extracted. Do not trust this archive"
        )
    free = shutil.disk_usage(archive.parent).free
    if total > free:
        raise ArchiveError(f"{archive} unfolds to {total / 1e9:.1f} GB, and only {free / 1e9:.1f} GB are free there")


def _extract(archive: Path, member: Member, folder: Path) -> None:
    """Write one member, unless an earlier attempt already has it whole."""
    target = folder / member.path
    if target.is_file() and target.stat().st_size == member.size and zlib.crc32(target.read_bytes()) == member.crc:
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, open(target, "wb") as handle:
            shutil.copyfileobj(source, handle, 1 << 20)
            if handle.tell() != member.size:
                raise zipfile.BadZipFile(f"{handle.tell()} of {member.size} bytes")
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError) as error:
        raise ArchiveError(
            f"{archive}: the member {str(member.path)!r} is damaged ({error}); download it again"
        ) from None
    except NotImplementedError as error:
        raise ArchiveError(f"{archive}: the member {str(member.path)!r} cannot be extracted ({error})") from None
