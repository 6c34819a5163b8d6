"""Commands about data: datasets, prepare, splits, convert, bench, doctor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from harbench import api
from harbench.cli.app import (
    CHECK_FAILED,
    INCOMPLETE,
    Json,
    SplitOption,
    app,
    print_json,
    rate,
    settings_of,
    tracked,
    words,
)


@app.command()
def datasets(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="One data set; all if left out.")] = None,
    as_json: Json = False,
) -> None:
    """What can be prepared, what is here: classes, counts, size, licence, homepage."""
    from harbench import console

    found = api.datasets(name, home=settings_of(context).home)
    if as_json:
        print_json(found)
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
    name: Annotated[str, typer.Argument(help="Data set, see `harbench datasets`; or a folder of yours, with --name.")],
    split: SplitOption = "all",
    own_name: Annotated[str, typer.Option("--name", help="What your folder is to be called.")] = "",
    group_pattern: Annotated[
        str, typer.Option(help="Your folder: regular expression whose first (...) is the group in a media's path.")
    ] = "",
    split_by: Annotated[str, typer.Option(help="Your folder: group, or random (leaks; not official).")] = "",
    seed: Annotated[int, typer.Option(help="Of a split that is made.")] = 0,
    test_share: Annotated[float, typer.Option(help="Test part of a split that is made.")] = 0.2,
    force: Annotated[bool, typer.Option("--force", help="Write over your data set of that name.")] = False,
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder of media in any layout; linked, not copied.")
    ] = None,
    archive: Annotated[list[Path] | None, typer.Option(help="Archive already downloaded; may be repeated.")] = None,
    stream: Annotated[str, typer.Option(help="rgb, flow or pose. Default: what the media are.")] = "",
    flow: Annotated[str, typer.Option(help="How --stream flow is computed: dis or farneback.")] = "dis",
    encoding: Annotated[str, typer.Option(help="jpeg, or raw: exact and about ten times as large.")] = "jpeg",
    short_side: Annotated[str, typer.Option(help="Pixels, or native. Default: video 128, images native.")] = "",
    quality: Annotated[int, typer.Option(min=1, max=100, help="JPEG quality.")] = 90,
    classes: Annotated[str, typer.Option(help="Only these class keys, comma separated.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N media.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that decode.")] = 2,
    decoder: Annotated[str, typer.Option(help="Of videos: av (PyAV), decord, opencv or torchcodec.")] = "av",
    allow_missing: Annotated[bool, typer.Option(help="Go on with the media that are there (exit 3).")] = False,
    ok_missing: Annotated[
        int, typer.Option(min=0, help="Up to N missing or failed media are no reason for exit 3.")
    ] = 0,
    url: Annotated[
        list[str] | None,
        typer.Option(help="Mirror of your own, NAME=URL (or URL, of a single archive); may be repeated."),
    ] = None,
    limit_rate: Annotated[
        int | None, typer.Option(parser=rate, help="Bytes a second to fetch, e.g. 500k or 2M.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Do not verify TLS certificates; only where the content is checked.")
    ] = False,
    accept_hash: Annotated[
        bool, typer.Option("--accept-hash", help="Take an archive that is not the known one.")
    ] = False,
    shard: Annotated[str, typer.Option(help="i/n: cache only every n-th block; several machines share a home.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and how big it gets.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Find what broke in media and caches since, and mend exactly that.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fetch a data set, bring it under its official names and splits, and build its frame cache."""
    if verify:
        if own_name or source or url or shard or dry_run or limit or classes or stream:
            raise typer.BadParameter(
                "it goes with --archive, --workers, --decoder and --ok-missing", param_hint="--verify"
            )
        _verify(context, name, archive or [], workers, decoder, ok_missing, as_json)
        return
    if split_by not in ("", "group", "random"):
        raise typer.BadParameter(f"expected group or random, found {split_by}", param_hint="--split-by")
    own = api.OwnOptions(own_name, group_pattern, split_by, seed, test_share, force) if own_name else None  # type: ignore[arg-type]
    with tracked(context) as (settings, track):
        report = api.prepare(
            name,
            home=settings.home,
            split=split,
            source=source,
            archives=archive or (),
            stream=stream,
            flow=flow,
            encoding=encoding,
            quality=quality,
            short_side=int(short_side) if short_side.isdigit() else short_side or None,
            classes=words(classes),
            limit=limit,
            workers=workers,
            decoder=decoder,
            allow_missing=allow_missing or ok_missing > 0,
            insecure=insecure,
            limit_rate=limit_rate,
            accept_hash=accept_hash,
            urls=url or (),
            shard=shard,
            own=own,
            dry_run=dry_run,
            track=track,
        )
    if as_json:
        print_json(report)
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
    from harbench import console

    if audit:
        with tracked(context) as (settings, track):
            measured = api.audit(name, audit, home=settings.home, duplicates=duplicates, track=track)
        print_json(measured) if as_json else console.say(api.audit_text(measured))
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
        console.show_table(f"{name}: official partition", columns, rows, numeric=columns[1:6])
        for split_check in found:
            for note in split_check.notes:
                console.say(f"{split_check.split}: {note}")
    if check and any(each.problems for each in found):
        raise typer.Exit(CHECK_FAILED)


