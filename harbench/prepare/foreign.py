"""Other tools' formats read as a user's own data set: mmaction2 lists, skeleton pickles, video folders, WebDataset.

The counterpart of `harbench.prepare.export`. Pickles are read as data, shards member by member; paths in them are checked
before anything is written. What is wrong is collected and refused at once, by name and line.
"""

from __future__ import annotations

import io
import json
import lzma
import os
import re
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harbench.datasets.parse import SUBSETS, check_path, read_text, subset_of
from harbench.errors import DatasetError, damage
from harbench.files import replacing
from harbench.pickles import read_pickle
from harbench.prepare.foreign_lists import Lists, Subsets, first_label, label_map, read_lists, split_and_subset
from harbench.prepare.own import GIVEN, OwnData, OwnSample, classes_file, kind_of, modality_of, some
from harbench.prepare.own_csv import read_table
from harbench.prepare.own_folders import in_order, write_frames
from harbench.prepare.pose_axes import PoseAxes, array_shapes, read_axes
from harbench.records import ClassLabel

Import = Callable[[Path, Path], OwnData]
"""(what to read, folder for media that do not lie as files of their own) -> the data set."""
_MOST_LABELS = 100_000
"""Numbers of classes above this are damage, and would fill the memory with names."""


def from_mmaction2(source: Path, into: Path) -> OwnData:
    """A folder with `label_map.txt`, `videos/` and lists of `path label`, one a subset.

    Lists are called as mmaction2 calls them: `train_videos.txt`, `split1_train_videos.txt`, `train.txt`,
    `ucf101_train_split_1_videos.txt`, `kinetics400_train_list_videos.txt`.
    """
    listed = read_lists(source, "videos", 1)
    files = {media: source / "videos" / media for media in listed.found}
    problems = [f"videos/{media}: there is no such file" for media, file in files.items() if not _is_file(file)]
    listed.problems.extend(problems)
    return _own(source, listed, files)


def from_rawframes(source: Path, into: Path) -> OwnData:
    """A folder with `label_map.txt`, `rawframes/` and lists of `dir frames label`, called as for `from_mmaction2`.

    The pictures of a folder are put into one file below `into`, byte for byte, in the order of the numbers in their names;
    those of flow (`flow_x_00001.jpg`) are left out.
    """
    listed = read_lists(source, "rawframes", 2)
    _refuse(source, [*listed.problems, *_unsafe(listed.found)])
    pictures: dict[str, tuple[Path, ...]] = {}
    problems, gaps = [], []
    for name in listed.found:
        here = (path for path in (source / "rawframes" / name).glob("*") if kind_of(path.name) == "image")
        pictures[name], whole = in_order(path for path in here if not path.name.startswith("flow_"))
        gaps += [] if whole else [name]
        if not listed.frames[name] == len(pictures[name]) > 0:
            problems.append(
                f"rawframes/{name}: {listed.frames[name]} frames are listed, {len(pictures[name])} are there"
            )
    _refuse(source, problems)
    found = {f"{name}.frames": listed.found[name] for name in pictures}
    for name, paths in pictures.items():
        write_frames(into / f"{name}.frames", paths)
    notes = [*listed.notes, "frame rates are not in these lists: sample them with a stride, not with fps"]
    if gaps:
        notes.append(
            f"folders whose pictures are not numbered without a gap, taken in the order of their numbers: {len(gaps)} "
            f"({', '.join(gaps[:3])})"
        )
    listed = Lists(listed.classes, found, splits=listed.splits, notes=list(notes))
    return _own(source, listed, {media: into / media for media in found})


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
    _refuse(path, [*problems, *_unsafe(files)])
    for media, file in files.items():
        with replacing(file, "wb") as handle:
            np.save(handle, joints[media.removesuffix(".npy")].swapaxes(0, 1).astype(np.float32), allow_pickle=False)
    if any("keypoint_score" in each for each in annotations):
        notes.append("keypoint_score was not taken over")
    return _own(path, Lists(classes, found, splits=splits, notes=list(notes)), files)


