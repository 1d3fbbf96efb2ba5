"""The body of a request as one of Chat Completions, which says the same.

The same request gives the same bytes, with `model` and `messages` in front: so what a chat's next request has
in common with the one before it is found without reading it again.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sidecar.conversation.exchange_record import Reference
from sidecar.dialects.chat.body import object_of
from sidecar.dialects.chat.joining import encode
from sidecar.dialects.chat.reading import loads
from sidecar.dialects.responses.asked import (
    REASONING,
    Asked,
    conversation_in,
    echo_of,
    fields_for_upstream,
    is_in_background,
    is_kept,
    refuse_unserved,
    truncation_in,
)
from sidecar.dialects.responses.ids import reference_of
from sidecar.dialects.responses.items import Phases, leading_of, messages_of
from sidecar.dialects.responses.metadata import metadata_in
from sidecar.dialects.responses.references import refuse_references
from sidecar.dialects.responses.refusal import (
    InBackground,
    list_in,
    list_of_objects,
    object_in,
    refused,
    shown,
)
from sidecar.dialects.responses.tools import Tools
from sidecar.errors import BadRequest

__all__ = ["translated"]

_TURN = "x-codex-turn-metadata"  # what Codex says of a request, JSON in a string
_COMPACTION = "compaction"


def translated(
    data: bytes, max_tokens: str, held: str | None = None, *, goes_on: bool = False, apart: bool = False
) -> tuple[bytes, Asked]:
    """The body for the upstream, and what is left to know. Raises `BadRequest`.

    `max_tokens`: the name under which the upstream takes the length of an answer. `held`: the id of a
    response whose items stand before its own already. `goes_on`: something is stored that goes before it,
    though it does not say so itself. `apart`: it may be one that is answered in the background.
    """
    body = _fields(data)
    in_background = is_in_background(body)
    if in_background and not apart:
        raise InBackground(data)
    refuse_unserved(body)
    tools = Tools()
    tools.add(body.get("tools"), "tools")
    instructions = body.get("instructions") or ""
    if not isinstance(instructions, str):
        raise refused("`instructions` has to be a string", "instructions", "invalid_type")
    conversation, behind = conversation_in(body), _behind(body, held)
    goes_on = goes_on or behind is not None or conversation is not None
    items = _items(body)
    refuse_references(items, behind, conversation)
    phases: Phases = {}
    messages = messages_of(instructions, items, tools, "input", goes_on=goes_on, phases=phases)
    fields = fields_for_upstream(body, tools, max_tokens)
    metadata_in(body)
    object_in(body, "reasoning")
    model = {"model": body["model"]} if body.get("model") is not None else {}
    asked = Asked(
        echo_of(body),
        tools,
        streamed=in_background or bool(body.get("stream")),
        wants_reasoning=REASONING in list_in(body, "include"),
        is_compaction=_kind(body) == _COMPACTION,
        is_private=not is_kept(body),
        behind=behind,
        conversation=conversation,
        leading=leading_of(items, "input"),
        truncation=truncation_in(body),
        phases=phases,
        in_background=in_background,
        is_followed=bool(body.get("stream")),
    )
    return encode({**model, "messages": messages, **fields}), asked


def _fields(data: bytes) -> dict[str, Any]:
    """All that the body says. Raises `BadRequest`."""
    try:
        return {name: loads(bytes(value)) for name, value in object_of(data).items()}
    except msgspec.ValidationError as error:
        raise BadRequest("the body has to be a JSON object", code="invalid_json") from error
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, nested beyond reason
        raise BadRequest(f"the body is not valid JSON: {error}", code="invalid_json") from error


def _behind(body: dict[str, Any], held: str | None) -> Reference | None:
    """The response that it goes on from, unless that is held. Raises `BadRequest`."""
    id = body.get("previous_response_id")
    if id is None or id == held:
        return None
    if not is_kept(body):
        raise refused("`previous_response_id`: what goes on from a response is kept, as that is", "store")
    found = reference_of(id) if isinstance(id, str) else None
    if found is None:
        message = f"Previous response with id {shown(id)} not found."
        raise refused(message, "previous_response_id", "previous_response_not_found")
    return found


def _items(body: dict[str, Any]) -> list[dict[str, Any]]:
    told = body.get("input")
    if isinstance(told, str):
        return [{"type": "message", "role": "user", "content": told}]
    if told is None and (body.get("conversation") or body.get("previous_response_id")):
        return []  # what was said there is to be answered
    if told is None:
        raise refused("`input` is missing", "input", "missing_required_parameter")
    return list_of_objects(told, "input")


def _kind(body: dict[str, Any]) -> Any:
    """What Codex calls the request."""
    told = object_in(body, "client_metadata").get(_TURN)
    try:
        about = loads(told.encode()) if isinstance(told, str) else None
    except (ValueError, RecursionError):
        return None
    return about.get("request_kind") if isinstance(about, dict) else None
