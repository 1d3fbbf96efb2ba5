"""The look-ups by which a request that names no conversation finds the one that it continues.

One for a history that is stored word for word, or whose echo has been seen before. Only where that finds
nothing, a second one for the conversations of which it could be an echo, and the trees of these.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from sidecar.background.large_work import are_large
from sidecar.conversation.effort import Effort, TooMuch
from sidecar.conversation.find_by_history import (
    MAX_MESSAGES,
    clues,
    continues,
    hash_of_user,
    hashes,
    with_prefill,
)
from sidecar.conversation.tree import Node, Path, Tree
from sidecar.exchange.call import ChatCall
from sidecar.proxy.services import Services

__all__ = ["given_up", "is_of_user", "recognised"]

log = logging.getLogger("sidecar.proxy")


async def recognised(services: Services, call: ChatCall) -> str | None:
    """The id of the conversation that the request continues; None if it begins one or could be of several."""
    store = services.store
    history, tenant = with_prefill(call.chat.path, call.chat.prefill, call.chain), call.identity.tenant
    if not history.last_answer:
        return None
    user = call.chat.user
    told = hashes(history)
    if user is not None:
        told = [hash_of_user(call.chain, user, each) for each in told]
    known = await store.find_by_history(tenant, told)
    if known is not None:
        return known
    do, is_large = services.background.large_work.do, call.chat.is_large
    telling = partial(clues, history, call.chain)
    where = await do("decide", telling) if is_large else telling()
    candidates = await store.candidates(tenant, where.hashes, where.digests)
    if sum(candidates.values()) > MAX_MESSAGES:
        return None
    effort = Effort(services.requests.rules.effort)  # one for all of them
    if user is not None:
        candidates = {id: size for id, size in candidates.items() if await is_of_user(services, call, id)}
    try:
        found = []
        for id in candidates:
            nodes = await store.tree(id)
            looking = partial(_continues, nodes, history, effort)
            if await do("decide", looking) if is_large or are_large(nodes) else looking():
                found.append(id)
    except TooMuch:
        given_up(services)
        return None
    return found[0] if len(found) == 1 else None


async def is_of_user(services: Services, call: ChatCall, conversation: str) -> bool:
    """Did the requests of a conversation without an id name the user whom this one names, or nobody?"""
    tenant, user, chain = call.identity.tenant, call.chat.user, call.chain
    if user is not None:
        mark = hash_of_user(chain, user)
        return bool((await services.store.find(tenant, [conversation], [mark])).nodes)
    return not (await services.store.find(tenant, [conversation], [hash_of_user(chain, None)])).nodes


def _continues(nodes: Sequence[Node], history: Path, effort: Effort) -> bool:
    return continues(Tree(nodes), history, effort)


def given_up(services: Services) -> None:
    """Count and say that a request's history was not found within the limits."""
    services.metrics.given_up.inc()
    log.warning(
        "a request's history was not recognised within `limits.recognition_messages` and"
        " `limits.recognition_bytes`: it is kept as a branch of its own"
    )
