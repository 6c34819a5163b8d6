"""`report`: leaderboards that compare like with like, in the terminal, as files, as a page and as badges."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harbench.errors import HarbenchError
from harbench.files import write_text
from harbench.records import Leaderboard

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
    datasets: tuple[str, ...] = (),
    *,
    home: Path,
    runs: Path,
    output: Path = Path("reports"),
    details: int = DETAILS,
) -> ReportResult:
    """Build the leaderboard of some data sets (default: those with finished runs) and write md, csv, tex, html, badges.

    The page holds the panels of the `details` best placed runs of every data set, as far as they fit.

    Raises:
        HarbenchError: there is neither a run nor a published number to show.
    """
    from harbench.datasets.tables import load_spec
    from harbench.reporting.badges import badges
    from harbench.reporting.details import load_details
    from harbench.reporting.leaderboard import build_leaderboard
    from harbench.reporting.page.build import render_page
    from harbench.reporting.published import load_published, published_names
    from harbench.reporting.render import render
    from harbench.reporting.runs import load_runs

    records = load_runs(runs)
    for name in datasets:
        if name not in published_names(home):
            load_spec(name, home)
    chosen = datasets or tuple(dict.fromkeys(record.dataset for record in records))
    own = [record for record in records if record.dataset in chosen]
    published = [row for name in chosen for row in load_published(name, home)]
    if not own and not published:
        about = " and ".join(chosen) or "any data set"
        raise HarbenchError(
            f"there is nothing to report: no finished run of {about} under {runs}, and no published number.\n"
            "Run a recipe first:  harbench run recipes/motion3d_sample.yaml   (see `harbench recipes`)"
        )
    board = build_leaderboard(own, published, home)
    stem = "-".join(chosen) if len(chosen) <= 3 else "leaderboard"
    files = tuple(output / f"{stem}.{kind}" for kind in FORMATS)
    for path, kind in zip(files, FORMATS, strict=True):
        write_text(path, render(board, kind))
    page = output / f"{stem}.html"
    write_text(page, render_page(board, load_details(board, own, runs, home, details)))
    written = {output / "badges" / name: text for name, text in badges(board).items()}
    for path, text in written.items():
        write_text(path, text)
    following = (
        f"open {page} in a browser",
        "harbench recipes                     what else can be trained",
        "harbench datasets                    what else can be prepared",
    )
    return ReportResult(board, page, (*files, page), tuple(written), len(own), len(published), following)
