"""Damage to the bytes of a file, as hypothesis draws it."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st


def damaged(content: bytes, data: st.DataObject, places: Sequence[int] = ()) -> bytes:
    """One to five times a bit flipped, a byte set, some bytes cut out or doubled, or the end lost, at one of `places`."""
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.sampled_from(places) if places else st.integers(0, len(content) - 1)) % max(len(changed), 1)
        length = data.draw(st.integers(1, 40))
        match data.draw(st.sampled_from(["flip", "set", "cut", "double", "end"])):
            case "flip" if changed:
                changed[at] ^= 1 << data.draw(st.integers(0, 7))
            case "set" if changed:
                changed[at] = data.draw(st.integers(0, 255))
            case "cut":
                del changed[at : at + length]
            case "double":
                changed[at:at] = changed[at : at + length]
            case "end":
                del changed[max(at, 1) :]
    return bytes(changed)
