"""A leaderboard as Markdown, CSV, LaTeX or badges. Percent with two decimals. The html page has a room of its own, `page/`."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import fields

from harbench.errors import HarbenchError
from harbench.files import csv_cell
from harbench.records import SUPERVISED, Comparability, Leaderboard, ProtocolFacts, Row, Table
from harbench.runs.comparability import METRICS

_SHOWN = ("modality", "pretraining", "frames", "time_base", "size", "views", "selection")
"""Parts of the protocol with a column of their own in printed tables; csv and the page have all of them."""
_TEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "±": r"$\pm$",
    }
)
_MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\`*_[]<>|"})


def render(board: Leaderboard, kind: str) -> str:
    """The whole leaderboard as text of one format: `md`, `csv` or `tex` (needs the booktabs package)."""
    formats: dict[str, Callable[[Leaderboard], str]] = {"md": _md, "csv": _csv, "tex": _tex}
    if kind not in formats:
        raise HarbenchError(f"there is no report format {kind!r}; there are {', '.join(formats)}")
    return formats[kind](board)


# ---------------------------------------------------------------------------------------------------------- one value
def percent(value: float) -> str:
    """`91.40`"""
    return f"{value:.2f}"


def with_spread(row: Row) -> str:
    """`91.40`, or `91.40 ± 0.31` over seeds."""
    return percent(row.value) if row.spread is None else f"{percent(row.value)} ± {percent(row.spread)}"


def _marks(row: Row) -> str:
    return ",".join(map(str, row.footnotes))


def between(interval: tuple[float, float] | None) -> str:
    """`90.51 to 92.30`"""
    return "" if interval is None else f"{percent(interval[0])} to {percent(interval[1])}"


def _header(table: Table) -> list[str]:
    metric = METRICS.get(table.key.metric, table.key.metric)
    protocol = [part.replace("_", " ") for part in _SHOWN]
    return ["#", "method", metric, "95 %", "seeds", *protocol, "params (M)", "source", "why not ranked"]


def _cells(row: Row, name: str, source: str, escape: Callable[[str], str]) -> list[str]:
    """The cells of one row of a printed table; `name` and `source` are escaped and marked already."""
    before = ["" if row.place is None else str(row.place)]
    after = [
        with_spread(row),
        between(row.interval),
        str(row.seeds) if row.kind == "run" else "",
        *(getattr(row.protocol, part) for part in _SHOWN),
        "" if row.params_m is None else f"{row.params_m:.1f}",
    ]
    return [*before, name, *(escape(cell) for cell in after), source, escape(row.why_not)]


# ----------------------------------------------------------------------------------------------------------- Markdown
def _md(board: Leaderboard) -> str:
    parts = ["# Leaderboard", f"Written {board.generated}. Bold: own runs. Percent."]
    for table in board.tables:
        header = _header(table)
        rows = [_md_line(_cells(row, _md_name(row), _md_source(row), _md_text)) for row in table.rows]
        parts += [f"## {_md_text(table.title)}", "\n".join([_md_line(header), _md_line("---" for _ in header), *rows])]
        if table.footnotes:
            parts.append("\n".join(f"{index}. {_md_text(note)}" for index, note in enumerate(table.footnotes, 1)))
    if board.broken:
        parts += ["## Damaged", "\n".join(f"- {_md_text(name)}: {_md_text(why)}" for name, why in board.broken.items())]
    return "\n\n".join(parts) + "\n"


def _md_line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _md_name(row: Row) -> str:
    bold = f"**{_md_text(row.name)}**" if row.kind == "run" else _md_text(row.name)
    return bold + (f" <sup>{_marks(row)}</sup>" if row.footnotes else "")


def _md_source(row: Row) -> str:
    return f"[{_md_text(row.source)}]({row.link})" if row.link else _md_text(row.source)


def _md_text(text: str) -> str:
    return " ".join(text.split()).translate(_MARKDOWN)


# ---------------------------------------------------------------------------------------------------------------- CSV
def _csv(board: Leaderboard) -> str:
    """Every row of every table with its whole key and protocol, one line a row."""
    lines = [_csv_line(table, row) for table in board.tables for row in table.rows]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(lines[0]) if lines else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: csv_cell(cell) for name, cell in line.items()} for line in lines)
    return buffer.getvalue()


def _csv_line(table: Table, row: Row) -> dict[str, object]:
    low, high = row.interval or (None, None)
    return {
        **_columns(table.key),
        "place": row.place,
        "name": row.name,
        "kind": row.kind,
        "value": percent(row.value),
        "low": _decimals(low),
        "high": _decimals(high),
        "spread": _decimals(row.spread),
        "seeds": row.seeds,
        "family": row.family,
        "params_m": _decimals(row.params_m),
        "gflops": _decimals(row.gflops),
        **_columns(row.protocol),
        "why_not": row.why_not,
        "year": row.year,
        "source": row.source,
        "link": row.link,
        "footnotes": "; ".join(table.footnotes[index - 1] for index in row.footnotes),
    }


def _columns(item: Comparability | ProtocolFacts) -> dict[str, object]:
    """What `asdict` says of values that hold no dataclass, without its copies."""
    return {each.name: getattr(item, each.name) for each in fields(item)}


def _decimals(value: float | None) -> str:
    return "" if value is None else percent(value)


# -------------------------------------------------------------------------------------------------------------- LaTeX
def _tex(board: Leaderboard) -> str:
    lines = [f"% Written by harbench, {board.generated}. Needs \\usepackage{{booktabs}}."]
    for table in board.tables:
        lines += _tex_table(table)
    return "\n".join(lines) + "\n"


def _tex_table(table: Table) -> list[str]:
    header = _header(table)
    body = [" & ".join(_cells(row, _tex_name(row), tex(row.source), tex)) + r" \\" for row in table.rows]
    ranked = sum(row.place is not None for row in table.rows)
    if 0 < ranked < len(body):
        body.insert(ranked, r"\midrule")
    notes = [rf"\textsuperscript{{{index}}} {tex(note)}\\" for index, note in enumerate(table.footnotes, 1)]
    return [
        "",
        r"\begin{table}",
        rf"\caption{{{tex(table.title)}}}",
        rf"\begin{{tabular}}{{rlr{'l' * (len(header) - 3)}}}",
        r"\toprule",
        " & ".join(tex(cell) for cell in header) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        *([r"\\[2pt]\footnotesize", *notes] if notes else []),
        r"\end{table}",
    ]


def _tex_name(row: Row) -> str:
    bold = rf"\textbf{{{tex(row.name)}}}" if row.kind == "run" else tex(row.name)
    return bold + (rf"\textsuperscript{{{_marks(row)}}}" if row.footnotes else "")


def tex(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return " ".join(text.split()).translate(_TEX)


def badges(board: Leaderboard) -> dict[str, str]:
    """File name -> JSON of a badge, for every table in which an own run has a place."""
    found: dict[str, str] = {}
    for table in board.tables:
        row = next((row for row in table.rows if row.kind == "run" and row.place is not None), None)
        if row is not None:
            message = f"{with_spread(row)} %"
            badge = {"schemaVersion": 1, "label": _label(table), "message": message, "color": "0a5cc2"}
            found[_name(table)] = json.dumps(badge, ensure_ascii=False) + "\n"
    return found


def _label(table: Table) -> str:
    """`UCF-101, split 1: top-1 accuracy`"""
    return f"{table.title.partition(':')[0]}: {METRICS.get(table.key.metric, table.key.metric)}"


def _name(table: Table) -> str:
    """The comparability key in a file name: `ucf101-101-classes-split1-video-top1-video-none.json`."""
    key = table.key
    kind = [key.kind] if key.kind != SUPERVISED else []
    parts = [key.dataset, key.label_set, key.split_set, key.unit, key.metric, key.level, key.given, *kind]
    return f"{re.sub(r'[^A-Za-z0-9_+]+', '-', '-'.join(parts))}.json"
