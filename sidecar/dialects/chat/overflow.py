"""Refusals for length: which error of an upstream says that the prompt is too long, and what it tells.

Owned rules: an error is taken for one by its `code` or `type`, or by words that stand at the very beginning
of its message, where only the engine itself writes. What a message quotes further on may be the user's and
tells nothing. A number counts only if it can be true: a window of at least `SMALLEST_WINDOW` tokens, and no
larger than what was refused.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from sidecar.prompt.model_lists import SMALLEST_WINDOW

__all__ = ["Overflow", "recognised"]

# 200: some send their error as if it were an answer. 500 and 502: llama.cpp once did, and proxies do.
_STATUSES = frozenset((200, 400, 413, 422, 424, 500, 502))
_DEEPEST = 4  # wrappings: a proxy of a proxy of an engine
_LONGEST = 2000  # characters of a message that are looked at
_LARGEST = 1 << 31

_CODES = frozenset(
    (
        "context_length_exceeded",
        "context_window_exceeded",
        "model_context_window_exceeded",
        "exceed_context_size_error",
        "context_exceeded",
    )
)
# A limit of tokens a minute, of a tool's description, of the answer: no cut of the history heals those.
_OTHER_CODES = frozenset(("rate_limit_exceeded", "insufficient_quota", "string_above_max_length"))


@dataclass(slots=True, frozen=True)
class Overflow:
    """A refusal for length. `limit` is the model's window, `sent` the prompt as the upstream counted it."""

    limit: int | None = None
    sent: int | None = None


def recognised(status: int, body: bytes) -> Overflow | None:
    """What an error says about the length of the prompt; None if it is about something else.

    `status` is the HTTP status; 200 for an error inside of a stream. `body` is JSON.
    """
    if status not in _STATUSES:
        return None
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return _of_body(data, 0)


def _of_body(data: Any, depth: int) -> Overflow | None:
    if isinstance(data, list) and len(data) == 1:  # Google's
        data = data[0]
    if not isinstance(data, dict) or depth > _DEEPEST:
        return None
    for key in ("error", "detail"):
        inner = data.get(key)
        if isinstance(inner, dict):
            return _of_error(inner, depth)
        if isinstance(inner, str):
            return _of_message(inner, depth)
    return _of_error(data, depth)


def _of_error(error: dict[str, Any], depth: int) -> Overflow | None:
    names = {error.get("code"), error.get("type")} if _are_names(error) else set()
    if names & _OTHER_CODES:
        return None
    if names & _CODES:
        told = _sound(_whole(error.get("n_ctx")), _whole(error.get("n_prompt_tokens")), None, None)
        if told is not None and told.limit is not None:
            return told
    message = error.get("message")
    found = _of_message(message, depth) if isinstance(message, str) else None
    if found is None and (raw := _raw(error)) is not None:
        found = _of_text(raw, depth + 1)
    return found or (Overflow() if names & _CODES else None)


def _are_names(error: dict[str, Any]) -> bool:
    return all(isinstance(error.get(key), str | int | None) for key in ("code", "type"))


def _raw(error: dict[str, Any]) -> str | None:
    """The provider's own error, where a router (OpenRouter) only says that there was one."""
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    return raw if isinstance(raw, str) else None


# What proxies write before the engine's words, again and again.
_WRAPPING = re.compile(
    r"""(?: litellm\.\w+:\s | (?:[A-Za-z_]+\.)*[A-Za-z_]+(?:Error|Exception)(?::|\s-)\s
      | Context\sWindow\sError\s-\s | Error:\s | Error\scode:\s\d+\s-\s | <\d+>\s[\w.]+:\s
      | Invalid\srequest:\s | The\smodel\sreturned\sthe\sfollowing\serrors:\s )+""",
    re.VERBOSE,
)
# Python's way to write an error's body, as far as its message.
_WRITTEN = re.compile(r"""\{(?:'error':\ \{)?(?:'object':\ 'error',\ )?'message':\ ["']""", re.VERBOSE)


def _of_message(message: str, depth: int) -> Overflow | None:
    return _of_text(message[:_LONGEST].strip(), depth)


