"""What the store knows about a request, and where in its tree the request continues.

Usually one look-up (see `conversation/reconcile.py`); a tree is loaded only where that does not tell,
a path only where something on it has to be restored.
"""

from __future__ import annotations

import asyncio
import time

from msgspec.structs import replace

from sidecar.conversation.echo import Step
from sidecar.conversation.effort import Effort
from sidecar.conversation.history import Conversation, Node, Tree
from sidecar.conversation.identity import Kind
from sidecar.conversation.identity import conversation_id as named_id
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
from sidecar.errors import StoreUnavailable
from sidecar.exchange.call import ChatCall
from sidecar.exchange.plan import Plan
from sidecar.proxy.context import Context
from sidecar.proxy.entropy import token
from sidecar.proxy.recognise import given_up, recognised

__all__ = ["load"]

# Seconds that a request waits for a store of which it is known that it fails: one that brings its
# history is answered all the same, one that does not is told at once.
_DEGRADED = 0.25
_REFUSED = 1.0


async def load(context: Context, asked: ChatCall) -> Plan:
    """Find out what the request is. Raises `StoreUnavailable` for one that cannot do without the store."""
    if asked.is_task:
        return Plan(Outcome.TASK)
    if not asked.is_kept or not (len(asked.chat.path) or asked.chat.prefill):
        return Plan(Outcome.BYPASS)
    if (plan := _at_hand(context, asked)) is not None:
        return plan
    must_keep = asked.may_append or context.settings.history.if_store_fails == "refuse"
    try:
        degraded = context.store_health.is_failing and not await _writable_again(context, must_keep)
        plan = await _in_time(context, asked, degraded)
    except StoreUnavailable as error:
        context.store_health.report("read", error)
        if must_keep:
            raise
        return Plan(Outcome.BYPASS, degraded=True)
    return replace(plan, degraded=True) if degraded else plan


def _at_hand(context: Context, asked: ChatCall) -> Plan | None:
    """What to do with the usual turn, which goes on where this process has recorded the one before; None for
    any other. What appends has to find what another process recorded just now."""
    if asked.conversation_id is None or asked.may_append or context.store_health.is_failing:
        return None
    if context.settings.restore.system_prompt == "pin":
        return None
    found = context.store.at_hand(asked.identity.tenant, (asked.conversation_id,), _hashes(asked))
    if found is None or found.conversation is None:
        return None
    place = _settled(asked, found)
    if place is None or place.node is None or not _is_faithful(context, asked, place, place.node):
        return None
    return _plan(asked, found.conversation, place, is_tip=found.is_tip)


def _hashes(asked: ChatCall) -> list[bytes]:
    """Where the request may continue, the deepest first."""
    hashes = asked.chat.path.hashes
    return [hashes[position - 1] for position in places(asked.chat)]


async def _writable_again(context: Context, must_keep: bool) -> bool:
    """Has the store recovered? Raises `StoreUnavailable` if not and the request cannot do without."""
    try:
        await context.store_health.probe(_REFUSED if must_keep else _DEGRADED)
    except StoreUnavailable:
        if must_keep:
            raise
        return False
    return True


async def _in_time(context: Context, asked: ChatCall, degraded: bool) -> Plan:
    limit = context.settings.timeouts.store
    try:
        async with asyncio.timeout(min(_REFUSED, limit) if degraded else limit):
            return await _load(context, asked)
    except TimeoutError as error:
        context.store_health.timed_out()
        raise StoreUnavailable(f"the store did not answer within `timeouts.store` = {limit:g} s") from error


async def _load(context: Context, asked: ChatCall) -> Plan:
    store, chat = context.store, asked.chat
    ids = await _ids(context, asked)
    if ids is None:
        return Plan(Outcome.BYPASS)
    found = await store.find(asked.identity.tenant, ids, _hashes(asked)) if ids else Found()
    conversation = found.conversation
    if conversation is None:
        at = 1 if asked.identity.by_agent and ids else 0  # the first one has the name itself
        fresh = _fresh(asked, ids[at] if ids else "conv_" + token(16).hex())
        return Plan(Outcome.START, fresh, None, chat.path.messages)
    if (
        asked.may_append
        and (asked.mode == "append" or not conversation.full)
        and conversation.tip is not None
    ):
        return await _append(context, asked, conversation, conversation.tip)
    return await _reconcile(context, asked, found, conversation)


