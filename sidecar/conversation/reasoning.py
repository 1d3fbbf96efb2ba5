"""Reasoning: under which names and in which tags it comes, and what is left of a message without it.

Two questions, two rules. *What does a person see?* (`seen`) passes over blocks of reasoning anywhere, since
front ends join the replies of one turn into one text. *What is sent again?* (`said`) takes away tags at the
start of a reply alone: in its midst they are what it speaks about. Front ends' `<details type="reasoning">`
is nothing that anybody writes about, so it goes wherever it stands.

A closing tag without an opening one ends reasoning where the chat template wrote the opening one into the
prompt (DeepSeek R1, Qwen): on a line of its own, outside code, in a reply that has no field for reasoning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = [
    "REASONING_FIELDS",
    "has_reasoning",
    "is_thinking",
    "may_reason",
    "said",
    "seen",
    "without_fields",
    "without_parts",
]

#: The fields in which engines carry reasoning beside the content: most; OpenRouter; GitHub Copilot;
#: LiteLLM in front of Claude.
REASONING_FIELDS = frozenset(
    (
        *("reasoning_content", "reasoning", "reasoning_details", "reasoning_text", "reasoning_opaque"),
        *("thinking", "thinking_blocks"),
    )
)
#: The types of parts of a content that are reasoning: Magistral, SGLang; Claude.
_PARTS = ("thinking", "redacted_thinking", "reasoning")

# The tags that models write, as Open WebUI knows them, and the block that it makes of them. What is inside is
# passed over from one "<" (or "◁") to the next, and never gone back into. All alternatives of one pattern
# begin with the same character, which is looked for ten times as fast as one of two.
_NAMES = "think|thinking|thought|reason|reasoning"
_TAGGED = (
    rf"<(?:({_NAMES})>(?:[^<]++|<(?!/\1>))*+(?:</\1>|(?P<open>\Z))"
    r"|\|begin_of_thought\|>(?:[^<]++|<(?!\|end_of_thought\|>))*+(?:<\|end_of_thought\|>|(?P<begun>\Z))"
)
_DETAILS = r"details\s++type=\"reasoning\"[^<>]*+>(?:[^<]++|<(?!/details>))*+(?:</details>|(?P<unfolded>\Z))"
_KIMI = r"◁think▷(?:[^◁]++|◁(?!/think▷))*+(?:◁/think▷|(?P<open>\Z))"


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)


_ANYWHERE = (("<", _pattern(f"{_TAGGED}|{_DETAILS})")), ("◁", _pattern(_KIMI)))
_AT_THE_START = (_pattern(rf"\s*+{_TAGGED})"), _pattern(rf"\s*+{_KIMI}"))
_FOLDED = _pattern(f"<{_DETAILS}")
_CLOSED_ALONE = _pattern(rf"</(?:{_NAMES})>|<\|end_of_thought\|>|◁/think▷")
_OPENED = _pattern(rf"<(?:{_NAMES})>|<\|begin_of_thought\|>|◁think▷")
_FENCE = "```"
_MARKS = (b"reason", b"think", b"<", b"\\u003c", b"\\u25c1", "◁".encode())


def may_reason(raw: bytes) -> bool:
    """Can there be reasoning in this JSON of a message? False is certain."""
    return any(mark in raw for mark in _MARKS)


def seen(text: str) -> str:
    """The text without reasoning, wherever that stands, and without outer white space."""
    if "<" in text or "◁" in text:
        for first, pattern in _ANYWHERE:
            if first in text:
                text = pattern.sub(_left_of, text)
    return text.strip()


def said(text: str, *, has_field: bool = False) -> str:
    """The text as it is sent again: the same, unless reasoning goes; what is left has no outer white space.

    `has_field`: the message carries reasoning in a field, so a lone closing tag is none.
    """
    if "<" not in text and "◁" not in text:
        return text
    left, start = _FOLDED.sub(_left_of, text), 0
    while found := next((found for each in _AT_THE_START if (found := each.match(left, start))), None):
        start = found.end()
    left = left[start:]
    if left == text and not has_field:
        left = _behind_a_closing_tag(text)
    return text if left == text else left.strip()


def is_thinking(part: Any) -> bool:
    """Is this part of a content reasoning?"""
    return type(part) is dict and part.get("type") in _PARTS


def without_parts(content: list[Any]) -> Any:
    """The parts that are no reasoning; text alone as one text, since many servers take no list of it."""
    left = [part for part in content if not is_thinking(part)]
    texts = [_text_in(part) for part in left]
    return left if None in texts else "\n".join(map(str, texts))


def _text_in(part: Any) -> str | None:
    text = part.get("text") if type(part) is dict and part.get("type") == "text" else None
    return text if type(text) is str else None


def has_reasoning(fields: Mapping[str, Any]) -> bool:
    """Does the message carry reasoning, beside its text or in it?"""
    return not REASONING_FIELDS.isdisjoint(fields) or without_fields(fields) is not fields


def without_fields(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of a message without its reasoning; the very same object if it has none."""
    named = not REASONING_FIELDS.isdisjoint(fields)
    content = fields.get("content")
    left = _left_of_content(content, named) if fields.get("role") == "assistant" else content
    if not named and left is content:
        return fields
    kept = {name: value for name, value in fields.items() if name not in REASONING_FIELDS}
    if "content" in kept:
        kept["content"] = left
    return kept


def _left_of_content(content: Any, has_field: bool) -> Any:
    if type(content) is str:
        return said(content, has_field=has_field)
    if type(content) is list and any(map(is_thinking, content)):
        return without_parts(content)
    return content


def _left_of(found: re.Match[str]) -> str:
    """Nothing is left of reasoning; a tag that opens amid the text and never closes is only mentioned."""
    is_open = any(end is not None for end in found.groupdict().values())
    return found[0] if is_open and found.string[: found.start()].strip() else ""


def _behind_a_closing_tag(text: str) -> str:
    """What stands behind the first closing tag, if nothing opened it and it has a line of its own."""
    found = _CLOSED_ALONE.search(text)
    if found is None:
        return text
    start, end = found.span()
    before, behind = text[:start], text[end:]
    line = before[before.rfind("\n") + 1 :] + behind.partition("\n")[0]
    if line.strip() or before.count(_FENCE) % 2 or _OPENED.search(before):
        return text
    return behind
