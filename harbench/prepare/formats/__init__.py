"""Other tools' formats, written from a prepared data set and read as a user's own: one file a format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harbench import paths
from harbench.datasets.tables import expand_splits, load_spec, load_split
from harbench.errors import CacheError, DatasetError, MediaError
from harbench.frames.cache import MappedCache, open_cache
from harbench.prepare.formats.lists import Media
from harbench.prepare.formats.mmaction2 import from_mmaction2, from_rawframes, to_mmaction2, to_rawframes
from harbench.prepare.formats.skeleton import from_skeleton, to_skeleton
from harbench.prepare.formats.videofolder import from_videofolder, to_videofolder
from harbench.prepare.formats.webdataset import from_webdataset, to_webdataset
from harbench.prepare.match import link_media, linked_media
from harbench.prepare.own import OwnData, OwnOptions
from harbench.prepare.own_write import write_own
from harbench.records import SplitTable, Track, silent


@dataclass(frozen=True)
class Format:
    """How a format is written and read."""

    write: Callable[[Sequence[SplitTable], Media, MappedCache | None, Path, Track], int]
    """(tables of the splits, media -> file, cache or None, folder, track) -> samples written."""
    read: Callable[[Path, Path], OwnData]
    """(what to read, folder for media that do not lie as files of their own) -> the data set."""
    stream: str = ""
    """The stream of the frame cache that it is written from; empty: from the media."""


FORMATS: Mapping[str, Format] = {
    "mmaction2": Format(to_mmaction2, from_mmaction2),
    "rawframes": Format(to_rawframes, from_rawframes, "rgb"),
    "skeleton": Format(to_skeleton, from_skeleton, "pose"),
    "videofolder": Format(to_videofolder, from_videofolder),
    "webdataset": Format(to_webdataset, from_webdataset),
}


@dataclass(frozen=True)
class Conversion:
    """What `convert` wrote."""

    dataset: str
    format: str
    splits: tuple[str, ...]
    samples: int
    output: str
    notes: tuple[str, ...]
    next: str


def convert(name: str, *, to: str, output: Path, home: Path, split: str = "all", track: Track = silent) -> Conversion:
    """Write a prepared data set in another tool's format into `output`, a new or empty folder.

    Formats: mmaction2, rawframes (JPEG folders), skeleton, videofolder, webdataset. Media are linked, shards hold copies.

    Raises DatasetError for an unknown format or samples that are frame ranges, MediaError where media are missing,
    CacheError where the format is written from a cache that is not there.
    """
    if to not in FORMATS:
        raise DatasetError(f"--to {to}: expected one of {', '.join(FORMATS)}")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DatasetError(f"--output {output}: expected a new or empty folder")
    spec = load_spec(name, home)
    tables = [load_split(name, each, home) for each in expand_splits(spec, split, home)]
    if any(sample.start is not None for table in tables for sample in table.samples):
        raise DatasetError(
            f"{name}: its samples are frame ranges, which {to} cannot say; use --split {spec.splits[0]}-video"
        )
    stream = FORMATS[to].stream
    cache = _cache(home, name, stream, [m for t in tables for m in t.media()]) if stream else None
    match = linked_media(tables, paths.media_folder(home, name))
    if match.missing and cache is None:
        raise MediaError(
            f"{len(match.missing)} media of {name} are not there ({match.missing[0]}, ...); first   harbench prepare {name}"
        )
    written = FORMATS[to].write(tables, match.present, cache, output, track)
    splits = tuple(table.split for table in tables)
    return Conversion(
        name,
        to,
        splits,
        written,
        str(output),
        (),
        f"harbench convert {output} --from {to} --name NAME reads it back",
    )


def convert_from(form: str, source: Path, *, name: str, home: Path, force: bool = False) -> Conversion:
    """Make what another tool's format holds the data set `name` of this data home.

    Formats: mmaction2, rawframes, skeleton, videofolder, webdataset. Raises DatasetError with every problem at once.
    """
    if form not in FORMATS:
        raise DatasetError(f"--from {form}: expected one of {', '.join(FORMATS)}")
    data = FORMATS[form].read(source, home / name / "unpacked" / form)
    notes = write_own(data, OwnOptions(name, force=force), home)
    link_media(data.files, paths.media_folder(home, name))
    spec = load_spec(name, home)
    return Conversion(name, form, spec.splits, len(data.samples), str(home / name), notes, f"harbench prepare {name}")


def _cache(home: Path, name: str, stream: str, media: list[str]) -> MappedCache:
    """The largest cache of a stream that holds all of the media."""
    folder = paths.cache_folder(home, name, "")
    sizes = {path: sum(tar.stat().st_size for tar in path.glob("*.tar")) for path in folder.glob(f"{stream}*")}
    for path in sorted(sizes, key=lambda path: -sizes[path]):
        cache = open_cache(path)
        if all(each in cache for each in media):
            return cache
    raise CacheError(
        f"{name} has no whole {stream} cache under {folder}; first   harbench prepare {name} --stream {stream}"
    )
