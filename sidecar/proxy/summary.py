"""A summary in place of the turns that are left out.

Rules: nothing is put into a request that names no conversation, or a temporary one, or one that mixes
several. Looking one up takes one query, where something was left out, and another for what was taken out
of the conversation: a summary that was made before that is used no more. If the store fails, the request
goes without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sidecar.conversation.identity import Kind
from sidecar.conversation.tree import Conversation
from sidecar.errors import StoreUnavailable
from sidecar.exchange.call import ChatCall
from sidecar.exchange.plan import Plan, Thin, own_path
from sidecar.prompt.rebuild import Outgoing
from sidecar.prompt.summary import HasRole, Missing, fitting, fronts, room, with_summary
from sidecar.prompt.trim import Budget, Trimmed
from sidecar.proxy.notes import notes_of
from sidecar.proxy.services import Services

__all__ = ["Summed", "hashed_path", "is_wanted", "room_for_summary", "summed_up"]

_SINCE = 8  # bytes


@dataclass(slots=True, frozen=True)
class Summed:
    """The leading system messages with what stands for `messages` of the path; what is missing of that."""

    system: tuple[Outgoing, ...]
    messages: int = 0
    missing: Missing | None = None
    #: The hash that names the front it stands for.
    hash: bytes | None = None


async def summed_up(
    services: Services,
    call: ChatCall,
    plan: Plan,
    line: Sequence[Outgoing],
    trimmed: Trimmed,
    system: Sequence[Outgoing],
) -> Summed:
    """The system messages with the deepest summary there is of the turns that were dropped."""
    without, free = Summed(tuple(system)), trimmed.reserved - trimmed.recall
    if not trimmed.cut or not free or plan.conversation is None:
        return without
    roles, hash_of = hashed_path(call, plan)
    try:
        since = await _since(services, call, plan.conversation)
        path = [(each.role, hash_of(at) + since) for at, each in enumerate(roles)]
        found = fronts(line, trimmed.cut, path)
        hashes = [each.hash for each in reversed(found)]
        known = await services.store.find_summary(plan.conversation.id, hashes)
    except StoreUnavailable as error:
        services.background.store_health.report("summary", error)
        return without
    front = next((each for each in found if known is not None and each.hash == known.hash), None)
    missing = None
    if found and front is not found[-1]:
        told = front.end if front else 0
        missing = Missing(plan.conversation.id, tuple(line[: trimmed.cut]), tuple(found), known, told)
    text = fitting(known.text, free) if known else ""
    if front is None or not text:
        return Summed(tuple(system), missing=missing)
    return Summed(tuple(with_summary(system, text)), front.messages, missing, front.hash)


async def _since(services: Services, call: ChatCall, conversation: Conversation) -> bytes:
    """What the name of a summary ends with that was made since the last item was taken out; nothing where
    none was."""
    if services.requests.responses is None:
        return b""
    gone = (await notes_of(services.store, conversation)).gone
    return call.chain.hash(None, "\n".join(sorted(gone)).encode())[:_SINCE] if gone else b""


def room_for_summary(services: Services, call: ChatCall, budget: Budget) -> int:
    """The tokens to keep free for a summary; 0 where there is to be none."""
    if not is_wanted(services, call):
        return 0
    return room(services.settings.summary.max_tokens, budget.max_input_tokens)


def is_wanted(services: Services, call: ChatCall) -> bool:
    """Is what is cut from this request to be summed up?"""
    if not services.settings.summary.model or call.identity.key is None:
        return False
    return call.identity.kind is Kind.CHAT


def hashed_path(call: ChatCall, plan: Plan) -> tuple[Sequence[HasRole], Callable[[int], bytes]]:
    """The messages as the client names them, after the stored ones where it sent none of those; and what
    tells the hash of one by its place."""
    path = own_path(plan, call.chat.path)
    if not isinstance(plan, Thin):
        return path.messages, path.hashes.__getitem__
    stored = plan.line
    hashes: list[bytes] = []
    last = stored[-1].hash if stored else None
    for message in path.messages:
        last = call.chain.hash(last, message.digest)
        hashes.append(last)
    count = len(stored)
    return (*stored, *path.messages), lambda at: stored[at].hash if at < count else hashes[at - count]
