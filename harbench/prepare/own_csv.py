"""Tables of a user's own: `path,label,split...`, `video_name,label`, lists of `path label`, with a header or without.

`samples.csv` holds all samples and any number of split columns; `train.csv`, `val.csv`, `test.csv` are a split by being
three files. Every bad row is told at once, with its line.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harbench.datasets.parse import KEY, LABEL_COLUMNS, PATH_COLUMNS, SUBSETS, check_path, subset_of, without_suffix
from harbench.errors import DatasetError
from harbench.files import read_csv
from harbench.prepare.own import (
    GIVEN,
    POSES,
    Kind,
    Layout,
    OwnData,
    OwnSample,
    classes_file,
    modality_of,
    some,
)
from harbench.prepare.own_folders import Found, from_folders, of_kind, walk, wrappers
from harbench.prepare.own_jhmdb import from_jhmdb, is_jhmdb
from harbench.prepare.pose_axes import PoseAxes, array_shapes, npz_shapes, read_axes
from harbench.records import Subset

_TABLES = (".csv", ".tsv", ".txt")
_RESERVED = {*PATH_COLUMNS, *LABEL_COLUMNS, "group", "start", "end", "num_frames"}
_HEADLESS = {1: ("path",), 2: ("path", "label")}
_TRIED = 50
"""Rows that are looked up to tell which column, or which part of its paths, means the files."""
Rows = list[tuple[str, dict[str, str]]]
"""(`file, line n`, cells)."""


def read_own(folder: Path, layout: Layout = "", modality: Kind = "", pose_axes: str = "") -> OwnData:
    """The data set in `folder`, by its tables where it has any, else by its folders.

    A folder that holds nothing but another is stepped through. Raises DatasetError with every problem of the tables, or
    what was expected when there is nothing to read.
    """
    if not folder.is_dir():
        raise DatasetError(
            f"{folder}: expected a folder with your data, or an archive of it (.zip, .tar, .rar); found "
            f"{'another file' if folder.exists() else 'nothing'}"
        )
    found = walk(folder)
    prefixes = [*wrappers(found.files)]
    for prefix in prefixes:
        if tables := () if layout else _tables(folder / prefix):
            return _from_tables(folder / prefix, tables, found.inside(prefix), modality, pose_axes)
        if is_jhmdb(folder / prefix):
            return from_jhmdb(folder / prefix)
    if len(prefixes) > 1 and any("/" not in name[len(prefix) :] for name in found.files):
        prefix = prefixes[-2]  # the innermost folder, with nothing but media in it, is a class
    inner = folder / prefix
    return from_folders(inner, found.inside(prefix), layout, modality, pose_axes, classes_file(inner))


def _tables(folder: Path) -> list[Path]:
    """`samples.csv`; or a table for each subset; or the only one there is."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _TABLES and path.name[0] != ".")
    whole = [path for path in files if path.name == "samples.csv"]
    parts = [path for path in files if subset_of(path.stem)]
    others = [path for path in files if path not in parts and path.suffix.lower() != ".txt"]
    chosen = whole or parts or others
    of = [subset_of(path.stem) or path.stem for path in chosen]
    if len(set(of)) < len(of) or (not parts and len(chosen) > 1):
        raise DatasetError(
            f"{folder}: which of these tables is it? {', '.join(path.name for path in chosen)}. Name it samples.csv, with "
            "a column of train, val and test for each split."
        )
    return chosen


def _from_tables(folder: Path, tables: Sequence[Path], found: Found, modality: Kind, pose_axes: str) -> OwnData:
    found, frames = of_kind(found, modality)
    poses = folder / POSES if (folder / POSES).is_file() else None
    shapes = npz_shapes(poses) if poses else {}
    files = dict.fromkeys(shapes, poses) if poses else found.files
    samples, splits, notes = _listed(folder, tables, _Index.of(folder, files))
    if not samples:
        raise DatasetError(f"{folder}: no rows in {', '.join(path.name for path in tables)}")
    if unlisted := [name for name in files if name not in samples]:
        notes.append(f"{len(unlisted)} files are in no table and are left out: {', '.join(unlisted[:3])}")
    chosen = {name: files[name] for name in samples}
    kind = modality_of(samples, folder)
    if kind == "pose":
        shapes = {media: shapes[media] for media in samples} if poses else array_shapes(chosen)
    axes = read_axes(shapes, pose_axes) if kind == "pose" else PoseAxes()
    taken = (*(path.name for path in tables), "classes.txt", *((POSES,) if poses else ()))
    notes = [
        f"layout: {', '.join(path.name for path in tables)}, in {folder}",
        *([axes.note] if axes.note else ()),
        *found.notes,
        *notes,
        *found.left_out(taken),
    ]
    return OwnData(
        tuple(samples.values()), tuple(splits), kind, {} if poses else chosen, classes_file(folder), poses, axes,
        tuple(notes), {media: frames[media] for media in samples if media in frames},
    )  # fmt: skip


