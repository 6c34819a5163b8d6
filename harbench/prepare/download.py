"""Archives from their publishers: mirrors in order, sizes and checksums, one process an archive.

A fetched archive lies under its published name and nothing else does; beside it, hidden, a record of what it was when it
was checked. Data sets that ask for registration are never fetched.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import httpx

from harbench.errors import ArchiveError, DownloadError
from harbench.files import locked, sync_folder, write_text
from harbench.prepare.archives import is_archive
from harbench.prepare.transfer import (
    FetchConfig,
    begun_from,
    discard_part,
    open_client,
    part_of,
    total_of,
    transfer,
)
from harbench.records import Archive, DatasetSpec, Track, silent

log = logging.getLogger(__name__)
_BLOCK = 1 << 20


@dataclass(frozen=True)
class _Record:
    """What an archive was when its checksum was taken."""

    path: str
    size: int
    mtime_ns: int
    sha256: str
    source: str
    """The address that it was fetched from; empty: the user brought it."""


# ----------------------------------------------------------------------------------------------------------- fetching
def fetch_archives(
    spec: DatasetSpec, dest: Path, config: FetchConfig | None = None, *, track: Track = silent
) -> list[Path]:
    """Fetch the archives of a data set into the folder `dest`; those that are there are left alone.

    Of archives that hold the same media one is fetched: the first that a mirror gives. One that cannot be had does not
    keep the others from coming. Killing it anywhere loses nothing that came; two processes wait for each other.

    Raises:
        DownloadError: no mirror gives an archive (or none may be asked: registration); says why each did not, and what
            to do by hand.
        ArchiveError: an archive is not the known one (it is kept as `<name>.mismatch`), or the disk is too small.
    """
    config = config or FetchConfig()
    if spec.registration:
        raise DownloadError(spec.registration)
    dest.mkdir(parents=True, exist_ok=True)
    groups = archive_groups(spec, config.urls)
    paths: list[Path] = []
    lacking: list[Sequence[Archive]] = []
    problems: list[str] = []
    with open_client(config) as client:
        for group in groups:
            found = _fetch_one_of(group, dest, _Session(config, client, track), problems)
            if found is None:
                lacking.append(group)
            else:
                paths.append(found)
    if lacking:
        raise DownloadError(_by_hand(spec, lacking, problems))
    return paths


def can_fetch(spec: DatasetSpec, urls: Sequence[str] = ()) -> bool:
    """Whether there is an address for everything that the data set consists of."""
    groups = [] if spec.registration else archive_groups(spec, urls)
    return bool(groups) and all(any(archive.urls for archive in group) for group in groups)


def archive_groups(spec: DatasetSpec, urls: Sequence[str] = ()) -> list[list[Archive]]:
    """The archives that are needed, each with those that may stand in for it; the user's own mirrors come first.

    A mirror is `NAME=URL`, or `URL` where its last part is the name of an archive or there is only one to be had. Raises
    DownloadError when it cannot be told which archive a mirror is for.
    """
    groups = [
        [archive, *(other for other in spec.archives if other.instead_of == archive.name)]
        for archive in spec.archives
        if not archive.instead_of
    ]
    given: set[str] = set()
    for text in urls:
        name, separator, url = text.partition("=")
        if not separator or "://" in name:
            name, url = "", text
        wanted = name or PurePosixPath(unquote(urlsplit(url).path)).name
        for group in groups:
            official = next((each for each in group if each.name.casefold() == wanted.casefold()), None)
            if official is not None:
                group.remove(official)
                group.insert(0, replace(official, urls=(*official.urls, url) if official.name in given else (url,)))
                given.add(official.name)
                break
        else:
            if len(groups) != 1 or (name and not is_archive(Path(name))):
                names = ", ".join(archive.name for archive in spec.archives) or "no archives"
                raise DownloadError(f"--url {text}: {spec.title} consists of {names}; say --url NAME=URL")
            own = Archive(wanted, (url,)) if is_archive(Path(wanted)) else replace(groups[0][0], urls=(url,))
            groups[0].insert(0, own)
            given.add(own.name)
    return groups


@dataclass(frozen=True)
class _Session:
    """What the downloads of one data set share."""

    config: FetchConfig
    client: httpx.Client
    track: Track


def _fetch_one_of(group: Sequence[Archive], dest: Path, session: _Session, problems: list[str]) -> Path | None:
    """The first archive of a group that is here, or that a mirror gives; None and `problems` when none does."""
    for archive in group:
        if _is_here(archive, dest, session.config, session.track):
            return dest / archive.name
    for archive in group:
        path = dest / archive.name
        with locked(dest / f".{archive.name}.lock"):
            if _is_here(archive, dest, session.config, session.track):  # another process fetched it meanwhile
                return path
            for url in sorted(archive.urls, key=lambda url: not begun_from(path, url)):
                try:
                    _fetch(archive, url, path, session)
                except DownloadError as error:
                    problems.append(f"{url}: {error}")
                    log.warning("%s", problems[-1])
                else:
                    return path
    return None


def _fetch(archive: Archive, url: str, path: Path, session: _Session) -> None:
    """One archive from one mirror."""
    config, track = session.config, session.track
    if config.insecure and (not archive.checksum or config.accept_hash):
        raise DownloadError(
            f"--insecure is refused: no checksum of {archive.name} is known, so nothing would tell whether this is the "
            "right file"
            if not archive.checksum
            else "--insecure is refused together with --accept-hash: then nothing would tell whether this is the right file"
        )
    expected = None if config.accept_hash else archive.bytes
    arriving = transfer(session.client, url, path, config, expected)
    first = next(arriving, 0)  # only now is the total known
    for _ in track(_then(first, arriving), f"fetching {archive.name}", total_of(path) or archive.bytes, "bytes"):
        pass
    part = part_of(path)
    record = _checked(archive, part, config.accept_hash, track, source=url)
    with open(part, "rb") as handle:
        os.fsync(handle.fileno())
    _remember(path.parent, archive.name, replace(record, path=str(path.resolve())))
    os.replace(part, path)
    sync_folder(path.parent)
    discard_part(path)


def _then(first: int, rest: Iterator[int]) -> Iterator[int]:
    yield first
    yield from rest


def _by_hand(spec: DatasetSpec, lacking: Sequence[Sequence[Archive]], problems: Sequence[str]) -> str:
    """What to do when no mirror gives an archive."""
    names = ", ".join(" or ".join(archive.name for archive in group) for group in lacking)
    return "\n".join(
        [
            f"{spec.title}: could not fetch {names}:",
            *(f"  {problem}" for problem in problems or ("nobody publishes an address",)),
            "What came is kept: the same command goes on from there. Or bring the archive yourself:",
            f"  harbench prepare {spec.name} --archive FILE   (downloaded by hand{f', {spec.size}' if spec.size else ''})",
            f"  harbench prepare {spec.name} --from DIR   (extracted, in any layout)",
            f"  harbench prepare {spec.name} --url {lacking[0][0].name}=URL   (another mirror)",
            "or add --allow-missing once something is there: the rest then counts as wrong, and results are partial.",
        ]
    )


# ----------------------------------------------------------------------------------------------------------- checking
def verify_archives(
    spec: DatasetSpec, archives: Sequence[Path], records: Path, *, accept_hash: bool = False, track: Track = silent
) -> None:
    """Hold the user's own archives against the known checksums, once: what was found is recorded in the folder `records`.

    Only archives with an official name can be checked. Raises ArchiveError for one that is not what it says.
    """
    official = {archive.name.casefold(): archive for archive in spec.archives}
    for path in archives:
        archive = official.get(path.name.casefold())
        if archive is None or not path.is_file() or _is_vouched_for(_recorded(records, archive.name), path):
            continue
        if not archive.checksum:
            log.info("no checksum of %s is known: its members alone are checked", path.name)
            continue
        _remember(records, archive.name, _checked(archive, path, accept_hash, track))


def drop_damaged(dest: Path, *, track: Track = silent) -> list[str]:
    """Remove fetched archives whose bytes are no longer what was fetched; returns their names."""
    damaged = []
    for name, record in _fetched(dest):
        if _digests(dest / name, ("sha256",), track)["sha256"] != record.sha256:
            (dest / name).unlink()
            damaged.append(name)
    return damaged


def fetched_archives(dest: Path) -> list[Path]:
    """Archives in `dest` that harbench fetched, and could fetch again."""
    return [dest / name for name, _ in _fetched(dest)]


def known_archives(spec: DatasetSpec, dest: Path) -> list[Path]:
    """Archives that lie in `dest`, and those of the user's that were checked where they lie."""
    here = sorted(path for path in dest.iterdir() if is_archive(path)) if dest.is_dir() else []
    records = (_recorded(dest, archive.name) for archive in spec.archives)
    return here + [Path(record.path) for record in records if record is not None and not record.source]


