"""Video folders of the Hugging Face `videofolder` builder: `metadata.csv` or `.jsonl` in each split folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from harbench.datasets.parse import SUBSETS, read_text, subset_of
from harbench.errors import DatasetError
from harbench.files import write_text
from harbench.frames.cache import MappedCache
from harbench.prepare.formats.lists import (
    SUBSET_NAMES,
    Lists,
    Media,
    Subsets,
    is_file,
    json_object,
    only_split,
    own_data,
    word,
    write_classes,
)
from harbench.prepare.match import link_media
from harbench.prepare.own import GIVEN, OwnData, classes_file
from harbench.prepare.own_csv import read_table
from harbench.records import SplitTable, Track


def to_videofolder(
    tables: Sequence[SplitTable], media: Media, cache: MappedCache | None, dest: Path, track: Track
) -> int:
    """`<subset>/metadata.csv` with `file_name,label,group`, the media linked beside it; one split."""
    table = only_split(tables, "videofolder")
    written = 0
    for subset in SUBSET_NAMES:
        samples = table.subset(subset)
        if not samples:
            continue
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("file_name", "label", "group"))
        link_media({sample.media: media[sample.media] for sample in samples}, dest / subset)
        for sample in samples:
            writer.writerow((sample.media, table.classes[sample.target].key, sample.group))
            written += 1
        write_text(dest / subset / "metadata.csv", out.getvalue())
    write_classes(table, dest)
    return written


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
            elif not is_file(path.parent / cells["file_name"]):
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
    return own_data(source, listed, files, groups)


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    for number, text in enumerate(read_text(path).splitlines(), 1):
        if text.strip():
            facts = json_object(text, f"{path}, line {number}")
            yield f"{path.name}, line {number}", {str(key).lower(): word(value) for key, value in facts.items()}
