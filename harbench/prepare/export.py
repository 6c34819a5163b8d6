"""Prepared data in other tools' formats: one function a format, all of one signature.

mmaction2 lists and JPEG folders follow its "Prepare dataset" pages (`path label`; `directory frames label`,
`img_00001.jpg`), skeleton pickles pyskl's (`split`, `annotations` with `keypoint` [M, T, V, C]), video folders the
Hugging Face `videofolder` builder (`metadata.csv` with `file_name` in each split folder), shards WebDataset's naming.
"""

from __future__ import annotations

import csv
import io
import json
import pickle  # noqa: TID251  writing only: reading goes through harbench.pickles
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from harbench.datasets.parse import without_suffix
from harbench.errors import DatasetError
from harbench.files import replacing, write_text
from harbench.frames.cache import MappedCache
from harbench.frames.streams import encode_jpeg
from harbench.records import Sample, SplitTable, Subset, Track

SUBSETS: tuple[Subset, ...] = ("train", "val", "test")
SHARD = 1000
"""Samples a WebDataset shard."""
Media = Mapping[str, Path]
Export = Callable[[Sequence[SplitTable], Media, MappedCache | None, Path, Track], int]
"""(tables of the splits, media -> file, cache or None, folder, track) -> samples written."""


def to_mmaction2(
    tables: Sequence[SplitTable], media: Media, cache: MappedCache | None, dest: Path, track: Track
) -> int:
    """`label_map.txt`, `videos/` (links) and `<split>_<subset>_videos.txt` with `path label`."""
    _refuse_spaces(tables)
    write_text(dest / "label_map.txt", "".join(f"{label.key}\n" for label in tables[0].classes))
    for name in track(_media_of(tables), "linking", len(_media_of(tables))):
        link(dest / "videos" / name, media[name])
    for stem, samples in _parts(tables):
        write_text(dest / f"{stem}_videos.txt", "".join(f"{each.media} {each.target}\n" for each in samples))
    return len(_media_of(tables))


def to_rawframes(
    tables: Sequence[SplitTable], media: Media, cache: MappedCache | None, dest: Path, track: Track
) -> int:
    """`rawframes/<media>/img_00001.jpg` from the cache, and `<split>_<subset>_rawframes.txt` with `dir frames label`."""
    _refuse_spaces(tables)
    assert cache is not None
    write_text(dest / "label_map.txt", "".join(f"{label.key}\n" for label in tables[0].classes))
    names = _media_of(tables)
    for name in track(names, "writing frames", len(names)):
        for number, content in enumerate(_jpegs(cache, name), 1):
            with replacing(dest / "rawframes" / without_suffix(name) / f"img_{number:05d}.jpg", "wb") as file:
                file.write(content)
    for stem, samples in _parts(tables):
        lines = (f"{without_suffix(each.media)} {cache.info(each.media).frames} {each.target}\n" for each in samples)
        write_text(dest / f"{stem}_rawframes.txt", "".join(lines))
    return len(names)


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
    split = {stem: [without_suffix(each.media) for each in samples] for stem, samples in _parts(tables)}
    write_text(dest / "label_map.txt", "".join(f"{label.key}\n" for label in tables[0].classes))
    with replacing(dest / "annotations.pkl", "wb") as file:
        pickle.dump({"split": split, "annotations": annotations}, file, protocol=4)
    return len(annotations)


def to_videofolder(
    tables: Sequence[SplitTable], media: Media, cache: MappedCache | None, dest: Path, track: Track
) -> int:
    """`<subset>/metadata.csv` with `file_name,label,group`, the media linked beside it; one split."""
    table = _only(tables, "videofolder")
    written = 0
    for subset in SUBSETS:
        samples = table.subset(subset)
        if not samples:
            continue
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("file_name", "label", "group"))
        for sample in track(samples, f"linking {subset}", len(samples)):
            link(dest / subset / sample.media, media[sample.media])
            writer.writerow((sample.media, table.classes[sample.target].key, sample.group))
            written += 1
        write_text(dest / subset / "metadata.csv", out.getvalue())
    _classes(table, dest)
    return written


def to_webdataset(
    tables: Sequence[SplitTable], media: Media, cache: MappedCache | None, dest: Path, track: Track
) -> int:
    """`<subset>-000000.tar`: `<key>.<suffix>`, `<key>.cls` (the class's number) and `<key>.json`; one split."""
    table = _only(tables, "webdataset")
    written = 0
    for subset in SUBSETS:
        samples = table.subset(subset)
        for number, first in enumerate(track(range(0, len(samples), SHARD), f"writing {subset}")):
            with (
                replacing(dest / f"{subset}-{number:06d}.tar", "wb") as file,
                tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar,
            ):
                for index, sample in enumerate(samples[first : first + SHARD], first):
                    label = table.classes[sample.target].key
                    facts = {"media": sample.media, "label": label, "group": sample.group}
                    _member(tar, f"{index:06d}{Path(sample.media).suffix}", media[sample.media].read_bytes())
                    _member(tar, f"{index:06d}.cls", str(sample.target).encode())
                    _member(tar, f"{index:06d}.json", json.dumps(facts, ensure_ascii=False).encode())
                    written += 1
    _classes(table, dest)
    return written


def _jpegs(cache: MappedCache, name: str) -> Iterator[bytes]:
    """The frames of a media as cached, byte for byte; those of a raw cache encoded at quality 95."""
    stored = cache.stored(name)
    if stored[0].startswith(b"\xff\xd8"):
        yield from stored
        return
    for image in cache.read(name, np.arange(cache.info(name).frames)):
        yield encode_jpeg(np.asarray(image, np.uint8), 95)


def _member(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    tar.addfile(info, io.BytesIO(content))


def link(path: Path, target: Path) -> None:
    """A link to the user's file; what stands there is replaced if it is a link."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        path.unlink()
    path.symlink_to(target.resolve())


def _classes(table: SplitTable, dest: Path) -> None:
    write_text(dest / "classes.txt", "".join(f"{label.key}\t{label.display}\n" for label in table.classes))


def _media_of(tables: Sequence[SplitTable]) -> list[str]:
    return list(dict.fromkeys(name for table in tables for name in table.media()))


def _parts(tables: Sequence[SplitTable]) -> Iterator[tuple[str, tuple[Sample, ...]]]:
    """(`<split>_<subset>`, its samples), the empty ones left out."""
    for table in tables:
        for subset in SUBSETS:
            if samples := table.subset(subset):
                yield f"{table.split}_{subset}", samples


def _only(tables: Sequence[SplitTable], form: str) -> SplitTable:
    if len(tables) > 1:
        names = ", ".join(table.split for table in tables)
        raise DatasetError(
            f"{form} holds one split in folders or shards named train, val, test; say --split, one of {names}"
        )
    return tables[0]


def _refuse_spaces(tables: Sequence[SplitTable]) -> None:
    """mmaction2 cuts its lists at white space, so it would read such a line wrongly."""
    bad = [name for name in _media_of(tables) if name.split() != [name]]
    if bad:
        raise DatasetError(
            f"{len(bad)} media have white space in their names, at which mmaction2 cuts its lists: {', '.join(bad[:3])}. "
            "Use --to videofolder or webdataset, or rename them."
        )


EXPORTS: Mapping[str, Export] = {
    "mmaction2": to_mmaction2,
    "rawframes": to_rawframes,
    "skeleton": to_skeleton,
    "videofolder": to_videofolder,
    "webdataset": to_webdataset,
}
FROM_CACHE: Mapping[str, str] = {"rawframes": "rgb", "skeleton": "pose"}
"""Formats that are written from a frame cache, and of which stream."""
