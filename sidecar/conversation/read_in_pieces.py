"""JSON of many megabytes, read without keeping the interpreter for long.

Rules: what is read is what reading it at once would give, or the same kind of error. No call into C gets more
than some megabytes of it to decode: a list, an object or a text that is larger is taken apart first. Where a
text may be parted is found by looking back a little; one that has no such place is read at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

__all__ = ["read_in_pieces"]

_AT_ONCE = 8 << 20  # bytes: 10 ms
# So deep stands the text of an image in a message. Each level is looked through once more.
_LEVELS = 5
_LOOK_BACK = 256  # bytes
_ESCAPE = 12  # bytes of the longest, a pair of halves
_QUOTE, _BACKSLASH = b'"', b"\\"

_decode = msgspec.json.Decoder().decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


def read_in_pieces(raw: bytes | msgspec.Raw, levels: int = _LEVELS) -> Any:
    """The value that this JSON stands for. Raises `ValueError` for what is none, and `RecursionError`."""
    view = memoryview(raw)
    first = bytes(view[:1])
    if len(view) <= _AT_ONCE or not levels:
        return _decode(view)
    if first == b"{":
        return {name: read_in_pieces(value, levels - 1) for name, value in _members(view).items()}
    if first == b"[":
        return [read_in_pieces(item, levels - 1) for item in _items(view)]
    return "".join(_texts(view)) if first == _QUOTE else _decode(view)


def _texts(spelled: memoryview) -> Iterator[str]:
    """A text between its quotes, piece by piece."""
    at, end = 1, len(spelled) - 1
    while end - at > _AT_ONCE:
        cut = _cut(spelled, at, at + _AT_ONCE)
        if not cut:
            break
        yield _decode(b"".join((_QUOTE, spelled[at:cut], _QUOTE)))
        at = cut
    yield _decode(b"".join((_QUOTE, spelled[at:])))


def _cut(spelled: memoryview, begin: int, end: int) -> int:
    """The last place up to `end` at which no character and no escape goes on; 0 if there is none nearby."""
    for at in range(end, max(begin + _ESCAPE, end - _LOOK_BACK), -1):
        if spelled[at] & 0xC0 != 0x80 and _BACKSLASH not in bytes(spelled[at - _ESCAPE : at]):
            return at
    return 0
