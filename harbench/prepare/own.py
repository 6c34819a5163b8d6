"""A user's own folder as a data set: class folders, split folders of class folders, or tables beside media or poses.

What is found becomes the same files that every data set has, under the data home: `datasets/<name>.py`,
`splits/<name>/samples.csv` and `classes.txt`. From there on it is a data set like any other.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from harbench.datasets.parse import label_order, read_classes
from harbench.datasets.partition import Member, leaked_share, split_at_random, split_by_group
from harbench.errors import DatasetError
from harbench.files import sha256
from harbench.prepare.pose_axes import PoseAxes
from harbench.records import IMAGE_SUFFIXES, VIDEO_SUFFIXES, ClassLabel, Subset

GIVEN, GROUPED, RANDOM = "given", "grouped", "random"
"""Names of splits: the folder's own, by group, at random (unofficial, and called so)."""
Modality = Literal["video", "image", "pose"]
Kind = Literal["", "video", "image", "pose"]
"""A modality, or empty: whatever is there, if it is of one kind."""
Layout = Literal["", "subset/class", "class/subset", "class"]
_MODALITY: Mapping[str, Modality] = {
    **dict.fromkeys(VIDEO_SUFFIXES, "video"),
    **dict.fromkeys(IMAGE_SUFFIXES, "image"),
    **dict.fromkeys((".npy", ".skeleton"), "pose"),
    ".frames": "video",
}  # fmt: skip
POSES = "poses.npz"
_SHOWN = 20
_END = 4096
"""Bytes at both ends of a file that are compared before the whole."""


@dataclass(frozen=True)
class OwnSample:
    """One sample as its owner lists it."""

    media: str
    """Relative path of its file; `<id>.npy` of an array in poses.npz."""
    label: str
    """As written; its key follows from it."""
    group: str = ""
    subsets: Mapping[str, Subset] | None = None
    """Split -> subset, where it has one."""


@dataclass(frozen=True)
class OwnData:
    """A data set as found in a folder or a foreign file, before it has a name."""

    samples: tuple[OwnSample, ...]
    splits: tuple[str, ...]
    modality: Modality
    files: Mapping[str, Path]
    """Media -> file, for those that lie as files of their own."""
    classes: tuple[ClassLabel, ...] = ()
    """In order, where the owner gives one."""
    poses: Path | None = None
    """The poses.npz that holds the media."""
    pose_axes: PoseAxes = field(default_factory=PoseAxes)
    notes: tuple[str, ...] = ()
    """What the user should know."""
    frames: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    """Media (`<folder>.frames`) -> its pictures in order, for videos that lie as folders of frames."""


@dataclass(frozen=True)
class OwnOptions:
    """How a folder becomes a data set."""

    name: str
    group_pattern: str = ""
    """Regular expression on the media path; its first capture group is the group."""
    split_by: Literal["", "group", "random"] = ""
    """Empty: what is given, else by group where groups are known."""
    seed: int = 0
    test_share: float = 0.2
    force: bool = False
    """Write over a data set of that name whose content differs."""
    layout: Layout = ""
    """Empty: as the names of the folders say, where they do."""
    pose_axes: str = ""
    """Of pose arrays, e.g. `CTVM`; empty: as their lengths say."""
    modality: Kind = ""
    """Which of several kinds of media are the samples."""


# ------------------------------------------------------------------------------------------------------------ reading
def classes_file(folder: Path) -> tuple[ClassLabel, ...]:
    """The classes of `classes.txt` in the folder, in order; none where there is no such file."""
    path = folder / "classes.txt"
    return read_classes(path) if path.is_file() else ()


def kind_of(name: str) -> Modality | None:
    """What a file is by its suffix; None: no media that harbench reads."""
    return _MODALITY.get(os.path.splitext(name)[1].lower())


def modality_of(media: Iterable[str], where: object) -> Modality:
    """What the media are, by suffix. Raises DatasetError for a mixture or none."""
    kinds = Counter(map(kind_of, media))
    modality = next(iter(kinds), None)
    if len(kinds) != 1 or modality is None:
        found = ", ".join(f"{number} {kind or 'other file'}s" for kind, number in kinds.most_common()) or "none"
        raise DatasetError(
            f"{where}: expected videos, or images, or poses, all of one kind; found {found}. Say which of them are the "
            "samples: --modality video, image or pose; the others are then left out."
        )
    return modality


def same_files(files: Mapping[str, Sequence[Path]]) -> list[list[str]]:
    """Media whose files are one by link, or equal in every byte. Few are read whole: size and both ends come first."""
    groups: list[list[str]] = [list(files)]
    for fingerprint in (_size, _ends, sha256):
        parts: dict[tuple[int, tuple[object, ...]], list[str]] = defaultdict(list)
        for number, group in enumerate(groups):
            for media in group:
                with suppress(OSError):  # whoever decodes it is told
                    parts[number, tuple(map(fingerprint, files[media]))].append(media)
        groups = [group for (_, found), group in parts.items() if len(group) > 1 and any(found)]
    return groups


