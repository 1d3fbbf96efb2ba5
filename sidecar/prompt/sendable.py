"""A stored reply as it is sent: what is recorded is what was said, and what requests may hold is less.

    field of a reply           sent
    -------------------------  --------------------------------------------------------------------------
    `role`, `name`             as they are; an empty name not
    `content`, a text          without reasoning that does not go
    `content`, parts           to another model the text: images are for users alone (OpenHands #7700)
    `refusal`                  to another model as content: Mistral answers 422 to unknown fields
    `tool_calls`               with type and arguments as text (OpenAI, SGLang: "expected a string"), without
                               `index` and empty extras (Mistral: 422); no empty list (OpenAI `empty_array`)
    extras of a call           to the model that made it: Gemini's `extra_content`, which Fireworks refuses
    `function_call`            one that names a function
    `audio`                    its id until it expires; after that, and to another model, the transcript
    `extra_content`            with reasoning: Gemini's signature of a text
    reasoning, by any name     as `Thoughts` says: Groq, Cerebras and Mistral refuse it, DeepSeek and Kimi
                               demand it
    all else                   never: `annotations`, `executed_tools` (Groq: "property is unsupported"),
                               `context` (Azure), `provider_specific_fields` (litellm #30835), `images` ...

Call ids go as they are to the model that made them; Mistral takes nine letters and digits and no other id, so
those that go to another model are spelled so (`neutral_id`), in the call and in its result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import msgspec

from sidecar.conversation.message import Fields, encode, is_plain, text_of
from sidecar.conversation.reasoning import REASONING_FIELDS, is_thinking, without_fields, without_parts

__all__ = ["Recipient", "Thoughts", "has_words", "is_finished", "neutral_id", "sendable", "sendable_call"]

#: Of reasoning goes nothing; what any model can read; all of it, as it came.
Thoughts = Literal["none", "text", "whole"]

#: Reasoning that is a plain text; the others hold signatures, which only their maker can read.
_PLAIN = frozenset(("reasoning_content", "reasoning", "reasoning_text", "thinking"))
_OF_A_CALL = ("id", "type", "function", "custom")
_ID_LENGTH = 9


@dataclass(slots=True, frozen=True)
class Recipient:
    """Who reads it. `is_maker`: the very model that produced it. `now`: Unix seconds."""

    is_maker: bool = True
    thoughts: Thoughts = "none"
    now: float = 0.0


def sendable(fields: Fields, to: Recipient) -> Fields:
    """The message as a request may hold it; the very same object if it is so already."""
    if is_plain(fields):
        return fields if to.thoughts != "none" else without_fields(fields)
    sent: dict[str, Any] = {}
    for name, value in fields.items():
        rule = _RULES.get(name)
        kept = rule(value, fields, to) if rule else _LEFT_OUT
        if kept is not _LEFT_OUT:
            sent[name] = kept
    if not sent.get("content"):
        _speak_for_another(sent, fields, to)
    return fields if sent == fields else sent


def has_words(fields: Fields) -> bool:
    """Does it say anything that a request may hold?"""
    content = fields.get("content")
    if type(content) is list and all(type(part) is dict and not any(_values(part)) for part in content):
        content = None
    said = content.strip() if type(content) is str else content
    return bool(said or any(fields.get(name) for name in ("tool_calls", "function_call", "audio", "refusal")))


def sendable_call(call: Fields, *, is_maker: bool) -> dict[str, Any]:
    """One call, with type and arguments and no place in a stream. What else it carries is for its maker."""
    sent = {name: call[name] for name in _OF_A_CALL if call.get(name)}
    function = sent.get("function")
    if "custom" not in sent or function:
        sent.setdefault("type", "function")
    if isinstance(function, Mapping):
        sent["function"] = {
            "name": function.get("name") or "",
            "arguments": _arguments(function.get("arguments")),
        }
        if is_maker:
            sent["function"] |= _extras(function, ("name", "arguments"))
    return sent | _extras(call, (*_OF_A_CALL, "index")) if is_maker else sent


def is_finished(call: Fields) -> bool:
    """Are its arguments whole? Those of a reply that was cut off are no JSON."""
    function = call.get("function")
    arguments = function.get("arguments") if isinstance(function, Mapping) else None
    if not isinstance(arguments, str) or not arguments.strip():
        return True
    try:
        msgspec.json.decode(arguments)
    except (ValueError, RecursionError):
        return False
    return True


def neutral_id(id: str, maker: bytes) -> str:
    """An id that every upstream takes, for a call in the message `maker`: ids are often used twice."""
    return blake2b(maker + id.encode("utf-8", "replace"), digest_size=8).hexdigest()[:_ID_LENGTH]


_LEFT_OUT: Any = object()
_Rule = Callable[[Any, Fields, Recipient], Any]


def _as_it_is(value: Any, fields: Fields, to: Recipient) -> Any:
    return value or _LEFT_OUT


def _content(value: Any, fields: Fields, to: Recipient) -> Any:
    if type(value) is not list:
        return value if to.thoughts != "none" else without_fields(fields).get("content")
    if to.thoughts != "whole" and any(map(is_thinking, value)):
        value = without_parts(value)
    return value if to.is_maker else text_of({"content": value})


def _refusal(value: Any, fields: Fields, to: Recipient) -> Any:
    return value if value and to.is_maker else _LEFT_OUT


def _tool_calls(value: Any, fields: Fields, to: Recipient) -> Any:
    if type(value) is not list:
        return _LEFT_OUT
    return [sendable_call(call, is_maker=to.is_maker) for call in value if type(call) is dict] or _LEFT_OUT


def _function_call(value: Any, fields: Fields, to: Recipient) -> Any:
    if type(value) is not dict or not value.get("name"):
        return _LEFT_OUT
    return {"name": value["name"], "arguments": _arguments(value.get("arguments"))}


def _audio(value: Any, fields: Fields, to: Recipient) -> Any:
    if type(value) is not dict or not value.get("id") or not to.is_maker:
        return _LEFT_OUT
    expires = value.get("expires_at")
    gone = isinstance(expires, (int, float)) and expires <= to.now
    return _LEFT_OUT if gone else {"id": value["id"]}


def _signature(value: Any, fields: Fields, to: Recipient) -> Any:
    return value if value and to.is_maker and to.thoughts == "whole" else _LEFT_OUT


def _reasoning(name: str) -> _Rule:
    def rule(value: Any, fields: Fields, to: Recipient) -> Any:
        if to.thoughts == "whole" and to.is_maker and value is not None:
            return value
        goes = to.thoughts != "none" and name in _PLAIN and type(value) is str and value
        return value if goes else _LEFT_OUT

    return rule


_RULES: Mapping[str, _Rule] = {
    "role": _as_it_is,
    "name": _as_it_is,
    "content": _content,
    "refusal": _refusal,
    "tool_calls": _tool_calls,
    "function_call": _function_call,
    "audio": _audio,
    "extra_content": _signature,
    **{name: _reasoning(name) for name in REASONING_FIELDS},
}


def _speak_for_another(sent: dict[str, Any], fields: Fields, to: Recipient) -> None:
    """What was spoken, or refused, as a text for those who cannot take it in its own form."""
    audio = fields.get("audio")
    told = audio.get("transcript") if type(audio) is dict and "audio" not in sent else None
    if not told and "refusal" not in sent:
        told = fields.get("refusal")
    if told and type(told) is str:
        sent["content"] = told


def _arguments(value: Any) -> str:
    """As a text: some engines give an object, or none for a tool without parameters."""
    if value is None or value == "":
        return "{}"
    return value if type(value) is str else encode(value).decode()


def _extras(of: Fields, known: Iterable[str]) -> dict[str, Any]:
    return {name: value for name, value in of.items() if name not in known and value not in _EMPTY}


_EMPTY: tuple[Any, ...] = (None, "", [], {})


def _values(part: Fields) -> Iterable[Any]:
    return (value for name, value in part.items() if name != "type")
