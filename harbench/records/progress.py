"""Progress as a parameter: silent unless a caller shows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, Protocol, TypeVar

T = TypeVar("T")


class Track(Protocol):
    """Progress is a parameter: `track(items, "decoding", total)` yields the items and shows how far it is.

    With `unit="bytes"` the items are no things to count but ints: how many of the `total` bytes there are by now. So a
    transfer may begin behind the start, and begin again.
    """

    def __call__(
        self, items: Iterable[T], what: str, total: int | None = None, unit: Literal["items", "bytes"] = "items"
    ) -> Iterator[T]: ...


def silent(
    items: Iterable[T], what: str, total: int | None = None, unit: Literal["items", "bytes"] = "items"
) -> Iterator[T]:
    """The default `track`: shows nothing."""
    yield from items
