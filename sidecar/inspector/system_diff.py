"""In which words the system prompts of two exchanges differ, as far as they are kept.

Rule: two are compared only where what is kept is what was sent, which its hash tells; else the first and the
last of the conversation are, and that is said.
"""

from __future__ import annotations

import asyncio
import re

import msgspec

from sidecar.conversation.exchange_record import Exchange
from sidecar.conversation.tree import Chain
from sidecar.errors import StoreUnavailable
from sidecar.exchange.client_request import body_of, request_of
from sidecar.exchange.threads import prompt_text
from sidecar.inspector.system_prompts import kept_prompts
from sidecar.inspector.words import Change, Compared, compared, near
from sidecar.printable import printable
from sidecar.store import Store

__all__ = ["SystemDiff", "system_diff"]

_IN_FRONT = ("system", "developer")
_OTHERS = (
    "Of the system prompts of a conversation the first and the last are kept, and these two exchanges had"
    " others. This is how the last differs from the first: what changes in it may be what changed here."
    " With `inspector.keep_requests = all` those of each exchange are."
)
_ONLY_TIME = (
    "Only numbers differ, such as those of a clock, a date, a count or an id: each prompt is new by them."
)
_NUMBERS = re.compile(r"[\d\s.,:/+TZ-]+|[AaPp][Mm]")


class SystemDiff(msgspec.Struct, frozen=True):
    """`note`: what to know of the two; `changes`: all of their words; `is_cut`: of their beginnings alone."""

    note: str
    changes: tuple[Change, ...]
    is_cut: bool

    def short(self) -> SystemDiff:
        """With a few words around each change alone."""
        return SystemDiff(self.note, near(self.changes), self.is_cut)


async def system_diff(store: Store, tenant: bytes, before: Exchange, now: Exchange) -> SystemDiff | None:
    """How the system prompt of `now` differs from that of `before`; None where it does not, or nothing of it
    is kept."""
    if before.detail.system == now.detail.system:
        return None
    kept = await kept_prompts(store, now.conversation, tenant)
    pair = [kept.get(each.detail.system) or await _sent(store, tenant, each) for each in (before, now)]
    old, new = pair
    if old is not None and new is not None:
        return await _of("", old, new)
    ends = await store.system(now.conversation)
    return await _of(_OTHERS, *ends) if ends is not None and ends[0] != ends[1] else None


async def _of(note: str, old: bytes, new: bytes) -> SystemDiff:
    found = await asyncio.to_thread(_compared, prompt_text(old), prompt_text(new))
    words = [each.text for each in found.changes if each.kind != "same"]
    if words and all(map(_NUMBERS.fullmatch, words)):
        note = f"{note} {_ONLY_TIME}".strip()
    return SystemDiff(note, found.changes, found.is_cut)


async def _sent(store: Store, tenant: bytes, exchange: Exchange) -> bytes | None:
    """The leading system messages of its request, where that is kept and they are what went upstream."""
    try:
        kept = await store.kept_request(tenant, exchange.conversation, exchange.id)
        if kept is None:
            return None
        found = await asyncio.to_thread(lambda: _leading(body_of(request_of(kept)) or b""))
    except (ValueError, RecursionError, StoreUnavailable):  # damaged, as the page says elsewhere
        return None
    return found if Chain(tenant).hash(None, found) == exchange.detail.system else None


class _Role(msgspec.Struct):
    role: str = ""


class _Body(msgspec.Struct):
    messages: list[msgspec.Raw]


def _leading(body: bytes) -> bytes:
    leading: list[bytes] = []
    for each in msgspec.json.decode(body, type=_Body).messages:
        if msgspec.json.decode(each, type=_Role).role not in _IN_FRONT:
            break
        leading.append(bytes(each))
    return b"[" + b",".join(leading) + b"]"


def _compared(old: str, new: str) -> Compared:
    return compared(printable(old, lines=True), printable(new, lines=True))
