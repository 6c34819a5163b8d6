"""Other tools' formats read as a user's own data set: mmaction2 lists, skeleton pickles, video folders, WebDataset.

The counterpart of `harbench.frames.export`. Pickles are read as data, shards member by member; paths in them are checked
before anything is written.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harbench.datasets.parse import SUBSETS, check_path
from harbench.errors import DatasetError
from harbench.files import replacing
from harbench.ingest.own import GIVEN, OwnData, OwnSample, classes_file, modality_of, pose_shape, some
from harbench.ingest.own_csv import read_table
from harbench.pickles import read_pickle
from harbench.records import ClassLabel, Subset

_PICTURES = (".jpg", ".jpeg", ".png")
Import = Callable[[Path, Path], OwnData]
"""(what to read, folder for media that do not lie as files of their own) -> the data set."""


def from_mmaction2(source: Path, into: Path) -> OwnData:
    """A folder with `label_map.txt`, `videos/` and `<split>_<subset>_videos.txt` lists of `path label`."""
    classes = _label_map(source)
    listed = _lists(source, "videos", 1, classes)
    files = {media: source / "videos" / media for media in listed.found}
    problems = [f"videos/{media}: there is no such file" for media, file in files.items() if not file.is_file()]
    return _own(source, listed.found, listed.splits, files, classes, [*listed.problems, *problems])


def from_rawframes(source: Path, into: Path) -> OwnData:
    """A folder with `label_map.txt`, `rawframes/` and `<split>_<subset>_rawframes.txt` lists of `dir frames label`.

    The pictures of a folder are put into one file below `into`, byte for byte, in the order of their names; those of flow
    (`flow_x_00001.jpg`) are left out.
    """
    classes = _label_map(source)
    listed = _lists(source, "rawframes", 2, classes)
    pictures = {
        name: sorted(
            path
            for path in (source / "rawframes" / name).glob("*")
            if path.suffix.lower() in _PICTURES and not path.name.startswith("flow_")
        )
        for name in listed.found
    }
    problems = [*listed.problems, *_unsafe(dict.fromkeys(pictures, source))]
    problems += [
        f"rawframes/{name}: {frames} frames are listed, {len(pictures[name])} are there"
        for name, frames in listed.frames.items()
        if frames != len(pictures[name]) or frames == 0
    ]
    _refuse(source, problems)
    found = {f"{name}.frames": listed.found[name] for name in pictures}
    files = {media: into / media for media in found}
    for name, paths in pictures.items():
        with (
            replacing(into / f"{name}.frames", "wb") as handle,
            tarfile.open(fileobj=handle, mode="w", dereference=True) as tar,
        ):
            for path in paths:
                tar.add(path, path.name)
    notes = ("frame rates are not in these lists: sample them with a stride, not with fps",)
    return _own(source, found, listed.splits, files, classes, [], notes)


def from_skeleton(source: Path, into: Path) -> OwnData:
    """A pyskl or mmaction2 pickle (or the folder of one, with its `label_map.txt`); joints are written below `into`."""
    path = source / "annotations.pkl" if source.is_dir() else source
    content: Any = read_pickle(path)
    if not isinstance(content, dict) or not {"split", "annotations"} <= set(content):
        raise DatasetError(f"{path}: expected a pickle of `split` and `annotations`, as pyskl and mmaction2 write it")
    annotations = {str(each["frame_dir"]): each for each in content["annotations"]}
    numbers = sorted({int(each["label"]) for each in annotations.values()})
    with_map = path.with_name("label_map.txt").is_file()
    classes = (
        _label_map(path.parent) if with_map else tuple(ClassLabel(f"{n:03d}", str(n)) for n in range(numbers[-1] + 1))
    )
    found: dict[str, tuple[str, dict[str, Subset]]] = {}
    problems: list[str] = []
    for name, each in annotations.items():
        if not 0 <= int(each["label"]) < len(classes):
            problems.append(f"{name}: its label {each['label']} is not below {len(classes)}")
        else:
            found[f"{name}.npy"] = classes[int(each["label"])].key, {}
    splits = []
    for part, names in content["split"].items():
        split, subset = _part(str(part))
        splits.append(split)
        problems += [f"split {part}: {name} has no annotation" for name in names if f"{name}.npy" not in found]
        for name in names:
            if f"{name}.npy" in found:
                found[f"{name}.npy"][1][split] = subset
    files = {media: into / media for media in found}
    _refuse(path, [*problems, *_unsafe(files)])
    for media, file in files.items():
        keypoint = np.asarray(annotations[media.removesuffix(".npy")]["keypoint"])
        if keypoint.ndim != 4:
            raise DatasetError(f"{path}: {media}: expected keypoint [M, T, V, C], found {list(keypoint.shape)}")
        with replacing(file, "wb") as handle:
            np.save(handle, keypoint.swapaxes(0, 1).astype(np.float32), allow_pickle=False)
    scores = (
        ("keypoint_score was not taken over",) if any("keypoint_score" in each for each in annotations.values()) else ()
    )
    return _own(path, found, splits, files, classes, [], scores)


def from_videofolder(source: Path, into: Path) -> OwnData:
    """Hugging Face's videofolder: `metadata.csv` with `file_name,label[,group]` in `train/`, `validation/`, `test/`."""
    found: dict[str, tuple[str, dict[str, Subset]]] = {}
    groups: dict[str, str] = {}
    files: dict[str, Path] = {}
    problems = []
    for path in sorted(source.glob("*/metadata.csv")):
        if path.parent.name.lower() not in SUBSETS:
            raise DatasetError(f"{path}: expected a folder of {', '.join(SUBSETS)}")
        for line, cells in read_table(path):
            media = cells["file_name"]
            if media in found:
                problems.append(f"{path.parent.name}/{line}: {media} stands there twice")
            found[media] = cells["label"], {GIVEN: SUBSETS[path.parent.name.lower()]}
            groups[media], files[media] = cells.get("group", ""), path.parent / media
            if not files[media].is_file():
                problems.append(f"{path.parent.name}/{line}: there is no {media}")
    return _own(source, found, [GIVEN], files, classes_file(source), problems, groups=groups)


