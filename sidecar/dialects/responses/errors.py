"""What an upstream says of a request that it does not take: a body of its own, or the end of a response.

Rules: what has OpenAI's shape stays as it is, but for too long a prompt: clients that shorten it by
themselves know that by one code. A response that has begun is told as failed, with the error's own words and
code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from sidecar.conversation.tree import State
from sidecar.dialects.base import Carried, Translation
from sidecar.dialects.chat.joining import encode
from sidecar.dialects.chat.overflow import recognised
from sidecar.dialects.chat.reading import error_in, loads
from sidecar.dialects.responses.response import FAILED, TOO_LONG, error_of

__all__ = ["ErrorBody", "LateError", "refusal_in"]

_MAX_ERROR = 64 << 10  # bytes of an error
_MAX_WORDS = 2_000  # characters of one that is no JSON
_TOO_MANY = 429


def refusal_in(body: bytes, status: int) -> dict[str, Any]:
    """The error of a response whose upstream refused, with this status and body."""
    try:
        told = loads(body)
    except (ValueError, RecursionError):
        told = None
    error = error_in(told) if isinstance(told, (dict, list)) else None
    about = error_of(error or f"the upstream answered {status}")
    if recognised(status, body) is not None:
        return {**about, "code": TOO_LONG}
    code = error.get("code") if isinstance(error, dict) else None
    if about["code"] == FAILED and isinstance(code, str) and code:
        return {**about, "code": code}
    return {**about, "code": "rate_limit_exceeded"} if status == _TOO_MANY else about


class _OfRefusal:
    """What is made of a refusal once it is whole, or as much of it as is looked at."""

    def __init__(self, status: int) -> None:
        self.held = b""
        self.done = False
        self._status = status
        self._body = bytearray()

    def feed(self, chunk: bytes) -> bytes:
        if len(self._body) <= _MAX_ERROR:
            self._body += chunk
        return b""


class ErrorBody(_OfRefusal):
    """A body of its own, in OpenAI's shape. See `base.Translation`."""

    headers: Mapping[str, str] = {"Content-Type": "application/json"}
    patience: float | None = None

    def close(self) -> bytes:
        self.held, self.done = self._translated(bytes(self._body)), True
        return b""

    def alive(self) -> bytes:
        return b""

    def refused(self, status: int) -> Translation:
        return ErrorBody(status)

    def told(
        self, message: Mapping[str, Any] | None, usage: bytes | None, state: State, carried: Carried = ()
    ) -> None:
        return None

    def _translated(self, body: bytes) -> bytes:
        try:
            told = loads(body)
        except (ValueError, RecursionError):
            told = body[:_MAX_WORDS].decode("utf-8", "replace").strip()
        error = error_in(told) if isinstance(told, (dict, list)) else told
        if recognised(self._status, body) is not None:
            about = error_of(error)
            return _error(about["message"], "invalid_request_error", TOO_LONG, "input")
        if isinstance(told, dict) and isinstance(error, dict) and error is told.get("error"):
            return body
        message = error if isinstance(error, str) else encode(error or told).decode()
        return _error(message or f"the upstream answered {self._status}", "upstream_error")


class _Begun(Translation, Protocol):
    """A response that has begun."""

    def fail(self, error: dict[str, Any]) -> bytes:
        """What may go to the client of one that ends with this error. It is then `done`."""
        ...


class LateError(_OfRefusal):
    """The end of a response that has begun. See `base.Translation`."""

    def __init__(self, begun: _Begun, status: int) -> None:
        super().__init__(status)
        self.headers, self.patience = begun.headers, begun.patience
        self._begun = begun

    def close(self) -> bytes:
        ready = self._begun.fail(refusal_in(bytes(self._body), self._status))
        self.held, self.done = self._begun.held, True
        return ready

    def alive(self) -> bytes:
        return self._begun.alive()

    def refused(self, status: int) -> Translation:
        return LateError(self._begun, status)

    def told(
        self, message: Mapping[str, Any] | None, usage: bytes | None, state: State, carried: Carried = ()
    ) -> bytes | None:
        return self._begun.told(message, usage, state, carried)


def _error(message: str, type: str, code: str | None = None, param: str | None = None) -> bytes:
    return encode({"error": {"message": message, "type": type, "param": param, "code": code}})
