"""`convert`: a data set to other tools' formats, and theirs to a data set of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harbench import paths
from harbench.datasets.tables import expand_splits, load_spec, load_split
from harbench.errors import CacheError, DatasetError, MediaError
from harbench.prepare.match import link_media, linked_media
from harbench.records import Track, silent

if TYPE_CHECKING:
    from harbench.frames.cache import MappedCache


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
    from harbench.prepare.export import EXPORTS, FROM_CACHE

    if to not in EXPORTS:
        raise DatasetError(f"--to {to}: expected one of {', '.join(EXPORTS)}")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DatasetError(f"--output {output}: expected a new or empty folder")
    spec = load_spec(name, home)
    tables = [load_split(name, each, home) for each in expand_splits(spec, split, home)]
    if any(sample.start is not None for table in tables for sample in table.samples):
        raise DatasetError(
            f"{name}: its samples are frame ranges, which {to} cannot say; use --split {spec.splits[0]}-video"
        )
    cache = _cache(home, name, FROM_CACHE[to], [m for t in tables for m in t.media()]) if to in FROM_CACHE else None
    match = linked_media(tables, paths.media_folder(home, name))
    if match.missing and cache is None:
        raise MediaError(
            f"{len(match.missing)} media of {name} are not there ({match.missing[0]}, ...); first   harbench prepare {name}"
        )
    written = EXPORTS[to](tables, match.present, cache, output, track)
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
    from harbench.prepare.foreign import IMPORTS
    from harbench.prepare.own import OwnOptions
    from harbench.prepare.own_write import write_own

    if form not in IMPORTS:
        raise DatasetError(f"--from {form}: expected one of {', '.join(IMPORTS)}")
    data = IMPORTS[form](source, home / name / "unpacked" / form)
    notes = write_own(data, OwnOptions(name, force=force), home)
    link_media(data.files, paths.media_folder(home, name))
    spec = load_spec(name, home)
    return Conversion(name, form, spec.splits, len(data.samples), str(home / name), notes, f"harbench prepare {name}")


def _cache(home: Path, name: str, stream: str, media: list[str]) -> MappedCache:
    """The largest cache of a stream that holds all of the media."""
    from harbench.frames.cache import open_cache

    folder = paths.cache_folder(home, name, "")
    sizes = {path: sum(tar.stat().st_size for tar in path.glob("*.tar")) for path in folder.glob(f"{stream}*")}
    for path in sorted(sizes, key=lambda path: -sizes[path]):
        cache = open_cache(path)
        if all(each in cache for each in media):
            return cache
    raise CacheError(
        f"{name} has no whole {stream} cache under {folder}; first   harbench prepare {name} --stream {stream}"
    )
