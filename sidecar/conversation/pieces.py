"""How much is in a JSON text? A bound that is found without reading it.

Rules: what is refused for holding too much must not have been read for that: three bytes can be an object of
a hundred. And no call into C takes long, for it keeps the interpreter: a large text is looked through in
slices. A *piece* is a string, a list or an object.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["LARGE", "MANY", "SLICE", "begins_alike", "count", "has_more_pieces", "most_pieces", "slices"]

#: A request of more bytes, or more messages, takes milliseconds wherever it is looked through.
LARGE, MANY = 1 << 20, 2_000
#: Bytes, or characters, that are worked on at a time: they take a millisecond or so.
SLICE = 1 << 20
_SPLIT = SLICE // 8  # bytes of which each may become an object
_QUOTE, _LIST, _OBJECT, _BACKSLASH = b'"', b"[", b"{", b"\\"


def slices(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where the slices of a stretch begin and end."""
    return ((begin, min(begin + SLICE, end)) for begin in range(start, end, SLICE))


def count(data: bytes, byte: bytes, start: int = 0, end: int | None = None) -> int:
    """How often this byte stands there."""
    end = len(data) if end is None else min(end, len(data))
    if end - start <= SLICE:
        return data.count(byte, start, end)
    return sum(data.count(byte, *each) for each in slices(start, end))


def begins_alike(data: bytes, other: bytes, size: int) -> bool:
    """Are the first so many bytes of both the same?"""
    if len(data) < size or len(other) < size:
        return False
    begin = memoryview(other)  # whose slices are no copies
    if size <= SLICE:
        return data.startswith(begin[:size])
    return all(data.startswith(begin[at:end], at) for at, end in slices(0, size))


def most_pieces(data: bytes, start: int, end: int) -> int:
    """No fewer pieces than begin between these places."""
    if end - start <= SLICE:
        opened = data.count(_LIST, start, end) + data.count(_OBJECT, start, end)
        return opened + data.count(_QUOTE, start, end) // 2
    opened = count(data, _LIST, start, end) + count(data, _OBJECT, start, end)
    return count(data, _QUOTE, start, end) // 2 + opened


def has_more_pieces(data: bytes, most: int, bound: int) -> bool:
    """Has this text more than so many pieces? `bound` is what `most_pieces` found in it.

    For a text that is no JSON any answer may come.
    """
    if bound <= most:
        return False
    # Some of these may stand in strings, as in code.
    found, is_inside, is_escaped = 0, False, False
    for begin in range(0, len(data), _SPLIT):
        part = data[begin + is_escaped : begin + _SPLIT]
        is_escaped = False
        if _BACKSLASH in part:
            part = part.replace(b"\\\\", b"")
            is_escaped = part.endswith(_BACKSLASH)  # what it escapes stands in the next slice
            part = part.replace(b'\\"', b"")
        parts = part.split(_QUOTE)
        begun = len(parts[not is_inside :: 2]) - is_inside  # a string that goes on was counted where it began
        outside = b"".join(parts[is_inside::2])
        found += begun + outside.count(_LIST) + outside.count(_OBJECT)
        if found > most:
            return True
        is_inside ^= len(parts) % 2 == 0
    return False