def _is_here(archive: Archive, dest: Path, config: FetchConfig, track: Track) -> bool:
    """Whether an archive lies in `dest`, whole and checked. A fetched one that has changed since is removed."""
    path, record = dest / archive.name, _recorded(dest, archive.name)
    mismatch = path.with_name(f"{path.name}.mismatch")
    if config.accept_hash and mismatch.is_file() and not path.exists():
        os.replace(mismatch, path)
    if not path.is_file():
        return False
    if _matches(record, path):
        return True
    if record is None or not record.source:
        _remember(dest, archive.name, _checked(archive, path, config.accept_hash, track))
        return True
    if _digests(path, ("sha256",), track)["sha256"] == record.sha256:
        about = path.stat()
        _remember(
            dest,
            archive.name,
            _Record(str(path.resolve()), about.st_size, about.st_mtime_ns, record.sha256, record.source),
        )
        return True
    log.warning("%s has been damaged since it was fetched; it is fetched again", path)
    path.unlink()
    return False


def _checked(archive: Archive, path: Path, accept_hash: bool, track: Track, source: str = "") -> _Record:
    """The record of an archive that is what its data set says. Raises ArchiveError when it is not.

    A fetched one (with a `source`) is then kept as `<name>.mismatch`; the user's own file is left alone.
    """
    algorithm, _, expected = archive.checksum.partition(":")
    about = path.stat()
    found = _digests(path, ("sha256", algorithm) if algorithm else ("sha256",), track)
    wrong = []
    if archive.bytes is not None and about.st_size != archive.bytes:
        wrong.append(f"expected {archive.bytes} bytes, found {about.st_size}")
    if expected and found[algorithm] != expected.lower():
        wrong.append(f"expected {algorithm} {expected}, found {found[algorithm]}")
    if wrong and accept_hash:
        log.warning("%s is not the known archive (%s); accepted as asked", archive.name, "; ".join(wrong))
    elif wrong:
        kept = path
        if source:
            kept = path.with_name(f"{archive.name}.mismatch")
            os.replace(path, kept)
            discard_part(path.with_name(archive.name))
        raise ArchiveError(
            f"{archive.name}{f' from {source}' if source else ''} is not the known archive:\n  "
            + "\n  ".join(wrong)
            + f"\nIt lies at {kept}. It may be damaged, or a newer edition. Get it again, or, if you trust it, repeat the "
            "command with --accept-hash: then only its contents are held against the official table."
        )
    return _Record(str(path.resolve()), about.st_size, about.st_mtime_ns, found["sha256"], source)


