"""Which column or label of somebody's predictions is which class of the data set. Never the order that would score best."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harbench.datasets.parse import read_class_list
from harbench.errors import DatasetError, did_you_mean
from harbench.records import ClassLabel

if TYPE_CHECKING:
    from harbench.analysis.submissions import Submission

OFFICIAL = "official"
_NUMBER = re.compile(r"((?:class|score|prob|logit|pred|top|rank|c)?[ _-]?)([0-9]{1,6})", re.IGNORECASE)


def column_classes(given: Submission, classes: Sequence[ClassLabel], order: str, file: Path) -> tuple[list[int], str]:
    """The official class of each column or label, and what said so.

    Names are looked up; numbers that are no class names need `order`: a class list, or `official`. Raises DatasetError
    for names that are no classes, for numbers that do not fit, and for scores without some class.
    """
    names = given.classes or tuple(map(str, range(given.scores.shape[1])))
    numbers = _numbers(names)
    known = {_folded(text) for label in classes for text in (label.key, label.display)}
    if not numbers or (known.issuperset(map(_folded, names)) and (given.classes or not order)):
        if order:
            raise DatasetError(
                f"{file} names its classes itself ({', '.join(names[:3])}, ...). Either leave out --classes-order, or "
                f"number the classes in it as {order} does"
            )
        columns = class_columns(names, classes, str(file))
        source = "the file" if given.classes else "their numbers, which are names of classes"
    elif not order:
        raise DatasetError(
            f"{file} numbers its classes and does not name them. Say their order:  --classes-order FILE  (names, one a "
            f"line), or  --classes-order {OFFICIAL}  where it is the one of `harbench splits`, {classes[0].key} first"
        )
    else:
        first, listed = (None, [label.key for label in classes]) if order == OFFICIAL else read_class_list(Path(order))
        source = "the official order" if order == OFFICIAL else order
        if not given.labels_only and len(numbers) != len(listed):
            raise DatasetError(
                f"{file}: expected scores of the {len(listed)} classes in {source}, found {len(numbers)} columns. Of a list "
                "of the best classes (top-k) keep the sample and the best one: two columns, `id,label`"
            )
        start = _start(numbers, len(listed), first if given.classes else 0, f"{file}, with the classes of {source}")
        named = class_columns(listed, classes, order)
        columns = [named[number - start] for number in numbers]
        source += f", numbers counted from {start}" if given.classes else ""
    absent = [label.key for index, label in enumerate(classes) if index not in set(columns)]
    if absent and not given.labels_only:
        raise DatasetError(
            f"{file}: expected scores of {len(classes)} classes, found {len(columns)}; without: {', '.join(absent[:5])}"
        )
    return columns, source


def _numbers(names: Sequence[str]) -> list[int]:
    """The numbers of classes that are numbered (`3`, `class_3`); empty where one has a name."""
    found = [_NUMBER.fullmatch(name) for name in names]
    numbers = [int(match[2]) for match in found if match]
    alike = len({match[1] for match in found if match}) == 1
    return numbers if alike and len(set(numbers)) == len(names) else []


def _start(numbers: Sequence[int], count: int, first: int | None, where: str) -> int:
    """Whether `numbers` of `count` classes count from 0 or 1: only one fits, or `first` of the class list says it."""
    low, high = min(numbers), max(numbers)
    fitting = [start for start in (0, 1) if low >= start and high < start + count]
    if not fitting:
        raise DatasetError(f"{where}: expected numbers below {count}, or from 1 to {count}; found {low} to {high}")
    if len(fitting) > 1 and first is None:
        raise DatasetError(
            f"{where}: the numbers {low} to {high} may count from 0 or from 1. Write the number in front of each name in "
            "the class list (`0 walk` or `1 walk`) and give it with  --classes-order FILE"
        )
    return fitting[0] if len(fitting) == 1 or first is None else first


def class_columns(names: Sequence[str], classes: Sequence[ClassLabel], where: str) -> list[int]:
    """The official index of each name: its key or display name, without regard to case, blanks and punctuation.

    Raises DatasetError for a name that is none, or that two columns have.
    """
    known: dict[str, set[int]] = defaultdict(set)
    for index, label in enumerate(classes):
        known[_folded(label.key)].add(index)
        known[_folded(label.display)].add(index)
    found, problems = [], []
    for name in names:
        indices = known.get(_folded(name), set())
        if len(indices) == 1:
            found.append(min(indices))
        else:
            near = did_you_mean(name, [label.key for label in classes]).removeprefix("; ")
            problems.append(f"{name!r}" + (f" ({near})" if near else ""))
    twice = {classes[index].key for index in found if found.count(index) > 1}
    if problems or twice:
        raise DatasetError(
            f"{where}: "
            + "; ".join(
                ([f"no class of this data set: {', '.join(problems[:5])}"] if problems else [])
                + ([f"more than once: {', '.join(sorted(twice)[:5])}"] if twice else [])
            )
        )
    return found


def _folded(name: str) -> str:
    return "".join(char for char in name.casefold() if char.isalnum())
