"""What is worth a look in an exchange, beside the one before it in its conversation."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from sidecar.conversation.exchange_record import Exchange

__all__ = ["is_cache_lost", "noted", "noticed"]

#: Tokens; of a shorter prompt many upstreams cache nothing.
_WORTH_CACHING = 500


def noticed(now: Exchange, before: Exchange) -> tuple[str, ...]:
    """In a few words each: another model, other tools, another system prompt, a cache that was lost."""
    old, new = before.detail, now.detail
    notes = ["another model"] if now.model != before.model else []
    if old.tools != new.tools:
        gone, came = new.tools is None, old.tools is None
        notes.append("no tools any more" if gone else "tools came" if came else "other tools")
    if old.system != new.system:
        notes.append("another system prompt")
    if is_cache_lost(now, before):
        notes.append("cache lost")
    return tuple(notes)


def is_cache_lost(now: Exchange, before: Exchange) -> bool:
    """Should the upstream have had the prompt before in its cache, and had most of it no more?"""
    difference, cached, had = now.detail.difference, now.detail.cached_tokens, before.input_tokens or 0
    if difference is None or difference.cause != "grown" or cached is None or before.error is not None:
        return False
    return had >= _WORTH_CACHING and 2 * cached < had


def noted(exchanges: Iterable[Exchange]) -> list[tuple[Exchange, tuple[str, ...]]]:
    """Each of these (the newest first), and what is noticed of it: beside the last one before it that was
    answered, where it was as well."""
    looked = list(exchanges)
    answered = [each for each in looked if each.detail.replies]
    notes = {now.id: noticed(now, before) for now, before in pairwise(answered)}
    return [(each, notes.get(each.id, ())) for each in looked]
