"""What passed between two exchanges of a conversation: time, and other chats with the same model there.

Rule: it is looked up for a moment at most; what is not found out until then is not guessed.
"""

from __future__ import annotations

import time
from contextlib import aclosing

import msgspec

from sidecar.conversation.exchange_record import Exchange
from sidecar.inspector.conversation_list import words_of
from sidecar.inspector.shown import count, seconds, told
from sidecar.store import Store

__all__ = ["Between", "ChatLink", "between", "chat_links", "told_of"]

#: Seconds that it may take, and milliseconds of the past that are looked at.
_SECONDS, _LONGEST = 0.5, 86_400_000
#: Milliseconds from which on it is likely that nobody kept a cache for so long.
_LONG = 300_000
#: Conversations that are named.
_NAMED = 3


class Between(msgspec.Struct, frozen=True):
    """`pause`: milliseconds from the end of the one to the beginning of the other. Meanwhile `requests` of
    `chats` other conversations came for the same model to the same target, and there to the same of its URLs;
    None: it is not known. `is_more`: or more of both. `moved`: from which URL to which, where those are not
    the same. `names`: the ids of the first of these conversations; `others`: requests for other models."""

    pause: int
    requests: int | None = None
    chats: int | None = None
    is_more: bool = False
    moved: tuple[str, str] | None = None
    names: tuple[str, ...] = ()
    others: int = 0


class ChatLink(msgspec.Struct, frozen=True):
    """A conversation by which words people know it."""

    id: str
    words: str


async def between(store: Store, before: Exchange, now: Exchange) -> Between:
    """What passed between these two."""
    pause = max(0, now.when - before.when - (before.duration_ms or 0))
    there, here = (each.detail.member for each in (before, now))
    if there and here and there != here:
        return Between(pause, moved=(there, here))
    place = (now.detail.target, here)
    if now.when - before.when > _LONGEST:
        return Between(pause)
    is_more = False
    requests, others, chats, end = 0, 0, dict[str, None](), time.monotonic() + _SECONDS
    async with aclosing(store.spent(before.when, now.when)) as steps:
        async for some in steps:
            for each in some:
                one = each.exchange
                at = (one.detail.target, one.detail.member)
                if one.conversation == now.conversation or at != place:
                    continue
                if one.model != now.model:
                    others += 1
                    continue
                requests += 1
                chats[one.conversation] = None
            if is_more := time.monotonic() > end:
                break
    return Between(pause, requests, len(chats), is_more, names=tuple(chats)[:_NAMED], others=others)


async def chat_links(store: Store, what: Between) -> tuple[ChatLink, ...]:
    """The conversations that are named."""
    found = [each for name in what.names if (each := await store.overview(name)) is not None]
    return tuple(ChatLink(each.id, words_of(each)) for each in found)


def told_of(what: Between) -> str:
    """It in a sentence, as what a cache was lost by."""
    said = f"{seconds(what.pause)} had passed since the exchange before"
    if what.moved is not None:
        return f"{said}, which {told(what.moved[0])} answered, and this one {told(what.moved[1])}."
    if what.requests is None or what.chats is None:
        return f"{said}: after so long few keep a cache."
    if not what.requests:
        meanwhile = f"{said}, and no other chat asked for this model there meanwhile"
        if what.others:
            asked = f"{count(what.others)} request{'s' if what.others > 1 else ''} for other models came"
            return f"{meanwhile}; {asked}: an engine that holds one model at a time has loaded it anew."
        if what.pause >= _LONG:
            return f"{meanwhile}: it was too long for its cache, or it was started anew."
        return f"{meanwhile}: it was started anew, another machine answered, or it cut the prompt itself."
    least = "at least " if what.is_more else ""
    requests = f"{count(what.requests)} request{'s' if what.requests > 1 else ''}"
    chats = f"{count(what.chats)} other chat{'s' if what.chats > 1 else ''}"
    return (
        f"{said}, and {least}{requests} of {chats} came for this model meanwhile: most likely they took its"
        " place in the cache (of llama.cpp: its slot)."
    )
