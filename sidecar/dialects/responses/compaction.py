"""A history in fewer words: what a model is asked for, what its answer becomes, and what that stands for.

Rules: what the user said stays as it is; all of it is summed up by the model that is asked, in an item that
its client sends back without looking into it. It is not sealed, for what is in it is the client's own. One
that another server has made is refused: nobody else can read it.
"""

from __future__ import annotations

import binascii
from typing import Any

import msgspec

from sidecar.dialects.chat.body import object_of
from sidecar.dialects.chat.joining import encode
from sidecar.dialects.chat.reading import loads
from sidecar.dialects.responses.parts import Part
from sidecar.dialects.responses.refusal import list_of_objects, refused, text_in
from sidecar.errors import BadRequest

__all__ = ["compacted", "message_of", "request_for_summary"]

_MARK = "summary."
_QUESTION = (
    "Sum up this conversation, so that it can be continued from the summary alone. Keep every fact, name,"
    " number, decision, open task and result of a tool that may matter later. Write the summary and nothing"
    " else."
)
_INTRODUCTION = "What was said before, summed up:\n\n"
# Here, other than in a response, there has to be a usage, also where the upstream counts nothing.
_NOTHING_COUNTED = {
    "input_tokens": 0,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 0,
}
_TURN = {"x-codex-turn-metadata": '{"request_kind":"compaction"}'}


def request_for_summary(data: bytes) -> tuple[bytes, list[Part]]:
    """The request that asks for it, and the items of the user's. Raises `BadRequest`."""
    try:
        body = {name: loads(bytes(value)) for name, value in object_of(data).items()}
    except msgspec.ValidationError as error:
        raise BadRequest("the body has to be a JSON object", code="invalid_json") from error
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not valid JSON: {error}", code="invalid_json") from error
    if not isinstance(body.get("model"), str):
        raise refused("`model` is missing", "model", "missing_required_parameter")
    if body.get("previous_response_id") is not None:
        raise refused("what is kept is not compacted: send the items themselves", "previous_response_id")
    told = body.get("input")
    items = [_said(told)] if isinstance(told, str) else list_of_objects(told, "input")
    if not items:
        raise refused("`input` is missing", "input", "missing_required_parameter")
    asks = {name: body[name] for name in ("model", "instructions", "prompt_cache_key") if name in body}
    about = {"store": False, "client_metadata": _TURN}
    return encode({**asks, **about, "input": [*items, _said(_QUESTION)]}), _of_user(items)


def _said(text: str) -> Part:
    return {"type": "message", "role": "user", "content": text}


def _of_user(items: list[Part]) -> list[Part]:
    kept = []
    for item in items:
        if item.get("type", "message") == "message" and item.get("role") == "user":
            content = item.get("content")
            parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
            kept.append({"type": "message", "status": "completed", "role": "user", "content": parts})
    return kept


def compacted(items: list[Part], answer: bytes, name: str, created: int) -> bytes | None:
    """The answer to the request for a compaction, of the response that summed it up; None if that says
    nothing. `name`: of what its ids are made; `created`: Unix seconds."""
    response: dict[str, Any] = loads(answer)
    parts = [part for item in response["output"] for part in item.get("content", ())]
    text = "".join(part.get("text", "") for part in parts)
    if response["status"] != "completed" or not text.strip():
        return None
    output = [{"id": f"msg_{name}{at:04x}", **item} for at, item in enumerate(items)]
    sealed = _MARK + binascii.b2a_base64(text.encode(), newline=False).decode()
    output.append({"id": f"cmp_{name}", "type": "compaction", "encrypted_content": sealed})
    told = {"id": f"resp_{name}", "object": "response.compaction", "created_at": created, "output": output}
    return encode({**told, "usage": response["usage"] or _NOTHING_COUNTED})


def message_of(item: Part, where: str) -> Part:
    """The message that a compaction stands for. Raises `BadRequest`."""
    sealed = text_in(item, "encrypted_content", where)
    try:
        if not sealed.startswith(_MARK):
            raise ValueError(sealed)
        text = binascii.a2b_base64(sealed.removeprefix(_MARK), strict_mode=True).decode()
    except ValueError as error:  # also what is no base64
        message = "what another server has compacted cannot be read here"
        raise refused(message, f"{where}.encrypted_content") from error
    return {"role": "user", "content": _INTRODUCTION + text}
