"""Skeleton pickles of pyskl and mmaction2: a dict of `split` and `annotations`.

An annotation is a dict with `frame_dir`, `label`, `total_frames` and `keypoint` [M, T, V, C]
(https://github.com/kennymckormick/pyskl/blob/main/tools/data/README.md).
"""

from __future__ import annotations

import pickle  # noqa: TID251  writing only: reading goes through harbench.pickles
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from harbench.datasets.parse import without_suffix
from harbench.errors import DatasetError, MediaError
from harbench.files import replacing, write_text
from harbench.frames.cache import MappedCache
from harbench.pickles import read_pickle
from harbench.prepare.formats.lists import (
    Lists,
    Media,
    Subsets,
    first_label,
    label_map,
    own_data,
    refuse,
    split_and_subset,
    split_subsets,
    unsafe_paths,
)
from harbench.prepare.own import OwnData
from harbench.records import ClassLabel, DatasetSpec, MediaMatch, SplitTable, Track, silent

_MOST_LABELS = 100_000
"""Numbers of classes above this are damage, and would fill the memory with names."""


def to_skeleton(tables: Sequence[SplitTable], media: Media, cache: MappedCache | None, dest: Path, track: Track) -> int:
    """`annotations.pkl` of pyskl and mmaction2, from the pose cache; `label_map.txt` beside it."""
    assert cache is not None
    samples = {each.media: each for table in tables for each in table.samples}
    annotations = []
    for name, sample in track(samples.items(), "reading poses", len(samples)):
        pose = cache.read(name, np.arange(cache.info(name).frames))
        annotations.append(
            {"frame_dir": without_suffix(name), "label": sample.target, "total_frames": len(pose),
             "keypoint": np.ascontiguousarray(pose.swapaxes(0, 1))}
        )  # fmt: skip
    split = {stem: [without_suffix(each.media) for each in samples] for stem, samples in split_subsets(tables)}
    write_text(dest / "label_map.txt", "".join(f"{label.key}\n" for label in tables[0].classes))
    with replacing(dest / "annotations.pkl", "wb") as file:
        pickle.dump({"split": split, "annotations": annotations}, file, protocol=4)
    return len(annotations)


def from_skeleton(source: Path, into: Path) -> OwnData:
    """A pyskl or mmaction2 pickle (or the folder of one, with its `label_map.txt`); joints are written below `into`."""
    path = source / "annotations.pkl" if source.is_dir() else source
    content: Any = read_pickle(path)
    parts, annotations = (content.get(key) for key in ("split", "annotations")) if isinstance(content, dict) else (0, 0)
    if not isinstance(parts, dict) or not isinstance(annotations, list) or not annotations:
        raise DatasetError(f"{path}: expected a pickle of `split` and `annotations`, as pyskl and mmaction2 write it")
    problems: list[str] = []
    joints: dict[str, np.ndarray[Any, Any]] = {}
    labels: dict[str, int] = {}
    for number, each in enumerate(annotations):
        try:
            name, label, joint = _annotation(each)
        except ValueError as problem:
            problems.append(f"annotation {number}: {problem}")
            continue
        if name in labels:
            problems.append(f"{name}: two annotations have this frame_dir, with labels {labels[name]} and {label}")
        joints[name], labels[name] = joint, label
    given, first = label_map(path.parent) if path.with_name("label_map.txt").is_file() else ((), None)
    classes = given or tuple(ClassLabel(f"{n:03d}", str(n)) for n in range(max(labels.values(), default=0) + 1))
    start, notes = first_label(labels.values(), len(classes), first)
    found: Subsets = {}
    for name, label in labels.items():
        if not 0 <= label - start < len(classes):
            problems.append(f"{name}: expected a label below {len(classes)}, found {label}")
        else:
            found[f"{name}.npy"] = classes[label - start].key, {}
    splits = []
    for part, names in parts.items():
        if not isinstance(part, str) or not isinstance(names, list):
            problems.append(f"split {part!r}: expected a name and a list of frame_dir")
            continue
        split, subset = split_and_subset(part)
        splits.append(split)
        for name in map(str, names):
            subsets = found[f"{name}.npy"][1] if f"{name}.npy" in found else None
            if subsets is None:
                problems.append(f"split {part}: {name} has no annotation")
            elif split in subsets:
                problems.append(f"split {part}: {name} stands in {subsets[split]} of {split} already")
            else:
                subsets[split] = subset
    files = {media: into / media for media in found}
    refuse(path, [*problems, *unsafe_paths(files)])
    for media, file in files.items():
        with replacing(file, "wb") as handle:
            np.save(handle, joints[media.removesuffix(".npy")].swapaxes(0, 1).astype(np.float32), allow_pickle=False)
    if any("keypoint_score" in each for each in annotations):
        notes.append("keypoint_score was not taken over")
    return own_data(path, Lists(classes, found, splits=splits, notes=list(notes)), files)


