"""The bytes of a chat completion as those of a response.

Rules:

- A client gets what it has asked for, events or one object, whatever the upstream sends.
- All events of one response have numbers without a gap. What tells that it is over, the last of them, is held
  back until the reply is stored, as the end of every reply is.
- An answer that broke off, or never said why it ended, has failed, and is said to have: a client that saw the
  connection cut would ask again.
- An answer that is too long to be held fails: its end would have to tell all of it again.
- While the upstream is silent, `response.in_progress` is told anew: for clients that wait for no longer than
  some minutes (Codex: 300 s) a comment is no sign of life. A refusal that comes after the first of these is
  told by events too: the response has failed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sidecar.conversation.exchange_record import Reference
from sidecar.conversation.tree import State
from sidecar.dialects import sse
from sidecar.dialects.base import Carried, Translation
from sidecar.dialects.chat.joining import encode
from sidecar.dialects.chat.reading import FAILURES, error_in, loads
from sidecar.dialects.responses.answer import Answer
from sidecar.dialects.responses.asked import Asked
from sidecar.dialects.responses.drafts import Ended, Event
from sidecar.dialects.responses.errors import ErrorBody, LateError
from sidecar.dialects.responses.ids import stem_of
from sidecar.dialects.responses.kept import Said, told_of, unfinished
from sidecar.dialects.responses.response import error_of, response_of, usage_of
from sidecar.dialects.responses.tools import Tools

__all__ = [
    "BEGUN",
    "LAST",
    "PATIENCE",
    "UNTRANSLATED",
    "About",
    "Events",
    "Whole",
    "error_event",
    "headers_of",
    "untranslated",
    "written",
]

#: Seconds of the upstream's silence after which a client is told that its answer is still being made. Proxies
#: on the way cut a silent connection after 60 s (nginx's `proxy_read_timeout`) or more.
PATIENCE = 15.0

#: The header that names what of a request has no form in Chat Completions and does no harm by missing.
UNTRANSLATED = "X-Sidecar-Untranslated"
_REASONS: dict[str | None, str] = {"length": "max_output_tokens", "content_filter": "content_filter"}
_NO_REASON = frozenset(("", "null", "none", "undefined"))  # as in `chat.assembly`
_NAME, _MAX_NAMES = re.compile(r"[\w.:-]{1,64}", re.ASCII), 20
_BROKE_OFF = "the upstream broke off before the answer was complete"
_MAX_HEAD = 4 << 10  # bytes by which a stream is known for one
#: Behind the last event.
LAST = b"data: [DONE]\n\n"
#: So many events of a response that is made in the background are told before its upstream is asked.
BEGUN = 2


class About(NamedTuple):
    """What an answer is told with: Unix seconds, and how many bytes of one are held at most."""

    asked: Asked
    exchange: Reference
    created: int
    clock: Callable[[], float]
    most: int


class _Reply:
    """What the payloads of one chat completion say, as events."""

    def __init__(self, about: About) -> None:
        self._about = about.asked, about.exchange, about.created
        self._clock, self._most = about.clock, about.most
        self._answer = Answer(about.asked, stem_of(about.exchange))
        self._usage: Any = None
        self._finish: str | None = None
        self._error: dict[str, Any] | None = None
        #: More than is held of one has come.
        self.is_full = False
        self._response: dict[str, Any] | None = None

    def begun(self, status: str = "in_progress") -> dict[str, Any]:
        """The response, as long as nothing has come."""
        return response_of(*self._about, status, [])

    def take(self, payload: bytes) -> list[Event]:
        """What can be told of a payload; nothing of one that nobody can read."""
        try:
            told = loads(payload)
        except (ValueError, RecursionError):
            return []
        events: list[Event] = []
        for chunk in told if isinstance(told, list) else [told]:
            if isinstance(chunk, dict):
                events += self._take(chunk)
        return events

    def _take(self, chunk: dict[str, Any]) -> list[Event]:
        if self._error is None and (error := error_in(chunk)):
            self._error = error_of(error)
        if chunk.get("usage"):
            self._usage = chunk["usage"]
        events: list[Event] = []
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                continue
            told = choice.get("delta")
            if told is None:  # some send the message so far beside each delta
                told = choice.get("message")
            if isinstance(told, dict):
                events += self._answer.take(told, choice.get("logprobs"))
            reason = choice.get("finish_reason")
            if isinstance(reason, str) and reason.lower() not in _NO_REASON:
                self._finish = reason
        return events

    def look(self, waiting: int) -> None:
        """Has too much come, with so many bytes that are not read yet? All is told once more at the end."""
        if self._answer.size + waiting > self._most and not self.is_full:
            self.is_full = True
            message = f"the answer is longer than `limits.max_reply` = {self._most}"
            self.fail({"code": "server_error", "message": message})

    def fail(self, error: dict[str, Any]) -> None:
        """It has this error, if it has none yet."""
        self._error = self._error or error

    def ended(self) -> tuple[list[Event], dict[str, Any]]:
        """The events of the end, but for the last, and the response."""
        if self._error is None and (self._finish is None or self._finish in FAILURES):
            self._error = {"code": "server_error", "message": _BROKE_OFF}
        reason = _REASONS.get(self._finish) if self._error is None else None
        status = "failed" if self._error else "incomplete" if reason else "completed"
        ended: Ended = "completed" if status == "completed" else "incomplete"
        events = self._answer.end(ended)
        response = response_of(
            *self._about,
            status,
            self._answer.output,
            completed=int(self._clock()) if status == "completed" else None,
            reason=reason,
            error=self._error,
            usage=usage_of(self._usage),
        )
        self._response = response
        return events, response

    def told(self, said: Said, state: State, carried: Carried) -> bytes | None:
        """What is kept of the response; nothing of one that nothing is to be kept of."""
        asked, exchange, created = self._about
        if asked.is_private:
            return None
        now = int(self._clock())
        response = self._response or unfinished(asked, said, state, exchange, created, now)
        leading = (*carried, *asked.leading)
        return told_of(response, said, exchange, wants_reasoning=asked.wants_reasoning, leading=leading)


class _Payloads:
    """The payloads of a body, which may be a stream or not, whatever it is called."""

    def __init__(self) -> None:
        self._decoder: sse.Decoder | None = None
        self._body = bytearray()
        #: So many bytes have come since the last payload was whole.
        self.waiting = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Those that are whole."""
        self.waiting += len(data)
        if self._decoder is None:
            is_known = len(self._body) > _MAX_HEAD
            self._body += data
            if is_known or not sse.is_stream(bytes(self._body)):
                return []
            self._decoder, data = sse.Decoder(), bytes(self._body)
        payloads = self._decoder.feed(data)
        if payloads:
            self.waiting = 0
        return payloads

    def close(self) -> list[bytes]:
        """The rest."""
        return [bytes(self._body)] if self._decoder is None else self._decoder.close()