def _listed(folder: Path, tables: Sequence[Path], index: _Index) -> tuple[dict[str, OwnSample], list[str], list[str]]:
    """Media -> sample, the splits, and notes. Raises DatasetError with every bad row."""
    samples: dict[str, OwnSample] = {}
    where: dict[str, str] = {}
    problems: list[str] = []
    splits: list[str] = []
    notes: list[str] = []
    unlabeled = []
    for path in tables:
        subset = subset_of(path.stem) if path.name != "samples.csv" else None
        table = read_table(path)
        if not table:
            continue
        columns = _columns(path, table, subset, index, notes)
        unlabeled += [] if columns.label else [path.name]
        splits += [split for split in ([GIVEN] if subset else columns.splits) if split not in splits]
        if base := index.base([cells[columns.path] for _, cells in table]):
            notes.append(f"{path.name}: its paths begin with {base}, taken as {folder}")
        for line, cells in table:
            try:
                sample = _sample(cells, columns, index, base)
                if sample.media in where:
                    raise ValueError(f"{sample.media} stands in {where[sample.media]} already")
                samples[sample.media], where[sample.media] = sample, line
            except ValueError as problem:
                names = "; if these are column names, write path,label" if line.endswith(", line 1") else ""
                problems.append(f"{line}: {problem}{names}")
    if unlabeled and len(unlabeled) < len(tables):
        raise DatasetError(f"{folder}: no labels in {', '.join(unlabeled)}, but in the other tables; give them to all.")
    if problems:
        example = next((f"There is, for example, {names[0]}." for names in index.names.values()), "There are no media.")
        raise DatasetError("\n".join([f"{folder}: {len(problems)} rows cannot be taken. {example}", *some(problems)]))
    notes += [f"no labels in {', '.join(unlabeled)}: the class is the folder that a file lies in"] if unlabeled else []
    return samples, splits, notes


def read_table(path: Path) -> Rows:
    """The rows of a table with where they stand. Raises DatasetError for what is none."""
    table = read_csv(path, (*PATH_COLUMNS, *LABEL_COLUMNS), _HEADLESS)
    columns = list(table.columns)
    rows = zip(table.index, table.to_numpy().tolist(), strict=True)
    return [(f"{path.name}, line {line}", dict(zip(columns, cells, strict=True))) for line, cells in rows]


