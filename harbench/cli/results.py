"""Commands about results: report, score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harbench import api
from harbench.cli.app import INCOMPLETE, Json, app, print_json, settings_of


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


@app.command()
def score(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Predictions: csv, npz, or the pickle of mmaction2's --dump.")],
    dataset: Annotated[str, typer.Option(help="Data set that was predicted.")],
    split: Annotated[str, typer.Option(help="Official split: 1, official, xsub; the first one if left out.")] = "",
    classes_order: Annotated[
        str, typer.Option(metavar="FILE", help="Class names in the order of the scores, one a line; or 'official'.")
    ] = "",
    names: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Samples in the order of the predictions, one a line.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Score anybody's predictions on an official test set. Gaps count as wrong, nothing is guessed."""
    from harbench import console

    result = api.score_file(
        file,
        dataset=dataset,
        split=split,
        home=settings_of(context).home,
        classes_order=classes_order,
        names=names,
    )
    print_json(result) if as_json else console.say(api.scoring_text(result))
    if result.missing:
        raise typer.Exit(INCOMPLETE)
