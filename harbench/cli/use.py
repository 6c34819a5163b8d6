"""Commands that use a finished run: predict, export, demo, push, browse."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harbench import api
from harbench.cli import complete, texts
from harbench.cli.app import INCOMPLETE, Device, Json, SplitOption, app, print_line, settings_of, show, tracked
from harbench.errors import MediaError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harbench.inference.live import LiveView
    from harbench.inference.predict import FilePrediction

Run = Annotated[
    str,
    typer.Option(
        "--run",
        autocompletion=complete.runs,
        help="A run folder, a .safetensors, an .onnx file, or hf:owner/name; also below --runs.",
    ),
]
PoseModel = Annotated[
    Path | None,
    typer.Option("--pose-model", help="Finds joints in pixels: MediaPipe's .task, or MoveNet or RTMO as .onnx."),
]


@app.command()
def predict(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            help="Video, picture, joints, folder, pattern, list (.txt, .csv), camera number, rtsp:// or http:// address, -."
        ),
    ],
    run: Run,
    top: Annotated[int, typer.Option(min=1, help="Classes shown.")] = 5,
    window: Annotated[float | None, typer.Option(help="Seconds of a window; videos over a minute: 4.")] = None,
    stride: Annotated[float | None, typer.Option(help="Seconds between windows; else half a window.")] = None,
    smooth: Annotated[int, typer.Option(min=1, help="Mean over so many windows.")] = 1,
    threshold: Annotated[float, typer.Option(min=0, max=1, help='Below this probability say "nothing".')] = 0.0,
    every: Annotated[int, typer.Option(min=1, help="Score every N-th window.")] = 1,
    save: Annotated[Path | None, typer.Option(help="Folder for annotated copies and subtitles.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="File for a table, a line a window.")] = None,
    show_: Annotated[bool, typer.Option("--show", help="Show a live source in a window, else on a page.")] = False,
    seconds: Annotated[float | None, typer.Option(help="Stop a live source after so many.")] = None,
    pose_model: PoseModel = None,
    persons: Annotated[int, typer.Option(min=1, max=20, help="Persons followed, each with an answer of his own.")] = 1,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a file, each on a line of its own.")] = False,
) -> None:
    """Use a model: on files, pictures, lists, cameras and addresses."""
    from harbench.cli import views
    from harbench.inference.predict import PredictOptions, check_save
    from harbench.inference.predictor import Windows
    from harbench.inference.segments import csv_table
    from harbench.inference.show import shown
    from harbench.inference.sources import is_live

    check_save(save)
    windows = Windows(window, stride, threshold, every)
    how: dict[str, Any] = {"device": device, "pose_model": pose_model, "persons": persons}
    if is_live(source):
        where = texts.run_source(run, settings_of(context).runs)
        live = api.watch_source(
            source,
            run=where,
            windows=windows,
            seconds=seconds,
            **how,
        )
        _watch(shown(live, top=top, window=show_, save=save), top, as_json)
        return
    options = PredictOptions(top, windows, smooth, save)
    found: list[FilePrediction] = []
    with tracked(context) as (settings, track):
        where = texts.run_source(run, settings.runs)
        for each in api.predict(source, run=where, options=options, track=track, **how):
            found.append(each)
            if as_json:
                print_line(each.to_dict(top))
            elif not each.error or len(found) > 1:
                views.say(texts.prediction_text(each, top))
    if csv is not None:
        from harbench.files import write_text

        write_text(csv, csv_table([window for each in found for window in each.predictions], top))
    failed = [each for each in found if each.error]
    if len(failed) == len(found) == 1:
        raise MediaError(f"{failed[0].source}: {failed[0].error}")
    if failed:
        raise typer.Exit(INCOMPLETE)


def _watch(views: Iterator[LiveView], top: int, as_json: bool) -> None:
    """A line or a JSON object an answer; in a terminal a table that stays in its place."""
    from harbench.cli import views as console

    if as_json:
        for view in views:
            if view.new and view.prediction is not None:
                print_line({**view.prediction.to_dict(top), **texts.live_facts(view.stats)})
        return
    with console.live_text() as put:
        for view in views:
            if view.new and view.prediction is not None:
                put(texts.live_text(view, top))


@app.command()
def demo(
    context: typer.Context,
    run: Annotated[
        list[str],
        typer.Option(
            "--run", autocompletion=complete.runs, help="A run folder, a .safetensors, an .onnx file, or hf:owner/name."
        ),
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of loopback; 0: a free one.")] = 0,
    pose_model: PoseModel = None,
    device: Device = "auto",
) -> None:
    """A page on this machine: drop a video or a picture, or use the webcam."""
    from harbench.cli import views

    runs = [texts.run_source(each, settings_of(context).runs) for each in run]
    for address in api.demo(runs, device=device, pose_model=pose_model, port=port):
        views.say(f"open  {address}\nCtrl-C ends it; nothing leaves this machine")


@app.command()
def export(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", autocompletion=complete.runs, help="A run folder.")],
    to: Annotated[str, typer.Option("--to", help="onnx.")] = "onnx",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File; else model.onnx in the run folder.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Compare on all test samples, not on 256.")] = False,
    as_json: Json = False,
) -> None:
    """Write a run as ONNX, once onnxruntime says what torch says."""
    with tracked(context) as (settings, track):
        result = api.export(run, home=settings.home, runs=settings.runs, output=output, to=to, full=full, track=track)
    show(result, texts.export_text, as_json)


@app.command()
def push(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", autocompletion=complete.runs, help="A run folder.")],
    target: Annotated[str, typer.Argument(metavar="hf:OWNER/NAME", help="A repository on the Hugging Face hub.")],
    pr: Annotated[bool, typer.Option("--pr", help="As a pull request.")] = False,
    private: Annotated[bool, typer.Option("--private", help="Where the repository is made: for you only.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the files and the card; send nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Put a run with a model card on the Hugging Face hub."""
    with tracked(context) as (settings, track):
        result = api.push(
            run, target, home=settings.home, runs=settings.runs, pr=pr, private=private, dry_run=dry_run, track=track
        )
    show(result, texts.push_text, as_json)


@app.command()
def browse(
    context: typer.Context,
    name: Annotated[str, typer.Argument(autocompletion=complete.datasets, help="A prepared data set.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Page; else NAME.html.")] = None,
    split: SplitOption = "",
    run: Annotated[
        Path | None, typer.Option("--run", autocompletion=complete.runs, help="Show what this run has wrong.")
    ] = None,
    duplicates: Annotated[bool, typer.Option("--duplicates", help="List what looks alike in test and train.")] = False,
    as_json: Json = False,
) -> None:
    """A contact sheet of a prepared data set, as one page."""
    with tracked(context) as (settings, track):
        result = api.browse(
            name,
            home=settings.home,
            runs=settings.runs,
            output=output or Path(f"{name}.html"),
            split=split,
            run=run,
            duplicates=duplicates,
            track=track,
        )
    show(result, texts.sheet_text, as_json)