def _annotation(each: object) -> tuple[str, int, np.ndarray[Any, Any]]:
    """frame_dir, label and keypoint [M, T, V, C] of an annotation; ValueError says what is wrong with it."""
    if not isinstance(each, dict) or not {"frame_dir", "label", "keypoint"} <= set(each):
        raise ValueError("expected a dict with frame_dir, label and keypoint")
    name, label, keypoint = each["frame_dir"], each["label"], each["keypoint"]
    if not isinstance(name, str):
        raise ValueError(f"frame_dir: expected a text, found {type(name).__name__}")
    if isinstance(label, bool) or not isinstance(label, (int, np.integer)) or not 0 <= label < _MOST_LABELS:
        raise ValueError(f"{name}: expected the number of a class as label, found {str(label)[:40]}")
    if (
        not isinstance(keypoint, np.ndarray)
        or keypoint.dtype.kind not in "fiu"
        or keypoint.ndim != 4
        or not keypoint.size
    ):
        found = (
            f"{keypoint.dtype} {list(keypoint.shape)}" if isinstance(keypoint, np.ndarray) else type(keypoint).__name__
        )
        raise ValueError(f"{name}: expected keypoint [M, T, V, C] of numbers, found {found}")
    return name, int(label), keypoint


def from_videofolder(source: Path, into: Path) -> OwnData:
    """Hugging Face's videofolder: `metadata.csv` or `metadata.jsonl` with `file_name` and `label` in `train/`, `test/`...

    A file name that stands in two of these folders gets its folder's in front.
    """
    problems: list[str] = []
    rows: list[tuple[Path, str, dict[str, str]]] = []
    tables = sorted([*source.glob("*/metadata.csv"), *source.glob("*/metadata.jsonl")])
    if not tables:
        raise DatasetError(
            f"{source}: expected metadata.csv or metadata.jsonl in train/, validation/, test/; found none. Where folders "
            f"name the classes:  harbench prepare {source} --name NAME"
        )
    for path in tables:
        if subset_of(path.parent.name) is None:
            raise DatasetError(f"{path}: expected a folder of {', '.join(SUBSETS)}")
        for line, cells in read_table(path) if path.suffix == ".csv" else _json_lines(path):
            if not cells.get("file_name") or not cells.get("label"):
                problems.append(f"{path.parent.name}/{line}: expected file_name and label, found {', '.join(cells)}")
            elif not _is_file(path.parent / cells["file_name"]):
                problems.append(f"{path.parent.name}/{line}: there is no {cells['file_name']}")
            else:
                rows.append((path.parent, line, cells))
    folders = {cells["file_name"]: set[Path]() for _, _, cells in rows}
    for folder, _, cells in rows:
        folders[cells["file_name"]].add(folder)
    plain = all(len(each) == 1 for each in folders.values())
    found: Subsets = {}
    groups: dict[str, str] = {}
    files: dict[str, Path] = {}
    for folder, line, cells in rows:
        media = cells["file_name"] if plain else f"{folder.name}/{cells['file_name']}"
        if media in found:
            problems.append(f"{folder.name}/{line}: {media} stands there twice")
        subset = subset_of(folder.name)
        found[media] = cells["label"], {GIVEN: subset} if subset else {}
        groups[media], files[media] = cells.get("group", ""), folder / cells["file_name"]
    notes = () if plain else ("one file name stands in several folders: media are called <folder>/<file name>",)
    listed = Lists(classes_file(source), found, splits=[GIVEN], problems=problems, notes=list(notes))
    return _own(source, listed, files, groups)


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    for number, text in enumerate(read_text(path).splitlines(), 1):
        if text.strip():
            facts = _json_object(text, f"{path}, line {number}")
            yield f"{path.name}, line {number}", {str(key).lower(): _word(value) for key, value in facts.items()}


