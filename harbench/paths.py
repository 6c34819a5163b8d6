"""Where things lie: the tables and recipes that travel with harbench, and the user's data home.

Lookup goes to what harbench ships first and to the data home second, so that an installed wheel can be extended
outside the checkout with the very same files.
"""

from __future__ import annotations

from pathlib import Path

CALIBRATION = "calibration.json"
"""In a run's folder: the temperature that `evaluate --calibrate` fitted on val."""
_PACKAGE = Path(__file__).resolve().parent


def shipped(kind: str) -> Path:
    """The folder `splits` or `recipes` that travels with this installation (the checkout's own, or the wheel's copy)."""
    in_wheel = _PACKAGE / "_data" / kind
    return in_wheel if in_wheel.is_dir() else _PACKAGE.parent / kind


def splits_folders(dataset: str, home: Path | None) -> list[Path]:
    """Existing folders with tables of `dataset`: shipped first, then `<home>/splits/<dataset>`."""
    candidates = [shipped("splits") / dataset]
    if home is not None:
        candidates.append(home / "splits" / dataset)
    return [folder for folder in candidates if folder.is_dir()]


def media_folder(home: Path, dataset: str) -> Path:
    """`<home>/<dataset>/media`: the official layout, each entry a file or a link to the user's own copy."""
    return home / dataset / "media"


def archives_folder(home: Path, dataset: str) -> Path:
    """`<home>/<dataset>/archives`: archives as published."""
    return home / dataset / "archives"


def poses_folder(home: Path, dataset: str) -> Path:
    """`<home>/<dataset>/poses`: what MediaPipe found in media that carry no joints."""
    return home / dataset / "poses"


def models_folder(home: Path) -> Path:
    """`<home>/models`: models of other makers that harbench runs, such as MediaPipe's."""
    return home / "models"


def cache_folder(home: Path, dataset: str, cache_name: str) -> Path:
    """`<home>/<dataset>/cache/<stream>-<encoding>-<short side>`."""
    return home / dataset / "cache" / cache_name
