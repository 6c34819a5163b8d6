"""The command line: parse, call the function of the same name in api, show. Nothing is computed here.

One module a group of commands; importing it puts them into the application, in the order of `--help`.
"""

from __future__ import annotations

import errno
import sys
from importlib import import_module

from harbench.cli.app import USER_ERROR, app
from harbench.errors import FollowerError, HarbenchError

__all__ = ["app", "main"]

for group in ("prepare", "data", "runs", "results"):
    import_module(f"harbench.cli.{group}")


_WRITABLE = "Is --home (or --runs) a folder that you may write to?"
_FULL = "What was saved before is whole: make room, and the same command goes on from there."
_ADVICE = {errno.ENOSPC: _FULL, errno.EDQUOT: _FULL}


def main() -> None:
    """Entry point: turns errors into messages and exit codes, never into tracebacks."""
    try:
        app()
    except FollowerError:
        sys.exit(USER_ERROR)
    except HarbenchError as error:
        from harbench import console

        console.show_error(str(error))
        sys.exit(USER_ERROR)
    except OSError as error:
        if error.filename is None:  # no file of the user's: a fault of harbench, which its traceback tells
            raise
        from harbench import console

        console.show_error(f"{error.filename}: {error.strerror}. {_ADVICE.get(error.errno or 0, _WRITABLE)}")
        sys.exit(USER_ERROR)
