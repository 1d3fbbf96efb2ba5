"""Refusals for length: which error of an upstream says that the prompt is too long, and what it tells.

Owned rules: an error is known by what it says, in any of its texts and names and whatever its status, not by
a list of sentences: what is too long has to be the prompt or the context, measured in tokens or by the model.
Limits of rate, quota, time, of the answer alone or of some other field are none. What an error quotes of the
request is the user's and tells nothing, unless the error begins with it, where only the engine itself writes.
A choice's content is never looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sidecar.dialects.base import Overflow
from sidecar.dialects.chat.overflow_numbers import Own, numbers_in, of_counts
from sidecar.dialects.chat.reading import loads

__all__ = ["recognised"]

_MAX_DEPTH = 8  # lists and objects one in another
_MAX_TEXT = 4000  # characters of all texts together
_MIN_QUOTE = 10  # characters; less may be in any request
# What holds the request, or an answer.
_NOT_THE_ERRORS = frozenset(
    ("choices", "input", "messages", "prompt", "request", "body", "content", "value", "param", "loc", "ctx")
)
_NAMES = frozenset(("code", "type", "status", "reason", "error_type", "error_code", "__type"))
_CODES = frozenset(
    (
        "context_length_exceeded",
        "context_window_exceeded",
        "model_context_window_exceeded",
        "exceed_context_size_error",
        "context_exceeded",
    )
)


def recognised(status: int, body: bytes, request: bytes = b"") -> Overflow | None:
    """What an error says about the length of the prompt; None if it is about something else.

    `status` is the HTTP status; 200 for an error inside of an answer. `body` is JSON or text. `request`: the
    body that was refused, to tell what is quoted from it.
    """
    if status != 200 and status < 400:
        return None
    try:
        error = loads(body)
    except (ValueError, RecursionError):
        error = body[: 4 * _MAX_TEXT].decode("utf-8", "replace")
    if isinstance(error, dict) and error.get("choices"):
        return None
    told = list(_texts(error, "", _MAX_DEPTH))
    names = {text for name, text in told if name in _NAMES}
    text = "\n".join(text for name, text in told if name not in _NAMES)[:_MAX_TEXT]
    if _OTHER_SUBJECT.search(_without_quotes(text, request)) or any(map(_is_other, names)):
        return None
    found = _found(error, text, names, _Own(text, request))
    return found and replace(found, with_answer=bool(_WITH_THE_ANSWER.search(text)))


def _found(error: Any, text: str, names: set[str], own: Own) -> Overflow | None:
    if names & _CODES:
        counts = _counts(error, _MAX_DEPTH)
        return counts if counts and counts.limit else numbers_in(text, own) or Overflow()
    by_name = any(_speaks_of_length(_words_of(name), _always) for name in names)
    return numbers_in(text, own) if by_name or _speaks_of_length(text, own) else None


def _always(_start: int, _end: int) -> bool:
    return True


class _Own:
    """Tells the upstream's own words in a text from what it quotes of the request."""

    def __init__(self, text: str, request: bytes) -> None:
        self._text = text
        wrapping = _WRAPPING.match(text)
        self._begin = wrapping.end() if wrapping else 0
        self._request = request

    def __call__(self, start: int, end: int) -> bool:
        return start <= self._begin or not _is_in(self._text[start:end], self._request)


def _is_in(passage: str, request: bytes) -> bool:
    """Is this passage in a request, in either of the ways in which JSON can be written?"""
    if len(passage) < _MIN_QUOTE:
        return False
    forms = (json.dumps(passage, ensure_ascii=ascii)[1:-1] for ascii in (True, False))
    return any(form.encode("utf-8", "surrogatepass") in request for form in forms)


def _without_quotes(text: str, request: bytes) -> str:
    """The text less the longer quotations that are in the request."""
    return _QUOTATION.sub(lambda found: "" if _is_in(found[0][1:-1], request) else found[0], text)


def _texts(value: Any, name: str, depth: int) -> Iterator[tuple[str, str]]:
    """All texts in an error, each with the name that it goes by."""
    if isinstance(value, str):
        yield name, _ESCAPED.sub(lambda found: chr(int(found[1], 16)), value[:_MAX_TEXT])
    elif not depth:
        return
    elif isinstance(value, list):
        for each in value[:_MAX_TEXT]:
            yield from _texts(each, name, depth - 1)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key not in _NOT_THE_ERRORS:
                yield from _texts(each, key, depth - 1)


