"""The leak sentinel: anybody's split of a known data set, measured against its groups and its official splits.

Needs no media. A split may be written as lists of names (`Class/v_x.avi 1`, mmaction2's `path frames label`, HMDB51's
`name.avi 1` with code 1 train, 2 test), as a CSV with a column of train/val/test, as a CSV or list a subset, or as
folders `train/`, `val/`, `test/`. Names are matched to the official media by base name, case folded, without suffix.
"""

from __future__ import annotations

import csv
import os
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harbench.datasets.match import PathIndex, path_parts
from harbench.datasets.parse import PATH_COLUMNS, SUBSETS, Row
from harbench.errors import DatasetError
from harbench.records import DatasetSpec

_WORD = re.compile(r"(?<![a-z])(train|training|val|valid|validation|dev|test|testing)(?=list|split|set|[^a-z]|$)", re.I)
_HMDB = re.compile(r".+_test_split(\d)$")
_HMDB_CODES = {"1": "train", "2": "test"}
_NUMBERS = re.compile(r"(?:[\s,]+\d+){0,2}$")
_LISTS = (".txt", ".csv", ".tsv", ".lst", ".list")
_RANDOM_SEEDS = 5

Claim = Mapping[str, Sequence[str]]
"""Somebody's split: subset -> names as they stand there."""


@dataclass(frozen=True)
class SplitAudit:
    """What somebody's split does, counted in official media. Percent are of the test media."""

    dataset: str
    name: str
    """Of the list, the column or the folder."""
    counts: Mapping[str, int]
    """Official media a subset."""
    unknown: tuple[str, ...]
    """Names that are no media of the data set."""
    same_as: str
    """The official split with the same train and test media; empty: none."""
    within: str
    """The official split that has all of its train and test media where they are here; empty: none."""
    group: str
    """What a group is; empty: the publisher gives none."""
    shared: int
    """Media that are on both sides themselves."""
    leaked: int
    """Test media whose group is in train or val."""
    leaked_percent: float | None
    """None where no test medium has a group."""
    across_classes: int
    """Test media whose source is in train or val under another class; only where sources are named across classes."""
    official_test: Mapping[str, int]
    """Official split -> media in this train or val that it tests on."""
    overlaps: Mapping[str, int]
    """`<data set> <split>` that has clips of this data set -> media in this train or val that it tests on."""
    unlisted: tuple[str, ...]
    """Data sets that share clips with this one, of which harbench has no table to compare with."""
    random_percent: float | None
    """What a random split of all media, 80 to 20, would leak: the mean over a few seeds."""
    absent_classes: Mapping[str, tuple[str, ...]]
    """`train`, `test` -> class keys without a medium there."""

    @property
    def leaks(self) -> bool:
        """Whether a group or a medium is on both sides, and not because the publisher's own split has it so (NTU's xview
        tests the persons that it trains on, from another camera).
        """
        return bool(self.leaked or self.shared) and not self.within


# ------------------------------------------------------------------------------------------------------------- reading
def read_claims(sources: Sequence[str]) -> tuple[dict[str, Claim], tuple[str, ...]]:
    """Somebody's splits by name, and the files that say nothing about a subset.

    A source is a file, a folder, or either behind `train=`, `val=` or `test=`. Lists whose names differ in the subset
    only (`trainlist01.txt`, `testlist01.txt`) are one split. Raises DatasetError when there is no split in them.
    """
    claims: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    ignored: list[str] = []
    for source in sources:
        prefix, _, rest = source.partition("=")
        subset = SUBSETS.get(prefix.casefold(), "") if rest else ""
        path = Path(rest if subset else source)
        if not path.exists():
            raise DatasetError(f"--audit {source}: there is no file or folder {path}")
        for split, where, name in _read(path, subset, ignored):
            claims["given" if subset else split][where].append(name)
    found: dict[str, Claim] = {
        name: claim for name, claim in sorted(claims.items()) if claim.get("test") and claim.get("train")
    }
    ignored += [f"{name} ({', '.join(claim)} only)" for name, claim in claims.items() if name not in found]
    if not found:
        raise DatasetError(
            f"--audit {' '.join(map(str, sources))}: expected lists or folders that name train and test, found "
            f"{', '.join(ignored[:5]) or 'nothing'}. Say which is which:  --audit train=FILE --audit test=FILE"
        )
    return found, tuple(ignored)