def _size(path: Path) -> int:
    return path.stat().st_size


def _ends(path: Path) -> bytes:
    with open(path, "rb") as handle:
        first = handle.read(_END)
        handle.seek(max(0, _size(path) - _END))
        return hashlib.sha256(first + handle.read()).digest()


def some(problems: Sequence[str]) -> list[str]:
    """The first problems, and how many more."""
    more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    return [*(f"  {problem}" for problem in problems[:_SHOWN]), *more]


# ------------------------------------------------------------------------------------------------------------- splits
def with_splits(data: OwnData, options: OwnOptions) -> OwnData:
    """`data` with its groups and a split: those given, one by group, or a random one if asked for.

    Raises DatasetError with the three ways to a split when there is none.
    """
    data = _grouped(data, options.group_pattern)
    members = [Member(sample.media, sample.label, sample.group) for sample in data.samples]
    notes = list(data.notes)
    same = same_files({media: data.frames.get(media, (path,)) for media, path in data.files.items()})
    for split in data.splits:
        notes += _leak(split, members, same, {s.media: (s.subsets or {}).get(split, "") for s in data.samples})
    by = options.split_by or ("group" if not data.splits and any(member.group for member in members) else "")
    if not 0 < options.test_share < 1:
        raise DatasetError(f"--test-share: expected a share between 0 and 1, found {options.test_share}")
    if not by:
        if not data.splits:
            raise DatasetError(
                f"{understood(data)}\nThere is no split. Three ways to one: give it (folders train/ and test/, or a column "
                "of train, val and test in samples.csv); hold out whole groups (a `group` column, or --group-pattern "
                "'person([0-9]+)'); or, knowing that near duplicates leak, --split-by random."
            )
        return replace(data, notes=tuple(notes))
    name, make = (GROUPED, split_by_group) if by == "group" else (RANDOM, split_at_random)
    made = make(members, options.test_share, options.seed)
    notes.append(
        f"split `{name}`: made by harbench (seed {options.seed}, test share {options.test_share:g}); not official"
    )
    notes += _leak(name, members, same, made)
    samples = (replace(s, subsets={**(s.subsets or {}), name: made[s.media]}) for s in data.samples)
    splits = tuple(dict.fromkeys((*data.splits, name)))
    return replace(data, samples=tuple(samples), splits=splits, notes=tuple(notes))


def class_sizes(data: OwnData) -> str:
    """`2 classes: run 5, walk 5`."""
    sizes = Counter(sample.label for sample in data.samples)
    shown = ", ".join(f"{label} {sizes[label]}" for label in label_order(sizes)[:_SHOWN])
    return f"{len(sizes)} class{'es' * (len(sizes) != 1)}: {shown}{', ...' * (len(sizes) > _SHOWN)}"


def understood(data: OwnData) -> str:
    """For errors: the layout, where it follows from folders, and the classes."""
    return "; ".join([*(note for note in data.notes if note.startswith("layout: ")), class_sizes(data)])


def _grouped(data: OwnData, pattern: str) -> OwnData:
    if not pattern:
        return data
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DatasetError(f"--group-pattern {pattern!r}: not a regular expression: {error}") from None
    if not compiled.groups:
        raise DatasetError(f"--group-pattern {pattern!r}: expected a capture group, e.g. 'person([0-9]+)'")
    found = {sample.media: compiled.search(sample.media) for sample in data.samples}
    without = [media for media, match in found.items() if not (match and match[1])]
    if without:
        raise DatasetError(
            f"--group-pattern {pattern!r} finds no group in {len(without)} media: {', '.join(without[:5])}"
        )
    samples = tuple(replace(s, group=m[1]) for s in data.samples if (m := found[s.media]))
    return replace(data, samples=samples)


def _leak(
    split: str, members: Sequence[Member], same: Sequence[Sequence[str]], subsets: Mapping[str, str]
) -> list[str]:
    """What a split leaks, in words: samples of one group, and the same file (`same`) on both sides."""
    notes = []
    if "test" not in subsets.values():
        notes.append(f"split `{split}`: it has no test samples, so nothing can be scored on it")
    share = leaked_share(members, subsets)
    if share is None and split == RANDOM:
        notes.append(
            f"split `{split}`: groups are unknown, so near duplicates (cuts of one video, the same person) may be on both "
            "sides; a number on it says little about new videos"
        )
    elif share:
        notes.append(f"split `{split}` leaks: {share:.1f} % of the test samples share a group with train")
    both = [
        (media, seen)
        for group in same
        for media in group
        if subsets.get(media) == "test" and (seen := next((m for m in group if subsets.get(m) in ("train", "val")), ""))
    ]
    if both:
        shown = ", ".join(f"{media} = {seen}" for media, seen in both[:3]) + (", ..." if len(both) > 3 else "")
        notes.append(
            f"split `{split}` leaks: {len(both)} test samples are also in train or val, the same file: {shown}"
        )
    return notes
