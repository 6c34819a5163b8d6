"""The command line: parse, call the function of the same name in api, show. Nothing is computed here.

Exit codes: 0 done; 1 an error the user can mend; 2 usage; 3 done, but samples are missing or failed; 4 a check did
not hold; 130 interrupted, resumable. `console` is imported inside the functions that show something, so that `--help`
starts as fast as typer does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harbench import __version__, api
from harbench.errors import HarbenchError

if TYPE_CHECKING:
    from harbench.records import Track

app = typer.Typer(
    name="harbench",
    help="Official splits, frame caches, one recipe runner and honest leaderboards for human action recognition.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

DONE, USER_ERROR, INCOMPLETE, CHECK_FAILED, INTERRUPTED = 0, 1, 3, 4, 130


@dataclass(frozen=True)
class Settings:
    """The global options."""

    home: Path
    runs: Path
    quiet: bool
    verbose: bool


Json = Annotated[
    bool, typer.Option("--json", help="Print the returned record as JSON on stdout and nothing else there.")
]
SplitOption = Annotated[str, typer.Option("--split", help="Official split: 1, 1,2,3, all, official, xsub, 'lopo-*'.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override a recipe key, e.g. train.epochs=2.")]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"harbench {__version__}")
        raise typer.Exit


@app.callback()
def globals_(
    context: typer.Context,
    home: Annotated[Path, typer.Option(envvar="HARBENCH_HOME", help="Data home.")] = Path("data"),
    runs: Annotated[Path, typer.Option(envvar="HARBENCH_RUNS", help="Run folders.")] = Path("runs"),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, warnings only.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Everything that is logged.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Global options stand before the command: `harbench --home /data prepare ucf101`."""
    from harbench import console

    context.obj = Settings(home, runs, quiet, verbose)
    console.setup_logging(quiet=quiet, verbose=verbose)


@app.command()
def datasets(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="One data set; all if left out.")] = None,
    as_json: Json = False,
) -> None:
    """What can be prepared, what is here: classes, counts, size, licence, homepage."""
    from harbench import console

    found = api.datasets(name, home=_settings(context).home)
    if as_json:
        _print_json(found)
    elif name is None:
        columns = ("name", "title", "classes", "samples", "media here", "size")
        rows = [(s.name, s.title, s.classes, s.samples, f"{s.media_here}/{s.media_total}", s.size) for s in found]
        console.show_table("Data sets", columns, rows, numeric=columns[2:5])
    else:
        for key, value in asdict(found[0]).items():
            console.say(f"{key:14} {', '.join(value) if isinstance(value, (list, tuple)) else value}")


@app.command()
def prepare(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Data set, see `harbench datasets`.")],
    split: SplitOption = "all",
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder of media in any layout; linked, not copied.")
    ] = None,
    archive: Annotated[list[Path] | None, typer.Option(help="Archive already downloaded; may be repeated.")] = None,
    stream: Annotated[str, typer.Option(help="rgb or pose. Default: what the media are.")] = "",
    short_side: Annotated[str, typer.Option(help="Pixels, or native. Default: video 128, images native.")] = "",
    quality: Annotated[int, typer.Option(min=1, max=100, help="JPEG quality.")] = 90,
    classes: Annotated[str, typer.Option(help="Only these class keys, comma separated.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N media.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that decode.")] = 2,
    allow_missing: Annotated[bool, typer.Option(help="Go on with the media that are there (exit 3).")] = False,
    ok_missing: Annotated[
        int, typer.Option(min=0, help="Up to N missing or failed media are no reason for exit 3.")
    ] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and how big it gets.")] = False,
    as_json: Json = False,
) -> None:
    """Bring a data set under its official names and splits, and build its frame cache."""
    with _tracked(context) as (settings, track):
        report = api.prepare(
            name,
            home=settings.home,
            split=split,
            source=source,
            archives=archive or (),
            stream=stream,
            quality=quality,
            short_side=int(short_side) if short_side.isdigit() else short_side or None,
            classes=_words(classes),
            limit=limit,
            workers=workers,
            allow_missing=allow_missing or ok_missing > 0,
            dry_run=dry_run,
            track=track,
        )
    if as_json:
        _print_json(report)
    else:
        _show_prepared(report, dry_run)
    if report.incomplete > ok_missing and not dry_run:
        raise typer.Exit(INCOMPLETE)


@app.command()
def splits(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Data set.")],
    split: SplitOption = "all",
    check: Annotated[bool, typer.Option("--check", help="Exit 4 unless every split holds.")] = False,
    as_json: Json = False,
) -> None:
    """The official partition: counts, groups, and whether nothing straddles train and test."""
    from harbench import console

    found = api.splits(name, split, home=_settings(context).home)
    if as_json:
        _print_json(found)
    else:
        columns = ("split", "train", "val", "test", "groups", "shared groups", "holds")
        rows = [
            (c.split, *(c.counts[subset] for subset in columns[1:4]), sum(c.groups.values()) or "none given",
             c.shared_groups, "; ".join(c.problems) or "yes")
            for c in found
        ]  # fmt: skip
        console.show_table(f"{name}: official partition", columns, rows, numeric=columns[1:6])
    if check and any(each.problems for each in found):
        raise typer.Exit(CHECK_FAILED)


