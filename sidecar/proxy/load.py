"""What the store knows about a request, and where in its tree the request continues.

Usually one look-up (see `conversation/reconcile.py`); a tree is loaded only where that does not tell,
a path only where something on it has to be restored.
"""

from __future__ import annotations

import asyncio
import time

import msgspec
from msgspec.structs import replace

from sidecar.conversation.echo import Step
from sidecar.conversation.effort import Effort
from sidecar.conversation.identity import Kind
from sidecar.conversation.identity import conversation_id as named_id
from sidecar.conversation.likeness import are_near_prompts
from sidecar.conversation.message import text_of
from sidecar.conversation.reconcile import (
    Outcome,
    Place,
    outcome_of,
    places,
    repeated,
    resumed,
    settled,
    walk,
)
from sidecar.conversation.records import Found
from sidecar.conversation.tree import Conversation, Node, Tree
from sidecar.errors import StoreUnavailable
from sidecar.exchange.call import ChatCall
from sidecar.exchange.plan import Plan
from sidecar.proxy.dropped_calls import without_dropped
from sidecar.proxy.find_by_history import given_up, recognised
from sidecar.proxy.services import Services
from sidecar.random_ids import token

__all__ = ["load"]

# Seconds that a request waits for a store of which it is known that it fails: one that brings its
# history is answered all the same, one that does not is told at once.
_DEGRADED = 0.25
_REFUSED = 1.0


async def load(services: Services, call: ChatCall) -> Plan:
    """Find out what the request is. Raises `StoreUnavailable` for one that cannot do without the store."""
    if call.is_task:
        return Plan(Outcome.TASK)
    if not call.is_kept or not (len(call.chat.path) or call.chat.prefill):
        return Plan(Outcome.BYPASS)
    if (plan := _at_hand(services, call)) is not None:
        return plan
    must_keep = call.may_append or services.settings.history.if_store_fails == "refuse"
    try:
        degraded = services.store_health.is_failing and not await _writable_again(services, must_keep)
        plan = await _in_time(services, call, degraded)
    except StoreUnavailable as error:
        services.store_health.report("read", error)
        if must_keep:
            raise
        return Plan(Outcome.BYPASS, degraded=True)
    return replace(plan, degraded=True) if degraded else plan


def _at_hand(services: Services, call: ChatCall) -> Plan | None:
    """What to do with the usual turn, which goes on where this process has recorded the one before; None for
    any other. What appends has to find what another process recorded just now."""
    if call.conversation_id is None or call.may_append or services.store_health.is_failing:
        return None
    if services.settings.restore.system_prompt == "pin":
        return None
    found = services.store.find_cached(call.identity.tenant, (call.conversation_id,), _hashes(call))
    if found is None or found.conversation is None:
        return None
    place = _settled(call, found)
    if place is None or place.node is None or not _is_faithful(services, call, place, place.node):
        return None
    return _plan(call, found.conversation, place, is_tip=found.is_tip)


def _hashes(call: ChatCall) -> list[bytes]:
    """Where the request may continue, the deepest first."""
    hashes = call.chat.path.hashes
    return [hashes[position - 1] for position in places(call.chat.path)]


async def _writable_again(services: Services, must_keep: bool) -> bool:
    """Has the store recovered? Raises `StoreUnavailable` if not and the request cannot do without."""
    try:
        await services.store_health.probe(_REFUSED if must_keep else _DEGRADED)
    except StoreUnavailable:
        if must_keep:
            raise
        return False
    return True


async def _in_time(services: Services, call: ChatCall, degraded: bool) -> Plan:
    limit = services.settings.timeouts.store
    try:
        async with asyncio.timeout(min(_REFUSED, limit) if degraded else limit):
            return await _load(services, call)
    except TimeoutError as error:
        services.store_health.timed_out()
        raise StoreUnavailable(f"the store did not answer within `timeouts.store` = {limit:g} s") from error


async def _load(services: Services, call: ChatCall) -> Plan:
    store, chat = services.store, call.chat
    ids = await _ids(services, call)
    if ids is None:
        return Plan(Outcome.BYPASS)
    found = await store.find(call.identity.tenant, ids, _hashes(call)) if ids else Found()
    conversation = found.conversation
    if conversation is None:
        at = 1 if call.identity.by_agent and ids else 0  # the first one has the name itself
        fresh = _fresh(call, ids[at] if ids else "conv_" + token(16).hex())
        return Plan(Outcome.START, fresh, None, chat.path.messages)
    if call.may_append and (call.mode == "append" or not conversation.full) and conversation.tip is not None:
        return await _append(services, call, conversation, conversation.tip)
    return await _reconcile(services, call, found, conversation)


