"""Files that are whole or absent: temporary name, check, move; locks that die with their process; hashes."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from harbench.errors import HarbenchError

log = logging.getLogger(__name__)
_RUN = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet takes for a formula."""


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary neighbour of `path` for writing and move it over `path` once it is complete and on disk.

    Whatever interrupts the block (an error, a full disk, a killed process) leaves the old `path` as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, mode, **({} if "b" in mode else {"encoding": "utf-8", "newline": ""})) as handle:  # type: ignore[call-overload]
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch has words of its own for what the disk said
        said = error if isinstance(error, OSError) else error.__context__
        if isinstance(said, OSError) and said.filename is None:  # nor do write and fsync say where
            raise OSError(said.errno, said.strerror, str(path)) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with replacing(path) as handle:
        handle.write(text)


@contextmanager
def locked(path: Path, busy: HarbenchError | None = None) -> Iterator[None]:
    """Hold an exclusive flock on `path`; the kernel frees it on death.

    When another process has it: raise `busy`, or without one wait for its turn.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if busy is not None:
                raise busy from None
            log.info("another process is at it; waiting for %s", path)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


# -------------------------------------------------------------------------------------- cells that a person may open
def csv_cell(value: Any) -> Any:
    """A value as a cell that a spreadsheet takes for text: one that it would run gets an apostrophe in front (OWASP).

    `csv_text` gives the text back.
    """
    text = value.lstrip("'") if isinstance(value, str) else ""
    return f"'{value}" if text.startswith(_RUN) and not (text == value and _is_number(text)) else value


def csv_text(cell: str) -> str:
    """The text behind a cell of `csv_cell`."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_RUN) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
