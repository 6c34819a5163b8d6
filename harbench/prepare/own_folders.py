"""What lies in a user's folder, and what its folders mean: classes, subsets, wrappers around them.

A layout that can be read in two ways is refused with the option that settles it.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harbench.datasets.parse import subset_of, without_suffix
from harbench.errors import DatasetError
from harbench.files import replacing
from harbench.prepare.own import GIVEN, Kind, Layout, OwnData, OwnSample, kind_of, modality_of
from harbench.prepare.pose_axes import PoseAxes, array_shapes, read_axes
from harbench.records import ClassLabel

_ACCESSORY = re.compile(r"thumb|cover|poster|preview", re.IGNORECASE)
_PICTURE = re.compile(r"(.*?)([0-9]+)\.[^.]+")
_FEW_FRAMES = 3
_CLASS_AT = {"class": 0, "class/subset": 0, "subset/class": 1}
"""Layout -> which folder of a media's path names its class."""


@dataclass(frozen=True)
class Found:
    """What lies in a folder."""

    files: Mapping[str, Path]
    """Relative path -> file of every media, sorted; hidden files are none."""
    others: tuple[str, ...]
    """Relative paths of what is no media."""
    notes: tuple[str, ...]
    """Links that were followed or not, folders that cannot be read."""

    def inside(self, prefix: str) -> Found:
        """The same with the paths of media and other files as seen from the folder `prefix` (which ends in a slash)."""
        others = tuple(name.removeprefix(prefix) for name in self.others)
        return Found({name.removeprefix(prefix): path for name, path in self.files.items()}, others, self.notes)

    def left_out(self, taken: Iterable[str] = ()) -> tuple[str, ...]:
        """A note on the files that are no media, by suffix, but for tables that were read."""
        kinds = Counter(os.path.splitext(name)[1].lower() or "no suffix" for name in {*self.others} - {*taken})
        shown = ", ".join(f"{number} {suffix}" for suffix, number in kinds.most_common())
        return (f"files that are no media harbench reads, left out: {shown}",) if kinds else ()


def walk(folder: Path) -> Found:
    """Every file under `folder`. Links are followed and told, but for those that lead back to where they come from."""
    root = os.path.realpath(folder)
    files: dict[str, Path] = {}
    others: list[str] = []
    followed: list[str] = []
    loops: list[str] = []
    closed: list[str] = []
    pending: list[tuple[str, str, tuple[str, ...]]] = [(str(folder), "", (root,))]
    while pending:
        where, inside, chain = pending.pop()
        try:
            entries = [entry for entry in os.scandir(where) if not entry.name.startswith(".")]
        except OSError as error:
            closed.append(f"{inside or folder}: {error.strerror}")
            continue
        for entry in entries:
            short = inside + entry.name
            real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(chain[-1], entry.name)
            outside = entry.is_symlink() and os.path.commonpath((root, real)) != root
            if entry.is_dir() and any(os.path.commonpath((each, real)) == real for each in chain):
                loops.append(f"{short} -> {real}")
            elif entry.is_dir():
                followed += [f"{short} -> {real}"] if entry.is_symlink() else []
                pending.append((entry.path, f"{short}/", (*chain, real)))
            elif kind_of(entry.name) is None:
                others.append(short)
            else:
                files[short] = Path(entry.path)
                followed += [f"{short} -> {real}"] if outside else []
    notes = (
        *_told("links that lead back to a folder above them, not followed", loops),
        *_told("links that are followed", followed),
        *_told("folders that cannot be read, left out", closed),
    )
    return Found(dict(sorted(files.items())), tuple(others), notes)


def _told(what: str, found: Sequence[str]) -> tuple[str, ...]:
    shown = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
    return (f"{what}: {len(found)} ({shown})",) if found else ()


def wrappers(files: Mapping[str, Path]) -> Iterator[str]:
    """`""`, and each folder inside that holds all media there are (`MyData/`, `MyData/videos/`) and is no subset."""
    prefix = ""
    while True:
        yield prefix
        tops = {name[len(prefix) :].partition("/")[0] for name in files}
        top = next(iter(tops), "")
        if len(tops) != 1 or f"{prefix}{top}" in files or subset_of(top):
            return
        prefix += f"{top}/"


