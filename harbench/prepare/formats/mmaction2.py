"""mmaction2's lists and JPEG folders, as its "Prepare dataset" pages have them: `path label`; `directory frames label`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harbench.datasets.parse import read_text, without_suffix
from harbench.errors import DatasetError
from harbench.files import replacing, write_text
from harbench.frames.cache import MappedCache
from harbench.frames.streams import encode_jpeg
from harbench.prepare.formats.lists import (
    SUBSET,
    Lists,
    Media,
    first_label,
    is_file,
    label_map,
    media_of,
    own_data,
    refuse,
    split_and_subset,
    split_subsets,
    unsafe_paths,
)
from harbench.prepare.match import link_media
from harbench.prepare.own import OwnData, kind_of
from harbench.prepare.own_folders import in_order, write_frames
from harbench.records import SplitTable, Subset, Track


class _Line(NamedTuple):
    """A line of a list."""

    where: str
    media: str
    frames: int
    label: int


def to_mmaction2(
    tables: Sequence[SplitTable], media: Media, cache: MappedCache | None, dest: Path, track: Track
) -> int:
    """`label_map.txt`, `videos/` (links) and `<split>_<subset>_videos.txt` with `path label`."""
    _refuse_spaces(tables)
    write_text(dest / "label_map.txt", "".join(f"{label.key}\n" for label in tables[0].classes))
    link_media({name: media[name] for name in media_of(tables)}, dest / "videos")
    for stem, samples in split_subsets(tables):
        write_text(dest / f"{stem}_videos.txt", "".join(f"{each.media} {each.target}\n" for each in samples))
    return len(media_of(tables))


def from_mmaction2(source: Path, into: Path) -> OwnData:
    """A folder with `label_map.txt`, `videos/` and lists of `path label`, one a subset.

    Lists are called as mmaction2 calls them: `train_videos.txt`, `split1_train_videos.txt`, `train.txt`,
    `ucf101_train_split_1_videos.txt`, `kinetics400_train_list_videos.txt`.
    """
    listed = read_lists(source, "videos", 1)
    files = {media: source / "videos" / media for media in listed.found}
    problems = [f"videos/{media}: there is no such file" for media, file in files.items() if not is_file(file)]
    listed.problems.extend(problems)
    return own_data(source, listed, files)


def to_rawframes(
    tables: Sequence[SplitTable], media: Media, cache: MappedCache | None, dest: Path, track: Track
) -> int:
    """`rawframes/<media>/img_00001.jpg` from the cache, and `<split>_<subset>_rawframes.txt` with `dir frames label`."""
    _refuse_spaces(tables)
    assert cache is not None
    write_text(dest / "label_map.txt", "".join(f"{label.key}\n" for label in tables[0].classes))
    names = media_of(tables)
    for name in track(names, "writing frames", len(names)):
        for number, content in enumerate(_jpegs(cache, name), 1):
            with replacing(dest / "rawframes" / without_suffix(name) / f"img_{number:05d}.jpg", "wb") as file:
                file.write(content)
    for stem, samples in split_subsets(tables):
        lines = (f"{without_suffix(each.media)} {cache.info(each.media).frames} {each.target}\n" for each in samples)
        write_text(dest / f"{stem}_rawframes.txt", "".join(lines))
    return len(names)


def from_rawframes(source: Path, into: Path) -> OwnData:
    """A folder with `label_map.txt`, `rawframes/` and lists of `dir frames label`, called as for `from_mmaction2`.

    The pictures of a folder are put into one file below `into`, byte for byte, in the order of the numbers in their names;
    those of flow (`flow_x_00001.jpg`) are left out.
    """
    listed = read_lists(source, "rawframes", 2)
    refuse(source, [*listed.problems, *unsafe_paths(listed.found)])
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
    refuse(source, problems)
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
    return own_data(source, listed, {media: into / media for media in found})


def read_lists(source: Path, kind: str, numbers: int) -> Lists:
    """The lists of a folder, each line a path, then for two `numbers` its frames, and its label."""
    classes, first = label_map(source)
    lists = Lists(classes)
    expected = "path label" if numbers == 1 else "path frames label"
    pattern = re.compile(r"(.*\S)" + r"[\s,;]+([0-9]{1,9})" * numbers)
    texts = [path for path in sorted(source.glob("*.txt")) if path.name not in ("label_map.txt", "classes.txt")]
    named = [path for path in texts if path.stem.endswith(f"_{kind}")] or [p for p in texts if SUBSET.search(p.stem)]
    if not named:
        raise DatasetError(
            f"{source}: expected lists of `{expected}` called train_{kind}.txt or split1_train_{kind}.txt; found "
            f"{', '.join(path.name for path in texts) or 'no other .txt'}"
        )
    lines: dict[tuple[str, Subset], list[_Line]] = {}
    for path in named:
        part = split_and_subset(path.stem)
        if part in lines:
            lists.problems.append(f"{path.name}: there is a list of {part[1]} of {part[0]} already")
        here = lines.setdefault(part, [])
        for line, text in enumerate(read_text(path).splitlines(), 1):
            match = pattern.fullmatch(text.strip())
            if match:
                here.append(_Line(f"{path.name}, line {line}", match[1], int(match[2]), int(match[numbers + 1])))
            elif text.strip():
                lists.problems.append(f"{path.name}, line {line}: expected `{expected}`, found {text[:80]!r}")
    if idle := [path.name for path in texts if path not in named]:
        lists.notes.append(f"not read: {', '.join(idle)}")
    start, notes = first_label((line.label for each in lines.values() for line in each), len(classes), first)
    lists.notes.extend(notes)
    for (split, subset), listed in lines.items():
        lists.splits.append(split)
        for where, media, frames, label in listed:
            if not 0 <= label - start < len(classes):
                lists.problems.append(f"{where}: expected a label below {len(classes)}, found {label}")
                continue
            key = classes[label - start].key
            known = lists.found.setdefault(media, (key, {}))
            if known[0] != key or split in known[1]:
                lists.problems.append(f"{where}: {media} stands there twice, or under two labels")
            known[1][split] = subset
            lists.frames[media] = frames
    return lists


def _jpegs(cache: MappedCache, name: str) -> Iterator[bytes]:
    """The frames of a media as cached, byte for byte; those of a raw cache encoded at quality 95."""
    stored = cache.stored(name)
    if stored[0].startswith(b"\xff\xd8"):
        yield from stored
        return
    for image in cache.read(name, np.arange(cache.info(name).frames)):
        yield encode_jpeg(np.asarray(image, np.uint8), 95)


def _refuse_spaces(tables: Sequence[SplitTable]) -> None:
    """mmaction2 cuts its lists at white space, so it would read such a line wrongly."""
    bad = [name for name in media_of(tables) if name.split() != [name]]
    if bad:
        raise DatasetError(
            f"{len(bad)} media have white space in their names, at which mmaction2 cuts its lists: {', '.join(bad[:3])}. "
            "Use --to videofolder or webdataset, or rename them."
        )