def _read(path: Path, subset: str, ignored: list[str]) -> Iterator[tuple[str, str, str]]:
    """(split, subset, name) of every entry of a source."""
    if path.is_file():
        yield from _read_file(path, subset, ignored)
        return
    for folder, subfolders, files in os.walk(path, followlinks=True):
        subfolders.sort()
        parts = Path(folder).relative_to(path).parts
        inside = subset or next((SUBSETS[part.casefold()] for part in parts if part.casefold() in SUBSETS), "")
        for file in sorted(files):
            if inside and not file.lower().endswith(_LISTS):
                yield path.name, inside, "/".join((*parts, file))
            elif file.lower().endswith(_LISTS):
                yield from _read_file(Path(folder, file), subset, ignored)
            else:
                ignored.append(file)


def _read_file(path: Path, subset: str, ignored: list[str]) -> Iterator[tuple[str, str, str]]:
    """A list or CSV. Its subset: as said, by its columns, by HMDB51's codes, or by its name."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"--audit {path}: expected a UTF-8 list or CSV, found {error}") from None
    if hmdb := _HMDB.fullmatch(path.stem):
        for name, _, code in (line.strip().rpartition(" ") for line in lines):
            if code in _HMDB_CODES:
                yield f"split{hmdb[1]}", _HMDB_CODES[code], name
        return
    word = _WORD.search(path.stem)
    by_name = subset or (SUBSETS[word[1].casefold()] if word else "")
    split = path.stem[: word.start()] + path.stem[word.end() :] if word and not subset else path.stem
    split = split.strip("_-. ") or path.parent.name
    if lines and "," in lines[0]:
        found = list(_read_csv(path, lines, split, by_name))
    else:
        found = [(split, by_name, _NUMBERS.sub("", line.strip())) for line in lines if by_name]
    if not found:
        ignored.append(path.name)
    yield from found


def _read_csv(path: Path, lines: Sequence[str], split: str, subset: str) -> Iterator[tuple[str, str, str]]:
    """Each column that holds nothing but train, val, test is a split; without one, the file is a subset."""
    header, *rows = csv.reader(lines)
    if any(len(row) != len(header) for row in rows):
        raise DatasetError(f"--audit {path}: its lines do not all have the {len(header)} cells of the first one")
    columns = dict(zip(header, zip(*rows, strict=True), strict=True)) if rows else {}
    parts = {
        name: cells
        for name, cells in columns.items()
        if any(cells) and all(not cell or cell.strip().casefold() in SUBSETS for cell in cells)
    }
    by_column = {name.strip().casefold(): cells for name, cells in columns.items()}
    names = next((by_column[name] for name in PATH_COLUMNS if name in by_column), next(iter(columns.values()), ()))
    for column, cells in parts.items():
        for name, cell in zip(names, cells, strict=True):
            if cell:
                yield column if len(parts) > 1 else split, SUBSETS[cell.strip().casefold()], name
    if not parts and subset:
        for name in names:
            yield split, subset, name


# ------------------------------------------------------------------------------------------------------------ matching
def match_names(rows: Sequence[Row], names: Sequence[str]) -> tuple[dict[str, Row], tuple[str, ...]]:
    """Official medium -> its first row, for the names that are one, and the names that are none.

    A base name that several media have goes to the one whose path agrees on the most trailing parts, if it is one.
    """
    by_media: dict[str, Row] = {}
    for row in rows:
        by_media.setdefault(row.media, row)
    index = PathIndex.of((media, media) for media in by_media)
    owners = {name: index.find(name) for name in names}
    found = {owner[0]: by_media[owner[0]] for owner in owners.values() if owner}
    return found, tuple(name for name, owner in owners.items() if owner is None)


# ------------------------------------------------------------------------------------------------------------ counting
def audit_claim(
    spec: DatasetSpec,
    name: str,
    claim: Claim,
    rows: Sequence[Row],
    overlapping: Mapping[str, Sequence[Row] | None],
) -> SplitAudit:
    """Measure one claimed split. `rows` are all of the data set, `overlapping` those of data sets that share clips with
    it, None where there is no table. Raises DatasetError when hardly any name is one of the data set.
    """
    subsets: dict[str, dict[str, Row]] = {}
    unknown: list[str] = []
    for subset, names in claim.items():
        subsets[subset], strangers = match_names(rows, names)
        unknown += strangers
    train = subsets.get("train", {}) | subsets.get("val", {})
    test = subsets["test"]
    if not train or not test:
        raise DatasetError(
            f"{name}: none of its {sum(map(len, claim.values()))} names is a medium of {spec.name}, in train or in test; "
            f"the first is {unknown[0]!r}, expected names as {rows[0].media!r}"
        )
    leaked, (same_as, within) = _leaked(train, test), _official(rows, train, test)
    return SplitAudit(
        dataset=spec.name,
        name=name,
        counts={subset: len(media) for subset, media in sorted(subsets.items())},
        unknown=tuple(dict.fromkeys(unknown)),
        same_as=same_as,
        within=within,
        group=spec.group,
        shared=len(train.keys() & test.keys()),
        leaked=leaked or 0,
        leaked_percent=None if leaked is None else 100 * leaked / len(test),
        across_classes=sources_across_classes(list(train.values()), list(test.values())) if spec.source else 0,
        official_test={split: sum(row.subsets[split] == "test" for row in train.values()) for split in rows[0].subsets},
        overlaps=_overlaps(train, overlapping),
        unlisted=tuple(other for other, table in overlapping.items() if table is None),
        random_percent=random_leak(rows),
        absent_classes={
            side: tuple(sorted({row.label for row in rows} - {row.label for row in media.values()}))
            for side, media in (("train", train), ("test", test))
        },
    )


def _leaked(train: Mapping[str, Row], test: Mapping[str, Row]) -> int | None:
    """Test media whose group is in train; None where there are no groups."""
    if not any(row.group for row in test.values()):
        return None
    groups = {row.group for row in train.values()} - {""}
    return sum(row.group in groups for row in test.values())


def _official(rows: Sequence[Row], train: Mapping[str, Row], test: Mapping[str, Row]) -> tuple[str, str]:
    """The official split with the same media in train and in test, and the one that has these and others; or empty."""
    within = ""
    for split in rows[0].subsets:
        sides = {row.media: row.subsets[split] for row in rows if row.subsets[split]}
        held_out = {media for media, side in sides.items() if side == "test"}
        learned = sides.keys() - held_out
        if held_out == test.keys() and learned == train.keys():
            return split, split
        if held_out >= test.keys() and learned >= train.keys():
            within = within or split
    return "", within


def sources_across_classes(train: Sequence[Row], test: Sequence[Row]) -> int:
    """Test samples whose source (`group` is `<class>/<source>`) is in train under another class."""
    classes: dict[str, set[str]] = defaultdict(set)
    for row in train:
        classes[row.group.partition("/")[2]].add(row.label)
    return sum(bool(classes.get(row.group.partition("/")[2], set()) - {row.label}) for row in test)


def _overlaps(train: Mapping[str, Row], overlapping: Mapping[str, Sequence[Row] | None]) -> dict[str, int]:
    """Train media that another data set tests on, by base name."""
    bases = {path_parts(media)[-1] for media in train}
    found: dict[str, set[str]] = defaultdict(set)
    for other, rows in overlapping.items():
        for row in rows or ():
            for split, subset in row.subsets.items():
                base = path_parts(row.media)[-1]
                if subset == "test" and base in bases:
                    found[f"{other} {split}"].add(base)
    return {where: len(bases) for where, bases in sorted(found.items())}


def random_leak(rows: Sequence[Row]) -> float | None:
    """Percent of test media whose group is in train when 20 % of all media are drawn at random; None without groups."""
    groups = [row.group for row in {row.media: row for row in rows}.values()]
    if not any(groups):
        return None
    percents = []
    for seed in range(_RANDOM_SEEDS):
        random.Random(seed).shuffle(groups)
        held_out = max(1, len(groups) // 5)
        train = set(groups[held_out:]) - {""}
        percents.append(100 * sum(group in train for group in groups[:held_out]) / held_out)
    return sum(percents) / len(percents)
