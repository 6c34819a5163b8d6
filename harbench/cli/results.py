"""Commands about results: report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harbench import api
from harbench.cli.app import Json, app, print_json, settings_of


@app.command()
def report(
    context: typer.Context,
    dataset: Annotated[list[str] | None, typer.Argument(help="Data sets; those with runs if left out.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for md, csv, tex and html.")] = Path("reports"),
    limit: Annotated[int, typer.Option(min=1, help="Rows a table in the terminal; the page has all.")] = 15,
    as_json: Json = False,
) -> None:
    """Leaderboards that compare like with like: terminal, md, csv, tex and one self-contained page."""
    from harbench import console

    settings = settings_of(context)
    result = api.report(tuple(dataset or ()), home=settings.home, runs=settings.runs, output=output)
    if as_json:
        print_json(result)
        return
    console.show_leaderboard(result.board, limit)
    console.say(f"Page:  {result.page}")
    console.say(f"Also:  {', '.join(str(path) for path in result.files if path != result.page)}")
    for line in result.next:
        console.say(f"Next:  {line}")
