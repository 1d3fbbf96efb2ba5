"""The numbers in a refusal for length: the model's window, and the prompt as the upstream counted it.

Rules: known wordings are read exactly; of any other, a number that stands by a word for a limit is the
window, and of two numbers the larger one is the prompt. A number counts only if it can be true: a window of
at least `SMALLEST_WINDOW` tokens, and no larger than what was refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sidecar.dialects.base import Overflow
from sidecar.prompt.model_lists import SMALLEST_WINDOW

__all__ = ["Own", "numbers_in", "of_counts"]

_MAX_COUNT = 1 << 31

#: Is the passage from here to there the upstream's own, and no quotation?
Own = Callable[[int, int], bool]


def of_counts(limit: Any, sent: Any) -> Overflow | None:
    """What fields of an error tell: the window and the prompt, where they are numbers; None if absurd."""
    return _sound(_whole(limit), _whole(sent), None, None)


def numbers_in(text: str, own: Own) -> Overflow | None:
    """What a refusal for length tells; None if it contradicts itself, and so is none."""
    for wording in _WORDINGS:
        found = wording.search(text)
        if found and own(*found.span()):
            return _told(found.groupdict())
    return _guessed(text, own)


def _guessed(text: str, own: Own) -> Overflow:
    """What can be told of numbers in words that nobody has seen before."""
    if _SUM.search(text):
        return Overflow()
    numbers: dict[int, bool] = {}  # and whether it stands by a word for a limit
    for found in _NUMBER.finditer(text):
        number = _whole(int(found[0].replace(",", "")))
        before = text[max(0, found.start() - 60) : found.start()]
        if number is None or _OF_A_STATUS.search(before):
            continue
        if own(found.start() - _CONTEXT, found.end() + _CONTEXT):
            is_limit = bool(_OF_A_LIMIT.search(before))
            numbers[number] = numbers.get(number, False) or is_limit
    limits = [number for number, is_limit in numbers.items() if is_limit]
    if len(numbers) == 2 and (not limits or min(numbers) in limits):
        return _sound(min(numbers), max(numbers), None, None) or Overflow()
    # Of two the larger one may stand by such a word ("limit exceeded: 5000 tokens of 4096"): it is no window.
    is_told = len(limits) == 1 and len(numbers) != 2 and _COUNTS_TOKENS.search(text)
    return (_sound(limits[0], None, None, None) if is_told else None) or Overflow()


_CONTEXT = 12  # characters by which a number in a quotation is told
# No part of a longer word, no error's number, and not what is merely the difference ("by 4096 tokens").
_NUMBER = re.compile(r"(?<![\w.\-/])(?<!\bby )\d[\d,]{2,12}(?![\w\-/])(?!:\s)")
_OF_A_STATUS = re.compile(r"\bcode\W{1,12}$", re.IGNORECASE)  # which proxies write before an error
_COUNTS_TOKENS = re.compile(r"token|n_ctx", re.IGNORECASE)
_SUM = re.compile(r"\d\s*\+\s*\w")
_OF_A_LIMIT = re.compile(
    r"(?:max(?:imum)?|limit|window|context|supports?|only|up to|at most|less than|n_ctx|allowed|capacity)"
    r"[^\d.;]{0,40}$",
    re.IGNORECASE,
)


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
    return (
        value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _MAX_COUNT else None
    )


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
