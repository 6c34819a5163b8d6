"""The page: what every table, figure and run panel needs, worked out here; how it looks stands in the templates.

One file with style, script and pictures in it: nothing is loaded from anywhere, so it can be mailed, archived and read
without a network. Rows are all in it; panels of runs are taken in as long as it stays under `MAX_PAGE` bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from harbench.analysis.compare import TEMPLATES
from harbench.records import UNKNOWN, Leaderboard, ProtocolFacts, Row, RunRecord, Table
from harbench.reporting.details import RunDetail
from harbench.reporting.page.figures import HEIGHT, WIDTH, Axis, Scatter, curves, linear, matrix, scatters
from harbench.reporting.render import between, percent
from harbench.runs.comparability import METRICS, key_differences, part_words, unknown_names

if TYPE_CHECKING:
    from jinja2 import Environment

    from harbench.reporting.verdicts import Verdict

MAX_PAGE = 4_800_000
"""Bytes of a page: it must go into a mail and open on a phone."""
_ROW = 900
"""Bytes that a row takes with its share of footnotes and figures, rounded up; panels have what rows leave."""
_FIRST_ROWS = 100
"""Rows of a table that are seen before all are asked for: laying out thousands takes a browser seconds."""
_TEMPLATES = Path(__file__).parent / "templates"
_FILTERED = ("modality", "pretraining", "frames", "size", "views", "selection")
"""Parts of the protocol that can be chosen by value."""


@dataclass(frozen=True)
class TableView:
    """One table as the page shows it."""

    id: str
    table: Table
    metric: str
    apart: str
    """Why it is not one with the data set's first table, in words; empty for the first one itself."""
    parts: tuple[str, ...]
    """Parts of the protocol with a column: those that some row has."""
    extra: frozenset[str]
    """Further columns that some row has: seeds, params_m, gflops, latency_ms."""
    axis: Axis
    """Of the intervals, 0 to 100 across; the ranked rows set its ends, so that a partial run does not squeeze them."""
    figures: tuple[Scatter, ...]

    @property
    def groups(self) -> list[tuple[str, list[tuple[int, Row]]]]:
        """Heading and numbered rows of each part of the table that has any: bounds, with a place, without."""
        rows = list(enumerate(self.table.rows))
        bounds = [each for each in rows if each[1].kind == "bound"]
        ranked = [each for each in rows if each[1].place is not None]
        rest = [each for each in rows if each[1].place is None and each[1].kind != "bound"]
        return [each for each in (("Upper bound", bounds), ("", ranked), ("Without a place", rest)) if each[1]]


@dataclass(frozen=True)
class DatasetView:
    """One data set as the page shows it."""

    name: str
    tables: tuple[TableView, ...]
    runs: int
    shown: int
    """Runs whose panel is in the page."""
    verdicts: tuple[Verdict, ...]
    """On the numbers that the recipes of its runs state."""

    @property
    def best(self) -> list[tuple[str, Row, TableView]]:
        """`supervised`, `zero-shot`, ..., `of yours` -> the best row with a place of the first table that has one, and that
        table: rows of two tables are not held against each other.
        """
        found: dict[str, tuple[Row, TableView]] = {}
        for view in self.tables:
            placed = [row for row in view.table.rows if row.place is not None]
            for name, rows in (
                (view.table.key.kind, placed),
                ("of yours", [row for row in placed if row.kind == "run"]),
            ):
                if rows and view.table.key.metric == self.tables[0].table.key.metric:
                    found.setdefault(name, (max(rows, key=lambda row: row.value), view))
        return [(name, row, view) for name, (row, view) in found.items()]


def render_page(board: Leaderboard, details: Iterable[RunDetail] = (), verdicts: Sequence[Verdict] = ()) -> str:
    """The whole page. `details` are taken in their order for as long as they fit; how many did not is said."""
    environment = _environment()
    panels: dict[str, str] = {}
    room = MAX_PAGE - _ROW * sum(len(table.rows) for table in board.tables)
    siblings = _siblings(board)
    template = environment.get_template("run.html.j2")
    for detail in details:
        panel = template.render(
            detail=detail,
            facts=record_facts(detail.record),
            record_json=record_text(detail.record),
            curves=curves(detail),
            matrix=matrix(detail),
            siblings=siblings.get(_stem(detail.record.folder), []),
        )
        room -= len(panel)
        if room < 0:
            break
        panels[detail.record.folder] = panel
    return environment.get_template("page.html.j2").render(
        board=board,
        datasets=_datasets(board, panels, verdicts),
        panels=panels,
        choices=_choices(board),
        full=room < 0,
    )


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader((_TEMPLATES, TEMPLATES)),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.globals |= {
        "metrics": {**METRICS, "clip_top1": "top-1 of single views"},
        "width": WIDTH,
        "height": HEIGHT,
    }
    environment.globals |= {"unknown": UNKNOWN, "first_rows": _FIRST_ROWS}
    environment.filters |= {
        "percent": percent,
        "between": between,
        "split_words": lambda split_set: part_words("split_set", split_set),
        "words": lambda name: str(name).replace("_", " "),
    }
    return environment


