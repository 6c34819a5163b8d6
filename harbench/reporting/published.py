"""Other people's numbers: `splits/<dataset>/published.csv`, checked line by line.

The shipped file comes first; rows of `<home>/splits/<dataset>/published.csv`, a user's own collection, are added to it.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from harbench.errors import PublishedError
from harbench.paths import splits_folders
from harbench.records import UNKNOWN, Comparability, ProtocolFacts, PublishedResult
from harbench.runs.comparability import METRICS

_KEY = ("label_set", "split_set", "unit", "metric", "level", "given", "kind")
_PROTOCOL = ("modality", "pretraining", "frames", "time_base", "size", "views", "averaging", "selection")
COLUMNS = (
    *("method", "family", "backbone", "params_m", "gflops"),
    *_KEY,
    *_PROTOCOL,
    *("value", "year", "source_title", "source_id", "where_seen", "notes"),
)
"""Columns of a published.csv, in this order. The data set is the folder."""

UPPER_BOUND = "upper bound"
"""The family of a row that is no method: what nothing can beat on this data set, such as an oracle."""
_ADDRESS = re.compile(r"doi:(10\.[^\s)]+)|arXiv:([\w.-]+/?\d+(?:v\d+)?)|(https?://[^\s)]+)")
_ALLOWED: dict[str, tuple[str, ...]] = {
    "unit": ("video", "sequence", "image", UNKNOWN),
    "metric": (*METRICS, UNKNOWN),
    "level": ("video", "clip", UNKNOWN),
    "given": ("none", "boxes", "poses", "class names", UNKNOWN),
    "averaging": ("prob", "logit", UNKNOWN),
    "selection": ("last", "val", "test", UNKNOWN),
}
_NEEDED = ("method", "family", "source_id", *_KEY, *_PROTOCOL)
_YEARS = range(1980, 2100)


def load_published(dataset: str, home: Path | None = None) -> list[PublishedResult]:
    """The published numbers of a data set: shipped rows, then the user's; empty where neither has a table.

    Raises PublishedError that names file, line and column of the first bad row.
    """
    results: list[PublishedResult] = []
    seen: dict[tuple[str, ...], str] = {}
    for folder in splits_folders(dataset, home):
        path = folder / "published.csv"
        if path.is_file():
            results += _read(path, dataset, seen)
    return results


def address(source_id: str) -> str:
    """Address of a source that names one (a DOI, an arXiv number, a web page); else empty."""
    found = _ADDRESS.search(source_id)
    if found is None:
        return ""
    doi, arxiv, page = found.groups()
    return f"https://doi.org/{doi}" if doi else f"https://arxiv.org/abs/{arxiv}" if arxiv else str(page)


def _read(path: Path, dataset: str, seen: dict[tuple[str, ...], str]) -> list[PublishedResult]:
    results: list[PublishedResult] = []
    previous: tuple[str, ...] = ()
    try:
        with open(path, encoding="utf-8", newline="") as handle:
            reader = csv.reader(handle, strict=True)
            header = tuple(next(reader, ()))
            if header != COLUMNS:
                raise PublishedError(f"{path}:1: expected the columns {','.join(COLUMNS)}\nfound {','.join(header)}")
            for cells in reader:
                where = f"{path}:{reader.line_num}"
                if len(cells) != len(COLUMNS):
                    raise PublishedError(f"{where}: expected {len(COLUMNS)} fields, found {len(cells)}")
                line = tuple(cells)
                if line in seen:
                    raise PublishedError(f"{where}: the same row stands at {seen[line]}; remove one of them")
                if line < previous:
                    raise PublishedError(
                        f"{where}: rows are sorted, and {line[0]!r} belongs before {previous[0]!r} on the line above; "
                        "move the row up (plain character order, upper case first)"
                    )
                seen[line] = where
                previous = line
                results.append(_result(dict(zip(COLUMNS, cells, strict=True)), dataset, where))
    except (UnicodeDecodeError, csv.Error) as error:
        raise PublishedError(f"{path} is not a UTF-8 csv file: {error}") from None
    return results


def _result(row: dict[str, str], dataset: str, where: str) -> PublishedResult:
    for column in _NEEDED:
        if not row[column].strip():
            hint = "where the number can be found" if column == "source_id" else f"or {UNKNOWN}"
            raise PublishedError(f"{where}: {column} is empty; write {hint}")
    for column, allowed in _ALLOWED.items():
        if row[column] not in allowed:
            raise PublishedError(f"{where}: {column} is {row[column]!r}; expected one of {', '.join(allowed)}")
    if not re.fullmatch(r"supervised|frozen-probe|zero-shot|\d+-shot|(\d+-shot )?base-to-novel|unknown", row["kind"]):
        raise PublishedError(
            f"{where}: kind is {row['kind']!r}; expected supervised, frozen-probe, zero-shot, 4-shot, base-to-novel "
            f"or {UNKNOWN}"
        )
    value = _number(row, "value", where)
    if value is None or not 0 <= value <= 100:
        raise PublishedError(f"{where}: value is {row['value']!r}; expected percent, 0 to 100")
    params = _number(row, "params_m", where)
    if params is not None and not params > 0:
        raise PublishedError(f"{where}: params_m is {row['params_m']!r}; expected millions of parameters or nothing")
    gflops = _number(row, "gflops", where)
    if gflops is not None and not gflops > 0:
        raise PublishedError(
            f"{where}: gflops is {row['gflops']!r}; expected 10^9 multiply-adds of one view or nothing"
        )
    year = _number(row, "year", where)
    if year is not None and (year != int(year) or int(year) not in _YEARS):
        raise PublishedError(f"{where}: year is {row['year']!r}; expected a year or nothing")
    return PublishedResult(
        method=row["method"],
        family=row["family"],
        backbone=row["backbone"],
        params_m=params,
        gflops=gflops,
        key=Comparability(dataset=dataset, complete="yes", **{part: row[part] for part in _KEY}),
        protocol=ProtocolFacts(**{part: row[part] for part in _PROTOCOL}),
        value=value,
        year=None if year is None else int(year),
        source_title=row["source_title"],
        source_id=row["source_id"],
        where_seen=row["where_seen"],
        notes=row["notes"],
    )


def _number(row: dict[str, str], column: str, where: str) -> float | None:
    if not row[column]:
        return None
    try:
        return float(row[column])
    except ValueError:
        raise PublishedError(f"{where}: {column} is {row[column]!r}; expected a number") from None
