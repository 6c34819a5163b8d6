"""Commands about results: report, check, compare, explain, score, ablate, features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harbench import api
from harbench.cli import complete, texts
from harbench.cli.app import (
    CHECK_FAILED,
    INCOMPLETE,
    USER_ERROR,
    Device,
    Json,
    app,
    print_json,
    settings_of,
    show,
    tracked,
)


@app.command()
def report(
    context: typer.Context,
    dataset: Annotated[
        list[str] | None,
        typer.Argument(autocompletion=complete.datasets, help="Data sets; those with runs if left out."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for md, csv, tex and html.")] = Path("reports"),
    limit: Annotated[int, typer.Option(min=1, help="Rows a table in the terminal; the page has all.")] = 15,
    details: Annotated[
        int, typer.Option(min=0, help="Runs of a data set, the best, whose panels are in the page.")
    ] = 50,
    as_json: Json = False,
) -> None:
    """Leaderboards that compare like with like: terminal, md, csv, tex, badges and one self-contained page."""
    from harbench.cli import views

    settings = settings_of(context)
    result = api.report(tuple(dataset or ()), home=settings.home, runs=settings.runs, output=output, details=details)
    if as_json:
        print_json(result)
    else:
        views.show_leaderboard(result.board, limit)
        views.say(f"Page:  {result.page}")
        views.say(f"Also:  {', '.join(str(path) for path in result.files if path != result.page)}")
        if result.badges:
            views.say(f"Badges for shields.io:  {result.badges[0].parent}")
        for line in result.next:
            views.say(f"Next:  {line}")
    if result.board.broken:
        raise typer.Exit(INCOMPLETE)


@app.command()
def check(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|RECIPE]...",
            autocompletion=complete.runs_and_recipes,
            help="All runs that expect a number if left out.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the table is written.")] = Path(
        "reproduction.md"
    ),
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="The verdicts as JUnit XML too.")] = None,
    as_json: Json = False,
) -> None:
    """Whether finished runs reproduce the number their recipe expects. Exit code 4 only when one is BELOW."""

    settings = settings_of(context)
    result = api.check(tuple(names or ()), home=settings.home, runs=settings.runs, output=output, junit=junit)
    show(result, texts.check_text, as_json)
    if result.below:
        raise typer.Exit(CHECK_FAILED)
    if result.broken:
        raise typer.Exit(INCOMPLETE)


@app.command()
def reproduce(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RECIPE]...", autocompletion=complete.recipes, help="All that state a number if left out."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0..N-1; three or more have a spread of their own.")] = 1,
    device: Device = "auto",
    output: Annotated[Path, typer.Option("--output", "-o", help="Where verdicts and times are written.")] = Path(
        "reproduction.md"
    ),
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="The verdicts as JUnit XML too.")] = None,
    evaluate_only: Annotated[
        bool, typer.Option("--evaluate-only", help="Only recipes that train nothing: published weights are scored.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be run, and what is in the way.")] = False,
    as_json: Json = False,
) -> None:
    """Run every recipe that expects a number and whose data is here, then check. Exit code 4 only when one is BELOW."""
    with tracked(context) as (settings, track):
        result = api.reproduce(
            tuple(names or ()),
            home=settings.home,
            runs=settings.runs,
            seeds=seeds,
            device=device,
            output=output,
            junit=junit,
            evaluate_only=evaluate_only,
            dry_run=dry_run,
            track=track,
        )
    show(result, texts.reproduction_text, as_json)
    if result.check is None:
        return
    if result.check.below:
        raise typer.Exit(CHECK_FAILED)
    if result.failed:
        raise typer.Exit(USER_ERROR)
    if result.check.broken:
        raise typer.Exit(INCOMPLETE)


@app.command()
def compare(
    context: typer.Context,
    a: Annotated[Path, typer.Argument(metavar="A", autocompletion=complete.runs, help="A run folder.")],
    others: Annotated[
        list[Path], typer.Argument(metavar="B...", autocompletion=complete.runs, help="Runs on the same test samples.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Page of the flipped samples, with pictures.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Paired test of finished runs: difference, classes that gain, samples that flip. Holm over several B."""

    settings = settings_of(context)
    result = api.compare(a, others, home=settings.home, runs=settings.runs, output=output)
    show(result, texts.comparison_text, as_json)
    if result.broken:
        raise typer.Exit(INCOMPLETE)


@app.command()
def explain(
    context: typer.Context,
    subject: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|FILE", autocompletion=complete.runs, help="A run folder, or predictions as `score` takes."
        ),
    ],
    dataset: Annotated[str, typer.Option(help="Of a FILE: the data set that was predicted.")] = "",
    split: Annotated[str, typer.Option(help="Of a FILE: official split; the first one if left out.")] = "",
    classes_order: Annotated[
        str, typer.Option(metavar="FILE", help="Class names in the order of the scores, one a line; or 'official'.")
    ] = "",
    names: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Samples in the order of the predictions, one a line.")
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Which usual causes could account for a number that is too low. Trains nothing; what it finds is never a result."""
    if subject.is_file() and not dataset:
        raise typer.BadParameter(f"{subject} is a file of predictions: say of which data set, --dataset NAME")
    with tracked(context) as (settings, track):
        if dataset:
            result = api.explain_file(
                subject, dataset=dataset, split=split, home=settings.home, classes_order=classes_order, names=names
            )
        else:
            result = api.explain(subject, home=settings.home, runs=settings.runs, device=device, track=track)
    show(result, texts.explanation_text, as_json)
    if result.failed:
        raise typer.Exit(INCOMPLETE)


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

    result = api.score_file(
        file,
        dataset=dataset,
        split=split,
        home=settings_of(context).home,
        classes_order=classes_order,
        names=names,
    )
    show(result, texts.scoring_text, as_json)
    if result.missing:
        raise typer.Exit(INCOMPLETE)


@app.command()
def ablate(
    context: typer.Context,
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", autocompletion=complete.runs, help="Run folders; several stand side by side."),
    ],
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """What a score rests on: clips reversed, shuffled, frozen; the person blanked, the background blanked."""

    with tracked(context) as (settings, track):
        result = api.ablate(folders, home=settings.home, runs=settings.runs, device=device, track=track)
    show(result, texts.ablation_text, as_json)
    if any(each.failed for each in result):
        raise typer.Exit(INCOMPLETE)


@app.command()
def features(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="RUN", autocompletion=complete.runs, help="A run folder.")],
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Embeddings of train and test as npz; nearest neighbors and a linear probe on them."""
    with tracked(context) as (settings, track):
        result = api.features(folder, home=settings.home, runs=settings.runs, device=device, track=track)
    show(result, texts.features_text, as_json)
    if result.failed:
        raise typer.Exit(INCOMPLETE)
