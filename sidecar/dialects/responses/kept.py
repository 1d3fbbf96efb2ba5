"""A response that is kept: what of it no message holds, and the response again, as it was told.

Rule: what can be made anew of the reply is not kept twice. Whatever that does not give exactly (items in
another order than a message has, the chances of tokens, an error's words) is kept as it was told, so that
the response is the same, byte for byte. Its instructions, tools and settings are, since a response tells them
and the tree does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from sidecar.conversation.exchange_record import Reference
from sidecar.conversation.tree import State
from sidecar.dialects.chat.joining import encode
from sidecar.dialects.chat.reading import loads
from sidecar.dialects.responses.answer import Answer
from sidecar.dialects.responses.asked import Asked, echo_of
from sidecar.dialects.responses.ids import stem_of
from sidecar.dialects.responses.items import Leading
from sidecar.dialects.responses.response import response_of, usage_of
from sidecar.dialects.responses.tools import Tool, Tools

__all__ = ["Said", "leading_in", "other_tools_in", "output_again", "response_again", "told_of", "unfinished"]

# What its items are made with, too.
_USUAL: dict[str, Any] = {"status": "completed", "tools": []}
_STATUS: dict[State, str] = {"complete": "completed", "partial": "cancelled", "failed": "failed"}
_FAILED = {"code": "server_error", "message": "the upstream broke off before the answer was complete"}


class Said(NamedTuple):
    """A reply as it is stored: its fields and the reported usage (JSON); nothing of one that said nothing."""

    message: Mapping[str, Any] | None = None
    usage: bytes | None = None


def told_of(
    response: dict[str, Any],
    said: Said,
    exchange: Reference,
    *,
    wants_reasoning: bool,
    leading: Sequence[Leading] = (),
) -> bytes:
    """What is kept of a response beside its messages, JSON. `leading`: the system items before all else."""
    told: dict[str, Any] = {"wants_reasoning": True} if wants_reasoning else {}
    again = _again({"response": response, **told}, said, exchange, response["created_at"])
    if leading:
        told["leading"] = leading
    again |= _USUAL
    told["response"] = {
        name: value
        for name, value in response.items()
        if name not in again or encode(again[name]) != encode(value)
    }
    return encode(told)


def response_again(told: bytes, said: Said, exchange: Reference, created: int) -> dict[str, Any]:
    """The response of which that was kept. `created`: Unix seconds."""
    kept = loads(told)
    kept["response"] = _USUAL | kept["response"]
    return {**_again(kept, said, exchange, created), **kept["response"]}


def output_again(told: bytes, said: Said, exchange: Reference) -> list[dict[str, Any]]:
    """Its items alone."""
    output: list[dict[str, Any]] = response_again(told, said, exchange, 0)["output"]
    return output


def leading_in(told: bytes) -> tuple[Leading, ...]:
    """The system items that stand before all else, for whoever goes on from it."""
    return tuple((role, text) for role, text in loads(told).get("leading", ()))


def other_tools_in(told: bytes) -> dict[str, Tool]:
    """Its tools that are not simply functions (see `Tools.others`): none of what is no response."""
    tools = Tools()
    tools.add(loads(told).get("response", {}).get("tools"), "tools")
    return tools.others


def unfinished(
    asked: Asked, said: Said, state: State, exchange: Reference, created: int, now: int
) -> dict[str, Any]:
    """The response whose client did not stay for its end: what the reply says, in the state that it is in."""
    status = _STATUS[state]
    output = _output(asked, said, exchange, is_whole=state == "complete")
    return response_of(
        asked,
        exchange,
        created,
        status,
        output,
        completed=now if state == "complete" else None,
        error=_FAILED if state == "failed" else None,
        usage=_usage(said),
    )


def _again(told: dict[str, Any], said: Said, exchange: Reference, created: int) -> dict[str, Any]:
    tools = Tools()
    tools.add(told["response"]["tools"], "tools")
    asked = Asked(echo_of({}), tools, wants_reasoning="wants_reasoning" in told)
    status = told["response"]["status"]
    output = _output(asked, said, exchange, is_whole=status == "completed")
    return response_of(asked, exchange, created, status, output, usage=_usage(said))


def _output(asked: Asked, said: Said, exchange: Reference, *, is_whole: bool) -> list[dict[str, Any]]:
    answer = Answer(asked, stem_of(exchange))
    answer.take(dict(said.message or {}))
    answer.end("completed" if is_whole else "incomplete")
    return answer.output


def _usage(said: Said) -> dict[str, Any] | None:
    try:
        return usage_of(msgspec.json.decode(said.usage)) if said.usage is not None else None
    except ValueError:
        return None
