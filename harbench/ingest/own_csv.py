"""Tables of a user's own: `sample_id,label,group,split...`, `video_name,label`, Kaggle's `clip_name,clip_path,label`.

`samples.csv` holds all samples and any number of split columns; `train.csv`, `val.csv`, `test.csv` are a split by being
three files. Every bad row is told at once, with its line.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from harbench.datasets.parse import KEY, check_path, without_suffix
from harbench.errors import DatasetError
from harbench.ingest.own import (
    GIVEN,
    POSES,
    SUBSETS,
    OwnData,
    OwnSample,
    classes_file,
    from_folders,
    media_files,
    modality_of,
    npz_shape,
    pose_shape,
    some,
)
from harbench.ingest.own_jhmdb import from_jhmdb, is_jhmdb
from harbench.records import Subset

_ID = ("media", "sample_id", "clip_path", "video_name", "file_name", "clip_name")
_LABEL = ("label", "class", "tag")
_OTHER = ("group",)
_RESERVED = {*_ID, *_LABEL, *_OTHER, "start", "end", "num_frames"}
Rows = list[tuple[str, dict[str, str]]]
"""(`file, line n`, cells)."""
Names = dict[str, list[str]]


def read_own(folder: Path) -> OwnData:
    """The data set in `folder`, by its tables where it has any, else by its folders.

    Raises DatasetError with every problem of the tables, or what was expected when there is nothing to read.
    """
    if not folder.is_dir():
        raise DatasetError(
            f"{folder}: expected a folder with your data, found {'a file' if folder.exists() else 'nothing'}"
        )
    parts = [path for path in sorted(folder.glob("*.csv")) if path.stem.lower() in SUBSETS]
    others = [path for path in sorted(folder.glob("*.csv")) if path not in parts]
    if (folder / "samples.csv").is_file():
        return _from_tables(folder, [folder / "samples.csv"])
    if parts or len(others) == 1:
        return _from_tables(folder, parts or others)
    if others:
        raise DatasetError(
            f"{folder}: which of these tables is it? {', '.join(path.name for path in others)}. Name it samples.csv."
        )
    return from_jhmdb(folder) if is_jhmdb(folder) else from_folders(folder)


def _from_tables(folder: Path, tables: Sequence[Path]) -> OwnData:
    problems: list[str] = []
    notes: list[str] = []
    poses = folder / POSES if (folder / POSES).is_file() else None
    files, shape = npz_shape(poses) if poses else (media_files(folder), (0, 0))
    names = _by_name(files)
    samples: list[OwnSample] = []
    where: dict[str, str] = {}
    splits: list[str] = []
    for path in tables:
        rows = read_table(path)
        columns = _split_columns(rows, notes, path) if path.stem.lower() not in SUBSETS else []
        part = {GIVEN: SUBSETS[path.stem.lower()]} if path.stem.lower() in SUBSETS else {}
        splits += [split for split in (*part, *columns) if split not in splits]
        for line, cells in rows:
            try:
                sample = _sample(cells, columns, part, names)
                if sample.media in where:
                    raise ValueError(f"{sample.media} stands in {where[sample.media]} already")
                where[sample.media] = line
                samples.append(sample)
            except ValueError as problem:
                problems.append(f"{line}: {problem}")
    if problems or not samples:
        raise DatasetError("\n".join([f"{folder}: {len(problems)} rows cannot be taken:", *some(problems)]))
    unlisted = [name for name in files if name not in where]
    if unlisted:
        notes.append(f"{len(unlisted)} files are in no table and are left out: {', '.join(unlisted[:3])}")
    chosen = {name: files[name] for name in where}
    modality = modality_of(where, folder)
    if modality == "pose" and not poses:
        shape = pose_shape(chosen)
    return OwnData(
        tuple(samples), tuple(splits), modality, {} if poses else chosen, classes_file(folder), poses, shape, tuple(notes)
    )  # fmt: skip


def read_table(path: Path) -> Rows:
    """The rows of a CSV with where they stand. Raises DatasetError for what is no UTF-8, comma-separated table."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: expected UTF-8, found {error}. Save it as UTF-8.") from None
    header = text.partition("\n")[0]
    if "," not in header and (";" in header or "\t" in header):
        found = "semicolons" if ";" in header else "tabs"
        raise DatasetError(
            f"{path}, line 1: expected commas between the cells, found {found}. Save it comma separated."
        )
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: Rows = []
    problems: list[str] = []
    try:
        names = [name.strip() for name in next(reader, [])]
        if not set(names) & set(_ID) or not set(names) & set(_LABEL) or len(set(names)) < len(names):
            raise DatasetError(
                f"{path}, line 1: expected a column of {', '.join(_ID)} and one of {', '.join(_LABEL)}, each column once; "
                f"found {','.join(names)!r}"
            )
        for cells in reader:
            if cells and len(cells) != len(names):
                problems.append(f"{path.name}, line {reader.line_num}: expected {len(names)} cells, found {len(cells)}")
            elif cells:
                rows.append(
                    (f"{path.name}, line {reader.line_num}", dict(zip(names, map(str.strip, cells), strict=True)))
                )
    except csv.Error as error:
        problems.append(f"{path.name}, line {reader.line_num}: not a CSV line: {error}")
    if problems:
        raise DatasetError("\n".join([f"{path} is damaged:", *some(problems)]))
    return rows


