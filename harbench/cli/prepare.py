"""The command prepare."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from harbench import api
from harbench.cli import complete
from harbench.cli.app import INCOMPLETE, Json, SplitOption, app, rate, show, tracked, words

# One name an option, so that the command below is read in one piece.
Name = Annotated[
    str,
    typer.Argument(
        autocompletion=complete.datasets,
        help="Data set, see `harbench datasets`; or a folder or archive of yours, with --name.",
    ),
]
OwnName = Annotated[str, typer.Option("--name", help="What your folder is to be called.")]
GroupPattern = Annotated[
    str, typer.Option(help="Your folder: regular expression whose first (...) is the group in a media's path.")
]
SplitBy = Annotated[
    Literal["group", "random"] | None,
    typer.Option(help="Your folder: how to split; random leaks, and is not official."),
]
Seed = Annotated[int, typer.Option(help="Of a split that is made.")]
TestShare = Annotated[float, typer.Option(help="Test part of a split that is made.")]
Layout = Annotated[
    Literal["subset/class", "class/subset", "class"] | None,
    typer.Option(help="Your folder: what its folders are. Default: as their names say."),
]
Modality = Annotated[
    Literal["video", "image", "pose"] | None,
    typer.Option(help="Your folder: which of its files are the samples; video of pictures: each folder is one."),
]
PoseModel = Annotated[
    Path | None,
    typer.Option(
        "--pose-model", help="Finds joints for --stream pose: MediaPipe's .task, or MoveNet or RTMO as .onnx."
    ),
]
Persons = Annotated[int, typer.Option(min=1, max=20, help="Persons that --stream pose follows in pixels.")]
PoseAxes = Annotated[str, typer.Option(help="Your pose arrays: T frames, M bodies, V joints, C channels, e.g. CTVM.")]
Force = Annotated[bool, typer.Option("--force", help="Write over your data set of that name.")]
ForRecipe = Annotated[
    str,
    typer.Option(
        "--for",
        autocompletion=complete.recipes,
        help="Recipe by path or name: prepare the split and the caches that it reads.",
    ),
]
Source = Annotated[Path | None, typer.Option("--from", help="Folder of media in any layout; linked, not copied.")]
Archives = Annotated[list[Path] | None, typer.Option(help="Archive already downloaded; may be repeated.")]
Stream = Annotated[str, typer.Option(help="rgb, flow or pose. Default: what the media are.")]
Bodies = Annotated[
    str, typer.Option(help="Of NTU skeleton files: motion (all), or denoised (persons only, two at most).")
]
Encoding = Annotated[str, typer.Option(help="jpeg, or raw: exact and about ten times as large.")]
ShortSide = Annotated[str, typer.Option(help="Pixels, or native. Default: video 128, images native.")]
Quality = Annotated[int, typer.Option(min=1, max=100, help="JPEG quality.")]
Classes = Annotated[str, typer.Option(help="Only these class keys, comma separated.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first N media.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that decode.")]
Decoder = Annotated[str, typer.Option(help="Of videos: av (PyAV), decord, opencv or torchcodec.")]
AllowMissing = Annotated[bool, typer.Option(help="Go on with the media that are there (exit 3).")]
OkMissing = Annotated[int, typer.Option(min=0, help="Up to N missing or failed media are no reason for exit 3.")]
Urls = Annotated[
    list[str] | None,
    typer.Option(help="Mirror of your own, NAME=URL (or URL, of a single archive); may be repeated."),
]
LimitRate = Annotated[int | None, typer.Option(parser=rate, help="Bytes a second to fetch, e.g. 500k or 2M.")]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Do not verify TLS certificates; only for archives whose checksum is known.")
]
AcceptHash = Annotated[bool, typer.Option("--accept-hash", help="Take an archive that is not the known one.")]
Shard = Annotated[str, typer.Option(help="i/n: cache only every n-th block; several machines share a home.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and how big it gets.")]
Verify = Annotated[
    bool, typer.Option("--verify", help="Find what broke in media and caches since, and mend exactly that.")
]
OWN_OPTIONS = ("group_pattern", "split_by", "seed", "test_share", "layout", "modality", "pose_axes", "force")


@app.command()
def prepare(
    context: typer.Context,
    name: Name,
    split: SplitOption = "",
    for_recipe: ForRecipe = "",
    own_name: OwnName = "",
    group_pattern: GroupPattern = "",
    split_by: SplitBy = None,
    seed: Seed = 0,
    test_share: TestShare = 0.2,
    layout: Layout = None,
    modality: Modality = None,
    pose_axes: PoseAxes = "",
    force: Force = False,
    source: Source = None,
    archive: Archives = None,
    stream: Stream = "",
    bodies: Bodies = "motion",
    encoding: Encoding = "jpeg",
    short_side: ShortSide = "",
    quality: Quality = 90,
    classes: Classes = "",
    limit: Limit = None,
    workers: Workers = 2,
    decoder: Decoder = "av",
    pose_model: PoseModel = None,
    persons: Persons = 1,
    allow_missing: AllowMissing = False,
    ok_missing: OkMissing = 0,
    url: Urls = None,
    limit_rate: LimitRate = None,
    insecure: Insecure = False,
    accept_hash: AcceptHash = False,
    shard: Shard = "",
    dry_run: DryRun = False,
    verify: Verify = False,
    as_json: Json = False,
) -> None:
    """Fetch a data set, bring it under its official names and splits, and build its frame cache."""
    if not own_name and (said := _given(context, OWN_OPTIONS)):
        raise typer.BadParameter("a folder of yours needs its name:  harbench prepare DIR --name NAME", param_hint=said)
    if for_recipe and (said := _given(context, ("stream", "short_side", "encoding", "quality", "bodies"))):
        raise typer.BadParameter(f"the recipe says this already; leave out {said}", param_hint="--for")
    if verify:
        if own_name or source or url or shard or dry_run or limit or classes or stream or for_recipe:
            raise typer.BadParameter(
                "it goes with --archive, --workers, --decoder and --ok-missing", param_hint="--verify"
            )
        _verify(context, name, archive or [], workers, decoder, ok_missing, as_json)
        return
    side = int(short_side) if short_side.isdigit() else short_side or None
    own = api.OwnOptions(
        own_name, group_pattern, split_by or "", seed, test_share, force, layout or "", pose_axes, modality or ""
    ) if own_name else None  # fmt: skip
    with tracked(context) as (settings, track):
        report = api.prepare(
            name, home=settings.home, split=split, recipe=for_recipe, source=source, archives=archive or (),
            stream=stream, bodies=bodies, encoding=encoding, quality=quality, short_side=side,
            classes=words(classes), limit=limit, workers=workers, decoder=decoder, pose_model=pose_model,
            persons=persons, allow_missing=allow_missing or ok_missing > 0, insecure=insecure, limit_rate=limit_rate,
            accept_hash=accept_hash, urls=url or (), shard=shard, own=own, dry_run=dry_run, track=track,
        )  # fmt: skip
    show(report, lambda report: "\n".join(_lines(report, dry_run)), as_json)
    if report.incomplete > ok_missing and not dry_run:
        raise typer.Exit(INCOMPLETE)


def _given(context: typer.Context, options: tuple[str, ...]) -> str:
    """Those of the options that stand on the command line, for a message; empty: none."""
    given = [each for each in options if getattr(context.get_parameter_source(each), "name", "") == "COMMANDLINE"]
    return ", ".join(f"--{each.replace('_', '-')}" for each in given)


def _lines(report: api.PrepareReport, dry_run: bool) -> Iterator[str]:
    """What was prepared; of a dry run, what would be."""
    yield f"{report.dataset} {', '.join(report.splits[:4])}{', ...' if len(report.splits) > 4 else ''}"
    yield f"  media      {report.present} of {report.media} present, {len(report.missing)} missing"
    yield from (f"  note       {note}" for note in report.notes)
    if report.extra:
        yield f"  extra      {report.extra} files belong to no sample"
    for media, paths in list(report.duplicated.items())[:5]:
        yield f"  duplicate  {media}: {', '.join(paths)}"
    if report.boxes:
        yield f"  boxes      {report.boxes}"
    if not dry_run:
        noted = f", {len(report.noted)} kept with a note" if report.noted else ""
        yield f"  cache      {report.cached} new, {report.reused} already there, {len(report.failed)} failed{noted}"
    for what, told in (("failed", report.failed), ("noted", report.noted)):
        yield from (f"  {what:10} {media}: {reason}" for media, reason in list(told.items())[:20])
    for plan in report.fetch:
        there = f", {plan.there / 1e9:.2f} GB already there" if plan.there else ""
        yield f"  fetch      {plan.name} ({plan.size}){there}"
        yield from (f"             {url}" for url in plan.urls)
    what = "would take about" if dry_run else "takes"
    yield f"  size       {what} {report.cache_bytes / 1e6:.1f} MB{f' in {report.cache}' if report.cache else ''}"
    yield f"  free       {report.free_bytes / 1e9:.1f} GB"
    about = f"about {report.seconds / 60:.0f} min to fill the cache" if dry_run else f"{report.seconds:.1f} s"
    yield f"  time       {about}"
    if report.fetched:
        folder = Path(report.fetched[0]).parent
        names = ", ".join(Path(path).name for path in report.fetched)
        yield f"  archives   {names} in {folder} are unpacked and may be deleted"
    yield f"Next:  {report.next}"


def _verify(
    context: typer.Context, name: str, archives: list[Path], workers: int, decoder: str, ok_missing: int, as_json: bool
) -> None:
    """What `prepare --verify` does; exit 3 when something is left that only the user can mend."""
    with tracked(context) as (settings, track):
        found = api.verify(name, home=settings.home, archives=archives, workers=workers, decoder=decoder, track=track)
    show(found, _verified, as_json)
    if len(found.left) > ok_missing:
        raise typer.Exit(INCOMPLETE)


def _verified(found: api.VerifyReport) -> str:
    lines = [f"{found.dataset}: {found.checked} checked, {len(found.damaged)} damaged"]
    lines += [f"  mended     {what}: {found.damaged[what]}" for what in found.repaired]
    lines += [f"  left       {what}: {why}" for what, why in found.left.items()]
    return "\n".join(lines)
