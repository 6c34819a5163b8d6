"""Write `splits/<dataset>/published.csv` from the collected table of published numbers.

    python splits/build_published.py --from baselines.csv

Only rows with `ship` yes or secondary are taken. Their free text (protocol, input, views, pretraining, ...) is
translated by `published_protocols.csv` beside this script: `column,dataset,raw,says,why`, where `says` is
`field=value; field=value`. A text without a translation is an error, and so is a translation that no row uses. When
two texts of a row speak of the same field, the more specific one wins (see PRECEDENCE). Lines of the column `words`
replace a part of a note.

`published_more.csv` beside this script holds further rows as they are to be, each with its data set in front: claims of
origin projects that the collected table leaves out for having no protocol, and other people's code run again by harbench.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from harbench.files import write_text  # noqa: E402
from harbench.reporting.published import COLUMNS  # noqa: E402

SHIPPED = ("yes", "secondary")
PRECEDENCE = ("dataset", "metric", "pretrain", "views", "input", "protocol", "source_id", "notes", "method")
"""Columns whose texts are translated; a later one overrides an earlier one."""
OPTIONAL = ("source_id", "notes", "method")
"""Columns that are kept as they are where no translation exists."""
COPIED = (
    "method",
    "family",
    "backbone",
    "params_m",
    "value",
    "year",
    "source_title",
    "source_id",
    "where_seen",
    "notes",
)

Mapping = dict[tuple[str, str, str], dict[str, str]]


def read_mapping(path: Path) -> Mapping:
    """(column, data set or empty, raw text) -> the fields it states."""
    mapping: Mapping = {}
    with open(path, encoding="utf-8", newline="") as handle:
        for line in csv.DictReader(handle):
            key = (line["column"], line["dataset"], line["raw"])
            if key in mapping:
                raise SystemExit(f"{path}: {key} stands there twice")
            if line["column"] == "words":
                mapping[key] = {"": line["says"]}
                continue
            pairs = (pair.partition("=") for pair in line["says"].split("; ") if pair)
            mapping[key] = {field: value for field, _, value in pairs}
            if unknown := set(mapping[key]) - set(COLUMNS):
                raise SystemExit(f"{path}: {key} states fields that published.csv has not: {', '.join(unknown)}")
    return mapping


def translate(raw: dict[str, str], mapping: Mapping, used: set[tuple[str, str, str]]) -> tuple[str, dict[str, str]]:
    """One collected row -> (data set, published row). Marks the translations that it used."""
    datasets = [key for key in mapping if key[0] == "dataset" and key[2] == raw["dataset"]]
    if not datasets:
        raise SystemExit(f"data set {raw['dataset']!r} has no folder: add it to published_protocols.csv")
    dataset = datasets[0][1]
    row = {column: raw.get(column, "") for column in COPIED}
    for column in PRECEDENCE:
        text = raw[column]
        key = next((k for k in ((column, dataset, text), (column, "", text)) if k in mapping), None)
        if key is not None:
            used.add(key)
            row |= mapping[key]
        elif column not in OPTIONAL:
            raise SystemExit(f"{dataset}: {column} {text!r} ({raw['method']}) has no line in published_protocols.csv")
    for key, says in mapping.items():
        for column in ("notes", "where_seen"):
            if key[0] == "words" and key[2] in row[column]:
                used.add(key)
                row[column] = row[column].replace(key[2], says[""])
    return dataset, {column: row.get(column) or ("" if column in COPIED else "unknown") for column in COLUMNS}


def build(
    source: Path, mapping_path: Path = HERE / "published_protocols.csv", more: Path | None = HERE / "published_more.csv"
) -> dict[str, str]:
    """Data set -> text of its published.csv: sorted rows, one column a field."""
    mapping = read_mapping(mapping_path)
    used: set[tuple[str, str, str]] = set()
    tables: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    with open(source, encoding="utf-8", newline="") as handle:
        for raw in csv.DictReader(handle):
            if raw["ship"] in SHIPPED:
                dataset, row = translate(raw, mapping, used)
                tables[dataset].append(tuple(row[column] for column in COLUMNS))
    if more is not None:
        with open(more, encoding="utf-8", newline="") as handle:
            for line in csv.DictReader(handle):
                tables[line["dataset"]].append(tuple(line[column] for column in COLUMNS))
    if stale := set(mapping) - used:
        raise SystemExit(f"{mapping_path}: no row uses {sorted(stale)}")
    return {dataset: _as_csv(sorted(rows)) for dataset, rows in sorted(tables.items())}


def _as_csv(rows: Iterable[tuple[str, ...]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path, required=True, help="the collected table, a csv")
    tables = build(parser.parse_args().source)
    for dataset, text in tables.items():
        write_text(HERE / dataset / "published.csv", text)


if __name__ == "__main__":
    main()
