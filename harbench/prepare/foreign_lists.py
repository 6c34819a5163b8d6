"""Lists of mmaction2 and of what is called as they are: `path label` lines, label maps, names of splits and subsets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from harbench.datasets.parse import SUBSETS, read_class_list, read_text
from harbench.errors import DatasetError
from harbench.prepare.own import GIVEN
from harbench.prepare.own_write import class_keys
from harbench.records import ClassLabel, Subset

Subsets = dict[str, tuple[str, dict[str, Subset]]]
"""Media -> its class's key, and its subset in each split."""
_SUBSET = re.compile(rf"(?<![^_.\s-])({'|'.join(SUBSETS)})(?:list)?([0-9]{{0,3}})(?![^_.\s-])", re.IGNORECASE)
_KIND = re.compile(r"(?<![^_])(?:list|videos?|rawframes?)(?![^_])")
_SPLIT = re.compile(r"split_?([0-9]{1,3})")


class _Line(NamedTuple):
    """A line of a list."""

    where: str
    media: str
    frames: int
    label: int


@dataclass(frozen=True)
class Lists:
    """What mmaction2's lists say of their media."""

    classes: tuple[ClassLabel, ...]
    found: Subsets = field(default_factory=dict)
    frames: dict[str, int] = field(default_factory=dict)
    splits: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_lists(source: Path, kind: str, numbers: int) -> Lists:
    """The lists of a folder, each line a path, then for two `numbers` its frames, and its label."""
    classes, first = label_map(source)
    lists = Lists(classes)
    expected = "path label" if numbers == 1 else "path frames label"
    pattern = re.compile(r"(.*\S)" + r"[\s,;]+([0-9]{1,9})" * numbers)
    texts = [path for path in sorted(source.glob("*.txt")) if path.name not in ("label_map.txt", "classes.txt")]
    named = [path for path in texts if path.stem.endswith(f"_{kind}")] or [p for p in texts if _SUBSET.search(p.stem)]
    if not named:
        raise DatasetError(
            f"{source}: expected lists of `{expected}` called train_{kind}.txt or split1_train_{kind}.txt; found "
            f"{', '.join(path.name for path in texts) or 'no other .txt'}"
        )
    lines: dict[tuple[str, Subset], list[_Line]] = {}
    for path in named:
        part = split_and_subset(path.stem)
        if part in lines:
            lists.problems.append(f"{path.name}: there is a list of {part[1]} of {part[0]} already")
        here = lines.setdefault(part, [])
        for line, text in enumerate(read_text(path).splitlines(), 1):
            match = pattern.fullmatch(text.strip())
            if match:
                here.append(_Line(f"{path.name}, line {line}", match[1], int(match[2]), int(match[numbers + 1])))
            elif text.strip():
                lists.problems.append(f"{path.name}, line {line}: expected `{expected}`, found {text[:80]!r}")
    if idle := [path.name for path in texts if path not in named]:
        lists.notes.append(f"not read: {', '.join(idle)}")
    start, notes = first_label((line.label for each in lines.values() for line in each), len(classes), first)
    lists.notes.extend(notes)
    for (split, subset), listed in lines.items():
        lists.splits.append(split)
        for where, media, frames, label in listed:
            if not 0 <= label - start < len(classes):
                lists.problems.append(f"{where}: expected a label below {len(classes)}, found {label}")
                continue
            key = classes[label - start].key
            known = lists.found.setdefault(media, (key, {}))
            if known[0] != key or split in known[1]:
                lists.problems.append(f"{where}: {media} stands there twice, or under two labels")
            known[1][split] = subset
            lists.frames[media] = frames
    return lists


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
    found = list(_SUBSET.finditer(name))
    if len(found) != 1:
        raise DatasetError(f"{name!r}: expected the name of a split and one of {', '.join(SUBSETS)}, e.g. split1_train")
    (match,) = found
    rest = _KIND.sub("", name[: match.start()] + name[match.end() :])
    numbered = _SPLIT.search(rest) or re.search("(.+)", match[2])
    split = f"split{int(numbered[1])}" if numbered else re.sub("[^A-Za-z0-9_+-]+", "_", rest).strip("_-")
    return split or GIVEN, SUBSETS[match[1].lower()]
