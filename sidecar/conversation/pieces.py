"""How much is in a JSON text? A bound that is found without reading it.

Rule: what is refused for holding too much must not have been read for that: three bytes can be an object of
a hundred. A *piece* is a string, a list or an object.
"""

from __future__ import annotations

__all__ = ["has_more_pieces", "most_pieces"]


def most_pieces(data: bytes, start: int, end: int) -> int:
    """No fewer pieces than begin between these places."""
    opened = data.count(b"[", start, end) + data.count(b"{", start, end)
    return data.count(b'"', start, end) // 2 + opened


def has_more_pieces(data: bytes, most: int, bound: int) -> bool:
    """Has this text more than so many pieces? `bound` is what `most_pieces` found in it.

    For a text that is no JSON any answer may come.
    """
    if bound <= most:
        return False
    # Some of these may stand in strings, as in code.
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    strings = data.count(b'"') // 2
    if strings > most:
        return True
    outside = data.split(b'"')[::2]
    return strings + sum(each.count(b"[") + each.count(b"{") for each in outside) > most