@app.command()
def convert(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Data set; with --from the file or folder to read.")],
    to: Annotated[str, typer.Option(help="mmaction2, rawframes, skeleton, videofolder or webdataset.")] = "",
    output: Annotated[Path | None, typer.Option(help="New folder to write to.")] = None,
    split: SplitOption = "all",
    form: Annotated[str, typer.Option("--from", help="mmaction2, skeleton, videofolder or webdataset.")] = "",
    own_name: Annotated[str, typer.Option("--name", help="With --from: what the data set is to be called.")] = "",
    force: Annotated[bool, typer.Option("--force", help="With --from: write over your data set of that name.")] = False,
    as_json: Json = False,
) -> None:
    """A prepared data set in another tool's format, or another tool's as a data set of yours."""
    from harbench import console

    with tracked(context) as (settings, track):
        if to and output and not form:
            done = api.convert(name, to=to, output=output, home=settings.home, split=split, track=track)
        elif form and own_name and not to:
            done = api.convert_from(form, Path(name), name=own_name, home=settings.home, force=force)
        else:
            raise typer.BadParameter("expected --to FORMAT --output DIR, or --from FORMAT --name NAME")
    if as_json:
        print_json(done)
        return
    console.say(f"{done.dataset}: {done.samples} samples, {done.format}, {', '.join(done.splits)}, in {done.output}")
    for note in done.notes:
        console.say(f"  note       {note}")
    if done.next:
        console.say(f"Next:  {done.next}")


@app.command()
def bench(
    context: typer.Context,
    source: Annotated[Path, typer.Option("--from", help="Folder of videos.")],
    clips: Annotated[int, typer.Option(min=1, help="Clip reads per reader and round.")] = 100,
    as_json: Json = False,
) -> None:
    """Speed, as ratios within one run: random clip reads from the JPEG cache against decord."""
    from harbench import console

    with tracked(context) as (_, track):
        result = api.bench(source, clips=clips, track=track)
    print_json(result) if as_json else console.say(api.bench_text(result))


@app.command()
def doctor(
    context: typer.Context,
    files: Annotated[list[Path] | None, typer.Argument(help="Videos to read with every installed decoder.")] = None,
    as_json: Json = False,
) -> None:
    """What is installed and works; over given files every decoder's frame count, order, pixel differences, speed."""
    from harbench import console

    with tracked(context) as (settings, track):
        found = api.doctor(files or (), home=settings.home, track=track)
    if as_json:
        print_json(found)
        return
    parts = [(p.name, "works" if p.works else "no", p.version, p.purpose, p.advice) for p in found.parts]
    console.show_table("This machine", ("what", "", "version", "for", "what to do"), parts)
    columns = ("decoder", "frames", "size", "first", "last", "mean", "in order", "frames/s", "in its own words")
    for file in found.files:
        rows = [
            (d.version or d.name, d.frames, "x".join(map(str, d.size)) if d.frames else "",
             *("" if value is None else f"{value:.2f}" for value in (d.first, d.last, d.mean)),
             {None: "", True: "yes", False: "no"}[d.in_order], f"{d.frames_per_second:.0f}",
             "; ".join(filter(None, (d.problem, *d.notes))))
            for d in file.decoders
        ]  # fmt: skip
        console.show_table(
            f"{file.path}  (differences from PyAV, of 255)", columns, rows, numeric=(*columns[1:6], columns[7])
        )


def _verify(
    context: typer.Context, name: str, archives: list[Path], workers: int, decoder: str, ok_missing: int, as_json: bool
) -> None:
    """What `prepare --verify` does; exit 3 when something is left that only the user can mend."""
    from harbench import console

    with tracked(context) as (settings, track):
        found = api.verify(name, home=settings.home, archives=archives, workers=workers, decoder=decoder, track=track)
    if as_json:
        print_json(found)
    else:
        console.say(f"{found.dataset}: {found.checked} checked, {len(found.damaged)} damaged")
        for what in found.repaired:
            console.say(f"  mended     {what}: {found.damaged[what]}")
        for what, why in found.left.items():
            console.say(f"  left       {what}: {why}")
    if len(found.left) > ok_missing:
        raise typer.Exit(INCOMPLETE)


def _show_plan(report: api.PrepareReport) -> None:
    """What a dry run says of archives that would be fetched."""
    from harbench import console

    for plan in report.fetch:
        there = f", {plan.there / 1e9:.2f} GB already there" if plan.there else ""
        console.say(f"  fetch      {plan.name} ({plan.size}){there}")
        for url in plan.urls:
            console.say(f"             {url}")


def _show_prepared(report: api.PrepareReport, dry_run: bool) -> None:
    from harbench import console

    console.say(f"{report.dataset} {', '.join(report.splits[:4])}{', ...' if len(report.splits) > 4 else ''}")
    console.say(f"  media      {report.present} of {report.media} present, {len(report.missing)} missing")
    for note in report.notes:
        console.say(f"  note       {note}")
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
    _show_plan(report)
    what = "would take about" if dry_run else "takes"
    console.say(f"  size       {what} {report.cache_bytes / 1e6:.1f} MB{f' in {report.cache}' if report.cache else ''}")
    console.say(f"  free       {report.free_bytes / 1e9:.1f} GB")
    about = f"about {report.seconds / 60:.0f} min to fill the cache" if dry_run else f"{report.seconds:.1f} s"
    console.say(f"  time       {about}")
    if report.fetched:
        folder = Path(report.fetched[0]).parent
        names = ", ".join(Path(path).name for path in report.fetched)
        console.say(f"  archives   {names} in {folder} are unpacked and may be deleted")
    console.say(f"Next:  {report.next}")