def is_annotations(path: Path) -> bool:
    """A pickle, by its name."""
    return path.suffix in (".pkl", ".pickle")


def unpack_annotations(
    spec: DatasetSpec, tables: Sequence[SplitTable], path: Path, dest: Path, *, track: Track = silent
) -> MediaMatch:
    """Write the joints of each media of `tables` that the pickle `path` holds to `<dest>/<sample>.npy`, float32 [T, M, V, C].

    Files that are there and newer than the pickle stay. Annotations of other samples are listed as extra.

    Raises MediaError when the pickle is something else, holds other joints than the data set's, or holds a sample twice.
    """
    official = {PurePosixPath(media).stem.casefold(): media for table in tables for media in table.media()}
    present: dict[str, Path] = {}
    extra: list[str] = []
    annotations = list(_annotations(path))
    for name, keypoint in track(annotations, f"reading {path.name}", len(annotations)):
        media = official.get(name.casefold())
        if media is None:
            extra.append(name)
            continue
        if media in present:
            raise MediaError(f"{path}: it holds {name} twice; use the file as published")
        target = dest / f"{PurePosixPath(media).stem}.npy"
        _check(spec, path, name, keypoint)
        if not target.is_file() or target.stat().st_mtime_ns < path.stat().st_mtime_ns:
            with replacing(target, "wb") as handle:
                np.save(handle, np.ascontiguousarray(keypoint.transpose(1, 0, 2, 3), np.float32), allow_pickle=False)
        present[media] = target
    missing = tuple(media for media in official.values() if media not in present)
    return MediaMatch(present, missing, tuple(extra), {})


def _annotation(each: object) -> tuple[str, int, np.ndarray[Any, Any]]:
    """frame_dir, label and keypoint [M, T, V, C] of an annotation; ValueError says what is wrong with it."""
    if not isinstance(each, dict) or not {"frame_dir", "label", "keypoint"} <= set(each):
        raise ValueError("expected a dict with frame_dir, label and keypoint")
    name, label, keypoint = each["frame_dir"], each["label"], each["keypoint"]
    if not isinstance(name, str):
        raise ValueError(f"frame_dir: expected a text, found {type(name).__name__}")
    if isinstance(label, bool) or not isinstance(label, (int, np.integer)) or not 0 <= label < _MOST_LABELS:
        raise ValueError(f"{name}: expected the number of a class as label, found {str(label)[:40]}")
    if not _is_keypoint(keypoint, "fiu"):
        raise ValueError(f"{name}: expected keypoint [M, T, V, C] of numbers, found {_described(keypoint)}")
    return name, int(label), keypoint


def _annotations(path: Path) -> Iterator[tuple[str, Any]]:
    """(frame_dir, keypoint) of every annotation."""
    content = read_pickle(path)
    listed = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(listed, list):
        raise MediaError(
            f"{path}: expected a skeleton pickle of pyskl or mmaction2, a dict with a list of `annotations`, "
            f"found {_described(content)}. If it is something else, move it out of the folder that you named"
        )
    for number, annotation in enumerate(listed):
        name = annotation.get("frame_dir") if isinstance(annotation, dict) else None
        if not isinstance(name, str) or "keypoint" not in annotation:
            raise MediaError(f"{path}, annotation {number}: expected a dict with `frame_dir` and `keypoint`")
        yield name, annotation["keypoint"]


def _described(content: object) -> str:
    if isinstance(content, dict):
        return f"a dict of {', '.join(repr(key)[:30] for key in list(content)[:5]) or 'nothing'}"
    return (
        f"{content.dtype} {list(content.shape)}" if isinstance(content, np.ndarray) else f"a {type(content).__name__}"
    )


def _is_keypoint(array: object, kinds: str) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind in kinds and array.ndim == 4 and array.size > 0


def _check(spec: DatasetSpec, path: Path, name: str, keypoint: Any) -> None:
    """Joints that are another detector's (17 of HRNet in the image) are not those of the data set."""
    channels, joints = spec.pose_shape
    if not _is_keypoint(keypoint, "f") or keypoint.shape[2:] != (joints, channels):
        raise MediaError(
            f"{path}, {name}: expected the joints of {spec.title}, numbers [bodies, frames, {joints}, {channels}], "
            f"found {_described(keypoint)}; the 3D pickle is the one to use, not the 2D one"
        )