def _digests(path: Path, algorithms: Sequence[str], track: Track) -> dict[str, str]:
    """Hex digests of a file, read once."""
    hashers = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}

    def positions() -> Iterator[int]:
        with open(path, "rb") as handle:
            while block := handle.read(_BLOCK):
                for hasher in hashers.values():
                    hasher.update(block)
                yield handle.tell()

    for _ in track(positions(), f"checking {path.name.removesuffix('.part')}", path.stat().st_size, "bytes"):
        pass
    return {name: hasher.hexdigest() for name, hasher in hashers.items()}


# -------------------------------------------------------------------------------------------------------- the records
def _record_file(dest: Path, name: str) -> Path:
    return dest / f".{name}.json"


def _recorded(dest: Path, name: str) -> _Record | None:
    try:
        return _Record(**json.loads(_record_file(dest, name).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # none, or not ours: the archive is checked again
        return None


def _remember(dest: Path, name: str, record: _Record) -> None:
    write_text(_record_file(dest, name), json.dumps(asdict(record)))


def _matches(record: _Record | None, path: Path) -> bool:
    about = path.stat()
    now = (str(path.resolve()), about.st_size, about.st_mtime_ns)
    return record is not None and (record.path, record.size, record.mtime_ns) == now


def _is_vouched_for(record: _Record | None, path: Path) -> bool:
    """Whether an archive was checked, or fetched and checked then: what befell that one since, unpacking tells."""
    return record is not None and (
        (bool(record.source) and record.path == str(path.resolve())) or _matches(record, path)
    )


def _fetched(dest: Path) -> list[tuple[str, _Record]]:
    """Name and record of every archive that was fetched and still lies in `dest`."""
    names = sorted(path.name for path in dest.iterdir() if is_archive(path)) if dest.is_dir() else []
    records = [(name, _recorded(dest, name)) for name in names]
    return [(name, record) for name, record in records if record is not None and record.source]
