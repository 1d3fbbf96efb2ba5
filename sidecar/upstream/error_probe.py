"""Is an answer a refusal? Read as far as it takes to tell, and no further.

Rules: an error's body is read whole, up to a limit; the head of an event stream until the first event that
tells, and of any other answer until it does not begin like an error. Nothing is held back for longer than
`PROBE_TIMEOUT`, nor all answers to one request together for longer than `PROBES_TIMEOUT`. What was read goes
to the client as it came, unless the request is sent anew.
"""

from __future__ import annotations

import asyncio

from sidecar.dialects.base import Dialect, Verdict
from sidecar.dialects.sse import is_stream
from sidecar.upstream.content_encoding import coding_of, decompressed
from sidecar.upstream.response import STREAM_ERRORS, UpstreamResponse

__all__ = ["PROBES_TIMEOUT", "PROBE_TIMEOUT", "error_of"]

#: So long a client waits at most for the head of its answer on our account, in seconds.
PROBE_TIMEOUT = 1.0
#: And so long for all answers to one request, if it is sent several times.
PROBES_TIMEOUT = 2.0
_MAX_ERROR_SIZE = 64 << 10  # bytes of an error

# How an error begins that is sent as if it were an answer, less its white space.
_ERRORS = (
    *(b'{"error":', b'[{"error":', b'{"errors":', b'{"object":"error"', b'{"type":"error"', b'{"detail":'),
    *(b'{"message":', b'{"code":', b'{"success":false'),
)
_EVENTS = "text/event-stream"
_NO_STREAM = (b"", b"{")  # which nearly every other answer begins with, and an error too
_TOLD = 64  # bytes of which a body that is no event stream may be blank before it begins


async def error_of(answer: UpstreamResponse, dialect: Dialect, timeout: float = PROBE_TIMEOUT) -> bytes:
    """The error that the answer is, in its body or in its first event; nothing if it is none, or if that is
    not known within so many seconds."""
    answer.peek_nowait()
    first = _First(answer, dialect) if answer.status < 300 and _is_stream(answer) else None
    if first is not None and first.look() == "answer":
        return b""
    if first is None and answer.status < 300 and not _may_be_error(_plain(answer)):
        return b""  # as most, and nobody had to wait for it
    try:
        async with asyncio.timeout(timeout):
            if first is not None:
                return await first.error()
            return await (_whole(answer) if answer.status >= 300 else _begun_as_error(answer, dialect))
    except STREAM_ERRORS:  # out of patience, or broken off: whoever relays it comes upon that again
        return b""


def _is_stream(answer: UpstreamResponse) -> bool:
    """By its name or, since many servers name it wrongly, by what it begins with."""
    if answer.content_type == _EVENTS:
        return True
    return answer.head[:1] not in _NO_STREAM and bool(is_stream(_plain(answer)))


async def _whole(answer: UpstreamResponse) -> bytes:
    """The body without its coding; nothing if it is too large for an error."""
    while len(answer.head) <= _MAX_ERROR_SIZE:
        if not await answer.peek():
            return _plain(answer)
    return b""


async def _begun_as_error(answer: UpstreamResponse, dialect: Dialect) -> bytes:
    """The body of an error that was sent as if it were an answer; nothing if it is one."""
    while True:
        plain = _plain(answer)
        if _begun(plain).startswith(_ERRORS):
            return await _whole(answer)
        if is_stream(plain):
            return await _First(answer, dialect).error()
        if not _may_be_error(plain) or len(answer.head) > _MAX_ERROR_SIZE or not await answer.peek():
            return b""


def _begun(plain: bytes) -> bytes:
    return b"".join(plain[:_TOLD].split())


def _may_be_error(plain: bytes) -> bool:
    begun = _begun(plain)
    is_open = len(plain) < _TOLD and any(form.startswith(begun) for form in _ERRORS)
    return is_open or begun.startswith(_ERRORS)


class _First:
    """What an event stream begins with."""

    def __init__(self, answer: UpstreamResponse, dialect: Dialect) -> None:
        self._answer = answer
        self._opening = dialect.opening()
        self._seen = 0
        self._verdict: Verdict = "open"

    def look(self) -> Verdict:
        """As far as it is known by what was read."""
        plain = _plain(self._answer)
        self._verdict = self._opening.feed(plain[self._seen :])
        self._seen = len(plain)
        return self._verdict

    async def error(self) -> bytes:
        """The error; nothing if it is anything else."""
        while self._verdict == "open" and len(self._answer.head) <= _MAX_ERROR_SIZE:
            if not await self._answer.peek():
                self._verdict = self._opening.close()
            else:
                self.look()
        return self._opening.error


def _plain(answer: UpstreamResponse) -> bytes:
    """What was read so far, without its coding, as far as it can be read."""
    return decompressed(answer.head, coding_of(answer.headers), _MAX_ERROR_SIZE)[0]