def _of_text(text: str, depth: int) -> Overflow | None:
    if wrapping := _WRAPPING.match(text):
        text = text[wrapping.end() :]
    if text[:2] in ("b'", 'b"'):
        text = text[2:]
    if text.startswith("{"):
        return _of_packed(text, depth + 1)
    for wording in _WORDINGS:
        if found := wording.match(text):
            return _told(found.groupdict())
    return None


def _of_packed(text: str, depth: int) -> Overflow | None:
    """An error's body inside of an error's message."""
    if depth > _DEEPEST:
        return None
    if written := _WRITTEN.match(text):
        return _of_text(text[written.end() :], depth)
    try:
        data, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return _of_body(data, depth)


def _told(numbers: dict[str, str | None]) -> Overflow | None:
    def number(name: str) -> int | None:
        digits = numbers.get(name)
        return _whole(int(digits.replace(",", ""))) if digits else None

    sent, answer, total = number("sent"), number("answer"), number("total")
    for part in ("tools", "more"):
        if sent is not None and (added := number(part)):
            sent += added
    if numbers.get("least"):  # vLLM counts no further than where it is too much already
        sent = None
    elif sent is None and total is not None:
        sent = total - (answer or 0)
    return _sound(number("limit"), sent, answer, total)


def _sound(limit: int | None, sent: int | None, answer: int | None, total: int | None) -> Overflow | None:
    """What is told, if it can be true; None if it contradicts itself, and is no refusal for length."""
    if limit is None:
        return Overflow()
    if total is None and sent is not None:
        total = sent + (answer or 0)
    if total is not None and total < limit:
        return None
    if limit < SMALLEST_WINDOW or (sent is not None and sent < 1):
        return Overflow()
    return Overflow(limit, sent)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _LARGEST else None


def _n(name: str) -> str:
    return rf"(?P<{name}>\d[\d,]{{0,12}})"


def _wording(*parts: str) -> re.Pattern[str]:
    return re.compile("".join(parts), re.IGNORECASE)


_ITS_WINDOW = rf"this (?:model|endpoint)'s maximum context length is {_n('limit')} tokens"