# ------------------------------------------------------------------------------------------------------ kinds of media
def of_kind(found: Found, modality: Kind) -> tuple[Found, dict[str, tuple[Path, ...]]]:
    """The media of the kind that was asked for, or without the thumbnails beside videos; the rest is counted in a note.

    Where videos are asked for and there are pictures only, a folder of them is one: `<folder>.frames`, whose pictures, in
    the order of their numbers, are returned too.
    """
    kinds = {name: kind_of(name) for name in found.files}
    wanted: str | None = modality
    if modality == "video" and {*kinds.values()} == {"image"}:
        return _as_frames(found)
    if not wanted and {*kinds.values()} == {"video", "image"}:
        videos = {name for name, kind in kinds.items() if kind == "video"}
        beside = {*videos, *map(without_suffix, videos)}
        pictures = (name for name in found.files if name not in videos)
        if all(without_suffix(name) in beside or _ACCESSORY.search(name) for name in pictures):
            wanted = "video"
    left = Counter(kind for kind in kinds.values() if wanted and kind != wanted)
    notes = (
        (f"no {wanted}s, left out: {', '.join(f'{number} {kind}s' for kind, number in left.items())}",) if left else ()
    )
    files = {name: path for name, path in found.files.items() if not wanted or kinds[name] == wanted}
    return replace(found, files=files, notes=(*found.notes, *notes)), {}


def _as_frames(found: Found) -> tuple[Found, dict[str, tuple[Path, ...]]]:
    frames: dict[str, tuple[Path, ...]] = {}
    gaps = []
    for folder, names in _by_folder(found.files).items():
        if folder:
            frames[f"{folder}.frames"], whole = in_order(found.files[name] for name in names)
            gaps += [] if whole else [folder]
    notes = _told("folders whose pictures are not numbered without a gap, taken in the order of their numbers", gaps)
    said = f"each folder of pictures is one video ({len(frames)}); it has no frame rate: sample with a stride, not with fps"
    files = {media: paths[0].parent for media, paths in frames.items()}
    return replace(found, files=files, notes=(*found.notes, said, *notes)), frames


def _by_folder(files: Iterable[str]) -> dict[str, list[str]]:
    folders: dict[str, list[str]] = defaultdict(list)
    for name in files:
        folders[name.rpartition("/")[0]].append(name)
    return folders


def in_order(pictures: Iterable[Path]) -> tuple[tuple[Path, ...], bool]:
    """Frames of a folder by the number in their names, and whether these are of one pattern and count by one."""
    found = sorted(pictures, key=lambda path: _frame(path.name))
    return tuple(found), _counts(path.name for path in found)


def _frame(name: str) -> tuple[str, int, str]:
    found = _PICTURE.fullmatch(name)
    return (found[1], int(found[2]), name) if found else (name, -1, name)


def _counts(names: Iterable[str]) -> bool:
    """Whether file names are one pattern with numbers that count by one."""
    keys = sorted(map(_frame, names))
    if not keys:
        return True
    return len({prefix for prefix, _, _ in keys}) == 1 and [n for _, n, _ in keys] == list(
        range(keys[0][1], keys[0][1] + len(keys))
    )


def write_frames(path: Path, pictures: Sequence[Path]) -> None:
    """Put pictures, byte for byte, into the file that decoders take as a video."""
    with replacing(path, "wb") as handle, tarfile.open(fileobj=handle, mode="w", dereference=True) as tar:
        for picture in pictures:
            tar.add(picture, picture.name)


