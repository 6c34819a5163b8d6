"""Official paths, found again by whatever path somebody has for them: the only matcher of names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from harbench.datasets.parse import without_suffix

T = TypeVar("T", str, int)
Parts = tuple[str, ...]


@dataclass(frozen=True)
class PathIndex(Generic[T]):
    """Paths by their last part, case folded; several paths may stand for one value.

    A path means the official one with the same last part that agrees with it on the most trailing parts. So missing and
    extra leading folders, flat folders, pooled train/val/test folders and a changed case all match, while files of one
    name in several official folders are told apart by these.
    """

    by_name: Mapping[str, Mapping[Parts, T]]
    suffixes: bool
    """Whether the last part counts with its suffix."""

    @classmethod
    def of(cls, paths: Iterable[tuple[str, T]], *, suffixes: bool = False) -> PathIndex[T]:
        """From (path, value). Of two equal paths the first counts."""
        by_name: dict[str, dict[Parts, T]] = defaultdict(dict)
        for path, value in paths:
            parts = path_parts(path, suffixes=suffixes)
            by_name[parts[-1]].setdefault(parts, value)
        return cls(by_name, suffixes)

    def find(self, path: str) -> tuple[T, int] | None:
        """The value that a path stands for, and the trailing parts that agree; None where it could be none or several."""
        parts = path_parts(path, suffixes=self.suffixes)
        best: dict[T, int] = {}
        for official, value in self.by_name.get(parts[-1], {}).items():
            best[value] = max(_agreement(parts, official), best.get(value, 0))
        most = max(best.values(), default=0)
        owners = [value for value, agreed in best.items() if agreed == most]
        return (owners[0], most) if len(owners) == 1 else None


def path_parts(path: str, *, suffixes: bool = False) -> Parts:
    """The parts of a path, case folded; the last without its suffix unless `suffixes`."""
    parts = [part for part in path.replace("\\", "/").casefold().split("/") if part] or [""]
    return tuple(parts) if suffixes else (*parts[:-1], without_suffix(parts[-1]))


def _agreement(a: Parts, b: Parts) -> int:
    """Trailing parts that two paths share."""
    pairs = zip(reversed(a), reversed(b), strict=False)
    return next((index for index, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))
