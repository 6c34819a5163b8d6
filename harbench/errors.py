"""What can go wrong, in the user's words. The core raises these; only the command line turns them into exit codes.

An error says what was expected, what was found, where, and what to do next. It never needs a traceback to be understood.
"""

from __future__ import annotations

import difflib
from _pickle import UnpicklingError  # the error alone: nothing here unpickles
from collections.abc import Iterable


class HarbenchError(Exception):
    """A mistake that the user can mend; the message says how. Exit code 1."""


class RecipeError(HarbenchError):
    """A recipe is wrong. The message lists every problem at once, one line each, by dotted path."""


class DatasetError(HarbenchError):
    """A data set, split or class is unknown, or its table is damaged."""


class MediaError(HarbenchError):
    """Media are missing, ambiguous, unreadable or not what their name says."""


class ArchiveError(HarbenchError):
    """An archive is truncated, damaged, encrypted or hostile, and nothing of it was kept."""


class DownloadError(HarbenchError):
    """An archive cannot be fetched from any of its mirrors; the message says how to get it by hand."""


class PickleError(HarbenchError):
    """A foreign pickle is damaged, or holds what cannot be read without running it. Nothing of it was run."""


class CacheError(HarbenchError):
    """A frame cache is missing, incomplete or in use, with the `harbench prepare` line that mends it."""


class WeightsError(HarbenchError):
    """Weights are missing, of another shape, or for other classes."""


class RunError(HarbenchError):
    """A run folder is in use, finished, of another recipe, or its training cannot go on."""


class FollowerError(HarbenchError):
    """Another process of the same run failed and has told why: this one ends with it, silently."""


class PublishedError(HarbenchError):
    """A published.csv has a bad row."""


class HarbenchWarning(UserWarning):
    """Something a user should know that stops nothing."""


def damage(error: BaseException) -> str:
    """What a library said of damaged bytes, in one line; the kind alone where it is of its own variables, or advice."""
    words = str(error).partition("\n")[0][:200]
    opaque = isinstance(error, (AttributeError, LookupError, UnpicklingError))
    return type(error).__name__ if opaque or not words else words


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'mc3_18'?` for an error on `name`, or nothing where no known name is near."""
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def nearest_or_all(name: str, known: Iterable[str]) -> str:
    """As `did_you_mean`; where none is near, the first dozen of the names that there are."""
    ordered = sorted(known)
    listed = f"; there are {', '.join(ordered[:12])}{', ...' if len(ordered) > 12 else ''}" if ordered else ""
    return did_you_mean(name, ordered) or listed