def _split_columns(rows: Rows, notes: list[str], path: Path) -> list[str]:
    """Columns with a train, val or test in them are splits; others that mean nothing here are told."""
    names = [name for name in (rows[0][1] if rows else {}) if name not in _RESERVED]
    splits = [name for name in names if any(cells[name].lower() in SUBSETS for _, cells in rows)]
    if unused := [name for name in names if name not in splits]:
        notes.append(f"{path.name}: columns that are not used: {', '.join(unused)}")
    if bad := [name for name in splits if not KEY.fullmatch(name)]:
        raise DatasetError(f"{path}, line 1: a split is named with {KEY.pattern}; found {', '.join(map(repr, bad))}")
    return splits


def _sample(cells: Mapping[str, str], columns: Sequence[str], part: Mapping[str, Subset], names: Names) -> OwnSample:
    """One row; ValueError says what is wrong with it."""
    column = next(name for name in _ID if name in cells)
    label = cells[next(name for name in _LABEL if name in cells)]
    written = cells[column].removeprefix("/") if column == "clip_path" else cells[column]  # Kaggle's leading slash
    check_path(column, written)
    if not label:
        raise ValueError("label: expected a class, found nothing")
    if cells.get("start") or cells.get("end"):
        raise ValueError(
            "start, end: frame ranges are not taken from a folder; write samples.csv as splits/README.md says"
        )
    bad = {name: cells[name] for name in columns if cells[name] and cells[name].lower() not in SUBSETS}
    if bad:
        raise ValueError("; ".join(f"{k}: expected train, val, test or nothing, found {v!r}" for k, v in bad.items()))
    subsets = {name: SUBSETS[cells[name].lower()] for name in columns if cells[name]}
    media = _find(written, label, next(iter(part.values()), ""), names)
    return OwnSample(media, label, cells.get("group", ""), {**part, **subsets})


def _by_name(files: Mapping[str, Path]) -> Names:
    """Basename, with and without its suffix -> the files that have it."""
    found: Names = defaultdict(list)
    for name in files:
        last = name.rpartition("/")[2]
        for key in {last, without_suffix(last)}:
            found[key].append(name)
    return found


def _find(written: str, label: str, subset: str, names: Names) -> str:
    """The file that a row means: its path, or the end of it, with or without suffix; ValueError for none or several."""
    ends = [
        name
        for name in names.get(written.rpartition("/")[2], ())
        if any(f"/{each}".endswith(f"/{written}") for each in (name, without_suffix(name)))
    ]
    whole = [name for name in ends if written in (name, without_suffix(name))]
    ends = [name for name in whole if name == written] or whole or ends
    for wanted in (label, subset):  # a basename may stand in several folders: the row's own class and subset decide
        ends = [name for name in ends if wanted in name.split("/")[:-1]] or ends
    if len(ends) != 1:
        raise ValueError(f"{written}: " + (f"could be {', '.join(ends[:3])}" if ends else "there is no such file"))
    return ends[0]
