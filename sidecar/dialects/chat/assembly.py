"""From the bytes of a reply to the messages in it, streamed or not.

This module owns what counts as a reply, its model, usage, error and end; `deltas` owns how the pieces of one
message join. Nothing that an upstream sent raises here: what cannot be read is counted.

Only where the request asked for several choices is each a reply. Else they are parts of the one that was
asked for: some count tokens in `index` (text-generation-inference #1648), some put the text into one choice
and the calls into another (Claude behind GitHub Copilot).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from sidecar.dialects import sse
from sidecar.dialects.base import Assembled, Reply
from sidecar.dialects.chat.coalesce import shortened
from sidecar.dialects.chat.deltas import encode_message, merge_message
from sidecar.dialects.chat.joining import encode
from sidecar.dialects.chat.reading import FAILURES, error_in, loads

__all__ = ["Assembler", "from_body", "from_json", "from_stream"]


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: dict[str, Any] | None = None
    message: msgspec.Raw = msgspec.Raw()
    finish_reason: str | None = None
    error: msgspec.Raw = msgspec.Raw()


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    model: str | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    base_resp: msgspec.Raw = msgspec.Raw()


class _Role(msgspec.Struct, gc=False):
    role: str = ""


_decode = msgspec.json.Decoder(_Chunk).decode
_decode_role = msgspec.json.Decoder(_Role).decode
_MIN_PAYLOAD = 8  # bytes, than any JSON that says nothing
_NO_REASON = frozenset(("", "null", "none", "undefined"))  # KoboldCpp, AIShell #350; Python's None as a text
_MAX_CHOICES = 128  # as many as OpenAI gives
# Payloads that nobody can read, after which none is read with patience any more: it takes ten times as long.
_MAX_UNREADABLE = 500


class _Draft:
    """A reply that is still being told: by deltas, or as whole messages."""

    __slots__ = ("failed", "finish_reason", "is_early", "message", "wholes")

    def __init__(self) -> None:
        self.message: dict[str, Any] = {}
        self.wholes: dict[int, bytes] = {}
        self.finish_reason: str | None = None
        self.is_early = False
        self.failed = False

    def reply(self, index: int) -> Reply:
        # Perplexity sends the message so far beside each delta: the deltas are what clients read.
        told = self.message or not self.wholes
        return Reply(
            index,
            encode_message(self.message, finished=self.finish_reason is not None) if told else self._whole(),
            self.finish_reason,
            self.finish_reason is not None and not self.is_early,
            self.failed or self.finish_reason in FAILURES,
        )

    def _whole(self) -> bytes:
        """The message as it came, unless it came in parts, or with calls that could not be sent again."""
        wholes = [self.wholes[index] for index in sorted(self.wholes)]
        if len(wholes) == 1 and (b'"tool_calls"' not in wholes[0] or _are_sendable(wholes[0])):
            return wholes[0] if _is_the_assistants(wholes[0]) else _as_the_assistants(wholes[0])
        message: dict[str, Any] = {}
        for whole in wholes:
            merge_message(message, loads(whole))
        return encode_message(message, finished=True)


class Assembler:
    """Takes the payloads of one response one by one; `result` may be asked for at any time.

    `choices`: how many the request asked for.
    """

    __slots__ = ("_choices", "_done", "_drafts", "_error", "_ignored", "_model", "_usage")

    def __init__(self, choices: int = 1) -> None:
        self._choices = min(choices, _MAX_CHOICES)
        self._drafts: dict[int, _Draft] = {}
        self._model: str | None = None
        self._usage: bytes | None = None
        self._error: bytes | None = None
        self._done = False
        self._ignored = 0

    def add(self, payload: bytes) -> None:
        """Take one event's payload, or the body of a response that was not streamed."""
        try:
            chunk = _decode(payload)
        except ValueError:
            if payload.startswith(b"[DONE]"):
                self._done = True
                return
            self._add_as_clients_do(payload)
            return
        except RecursionError:
            self._ignored += 1
            return
        if not (chunk.choices or _is_told(chunk.error) or (_is_told(chunk.usage) and not chunk.base_resp)):
            self._add_as_clients_do(payload)
            return
        self._take_safely(chunk)

    def result(self) -> Assembled:
        """What has been said so far."""
        replies, unwritable = [], 0
        for index in sorted(self._drafts):
            try:
                replies.append(self._drafts[index].reply(index))
            except (ValueError, RecursionError):
                # Nested to the very limit: it could be read, but not from as deep in the stack as this.
                unwritable += 1
        return Assembled(
            replies=tuple(replies),
            model=self._model,
            usage=self._usage,
            error=self._error,
            done=self._done,
            ignored=self._ignored + unwritable,
        )

    def _add_as_clients_do(self, payload: bytes) -> None:
        """Read what a strict decoder refuses and a client takes all the same."""
        if self._ignored >= _MAX_UNREADABLE:
            self._ignored += 1
            return
        try:
            told = loads(payload)
            chunks = [_chunk(each) for each in _objects(told)]
        except (ValueError, RecursionError):
            self._ignored += 1
        else:
            for chunk in chunks:
                self._take_safely(chunk)

    def _take_safely(self, chunk: _Chunk) -> None:
        try:
            self._take(chunk)
        except (ValueError, RecursionError):
            self._ignored += 1

    def _take(self, chunk: _Chunk) -> None:
        choices = chunk.choices or ()
        if len(choices) == self._choices > 1:
            _number(choices)
        for choice in choices:
            place = choice.index if 0 <= choice.index < self._choices else 0
            draft = self._drafts.get(place)
            if draft is None and (choice.delta is not None or bytes(choice.message).startswith(b"{")):
                draft = self._drafts[place] = _Draft()
            if choice.delta is not None and draft is not None:
                self._take_delta(draft, choice.delta)
            if choice.message and draft is not None:
                self._take_whole(draft, choice)
            reason = choice.finish_reason
            if reason and draft is not None and reason.lower() not in _NO_REASON:
                draft.finish_reason = reason
            if choice.error and self._take_error(choice.error) and draft is not None:
                draft.failed = True
        if self._model is None and chunk.model:
            self._model = chunk.model
        if chunk.usage and _is_told(chunk.usage):
            self._usage = _utf8(chunk.usage)
        if chunk.error:
            self._take_error(chunk.error)

    def _take_delta(self, draft: _Draft, delta: dict[str, Any]) -> None:
        if "error" in delta and (error := delta.pop("error")):
            self._take_error(_raw(error))
            draft.failed = True
        if draft.finish_reason is not None and any(delta[key] for key in delta if key != "role"):
            draft.is_early = True
        merge_message(draft.message, delta)

    def _take_whole(self, draft: _Draft, choice: _Choice) -> None:
        message = _utf8(choice.message)
        if not message.startswith(b"{"):
            return
        # More than were asked for are parts of one; so many parts has none.
        part = choice.index if 0 <= choice.index < _MAX_CHOICES else 0
        if draft.finish_reason is not None and choice.delta is None and draft.wholes.get(part):
            draft.is_early = True
        draft.wholes[part] = message

    def _take_error(self, error: msgspec.Raw) -> bool:
        if not _is_told(error):
            return False
        if self._error is None:
            self._error = _utf8(error)
        return True


