"""The user's files against the official table, in any layout people have; then links under the official names."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harbench.datasets.match import PathIndex
from harbench.records import MediaMatch, SplitTable


def match_media(tables: Sequence[SplitTable], roots: Sequence[Path]) -> MediaMatch:
    """Find the media of `tables` under `roots`. Only files with a suffix of the data set's media are looked at.

    A media with several files takes the one that agrees most with its official path, then the shortest and first by
    name; the others are listed as duplicated. A file that could be several media is none: it is listed as extra.
    """
    official = list(dict.fromkeys(media for table in tables for media in table.media()))
    index = PathIndex.of(((media, media) for media in official), suffixes=True)
    suffixes = {os.path.splitext(media.casefold())[1] for media in official}
    found: dict[str, list[tuple[int, int, str, Path]]] = defaultdict(list)
    extra: list[str] = []
    for root, relative in _files(roots):
        if os.path.splitext(relative.casefold())[1] not in suffixes:
            continue
        owner = index.find(relative)
        if owner is None:
            extra.append(relative)
        else:
            found[owner[0]].append((-owner[1], len(relative), relative, root / relative))
    candidates = {media: sorted(found[media]) for media in official if media in found}
    return MediaMatch(
        present={media: files[0][3] for media, files in candidates.items()},
        missing=tuple(media for media in official if media not in candidates),
        extra=tuple(extra),
        duplicated={m: tuple(relative for _, _, relative, _ in files) for m, files in candidates.items() if files[1:]},
    )


def linked_media(tables: Sequence[SplitTable], folder: Path) -> MediaMatch:
    """What is already under the data home's media folder, by official name."""
    present = {media: folder / media for table in tables for media in table.media() if (folder / media).exists()}
    missing = tuple(dict.fromkeys(media for table in tables for media in table.media() if media not in present))
    return MediaMatch(present, missing, (), {})


def link_media(present: Mapping[str, Path], folder: Path) -> None:
    """Link each official name under `folder` to the user's file. A file of the user's own there is left alone."""
    for media, path in present.items():
        link, target = folder / media, str(path.resolve())
        if link.is_symlink() and os.readlink(link) == target:
            continue
        if link.exists() and not link.is_symlink():
            continue
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(target)
            continue
        temporary = link.with_name(f".{link.name}.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        os.replace(temporary, link)


def _files(roots: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """(root, relative path) of every file, in a fixed order; hidden ones are no media."""
    for root in roots:
        for folder, subfolders, names in os.walk(root, followlinks=True):
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            for name in sorted(names):
                if not name.startswith("."):
                    yield root, os.path.relpath(os.path.join(folder, name), root)