@app.command()
def recipes(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="One recipe, by name or path; all if left out.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="JSON schema of a recipe.")] = False,
    as_json: Json = False,
) -> None:
    """List, show and validate recipes."""
    from harbench import console

    if schema:
        _print_json(api.recipe_schema())
        return
    found = api.recipes(name, home=_settings(context).home)
    if as_json:
        _print_json(found)
    elif name is None:
        rows = [(r.name, r.family, r.model, f"{r.dataset} {r.split}".strip(), r.description) for r in found]
        console.show_table("Recipes", ("name", "family", "model", "data", "what"), rows)
    else:
        console.say(api.recipe_text(found[0]))


@app.command()
def run(
    context: typer.Context,
    recipe: Annotated[list[str], typer.Argument(help="Recipes, by path or name.")],
    split: Annotated[str, typer.Option("--split", help="Instead of the recipe's: 1,2,3, all, 'lopo-*'.")] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0..N-1.")] = 1,
    overrides: Overrides = None,
    tag: Annotated[str, typer.Option(help="Name of this variant; else a hash of the overrides.")] = "",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Resolve, count, estimate; train nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Repeat a finished run.")] = False,
    ok_missing: Annotated[
        int, typer.Option(min=0, help="Go on without up to N media; in test they count as wrong.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Train and evaluate. Continues an unfinished run, leaves a finished one alone."""
    from harbench import console

    with _tracked(context) as (settings, track):
        done = api.run(
            recipe,
            home=settings.home,
            runs=settings.runs,
            split=split,
            seeds=seeds,
            overrides=tuple(overrides or ()),
            tag=tag,
            device=device,
            dry_run=dry_run,
            force=force,
            ok_missing=ok_missing,
            track=track,
        )
    if as_json:
        _print_json(done)
    else:
        for each in done:
            console.say(api.run_text(each))
    if sum(each.failed for each in done) > ok_missing:
        raise typer.Exit(INCOMPLETE)


@app.command()
def evaluate(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    clips: Annotated[int | None, typer.Option(min=1, help="Temporal clips.")] = None,
    crops: Annotated[int | None, typer.Option(help="Spatial crops: 1 or 3.")] = None,
    average: Annotated[str | None, typer.Option(help="prob or logit.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda.")] = "auto",
    as_json: Json = False,
) -> None:
    """Evaluate a finished run with other views. Kept under evaluations/, never put in place of the run's number."""
    from harbench import console

    with _tracked(context) as (settings, track):
        result = api.evaluate(
            folder,
            home=settings.home,
            runs=settings.runs,
            clips=clips,
            crops=crops,
            average=average,
            device=device,
            track=track,
        )
    _print_json(result) if as_json else console.say(api.evaluation_text(result))


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

    settings = _settings(context)
    result = api.report(tuple(dataset or ()), home=settings.home, runs=settings.runs, output=output)
    if as_json:
        _print_json(result)
        return
    console.show_leaderboard(result.board, limit)
    console.say(f"Page:  {result.page}")
    console.say(f"Also:  {', '.join(str(path) for path in result.files if path != result.page)}")
    for line in result.next:
        console.say(f"Next:  {line}")


@app.command()
def bench(
    context: typer.Context,
    source: Annotated[Path, typer.Option("--from", help="Folder of videos.")],
    clips: Annotated[int, typer.Option(min=1, help="Clip reads per reader and round.")] = 100,
    as_json: Json = False,
) -> None:
    """Speed, as ratios within one run: random clip reads from the JPEG cache against decord."""
    from harbench import console

    with _tracked(context) as (_, track):
        result = api.bench(source, clips=clips, track=track)
    _print_json(result) if as_json else console.say(api.bench_text(result))


def main() -> None:
    """Entry point: turns errors into messages and exit codes, never into tracebacks."""
    try:
        app()
    except HarbenchError as error:
        from harbench import console

        console.show_error(str(error))
        sys.exit(USER_ERROR)


def _settings(context: typer.Context) -> Settings:
    settings: Settings = context.obj
    return settings


@contextmanager
def _tracked(context: typer.Context) -> Iterator[tuple[Settings, Track]]:
    from harbench import console

    settings = _settings(context)
    try:
        with console.progress(quiet=settings.quiet) as track:
            yield settings, track
    except KeyboardInterrupt:
        console.show_error("Interrupted. What was finished is kept; the same command goes on from there.")
        raise typer.Exit(INTERRUPTED) from None


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def _show_prepared(report: api.PrepareReport, dry_run: bool) -> None:
    from harbench import console

    console.say(f"{report.dataset} {', '.join(report.splits[:4])}{', ...' if len(report.splits) > 4 else ''}")
    console.say(f"  media      {report.present} of {report.media} present, {len(report.missing)} missing")
    if report.extra:
        console.say(f"  extra      {report.extra} files belong to no sample")
    for media, paths in list(report.duplicated.items())[:5]:
        console.say(f"  duplicate  {media}: {', '.join(paths)}")
    if report.boxes:
        console.say(f"  boxes      {report.boxes}")
    if not dry_run:
        console.say(f"  cache      {report.cached} new, {report.reused} already there, {len(report.failed)} failed")
    for media, reason in list(report.failed.items())[:20]:
        console.say(f"  failed     {media}: {reason}")
    what = "would take about" if dry_run else "takes"
    console.say(f"  size       {what} {report.cache_bytes / 1e6:.1f} MB{f' in {report.cache}' if report.cache else ''}")
    console.say(f"  time       {report.seconds:.1f} s")
    console.say(f"Next:  {report.next}")


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, default=_plain, indent=2, ensure_ascii=False))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    return dict(value)
