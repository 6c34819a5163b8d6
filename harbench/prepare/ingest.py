"""Media brought under official names: from folders and archives of the user's, archives that are fetched, or rendered."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from harbench import paths
from harbench.errors import ArchiveError, MediaError
from harbench.files import locked
from harbench.prepare.archives import is_archive
from harbench.prepare.boxes import read_boxes, save_boxes
from harbench.prepare.download import can_fetch, drop_damaged, fetch_archives, verify_archives
from harbench.prepare.formats.skeleton import is_annotations, unpack_annotations
from harbench.prepare.match import link_media, linked_media, match_media
from harbench.prepare.transfer import FetchConfig
from harbench.prepare.unpack import unpack
from harbench.records import DatasetSpec, MediaMatch, SplitTable, Track, silent
from harbench.synthetic.archive import render_archives

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class IngestConfig:
    """Where media come from."""

    source: Path | None = None
    """A folder in any layout, which may hold archives too; it is linked, not copied."""
    archives: Sequence[Path] = ()
    fetch: FetchConfig = field(default_factory=FetchConfig)
    allow_missing: bool = False
    """Go on without damaged members, and fetch nothing where some media are there."""
    workers: int = 1


def ingest(
    spec: DatasetSpec,
    tables: Sequence[SplitTable],
    home: Path,
    config: IngestConfig,
    *,
    wanted: Collection[str] | None = None,
    track: Track = silent,
) -> MediaMatch:
    """Link the media of `tables` under `<home>/<dataset>/media` and read the person boxes that came with them.

    Without a source and archives, and where some of `wanted` (default: all of `tables`) are not there yet, they come from
    `<home>/<dataset>/unpacked` and `archives`, are rendered where harbench makes the data set itself, or are fetched.

    Raises:
        MediaError: the source is no folder. ArchiveError: an archive is damaged, hostile or not the known one.
        DownloadError: an archive could not be fetched.
    """
    source, archives = config.source, config.archives
    if source is not None and not source.is_dir():
        raise MediaError(f"--from {source}: expected a folder; for an archive say --archive {source}")
    files = [*archives, *(source.iterdir() if source else ())]
    pickles = sorted(path for path in files if is_annotations(path)) if spec.modality == "pose" else []
    given = [*(path for path in archives if not is_annotations(path)), *_archives_in(spec, source)]
    if files or source is not None:
        for path in pickles:  # the joints of many media: each becomes a file that stands in for its media
            dest = _unpacked_folder(spec, home) / path.name
            found = unpack_annotations(spec, tables, path, dest, track=track)
            link_media(found.present, paths.media_folder(home, spec.name))
        folders = _unpack(spec, home, given, config, track)
        return _link(spec, tables, home, [*([source] if source else []), *folders])
    already = linked_media(tables, paths.media_folder(home, spec.name))
    if not _lacks(already, wanted):
        return already
    _unpack(spec, home, _own_archives(spec, tables, home, config.workers, track), config, track)
    found = _link(spec, tables, home, _unpacked_folders(spec, home))
    enough = config.allow_missing and found.present
    if _lacks(found, wanted) and not enough and can_fetch(spec, config.fetch.urls):
        fetched = fetch_archives(spec, paths.archives_folder(home, spec.name), config.fetch, track=track)
        _unpack(spec, home, fetched, config, track)
        found = _link(spec, tables, home, _unpacked_folders(spec, home))
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


def _unpack(spec: DatasetSpec, home: Path, archives: Sequence[Path], config: IngestConfig, track: Track) -> list[Path]:
    """Check and unpack, one process at a time: several machines may share a data home.

    Fetched archives that turn out to have been damaged on disk are fetched again.
    """
    if not archives:
        return []
    folder = paths.archives_folder(home, spec.name)
    verify_archives(spec, archives, folder, accept_hash=config.fetch.accept_hash, track=track)
    dest = _unpacked_folder(spec, home)
    extract = partial(unpack, spec, archives, dest, allow_damaged=config.allow_missing, track=track)
    with locked(home / spec.name / ".unpack.lock"):
        try:
            return extract()
        except ArchiveError as error:
            damaged = drop_damaged(folder, track=track)
            if not damaged:
                raise
            log.warning("%s\n%s damaged since fetched; fetched again", error, ", ".join(damaged))
        fetch_archives(spec, folder, config.fetch, track=track)
        return extract()


def _lacks(match: MediaMatch, wanted: Collection[str] | None) -> bool:
    return bool(match.missing) if wanted is None else any(media not in match.present for media in wanted)


def _unpacked_folder(spec: DatasetSpec, home: Path) -> Path:
    return home / spec.name / "unpacked"


def _unpacked_folders(spec: DatasetSpec, home: Path) -> list[Path]:
    """Finished folders of unpacked archives: the archives themselves may have been deleted since."""
    folders = _unpacked_folder(spec, home).glob("*")
    return sorted(path for path in folders if path.is_dir() and not path.name.startswith("."))


def _archives_in(spec: DatasetSpec, source: Path | None) -> list[Path]:
    """Archives of the data set that lie directly in the user's folder: by official name, or any .npz."""
    names = {archive.name.casefold() for archive in spec.archives}
    return sorted(
        path
        for path in (source.iterdir() if source else ())
        if path.is_file() and is_archive(path) and (path.name.casefold() in names or path.suffix == ".npz")
    )


def _own_archives(
    spec: DatasetSpec, tables: Sequence[SplitTable], home: Path, workers: int, track: Track
) -> list[Path]:
    """Archives in the data home; of a data set that harbench makes itself, rendered now."""
    folder = paths.archives_folder(home, spec.name)
    if spec.rendered:
        return render_archives(spec, [table.split for table in tables], folder, workers=workers, track=track)
    return sorted(path for path in folder.iterdir() if is_archive(path)) if folder.is_dir() else []