async def _ids(context: Context, asked: ChatCall) -> list[str] | None:
    """Under which ids the conversation may be kept, the first for a new one; None to keep nothing."""
    key = asked.identity.key
    if key is not None and asked.conversation_id is not None:
        # A client may also call a conversation that began without an id by the id that it was told.
        names = [asked.conversation_id, key]
        return [_of_its_own(context, asked), *names] if asked.identity.by_agent else names
    chat, fallback = asked.chat, context.settings.identity.fallback
    if fallback == "none":
        return None
    if fallback == "hash":
        said = b"".join(each.digest for each in (*chat.system, *chat.path.messages[:1]))
        opening = asked.chain.hash(None, said).hex()
        return ["api-" + named_id(context.store.secret, asked.identity.tenant, opening).removeprefix("conv_")]
    known = await recognised(context, asked)
    return [known] if known else []


def _of_its_own(context: Context, asked: ChatCall) -> str:
    """The id of a chat that is not the first under an agent's header, which may name a login that has many:
    told apart by their first messages, they must not become one session upstream."""
    root = asked.chat.path.hashes[0] if len(asked.chat.path) else b""
    return named_id(context.store.secret, asked.identity.tenant, f"{asked.identity.key}\n{root.hex()}")


def _fresh(asked: ChatCall, id: str) -> Conversation:
    now = time.time()
    return Conversation(id, asked.identity.tenant, asked.identity.key, created_at=now, updated_at=now)


async def _append(context: Context, asked: ChatCall, conversation: Conversation, tip: bytes) -> Plan:
    line = await context.store.path(conversation.id, tip)
    system = await _system(context, asked, conversation, appending=True)
    told = repeated(line, asked.chat, first_too=asked.mode == "auto")
    if told is not None:
        known = line[:told]
        before = known[: len(known) - len(asked.chat.path)]
        return Plan(Outcome.RETRY, conversation, known[-1], line=tuple(before), system=system)
    on = resumed(line, asked.chat)
    outcome = Outcome.APPEND if on.new else Outcome.RETRY
    return Plan(outcome, conversation, on.parent, on.new, line=on.before, system=system)


async def _reconcile(context: Context, asked: ChatCall, found: Found, conversation: Conversation) -> Plan:
    chat, store = asked.chat, context.store
    place = _settled(asked, found)
    steps: tuple[Step, ...] = ()
    is_tip = found.is_tip
    if place is None:
        tree = Tree(await store.tree(conversation.id))
        match = walk(tree, chat, _named(asked), Effort(context.most))
        if match.is_given_up:
            given_up(context)
        place, steps = match.place, match.steps
        is_tip = not tree.children(place.node)
    elif place.node is not None and not _is_faithful(context, asked, place, place.node):
        path = Tree(await store.path(conversation.id, place.node.id))
        steps = walk(path, chat, _named(asked), Effort(context.most)).steps
    if place.node is None and asked.identity.by_agent:
        return Plan(Outcome.START, _fresh(asked, _of_its_own(context, asked)), None, chat.path.messages)
    plan = _plan(asked, conversation, place, is_tip=is_tip)
    system = await _system(context, asked, conversation, appending=False)
    return replace(plan, steps=steps if _may_restore(asked) else (), system=system)


def _plan(asked: ChatCall, conversation: Conversation, place: Place, *, is_tip: bool) -> Plan:
    """To go on at a place up to which there is nothing to restore."""
    return Plan(
        outcome=outcome_of(asked.chat, place, stored=True, is_tip=is_tip),
        conversation=conversation,
        parent=place.node,
        new=asked.chat.path.messages[place.position :],
    )


def _settled(asked: ChatCall, found: Found) -> Place | None:
    return settled(asked.chat, found.nodes, _named(asked))


def _named(asked: ChatCall) -> frozenset[str]:
    """The ids by which the client calls its newest question and the answer before that."""
    return frozenset(each for each in (asked.identity.parent_id, asked.identity.user_message_id) if each)


async def _system(
    context: Context, asked: ChatCall, conversation: Conversation, *, appending: bool
) -> bytes | None:
    """What stands in for the leading system messages: the first if pinned, the last if none were sent."""
    pinned = context.settings.restore.system_prompt == "pin" and _may_restore(asked)
    if not pinned and not (appending and not asked.chat.system):
        return None
    stored = await context.store.system(conversation.id)
    return stored[0 if pinned else 1] if stored else None


def _is_faithful(context: Context, asked: ChatCall, place: Place, node: Node) -> bool:
    """Is there nothing to restore up to this place?"""
    if not _may_restore(asked):
        return True
    return context.restore.by_hash and node.exact == asked.chat.path.exacts[place.position - 1]


def _may_restore(asked: ChatCall) -> bool:
    """Nothing is ever put into a request that names no conversation, or one that mixes several."""
    return asked.identity.key is not None and asked.identity.kind is Kind.CHAT