def from_webdataset(source: Path, into: Path) -> OwnData:
    """Shards `<subset>-*.tar` with `key.<suffix>`, `key.cls` and, where there, `key.json`; media go below `into`."""
    found: dict[str, tuple[str, dict[str, Subset]]] = {}
    groups: dict[str, str] = {}
    files: dict[str, Path] = {}
    problems = []
    classes = classes_file(source)
    for shard in sorted(source.glob("*.tar")):
        subset = SUBSETS.get(shard.name.partition("-")[0].lower())
        if subset is None:
            raise DatasetError(f"{shard}: expected a name that begins with {', '.join(SUBSETS)} and a `-`")
        for key, members in _keys(shard).items():
            suffix = next((each for each in members if each not in ("cls", "json")), "")
            facts = json.loads(members.get("json", b"{}"))
            media = str(facts.get("media") or f"{key}.{suffix}")
            number = members.get("cls", b"").decode()
            named = number.isdigit() and int(number) < len(classes)
            label = str(facts.get("label") or (classes[int(number)].key if named else number))
            if not suffix or not label or media in found or _unsafe({media: shard}):
                problems.append(f"{shard.name}: {key}: expected a media of a safe name, once, and its class")
                continue
            found[media] = label, {GIVEN: subset}
            groups[media], files[media] = str(facts.get("group", "")), into / media
            with replacing(into / media, "wb") as handle:
                handle.write(members[suffix])
    return _own(source, found, [GIVEN], files, classes, problems, groups=groups)


