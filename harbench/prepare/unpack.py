"""Archives to folders: every member checked before one is written, every folder whole or absent.

An archive `name.zip` becomes the folder `<dest>/name`. Members go to a hidden neighbor, which gets its own name last.
What a killed extraction left is kept where its checksum holds, and a finished one is a no-op. An archive of archives
(HMDB51: a RAR of 51 RARs) is opened in two stages, and each inner one is removed once its folder is whole. Names are
data: no shell, no glob, nothing on a command line.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TypeVar

from harbench.errors import ArchiveError
from harbench.files import write_text
from harbench.prepare.archives import DAMAGE, RARS, TARS, folder_name, open_archive
from harbench.prepare.members import (
    MARK,
    Member,
    OpenArchive,
    checksum,
    holds,
    intact,
    refuse_bombs,
    refuse_collisions,
    unfolded_limit,
)
from harbench.prepare.rar import is_later_volume
from harbench.records import DatasetSpec, Track, silent

_INNER = (".zip", *TARS, *RARS)
"""What is opened when it comes out of another archive; an .npz is a file of poses there."""
P = TypeVar("P", Path, PurePosixPath)
_LOG = logging.getLogger(__name__)


def unpack(
    spec: DatasetSpec,
    archives: Sequence[Path],
    dest: Path,
    *,
    allow_damaged: bool = False,
    only: frozenset[PurePosixPath] | None = None,
    track: Track = silent,
) -> list[Path]:
    """Extract `archives` of a data set into folders under `dest` and return these, in order.

    `allow_damaged` logs damaged members and goes on without them; the next call tries these again. `only` extracts these
    members alone; those of an archive inside the archive stand under the folder that it becomes.

    Raises:
        ArchiveError: an archive is missing, damaged, lacks a volume, is encrypted, of a kind that cannot be read, holds
            a member that would leave the folder (absolute, `..`, a link), or unfolds beyond all bounds or the free disk.
            Nothing is left outside. Damaged members are named; the others are kept, so only those are extracted later.
    """
    job = _Job(spec, allow_damaged, only, track)
    return [_unpack_one(job, archive, dest, _about(archive)) for archive in archives]


@dataclass(frozen=True)
class _Job:
    """What holds for an archive and for those inside it."""

    spec: DatasetSpec
    allow_damaged: bool
    only: frozenset[PurePosixPath] | None
    track: Track
    limit: int | None = None
    """Bytes that an archive inside another may unfold to; None: an archive of the user's, whose own size decides."""


def _unpack_one(job: _Job, archive: Path, dest: Path, about: str) -> Path:
    if not archive.is_file():
        raise ArchiveError(f"there is no archive {archive}; give the path of a downloaded archive of {job.spec.title}")
    target = dest / folder_name(archive)
    if _mark(target) == about:
        return target
    unfinished = dest / _part(target).name
    with open_archive(archive) as opened:
        members = opened.members
        limit = unfolded_limit(job.spec, opened.packed) if job.limit is None else job.limit
        refuse_collisions(archive, members)
        refuse_bombs(archive, members, limit)
        inner = _inner_archives(members) if job.limit is None else {}
        left = limit - sum(each.size for each in members)
        _take_up(target, unfinished)
        _remove_strangers(unfinished, members, inner)
        wanted = [each for each in members if _is_wanted(job, each, inner) and not _is_done(unfinished, each, inner)]
        _need_space(archive, wanted, dest)

        def unpack_inner(member: Member) -> str:
            nonlocal left
            if member not in inner:
                return ""
            trouble = _unpack_inner(_job_inside(job, inner[member], left), unfinished, member)
            left -= _bytes_under(unfinished / inner[member])
            return trouble

        damaged = _extract(archive, opened, wanted, unfinished, unpack_inner, job.track)
    unfinished.mkdir(parents=True, exist_ok=True)
    if damaged and not job.allow_damaged:
        raise ArchiveError(_damage(archive, damaged, len(members), unfinished))
    if damaged:
        _LOG.warning(_damage(archive, damaged, len(members), target))
    else:
        os.sync()
        write_text(unfinished / MARK, about)
    os.replace(unfinished, target)
    return target


def _unpack_inner(job: _Job, folder: Path, member: Member) -> str:
    """The second stage: open an archive that came out of another, and remove it. Returns what is wrong with it."""
    archive, about = folder / member.path, _about_inner(member)
    try:
        inside = _unpack_one(job, archive, archive.parent, about)
    except ArchiveError as error:
        return str(error)
    finally:
        archive.unlink()
    return "" if _mark(inside) == about else "some of its members are damaged"