def from_stream(data: bytes, choices: int = 1) -> Assembled:
    """Everything that a stream of events said, or the part of it that was received."""
    assembler = Assembler(choices)
    for payload in shortened(sse.payloads(data)):
        assembler.add(payload)
    return assembler.result()


def from_json(data: bytes, choices: int = 1) -> Assembled:
    """Everything that a response said which was not streamed; no replies if it is no chat completion."""
    assembler = Assembler(choices)
    assembler.add(data)
    return assembler.result()


def from_body(data: bytes, choices: int = 1) -> Assembled:
    """Everything that a response said, by what it begins with: many servers name their streams wrongly."""
    if sse.is_stream(data):
        return from_stream(data, choices)
    assembled = from_json(data, choices)
    return assembled if assembled.replies or not assembled.ignored else from_stream(data, choices)


def _is_told(value: msgspec.Raw) -> bool:
    """Is it there, and more than a null or nothing in another form?"""
    raw = bytes(value)
    return bool(raw) and raw != b"null" and (len(raw) >= _MIN_PAYLOAD or bool(loads(raw)))


def _objects(told: Any) -> list[dict[str, Any]]:
    """The objects of a payload: one, or a list of them, as Gemini's. Raises `ValueError` if it is neither."""
    objects = [told] if isinstance(told, dict) else told
    if not isinstance(objects, list) or not objects or not all(isinstance(each, dict) for each in objects):
        raise ValueError("no JSON object")
    return objects


def _chunk(body: dict[str, Any]) -> _Chunk:
    told = body.get("choices")
    choices = [told] if isinstance(told, dict) else told if isinstance(told, list) else []
    return _Chunk(
        choices=[_choice(choice) for choice in choices if isinstance(choice, dict)],
        model=_string(body.get("model")),
        usage=_raw(body.get("usage")),
        error=_raw(error_in(body)),
    )


def _choice(choice: dict[str, Any]) -> _Choice:
    delta = choice.get("delta")
    return _Choice(
        index=_index(choice.get("index")),
        delta=delta if isinstance(delta, dict) else None,
        message=_raw(choice.get("message")),
        finish_reason=_string(choice.get("finish_reason")),
        error=_raw(choice.get("error")),
    )


def _index(told: Any) -> int:
    if type(told) is str and len(told) < _MIN_PAYLOAD and told.isdecimal():
        return int(told)
    if type(told) is float and told.is_integer():
        return int(told)
    return told if type(told) is int else 0


def _number(choices: Sequence[_Choice]) -> None:
    """Where all that were asked for have one index, or none, their order tells them apart."""
    if len({choice.index for choice in choices}) == 1:
        for at, choice in enumerate(choices):
            choice.index = at


def _is_the_assistants(message: bytes) -> bool:
    """Is it told under the role that every reply is kept under?"""
    try:
        return _decode_role(message).role == "assistant"
    except ValueError:  # the role is no string
        return False


def _as_the_assistants(message: bytes) -> bytes:
    said = loads(message)
    said.pop("role", None)
    return encode({"role": "assistant", **said})


def _are_sendable(message: bytes) -> bool:
    """Could the message's calls be sent again as they are?"""
    calls = loads(message).get("tool_calls")
    return not calls or (isinstance(calls, list) and all(map(_is_sendable, calls)))


def _is_sendable(call: Any) -> bool:
    if not isinstance(call, dict) or "index" in call or not isinstance(call.get("id", ""), str):
        return False
    if call.get("type") != "function":
        return bool(call.get("type"))
    function = call.get("function")
    if not isinstance(function, dict):
        return False
    arguments = function.get("arguments")
    return isinstance(arguments, str) and arguments != ""


def _string(value: Any) -> str | None:
    # Half an emoji, which the lenient reading lets through, can be stored nowhere.
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(encode(value))


def _utf8(raw: msgspec.Raw) -> bytes:
    # A Raw is known to be JSON but not to be UTF-8: what it passes over, the decoder does not look into.
    return bytes(raw).decode("utf-8", "replace").encode()
