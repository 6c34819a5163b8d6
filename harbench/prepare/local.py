"""What the user has on disk, brought under official names: folders, archives, or both mixed."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from harbench import paths
from harbench.errors import ArchiveError, MediaError
from harbench.files import locked
from harbench.prepare.annotations import is_annotations, unpack_annotations
from harbench.prepare.archives import is_archive
from harbench.prepare.boxes import read_boxes, save_boxes
from harbench.prepare.download import can_fetch, drop_damaged, fetch_archives, verify_archives
from harbench.prepare.match import link_media, linked_media, match_media
from harbench.prepare.transfer import FetchConfig
from harbench.prepare.unpack import unpack
from harbench.records import DatasetSpec, MediaMatch, SplitTable, Track, silent
from harbench.synthetic.archive import render_archives

log = logging.getLogger(__name__)


def ingest_local(
    spec: DatasetSpec,
    tables: Sequence[SplitTable],
    home: Path,
    *,
    wanted: Collection[str] | None = None,
    source: Path | None = None,
    archives: Sequence[Path] = (),
    fetch: FetchConfig | None = None,
    allow_missing: bool = False,
    workers: int = 1,
    track: Track = silent,
) -> MediaMatch:
    """Link the media of `tables` under `<home>/<dataset>/media` and read the boxes that came with them.

    They come from `source` (a folder in any layout, which may hold archives too) and `archives`. Where neither is given
    and some of `wanted` (default: all of `tables`) are not there yet: from what is under `<home>/<dataset>/unpacked` and
    `archives`, are rendered where harbench makes the data set itself, or at last fetched as `fetch` says; None fetches
    nothing, and `allow_missing` nothing where there is something already.

    Raises:
        MediaError: `source` is no folder. ArchiveError: an archive is damaged, hostile or another one than the known.
        DownloadError: an archive could not be fetched.
    """
    folder = paths.media_folder(home, spec.name)
    if source is not None and not source.is_dir():
        raise MediaError(f"--from {source}: expected a folder; for an archive say --archive {source}")
    already = linked_media(tables, folder)
    pickles = [path for path in [*archives, *(source.iterdir() if source else ())] if is_annotations(path)]
    given = [*(path for path in archives if path not in pickles), *_archives_in(spec, source)]
    if given or pickles or source is not None:
        # A skeleton pickle holds the joints of many media: each becomes a file that stands in for its media.
        for path in sorted(pickles) if spec.modality == "pose" else ():
            dest = _unpacked(home, spec) / path.name
            link_media(unpack_annotations(spec, tables, path, dest, track=track).present, folder)
        records = paths.archives_folder(home, spec.name)
        verify_archives(spec, given, records, accept_hash=fetch is not None and fetch.accept_hash, track=track)
        roots = _unpack(spec, home, given, allow_missing, track)
        return _link(spec, tables, home, [*([source] if source else []), *roots])
    if not _lacking(already, wanted):
        return already
    _unpack_own(spec, home, _own_archives(spec, tables, home, workers, track), fetch, allow_missing, track)
    found = _link(spec, tables, home, _folders(_unpacked(home, spec)))
    enough = allow_missing and found.present
    if _lacking(found, wanted) and not enough and fetch is not None and can_fetch(spec, fetch.urls):
        fetched = fetch_archives(spec, paths.archives_folder(home, spec.name), fetch, track=track)
        _unpack_own(spec, home, fetched, fetch, allow_missing, track)
        found = _link(spec, tables, home, _folders(_unpacked(home, spec)))
    return found


def _link(spec: DatasetSpec, tables: Sequence[SplitTable], home: Path, roots: Sequence[Path]) -> MediaMatch:
    """Link what of the tables lies under `roots`; what was linked before counts as present too."""
    folder = paths.media_folder(home, spec.name)
    found = match_media(tables, roots)
    link_media(found.present, folder)
    if spec.boxes and roots:
        boxes = read_boxes([name for table in tables for name in table.media()], roots)
        if boxes:
            save_boxes(home, spec.name, boxes)
    there = linked_media(tables, folder)
    return MediaMatch(there.present, there.missing, found.extra, found.duplicated)


def _unpack(spec: DatasetSpec, home: Path, archives: Sequence[Path], allow_damaged: bool, track: Track) -> list[Path]:
    """Unpack, one process at a time: several machines may share a data home."""
    if not archives:
        return []
    with locked(home / spec.name / ".unpack.lock"):
        return unpack(spec, archives, _unpacked(home, spec), allow_damaged=allow_damaged, track=track)


def _unpack_own(
    spec: DatasetSpec,
    home: Path,
    archives: Sequence[Path],
    fetch: FetchConfig | None,
    allow_damaged: bool,
    track: Track,
) -> None:
    """Unpack archives of the data home; fetched ones that turn out to have been damaged on disk are fetched again."""
    folder = paths.archives_folder(home, spec.name)
    accept_hash = fetch is not None and fetch.accept_hash
    verify_archives(spec, archives, folder, accept_hash=accept_hash, track=track)
    try:
        _unpack(spec, home, archives, allow_damaged, track)
    except ArchiveError as error:
        damaged = drop_damaged(folder, track=track) if fetch is not None else []
        if not damaged or fetch is None:
            raise
        log.warning("%s\n%s damaged since fetched; fetched again", error, ", ".join(damaged))
        fetch_archives(spec, folder, fetch, track=track)
        _unpack(spec, home, archives, allow_damaged, track)


def _lacking(match: MediaMatch, wanted: Collection[str] | None) -> bool:
    return bool(match.missing) if wanted is None else any(media not in match.present for media in wanted)


def _unpacked(home: Path, spec: DatasetSpec) -> Path:
    return home / spec.name / "unpacked"


def _folders(folder: Path) -> list[Path]:
    """Finished folders of unpacked archives: the archives themselves may have been deleted since."""
    return sorted(path for path in folder.glob("*") if path.is_dir() and not path.name.startswith("."))


def _archives_in(spec: DatasetSpec, source: Path | None) -> list[Path]:
    """Archives of the data set that lie directly in the user's folder: by official name, or any .npz."""
    if source is None:
        return []
    names = {archive.name.casefold() for archive in spec.archives}
    return sorted(
        path
        for path in source.iterdir()
        if path.is_file() and is_archive(path) and (path.name.casefold() in names or path.suffix == ".npz")
    )


def _own_archives(
    spec: DatasetSpec, tables: Sequence[SplitTable], home: Path, workers: int, track: Track
) -> list[Path]:
    folder = paths.archives_folder(home, spec.name)
    if spec.rendered:
        return render_archives(spec, [table.split for table in tables], folder, workers=workers, track=track)
    return sorted(path for path in folder.iterdir() if is_archive(path)) if folder.is_dir() else []
