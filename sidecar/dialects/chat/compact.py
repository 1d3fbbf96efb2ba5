"""A stream in fewer bytes that says the same, so that a long one can be kept while it lasts.

Rule: only a part that is nothing but `data` lines of one line each is rewritten, since comments and other
fields may mean something to whoever reads it later; in it, events that differ in one piece of text alone
become one (see `runs`).
"""

from __future__ import annotations

from sidecar.dialects.chat.coalesce import shortened

__all__ = ["compacted"]

_BEGIN, _END = b"data: ", b"\n\n"


def compacted(data: bytes) -> bytes:
    """Whole events of a stream, or the same bytes where there is nothing to gain."""
    if not (data.startswith(_BEGIN) and data.endswith(_END)) or b"\r" in data:
        return data
    events = data[len(_BEGIN) : -len(_END)].split(_END + _BEGIN)
    if data.count(b"\n") != len(_END) * len(events):
        return data
    fewer = shortened(events)
    if len(fewer) == len(events):
        return data
    return b"".join(_BEGIN + event + _END for event in fewer)