# ------------------------------------------------------------------------------------------------------------ layouts
def from_folders(
    folder: Path, found: Found, layout: Layout, modality: Kind, pose_axes: str, classes: tuple[ClassLabel, ...]
) -> OwnData:
    """Class folders, under subset folders (`train/walk/`) or above them (`walk/train/`) or alone, as a data set.

    Raises DatasetError for anything else, and for what can be read in several ways.
    """
    found, frames = of_kind(found, modality)
    kind = modality_of(found.files, folder) if found.files else "video"
    if kind == "image" and not modality:
        _refuse_frames(folder, found.files)
    chosen = layout or _layout(folder, found.files)
    depth, place = chosen.count("/") + 1, chosen.split("/").index("subset") if "subset" in chosen else None
    samples: list[OwnSample] = []
    left: Counter[str] = Counter()
    for name in found.files:
        parts = name.split("/")[:-1]
        subset = subset_of(parts[place]) if place is not None and len(parts) >= depth else None
        if len(parts) < depth or (place is not None and not subset):
            left["/".join(parts[:depth]) or "."] += 1
        else:
            samples.append(OwnSample(name, parts[_CLASS_AT[chosen]], "", {GIVEN: subset} if subset else {}))
    if not samples:
        raise DatasetError(f"{folder}: no media lie as --layout {chosen} says. {_EXPECTED}")
    files = {sample.media: found.files[sample.media] for sample in samples}
    folders = {part for name in found.files for part in name.split("/")[:-1]}
    empty = [path.name for path in sorted(folder.iterdir()) if path.is_dir() and path.name not in folders]
    axes = read_axes(array_shapes(files), pose_axes) if kind == "pose" else PoseAxes()
    notes = (
        f"layout: {chosen.replace('/', ' folders, in them ')} folders, in {folder}",
        *(f"{number} media in {name} lie otherwise, left out" for name, number in left.items()),
        *([axes.note] if axes.note else ()),
        *_told("folders without media, left out", [name for name in empty if not name.startswith(".")]),
        *found.notes,
        *found.left_out(("classes.txt",)),
    )
    return OwnData(
        tuple(samples), () if place is None else (GIVEN,), kind, files, classes, None, axes, notes,
        {media: frames[media] for media in files if media in frames},
    )  # fmt: skip


_EXPECTED = (
    "Expected class folders (CLASS/clip.avi), alone or in subset folders (train/CLASS/clip.avi) or around them "
    "(CLASS/train/clip.avi), or a table (samples.csv; or train.csv, val.csv, test.csv) beside the media."
)


def _layout(folder: Path, files: Iterable[str]) -> Layout:
    """What the names of the folders say. Raises DatasetError where they can be read in several ways, or in none."""
    paths = [name.split("/")[:-1] for name in files]
    flat = [name for name in files if "/" not in name]
    subsets = {path[0] for path in paths if path and subset_of(path[0])}
    others = {path[0] for path in paths if path} - subsets
    classes = {path[1] for path in paths if len(path) > 1 and path[0] in subsets}
    if subsets and not others and not flat and all(len(path) > 1 for path in paths):
        return "subset/class"
    if len(subsets) > 1 and classes and not others & classes and all(p[1:] or p[0] in others for p in paths if p):
        return "subset/class"
    if flat or not paths or (subsets and not others):
        shown = [name for name in files if name.count("/") < 1 + bool(subsets)]
        said = f"{len(shown)} files that lie in no class folder ({', '.join(shown[:3])})" if paths else "no media"
        raise DatasetError(f"{folder}: found {said}. {_EXPECTED}")
    inner = [len(path) > 1 and subset_of(path[1]) is not None for path in paths]
    if not subsets and all(inner):
        return "class/subset"
    if not subsets and not any(inner):
        return "class"
    found = sorted(subsets) or sorted(
        {"/".join(path[:2]) for path, is_subset in zip(paths, inner, strict=True) if is_subset}
    )
    way = "subset/class" if subsets else "class/subset"
    raise DatasetError(
        f"{folder}: {', '.join(found[:4])} may be subsets or classes, beside {', '.join(sorted(others)[:6])}. Say which: "
        f"--layout {way} (subsets; media that lie otherwise are left out) or --layout class (every folder is a class)."
    )


def _refuse_frames(folder: Path, files: Mapping[str, Path]) -> None:
    """Raise DatasetError where most pictures lie in folders that count them: frames of videos, or stills?"""
    folders = _by_folder(files)
    counted = [
        where for where, names in folders.items() if "/" in where and len(names) >= _FEW_FRAMES and _counts(names)
    ]
    if sum(len(folders[where]) for where in counted) > len(files) / 2:
        first = sorted(folders[counted[0]], key=_frame)
        raise DatasetError(
            f"{folder}: its pictures lie numbered in {len(counted)} folders ({first[0]} to {first[-1].rpartition('/')[2]}). "
            "Say what they are: --modality video (each of these folders is one video) or --modality image (stills)."
        )
