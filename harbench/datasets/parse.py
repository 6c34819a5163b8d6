"""Reads `samples.csv` and `classes.txt`. They may be a user's own: every cell is checked, errors name file and line."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, cast

from harbench.errors import DatasetError
from harbench.records import ClassLabel, Subset

KEY = re.compile(r"[A-Za-z0-9_+-]+")
"""What may be a class key, a split or the group of a `lopo-` split: all of them become names of files and folders."""

SUBSETS: Mapping[str, Subset] = {
    "train": "train", "training": "train", "trn": "train", "val": "val", "valid": "val", "validation": "val",
    "dev": "val", "eval": "val", "evaluation": "val", "test": "test", "testing": "test", "tst": "test",
}  # fmt: skip
"""What people call a subset, in lower case."""
PATH_COLUMNS = (
    "media", "path", "file_path", "filepath", "clip_path", "video_path", "img_path", "image_path", "file", "filename",
    "file_name", "video", "image", "clip", "video_name", "clip_name", "sample_id", "video_id", "frame_dir",
    "frame_directory", "name", "id", "ids",
)  # fmt: skip
"""Columns that name a sample or its file, in lower case; where a table has several, the first of these."""
LABEL_COLUMNS = (
    "label", "class", "class_name", "label_name", "category", "action", "activity", "tag", "target",
)  # fmt: skip
"""Columns that hold the class, in the same way."""

_SUBSET_NAME = re.compile(
    rf"(?:split\d+|\d+)?[\s_.-]*({'|'.join(SUBSETS)})"
    r"[\s_.-]*(?:set|data|dataset|split|list|videos?|clips?|images?|frames?|files?)?[\s_.-]*\d*"
)
_PART = r"(?!\.\.?(?:/|\Z))[^/\\\x00-\x1f\x7f]+"
_LONGEST = 240
"""Bytes of a name: file systems take 255, and a temporary name is longer by its suffix."""
_SAFE_PATH = re.compile(rf"{_PART}(?:/{_PART})*")
_Subsets = Mapping[str, Subset | Literal[""]]
_FRAME = re.compile(r"[0-9]{1,9}")
_NUMBERED = re.compile(r"([0-9]{1,6})[\s,;:]+(\S.*)")
_COLUMNS = ("media", "class", "group", "start", "end", "sample_id")
_SUBSETS = ("train", "val", "test", "")


class Row(NamedTuple):
    """One line of samples.csv: a sample, and its subset in each split (`subsets[split]`, empty where it is unused)."""

    sample_id: str
    label: str
    group: str
    media: str
    start: int | None
    end: int | None
    subsets: _Subsets


def read_classes(path: Path) -> tuple[ClassLabel, ...]:
    """The classes of `classes.txt`, in order: a line is `key<TAB>display name`.

    Raises DatasetError for a bad or repeated key, or a file that cannot be read.
    """
    classes: dict[str, ClassLabel] = {}
    for line, text in enumerate(read_text(path).rstrip("\n").split("\n"), start=1):
        key, _, display = text.partition("\t")
        if not KEY.fullmatch(key):
            expected = f"`key<TAB>display name` with a key of {KEY.pattern}"
            raise DatasetError(f"{path}, line {line}: expected {expected}, found {text!r}")
        if key in classes:
            raise DatasetError(f"{path}, line {line}: class {key!r} stands there twice")
        classes[key] = ClassLabel(key, display.strip() or key.replace("_", " "))
    return tuple(classes.values())


def read_words(path: Path) -> dict[str, tuple[str, ...]]:
    """The lines `key<TAB>words` of `prompts.txt`, class key -> all that stand for it. Raises DatasetError for another line."""
    words: dict[str, tuple[str, ...]] = {}
    for line, text in enumerate(read_text(path).splitlines(), start=1):
        key, _, said = text.partition("\t")
        if not KEY.fullmatch(key) or not said.strip():
            raise DatasetError(f"{path}, line {line}: expected `key<TAB>the class in words`, found {text!r}")
        words[key] = (*words.get(key, ()), said.strip())
    return words


def read_class_list(path: Path) -> tuple[int | None, tuple[str, ...]]:
    """Class names as other tools list them, one a line in order, and the number of the first where lines are numbered.

    `walk` (mmaction2's label_map.txt), `1 ApplyEyeMakeup` (UCF-101's classInd.txt; sorted by the numbers), or
    `walk<TAB>display name` (harbench's classes.txt). Raises DatasetError for a file that cannot be read or numbers that
    do not count from 0 or 1.
    """
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not lines:
        raise DatasetError(f"{path}: expected class names, one a line; found an empty file")
    numbered = [match for line in lines if (match := _NUMBERED.fullmatch(line))]
    if len(numbered) < len(lines):
        return None, tuple(line.partition("\t")[0].strip() for line in lines)
    names = {int(match[1]): match[2].partition("\t")[0].strip() for match in numbered}
    first = min(names)
    if first > 1 or sorted(names) != list(range(first, first + len(lines))):
        raise DatasetError(f"{path}: expected the numbers before the class names to count from 0 or 1, each once")
    return first, tuple(names[number] for number in sorted(names))


def subset_of(name: str) -> Subset | None:
    """The subset that a folder or list of this name holds: `Training`, `01_test`, `val-data`, `split1_train`."""
    found = _SUBSET_NAME.fullmatch(name.casefold())
    return SUBSETS[found[1]] if found else None


def label_order(labels: Iterable[str]) -> list[str]:
    """The distinct labels in order: as numbers where all are whole numbers (0, 1, 2, 10), else as text."""
    found = sorted(set(labels))
    return sorted(found, key=int) if all(re.fullmatch(r"-?[0-9]{1,18}", label) for label in found) else found


def read_samples(path: Path, splits: Sequence[str], classes: Collection[str] | None) -> list[Row]:
    """The rows of `samples.csv`, in order.

    `splits` are the columns that must be there, `classes` the class keys that may be (None: any legal key). A
    `sample_id` defaults to the media without its suffix. Raises DatasetError with file and line for the first fault.
    """
    rows: list[Row] = []
    first_line: dict[str, int] = {}
    lines = _read_csv(path)
    header = next(lines, (1, []))[1]
    try:
        _check_header(header, splits)
    except ValueError as problem:
        raise DatasetError(f"{path}, line 1: {problem}") from None
    for line, cells in lines:
        try:
            if len(cells) != len(header):
                raise ValueError(f"expected {len(header)} cells, found {len(cells)}")
            row = _row(dict(zip(header, cells, strict=True)), splits, classes)
            if row.sample_id in first_line:
                raise ValueError(
                    f"sample_id {row.sample_id!r} stands in line {first_line[row.sample_id]} already; "
                    "add a sample_id column that tells them apart"
                )
        except ValueError as problem:
            raise DatasetError(f"{path}, line {line}: {problem}") from None
        first_line[row.sample_id] = line
        rows.append(row)
    return rows


def read_text(path: Path) -> str:
    """A text file. Raises DatasetError where it cannot be read as UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: expected a readable UTF-8 text file, found: {error}") from None


def _read_csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of every line that is not blank."""
    reader = csv.reader(io.StringIO(read_text(path)), strict=True)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise DatasetError(f"{path}, line {reader.line_num}: not a CSV line: {error}") from None


def _check_header(header: Sequence[str], splits: Sequence[str]) -> None:
    expected = f"expected the columns media,class[,group][,start,end][,sample_id],{','.join(splits) or '(no split)'}"
    for column in header:
        if header.count(column) > 1:
            raise ValueError(f"{expected}; found {column!r} twice")
        if column not in _COLUMNS and column not in splits:
            raise ValueError(f"{expected}; found {column!r}, which is not in SPEC.splits either")
    missing = [column for column in ("media", "class", *splits) if column not in header]
    if ("start" in header) != ("end" in header):
        missing += [column for column in ("start", "end") if column not in header]
    if missing:
        raise ValueError(f"{expected}; missing: {', '.join(missing)}")


def _row(cells: Mapping[str, str], splits: Sequence[str], classes: Collection[str] | None) -> Row:
    """One checked row; ValueError says what is wrong with it."""
    media, label, group = cells["media"], cells["class"], cells.get("group", "")
    check_path("media", media)
    if group:
        check_path("group", group)
    if sample_id := cells.get("sample_id", ""):
        check_path("sample_id", sample_id)
    if classes is not None and label not in classes:
        raise ValueError(f"class: {label!r} is not a key of classes.txt")
    if classes is None and not KEY.fullmatch(label):
        raise ValueError(f"class: expected a key of {KEY.pattern}, found {label!r}")
    for split in splits:
        if cells[split] not in _SUBSETS:
            raise ValueError(f"{split}: expected train, val, test or nothing, found {cells[split]!r}")
    start, end = _frames(cells.get("start", ""), cells.get("end", ""))
    return Row(sample_id or without_suffix(media), label, group, media, start, end, cast(_Subsets, cells))


def check_path(column: str, path: str) -> None:
    """Raise ValueError unless `path` is a relative POSIX path that cannot leave its folder."""
    if not _SAFE_PATH.fullmatch(path):
        raise ValueError(f"{column}: expected a relative path without `..`, `\\`, control characters; found {path!r}")
    if max(len(part) for part in os.fsencode(path).split(b"/")) > _LONGEST:
        raise ValueError(f"{column}: expected names of at most {_LONGEST} bytes, found {path[:60]!r}...")


def _frames(start: str, end: str) -> tuple[int, int] | tuple[None, None]:
    if not start and not end:
        return None, None
    if not (_FRAME.fullmatch(start) and _FRAME.fullmatch(end) and int(start) < int(end)):
        raise ValueError(f"start, end: expected 0-based whole numbers with start < end, found {start!r}, {end!r}")
    return int(start), int(end)


def without_suffix(media: str) -> str:
    """`a.b/c.avi` -> `a.b/c`; a name that is all suffix (`a/.avi`) or has none stays whole."""
    stem, dot, suffix = media.rpartition(".")
    return stem if dot and stem and "/" not in suffix and not stem.endswith("/") else media