class Events:
    """A response told by events. See `base.Translation`."""

    patience: float | None = PATIENCE

    def __init__(self, about: About) -> None:
        self.headers = headers_of(about.asked, "text/event-stream")
        self.held = b""
        self.done = False
        self._reply = _Reply(about)
        self._payloads = _Payloads()
        self._number = BEGUN if about.asked.in_background else 0
        self._is_begun = False

    def feed(self, chunk: bytes) -> bytes:
        if self.done:
            return b""
        ready = self._told(self._payloads.feed(chunk))
        self._reply.look(self._payloads.waiting)
        return ready + self._end() if self._reply.is_full and not self.done else ready

    def close(self) -> bytes:
        ready = b"" if self.done else self._told(self._payloads.close())
        return ready if self.done else ready + self._end()

    def alive(self) -> bytes:
        if self.done:
            return b""
        return self._begin() or self._written(self._progress())

    def refused(self, status: int) -> Translation:
        return LateError(self, status) if self._is_begun else ErrorBody(status)

    def fail(self, error: dict[str, Any]) -> bytes:
        """What may go to the client of a response that ends with this error. It is then `done`."""
        self._reply.fail(error)
        return self._end()

    def told(
        self, message: Mapping[str, Any] | None, usage: bytes | None, state: State, carried: Carried = ()
    ) -> bytes | None:
        return self._reply.told(Said(message, usage), state, carried)

    def _told(self, payloads: list[bytes]) -> bytes:
        pieces = []
        for payload in payloads:
            if self.done:
                break
            if payload.startswith(b"[DONE]"):
                pieces.append(self._end())
            else:
                events = self._reply.take(payload)
                pieces += [self._begin(), *map(self._written, events)] if events else ()
        return b"".join(pieces)

    def _begin(self) -> bytes:
        if self._is_begun:
            return b""
        self._is_begun = True
        if self._number:
            return self._written(self._progress())
        created = {"type": "response.created", "response": self._reply.begun()}
        return self._written(created) + self._written(self._progress())

    def _progress(self) -> Event:
        return {"type": "response.in_progress", "response": self._reply.begun()}

    def _end(self) -> bytes:
        """What may go before the last event, which is held back."""
        begun = self._begin()
        events, response = self._reply.ended()
        pieces = [begun, *map(self._written, events)]
        if response["error"] is not None:
            pieces.append(self._written(error_event(response["error"])))
        last = {"type": f"response.{response['status']}", "response": response}
        self.held, self.done = self._written(last) + LAST, True
        return b"".join(pieces)

    def _written(self, event: Event) -> bytes:
        self._number += 1
        return written(event, self._number - 1)


