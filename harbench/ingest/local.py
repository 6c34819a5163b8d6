"""What the user has on disk, brought under official names: folders, archives, or both mixed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harbench import places
from harbench.errors import MediaError
from harbench.ingest.boxes import read_boxes, save_boxes
from harbench.ingest.match import link_media, linked_media, match_media
from harbench.ingest.render.archive import render_archives
from harbench.ingest.unpack import is_archive, unpack
from harbench.records import DatasetSpec, MediaMatch, SplitTable, Track, silent


def ingest_local(
    spec: DatasetSpec,
    tables: Sequence[SplitTable],
    home: Path,
    *,
    source: Path | None = None,
    archives: Sequence[Path] = (),
    workers: int = 1,
    track: Track = silent,
) -> MediaMatch:
    """Link the media of `tables` under `<home>/<dataset>/media` and read the boxes that came with them.

    They come from `source` (a folder in any layout, which may hold archives too), `archives`, archives that already lie
    under `<home>/<dataset>/archives`, or are rendered where harbench makes the data set itself. Without any of these,
    what is already there counts.

    Raises:
        MediaError: `source` is no folder. ArchiveError: an archive is damaged or hostile.
    """
    folder = places.media_folder(home, spec.name)
    if source is not None and not source.is_dir():
        raise MediaError(f"--from {source}: expected a folder; for an archive say --archive {source}")
    given = [*archives, *_archives_in(spec, source)]
    if not given and source is None:
        already = linked_media(tables, folder)
        if not already.missing:
            return already
        given = _own_archives(spec, tables, home, workers, track)
    roots = [*([source] if source else []), *unpack(spec, given, home / spec.name / "unpacked", track=track)]
    if not roots:
        return already
    found = match_media(tables, roots)
    link_media(found.present, folder)
    if spec.boxes:
        media = [name for table in tables for name in table.media()]
        boxes = read_boxes(media, roots)
        if boxes:
            save_boxes(home, spec.name, boxes)
    there = linked_media(tables, folder)
    return MediaMatch(there.present, there.missing, found.extra, found.duplicated)


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
