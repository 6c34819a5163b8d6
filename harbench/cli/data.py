"""Commands about data: datasets, splits, convert, bench, doctor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from harbench import api
from harbench.cli import complete, texts
from harbench.cli.app import (
    CHECK_FAILED,
    INCOMPLETE,
    Json,
    SplitOption,
    app,
    print_json,
    settings_of,
    show,
    tracked,
)


@app.command()
def datasets(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(autocompletion=complete.datasets, help="One data set; all if left out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What can be prepared, what is here: classes, counts, size, license, homepage."""
    from harbench.cli import views

    found = api.datasets(name, home=settings_of(context).home)
    if as_json:
        print_json(found)
    elif name is None:
        good = [s for s in found if not s.problem]
        columns = ("name", "title", "classes", "samples", "media here", "size")
        rows = [(s.name, s.title, s.classes, s.samples, f"{s.media_here}/{s.media_total}", s.size) for s in good]
        views.show_table("Data sets", columns, rows, numeric=columns[2:5])
        views.say_broken({s.name: s.problem for s in found if s.problem})
    else:
        for key, value in asdict(found[0]).items():
            views.say(f"{key:14} {', '.join(value) if isinstance(value, (list, tuple)) else value}")
    if any(each.problem for each in found):
        raise typer.Exit(INCOMPLETE)


@app.command()
def splits(
    context: typer.Context,
    name: Annotated[str, typer.Argument(autocompletion=complete.datasets, help="Data set.")],
    split: SplitOption = "all",
    check: Annotated[bool, typer.Option("--check", help="Exit 4 unless every split holds.")] = False,
    audit: Annotated[
        list[str] | None,
        typer.Option(help="List, CSV or folder of somebody's split, or train=FILE, test=FILE; may be repeated."),
    ] = None,
    duplicates: Annotated[
        bool, typer.Option("--duplicates", help="With --audit: look for near duplicates among cached frames.")
    ] = False,
    as_json: Json = False,
) -> None:
    """The official partition, and whether nothing straddles train and test; --audit measures somebody else's."""
    from harbench.cli import views

    if audit:
        with tracked(context) as (settings, track):
            measured = api.audit(name, audit, home=settings.home, duplicates=duplicates, track=track)
        show(measured, texts.audit_text, as_json)
        if check and any(each.leaks for each in measured.splits):
            raise typer.Exit(CHECK_FAILED)
        return
    found = api.splits(name, split, home=settings_of(context).home)
    if as_json:
        print_json(found)
    else:
        columns = ("split", "train", "val", "test", "groups", "shared groups", "holds")
        rows = [
            (c.split, *(c.counts[subset] for subset in columns[1:4]), sum(c.groups.values()) or "none given",
             c.shared_groups, "; ".join(c.problems) or "yes")
            for c in found
        ]  # fmt: skip
        views.show_table(f"{name}: official partition", columns, rows, numeric=columns[1:6])
        for split_check in found:
            for note in split_check.notes:
                views.say(f"{split_check.split}: {note}")
    if check and any(each.problems for each in found):
        raise typer.Exit(CHECK_FAILED)


@app.command()
def convert(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(autocompletion=complete.datasets, help="Data set; with --from the file or folder to read.")
    ],
    to: Annotated[str, typer.Option(help="mmaction2, rawframes, skeleton, videofolder or webdataset.")] = "",
    output: Annotated[Path | None, typer.Option(help="New folder to write to.")] = None,
    split: SplitOption = "all",
    form: Annotated[
        str, typer.Option("--from", help="mmaction2, rawframes, skeleton, videofolder or webdataset.")
    ] = "",
    own_name: Annotated[str, typer.Option("--name", help="With --from: what the data set is to be called.")] = "",
    force: Annotated[bool, typer.Option("--force", help="With --from: write over your data set of that name.")] = False,
    as_json: Json = False,
) -> None:
    """A prepared data set in another tool's format, or another tool's as a data set of yours."""

    with tracked(context) as (settings, track):
        if to and output and not form:
            done = api.convert(name, to=to, output=output, home=settings.home, split=split, track=track)
        elif form and own_name and not to:
            done = api.convert_from(form, Path(name), name=own_name, home=settings.home, force=force)
        else:
            raise typer.BadParameter("expected --to FORMAT --output DIR, or --from FORMAT --name NAME")
    show(done, _converted, as_json)


def _converted(done: api.Conversion) -> str:
    lines = [f"{done.dataset}: {done.samples} samples, {done.format}, {', '.join(done.splits)}, in {done.output}"]
    lines += [f"  note       {note}" for note in done.notes]
    return "\n".join(lines + ([f"Next:  {done.next}"] if done.next else []))


@app.command()
def bench(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(metavar="[decode|prepare|train|evaluate|predict|start|report|all]", help="What is measured."),
    ] = "all",
    source: Annotated[Path | None, typer.Option("--from", help="Folder of videos; start and report need none.")] = None,
    clips: Annotated[int, typer.Option(min=1, help="Clip reads per reader and round.")] = 100,
    rounds: Annotated[int, typer.Option(min=1, help="Times that everything is measured.")] = 5,
    as_json: Json = False,
) -> None:
    """Speed against what people use otherwise, as ratios within one run."""

    with tracked(context) as (_, track):
        result = api.bench(what, source=source, clips=clips, rounds=rounds, track=track)
    show(result, texts.bench_text, as_json)


@app.command()
def doctor(
    context: typer.Context,
    files: Annotated[list[Path] | None, typer.Argument(help="Videos to read with every installed decoder.")] = None,
    weights: Annotated[
        bool, typer.Option("--weights", help="Also: which published weights of recipes are here.")
    ] = False,
    as_json: Json = False,
) -> None:
    """What is installed and works; over given files every decoder's frame count, order, pixel differences, speed."""
    from harbench.cli import views

    with tracked(context) as (settings, track):
        found = api.doctor(files or (), home=settings.home, weights=weights, track=track)
    if as_json:
        print_json(found)
        return
    parts = [(p.name, "works" if p.works else "no", p.version, p.purpose, p.advice) for p in found.parts]
    views.show_table("This machine", ("what", "", "version", "for", "what to do"), parts)
    columns = ("decoder", "frames", "size", "first", "last", "mean", "in order", "frames/s", "in its own words")
    for file in found.files:
        rows = [
            (d.version or d.name, d.frames, "x".join(map(str, d.size)) if d.frames else "",
             *("" if value is None else f"{value:.2f}" for value in (d.first, d.last, d.mean)),
             {None: "", True: "yes", False: "no"}[d.in_order], f"{d.frames_per_second:.0f}",
             "; ".join(filter(None, (d.problem, *d.notes))))
            for d in file.decoders
        ]  # fmt: skip
        views.show_table(
            f"{file.path}  (differences from PyAV, of 255)", columns, rows, numeric=(*columns[1:6], columns[7])
        )