class Whole:
    """A response as one object. See `base.Translation`."""

    patience: float | None = None

    def __init__(self, about: About) -> None:
        self.headers = headers_of(about.asked, "application/json")
        self.held = b""
        self.done = False
        self._reply = _Reply(about)
        self._payloads = _Payloads()

    def feed(self, chunk: bytes) -> bytes:
        if not self._reply.is_full:
            self._take(self._payloads.feed(chunk))
            self._reply.look(self._payloads.waiting)
        return b""

    def close(self) -> bytes:
        if not self._reply.is_full:
            self._take(self._payloads.close())
        _, response = self._reply.ended()
        self.held, self.done = encode(response), True
        return b""

    def alive(self) -> bytes:
        return b""

    def refused(self, status: int) -> Translation:
        return ErrorBody(status)

    def told(
        self, message: Mapping[str, Any] | None, usage: bytes | None, state: State, carried: Carried = ()
    ) -> bytes | None:
        return self._reply.told(Said(message, usage), state, carried)

    def _take(self, payloads: list[bytes]) -> None:
        for payload in payloads:
            self._reply.take(payload)


def headers_of(asked: Asked, content_type: str) -> dict[str, str]:
    """The headers that say what the body is, and what is missing of what was asked for."""
    return {"Content-Type": content_type, **untranslated(asked.tools)}


def untranslated(tools: Tools) -> dict[str, str]:
    """The header that names what was left out, if anything was."""
    left_out = [each for each in tools.left_out if _NAME.fullmatch(each)][:_MAX_NAMES]
    return {UNTRANSLATED: ", ".join(left_out)} if left_out else {}


def written(event: Event, number: int) -> bytes:
    """An event of this number, as it is sent."""
    kind = event["type"]
    data = encode({"type": kind, "sequence_number": number, **event})
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


def error_event(error: dict[str, Any]) -> Event:
    """An error as both forms of the API tell it: flat, and as an object within."""
    about = {**error, "param": None}
    return {"type": "error", **about, "error": {"type": error["code"], **about}}