def _stem(folder: str) -> str:
    """`<dataset>/<recipe>` of a run's folder: its other seeds and splits share it."""
    return "/".join(folder.split("/")[:2])


def _siblings(board: Leaderboard) -> dict[str, list[str]]:
    """`<dataset>/<recipe>` -> the folders of all its runs on the board, sorted."""
    found: dict[str, set[str]] = {}
    for table in board.tables:
        for row in table.rows:
            for folder in row.runs:
                found.setdefault(_stem(folder), set()).add(folder)
    return {stem: sorted(folders) for stem, folders in found.items()}


def _datasets(board: Leaderboard, panels: Iterable[str], verdicts: Sequence[Verdict]) -> list[DatasetView]:
    by_name: dict[str, list[Table]] = {}
    for table in board.tables:
        by_name.setdefault(table.key.dataset, []).append(table)
    included = set(panels)
    views = []
    for name, tables in by_name.items():
        runs = {folder for table in tables for row in table.rows for folder in row.runs}
        shown = tuple(_table_view(f"{name}-{index}", table, tables[0]) for index, table in enumerate(tables, 1))
        reached = tuple(each for each in verdicts if each.target.key.dataset == name)
        views.append(DatasetView(name, shown, len(runs), len(runs & included), reached))
    return views


def _table_view(table_id: str, table: Table, first: Table) -> TableView:
    rows = table.rows
    compared = not unknown_names(table.key) and not unknown_names(first.key)
    extra = {
        name for name in ("params_m", "gflops", "latency_ms") if any(getattr(row, name) is not None for row in rows)
    }
    return TableView(
        id=table_id,
        table=table,
        metric=METRICS.get(table.key.metric, table.key.metric),
        apart="; ".join(key_differences(table.key, first.key)) if compared else "",
        parts=tuple(
            part.name
            for part in fields(ProtocolFacts)
            if any(getattr(row.protocol, part.name) not in (UNKNOWN, "") for row in rows)
        ),
        extra=frozenset(extra | ({"seeds"} if any(row.kind == "run" for row in rows) else set())),
        axis=_interval_axis(rows),
        figures=tuple(scatters(table)),
    )


def _interval_axis(rows: Sequence[Row]) -> Axis:
    placed = [row for row in rows if row.place is not None] or rows
    return linear([bound for row in placed for bound in (row.value, *(row.interval or ()))], 4, 96)


def _choices(board: Leaderboard) -> dict[str, list[tuple[str, int]]]:
    """Kind of training and parts of the protocol -> values and how many rows have each, the most frequent first.

    `unknown` is a value.
    """
    rows = [row.protocol for table in board.tables for row in table.rows]
    kinds = Counter(table.key.kind for table in board.tables for _ in table.rows).most_common()
    counted = {"training": kinds} | {
        part: Counter(getattr(row, part) or UNKNOWN for row in rows).most_common() for part in _FILTERED
    }
    return {part: values for part, values in counted.items() if len(values) > 1}


def record_text(record: RunRecord) -> str:
    """run.json as it stands in the folder: without the interval of a mean over splits, which lies beside it."""
    stored = {name: value for name, value in asdict(record).items() if name != "joint"}
    return json.dumps(stored, indent=2, ensure_ascii=False)


def record_facts(record: RunRecord) -> dict[str, str]:
    """What a run's record says beside its metrics, for people, in reading order."""
    counts = ", ".join(f"{count:,} {subset}" for subset, count in record.samples.items() if count)
    facts = {
        "fuses": ", ".join(f"{name} x {weight:g}" for name, weight in record.members.items()),
        "model": f"{record.model} ({record.family})",
        "parameters": f"{record.params_m:.2f} M",
        "GFLOPs a view": "" if record.gflops is None else f"{record.gflops:.2f}",
        "a view takes": f"{record.latency_ms:.1f} ms on {record.latency_on}" if record.latency_ms else "",
        "samples": counts,
        **{part.replace("_", " "): value for part, value in asdict(record.protocol).items()},
        "interval": "; ".join(f"{metric}: {how}" for metric, how in record.interval_methods.items()),
        "time": ", ".join(f"{what} {seconds:,.0f} s" for what, seconds in record.seconds.items()),
        "bit-exact": "yes" if record.exact else "no: the device or a resumed run had to deviate",
        "finished": record.finished,
        "harbench": record.harbench,
        "fingerprint": record.fingerprint,
    }
    return {name: value for name, value in facts.items() if value and value != UNKNOWN}
