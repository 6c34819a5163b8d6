"""What the formats share: samples of splits, names of splits and subsets, label maps, and the data set that results."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harbench.datasets.parse import SUBSETS, check_path, read_class_list
from harbench.errors import DatasetError, damage
from harbench.files import write_text
from harbench.prepare.own import GIVEN, OwnData, OwnSample, modality_of, some
from harbench.prepare.own_write import class_keys
from harbench.prepare.pose_axes import PoseAxes, array_shapes, read_axes
from harbench.records import ClassLabel, Sample, SplitTable, Subset

Subsets = dict[str, tuple[str, dict[str, Subset]]]
"""Media -> its class's key, and its subset in each split."""
Media = Mapping[str, Path]
"""Media -> its file."""
SUBSET_NAMES: tuple[Subset, ...] = ("train", "val", "test")
SUBSET = re.compile(rf"(?<![^_.\s-])({'|'.join(SUBSETS)})(?:list)?([0-9]{{0,3}})(?![^_.\s-])", re.IGNORECASE)
_KIND = re.compile(r"(?<![^_])(?:list|videos?|rawframes?)(?![^_])")
_SPLIT = re.compile(r"split_?([0-9]{1,3})")


@dataclass(frozen=True)
class Lists:
    """What mmaction2's lists say of their media."""

    classes: tuple[ClassLabel, ...]
    found: Subsets = field(default_factory=dict)
    frames: dict[str, int] = field(default_factory=dict)
    splits: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


# ------------------------------------------------------------------------------------------------------------ writing


def media_of(tables: Sequence[SplitTable]) -> list[str]:
    return list(dict.fromkeys(name for table in tables for name in table.media()))


def split_subsets(tables: Sequence[SplitTable]) -> Iterator[tuple[str, tuple[Sample, ...]]]:
    """(`<split>_<subset>`, its samples), the empty ones left out."""
    for table in tables:
        for subset in SUBSET_NAMES:
            if samples := table.subset(subset):
                yield f"{table.split}_{subset}", samples


def only_split(tables: Sequence[SplitTable], form: str) -> SplitTable:
    if len(tables) > 1:
        names = ", ".join(table.split for table in tables)
        raise DatasetError(
            f"{form} holds one split in folders or shards named train, val, test; say --split, one of {names}"
        )
    return tables[0]


def write_classes(table: SplitTable, dest: Path) -> None:
    write_text(dest / "classes.txt", "".join(f"{label.key}\t{label.display}\n" for label in table.classes))


# ------------------------------------------------------------------------------------------------------------ reading


def first_label(labels: Iterable[int], count: int, first: int | None) -> tuple[int, list[str]]:
    """From what labels count: 0 as mmaction2 has it, or 1 where only that fits `count` classes or the label map says so."""
    found = set(labels)
    if found and min(found) > 0 and (max(found) == count or first == 1):
        return 1, ["labels count from 1"]
    return 0, []


def label_map(folder: Path) -> tuple[tuple[ClassLabel, ...], int | None]:
    """mmaction2's label map, one class a line, and the number of the first where lines are numbered."""
    path = folder / "label_map.txt"
    if not path.is_file():
        raise DatasetError(f"{path}: expected the class names, one a line in the order of their labels; found nothing")
    first, names = read_class_list(path)
    keys = class_keys(names)
    return tuple(ClassLabel(keys[name], name.replace("_", " ")) for name in names), first


def split_and_subset(name: str) -> tuple[str, Subset]:
    """Split and subset of a list: `split1_train`, `train1`, `ucf101_train_split_1`; `train` alone is the given split."""
    found = list(SUBSET.finditer(name))
    if len(found) != 1:
        raise DatasetError(f"{name!r}: expected the name of a split and one of {', '.join(SUBSETS)}, e.g. split1_train")
    (match,) = found
    rest = _KIND.sub("", name[: match.start()] + name[match.end() :])
    numbered = _SPLIT.search(rest) or re.search("(.+)", match[2])
    split = f"split{int(numbered[1])}" if numbered else re.sub("[^A-Za-z0-9_+-]+", "_", rest).strip("_-")
    return split or GIVEN, SUBSETS[match[1].lower()]


def is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113  Path.is_file raises for names that no file can have


def unsafe_paths(names: Iterable[str]) -> list[str]:
    problems = []
    for media in names:
        try:
            check_path("media", media)
        except ValueError as problem:
            problems.append(str(problem))
    return problems


def refuse(source: Path, problems: Sequence[str]) -> None:
    if problems:
        raise DatasetError("\n".join([f"{source} cannot be taken:", *some(problems)]))


def own_data(
    source: Path, listed: Lists, files: Mapping[str, Path], groups: Mapping[str, str] | None = None
) -> OwnData:
    problems = [*listed.problems, *unsafe_paths(files)]
    refuse(source, problems if problems or listed.found else ["there is nothing in it that this format knows"])
    modality = modality_of(listed.found, source)
    axes = read_axes(array_shapes(files), "TMVC") if modality == "pose" else PoseAxes()
    samples = tuple(
        OwnSample(media, label, (groups or {}).get(media, ""), subsets)
        for media, (label, subsets) in listed.found.items()
    )
    splits = tuple(dict.fromkeys(listed.splits))
    return OwnData(samples, splits, modality, files, listed.classes, None, axes, tuple(listed.notes))


def json_object(text: str | bytes, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where}: expected JSON, found {damage(error)}") from None
    if not isinstance(found, dict):
        raise DatasetError(f"{where}: expected a JSON object, found {type(found).__name__}")
    return found


def word(value: object) -> str:
    """A label or a name from JSON; nothing for what is none."""
    return str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
