"""A user's own folder under a name: what `prepare DIR --name NAME` does before it goes on as for any data set."""

from __future__ import annotations

from pathlib import Path

from harbench import places
from harbench.datasets.tables import dataset_names
from harbench.errors import DatasetError
from harbench.ingest.match import link_media
from harbench.ingest.own import OwnOptions, write_own
from harbench.ingest.own_csv import read_own

__all__ = ["OwnOptions", "adopt", "refuse_nameless"]


def adopt(folder: Path, own: OwnOptions, home: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Make `folder` the data set `own.name` of this data home: its tables written, its media linked.

    Returns archives that hold its media (a `poses.npz`) and what the user should know. Raises DatasetError with every
    problem of the folder's tables.
    """
    data = read_own(folder)
    notes = write_own(data, own, home)
    link_media(data.files, places.media_folder(home, own.name))
    return (data.poses,) if data.poses else (), notes


def refuse_nameless(name: str, home: Path) -> None:
    """Raise DatasetError where `name` is a folder and no data set."""
    if Path(name).is_dir() and name not in dataset_names(home):
        raise DatasetError(f"{name} is a folder. Give your data set a name:  harbench prepare {name} --name mine")