IMPORTS: Mapping[str, Import] = {
    "mmaction2": from_mmaction2,
    "rawframes": from_rawframes,
    "skeleton": from_skeleton,
    "videofolder": from_videofolder,
    "webdataset": from_webdataset,
}


@dataclass(frozen=True)
class _Lists:
    """What mmaction2's lists say of their media."""

    found: dict[str, tuple[str, dict[str, Subset]]] = field(default_factory=dict)
    """Media -> its class's key, and its subset in each split."""
    frames: dict[str, int] = field(default_factory=dict)
    splits: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def _lists(source: Path, kind: str, numbers: int, classes: tuple[ClassLabel, ...]) -> _Lists:
    """`<split>_<subset>_<kind>.txt`, each line a path, then for two `numbers` its frames, and its label."""
    lists = _Lists()
    expected = "path label" if numbers == 1 else "path frames label"
    for path in sorted(source.glob(f"*_{kind}.txt")):
        split, subset = _part(path.stem.removesuffix(f"_{kind}"))
        lists.splits.append(split)
        for line, text in enumerate(path.read_text("utf-8-sig").splitlines(), 1):
            media, *values = text.strip().rsplit(" ", numbers)
            if len(values) != numbers or not all(map(str.isdigit, values)) or int(values[-1]) >= len(classes):
                lists.problems.append(
                    f"{path.name}, line {line}: expected `{expected}` with a label below {len(classes)}"
                )
                continue
            key = classes[int(values[-1])].key
            known = lists.found.setdefault(media, (key, {}))
            if known[0] != key or split in known[1]:
                lists.problems.append(f"{path.name}, line {line}: {media} stands there twice, or under two labels")
            known[1][split] = subset
            lists.frames[media] = int(values[0])
    return lists


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
    except tarfile.TarError as error:
        raise DatasetError(f"{shard}: expected a tar, found damage: {error}") from None
    return found


def _label_map(folder: Path) -> tuple[ClassLabel, ...]:
    """mmaction2's label map: one class a line, its number the line."""
    path = folder / "label_map.txt"
    if not path.is_file():
        raise DatasetError(f"{path}: expected the class names, one a line; found nothing")
    names = path.read_text("utf-8-sig").split("\n")
    names = [name.strip() for name in names if name.strip()]
    return tuple(
        ClassLabel("".join(c if c.isalnum() or c in "_+-" else "_" for c in name), name.replace("_", " "))
        for name in names
    )


def _part(name: str) -> tuple[str, Subset]:
    """`split1_train` -> split and subset; `train` alone is the given split."""
    split, _, subset = name.rpartition("_")
    if subset.lower() not in SUBSETS:
        raise DatasetError(f"{name!r}: expected the name of a split and {', '.join(SUBSETS)}, e.g. split1_train")
    return split or GIVEN, SUBSETS[subset.lower()]


def _unsafe(files: Mapping[str, Path]) -> list[str]:
    problems = []
    for media in files:
        try:
            check_path("media", media)
        except ValueError as problem:
            problems.append(str(problem))
    return problems


def _refuse(source: Path, problems: list[str]) -> None:
    if problems:
        raise DatasetError("\n".join([f"{source} cannot be taken:", *some(problems)]))


def _own(
    source: Path,
    found: Mapping[str, tuple[str, dict[str, Subset]]],
    splits: list[str],
    files: Mapping[str, Path],
    classes: tuple[ClassLabel, ...],
    problems: list[str],
    notes: tuple[str, ...] = (),
    groups: Mapping[str, str] | None = None,
) -> OwnData:
    _refuse(source, [*problems, *_unsafe(files)] if found else ["there is nothing in it that this format knows"])
    modality = modality_of(found, source)
    shape = pose_shape(files) if modality == "pose" else (0, 0)
    samples = (
        OwnSample(media, label, (groups or {}).get(media, ""), subsets) for media, (label, subsets) in found.items()
    )
    return OwnData(tuple(samples), tuple(dict.fromkeys(splits)), modality, files, classes, None, shape, notes)
