"""The table of a data set whose media every user has other ones of: made of the official lists, into the data home."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from harbench import paths
from harbench.datasets.parse import check_path, read_classes, read_text, without_suffix
from harbench.errors import DatasetError
from harbench.files import write_text
from harbench.prepare.download import fetch_archives
from harbench.prepare.transfer import FetchConfig
from harbench.records import Archive, DatasetSpec, Track

_PLACES = ("", "annotations", "labels")
"""Folders of the user's copy in which the lists are looked for."""


def without_lists(spec: DatasetSpec, archives: Sequence[Path]) -> list[Path]:
    """Those of the user's files that are no official list."""
    names = {each.name for each in spec.lists.values()}
    return [path for path in archives if path.name not in names]


def write_table(
    spec: DatasetSpec, home: Path, dest: Path, given: Sequence[Path], config: FetchConfig, track: Track
) -> tuple[str, ...]:
    """Make `<dest>/splits/<name>/samples.csv` of the official lists; returns what the user should know.

    A list is one of the files or in one of the folders `given`, or was there before, or is fetched where it is public.
    The one of test is needed; train is taken where the user has it. A table that is there stays if no list is given.

    Raises:
        DatasetError: there is no list, or one is damaged or names classes that the data set does not have.
        DownloadError: the list cannot be fetched.
    """
    table = Path("splits", spec.name, "samples.csv")
    found = {subset: _find(archive, given) for subset, archive in spec.lists.items()}
    if not any(found.values()) and (home / table).is_file():
        if dest != home:
            write_text(dest / table, (home / table).read_text(encoding="utf-8"))
        return ()
    test = spec.lists["test"]
    if found["test"] is None:
        if not test.urls and not config.urls:
            raise DatasetError(
                f"{spec.name}: expected its official list {test.name} in the folder of the videos, or  --archive "
                f"{test.name}; found none. {spec.registration}"
            )
        public = replace(spec, archives=(test,), registration="")
        [found["test"]] = fetch_archives(public, paths.archives_folder(dest, spec.name), config, track=track)
    rows = [(*row, subset) for subset, path in found.items() if path for row in _rows(spec, path)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("media", "class", *spec.splits))
    writer.writerows(rows)
    write_text(dest / table, text.getvalue())
    counts = ", ".join(f"{sum(row[2] == subset for row in rows):,} {subset}" for subset, path in found.items() if path)
    return (f"the table is that of {', '.join(path.name for path in found.values() if path)}: {counts}",)


def _find(archive: Archive, given: Iterable[Path]) -> Path | None:
    for path in given:
        inside = [path / place / archive.name for place in _PLACES] if path.is_dir() else []
        for candidate in [path] * (path.name == archive.name) + inside:
            if candidate.is_file():
                return candidate
    return None


def _rows(spec: DatasetSpec, path: Path) -> list[tuple[str, str]]:
    """(media, class key) of every line of a list."""
    assert spec.read_list is not None
    [classes] = [folder / "classes.txt" for folder in paths.splits_folders(spec.name, None)]
    keys = {_letters(label.display): label.key for label in read_classes(classes)}
    found: dict[str, tuple[str, str]] = {}
    try:
        for media, name in spec.read_list(read_text(path)):
            if _letters(name) not in keys:
                raise DatasetError(f"{path}: {media} is of the class {name!r}, which {spec.name} does not have")
            check_path("media", media)
            found.setdefault(without_suffix(media), (media, keys[_letters(name)]))
    except (ValueError, LookupError, TypeError, csv.Error) as error:
        why = f"{type(error).__name__}: {error}"
        raise DatasetError(f"{path}: expected the official list of {spec.name}, found {why}") from None
    if not found:
        raise DatasetError(f"{path}: expected the official list of {spec.name}, found no line of it")
    return list(found.values())


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))
