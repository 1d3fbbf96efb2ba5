"""One payload, read as clients read it: what a strict decoder refuses and they take all the same.

Half an emoji (an escaped surrogate, or some of its bytes), NaN among the logprobs, bytes of another encoding.
And what in it is an error, in any of the forms in which upstreams put one inside a response of status 200.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

__all__ = ["FAILURES", "error_in", "loads"]

#: Finish reasons that tell of a failure: OpenRouter and Mistral; Z.ai; DeepSeek; vLLM and SGLang.
FAILURES = frozenset(
    ("error", "network_error", "insufficient_system_resource", "abort", "aborted", "cancelled")
)
# Where an error stands that is no member `error`: FastAPI's, GraphQL-like gateways', Apigee's, Baidu's, and
# those of gateways written in Java.
_MEMBERS = ("detail", "errors", "fault", "error_msg", "error_message", "errorMessage", "Error")
_FAILED = ("error", "failed", "failure")
_FINE = (None, "", 0, 200, "0", "200", "success", "ok", "OK")

_decode = msgspec.json.Decoder().decode


def loads(payload: bytes) -> Any:
    """The value of some JSON. Raises `ValueError`, or `RecursionError` for nesting without end."""
    try:
        return _decode(payload)
    except ValueError:
        return json.loads(payload.decode("utf-8-sig", "replace"), parse_constant=lambda _: None)


def error_in(body: Any) -> Any:
    """The error that an event or a body tells; None if it tells none."""
    if isinstance(body, list):  # Gemini's
        return next((error for each in body if isinstance(each, dict) and (error := error_in(each))), None)
    if body.get("error"):
        return body["error"]
    if body.get("choices"):
        return None
    told = body.get("base_resp")
    if isinstance(told, dict) and told.get("status_code") not in _FINE:  # MiniMax (cherry-studio #11287)
        return told
    if body.get("usage"):
        return None
    return body if _is_error(body) or any(body.get(name) for name in _MEMBERS) else None


def _is_error(body: dict[str, Any]) -> bool:
    if "error" in (body.get("object"), body.get("type")) or isinstance(body.get("message"), str):
        return True
    if body.get("success") is False or body.get("status") in _FAILED:
        return True
    return isinstance(body.get("msg"), str) and body.get("code") not in _FINE
