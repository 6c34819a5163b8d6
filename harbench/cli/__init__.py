"""The command line: parse, call the function of the same name in api, show. Nothing is computed here.

One module a group of commands; importing it puts them into the application, in the order of `--help`.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from importlib import import_module
from io import TextIOWrapper
from typing import NoReturn, TextIO


def interrupted() -> NoReturn:
    """The end of a process that Ctrl-C or SIGTERM ended."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.stderr.write("harbench: Interrupted. What was finished is kept; the same command goes on from there.\n")
    exec("")  # after a Ctrl-C in an `exec`, as of a dataclass, Python would end by SIGINT, whatever sys.exit says
    sys.exit(130)


try:
    from harbench.cli.app import USER_ERROR, Interrupted, app
    from harbench.errors import FollowerError, HarbenchError

    for group in ("prepare", "data", "runs", "results", "use"):
        import_module(f"harbench.cli.{group}")
except KeyboardInterrupt:
    interrupted()

__all__ = ["app", "main"]

_WRITABLE = "Is --home (or --runs) a folder that you may write to?"
_FULL = "What was saved before is whole: make room, and the same command goes on from there."
_ADVICE = {errno.ENOSPC: _FULL, errno.EDQUOT: _FULL, errno.EISDIR: "Give the name of a file in it."}


def main() -> None:
    """Entry point: turns errors into messages and exit codes, never into tracebacks."""
    if sys.getfilesystemencoding() == "ascii" and os.environ.get("PYTHONUTF8") != "1":  # a POSIX locale, UTF-8 mode off
        os.execve(sys.executable, sys.orig_argv, {**os.environ, "PYTHONUTF8": "1"})
    _open_streams()
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _run()
    except (KeyboardInterrupt, Interrupted):
        interrupted()
    finally:
        if signal.getsignal(signal.SIGTERM) is signal.default_int_handler:  # what runs at exit would print a traceback
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _run() -> None:
    try:
        try:
            app(prog_name="harbench")
        finally:
            sys.stdout.flush()
    except FollowerError:
        sys.exit(USER_ERROR)
    except HarbenchError as error:
        _end(str(error))
    except OSError as error:
        file = error.filename
        if file is None and _is_lost(sys.stdout):
            if error.errno == errno.EPIPE:  # nobody reads any more, as of `| head`
                sys.exit(USER_ERROR)
            file = "standard output"
        if file is None:  # no file of the user's: a fault of harbench, which its traceback tells
            raise
        _end(f"{file}: {error.strerror}. {_ADVICE.get(error.errno or 0, _WRITABLE)}")


def _end(message: str) -> NoReturn:
    from harbench.cli import views

    views.show_error(message)
    sys.exit(USER_ERROR)


def _open_streams() -> None:
    """A closed stream becomes /dev/null, or the next file opened takes its place. What an encoding lacks is escaped."""
    closed = [name for name in ("stdin", "stdout", "stderr") if getattr(sys, name) is None]
    for name in closed:
        setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115
    if "stdout" in closed:
        _end("standard output is closed: send it to a file, or to /dev/null")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _is_lost(stream: TextIO) -> bool:
    """Whether a stream takes nothing more. What is left of it then goes nowhere, or Python would tell of it at its exit."""
    try:
        stream.write("\n")
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return True
    return False
