"""Refusals of form: an upstream takes no such message, or wants one of its own fields back.

Owned rules: what is about anything else (length, key, money, rate, policy, an unknown model, a conflict) is
none, whatever its status. A 400 or 422 is one otherwise; a 500, or an error inside of a 200, only if it
speaks of templates, roles, messages or their fields. Two kinds of them can be put right, and each has a table
here: what is *demanded*, and what is *unwanted*. Words decide, for codes differ with every provider; what a
message quotes of the user's can at worst cost one more request.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sidecar.conversation.reasoning import REASONING_FIELDS
from sidecar.dialects.base import FormRefusal
from sidecar.dialects.chat.reading import loads
from sidecar.prompt.form import CALL, SIGNATURE, SYSTEM_FIRST, VALID_SIGNATURE

__all__ = ["form_refusal"]

_MAX_DEPTH = 8  # lists and objects one in another, and JSON inside of a text
_MAX_TEXT = 4000  # characters of all texts together
_MAX_FIELDS = 8  # fields that one refusal names


def form_refusal(status: int, body: bytes) -> FormRefusal | None:
    """What an error refuses of a request's form; None if it is about anything else.

    `status` is the HTTP status, 200 for an error inside of an answer; `body` the error, JSON or text.
    """
    if status not in (200, 400, 422, 500):
        return None
    try:
        error = loads(body)
    except (ValueError, RecursionError):
        error = body.decode("utf-8", "replace")
    told = "\n".join(_texts(error, _MAX_DEPTH))[:_MAX_TEXT]
    if _OTHER_SUBJECT.search(told):
        return None
    demanded, unwanted = _demanded(told), frozenset(_unwanted(error, told))
    is_said = bool(demanded or unwanted or _FORM.search(told))
    if not is_said and (status == 500 or (status == 200 and not _is_client_error(error))):
        return None
    return FormRefusal(demanded, unwanted)


def _texts(value: Any, depth: int) -> Iterator[str]:
    """All texts in an error, but for names; JSON inside of a text is read as well."""
    if not depth:
        return
    if isinstance(value, str):
        start = value.find("{")
        if start >= 0 and (packed := _packed(value[start:])) is not None:
            yield value[:start]
            yield from _texts(packed, depth - 1)
        else:
            yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each, depth - 1)


def _packed(text: str) -> Any:
    """The value that a text is, as proxies pack the error of the upstream behind them; None if it is none."""
    try:
        return loads(text[: text.rfind("}") + 1].encode())
    except (ValueError, RecursionError):
        return None


def _is_client_error(error: Any) -> bool:
    """Does an error inside of an answer bring its status along, and is it one of form?"""
    if isinstance(error, list) and error:  # Google's
        error = error[0]
    inner = error.get("error", error) if isinstance(error, dict) else None
    told = [inner.get(name) for name in ("code", "status", "type")] if isinstance(inner, dict) else []
    return any(each in _CLIENT_ERRORS for each in told)


_CLIENT_ERRORS = (400, 422, "400", "422", "invalid_request_error", "INVALID_ARGUMENT")

# What no other form of the same request would change. `\b` keeps words of the user's own apart.
_OTHER_SUBJECT = re.compile(
    r"context[ _](?:length|window|size)|(?:prompt|input|request) (?:is )?too (?:long|large)"
    r"|(?:maximum|max)[ _](?:prompt |input |number of )?tokens|token limit"
    r"|(?:prompt|input|model) length|\d tokens\b|`inputs`"  # length
    r"|api[ _-]?key|unauthori[sz]ed|authenticat|permission[ _]denied|access denied|\bforbidden"  # key
    r"|quota|billing|credit balance|insufficient[ _](?:balance|credits|funds)|payment"  # money
    r"|rate[ _-]?limit|too many requests|overloaded|tokens per minute"  # rate
    r"|content[ _](?:policy|filter|management)|safety|moderation|flagged|usage polic"  # policy
    r"|model[ _]not[ _]found|unknown model|no such model"  # the model
    r"|\bmodel\b.{0,200}\b(?:does not exist|not found|not exist)"
    r"|\bconflict",
    re.IGNORECASE,
)
_FORM = re.compile(
    r"template|jinja|\broles?\b|\bmessages\b|(?:user|system|assistant|tool) message|content ?block|toolconfig"
    r"|tool[_ ](?:calls?|use|results?)|function[_ ](?:calls?|response)"
    r"|reasoning|thought_signature|\bthinking\b|extra inputs|unsupported (?:field|property|parameter)",
    re.IGNORECASE,
)

# The fields that may be demanded: `thinking` alone is a word of every other sentence.
_FIELDS = "reasoning[ _]details|" + "|".join(sorted(REASONING_FIELDS - {"thinking"}))

#: What is demanded, and how that is said. `name`: the field, where it is told.
_DEMANDS: tuple[tuple[str, str], ...] = (
    # DeepSeek V4: "The `reasoning_content` in the thinking mode must be passed back to the API."
    # OpenRouter, Gemini: "require OpenRouter reasoning details to be preserved"; Kimi: "… is missing in …"
    (
        "",
        rf"(?P<name>{_FIELDS})\b[^.]{{0,60}}?"
        r"(?:must be (?:passed|sent|provided|included)|(?:to|must) be preserved|is missing|is required)",
    ),
    # DeepSeek V3.2: "Missing `reasoning_content` field in the assistant message at message index 2"
    ("", rf"missing\s+(?:required\s+)?(?:field\s+|parameter:?\s+)?[`'\"]?(?P<name>{_FIELDS})\b"),
    # Xiaomi MiMo says no more than this where a call's reasoning is missing (GCMP#171)
    ("reasoning_content", r"\bparam incorrect\b"),
    # Anthropic: "Expected `thinking` or `redacted_thinking`, but found `tool_use`"
    (
        "thinking_blocks",
        r"expected [`'\"]?(?:redacted_)?thinking\b[^.]{0,60}\bfound [`'\"]?(?:tool_use|text)",
    ),
    # Gemini 3: "Function call is missing a thought_signature in functionCall parts"
    (SIGNATURE, r"missing an? [`'\"]?thought[_ ]?signature"),
    # Gemini: "Corrupted thought signature.", "Thought signature is not valid", "Base64 decoding failed"
    (VALID_SIGNATURE, r"(?:corrupted|invalid) thought[_ ]signature|thought[_ ]signature[^.]{0,60}not valid"),
    (VALID_SIGNATURE, r"thought[_ ]signature.{0,200}base64 decoding failed"),
    # OpenAI and DeepSeek: "must be a response to a preceeding message with 'tool_calls'" (sic)
    (CALL, r"must be a response to a prece+ding message"),
    # Anthropic: "unexpected `tool_use_id` found in `tool_result` blocks"
    (CALL, r"unexpected [`'\"]?tool_use_id"),
    # Mistral: "Unexpected role 'tool' after role 'user'"
    (CALL, r"unexpected role [`'\"]?tool[`'\"]? after role"),
    # MiniMax: "tool result's tool id(call_1) not found"; Moonshot: "tool_call_id call_1 is not found"
    (CALL, r"tool(?:_call)?[ _]id\b.{0,100}?\bnot found"),
    # Bedrock: "The number of toolResult blocks exceeds the number of toolUse blocks of previous turn"
    (CALL, r"number of toolresult blocks.{0,40}exceeds"),
    # Qwen3.5's template: "System message must be at the beginning."
    (SYSTEM_FIRST, r"system (?:message|role|prompt)s?\b[^.]{0,60}\b(?:at the (?:beginning|start)|first)\b"),
    # Mistral: "Unexpected role 'system' after role 'user'"
    (SYSTEM_FIRST, r"unexpected role [`'\"]?(?:system|developer)[`'\"]? after role"),
)
_DEMANDED = [(what, re.compile(how, re.IGNORECASE | re.DOTALL)) for what, how in _DEMANDS]


def _demanded(told: str) -> str | None:
    for what, how in _DEMANDED:
        if found := how.search(told):
            return what or found["name"].lower().replace(" ", "_")
    return None


#: How a field is said to be unwanted.
_UNWANTED = re.compile(
    r"property [`'\"](?P<groq>[\w.]+)[`'\"] is unsupported"  # Groq, Cerebras
    r"|extra inputs are not permitted,? field: [`'\"]?[\w\[\].]*?(?P<fireworks>\w+)[`'\"](?!\w)"  # Fireworks
    r"|unknown name \\?[`'\"](?P<google>\w+)"  # Google
    r"|additional properties are not allowed \([`'\"](?P<openai>\w+)[`'\"] was unexpected"  # OpenAI
    r"|(?:unknown|unsupported|unrecognized) (?:parameter|field|argument|key|request argument supplied):?"
    r" [`'\"]?(?:[\w.]+\[\d+\]\.)?(?P<other>\w+)"
    r"|invalid [`'\"]?(?P<signature>signature)[`'\"]? in [`'\"]?thinking"  # Anthropic
    r"|(?P<bound>bound to a different conversation)"  # Anthropic, since Claude Fable 5.1
    r"|(?P<both>cannot pass both content and thinking)",  # llama.cpp with gpt-oss
    re.IGNORECASE,
)
_OF_ANTHROPIC = ("thinking_blocks", "reasoning_details")


def _unwanted(error: Any, told: str) -> Iterator[str]:
    for _, found in zip(range(_MAX_FIELDS), _UNWANTED.finditer(told), strict=False):
        if found["both"]:
            yield from REASONING_FIELDS
        elif found["signature"] or found["bound"]:
            yield from _OF_ANTHROPIC
        else:
            yield found[found.lastgroup or 0].rpartition(".")[2]
    details = error.get("detail") if isinstance(error, dict) else None
    for each in (
        details[:_MAX_FIELDS] if isinstance(details, list) else ()
    ):  # pydantic: Mistral and other servers
        if isinstance(each, dict) and each.get("type") == "extra_forbidden":
            yield str(each.get("loc")).rpartition(" ")[2].strip("'\"[]")