def _bytes_under(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*"))


def _is_wanted(job: _Job, member: Member, inner: Mapping[Member, PurePosixPath]) -> bool:
    if job.only is None or member.path in job.only:
        return True
    return member in inner and any(inner[member] in path.parents for path in job.only)


def _job_inside(job: _Job, folder: PurePosixPath, limit: int) -> _Job:
    """The job of the archive that becomes `folder` inside another."""
    only = job.only and frozenset(path.relative_to(folder) for path in job.only if folder in path.parents)
    return replace(job, only=only, track=silent, limit=limit)


def _is_done(unfinished: Path, member: Member, inner: Mapping[Member, PurePosixPath]) -> bool:
    """Whether an earlier attempt has this member whole. Inner archives are gone once their folders are marked."""
    if member in inner:
        return _mark(unfinished / inner[member]) == _about_inner(member)
    return intact(member, unfinished / member.path)


def _part(folder: P) -> P:
    """The hidden neighbor of a folder, which it is while it is unfinished."""
    return folder.with_name(f".{folder.name}.part")


def _about(archive: Path) -> str:
    """What a finished folder remembers of its archive."""
    with suppress(FileNotFoundError):
        about = archive.stat()
        return json.dumps({"archive": archive.name, "size": about.st_size, "mtime": about.st_mtime_ns})
    return ""


def _about_inner(member: Member) -> str:
    return json.dumps({"archive": member.path.name, "size": member.size, "crc": member.crc})


def _mark(folder: Path) -> str:
    with suppress(OSError):
        return (folder / MARK).read_text(encoding="utf-8")
    return "-"


def _take_up(target: Path, unfinished: Path) -> None:
    """Go on from what is there: a broken-off extraction, or else a folder that is to be looked at again."""
    if target.exists() and unfinished.exists():
        shutil.rmtree(target)
    if target.exists():
        (target / MARK).unlink(missing_ok=True)
        os.replace(target, unfinished)


def _inner_archives(members: Sequence[Member]) -> dict[Member, PurePosixPath]:
    """The archives in an archive, and the folder of each. One that lies beside its extracted folder is a file as others."""
    taken = {parent for member in members for parent in member.path.parents}
    inner: dict[Member, PurePosixPath] = {}
    for member in members:
        name = member.path.name
        if name.lower().endswith(_INNER) and not name.startswith(".") and not is_later_volume(Path(name)):
            folder = member.path.with_name(folder_name(Path(name)))
            if folder not in taken:
                taken.add(folder)
                inner[member] = folder
    return inner


def _remove_strangers(unfinished: Path, members: Sequence[Member], inner: Mapping[Member, PurePosixPath]) -> None:
    """Files that are no members come from another archive of that name. Inner archives look after their own folders."""
    known = {str(unfinished / member.path) for member in members}
    theirs = {str(unfinished / each) for folder in inner.values() for each in (folder, _part(folder))}
    folders = []
    for folder, subfolders, names in os.walk(unfinished):
        folders.append(Path(folder))
        subfolders[:] = [name for name in subfolders if os.path.join(folder, name) not in theirs]
        for name in names:
            if os.path.join(folder, name) not in known:
                Path(folder, name).unlink()
    for empty in reversed(folders):
        with suppress(OSError):
            empty.rmdir()


def _extract(
    archive: Path,
    opened: OpenArchive,
    wanted: Sequence[Member],
    folder: Path,
    unpack_inner: Callable[[Member], str],
    track: Track,
) -> dict[str, str]:
    """Write the wanted members; returns the damaged ones, each with the reason in the words of who found it."""
    damaged: dict[str, str] = {}

    def write(member: Member, content: Iterator[bytes]) -> bool:
        path = folder / member.path
        try:
            _save(member, content, path)
        except DAMAGE as error:
            path.unlink(missing_ok=True)
            damaged[str(member.path)] = str(error) or type(error).__name__
            return False
        except OSError as error:
            raise ArchiveError(
                f"{archive}: {path} cannot be written ({error.strerror or error}). Mend that and repeat the command: "
                "what is extracted by now is kept"
            ) from None
        damaged.pop(str(member.path), None)
        if trouble := unpack_inner(member):
            damaged[str(member.path)] = trouble
        return True

    for _ in track(opened.read(wanted, write), f"unpacking {archive.name}", len(wanted)):
        pass
    return damaged


def _save(member: Member, content: Iterator[bytes], path: Path) -> None:
    """Write one member; raises BadZipFile when it is not what the archive's listing says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found, size = checksum(member), 0
    with open(path, "wb") as handle:
        for block in content:
            size += len(block)
            if size > member.size:
                break
            found.update(block)
            handle.write(block)
    if not holds(member, size, found):
        what = "its checksum does not hold" if size == member.size else f"{size} of {member.size} bytes"
        raise zipfile.BadZipFile(what)


def _need_space(archive: Path, wanted: Sequence[Member], dest: Path) -> None:
    existing = next(folder for folder in (dest, *dest.absolute().parents) if folder.exists())
    needed, free = sum(member.size for member in wanted), shutil.disk_usage(existing).free
    if needed > free:
        raise ArchiveError(
            f"{archive} unfolds to {needed / 1e9:.1f} GB, and only {free / 1e9:.1f} GB are free at {existing}; "
            "make room there, or choose another --home"
        )


def _damage(archive: Path, damaged: dict[str, str], total: int, kept: Path) -> str:
    shown = [f"  {name!r}: {reason}" for name, reason in list(damaged.items())[:10]]
    return "\n".join(
        [
            f"{archive}: {len(damaged)} of its {total} members are damaged:",
            *shown,
            *(["  ..."] if len(damaged) > len(shown) else []),
            f"The others are kept in {kept}. Download the archive again and repeat the command: only the damaged "
            "members are extracted then; or add --allow-missing to go on without them.",
        ]
    )
