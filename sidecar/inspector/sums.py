"""What all exchanges of a conversation took together.

Rule: the newest are counted, as many as a page has time for; where there are more, or one is damaged, it is
said that these are not all. Tokens are those that the upstreams reported.
"""

from __future__ import annotations

import msgspec

from sidecar.conversation.exchange_record import OF_CONVERSATION, Exchange
from sidecar.conversation.tree import Conversation
from sidecar.errors import StoreUnavailable
from sidecar.inspector.shown import count
from sidecar.store import Store

__all__ = ["Sums", "sums_of"]

_MOST, _STEP = 5000, 100


class Sums(msgspec.Struct):
    """`unreported`: exchanges of which the upstream reported no tokens. `cached` is a part of `input`.
    `is_whole`: all were counted."""

    exchanges: int = 0
    unreported: int = 0
    input: int = 0
    cached: int = 0
    output: int = 0
    is_whole: bool = True

    def add(self, each: Exchange) -> None:
        """Count this one too."""
        self.exchanges += 1
        self.unreported += each.input_tokens is None
        self.input += each.input_tokens or 0
        self.cached += each.detail.cached_tokens or 0
        self.output += each.output_tokens or 0

    @property
    def words(self) -> str:
        """For people; empty where nothing was counted."""
        if not self.exchanges:
            return ""
        number = f"{count(self.exchanges)} exchange{'' if self.exchanges == 1 else 's'}"
        told = number if self.is_whole else f"the newest {number}"
        told += f": tokens in {count(self.input)} ({count(self.cached)} cached), out {count(self.output)}"
        return told + (f"; {count(self.unreported)} without counts" if self.unreported else "")


async def sums_of(store: Store, about: Conversation) -> Sums:
    """Of this conversation, all branches together."""
    sums, before = Sums(), None
    try:
        for _ in range(0, _MOST, _STEP):
            found = await store.exchanges(about.tenant, about.id, limit=_STEP, before=before)
            for each in found:
                if each.outcome != OF_CONVERSATION:
                    sums.add(each)
            if len(found) < _STEP:
                return sums
            before = found[-1].id
        sums.is_whole = not await store.exchanges(about.tenant, about.id, limit=1, before=before)
    except StoreUnavailable:  # one is damaged, as is said where it stands
        sums.is_whole = False
    return sums