def _counts(value: Any, depth: int) -> Overflow | None:
    """llama.cpp's, in fields of their own."""
    if not depth or not isinstance(value, dict):
        return None
    if "n_ctx" in value:
        return of_counts(value["n_ctx"], value.get("n_prompt_tokens"))
    return next((found for each in value.values() if (found := _counts(each, depth - 1))), None)


def _words_of(name: str) -> str:
    """`ContextWindowExceededError` and `prompt_too_long` as words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[_-]", " ", name[:200])


def _is_other(name: str) -> bool:
    return bool(_OTHER_SUBJECT.search(_words_of(name)))


def _speaks_of_length(text: str, own: Own) -> bool:
    for sentence in _SENTENCE.finditer(text):
        about = sentence[0]
        if _OF_THE_ANSWER.search(about) and not _OF_THE_PROMPT.search(about):
            continue
        for meaning in _MEANINGS:
            for found in meaning.finditer(text, sentence.start(), sentence.end()):
                if own(*found.span()):
                    return True
    return False


# In an error that is packed into another's text.
_ESCAPED = re.compile(r"\\+u([0-9a-fA-F]{4})")
# Where the next begins with a capital; `Range [1, 8192].` and `gpt-4.1` go on.
_SENTENCE = re.compile(r"(?:[^.!?;\n]|[.!?;](?!\s))+[.!?;\n]*")
_QUOTATION = re.compile(r"\"[^\"]{10,}\"|'[^']{10,}'|`[^`]{10,}`")
# What proxies write before the engine's words, again and again.
_WRAPPING = re.compile(
    r"""(?: litellm\.\w+:\s | (?:[A-Za-z_]+\.)*[A-Za-z_]+(?:Error|Exception)(?::|\s-)\s
      | Context\sWindow\sError\s-\s | Error:\s | Error\scode:\s\d+\s-\s | <\d+>\s[\w.]+:\s
      | Invalid\srequest:\s | Provider\sreturned\serror\s
      | The\smodel\sreturned\sthe\sfollowing\serrors:\s )+""",
    re.VERBOSE,
)

# What no shorter prompt would change.
_OTHER_SUBJECT = re.compile(
    r"\bper[ -](?:min(?:ute)?|day|hour|second|month)\b|\b[tr]p[mdhs]\b|rate[ _-]?limit|too many requests"
    r"|quota|billing|credits?\b|\bbalance\b|payment|can only afford|monthly|daily|subscription|upgrade your"
    r"|api[ _-]?key|unauthori[sz]ed|forbidden|permission"
    r"|deadline|timed? ?out|context cancell?ed|concurren|overloaded"
    r"|above max length|(?:string|array|list|name|description|title|ur[il]|header|file|image|audio|video"
    r"|schema|stop|suffix|metadata|user|id)\b['`\"]?[^.\n]{0,20} too (?:long|large|big|many)"
    r"|(?:arguments?|names?|descriptions?|files?|images?|audios?|videos?) exceeds?"
    r"|每分钟|频率|限流|余额|额度|欠费",
    re.IGNORECASE,
)

_OF_THE_ANSWER = re.compile(
    r"\bmax[ _](?:completion[ _]|output[ _]|new[ _])?tokens\b"
    r"|(?:output|completion|new|generated|thinking) tokens|budget[ _]tokens|maximum output",
    re.IGNORECASE,
)
_WITH_THE_ANSWER = re.compile(
    r"completion|max[ _](?:completion_|new_|output_)?tokens|output|new_tokens|generat", re.IGNORECASE
)
_OF_THE_PROMPT = re.compile(
    r"prompt|input|messages\b|context|histor|conversation|sequence length|request has", re.IGNORECASE
)

_TOO_LONG = r"too (?:long|large|big)"
_EXCEEDS = (
    r"(?:exceed\w*|overfl\w+|surpass\w*|(?:longer|larger|greater|bigger|more|higher) than|beyond|over the|"
    r"too (?:long|large|big|small|short|many)|does(?:n't| not) fit|do(?:n't| not) fit|cannot fit|can't fit|"
    r"not enough|insufficient|out of|r[au]n out|reached|is full|but (?:the|your|you)|however|>)"
)
# `context` alone is a word of every other sentence, and of Go's timeouts.
_WINDOW = (
    r"(?:context[ _-]*(?:length|window|size|limit|budget|capacity|space)|\bn_ctx\b"
    r"|max[ _](?:model|seq|input)[ _]len\w*|session_len|sequence length|tokens? limit|max(?:imum)? context"
    r"|max(?:imum)? (?:supported )?(?:model|sequence|prompt|input)(?: token)? (?:length|size)"
    r"|max(?:imum)? (?:allowed )?(?:number of )?(?:input |prompt |context |total )?tokens"
    r"|total tokens limit|length limit)"
)
_PROMPT = r"(?:prompts?|inputs?|messages?|conversation|(?:chat )?history|context|request|text|query|question)"


def _meaning(*parts: str) -> re.Pattern[str]:
    return re.compile("".join(parts), re.IGNORECASE)


#: Each by itself is enough, within one sentence.
_MEANINGS = (
    _meaning(_WINDOW, r".{0,120}?", _EXCEEDS),
    _meaning(_EXCEEDS, r".{0,120}?", _WINDOW),
    # A statement about the window, in an error.
    _meaning(r"max(?:imum)? (?:context|prompt|model|input|sequence) (?:length|size)(?: (?:is|of)|:| =) ?\d"),
    _meaning(r"\d{3,} (?:max(?:imum)? )?context (?:length|size)"),
    # The prompt is too long, and nothing is said of for what; or for the model.
    _meaning(
        rf"\b{_PROMPT}\b(?: (?:you \w+|that you \w+|\w+ed))?(?: \([^)]*\)| length)?"
        rf"(?: (?:is|are|was|were|has become|have become))? {_TOO_LONG}"
        r"(?:\s*$|\s*[.:;,(!<\"'\\]|,? (?:for|to fit|to process|to handle|by \d|and|please|try|than)"
        r"(?!.{0,30}\bmoderat))",
    ),
    _meaning(rf"{_TOO_LONG} (?:a )?{_PROMPT}\b"),
    # Tokens, too many of them.
    _meaning(r"too many (?:input |prompt |total |context )?tokens"),
    _meaning(
        r"tokens?\b.{0,80}?(?:exceed\w*|(?:longer|larger|greater|more|higher) than|over|above|surpass\w*|>"
        r"|must be <=).{0,60}?(?:max|limit|allow|context|window|capacity|\d{3,})"
    ),
    _meaning(r"exceed\w*.{0,60}?\btokens?\b.{0,20}?(?:limit|max|window|allow|length)"),
    _meaning(r"exceed\w*.{0,60}?(?:limit|max\w*|window).{0,40}?\btokens?\b"),
    _meaning(r"\btokens? (?:limit|count|length)\b.{0,20}?(?:reached|exceeded|overflow)"),
    _meaning(
        rf"\b{_PROMPT}\b.{{0,80}}?(?:must|should|can|may)(?: not| only)? (?:have|be|contain)"
        r".{0,40}?\btokens"
    ),
    _meaning(
        rf"{_PROMPT} .{{0,60}}?exceed\w*.{{0,60}}?(?:max\w* (?:length|size)|length limit|model|context)"
    ),
    _meaning(r"max(?:imum)? (?:size|length)(?: is| of|:) ?\d+ tokens"),
    _meaning(r"(?:input|prompt) (?:length|size|tokens?).{0,40}?\[\d+, ?\d+\]"),
    _meaning(rf"\d tokens\b.{{0,60}}?\b(?:but|while|whereas) (?:the |your )?{_PROMPT}\b.{{0,40}}?\d"),
    _meaning(r"context overfl\w+"),
    # The cure, which is never said of anything else.
    _meaning(
        r"(?:reduc|shorten|decreas|trim|truncat)\w* (?:the |your )?"
        r"(?:(?:length|size|number of tokens) (?:of|in) )?(?:the |your )?"
        r"(?:messages|prompt|input|conversation|context|chat|history)"
    ),
    _meaning(r"(?:shorter|smaller) (?:prompt|input|context|conversation)|fewer (?:input )?tokens"),
    # Chinese
    _meaning(r"(?:上下文|输入|提示词?|对话|消息|prompt|tokens?).{0,24}?(?:超过|超出|超长|过长|太长|大于)"),
    _meaning(r"(?:超过|超出|大于).{0,24}?(?:上下文|最大长度|长度限制|tokens?)"),
)
