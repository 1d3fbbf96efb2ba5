"""The response as an object: with all that the API says it has, so that no client misses anything."""

from __future__ import annotations

from typing import Any

from sidecar.conversation.exchange_record import Reference
from sidecar.dialects.chat.joining import encode
from sidecar.dialects.chat.overflow import recognised
from sidecar.dialects.responses.asked import Asked
from sidecar.dialects.responses.ids import response_id

__all__ = ["FAILED", "TOO_LONG", "error_of", "response_of", "usage_of"]

#: Codes of errors that clients know.
TOO_LONG = "context_length_exceeded"
FAILED = "server_error"


def response_of(
    asked: Asked,
    exchange: Reference,
    created: int,
    status: str,
    output: list[dict[str, Any]],
    *,
    completed: int | None = None,
    reason: str | None = None,
    error: dict[str, Any] | None = None,
    usage: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """`created`, `completed`: Unix seconds; `reason`: why it is incomplete."""
    return {
        "id": response_id(exchange.exchange, exchange.conversation),
        "object": "response",
        "created_at": created,
        "completed_at": completed,
        "status": status,
        "incomplete_details": None if reason is None else {"reason": reason},
        "error": error,
        "output": output,
        "usage": usage,
        **asked.echo,
    }


def usage_of(told: Any) -> dict[str, Any] | None:
    """The tokens, as this API counts them; None if nothing is known."""
    if not isinstance(told, dict):
        return None
    input, output = _count(told, "prompt_tokens"), _count(told, "completion_tokens")
    cached = _count(told.get("prompt_tokens_details"), "cached_tokens")
    reasoning = _count(told.get("completion_tokens_details"), "reasoning_tokens")
    return {
        "input_tokens": input,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": _count(told, "total_tokens") or input + output,
    }


def error_of(told: Any) -> dict[str, Any]:
    """An error that an upstream told inside of an answer: a code that clients know, and its words."""
    message = told.get("message") if isinstance(told, dict) else told
    if not isinstance(message, str) or not message:
        message = "the upstream failed"
    is_too_long = recognised(200, encode(told)) is not None
    return {"code": TOO_LONG if is_too_long else FAILED, "message": message}


def _count(told: Any, name: str) -> int:
    value = told.get(name) if isinstance(told, dict) else None
    return max(0, value) if isinstance(value, int) and not isinstance(value, bool) else 0
