"""WebDataset shards: `<subset>-000000.tar` with `<key>.<suffix>`, `<key>.cls` and `<key>.json`."""

from __future__ import annotations

import io
import json
import lzma
import re
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from harbench.errors import DatasetError, damage
from harbench.files import replacing
from harbench.frames.cache import MappedCache
from harbench.prepare.formats.lists import (
    SUBSET_NAMES,
    Lists,
    Media,
    Subsets,
    json_object,
    only_split,
    own_data,
    split_and_subset,
    unsafe_paths,
    word,
    write_classes,
)
from harbench.prepare.own import GIVEN, OwnData, classes_file
from harbench.records import SplitTable, Track

SHARD = 1000
"""Samples a WebDataset shard."""


def to_webdataset(
    tables: Sequence[SplitTable], media: Media, cache: MappedCache | None, dest: Path, track: Track
) -> int:
    """`<subset>-000000.tar`: `<key>.<suffix>`, `<key>.cls` (the class's number) and `<key>.json`; one split."""
    table = only_split(tables, "webdataset")
    written = 0
    for subset in SUBSET_NAMES:
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
    write_classes(table, dest)
    return written


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
                facts = json_object(members.get("json", b"{}"), f"{key}.json")
                number = members.get("cls", b"").decode().strip()
            except (DatasetError, UnicodeDecodeError) as error:
                problems.append(f"{shard.name}: {key}: {error}")
                continue
            media = word(facts.get("media")) or f"{key}.{suffix}"
            named = re.fullmatch("[0-9]{1,9}", number) and int(number) < len(classes)
            label = word(facts.get("label")) or (classes[int(number)].key if named else number)
            if not suffix or not label or media in found or unsafe_paths([media]):
                problems.append(f"{shard.name}: {key}: expected a media of a safe name, once, and its class")
                continue
            found[media] = label, {GIVEN: subset}
            groups[media], files[media] = word(facts.get("group")), into / media
            with replacing(into / media, "wb") as handle:
                handle.write(members[suffix])
    return own_data(source, Lists(classes, found, splits=[GIVEN], problems=problems), files, groups)


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


def _member(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    tar.addfile(info, io.BytesIO(content))