def from_webdataset(source: Path, into: Path) -> OwnData:
    """Shards `<subset>-*.tar` with `key.<suffix>`, `key.cls` and, where there, `key.json`; media go below `into`.

    Media may stand in shards of several subsets: those are refused by name.
    """
    found: Subsets = {}
    groups: dict[str, str] = {}
    files: dict[str, Path] = {}
    problems = []
    classes = classes_file(source)
    for shard in sorted(source.glob("*.tar")):
        subset = split_and_subset(re.sub(r"[-_][0-9]+$", "", shard.stem))[1]
        for key, members in _keys(shard).items():
            suffix = next((each for each in members if each not in ("cls", "json")), "")
            try:
                facts = _json_object(members.get("json", b"{}"), f"{key}.json")
                number = members.get("cls", b"").decode().strip()
            except (DatasetError, UnicodeDecodeError) as error:
                problems.append(f"{shard.name}: {key}: {error}")
                continue
            media = _word(facts.get("media")) or f"{key}.{suffix}"
            named = re.fullmatch("[0-9]{1,9}", number) and int(number) < len(classes)
            label = _word(facts.get("label")) or (classes[int(number)].key if named else number)
            if not suffix or not label or media in found or _unsafe([media]):
                problems.append(f"{shard.name}: {key}: expected a media of a safe name, once, and its class")
                continue
            found[media] = label, {GIVEN: subset}
            groups[media], files[media] = _word(facts.get("group")), into / media
            with replacing(into / media, "wb") as handle:
                handle.write(members[suffix])
    return _own(source, Lists(classes, found, splits=[GIVEN], problems=problems), files, groups)


IMPORTS: Mapping[str, Import] = {
    "mmaction2": from_mmaction2,
    "rawframes": from_rawframes,
    "skeleton": from_skeleton,
    "videofolder": from_videofolder,
    "webdataset": from_webdataset,
}


def _keys(shard: Path) -> Mapping[str, dict[str, bytes]]:
    """Key -> suffix -> content; the key ends at the first dot of the basename, as WebDataset has it."""
    found: dict[str, dict[str, bytes]] = defaultdict(dict)
    try:
        with tarfile.open(shard) as tar:
            for member in tar:
                folder, slash, name = member.name.rpartition("/")
                key, _, suffix = name.partition(".")
                if member.isfile():
                    content = tar.extractfile(member) or io.BytesIO()
                    found[folder + slash + key][suffix.lower()] = content.read()
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise DatasetError(f"{shard}: expected a tar, found damage: {damage(error)}") from None
    return found


def _json_object(text: str | bytes, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where}: expected JSON, found {damage(error)}") from None
    if not isinstance(found, dict):
        raise DatasetError(f"{where}: expected a JSON object, found {type(found).__name__}")
    return found


def _word(value: object) -> str:
    """A label or a name from JSON; nothing for what is none."""
    return str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113  Path.is_file raises for names that no file can have


def _unsafe(names: Iterable[str]) -> list[str]:
    problems = []
    for media in names:
        try:
            check_path("media", media)
        except ValueError as problem:
            problems.append(str(problem))
    return problems


def _refuse(source: Path, problems: Sequence[str]) -> None:
    if problems:
        raise DatasetError("\n".join([f"{source} cannot be taken:", *some(problems)]))


def _own(source: Path, listed: Lists, files: Mapping[str, Path], groups: Mapping[str, str] | None = None) -> OwnData:
    problems = [*listed.problems, *_unsafe(files)]
    _refuse(source, problems if problems or listed.found else ["there is nothing in it that this format knows"])
    modality = modality_of(listed.found, source)
    axes = read_axes(array_shapes(files), "TMVC") if modality == "pose" else PoseAxes()
    samples = tuple(
        OwnSample(media, label, (groups or {}).get(media, ""), subsets)
        for media, (label, subsets) in listed.found.items()
    )
    splits = tuple(dict.fromkeys(listed.splits))
    return OwnData(samples, splits, modality, files, listed.classes, None, axes, tuple(listed.notes))
