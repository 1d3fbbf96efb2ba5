"""Refusals of what a request says: told as the reason why an answer ends, by an error's name or in its words.

Here is also the rule for every refusal inside of a 200, whether for content, form or length: it is what it
would be with a status of 4xx.
"""

from __future__ import annotations

import re

from sidecar.dialects.base import Assembled
from sidecar.dialects.chat.form_refusal import form_refusal
from sidecar.dialects.chat.overflow import recognised

__all__ = ["is_refused"]

# OpenAI and Azure; Gemini, whose names gateways pass on; Z.ai.
_ENDS = frozenset(
    ("content_filter", "safety", "prohibited_content", "blocklist", "spii", "recitation", "sensitive")
)
# In names as in words; DashScope says data_inspection_failed.
_OF_CONTENT = re.compile(
    r"content[ _-]?(?:policy|filter|management|moderation|exists risk)|moderation|\bflagged\b|usage polic"
    r"|data_?inspection|(?:prohibited|unsafe|harmful|sensitive|inappropriate)[ _](?:or \w+ )?content"
    r"|content may contain|敏感|违规",
    re.IGNORECASE,
)
_LONGEST = 4000  # bytes of an error that are looked through


def is_refused(said: Assembled, request: bytes) -> bool:
    """Did the upstream refuse this request, as another attempt would not change? Not asked of one that
    answered with a word."""
    if any((reply.finish_reason or "").lower() in _ENDS for reply in said.replies):
        return True
    if said.error is None:
        return False
    return (
        _OF_CONTENT.search(said.error[:_LONGEST].decode("utf-8", "replace")) is not None
        or recognised(200, said.error, request) is not None
        or form_refusal(200, said.error) is not None
    )