async def _ids(services: Services, call: ChatCall) -> list[str] | None:
    """Under which ids the conversation may be kept, the first for a new one; None to keep nothing."""
    key = call.identity.key
    if key is not None and call.conversation_id is not None:
        # A client may also call a conversation that began without an id by the id that it was told.
        names = [call.conversation_id, key]
        return [_of_its_own(services, call), *names] if call.identity.by_agent else names
    chat, fallback = call.chat, services.settings.identity.fallback
    if fallback == "none":
        return None
    if fallback == "hash":
        said = b"".join(each.digest for each in (*chat.system, *chat.path.messages[:1]))
        opening = call.chain.hash(None, said).hex()
        return ["api-" + named_id(services.store.secret, call.identity.tenant, opening).removeprefix("conv_")]
    known = await recognised(services, call)
    return [known] if known else []


def _of_its_own(services: Services, call: ChatCall) -> str:
    """The id of a chat that is not the first under an agent's header, which may name a login that has many:
    told apart by their first messages, they must not become one session upstream."""
    root = call.chat.path.hashes[0] if len(call.chat.path) else b""
    return named_id(services.store.secret, call.identity.tenant, f"{call.identity.key}\n{root.hex()}")


def _fresh(call: ChatCall, id: str) -> Conversation:
    now = time.time()
    return Conversation(id, call.identity.tenant, call.identity.key, created_at=now, updated_at=now)


async def _append(services: Services, call: ChatCall, conversation: Conversation, tip: bytes) -> Plan:
    line = await services.store.path(conversation.id, tip)
    system = await _system(services, call, conversation, appending=True)
    told = repeated(line, call.chat.path, first_too=call.mode == "auto")
    if told is not None:
        known = line[:told]
        before = known[: len(known) - len(call.chat.path)]
        return Plan(Outcome.RETRY, conversation, known[-1], line=tuple(before), system=system)
    on = resumed(line, call.chat.path)
    outcome = Outcome.APPEND if on.new else Outcome.RETRY
    return Plan(outcome, conversation, on.parent, on.new, line=on.before, system=system)


async def _reconcile(services: Services, call: ChatCall, found: Found, conversation: Conversation) -> Plan:
    chat, store = call.chat, services.store
    place = _settled(call, found)
    steps: tuple[Step, ...] = ()
    is_tip = found.is_tip
    if place is None:
        tree = Tree(await store.tree(conversation.id))
        match = walk(tree, chat.path, _named(call), Effort(services.most))
        if match.is_given_up:
            given_up(services)
        place, steps = match.place, match.steps
        is_tip = not tree.children(place.node)
    elif place.node is not None and not _is_faithful(services, call, place, place.node):
        path = Tree(await store.path(conversation.id, place.node.id))
        steps = walk(path, chat.path, _named(call), Effort(services.most)).steps
    if place.node is None and call.identity.by_agent:
        return Plan(Outcome.START, _fresh(call, _of_its_own(services, call)), None, chat.path.messages)
    plan = _plan(call, conversation, place, is_tip=is_tip)
    system = await _system(services, call, conversation, appending=False)
    steps = await without_dropped(store, conversation, chat.path, steps) if _may_restore(call) else ()
    return replace(plan, steps=steps, system=system)


def _plan(call: ChatCall, conversation: Conversation, place: Place, *, is_tip: bool) -> Plan:
    """To go on at a place up to which there is nothing to restore."""
    return Plan(
        outcome=outcome_of(
            call.chat.path, place, extends=call.chat.prefill is not None, stored=True, is_tip=is_tip
        ),
        conversation=conversation,
        parent=place.node,
        new=call.chat.path.messages[place.position :],
    )


def _settled(call: ChatCall, found: Found) -> Place | None:
    return settled(call.chat.path, found.nodes, _named(call))


def _named(call: ChatCall) -> frozenset[str]:
    """The ids by which the client calls its newest question and the answer before that."""
    return frozenset(each for each in (call.identity.parent_id, call.identity.user_message_id) if each)


async def _system(
    services: Services, call: ChatCall, conversation: Conversation, *, appending: bool
) -> bytes | None:
    """What stands in for the leading system messages: the last ones if none were sent; the first if pinned,
    and what was sent is the same but for a clock. A prompt that is another one is the client's."""
    pinned = services.settings.restore.system_prompt == "pin" and _may_restore(call)
    lacking = appending and not call.chat.system
    if not lacking and not (pinned and call.chat.system):
        return None
    stored = await services.store.system(conversation.id)
    if stored is None:
        return None
    first, last = stored
    if not pinned:
        return last
    told = _text(last if lacking else b"[" + b",".join([each.raw for each in call.chat.system]) + b"]")
    return first if are_near_prompts(_text(first), told) else last if lacking else None


def _text(system: bytes) -> str:
    return "\n".join(text_of(fields) for fields in msgspec.json.decode(system))


def _is_faithful(services: Services, call: ChatCall, place: Place, node: Node) -> bool:
    """Is there nothing to restore up to this place?"""
    if not _may_restore(call):
        return True
    return services.restore.by_hash and node.exact == call.chat.path.exacts[place.position - 1]


def _may_restore(call: ChatCall) -> bool:
    """Nothing is ever put into a request that names no conversation, or one that mixes several."""
    return call.identity.key is not None and call.identity.kind is Kind.CHAT
