"""Is an answer a refusal for length? Read as far as it takes to tell, and no further.

Rules: an error's body is read whole, up to a limit; the head of an event stream until the first event that
tells, and of any other answer until it does not begin like an error. Nothing is held back for longer than
`PATIENCE`. What was read goes to the client as it came, unless the request is sent anew.
"""

from __future__ import annotations

import asyncio

from sidecar.conversation.overflow import Overflow, recognised
from sidecar.proxy.answer import BROKEN_OFF, Answer
from sidecar.proxy.codings import PACKED, Unpacker, coding_of
from sidecar.streaming.opening import Opening, Verdict

__all__ = ["PATIENCE", "refusal"]

#: So long a client waits at most for the head of its answer on our account, in seconds.
PATIENCE = 1.0
_LARGEST = 64 << 10  # bytes of an error

_ERRORS = (b'{"error":', b'[{"error":')
_EVENTS = "text/event-stream"
_TOLD = 64  # bytes of which a body that is no event stream may be blank before it begins


async def refusal(answer: Answer) -> Overflow | None:
    """What the answer says about the length of the prompt; None if it does not refuse it for that."""
    if answer.status < 300 and answer.content_type != _EVENTS:
        answer.look()
        if not _may_be_error(_plain(answer)):
            return None  # as most that are no stream, and nobody had to wait for it
    try:
        async with asyncio.timeout(PATIENCE):
            if answer.status >= 300:
                body = await _whole(answer)
            elif answer.content_type == _EVENTS:
                body = await _first_event(answer)
            else:
                body = await _begun_as_error(answer)
    except BROKEN_OFF:  # out of patience, or broken off: whoever relays it comes upon that again
        return None
    return recognised(answer.status, body) if body else None


async def _whole(answer: Answer) -> bytes:
    """The body without its coding; nothing if it is too large for an error."""
    while len(answer.head) <= _LARGEST:
        if not await answer.read_ahead():
            return _plain(answer)
    return b""


async def _begun_as_error(answer: Answer) -> bytes:
    """The body of an error that was sent as if it were an answer; nothing if it is one."""
    while True:
        plain = _plain(answer)
        if _begun(plain).startswith(_ERRORS):
            return await _whole(answer)
        if not _may_be_error(plain) or not await answer.read_ahead():
            return b""


def _begun(plain: bytes) -> bytes:
    return b"".join(plain[:_TOLD].split())


def _may_be_error(plain: bytes) -> bool:
    begun = _begun(plain)
    return begun.startswith(_ERRORS) or any(form.startswith(begun) for form in _ERRORS)


async def _first_event(answer: Answer) -> bytes:
    """The error with which an event stream begins; nothing if it begins with anything else."""
    opening, seen = Opening(), 0
    verdict: Verdict = "open"
    while verdict == "open":
        piece = await answer.read_ahead()
        plain = _plain(answer)
        verdict = opening.feed(plain[seen:]) if piece else opening.close()
        seen = len(plain)
    return opening.error


def _plain(answer: Answer) -> bytes:
    """What was read so far, without its coding, as far as it can be read."""
    if coding_of(answer.headers) not in PACKED:
        return answer.head
    try:
        return Unpacker().feed(answer.head, _LARGEST)
    except ValueError:
        return answer.head
