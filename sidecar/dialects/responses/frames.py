"""Requests and answers over a WebSocket: what stands in its messages, and what a connection remembers.

Rules:

- A message is one request, with `type: response.create`; each event of its answer is one message. What is
  refused is one as well, of the type `error`, and the connection goes on.
- What `store: false` keeps nowhere, the connection holds: the items of its last such response, and what led
  to it, so that the next request may bring no more than what is new. To go on from it takes it out, whatever
  becomes of that; a client that cannot go on is told so in a word that it knows, and sends everything.
- `generate: false` asks for no answer: a client sends ahead what its next request goes on from.
- What the headers of an answer over HTTP tell of what was done stands in its first message, as `headers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sidecar.dialects.chat.body import object_of
from sidecar.dialects.chat.joining import encode
from sidecar.dialects.chat.reading import loads
from sidecar.dialects.responses.refusal import refused, shown
from sidecar.errors import BadRequest

__all__ = [
    "Frame",
    "Held",
    "body_of",
    "error_frame",
    "frame_of",
    "held_after",
    "messages_in",
    "not_found",
    "told_by",
    "with_headers",
]

_CREATE = "response.create"
_NOT_SENT_ON = frozenset(("type", "generate", "stream", "input"))
_ENDED = frozenset(("completed", "incomplete"))
_DATA, _LAST = b"data: ", b"[DONE]"
# How their names begin.
_SAYING = ("x-sidecar-", "x-conversation-id", "x-request-id", "retry-after")


class Held(msgspec.Struct, frozen=True):
    """A response that is kept nowhere else: its id, and all items up to its end, JSON without brackets."""

    id: str
    items: bytes


class Frame(msgspec.Struct, frozen=True):
    """A request as it came. `input`: its items, JSON without brackets; None for what is no list of them.

    `previous`: the response that it goes on from. `is_kept`: its response is to be. `generates`: it asks for
    an answer.
    """

    fields: dict[str, bytes]
    input: bytes | None
    previous: str | None
    is_kept: bool
    generates: bool


class _Response(msgspec.Struct, frozen=True):
    id: str
    status: str
    output: list[msgspec.Raw]


class _End(msgspec.Struct, frozen=True):
    response: _Response


_read_end = msgspec.json.Decoder(_End).decode


def frame_of(data: bytes) -> Frame:
    """The request in a message. Raises `BadRequest`."""
    try:
        fields = {name: bytes(value) for name, value in object_of(data).items()}
        kind, previous = (loads(fields.get(name, b"null")) for name in ("type", "previous_response_id"))
    except msgspec.ValidationError as error:
        raise BadRequest("a message has to be a JSON object", code="invalid_json") from error
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the message is not valid JSON: {error}", code="invalid_json") from error
    if kind != _CREATE:
        raise refused(f"a message of the type {shown(kind)}: here is {_CREATE} alone", "type")
    if fields.get("stream_id", b"null") != b"null":
        raise refused("`stream_id`: here one answer follows another", "stream_id", "unsupported_parameter")
    return Frame(
        fields,
        _items(fields.get("input", b"").strip()),
        previous if isinstance(previous, str) else None,
        fields.get("store") != b"false",
        fields.get("generate") != b"false",
    )


def _items(told: bytes) -> bytes | None:
    if told.startswith(b"["):
        return told[1:-1].strip()
    if told.startswith(b'"'):
        return b'{"type":"message","role":"user","content":%b}' % told
    return None


def body_of(frame: Frame, held: Held | None) -> bytes:
    """The body of the same request over HTTP, as a stream. `held`: what it goes on from, if that is held."""
    fields = {name: value for name, value in frame.fields.items() if name not in _NOT_SENT_ON}
    if frame.input is not None:
        fields["input"] = b"[%b]" % _joined(held.items if held else b"", frame.input)
    elif "input" in frame.fields:
        fields["input"] = frame.fields["input"]
    fields["stream"] = b"true"
    return b"{%b}" % b",".join(b"%b:%b" % (encode(name), value) for name, value in fields.items())


def messages_in(piece: bytes) -> list[bytes]:
    """The messages that tell these events of a stream, which are whole."""
    lines = (line[len(_DATA) :] for line in piece.split(b"\n") if line.startswith(_DATA))
    return [line for line in lines if line != _LAST]


def told_by(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of the headers of an answer that tell what was done, and when to come again."""
    return {name: value for name, value in headers.items() if name.lower().startswith(_SAYING)}


def with_headers(message: bytes, headers: Mapping[str, str]) -> bytes:
    """The message, which is a JSON object with members, and what these headers tell of what was done."""
    said = told_by(headers)
    return b'%b,"headers":%b}' % (message[:-1], encode(said)) if said else message


def held_after(frame: Frame, held: Held | None, end: bytes) -> Held | None:
    """What is held once a response has ended with this event; nothing of one that failed."""
    try:
        response = _read_end(end).response
    except ValueError:  # it ended without one
        return None
    if response.status not in _ENDED:
        return None
    before = held.items if held else b""
    return Held(response.id, _joined(before, frame.input or b"", *map(bytes, response.output)))


def _joined(*items: bytes) -> bytes:
    return b",".join(filter(None, items))


def not_found(id: str) -> BadRequest:
    """The error for a response from which nobody can go on here."""
    return refused(
        f"Previous response with id {shown(id)} not found.",
        "previous_response_id",
        "previous_response_not_found",
    )


def error_frame(status: int, body: bytes) -> bytes:
    """The message that says what the body of an error with this status does. It always has a code."""
    try:
        told: Any = loads(body)
    except (ValueError, RecursionError):
        told = None
    error = told.get("error") if isinstance(told, dict) else None
    about = error if isinstance(error, dict) else {}
    type = about.get("type")
    kind = type if isinstance(type, str) else "server_error"
    message, code = about.get("message"), about.get("code")
    said = {
        **about,
        "type": kind,
        "code": code if isinstance(code, str) else kind,
        "message": message if isinstance(message, str) else f"the upstream answered {status}",
        "param": about.get("param"),
    }
    return encode({"type": "error", "status": status, "error": said})
