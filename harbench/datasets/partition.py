"""Splits for data that come without one: whole groups held out, or at random; and what a partition leaks.

Nobody's choice: the order of groups and samples is that of a hash of seed and name, so the same data give the same
split on every machine.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from harbench.errors import DatasetError
from harbench.records import Subset


class Member(NamedTuple):
    """What a partition looks at of a sample."""

    name: str
    label: str
    group: str


def split_by_group(members: Sequence[Member], test_share: float, seed: int) -> dict[str, Subset]:
    """Name -> train or test, whole groups at a time, every class as near to `test_share` as its groups allow.

    Groups are taken in hash order, the ones with most samples first, each into test if that brings the classes nearer
    to their share (the greedy of scikit-learn's StratifiedGroupKFold). Raises DatasetError without two groups, or where
    a sample has none.
    """
    without = [member.name for member in members if not member.group]
    sizes: dict[str, Counter[str]] = defaultdict(Counter)
    for member in members:
        sizes[member.group][member.label] += 1
    if without or len(sizes) < 2:
        found = f"{len(without)} samples without one ({', '.join(without[:3])})" if without else f"{len(sizes)}"
        raise DatasetError(
            f"a split by group needs a group for each sample, and two groups or more; found {found}. "
            "Mend the `group` column or --group-pattern."
        )
    total = Counter(member.label for member in members)
    order = sorted(sizes, key=lambda group: (-sizes[group].total(), _hash(seed, group)))
    held: Counter[str] = Counter()
    test: set[str] = set()
    for group in order:
        if len(test) + 1 < len(order) and _distance(held + sizes[group], total, test_share) < _distance(
            held, total, test_share
        ):
            held += sizes[group]
            test.add(group)
    if not test:  # every group is too large for the share: the one that overshoots least
        test.add(min(order, key=lambda group: _distance(sizes[group], total, test_share)))
    return {member.name: "test" if member.group in test else "train" for member in members}


def split_at_random(members: Sequence[Member], test_share: float, seed: int) -> dict[str, Subset]:
    """Name -> train or test, sample by sample, the share `test_share` of each class (at least one of two or more)."""
    classes: dict[str, list[str]] = defaultdict(list)
    for member in members:
        classes[member.label].append(member.name)
    found: dict[str, Subset] = {}
    for names in classes.values():
        names.sort(key=lambda name: _hash(seed, name))
        number = min(max(round(test_share * len(names)), 1), len(names) - 1)
        found |= {name: "test" if index < number else "train" for index, name in enumerate(names)}
    return found


def leaked_share(members: Sequence[Member], subsets: Mapping[str, str]) -> float | None:
    """Percent of the test samples whose group is in train or val too; None where a test sample's group is unknown."""
    seen = {member.group for member in members if subsets.get(member.name) in ("train", "val")}
    test = [member.group for member in members if subsets.get(member.name) == "test"]
    if not test or not all(test):
        return None
    return 100 * sum(group in seen for group in test) / len(test)


def _distance(held: Mapping[str, int], total: Mapping[str, int], share: float) -> float:
    """How far the classes are from their share: the sum of squares of what is off, in parts of the class.

    Summed exactly: the order in which samples are listed must not decide a tie.
    """
    return math.fsum((held.get(label, 0) / number - share) ** 2 for label, number in total.items())


def _hash(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogateescape")).digest()
