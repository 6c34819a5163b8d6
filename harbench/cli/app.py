"""The Typer application, its global options, and what every command needs: exit codes, progress, JSON.

Exit codes: 0 done; 1 an error the user can mend; 2 usage; 3 done, but samples are missing or failed; 4 a check did
not hold; 130 interrupted, resumable. `console` is imported inside the functions that show something, so that `--help`
starts as fast as typer does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

from harbench import __version__
from harbench.cli import complete
from harbench.errors import HarbenchError

if TYPE_CHECKING:
    from harbench.records import Track

T = TypeVar("T")


class Interrupted(BaseException):
    """Ctrl-C, or SIGTERM. typer would end by itself at a KeyboardInterrupt, and say nothing."""


class _Commands(TyperGroup):
    def make_context(self, *args: Any, **options: Any) -> Any:
        with _telling():
            return super().make_context(*args, **options)

    def invoke(self, *args: Any) -> Any:
        with _telling():
            return super().invoke(*args)


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted from None


app = typer.Typer(
    name="harbench",
    cls=_Commands,
    help="Official splits, frame caches, one recipe runner and honest leaderboards for human action recognition.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

USER_ERROR, INCOMPLETE, CHECK_FAILED = 1, 3, 4


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
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")]
SplitOption = Annotated[
    str,
    typer.Option(
        "--split", autocompletion=complete.splits, help="Official split: 1, 1,2,3, all, official, xsub, 'lopo-*'."
    ),
]
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
    from harbench.cli import views

    try:
        Path.cwd()
    except FileNotFoundError:
        raise HarbenchError("the current folder was deleted; cd to one that is there") from None
    context.obj = Settings(home, runs, quiet, verbose)
    views.setup_logging(quiet=quiet, verbose=verbose)


def settings_of(context: typer.Context) -> Settings:
    """The global options of this call."""
    settings: Settings = context.obj
    return settings


@contextmanager
def tracked(context: typer.Context) -> Iterator[tuple[Settings, Track]]:
    """The global options, and progress bars."""
    from harbench.cli import views

    settings = settings_of(context)
    with views.progress(quiet=settings.quiet) as track:
        yield settings, track


def words(text: str) -> tuple[str, ...]:
    """`a,b` as words."""
    return tuple(word for word in text.split(",") if word)


def rate(text: str) -> int:
    """`2M` as bytes a second."""
    number, factor = text.rstrip("bB/s"), 1
    if number[-1:].lower() in ("k", "m", "g"):
        number, factor = number[:-1], 1000 ** ("kmg".index(number[-1].lower()) + 1)
    try:
        value = int(float(number) * factor)
    except ValueError:
        value = 0
    if value < 1:
        raise typer.BadParameter(f"{text} is no rate; say e.g. 500k or 2M")
    return value


def show(result: T, text: Callable[[T], str], as_json: bool) -> None:
    """A returned record as JSON, or as `text` puts it for people."""
    from harbench.cli import views

    if as_json:
        print_json(result)
    else:
        views.say(text(result))


def print_json(value: Any) -> None:
    """A returned record on stdout, and nothing else there."""
    typer.echo(json.dumps(value, default=_plain, indent=2, ensure_ascii=False))


def print_line(value: Any) -> None:
    """A record as JSON on one line of stdout: JSON lines, for many."""
    typer.echo(json.dumps(value, default=_plain, ensure_ascii=False))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    return dict(value)
