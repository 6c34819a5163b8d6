"""A user's own folder as a data set: class folders, split folders of class folders, or tables beside media or poses.

What is found becomes the same files that every data set has, under the data home: `datasets/<name>.py`,
`splits/<name>/samples.csv` and `classes.txt`. From there on it is a data set like any other.
"""

from __future__ import annotations

import csv
import io
import os
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import numpy as np

from harbench.datasets.parse import KEY, check_path, read_classes, without_suffix
from harbench.datasets.partition import Member, leaked_share, split_at_random, split_by_group
from harbench.datasets.tables import dataset_names
from harbench.errors import DatasetError, MediaError
from harbench.files import write_text
from harbench.records import IMAGE_SUFFIXES, VIDEO_SUFFIXES, ClassLabel, Subset

GIVEN, GROUPED, RANDOM = "given", "grouped", "random"
"""Names of splits: the folder's own, by group, at random (unofficial, and called so)."""
SUBSETS: Mapping[str, Subset] = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
Modality = Literal["video", "image", "pose"]
_MODALITY: Mapping[str, Modality] = {
    **dict.fromkeys(VIDEO_SUFFIXES, "video"),
    **dict.fromkeys(IMAGE_SUFFIXES, "image"),
    **dict.fromkeys((".npy", ".skeleton"), "pose"),
    ".frames": "video",
}  # fmt: skip
POSES = "poses.npz"
_SHOWN = 20


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
    pose_shape: tuple[int, int] = (0, 0)
    notes: tuple[str, ...] = ()
    """What the user should know."""


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


# ------------------------------------------------------------------------------------------------------------ reading
def media_files(folder: Path) -> dict[str, Path]:
    """Relative path -> file of every media under `folder`, sorted; hidden files are none."""
    found: dict[str, Path] = {}
    for root, subfolders, names in os.walk(folder, followlinks=True):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in _MODALITY:
                path = os.path.join(root, name)
                found[os.path.relpath(path, folder).replace(os.sep, "/")] = Path(path)
    return dict(sorted(found.items()))


def modality_of(media: Iterable[str], where: object) -> Modality:
    """What the media are, by suffix. Raises DatasetError for a mixture or none."""
    kinds = Counter(_MODALITY[os.path.splitext(name)[1].lower()] for name in media)
    if len(kinds) != 1:
        found = ", ".join(f"{number} {kind}s" for kind, number in sorted(kinds.items())) or "none"
        raise DatasetError(f"{where}: expected videos, or images, or poses, all of one kind; found {found}.")
    return next(iter(kinds))


def from_folders(folder: Path) -> OwnData:
    """`<class>/...` or `{train,val,test}/<class>/...` as a data set. Raises DatasetError for anything else."""
    files = media_files(folder)
    tops = {name.partition("/")[0] for name in files}
    split = bool(tops) and all(top.lower() in SUBSETS for top in tops)
    depth = 2 if split else 1
    shallow = [name for name in files if name.count("/") < depth]
    if not files or shallow:
        found = (
            f"{len(shallow)} files that lie in no class folder ({', '.join(shallow[:3])})" if shallow else "no media"
        )
        raise DatasetError(
            f"{folder}: expected class folders (CLASS/clip.avi), split class folders (train/CLASS/clip.avi), or a table "
            f"(samples.csv; or train.csv, val.csv, test.csv) beside the media; found {found}."
        )
    samples = []
    for name in files:
        parts = name.split("/")
        subsets: dict[str, Subset] = {GIVEN: SUBSETS[parts[0].lower()]} if split else {}
        samples.append(OwnSample(name, parts[depth - 1], "", subsets))
    empty = [path.name for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] != "."]
    empty = [name for name in empty if name not in tops]
    notes = (f"folders without media, left out: {', '.join(empty)}",) if empty else ()
    shape = pose_shape(files) if modality_of(files, folder) == "pose" else (0, 0)
    return OwnData(
        tuple(samples), (GIVEN,) if split else (), modality_of(files, folder), files,
        classes_file(folder), None, shape, notes,
    )  # fmt: skip


def classes_file(folder: Path) -> tuple[ClassLabel, ...]:
    """The classes of `classes.txt` in the folder, in order; none where there is no such file."""
    path = folder / "classes.txt"
    return read_classes(path) if path.is_file() else ()


