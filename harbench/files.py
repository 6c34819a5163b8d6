"""Files that are whole or absent: temporary name, check, move; locks that die with their process; hashes."""

from __future__ import annotations

import codecs
import hashlib
import io
import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import IO, TYPE_CHECKING, Any

from harbench.errors import DatasetError, HarbenchError, MediaError, damage

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

log = logging.getLogger(__name__)
NPY_DAMAGE = (ValueError, EOFError, MemoryError, OverflowError, SyntaxError, TokenError)
"""What numpy raises on damaged arrays, whose headers are Python's syntax."""
_RUN = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet takes for a formula."""


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut. Windows has no handles of folders."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary neighbor of `path` for writing and move it over `path` once it is complete and on disk.

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
        if isinstance(said, OSError) and said.filename in (None, str(temporary)):  # write and fsync do not say where
            raise OSError(said.errno, said.strerror, str(path)) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def expanded(path: str) -> Path:
    """`path` with the home folder that its `~` or `~user` stands for; as it is where there is no such user."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  # Path.expanduser raises there


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with replacing(path) as handle:
        handle.write(text)


@contextmanager
def locked(path: Path, busy: HarbenchError | None = None) -> Iterator[None]:
    """Hold an exclusive lock on `path`; the system frees it when the process dies.

    When another process has it: raise `busy`, or without one wait for its turn.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if busy is not None:
            raise busy from None
        log.info("waiting for another process to release %s", path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def read_npy(path: Path, *, mapped: bool = False) -> npt.NDArray[Any]:
    """The array in a `.npy` file; with `mapped` its content is read when it is used.

    Raises MediaError, without the path, for a file that cannot be read, is no array, or has objects in it.
    """
    import numpy as np

    try:
        with np.errstate(over="ignore"):
            array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except OSError as error:
        raise MediaError(f"cannot be read: {error.strerror or error}") from None
    except NPY_DAMAGE as error:
        raise MediaError(f"not an array file: {damage(error)}") from None
    if not isinstance(array, np.ndarray):
        raise MediaError("expected one array, found several")
    return array


def read_csv(path: Path, known: Collection[str], headless: Mapping[int, Sequence[str]]) -> pd.DataFrame:
    """A table as people save it: every cell is text without blanks around it, the index is the line number.

    Cells are separated by commas, semicolons, tabs or blanks, whichever of these the first line has first in this order.
    The first line is a header where a cell of it is in `known` (lowercase, as such names become). Without a header,
    `headless` has the names for each number of columns. Blank lines and columns without a name that are empty or count
    the rows (the index that pandas writes) are left out.

    Raises DatasetError with file and line for anything else: an encoding other than UTF-8 or UTF-16 with a byte order
    mark, lines with another number of cells, a column twice, no header where one is needed.
    """
    import pandas as pd

    lines = _decoded(path).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    first = next((number for number, line in enumerate(lines) if line.strip()), len(lines))
    if lines[first : first + 1] and lines[first].lower().startswith("sep="):  # Excel's own first line
        first += 1
    if first >= len(lines):
        raise DatasetError(f"{path}: expected a table, found an empty file")
    separator = next((each for each in ",;\t" if each in lines[first]), None)
    width = len(lines[first].split(separator))
    short = (number for number in range(first, len(lines)) if 0 < len(lines[number].split(separator)) < width)
    text = "\n".join(lines[first:])
    if '"' not in text and (number := next((each for each in short if lines[each].strip()), None)) is not None:
        raise DatasetError(
            f"{path}, line {number + 1}: expected {width} cells as in line {first + 1}, found {lines[number]!r}"
        )
    try:
        table = pd.read_csv(
            io.StringIO(text), sep=separator or r"\s+", header=None, dtype=str, keep_default_na=False, skip_blank_lines=False
        ).map(str.strip)  # fmt: skip
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise DatasetError(f"{path}: expected as many cells in every line as in the first one: {reason}") from None
    table.index += first + 1
    header = [name.lower() if name.lower() in known else name for name in table.iloc[0]]
    if set(header) & set(known):
        table = table.iloc[1:]
    elif table.shape[1] in headless:
        header = list(headless[table.shape[1]])
    else:
        raise DatasetError(
            f"{path}, line {first + 1}: expected a line of column names, one of them {', '.join(known)}; found "
            f"{lines[first]!r}"
        )
    table.columns = pd.Index(header)
    return _without_index(table[(table != "").any(axis=1)], path)


def _decoded(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: expected UTF-8, found {error}. Save it as UTF-8.") from None


def _without_index(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """`table` without columns that have no name and say nothing. Raises DatasetError for a name that stands twice."""
    rows = [str(number) for number in range(len(table))]
    idle = [
        name in ("", "Unnamed: 0") and ((table.iloc[:, place] == "").all() or table.iloc[:, place].tolist() == rows)
        for place, name in enumerate(table.columns)
    ]
    table = table.loc[:, [not each for each in idle]]
    if twice := sorted(set(table.columns[table.columns.duplicated()])):
        raise DatasetError(f"{path}: expected every column once, found twice: {', '.join(map(repr, twice))}")
    return table


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