#: How engines begin to say it, the more telling first.
_WORDINGS = (
    # OpenAI, Azure, DeepSeek, vLLM up to 0.8
    _wording(
        _ITS_WINDOW,
        rf"\. however, you requested {_n('total')} tokens \({_n('sent')} in the messages,",
        rf"(?: {_n('tools')} in the functions,)? {_n('answer')} in the completion\)",
    ),
    _wording(
        _ITS_WINDOW,
        rf", however you requested {_n('total')} tokens \({_n('sent')} in your prompt;",
        rf" {_n('answer')} for +the completion\)",
    ),
    _wording(_ITS_WINDOW, rf"\. however, your messages resulted in {_n('sent')} tokens"),
    # OpenRouter
    _wording(
        _ITS_WINDOW,
        rf"\. however, you requested about {_n('total')} tokens \({_n('sent')} of text input",
        rf"(?:, {_n('tools')} of tool input)?(?:, {_n('more')} of image input)?",
        rf"(?:, {_n('answer')} in the output)?\)",
    ),
    # vLLM since 0.9, since 0.10, since 0.15
    _wording(
        rf"'max_tokens' or 'max_completion_tokens' is too large: {_n('answer')}\. ",
        _ITS_WINDOW,
        rf" and your request has {_n('sent')} input tokens",
    ),
    _wording(_ITS_WINDOW, rf"\. however, your request has {_n('sent')} input tokens"),
    _wording(
        _ITS_WINDOW,
        rf"\. however, you requested {_n('answer')} output tokens and your prompt contains",
        rf" (?P<least>at least )?{_n('sent')} input tokens,",
        rf" for a total of (?:at least )?{_n('total')} tokens",
    ),
    _wording(
        rf"(?P<least>you passed) {_n('sent')} input tokens and requested {_n('answer')} output tokens\. ",
        rf"however, the model's context length is only {_n('limit')} tokens",
    ),
    _wording(
        rf"the (?:\w+ )?prompt \((?:total )?length {_n('sent')}\) is longer than the maximum model length",
        rf" of {_n('limit')}",
    ),
    _wording(_ITS_WINDOW),
    _wording(
        rf"input tokens exceed the configured limit of {_n('limit')} tokens\.",
        rf"(?: your messages resulted in {_n('sent')} tokens)?",
    ),
    _wording(r"your input exceeds the context window of this model"),
    # llama.cpp, llama-cpp-python
    _wording(
        rf"(?:the )?request (?:\({_n('sent')} tokens\) )?exceeds the available context size",
        rf"(?: \({_n('limit')} tokens\))?",
    ),
    _wording(
        rf"input (?:\({_n('sent')} tokens\) )?is larger than the max context size",
        rf"(?: \({_n('limit')} tokens\))?",
    ),
    _wording(rf"requested tokens \({_n('sent')}\) exceed context window of {_n('limit')}"),
    # LM Studio
    _wording(
        rf"trying to keep the first {_n('sent')} tokens when context the overflows\. however, the model is",
        rf" loaded with context length of only {_n('limit')} tokens",
    ),
    _wording(
        r"the number of tokens to keep from the initial prompt is greater than the context length",
        rf"(?: \(n_keep: ?{_n('sent')} ?>= ?n_ctx: ?{_n('limit')}\))?",
    ),
    _wording(rf"reached context length of {_n('limit')} tokens with model"),
    _wording(r"context size has been exceeded"),
    # Ollama
    _wording(r"(?:the )?input length exceeds (?:the|maximum) context length"),
    _wording(r"prompt too long; exceeded (?:max )?context length"),
    # Text Generation Inference
    _wording(
        rf"input validation error: `inputs` tokens \+ `max_new_tokens` must be <= {_n('limit')}\. ",
        rf"given: {_n('sent')} `inputs` tokens and {_n('answer')} `max_new_tokens`",
    ),
    _wording(
        rf"input validation error: `inputs` must have less than {_n('limit')} tokens\. given: {_n('sent')}"
    ),
    # Anthropic, Bedrock, Gemini
    _wording(rf"prompt is too long: {_n('sent')} tokens > {_n('limit')} maximum"),
    _wording(
        r"input length and `max_tokens` exceed context limit:",
        rf" {_n('sent')} \+ {_n('answer')} > {_n('limit')}",
    ),
    _wording(r"(?:prompt|input) is too long(?: for (?:the )?requested model)?\.?\s*$"),
    _wording(
        rf"the input token count (?:\({_n('sent')}\) )?exceeds the maximum number of tokens allowed",
        rf" \({_n('limit')}\)",
    ),
    # Mistral, Groq, Cerebras, SGLang, xAI, Moonshot, DashScope, GitHub's, LiteLLM's own check
    _wording(
        rf"prompt contains {_n('sent')} tokens(?: and \d+ draft tokens)?,",
        rf" too large for model with {_n('limit')} maximum context length",
    ),
    _wording(
        r"please reduce the length of the messages or completion\.",
        rf" current length is {_n('sent')} while limit is {_n('limit')}",
    ),
    _wording(
        rf"the input \({_n('sent')} tokens\) is longer than the model's context length \({_n('limit')} t"
    ),
    _wording(
        rf"requested token count exceeds the model's maximum context length of {_n('limit')} tokens\. ",
        rf"you requested a total of {_n('total')} tokens: {_n('sent')} tokens from the input messages",
        rf" and {_n('answer')} tokens for the completion",
    ),
    _wording(rf"input length \({_n('sent')} tokens\) exceeds the maximum allowed length \({_n('limit')} t"),
    _wording(rf"this model's maximum prompt length is {_n('limit')} but the request contains {_n('sent')} t"),
    _wording(rf"your request exceeded model token limit: {_n('limit')}(?: \(requested: {_n('total')}\))?"),
    _wording(rf"range of input length should be \[1, {_n('limit')}\]"),
    _wording(rf"prompt token count of {_n('sent')} exceeds the limit of {_n('limit')}"),
    _wording(
        r"context window exceeded for given call\.[^\n]{0,120}\n",
        rf"Model=[^\n,]{{1,200}}, Max Input Tokens={_n('limit')}, Got={_n('sent')}",
    ),
)
