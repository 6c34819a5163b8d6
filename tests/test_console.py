"""Progress as a person sees it, on a terminal and in a log."""

from __future__ import annotations

import io
import logging
import warnings

import pytest
from rich.console import Console

from harbench.cli import views
from harbench.errors import HarbenchWarning


def told(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> io.StringIO:
    out = io.StringIO()
    monkeypatch.setattr(views, "err", Console(file=out, force_terminal=terminal, width=120))
    return out


@pytest.mark.parametrize("terminal", [False, True])
def test_items_are_counted_and_bytes_say_their_size(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    out = told(monkeypatch, terminal=terminal)
    with views.progress(quiet=False) as track:
        assert list(track("abc", "counting [x]", 3)) == ["a", "b", "c"]
        positions = [0, 400_000, 0, 1_000_000, 2_000_000]  # began again in between
        assert list(track(positions, "fetching", 2_000_000, "bytes")) == positions
        assert list(track(iter(positions), "unknown size", None, "bytes")) == positions
        assert list(track(iter("ab"), "unknown number")) == ["a", "b"]
    text = out.getvalue()
    for words in ("counting [x]", "2.0 MB", "unknown size", "unknown number"):
        assert words in text
    assert ("of 2.0 MB" in text) and ("3/3" in text if terminal else "counting [x]: 3 done" in text)


def test_quiet_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    out = told(monkeypatch, terminal=True)
    with views.progress(quiet=True) as track:
        assert list(track([1], "fetching", 1, "bytes")) == [1]
    assert out.getvalue() == ""


def test_warnings_of_harbench_are_lines_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the path and line of the source that Python shows, which mean nothing to a user; others stay as they are."""
    out = told(monkeypatch, terminal=False)
    others: list[str] = []
    monkeypatch.setattr(views, "_show_foreign_warning", lambda message, *_: others.append(str(message)))
    monkeypatch.setattr(logging.getLogger("harbench"), "handlers", [])
    views.setup_logging(quiet=True, verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("look here", HarbenchWarning, stacklevel=1)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert out.getvalue().strip() == "look here"
    assert others == ["old"]
