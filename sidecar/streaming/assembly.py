"""From the bytes of a reply to the messages in it, streamed or not.

This module owns what counts as a reply, its model, usage, error and end; `deltas` owns how the pieces of one
message join. Nothing that an upstream sent raises here: what cannot be read is counted.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from sidecar.streaming import sse
from sidecar.streaming.deltas import encode_message, merge_message
from sidecar.streaming.joining import encode
from sidecar.streaming.runs import shortened

__all__ = ["Assembled", "Assembler", "Reply", "from_json", "from_stream"]


class Reply(msgspec.Struct, frozen=True):
    """One choice. `message` is a JSON object, for a body that was not streamed its very bytes."""

    index: int
    message: bytes
    finish_reason: str | None


class Assembled(msgspec.Struct, frozen=True):
    """All that one response said. `usage` and `error` are JSON as the upstream wrote it.

    `done` tells that `[DONE]` came, `ignored` how many payloads could not be read.
    """

    replies: tuple[Reply, ...]
    model: str | None
    usage: bytes | None
    error: bytes | None
    done: bool
    ignored: int = 0

    @property
    def finished(self) -> bool:
        """Whether the upstream brought every reply to its end; an error may have come all the same."""
        return bool(self.replies) and all(reply.finish_reason is not None for reply in self.replies)


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


_decode = msgspec.json.Decoder(_Chunk).decode
_NULL = msgspec.Raw(b"null")
_FARTHEST = 2**31


class _Draft:
    """A reply that is still being told: by deltas, or as one whole message."""

    __slots__ = ("finish_reason", "message", "whole")

    def __init__(self) -> None:
        self.message: dict[str, Any] = {}
        self.whole = b""
        self.finish_reason: str | None = None

    def reply(self, index: int) -> Reply:
        # Perplexity sends the message so far beside each delta: the deltas are what clients read.
        told = self.message or not self.whole
        return Reply(index, encode_message(self.message) if told else self.whole, self.finish_reason)


class Assembler:
    """Takes the payloads of one response one by one; `result` may be asked for at any time."""

    __slots__ = ("_done", "_drafts", "_error", "_ignored", "_model", "_usage")

    def __init__(self) -> None:
        self._drafts: dict[int, _Draft] = {}
        self._model: str | None = None
        self._usage: bytes | None = None
        self._error: bytes | None = None
        self._done = False
        self._ignored = 0

    def add(self, payload: bytes) -> None:
        """Take one event's payload, or the body of a response that was not streamed."""
        try:
            try:
                chunk = _decode(payload)
            except ValueError:
                if payload.startswith(b"[DONE]"):
                    self._done = True
                    return
                chunk = _decode_as_clients_do(payload)
            if chunk.choices is None and not chunk.error:
                chunk = _decode_as_clients_do(payload)
            self._take(chunk)
        except (ValueError, RecursionError):
            self._ignored += 1

    def result(self) -> Assembled:
        """What has been said so far."""
        replies, unwritable = [], 0
        for index in sorted(self._drafts):
            try:
                replies.append(self._drafts[index].reply(index))
            except RecursionError:
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

    def _take(self, chunk: _Chunk) -> None:
        for choice in chunk.choices or ():
            if choice.delta is not None:
                draft = self._drafts.get(choice.index) or self._begin(choice.index)
                merge_message(draft.message, choice.delta)
            if choice.message:
                self._take_whole(choice)
            if choice.finish_reason and choice.index in self._drafts:
                self._drafts[choice.index].finish_reason = choice.finish_reason
            if choice.error:
                self._take_error(choice.error)
        if self._model is None and chunk.model:
            self._model = chunk.model
        if chunk.usage and chunk.usage != _NULL:
            self._usage = _utf8(chunk.usage)
        if chunk.error:
            self._take_error(chunk.error)

    def _begin(self, index: int) -> _Draft:
        # Beyond that it is no index; and numbers that differ by 2**61 - 1 are one to a hash table.
        return self._drafts.setdefault(index if abs(index) < _FARTHEST else 0, _Draft())

    def _take_whole(self, choice: _Choice) -> None:
        message = _utf8(choice.message)
        if message.startswith(b"{"):
            self._begin(choice.index).whole = message

    def _take_error(self, error: msgspec.Raw) -> None:
        if error and error != _NULL and self._error is None:
            self._error = _utf8(error)


def from_stream(data: bytes) -> Assembled:
    """Everything that a stream of server-sent events said, or the part of it that was received."""
    assembler = Assembler()
    for payload in shortened(sse.payloads(data)):
        assembler.add(payload)
    return assembler.result()


def from_json(data: bytes) -> Assembled:
    """Everything that a response said which was not streamed; no replies if it is no chat completion."""
    assembler = Assembler()
    assembler.add(data)
    return assembler.result()


def _decode_as_clients_do(payload: bytes) -> _Chunk:
    """Read what a strict decoder refuses and a client takes all the same.

    Half an emoji (an escaped surrogate, or some of its bytes), NaN among the logprobs, a member of an
    unexpected type, an error of older vLLM, which is no member `error` but the object itself. Raises
    ValueError for what is no JSON object.
    """
    body = json.loads(payload.decode("utf-8-sig", "replace"), parse_constant=lambda _: None)
    if not isinstance(body, dict):
        raise ValueError("not a JSON object")
    choices = body["choices"] if isinstance(body.get("choices"), list) else []
    return _Chunk(
        choices=[_choice(choice) for choice in choices if isinstance(choice, dict)],
        model=_string(body.get("model")),
        usage=_raw(body.get("usage")),
        error=_raw(body if body.get("object") == "error" else body.get("error")),
    )


def _choice(choice: dict[str, Any]) -> _Choice:
    index, delta = choice.get("index"), choice.get("delta")
    return _Choice(
        index=index if type(index) is int else 0,
        delta=delta if isinstance(delta, dict) else None,
        message=_raw(choice.get("message")),
        finish_reason=_string(choice.get("finish_reason")),
        error=_raw(choice.get("error")),
    )


def _string(value: Any) -> str | None:
    # Half an emoji, which the lenient reading lets through, can be stored nowhere.
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(encode(value))


def _utf8(raw: msgspec.Raw) -> bytes:
    # A Raw is known to be JSON but not to be UTF-8: what it passes over, the decoder does not look into.
    return bytes(raw).decode("utf-8", "replace").encode()
