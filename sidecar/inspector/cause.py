"""Why a prompt differs from the one before it, told from what is kept of both.

Rule: whoever sent it knew better, and said so, where it held the prompt before. It did not where that was
another worker's, or too long ago. Then this is asked, in the same order and words as
`sidecar.exchange.prompt.difference`.
"""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.conversation.exchange_record import Exchange
from sidecar.conversation.overview import Stem

__all__ = ["cause_by_what_is_kept"]


def cause_by_what_is_kept(before: Exchange, now: Exchange, path: Sequence[Stem]) -> str:
    """The cause in one word; `path`: of the messages that the request ended with. `grown`: none is seen."""
    old, new = before.detail, now.detail
    if before.model != now.model:
        return "model"
    if old.tools != new.tools:
        return "tools"
    if old.system != new.system:
        return "system"
    if old.summary != new.summary:
        return "summary"
    if (old.dropped, old.shortened) != (new.dropped, new.shortened):
        return "trimmed"
    if before.parent is not None and all(each.id != before.parent for each in path):
        return "edited"
    if _ends_joined(now, path) and before.parent != now.parent:
        return "joined"
    rules = {each.sent.rule for each in (old, new) if each.sent is not None}
    return "restored" if len(rules) == 2 and "restored" in rules else "grown"


def _ends_joined(now: Exchange, path: Sequence[Stem]) -> bool:
    """Is its newest question no message of its own?"""
    if not path or path[-1].role != "user" or now.detail.sent is None:
        return False
    return any(form == "out" and path[-1].id.startswith(name) for name, form in now.detail.sent.exceptions)
