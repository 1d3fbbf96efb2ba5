"""What a request says beside its messages: what goes upstream, what an answer repeats, what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from sidecar.conversation.exchange_record import Reference
from sidecar.dialects.base import Truncation
from sidecar.dialects.responses.refusal import list_in, object_in, refused
from sidecar.dialects.responses.tools import Tools

__all__ = [
    "REASONING",
    "Asked",
    "conversation_in",
    "echo_of",
    "fields_for_upstream",
    "is_in_background",
    "is_kept",
    "refuse_unserved",
    "truncation_in",
]

#: Without it a client sends no reasoning back (AI SDK), though the summary holds all of it.
REASONING = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"
# What needs what is not there: prompts at the provider, and the like.
_UNSERVED = {
    "prompt": "there are no stored prompts",
    "context_management": "nothing is compacted on request",
}
# Words of Chat Completions, and those that say the same here, in whose place they would stand if passed on.
_MOVED = {
    "messages": "input",
    "functions": "tools",
    "function_call": "tool_choice",
    "response_format": "text.format",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "logprobs": "top_logprobs",
}
# What stays here. The rest of what is not translated goes on as it came.
_STAYING = {
    *("input", "instructions", "tools", "tool_choice", "text", "reasoning", "max_output_tokens", "include"),
    *("store", "metadata", "truncation", "client_metadata", "max_tool_calls", "stream_options", "stream"),
    *("top_logprobs", "parallel_tool_calls", "model", "previous_response_id", "conversation", "background"),
    *_UNSERVED,
}
# What an answer says of a request that says nothing of it.
_DEFAULTS: dict[str, Any] = {
    "model": "",
    "instructions": None,
    "tools": [],
    "tool_choice": "auto",
    "truncation": "auto",  # unless it says otherwise: the operator's budget, and healing
    "parallel_tool_calls": True,
    "text": {"format": {"type": "text"}},
    "top_p": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "top_logprobs": 0,
    "temperature": 1,
    "reasoning": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "service_tier": "default",
    "metadata": {},
    "safety_identifier": None,
    "prompt_cache_key": None,
}


class Asked(msgspec.Struct, frozen=True):
    """What is left to know of a request once it is one of Chat Completions.

    `echo`: the members of a response that repeat it. `is_compaction`: the client has its history summed up.
    `is_private`: nothing is to be kept. `behind`: it goes on from a response. `conversation`: it goes on in
    that of this name. `in_background`: it is made whether its client stays or not, told by events, and
    `is_followed` where the client wants to be told them at once. `leading`: the system items that it begins
    with (role and text). `truncation`: may it be cut? `phases`: of its messages of the assistant, by their
    places among all of them.
    """

    echo: dict[str, Any]
    tools: Tools
    streamed: bool = False
    wants_reasoning: bool = False
    is_compaction: bool = False
    is_private: bool = False
    behind: Reference | None = None
    conversation: str | None = None
    leading: tuple[tuple[str, str], ...] = ()
    truncation: Truncation | None = None
    phases: Mapping[int, str] = {}
    in_background: bool = False
    is_followed: bool = False


def refuse_unserved(body: dict[str, Any]) -> None:
    """Raises `BadRequest` for a request that needs what is not there."""
    for name, why in _UNSERVED.items():
        if body.get(name):
            raise refused(f"`{name}`: {why}", name)
    for name, here in _MOVED.items():
        if body.get(name) is not None:
            raise refused(
                f"`{name}` is of Chat Completions: here it is `{here}`", name, "unsupported_parameter"
            )
    if body.get("n") not in (None, 1):
        raise refused("`n`: a response is one answer", "n", "unsupported_parameter")


def truncation_in(body: dict[str, Any]) -> Truncation | None:
    """May it be cut? Raises `BadRequest`."""
    said = body.get("truncation")
    if said not in (None, "auto", "disabled"):
        raise refused("`truncation` has to be auto or disabled", "truncation", "invalid_value")
    return cast(Truncation | None, said)


def is_kept(body: dict[str, Any]) -> bool:
    """Is its response to be kept, as it is unless `store: false` is said? Raises `BadRequest`."""
    said = body.get("store")
    if said is not None and not isinstance(said, bool):
        raise refused("`store` has to be true or false", "store", "invalid_type")
    return said is not False


def is_in_background(body: dict[str, Any]) -> bool:
    """Is it to be made in the background? Raises `BadRequest`."""
    said = body.get("background")
    if said is not None and not isinstance(said, bool):
        raise refused("`background` has to be true or false", "background", "invalid_type")
    if said and not is_kept(body):
        raise refused("`background`: what is made in the background is kept: leave out `store`", "background")
    return bool(said)


def conversation_in(body: dict[str, Any]) -> str | None:
    """The conversation that it goes on in. Raises `BadRequest`."""
    told = body.get("conversation")
    id = told.get("id") if isinstance(told, dict) else told
    if told is None:
        return None
    if not isinstance(id, str) or not id:
        raise refused("`conversation` has to be an id, or an object with one", "conversation", "invalid_type")
    if body.get("previous_response_id") is not None:
        raise refused(
            "`conversation` and `previous_response_id` are mutually exclusive: both say what stands before",
            "conversation",
        )
    return id


def echo_of(body: dict[str, Any]) -> dict[str, Any]:
    """What an answer repeats of the request; of what it does not say, what is done by default."""
    said = {name: default if body.get(name) is None else body[name] for name, default in _DEFAULTS.items()}
    said["tools"] = [_shown(each) for each in said["tools"]]
    said["text"] = {**_DEFAULTS["text"], **said["text"]}
    about = {
        "previous_response_id": body.get("previous_response_id"),
        "store": is_kept(body),
        "background": is_in_background(body),
    }
    if (conversation := conversation_in(body)) is not None:
        # The last one, as where the response is told again: what not every response has stands there behind
        # what all have (`kept`).
        about["conversation"] = {"id": conversation}
    return {**said, **about}


def _shown(tool: dict[str, Any]) -> dict[str, Any]:
    if tool.get("type") != "function":
        return tool
    return {"description": None, "parameters": None, "strict": None, **tool}


def fields_for_upstream(body: dict[str, Any], tools: Tools, max_tokens: str) -> dict[str, Any]:
    """The members of the body beside `model` and `messages`. Raises `BadRequest`.

    `max_tokens`: the name under which the upstream takes the length of an answer.
    """
    fields = {name: value for name, value in body.items() if name not in _STAYING and value is not None}
    choice, functions = tools.chosen(body.get("tool_choice"))
    if functions:
        fields["tools"] = functions
        if choice is not None:
            fields["tool_choice"] = choice
        if body.get("parallel_tool_calls") is not None:
            fields["parallel_tool_calls"] = body["parallel_tool_calls"]
    fields |= _of_text(object_in(body, "text"))
    if effort := object_in(body, "reasoning").get("effort"):
        fields["reasoning_effort"] = effort
    if body.get("max_output_tokens") is not None:
        fields[max_tokens] = body["max_output_tokens"]
    if body.get("top_logprobs") or _LOGPROBS in list_in(body, "include"):
        fields |= {"logprobs": True, "top_logprobs": body.get("top_logprobs") or 0}
    if body.get("stream") or body.get("background"):
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    return fields


def _of_text(text: dict[str, Any]) -> dict[str, Any]:
    """How the text of the answer is to look."""
    fields: dict[str, Any] = {}
    form = object_in(text, "format")
    match form.get("type", "text"):
        case "text":
            pass
        case "json_object":
            fields["response_format"] = {"type": "json_object"}
        case "json_schema":
            about = {name: form[name] for name in ("name", "description", "schema", "strict") if name in form}
            fields["response_format"] = {"type": "json_schema", "json_schema": about}
        case kind:
            raise refused(f"a text cannot have the format `{kind}`", "text.format")
    if text.get("verbosity"):
        fields["verbosity"] = text["verbosity"]
    return fields
