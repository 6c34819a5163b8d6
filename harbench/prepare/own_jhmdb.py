"""JHMDB as its makers publish it: `joint_positions/<class>/<clip>/joint_positions.mat`, and lists as HMDB51's.

Its names are not harbench's to ship: a user's unpacked `joint_positions.zip` and `splits.zip` in one folder are the table.
A list is `<class>_test_split<n>.txt`; a line is a clip with 1 for train, 2 for test (http://jhmdb.is.tue.mpg.de).
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from harbench.errors import DatasetError
from harbench.prepare.own import OwnData, OwnSample, some
from harbench.prepare.pose_axes import PoseAxes
from harbench.records import Subset

_LIST = re.compile(r"(.+)_test_(split[1-9])\.txt")
_SUBSETS: dict[str, Subset] = {"1": "train", "2": "test"}
_JOINTS = "joint_positions"
_PUBLISHED = (928, 21, 3, {"train": 660, "test": 268})
"""Clips, classes, splits, and the subsets of split 1."""


def is_jhmdb(folder: Path) -> bool:
    """Whether the folder holds JHMDB's joints and lists."""
    return (folder / _JOINTS).is_dir() and any(folder.glob("splits/*_test_split1.txt"))


def from_jhmdb(folder: Path) -> OwnData:
    """The data set in `folder`; a media is `<class>/<clip>.mat`.

    Raises DatasetError with every line that is damaged, and every clip that stands in one list or folder only.
    """
    files = {
        f"{path.parts[-3]}/{path.parts[-2]}.mat": path
        for path in sorted(folder.glob(f"{_JOINTS}/*/*/{_JOINTS}.mat"))
        if not path.parts[-2].startswith(".")
    }
    subsets: dict[str, dict[str, Subset]] = {}
    problems: list[str] = []
    for path in sorted(folder.glob("splits/*_test_split[1-9].txt")):
        found = _LIST.fullmatch(path.name)
        if path.name.startswith(".") or found is None:  # what a Mac adds
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            clip, _, code = line.strip().rpartition(" ")
            media = f"{found[1]}/{clip.strip().removesuffix('.avi')}.mat"
            if not line.strip():
                continue
            if code not in _SUBSETS:
                problems.append(f"{path.name}, line {number}: expected a clip and 1 or 2, found {line[:60]!r}")
            elif found[2] in subsets.setdefault(media, {}):
                problems.append(f"{path.name}, line {number}: {clip} stands in a list of {found[2]} already")
            else:
                subsets[media][found[2]] = _SUBSETS[code]
    splits = sorted({split for each in subsets.values() for split in each})
    problems += [
        f"{media}: in no list of {split}" for media, each in subsets.items() for split in splits if split not in each
    ]
    problems += [f"{media}: listed, but there is no {_JOINTS}.mat of it" for media in subsets if media not in files]
    problems += [f"{media}: in no list" for media in files if media not in subsets]
    if problems:
        raise DatasetError("\n".join([f"{folder}: its joints and lists do not agree:", *some(problems)]))
    samples = tuple(OwnSample(media, media.partition("/")[0], "", subsets[media]) for media in sorted(subsets))
    return OwnData(
        samples, tuple(splits), "pose", files, (), None, PoseAxes((2, 15)), _against_published(samples, splits)
    )


def _against_published(samples: tuple[OwnSample, ...], splits: list[str]) -> tuple[str, ...]:
    first = Counter((sample.subsets or {}).get("split1", "") for sample in samples)
    found = (len(samples), len({sample.label for sample in samples}), len(splits), dict(first))
    if found == _PUBLISHED:
        return ("JHMDB: 928 clips of 21 classes, split 1 of 660 and 268, as published",)
    said = f"{found[0]} clips of {found[1]} classes, {found[2]} splits, split 1 of {first['train']} and {first['test']}"
    return (f"JHMDB has 928 clips of 21 classes, 3 splits, split 1 of 660 and 268; here are {said}: not the whole",)
