"""Archives by name, opened: which files are archives, what folder each becomes, zip and tar (RAR is in `rar`)."""

from __future__ import annotations

import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from shlex import quote
from typing import IO

import rarfile

from harbench.errors import ArchiveError
from harbench.prepare.members import BLOCK, Member, OpenArchive, Write, encrypted, member_path, refused
from harbench.prepare.rar import VOLUME, is_later_volume, open_rar

ZIPS = (".zip", ".npz")
"""An .npz is a zip of .npy members."""
TARS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
RARS = (".rar",)
_MAGIC = {
    b"Rar!\x1a\x07": RARS, b"PK\x03\x04": ZIPS, b"PK\x05\x06": ZIPS, b"\x1f\x8b": (".tgz", *TARS), b"7z\xbc\xaf": (".7z",),
    b"<!doctype html": (".html",), b"<html": (".html",),
}  # fmt: skip
"""How a file begins, in lower case where it is text -> the suffixes that say so."""
DAMAGE = (
    rarfile.Error, zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, struct.error, ValueError,
    NotImplementedError,
)  # fmt: skip
"""What the libraries raise on broken content; NotImplementedError is zipfile's word for a compression it does not know."""


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive that harbench knows; of several volumes the first."""
    return path.name.lower().endswith((*ZIPS, *TARS, *RARS)) and not is_later_volume(path)


def folder_name(archive: Path) -> str:
    """`UCF101.tar.gz` -> `UCF101`, `hmdb51.part1.rar` -> `hmdb51`."""
    name = VOLUME.sub(".rar", archive.name)
    suffix = next((each for each in (*TARS, *ZIPS, *RARS) if name.lower().endswith(each)), "")
    return name[: len(name) - len(suffix)]


@contextmanager
def open_archive(archive: Path) -> Iterator[OpenArchive]:
    """An archive of any kind, its members checked, which stays open meanwhile."""
    kinds = {RARS: open_rar, ZIPS: _open_zip, TARS: _open_tar}
    for suffixes, opener in kinds.items():
        if archive.name.lower().endswith(suffixes):
            _refuse_another_kind(archive, suffixes)
            with opener(archive) as opened:
                yield opened
            return
    raise ArchiveError(f"{archive} is not an archive that harbench knows ({', '.join((*ZIPS, *TARS, *RARS))})")


def _refuse_another_kind(archive: Path, suffixes: Sequence[str]) -> None:
    """Raise ArchiveError for what is whole, but no archive of this suffix."""
    with suppress(OSError), open(archive, "rb") as handle:
        head = handle.read(256)
        starts = (head, head.removeprefix(b"\xef\xbb\xbf").lstrip().lower())
        kind = next(
            (kind for magic, kind in _MAGIC.items() if any(each.startswith(magic) for each in starts)), suffixes
        )
        if kind == (".html",):
            raise ArchiveError(
                f"{archive} is a web page, no archive: a login or error page was saved in its place. Open it in a browser to "
                "see what it says, and download the archive again"
            )
        if not {*kind} & {*suffixes}:
            named = archive.with_name(folder_name(archive) + kind[0])
            raise ArchiveError(
                f"{archive} is a {kind[0]} archive by its content. Rename it:  mv {quote(str(archive))} {quote(str(named))}"
                if kind[0] != ".7z"
                else f"{archive} is a {kind[0]} archive by its content. Extract it, and give the folder"
            )


@contextmanager
def _open_zip(archive: Path) -> Iterator[OpenArchive]:
    with _listing(archive):
        opened = zipfile.ZipFile(archive)
    with opened:
        infos = [info for info in opened.infolist() if not info.is_dir()]
        members = [_zip_member(archive, info) for info in infos]
        yield _one_by_one(archive, members, [partial(opened.open, info) for info in infos])


@contextmanager
def _open_tar(archive: Path) -> Iterator[OpenArchive]:
    with _listing(archive):
        opened = tarfile.TarFile.open(archive)
    with opened:
        with _listing(archive):
            infos = [info for info in opened if not info.isdir()]
            _refuse_open_end(opened)
        members = [_tar_member(archive, info) for info in infos]
        yield _one_by_one(archive, members, [partial(_tar_content, opened, info) for info in infos])


@contextmanager
def _listing(archive: Path) -> Iterator[None]:
    try:
        yield
    except (*DAMAGE, OSError) as error:
        raise ArchiveError(f"{archive} is damaged ({error}); download it again") from None


def _one_by_one(archive: Path, members: Sequence[Member], sources: Sequence[Callable[[], IO[bytes]]]) -> OpenArchive:
    """An archive whose members can be read in any order."""
    source = dict(zip(members, sources, strict=True))

    def content(member: Member) -> Iterator[bytes]:
        with source[member]() as handle:
            while block := handle.read(BLOCK):
                yield block

    def read(wanted: Sequence[Member], write: Write) -> Iterator[None]:
        for member in wanted:
            write(member, content(member))
            yield

    return OpenArchive(members, read, archive.stat().st_size)


def _zip_member(archive: Path, info: zipfile.ZipInfo) -> Member:
    if stat.S_ISLNK(info.external_attr >> 16):
        raise refused(archive, info.filename, "is a link")
    if info.flag_bits & 1:
        raise encrypted(archive, info.filename)
    return Member(member_path(archive, info.filename.replace("\\", "/")), info.file_size, info.CRC)


def _tar_member(archive: Path, info: tarfile.TarInfo) -> Member:
    if not info.isreg():
        raise refused(archive, info.name, "is a link or a device")
    return Member(member_path(archive, info.name), info.size)


def _tar_content(opened: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = opened.extractfile(info)
    assert stream is not None  # a regular file has content
    return stream


def _refuse_open_end(opened: tarfile.TarFile) -> None:
    """A tar that was cut between two members reads as if it were whole, but for the zeros at its end."""
    assert opened.fileobj is not None
    opened.fileobj.seek(opened.offset)
    if opened.fileobj.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it has no end")
    while opened.fileobj.read(BLOCK):  # to where the checksum of a compressed one stands
        pass
