"""What the user has on disk, brought under official names: folders, archives, or both mixed."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from harbench import places
from harbench.errors import ArchiveError, MediaError
from harbench.ingest.archives import is_archive
from harbench.ingest.boxes import read_boxes, save_boxes
from harbench.ingest.download import can_fetch, drop_damaged, fetch_archives, verify_archives
from harbench.ingest.match import link_media, linked_media, match_media
from harbench.ingest.render.archive import render_archives
from harbench.ingest.transfer import FetchConfig
from harbench.ingest.unpack import unpack
from harbench.records import DatasetSpec, MediaMatch, SplitTable, Track, silent

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
    folder = places.media_folder(home, spec.name)
    if source is not None and not source.is_dir():
        raise MediaError(f"--from {source}: expected a folder; for an archive say --archive {source}")
    already = linked_media(tables, folder)
    given = [*archives, *_archives_in(spec, source)]
    if given or source is not None:
        records = places.archives_folder(home, spec.name)
        verify_archives(spec, given, records, accept_hash=fetch is not None and fetch.accept_hash, track=track)
        roots = unpack(spec, given, _unpacked(home, spec), track=track)
        return _link(spec, tables, home, [*([source] if source else []), *roots])
    if not _lacking(already, wanted):
        return already
    _unpack_own(spec, home, _own_archives(spec, tables, home, workers, track), fetch, track)
    found = _link(spec, tables, home, _folders(_unpacked(home, spec)))
    enough = allow_missing and found.present
    if _lacking(found, wanted) and not enough and fetch is not None and can_fetch(spec, fetch.urls):
        fetched = fetch_archives(spec, places.archives_folder(home, spec.name), fetch, track=track)
        _unpack_own(spec, home, fetched, fetch, track)
        found = _link(spec, tables, home, _folders(_unpacked(home, spec)))
    return found


def _link(spec: DatasetSpec, tables: Sequence[SplitTable], home: Path, roots: Sequence[Path]) -> MediaMatch:
    """Link what of the tables lies under `roots`; what was linked before counts as present too."""
    folder = places.media_folder(home, spec.name)
    found = match_media(tables, roots)
    link_media(found.present, folder)
    if spec.boxes and roots:
        boxes = read_boxes([name for table in tables for name in table.media()], roots)
        if boxes:
            save_boxes(home, spec.name, boxes)
    there = linked_media(tables, folder)
    return MediaMatch(there.present, there.missing, found.extra, found.duplicated)


def _unpack_own(
    spec: DatasetSpec, home: Path, archives: Sequence[Path], fetch: FetchConfig | None, track: Track
) -> None:
    """Unpack archives of the data home; fetched ones that turn out to have been damaged on disk are fetched again."""
    try:
        unpack(spec, archives, _unpacked(home, spec), track=track)
    except ArchiveError as error:
        folder = places.archives_folder(home, spec.name)
        damaged = drop_damaged(folder, track=track) if fetch is not None else []
        if not damaged or fetch is None:
            raise
        log.warning("%s\n%s damaged since fetched; fetched again", error, ", ".join(damaged))
        fetch_archives(spec, folder, fetch, track=track)
        unpack(spec, archives, _unpacked(home, spec), track=track)


def _lacking(match: MediaMatch, wanted: Collection[str] | None) -> bool:
    return bool(match.missing) if wanted is None else any(media not in match.present for media in wanted)


def _unpacked(home: Path, spec: DatasetSpec) -> Path:
    return home / spec.name / "unpacked"


def _folders(folder: Path) -> list[Path]:
    """Finished folders of unpacked archives: the archives themselves may have been deleted since."""
    return sorted(path for path in folder.glob("*") if path.is_dir() and not path.name.startswith("."))


def pose_files(spec: DatasetSpec, present: dict[str, Path]) -> tuple[dict[str, Path], tuple[str, ...]]:
    """The pose file of each media (itself, or its neighbour with `pose_suffix`), and the media that have none."""
    if spec.modality == "pose":
        return present, ()
    if not spec.pose_suffix:
        raise MediaError(f"{spec.title} carries no poses; prepare it with --stream rgb")
    files = {}
    for media, path in present.items():
        original = path.resolve()
        neighbour = original.with_name(original.stem + spec.pose_suffix)
        if neighbour.is_file():
            files[media] = neighbour
    return files, tuple(media for media in present if media not in files)


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
    folder = places.archives_folder(home, spec.name)
    if spec.rendered:
        return render_archives(spec, [table.split for table in tables], folder, workers=workers, track=track)
    return sorted(path for path in folder.iterdir() if is_archive(path)) if folder.is_dir() else []
