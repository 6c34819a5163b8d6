"""Progress as a person sees it, on a terminal and in a log."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from harbench import console


def told(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> io.StringIO:
    out = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=out, force_terminal=terminal, width=120))
    return out


@pytest.mark.parametrize("terminal", [False, True])
def test_items_are_counted_and_bytes_say_their_size(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    out = told(monkeypatch, terminal=terminal)
    with console.progress(quiet=False) as track:
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
    with console.progress(quiet=True) as track:
        assert list(track([1], "fetching", 1, "bytes")) == [1]
    assert out.getvalue() == ""
