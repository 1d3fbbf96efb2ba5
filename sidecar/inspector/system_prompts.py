"""The system prompts of a conversation that are kept, by the hashes by which exchanges name them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sidecar.conversation.exchange_record import Exchange
from sidecar.conversation.tree import Chain
from sidecar.store import Store

__all__ = ["kept_prompts", "leading_of"]

#: Threads whose system prompts are looked at.
_THREADS = 64


async def kept_prompts(store: Store, id: str, tenant: bytes) -> dict[bytes | None, bytes]:
    """Each, a JSON array of messages, by its hash; under None that there was none."""
    ends = await store.system(id)
    known = [*(ends or ()), *(each.system for each in await store.threads(id, _THREADS) if each.system)]
    chain = Chain(tenant)
    found: dict[bytes | None, bytes] = {chain.hash(None, each): each for each in known}
    found[None] = b"[]"
    return found


def leading_of(exchange: Exchange, kept: Mapping[bytes | None, bytes]) -> int | None:
    """How many system messages stood in front of its prompt; None where they are not kept."""
    prompt = kept.get(exchange.detail.system)
    if prompt is None:
        return None
    try:
        number = len(msgspec.json.decode(prompt, type=list))
    except ValueError:  # damaged
        return None
    # A summary stands in the last of them, or in one of its own.
    return max(number, 1) if exchange.detail.summary is not None else number
