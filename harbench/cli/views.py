"""What a person sees: tables, progress bars, messages. Only cli/ uses it; with --json nothing here touches stdout."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

from rich.console import Console
from rich.filesize import decimal
from rich.logging import RichHandler
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table as RichTable
from rich.text import Text

from harbench.errors import HarbenchWarning
from harbench.records import UNKNOWN, Leaderboard, ProtocolFacts, Row, Table, Track, silent

T = TypeVar("T")
Unit = Literal["items", "bytes"]
out = Console()
"""Results."""
err = Console(stderr=True)
"""Progress, log lines and errors, so that stdout can be piped."""
_show_foreign_warning = warnings.showwarning


def setup_logging(*, quiet: bool, verbose: bool) -> None:
    """Log lines of the core on stderr: what it is doing, warnings only with --quiet, everything with --verbose."""
    level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    handler = RichHandler(console=err, show_time=False, show_level=False, show_path=verbose, markup=False)
    root = logging.getLogger("harbench")
    root.handlers[:] = [handler]
    root.setLevel(level)
    warnings.showwarning = _show_warning


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """Ours as a line of the log, which a run also keeps; a place in the source means nothing to a user."""
    if issubclass(category, HarbenchWarning):
        logging.getLogger("harbench").warning("%s", message)
    else:
        _show_foreign_warning(message, category, *where, **more)


@contextmanager
def progress(*, quiet: bool) -> Iterator[Track]:
    """A `track` that draws bars with rate and time left, one a stage; plain lines where there is no terminal."""
    if quiet:
        yield silent
    elif not err.is_terminal:
        yield _plain_track
    else:
        columns = (
            TextColumn("{task.description}", style="bold"),
            BarColumn(bar_width=None),
            _DoneColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=err, expand=True) as bars:

            def track(items: Iterable[T], what: str, total: int | None = None, unit: Unit = "items") -> Iterator[T]:
                task = bars.add_task(escape(what), total=_length(items, total), unit=unit)
                for done, item in enumerate(items, 1):
                    yield item
                    bars.update(task, completed=_position(item, done, unit))

            yield track


@contextmanager
def live_text() -> Iterator[Callable[[str], None]]:
    """A function that shows a text in the place of the one before; line after line where there is no terminal."""
    if not out.is_terminal:
        yield lambda text: out.print(text.partition("\n")[0], markup=False, highlight=False)
        return
    from rich.live import Live

    with Live(console=out, auto_refresh=False) as live:
        yield lambda text: live.update(Text(text), refresh=True)


class _DoneColumn(ProgressColumn):
    """`12/51`, or for bytes `1.2 of 6.5 GB, 11.0 MB/s`."""

    def render(self, task: Task) -> Text:
        if task.fields["unit"] == "bytes":
            rate = f", {decimal(int(task.speed))}/s" if task.speed else ""
            return Text(_of_bytes(int(task.completed), task.total) + rate)
        return Text(f"{int(task.completed)}/{'?' if task.total is None else int(task.total)}")


def _plain_track(items: Iterable[T], what: str, total: int | None = None, unit: Unit = "items") -> Iterator[T]:
    """About ten lines a stage, for logs and pipes."""
    length = _length(items, total)
    step = max(1, (length or (1000 if unit == "items" else 1 << 30)) // 10)
    position = told = first = 0
    started = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        position = _position(item, count, unit)
        first = position if count == 1 else min(first, position)
        if abs(position - told) >= step and position != length:
            told = position
            if unit == "bytes":
                elapsed = time.monotonic() - started
                rate = (position - first) / elapsed if elapsed > 0.5 else 0
                left = f", {decimal(int(rate))}/s, {(length - position) / rate:.0f} s left" if length and rate else ""
                shown = f"{_of_bytes(position, length)}{left}"
            else:
                shown = f"{position}{f' of {length}' if length else ''}"
            err.print(f"{what}: {shown}", markup=False, highlight=False)
    err.print(f"{what}: {decimal(position) if unit == 'bytes' else position} done", markup=False, highlight=False)


def _length(items: Iterable[object], total: int | None) -> int | None:
    return total if total is not None else len(items) if isinstance(items, Sequence) else None


def _position(item: object, count: int, unit: Unit) -> int:
    """How far a stage is: items are counted, of bytes the item itself says it."""
    return item if unit == "bytes" and isinstance(item, int) else count


def _of_bytes(done: int, total: float | None) -> str:
    return decimal(done) if total is None else f"{decimal(done)} of {decimal(int(total))}"


def show_error(message: str) -> None:
    """One message a person can act on; plain words where there is no terminal, as in a log."""
    if not err.is_terminal:
        err.print(f"harbench: {message}", markup=False, highlight=False, soft_wrap=True)
        return
    err.print(Panel(escape(message), title="harbench", title_align="left", border_style="red"))


def say(message: str) -> None:
    """A plain line of the result; markup in data is never interpreted."""
    out.print(message, markup=False, highlight=False, soft_wrap=True)


def show_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, numeric: Sequence[str] = ()
) -> None:
    """A small table of plain values."""
    table = RichTable(title=escape(title), title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(value)) for value in row))
    out.print(table)


def show_leaderboard(board: Leaderboard, limit: int | None = None) -> None:
    """Every table of the leaderboard: places first, then what has none, with the reason."""
    for table in board.tables:
        _show_board_table(table, limit)
    say_broken(board.broken)


def say_broken(broken: Mapping[str, str]) -> None:
    """What of a listing cannot be read, a line each, with what is wrong below it."""
    for name, why in broken.items():
        say(f"damaged  {name}: {why}".replace("\n", "\n  "))


def _show_board_table(table: Table, limit: int | None) -> None:
    shown = RichTable(
        title=escape(table.title), title_justify="left", header_style="bold", box=None, pad_edge=False, expand=True
    )
    for column in ("", table.key.metric, "95 %", "params"):
        shown.add_column(column, justify="right", no_wrap=True)
    shown.add_column("method", ratio=3, overflow="fold")
    shown.add_column("protocol", ratio=3, overflow="fold")
    shown.add_column("", ratio=2, overflow="fold")
    rows = table.rows if limit is None else _around_runs(table.rows, limit)
    for row in rows:
        style = "bold" if row.kind == "run" else "dim" if row.place is None else ""
        marks = " ".join(f"[{index}]" for index in row.footnotes)
        shown.add_row(
            str(row.place or "-"),
            f"{row.value:.2f}" + (f" ±{row.spread:.2f}" if row.spread is not None else ""),
            "" if row.interval is None else f"{row.interval[0]:.2f} to {row.interval[1]:.2f}",
            "" if row.params_m is None else f"{row.params_m:.1f} M",
            escape(row.name),
            escape(_protocol(row.protocol)),
            escape(f"{row.why_not} {marks}".strip()),
            style=style,
        )
    out.print(shown)
    if len(rows) < len(table.rows):
        say(f"... and {len(table.rows) - len(rows)} more rows on the page")
    for index, note in enumerate(table.footnotes, 1):
        say(f"[{index}] {note}")
    say("")


def _protocol(facts: ProtocolFacts) -> str:
    """What is known of the most telling parts; the page has a column each."""
    parts = (facts.pretraining, facts.frames and f"{facts.frames} frames", facts.views, facts.selection)
    return ", ".join(part for part in parts if part and not part.startswith(UNKNOWN))


def _around_runs(rows: Sequence[Row], limit: int) -> list[Row]:
    """At most `limit` rows: the user's own first, then the best published ones."""
    own = [row for row in rows if row.kind == "run"][:limit]
    rest = [row for row in rows if row.kind != "run"][: max(0, limit - len(own))]
    keep = {id(row) for row in (*own, *rest)}
    return [row for row in rows if id(row) in keep]
