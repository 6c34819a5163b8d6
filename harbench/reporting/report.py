"""`report`: leaderboards that compare like with like, in the terminal, as files, as a page and as badges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harbench.errors import DatasetError, HarbenchError
from harbench.files import write_text
from harbench.records import Leaderboard, RunRecord

if TYPE_CHECKING:
    from harbench.reporting.details import RunDetail

FORMATS = ("md", "csv", "tex")
DETAILS = 50
"""Runs of a data set, the best placed, whose panels are in the page."""


@dataclass(frozen=True)
class ReportResult:
    """Where the report lies, and what is in it."""

    board: Leaderboard
    page: Path
    files: tuple[Path, ...]
    """The leaderboard as md, csv, tex and html."""
    badges: tuple[Path, ...]
    """One file a table that an own run has a place in, for shields.io."""
    runs: int
    published: int
    next: tuple[str, ...]


def report(
    datasets: str | Sequence[str] = (),
    *,
    home: Path,
    runs: Path,
    output: Path = Path("reports"),
    details: int = DETAILS,
) -> ReportResult:
    """Build the leaderboard of one or some data sets (default: those with finished runs) and write md, csv, tex, html, badges.

    The page holds the panels of the `details` best placed runs of every data set, as far as they fit. A run, or a data
    set of the user's, that cannot be read is named in `board.broken` and stops nothing.

    Raises:
        HarbenchError: there is neither a run nor a published number to show.
    """
    from harbench.datasets.tables import load_spec, published_names
    from harbench.reporting.check import plain_runs, verdicts_of
    from harbench.reporting.details import load_details
    from harbench.reporting.leaderboard import build_leaderboard
    from harbench.reporting.page.build import render_page
    from harbench.reporting.published import load_published
    from harbench.reporting.render import badges, render
    from harbench.runs.folder import load_runs

    datasets = (datasets,) if isinstance(datasets, str) else datasets
    records, damaged = load_runs(runs)
    for name in datasets:
        if name not in published_names(home):
            load_spec(name, home)
    chosen = datasets or tuple(dict.fromkeys(record.dataset for record in records))
    own = [record for record in records if record.dataset in chosen]
    broken = {name: why for name, why in damaged.items() if not datasets or name.split("/")[0] in datasets}
    published = [row for name in chosen for row in load_published(name, home)]
    if not own and not published:
        about = " and ".join(chosen) or "any data set"
        raise HarbenchError(
            f"there is nothing to report: no finished run of {about} under {runs}, and no published number.\n"
            + "".join(f"{name}: {why}\n" for name, why in broken.items())
            + "Run a recipe first:  harbench run recipes/motion3d_sample.yaml   (see `harbench recipes`)"
        )
    broken |= _broken_datasets(own, home)
    verdicts, unread = verdicts_of(plain_runs(own), home=home, runs=runs)
    broken |= unread
    board = replace(build_leaderboard(own, published, home), broken=broken)

    def read() -> Iterator[RunDetail]:
        """The details; what of a run cannot be read is broken too, which is known once the page is rendered."""
        for detail in load_details(board, own, runs, home, details):
            if detail.damaged:
                broken[detail.record.folder] = "; ".join(detail.damaged)
            yield detail

    stem = "-".join(chosen) if len(chosen) <= 3 else "leaderboard"
    page = output / f"{stem}.html"
    write_text(page, render_page(board, read(), verdicts))
    files = tuple(output / f"{stem}.{kind}" for kind in FORMATS)
    for path, kind in zip(files, FORMATS, strict=True):
        write_text(path, render(board, kind))
    written = {output / "badges" / name: text for name, text in badges(board).items()}
    for path, text in written.items():
        write_text(path, text)
    following = (
        f"open {page} in a browser",
        "harbench recipes                     what else can be trained",
        "harbench datasets                    what else can be prepared",
    )
    return ReportResult(board, page, (*files, page), tuple(written), len(own), len(published), following)


def _broken_datasets(records: Sequence[RunRecord], home: Path) -> dict[str, str]:
    """The user's own data sets of these runs that cannot be read, and why."""
    from harbench.datasets.tables import load_split

    found = {}
    for name in dict.fromkeys(record.dataset for record in records):
        try:
            if (home / "datasets" / f"{name}.py").exists():
                load_split(name, home=home)
        except DatasetError as error:
            found[f"data set {name}"] = str(error)
    return found
