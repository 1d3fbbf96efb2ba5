"""A response that is made in the background: how it begins, its events, and how it ends where nothing else
told.

Rules: its events have the same numbers for whoever follows it, from whichever of them on. One that was
cancelled ends with `response.incomplete`, for no event of the API says `cancelled`; the response within does.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from sidecar.conversation.exchange_record import Reference
from sidecar.conversation.running_response import KeptEvents
from sidecar.dialects.chat.joining import encode
from sidecar.dialects.chat.reading import loads
from sidecar.dialects.responses.asked import Asked
from sidecar.dialects.responses.response import response_of
from sidecar.dialects.responses.translation import BEGUN, LAST, error_event, written

__all__ = [
    "Beginning",
    "as_it_stands",
    "beginning_of",
    "end_of",
    "error_behind",
    "events_in",
    "failed_with",
    "is_end",
    "joined_after",
    "kept_as_failed",
    "packed",
    "response_in",
    "unmade",
]

_ENDS = ("completed", "incomplete", "failed")
_END = tuple(f"event: response.{each}\n".encode() for each in _ENDS)
_BETWEEN = b"\n\n"

Beginning = tuple[dict[str, Any], KeptEvents]


def beginning_of(asked: Asked, where: Reference, created: int) -> Beginning:
    """The response before its upstream is asked, and its first events. `created`: Unix seconds."""
    response = response_of(asked, where, created, "queued", [])
    kinds = ("response.created", "response.queued")
    events = [written({"type": kind, "response": response}, at) for at, kind in enumerate(kinds)]
    assert len(events) == BEGUN
    return response, packed(events, 0)


def as_it_stands(told: bytes, last: int, *, is_over: bool) -> dict[str, Any]:
    """The response of which that was told at first, or at last, with so many events by now."""
    response: dict[str, Any] = loads(told)
    if not is_over and last >= BEGUN:
        response["status"] = "in_progress"
    return response


def events_in(piece: bytes) -> list[bytes]:
    """The events of which these bytes consist, without what says that no more come."""
    return [each + _BETWEEN for each in piece.removesuffix(LAST).split(_BETWEEN) if each]


def is_end(event: bytes) -> bool:
    """Is it the last one of a response?"""
    return event.startswith(_END)


def packed(events: Sequence[bytes], first: int) -> KeptEvents:
    """These events, the first of which has this number, as they are kept: in a tenth of the bytes."""
    return KeptEvents(first, first + len(events) - 1, zlib.compress(b"".join(events), 1))


def joined_after(kept: Iterable[KeptEvents], number: int) -> bytes:
    """The events behind that of this number."""
    found: list[bytes] = []
    for each in kept:
        found += events_in(zlib.decompress(each.data))[max(0, number + 1 - each.first) :]
    return b"".join(found)


def unmade(asked: Asked, where: Reference, created: int, error: dict[str, Any] | None) -> dict[str, Any]:
    """The response of which nothing came: it failed with this error, or was cancelled."""
    return response_of(asked, where, created, "failed" if error else "cancelled", [], error=error)


def failed_with(told: bytes, message: str) -> dict[str, Any]:
    """The response that was told so at first, and came to nothing."""
    return {**loads(told), **_failed(message)}


def kept_as_failed(told: bytes, message: str) -> bytes:
    """What is kept of a response (see `kept`), if it is to be told as one that failed."""
    kept = loads(told)
    kept["response"] |= _failed(message)
    return encode(kept)


def response_in(end: bytes) -> bytes:
    """The response that the last event tells, JSON."""
    return encode(loads(end.partition(b"data: ")[2])["response"])


def end_of(response: dict[str, Any], number: int) -> list[bytes]:
    """The events with which a response ends, from this number on."""
    status = response["status"]
    kind = status if status in _ENDS else "incomplete"
    last = {"type": f"response.{kind}", "response": response}
    events = [error_event(response["error"]), last] if response["error"] else [last]
    return [written(each, at) for at, each in enumerate(events, number)]


def error_behind(message: str, code: str, number: int) -> bytes:
    """What is told, in place of the event of this number, to whoever can be told no more of a response."""
    return written(error_event({"code": code, "message": message}), number)


def _failed(message: str) -> dict[str, Any]:
    return {"status": "failed", "error": {"code": "server_error", "message": message}}
