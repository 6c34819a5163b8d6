"""Calling what may hang or take its process down: in a process of its own, with a time limit."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from harbench.errors import MediaError
from harbench.workers import SECONDS, SPAWN


def answers(function: Callable[..., Iterator[Any]], *args: Any, patience: float) -> Iterator[Any]:
    """What a generator function yields in a spawned process; both it and its arguments must be importable there.

    Raises MediaError when it takes more than `patience` seconds to its next answer, or when its process ends before it
    does: with the last line that the process wrote on stderr, which C libraries print to.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "stderr"
        here, there = SPAWN.Pipe(duplex=False)
        process = SPAWN.Process(target=_answer, args=(there, log, function, args), daemon=True)
        process.start()
        there.close()
        try:
            while here.poll(patience):
                try:
                    answer = here.recv()
                except EOFError:
                    process.join(SECONDS)
                    raise MediaError(f"its process {_end(process.exitcode)}{_last_line(log)}") from None
                if answer is None:
                    return
                yield answer[0]
            raise MediaError(f"was still at it after {patience:.0f} s, and was ended{_last_line(log)}")
        finally:
            process.kill()
            process.join(SECONDS)
            here.close()


def _answer(connection: Connection, log: Path, function: Callable[..., Iterator[Any]], args: tuple[Any, ...]) -> None:
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 2)
    for answer in function(*args):
        connection.send((answer,))
    connection.send(None)


def _end(code: int | None) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code and code < 0 else f"ended with exit code {code}"


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    words = [line.strip() for line in lines if line.strip()]
    return f": {words[-1]}" if words else ""