@dataclass(frozen=True)
class _Index:
    """The files that a table may mean."""

    roots: tuple[str, ...]
    """The folder, as an absolute path begins with it."""
    names: Mapping[str, list[str]]
    """Path from any folder on, with and without suffix -> the files that end in it."""

    @staticmethod
    def of(folder: Path, files: Iterable[str]) -> _Index:
        names: dict[str, list[str]] = defaultdict(list)
        for name in files:
            for tail in {name, without_suffix(name)}:
                while tail:
                    names[tail].append(name)
                    tail = tail.partition("/")[2]
        return _Index(tuple(dict.fromkeys(f"{path}/" for path in (folder.absolute(), folder.resolve()))), names)

    def path(self, written: str) -> str:
        """A path as a table has it, from the folder on: `./a/b`, `a\\b`, `C:\\data\\b`, `/data/mine/a/b`."""
        path = posixpath.normpath(written.replace("\\", "/")) if written else ""
        for root in self.roots:
            path = path.removeprefix(root)
        return re.sub("^[A-Za-z]:", "", path).lstrip("/")

    def base(self, written: Sequence[str]) -> str:
        """Leading folders that all paths of a table have and the files have not: `MyData/` where the files are below it."""
        paths = [self.path(each) for each in written]
        common = posixpath.commonprefix([min(paths), max(paths)]).rpartition("/")[0]
        tails = ["", *(f"{common}/"[: found.end()] for found in re.finditer("/", f"{common}/"))]
        tried = paths[:: 1 + len(paths) // _TRIED]
        return next((tail for tail in tails if any(path.removeprefix(tail) in self.names for path in tried)), "")

    def find(self, path: str, label: str, subset: Subset | None) -> str:
        """The file that a row means: its path, or the end of it, with or without suffix; ValueError for none or several."""
        ends = self.names.get(path, [])
        ends = [name for name in ends if name == path] or [n for n in ends if without_suffix(n) == path] or ends
        if len(ends) > 1:  # a name may stand in several folders: the row's own class and subset decide
            ends = [name for name in ends if label in name.split("/")[:-1]] or ends
            ends = [name for name in ends if subset in map(subset_of, name.split("/")[:-1])] or ends
        if len(ends) != 1:
            raise ValueError(f"{path}: " + (f"could be {', '.join(ends[:3])}" if ends else "there is no such file"))
        return ends[0]


@dataclass(frozen=True)
class _Columns:
    """What the columns of a table mean."""

    path: str
    label: str
    """Empty: none, the folder of a file is its class."""
    splits: tuple[str, ...]
    subset: Subset | None
    """Of all rows, where a table holds one subset."""


def _columns(path: Path, rows: Rows, subset: Subset | None, index: _Index, notes: list[str]) -> _Columns:
    """Columns with a train, val or test in them are splits; others that mean nothing here are told."""
    names = list(rows[0][1])
    paths = [name for name in PATH_COLUMNS if name in names]
    labels = [name for name in LABEL_COLUMNS if name in names]
    if not paths or (not labels and len(names) > 1):
        raise DatasetError(
            f"{path}, line 1: expected a column with the file ({', '.join(PATH_COLUMNS[:8])}, ...) and one with its class "
            f"({', '.join(LABEL_COLUMNS[:4])}, ...); found {', '.join(names)}. Name them so, e.g. path,label,split; or go by "
            "the folders alone: --layout class or --layout subset/class."
        )
    hits = {name: sum(index.path(cells[name]) in index.names for _, cells in rows[:_TRIED]) for name in paths}
    splits = [
        name
        for name in names
        if name not in _RESERVED and not subset and any(cells[name].lower() in SUBSETS for _, cells in rows)
    ]
    if unused := [name for name in names if name not in {*splits, *labels[:1], *PATH_COLUMNS, "group", "start", "end"}]:
        notes.append(f"{path.name}: columns that are not used: {', '.join(unused)}")
    if bad := [name for name in splits if not KEY.fullmatch(name)]:
        raise DatasetError(f"{path}, line 1: a split is named with {KEY.pattern}; found {', '.join(map(repr, bad))}")
    return _Columns(max(paths, key=lambda name: hits[name]), "".join(labels[:1]), tuple(splits), subset)


def _sample(cells: Mapping[str, str], columns: _Columns, index: _Index, base: str) -> OwnSample:
    """One row; ValueError says what is wrong with it."""
    path = index.path(cells[columns.path]).removeprefix(base)
    check_path(columns.path, path)
    label = cells[columns.label] if columns.label else ""
    media = index.find(path, label, columns.subset)
    label = label if columns.label else media.rpartition("/")[0].rpartition("/")[2]
    if not label:
        raise ValueError("label: expected a class, found nothing")
    if cells.get("start") or cells.get("end"):
        raise ValueError(
            "start, end: frame ranges are not taken from a folder; write samples.csv as splits/README.md says"
        )
    said = {name: cells[name].lower() for name in columns.splits if cells[name]}
    if bad := {name: cells[name] for name, word in said.items() if word not in SUBSETS}:
        raise ValueError("; ".join(f"{k}: expected train, val, test or nothing, found {v!r}" for k, v in bad.items()))
    subsets = {name: SUBSETS[word] for name, word in said.items()}
    return OwnSample(media, label, cells.get("group", ""), {GIVEN: columns.subset} if columns.subset else subsets)