def pose_shape(files: Mapping[str, Path]) -> tuple[int, int]:
    """(C, V) of pose files, read from their headers. Raises DatasetError where they differ."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, path in files.items():
        if path.suffix == ".skeleton":
            shapes[name] = (0, 0, 25, 3)
            continue
        try:
            shapes[name] = np.load(path, mmap_mode="r", allow_pickle=False).shape
        except (OSError, ValueError, EOFError) as error:
            raise MediaError(f"{path}: not an array file: {error}") from None
    return _one_shape(shapes)


def npz_shape(path: Path) -> tuple[dict[str, Path], tuple[int, int]]:
    """The media (`<id>.npy`) of a poses.npz and their (C, V); only the headers are read."""
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    version = np.lib.format.read_magic(member)
                    header = (
                        np.lib.format.read_array_header_1_0
                        if version == (1, 0)
                        else np.lib.format.read_array_header_2_0
                    )
                    shapes[name] = header(member)[0]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise MediaError(f"{path}: expected an .npz of pose arrays, found damage: {error}") from None
    return dict.fromkeys(shapes, path), _one_shape(shapes)


def _one_shape(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
    kinds = defaultdict(list)
    for name, shape in shapes.items():
        kinds[shape[:0:-1][:2] if len(shape) in (3, 4) else shape].append(name)
    if len(kinds) != 1 or len(next(iter(kinds))) != 2:
        found = "; ".join(f"{list(shapes[names[0]])} ({len(names)} times, e.g. {names[0]})" for names in kinds.values())
        raise DatasetError(
            f"expected poses [T, V, C] or [T, M, V, C], all with the same V and C; found {found or 'none'}"
        )
    return cast("tuple[int, int]", next(iter(kinds)))


# ------------------------------------------------------------------------------------------------------------- making
def with_splits(data: OwnData, options: OwnOptions) -> OwnData:
    """`data` with its groups and a split: those given, one by group, or a random one if asked for.

    Raises DatasetError with the three ways to a split when there is none.
    """
    data = _grouped(data, options.group_pattern)
    members = [Member(sample.media, sample.label, sample.group) for sample in data.samples]
    notes = list(data.notes)
    for split in data.splits:
        notes += _leak(split, members, {s.media: (s.subsets or {}).get(split, "") for s in data.samples})
    by = options.split_by or ("group" if not data.splits and any(member.group for member in members) else "")
    if not 0 < options.test_share < 1:
        raise DatasetError(f"--test-share: expected a share between 0 and 1, found {options.test_share}")
    if not by:
        if not data.splits:
            raise DatasetError(
                "there is no split. Three ways to one: give it (folders train/ and test/, or a column of train, val and "
                "test in samples.csv); hold out whole groups (a `group` column, or --group-pattern 'person([0-9]+)'); or, "
                "knowing that near duplicates leak, --split-by random."
            )
        return replace(data, notes=tuple(notes))
    name, make = (GROUPED, split_by_group) if by == "group" else (RANDOM, split_at_random)
    made = make(members, options.test_share, options.seed)
    notes.append(
        f"split `{name}`: made by harbench (seed {options.seed}, test share {options.test_share:g}); not official"
    )
    notes += _leak(name, members, made)
    samples = (replace(s, subsets={**(s.subsets or {}), name: made[s.media]}) for s in data.samples)
    splits = tuple(dict.fromkeys((*data.splits, name)))
    return replace(data, samples=tuple(samples), splits=splits, notes=tuple(notes))


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


def _leak(split: str, members: Sequence[Member], subsets: Mapping[str, str]) -> list[str]:
    """What a split leaks, in words."""
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
    return notes


def write_own(data: OwnData, options: OwnOptions, home: Path) -> tuple[str, ...]:
    """Write `data` as the data set `options.name` under the data home; returns what the user should know.

    Raises DatasetError with every problem at once: unsafe or repeated media, labels that give one key, a name that is
    taken by a data set with other content.
    """
    name = options.name
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise DatasetError(f"--name {name!r}: expected letters, digits and _, a letter first")
    if name in dataset_names(None):
        raise DatasetError(f"--name {name}: harbench has a data set of that name; choose another")
    data = with_splits(data, options)
    keys, classes, notes = _classes(data)
    _refuse_bad(data)
    files = {
        home / "splits" / name / "classes.txt": "".join(f"{c.key}\t{c.display}\n" for c in classes),
        home / "splits" / name / "samples.csv": _table(data, keys),
        home / "datasets" / f"{name}.py": _module(data, name),
    }
    differing = [str(path) for path, text in files.items() if path.exists() and path.read_text("utf-8") != text]
    if differing and not options.force:
        raise DatasetError(
            f"there is a data set {name} already, with other content in {', '.join(differing)}. Choose another --name, or "
            "say --force to write over it (runs made on the old one then mean something else)."
        )
    for path, text in files.items():  # the module last: only with it the data set is there
        write_text(path, text)
    return (*data.notes, *notes)


def _classes(data: OwnData) -> tuple[dict[str, str], tuple[ClassLabel, ...], tuple[str, ...]]:
    """Label -> key, the classes in order, and what to say about them."""
    labels = sorted({sample.label for sample in data.samples})
    known = {word: c.key for c in data.classes for word in (c.display, c.key)}
    keys = {label: known.get(label) or re.sub(r"[^A-Za-z0-9_+-]+", "_", label) for label in labels}
    if data.classes and (strangers := [label for label in labels if label not in known]):
        raise DatasetError(f"{len(strangers)} labels are not in classes.txt: {', '.join(strangers[:_SHOWN])}")
    clashes = [key for key, number in Counter(keys.values()).items() if number > 1 or not KEY.fullmatch(key)]
    if clashes:
        raise DatasetError(
            f"labels that differ only in characters outside A-Z a-z 0-9 _ + - give one key: {', '.join(clashes)}. "
            "Rename them, or give keys in classes.txt (key<TAB>label)."
        )
    if data.classes:
        idle = [c.key for c in data.classes if c.key not in set(keys.values())]
        empty = (f"classes without a sample: {', '.join(idle)}",) if idle else ()
        return keys, data.classes, ("class order: as given", *empty)
    classes = tuple(ClassLabel(keys[label], label.replace("_", " ")) for label in labels)
    return keys, classes, (f"class order: sorted ({len(classes)} classes)",)


def _refuse_bad(data: OwnData) -> None:
    problems = []
    for sample in data.samples:
        for column, text in (("media", sample.media), *((("group", sample.group),) if sample.group else ())):
            try:
                check_path(column, text)
            except ValueError as problem:
                problems.append(str(problem))
    twice = [name for name, number in Counter(s.media.casefold() for s in data.samples).items() if number > 1]
    problems += [f"{name} stands there more than once (upper and lower case count as one)" for name in twice]
    if problems:
        raise DatasetError("\n".join(["the data cannot be taken:", *some(problems)]))


def some(problems: Sequence[str]) -> list[str]:
    """The first problems, and how many more."""
    more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    return [*(f"  {problem}" for problem in problems[:_SHOWN]), *more]


def _table(data: OwnData, keys: Mapping[str, str]) -> str:
    """samples.csv. Media that differ only in their suffix get ids with it."""
    stems = [without_suffix(sample.media) for sample in data.samples]
    with_id, with_group = len(set(stems)) < len(stems), any(sample.group for sample in data.samples)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    header = ["media", "class", *(["group"] if with_group else []), *(["sample_id"] if with_id else []), *data.splits]
    writer.writerow(header)
    for sample in data.samples:
        given = {"media": sample.media, "class": keys[sample.label], "group": sample.group, "sample_id": sample.media}
        writer.writerow([{**given, **(sample.subsets or {})}.get(column, "") for column in header])
    return out.getvalue()


def _module(data: OwnData, name: str) -> str:
    """The data set's module, as CONTRIBUTING.md has it written by hand."""
    unit = "image" if data.modality == "image" else "video"
    facts = [
        f"name={name!r}",
        f"title={name!r}",
        f"modality={data.modality!r}",
        f"unit={unit!r}",
        f"splits={data.splits!r}",
    ]
    if data.modality == "pose":
        facts.append(f"pose_shape={data.pose_shape!r}")
    if any(sample.group for sample in data.samples):
        facts.append("group='group'")
    if len(data.splits) > 1 and data.splits == tuple(f"split{n}" for n in range(1, len(data.splits) + 1)):
        facts.append(f"split_sets={ {f'mean-of-{len(data.splits)}': data.splits} }")
    counts = {
        split: tuple(
            sum((s.subsets or {}).get(split) == subset for s in data.samples) for subset in ("train", "val", "test")
        )
        for split in data.splits
    }
    facts.append(f"counts={counts!r}")
    body = "".join(f"    {fact},\n" for fact in facts)
    head = f'"""{name}: a data set of your own."""\n\nfrom harbench.records import DatasetSpec\n\n'
    return f"{head}SPEC = DatasetSpec(\n{body})\n"
