"""The user's files against the official table, in any layout people have; then links under the official names.

A file belongs to the official media with the same name (case folded) whose path agrees on the most trailing parts. So
missing and extra leading folders, flat folders, pooled train/val/test folders and a changed case all match, while files
of one name in several official folders are told apart by these.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harbench.records import MediaMatch, SplitTable

Parts = tuple[str, ...]


def match_media(tables: Sequence[SplitTable], roots: Sequence[Path]) -> MediaMatch:
    """Find the media of `tables` under `roots`. Only files with a suffix of the data set's media are looked at.

    A media with several files takes the one that agrees most with its official path, then the shortest and first by
    name; the others are listed as duplicated. A file that could be several media is none: it is listed as extra.
    """
    official = {media: _parts(media) for table in tables for media in table.media()}
    by_name: dict[str, list[str]] = defaultdict(list)
    for media, parts in official.items():
        by_name[parts[-1]].append(media)
    suffixes = {os.path.splitext(name)[1] for name in by_name}
    found: dict[str, list[tuple[int, int, str, Path]]] = defaultdict(list)
    extra: list[str] = []
    for root, relative in _files(roots):
        parts = _parts(relative)
        if os.path.splitext(parts[-1])[1] not in suffixes:
            continue
        owner = _owner(parts, by_name.get(parts[-1], ()), official)
        if owner is None:
            extra.append(relative)
        else:
            found[owner].append((-_agreement(parts, official[owner]), len(relative), relative, root / relative))
    present: dict[str, Path] = {}
    duplicated: dict[str, tuple[str, ...]] = {}
    for media in official:
        candidates = sorted(found.get(media, ()))
        if candidates:
            present[media] = candidates[0][3]
        if len(candidates) > 1:
            duplicated[media] = tuple(relative for _, _, relative, _ in candidates)
    missing = tuple(media for media in official if media not in present)
    return MediaMatch(present, missing, tuple(extra), duplicated)


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


def _parts(path: str) -> Parts:
    return tuple(path.casefold().split("/"))


def _agreement(a: Parts, b: Parts) -> int:
    """Trailing parts that two paths share."""
    shared = 0
    for x, y in zip(reversed(a), reversed(b), strict=False):
        if x != y:
            break
        shared += 1
    return shared


def _owner(parts: Parts, candidates: Sequence[str], official: Mapping[str, Parts]) -> str | None:
    if len(candidates) <= 1:
        return candidates[0] if candidates else None
    ranked = sorted((_agreement(parts, official[media]), media) for media in candidates)
    return ranked[-1][1] if ranked[-1][0] > ranked[-2][0] else None
