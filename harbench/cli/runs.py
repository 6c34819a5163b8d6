"""Commands about runs: recipes, run, evaluate."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harbench import api
from harbench.cli import complete, texts
from harbench.cli.app import (
    INCOMPLETE,
    USER_ERROR,
    Device,
    Json,
    Overrides,
    app,
    print_json,
    settings_of,
    show,
    tracked,
)

if TYPE_CHECKING:
    from harbench.records import RunReport

OkMissing = Annotated[int, typer.Option(min=0, help="Go on without up to N media; in test they count as wrong.")]
Prepare = Annotated[
    bool, typer.Option("--prepare", help="First fetch the media and build the caches that the recipes read.")
]
AllowSeen = Annotated[
    bool, typer.Option("--allow-seen", help="Score test samples that the weights were trained on; never ranked.")
]
Grid = Annotated[
    list[str] | None,
    typer.Option("--grid", help="Values to search, e.g. train.optimizer.lr=1e-3,3e-3; ranked on val, never on test."),
]
Workers = Annotated[
    int, typer.Option(min=0, help="Runs at once, each a process, on GPUs of its own; on the CPU with a share of it.")
]
Slurm = Annotated[
    list[str] | None,
    typer.Option("--slurm", help="Submit the runs as an array: partition=gpu, gpus_per_node=1, timeout_min=720 ..."),
]


@app.command()
def recipes(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(autocompletion=complete.recipes, help="One recipe, by name or path; all if left out."),
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="JSON schema of a recipe.")] = False,
    as_json: Json = False,
) -> None:
    """List, show and validate recipes."""
    from harbench.cli import views

    if schema:
        print_json(api.recipe_schema())
        return
    found = api.recipes(name, home=settings_of(context).home)
    if as_json:
        print_json(found)
    elif name is None:
        for family in sorted({r.family for r in found}):
            rows = [
                (
                    r.name,
                    f"{r.dataset} {r.split}".strip(),
                    "\n".join(item.partition(" (")[0] for item in r.expect),
                    r.description,
                )
                for r in found
                if r.family == family
            ]
            views.show_table(family, ("name", "data", "expected", "what"), rows)
            views.say("")
    else:
        views.say(texts.recipe_text(found[0]))


@app.command()
def run(
    context: typer.Context,
    recipe: Annotated[list[str], typer.Argument(autocompletion=complete.recipes, help="Recipes, by path or name.")],
    split: Annotated[str, typer.Option("--split", help="Instead of the recipe's: 1,2,3, all, 'lopo-*'.")] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0..N-1.")] = 1,
    seed: Annotated[int | None, typer.Option(min=0, help="This seed alone.")] = None,
    overrides: Overrides = None,
    tag: Annotated[str, typer.Option(help="Name of this variant; else a hash of the overrides.")] = "",
    device: Device = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes, one a GPU; the batch size stays the global one.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Resolve, count, estimate; train nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Repeat a finished run.")] = False,
    ok_missing: OkMissing = 0,
    prepare: Prepare = False,
    allow_seen: AllowSeen = False,
    grid: Grid = None,
    workers: Workers = 0,
    slurm: Slurm = None,
    as_json: Json = False,
) -> None:
    """Train and evaluate. Continues an unfinished run, leaves a finished one alone."""
    several = bool(workers or slurm) and not dry_run
    if grid and (len(recipe) > 1 or seeds > 1 or seed is not None or dry_run or several):
        raise typer.BadParameter("--grid takes one recipe, and neither seeds, --dry-run, --workers nor --slurm")
    if seed is not None and (seeds > 1 or several):
        raise typer.BadParameter("--seed is for one run; several at once take --seeds")
    if devices > 1 and not dry_run and not several and not api.launched():
        raise typer.Exit(api.launch(devices, sys.argv[1:]))
    done: list[RunReport] = []
    with tracked(context) as (settings, track):
        shared: dict[str, Any] = {"home": settings.home, "runs": settings.runs, "split": split, "device": device}
        shared |= {"overrides": tuple(overrides or ()), "force": force, "ok_missing": ok_missing, "track": track}
        if prepare and (grid or several):
            needs = {key: shared[key] for key in ("home", "split", "overrides", "ok_missing", "track")}
            api.prepare_inputs(recipe, **needs)
        if grid:
            best = api.grid(recipe[0], grid, tag=tag or "grid", **shared)
        elif several:
            how: dict[str, Any] = {"devices": devices, "workers": workers, "slurm": slurm or ()}
            done = api.queue(recipe, allow_seen=allow_seen, seeds=seeds, tag=tag, **how, **shared)
        else:
            once: dict[str, Any] = {"seed": seed, "dry_run": dry_run, "prepare": prepare}
            done = api.run(recipe, allow_seen=allow_seen, seeds=seeds, tag=tag, **once, **shared)
    if not api.is_rank_zero():
        return
    if grid:
        print_json(best) if as_json else _show_grid(best)
    else:
        show(done, lambda runs: "\n".join(map(texts.run_text, runs)), as_json)
    if any(each.error and each.state != "damaged" for each in done):
        raise typer.Exit(USER_ERROR)
    if any(each.error for each in done) or sum(each.failed for each in done) > ok_missing:
        raise typer.Exit(INCOMPLETE)


def _show_grid(result: api.GridResult) -> None:
    from harbench.cli import views

    keys = tuple(result.trials[0].settings)
    rows = [(*trial.settings.values(), f"{trial.val_top1:.2f}", trial.epoch) for trial in result.trials]
    views.show_table("On val", (*keys, "val top-1", "epoch"), rows, numeric=("val top-1", "epoch"))
    views.say(f"all of it: {result.table}\nthe best:  {result.command}")


@app.command()
def evaluate(
    context: typer.Context,
    folder: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            autocompletion=complete.runs,
            help="A run folder; or an .onnx, .safetensors or hf:owner/name.",
        ),
    ],
    clips: Annotated[int | None, typer.Option(min=1, help="Temporal clips.")] = None,
    crops: Annotated[int | None, typer.Option(help="Spatial crops: 1 or 3.")] = None,
    average: Annotated[str | None, typer.Option(help="prob or logit.")] = None,
    device: Device = "auto",
    ok_missing: OkMissing = 0,
    allow_seen: AllowSeen = False,
    calibrate: Annotated[bool, typer.Option("--calibrate", help="Fit a temperature on val, for predict.")] = False,
    as_json: Json = False,
) -> None:
    """Evaluate a finished run with other views. Kept under evaluations/, never put in place of the run's number."""
    if folder.startswith("hf:") or Path(folder).is_file():
        with tracked(context) as (settings, track):
            scored = api.evaluate_file(folder, home=settings.home, device=device, allow_seen=allow_seen, track=track)
        show(scored, texts.file_evaluation_text, as_json)
        if len(scored.failed) > ok_missing:
            raise typer.Exit(INCOMPLETE)
        return
    if calibrate:
        with tracked(context) as (settings, track):
            fitted = api.calibrate(Path(folder), home=settings.home, runs=settings.runs, device=device, track=track)
        show(fitted, texts.calibration_text, as_json)
        return
    with tracked(context) as (settings, track):
        result = api.evaluate(
            Path(folder),
            home=settings.home,
            runs=settings.runs,
            clips=clips,
            crops=crops,
            average=average,
            allow_seen=allow_seen,
            ok_missing=ok_missing,
            device=device,
            track=track,
        )
    show(result, texts.evaluation_text, as_json)
    if len(result.failed) > ok_missing:
        raise typer.Exit(INCOMPLETE)
