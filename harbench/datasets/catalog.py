"""`datasets`, `splits`: what can be prepared, what of it is here, and whether a partition is the official one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harbench import paths
from harbench.datasets.checks import check_split
from harbench.datasets.tables import dataset_names, expand_splits, listed_classes, load_spec, load_split
from harbench.errors import DatasetError
from harbench.records import SplitCheck, SplitTable


@dataclass(frozen=True)
class DatasetStatus:
    """One data set: what it is and what of it is under the data home."""

    name: str
    title: str
    modality: str
    classes: int
    samples: int
    """Rows of the default split's table."""
    splits: tuple[str, ...]
    group: str
    size: str
    license: str
    homepage: str
    citation: str
    registration: str
    media_here: int
    """Media found under `<home>/<name>/media`."""
    media_total: int
    caches: tuple[str, ...]
    """Names of the frame caches under `<home>/<name>/cache`."""
    problem: str = ""
    """Why it cannot be used; all else is then empty."""


def datasets(name: str | None = None, *, home: Path) -> list[DatasetStatus]:
    """What can be prepared and what is here; one data set, or all.

    Of all, one that cannot be read says so in `problem`. Raises DatasetError where it is the one asked for.
    """
    if name:
        return [_status(name, home)]
    found = []
    for each in dataset_names(home):
        try:
            found.append(_status(each, home))
        except DatasetError as error:
            found.append(DatasetStatus(each, each, "", 0, 0, (), "", "", "", "", "", "", 0, 0, (), str(error)))
    return found


def _status(name: str, home: Path) -> DatasetStatus:
    spec = load_spec(name, home)
    if spec.lists and not (home / "splits" / name / "samples.csv").is_file():
        table = SplitTable(name, spec.splits[0], spec.unit, listed_classes(spec, home), ())
    else:
        table = load_split(name, spec.splits[0], home)
    media = table.media()
    folder = paths.media_folder(home, name)
    caches = home / name / "cache"
    return DatasetStatus(
        name=name,
        title=spec.title,
        modality=spec.modality,
        classes=len(table.classes),
        samples=len(table.samples),
        splits=spec.splits,
        group=spec.group,
        size=spec.size,
        license=spec.license,
        homepage=spec.homepage,
        citation=spec.citation,
        registration=spec.registration,
        media_here=sum((folder / path).exists() for path in media) if folder.is_dir() else 0,
        media_total=len(media),
        caches=tuple(sorted(path.name for path in caches.iterdir())) if caches.is_dir() else (),
    )


def splits(name: str, split: str = "all", *, home: Path) -> list[SplitCheck]:
    """The official partition of a data set, each split held against the publisher's counts.

    A split with `problems` did not hold; the command line then exits with 4.
    """
    spec = load_spec(name, home)
    return [check_split(load_split(name, each, home), spec) for each in expand_splits(spec, split, home)]
