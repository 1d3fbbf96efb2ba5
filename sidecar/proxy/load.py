"""What the store knows about a request, for the decision what it is (`exchange/decide.py`).

Usually one look-up; threads, a path or a tree are loaded only where the decision needs them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial

from msgspec.structs import replace

from sidecar.background.large_work import are_large
from sidecar.conversation.echo import echoed_questions
from sidecar.conversation.effort import Effort, TooMuch
from sidecar.conversation.find_by_history import key_of_branch
from sidecar.conversation.identity import conversation_id as named_id
from sidecar.conversation.identity import id_of_its_own
from sidecar.conversation.reconcile import Outcome
from sidecar.conversation.records import Found
from sidecar.conversation.tree import Conversation, Node, Tree
from sidecar.errors import StoreUnavailable
from sidecar.exchange.call import ChatCall, relies_on_calls
from sidecar.exchange.decide import at_hand, decide, hashes
from sidecar.exchange.needs import Decision, Known, NeedPath, NeedSystem, NeedThreads, NeedTree
from sidecar.exchange.open_calls import is_answer
from sidecar.exchange.plan import Plan, Thin, Unrecorded, Whole
from sidecar.proxy import go_on
from sidecar.proxy.dropped_calls import without_dropped
from sidecar.proxy.find_by_history import given_up, recognised
from sidecar.proxy.in_conversation import in_conversation, refuse_unheld
from sidecar.proxy.named_later import named_later
from sidecar.proxy.services import Services
from sidecar.proxy.taken_out import left_of, steps_left
from sidecar.random_ids import token

__all__ = ["load"]

# Seconds that a request waits for a store of which it is known that it fails: one that brings its
# history is answered all the same, one that does not is told at once.
_TIMEOUT_WITH_HISTORY = 0.25
_TIMEOUT_WITHOUT_HISTORY = 1.0
# Seconds that a request that brings its history waits for an answer that its client has left.
_PATIENCE = 1.0


async def load(services: Services, call: ChatCall, *, is_unseen: bool = False) -> Plan:
    """Find out what the request is. Raises `StoreUnavailable` for one that cannot do without the store.

    `is_unseen`: its client has sent the very same before, and has not seen the end of an answer.
    """
    goes_on = call.chat.behind is not None or call.chat.conversation is not None
    if not goes_on and (call.is_temporary or not (call.chat.path.messages or call.chat.prefill)):
        return Unrecorded(Outcome.BYPASS)
    if services.requests.running.unwritten and not goes_on:
        await _left_is_written(services, call)
    if not goes_on and (plan := _at_hand(services, call)) is not None:
        return plan
    must_keep = goes_on or call.brings_no_history or services.settings.history.if_store_fails == "refuse"
    try:
        degraded = services.background.store_health.is_failing and not await _writable_again(
            services, must_keep
        )
        plan = await _in_time(services, call, degraded, is_unseen)
    except StoreUnavailable as error:
        services.background.store_health.report("read", error)
        await services.background.store_health.doubt(_TIMEOUT_WITH_HISTORY)
        if must_keep:
            raise
        return Unrecorded(Outcome.BYPASS, degraded=True)
    if isinstance(plan, Whole) and plan.is_given_up:
        given_up(services)
    return replace(plan, degraded=True) if degraded else plan


async def _left_is_written(services: Services, call: ChatCall) -> None:
    """Let what was left be stored first: who asks again at once may bring back half an answer, which would be
    a branch of its own beside it. Whoever relies on the store waits for that where it asks the store."""
    if not call.brings_no_history and not services.background.store_health.is_failing:
        await services.requests.running.nearly_written(call, _PATIENCE)


def _at_hand(services: Services, call: ChatCall) -> Plan | None:
    """The usual turn, which goes on where this process has recorded the one before."""
    if call.conversation_id is None or call.brings_no_history or services.background.store_health.is_failing:
        return None
    found = services.store.find_cached(call.identity.tenant, (call.conversation_id,), hashes(call))
    return at_hand(call, found, services.requests.rules)


async def _writable_again(services: Services, must_keep: bool) -> bool:
    """Has the store recovered? Raises `StoreUnavailable` if not and the request cannot do without."""
    try:
        await services.background.store_health.probe(
            _TIMEOUT_WITHOUT_HISTORY if must_keep else _TIMEOUT_WITH_HISTORY
        )
    except StoreUnavailable:
        if must_keep:
            raise
        return False
    return True


async def _in_time(services: Services, call: ChatCall, degraded: bool, is_unseen: bool) -> Plan:
    limit = services.settings.timeouts.store
    try:
        async with asyncio.timeout(min(_TIMEOUT_WITHOUT_HISTORY, limit) if degraded else limit):
            behind = call.chat.behind
            if behind is None and not call.brings_no_history:
                return await _load(services, call, is_unseen)
            relied_on = behind.conversation if behind is not None else call.conversation_id
            await services.requests.running.written(relied_on)
            plan = await _load(services, call, is_unseen)
            if relies_on_calls(call.dialect, call.chat):
                await refuse_unheld(services.store, call, plan)
            return plan
    except TimeoutError as error:
        services.background.store_health.timed_out()
        raise StoreUnavailable(f"the store did not answer within `timeouts.store` = {limit:g} s") from error


async def _load(services: Services, call: ChatCall, is_unseen: bool) -> Plan:
    if call.chat.behind is not None:
        return await go_on.behind(services.store, call, call.chat.behind)
    if call.chat.conversation is not None:
        return await in_conversation(services.store, call, call.chat.conversation)
    ids = await _ids(services, call)
    if ids is None:
        return Unrecorded(Outcome.BYPASS)
    found = await services.store.find(call.identity.tenant, ids, hashes(call)) if ids else Found()
    if found.conversation is None:
        found = await named_later(services, call)
    at = 1 if call.identity.by_agent and ids else 0  # the first one has the name itself
    known = Known(
        found,
        _fresh(call, ids[at] if ids else "conv_" + token(16).hex()),
        _fresh(call, ids[0]) if at else None,
        services.requests.running.others(call),
        is_unseen,
    )
    conversation = found.conversation or known.fresh
    is_large = call.chat.is_large
    begin = partial(decide, call, known, services.requests.rules)
    plan = await _decided(services, conversation.id, begin, is_large)
    if isinstance(plan, Whole) and call.identity.key is None:
        return await _with_session(services, call, plan)
    if isinstance(plan, Whole) and plan.steps:
        steps = await without_dropped(services.store, conversation, call.chat.path, plan.steps)
        if services.requests.responses is not None:
            steps = await steps_left(services.store, conversation, steps)
        return replace(plan, steps=steps)
    if isinstance(plan, Thin) and services.requests.responses is not None:
        return await left_of(services.store, plan, call.chat.path.messages)
    return plan


async def _with_session(services: Services, call: ChatCall, plan: Whole) -> Whole:
    """With the session of its branch: two users whose chats began alike share none, nor does an edit go on in
    that of what it has replaced. The branch is known by its first message."""
    if plan.parent is None:
        return plan
    conversation, tenant, stands = plan.conversation, call.identity.tenant, plan.parent
    is_question = plan.is_branch and plan.new[0].role == "user"
    tree = Tree(await services.store.tree(conversation.id)) if is_question else None
    again = _asked_again(services, plan, stands, tree) if tree is not None else None
    goes_on = tree is not None and _is_unanswered(tree, stands)
    if plan.is_branch and again is None and not goes_on:
        branch = call.chain.message_id(stands, plan.new[0].digest)
    else:
        key = key_of_branch(call.chain, (again or stands).id)
        found = await services.store.find(tenant, [conversation.id], [key])
        if not found.nodes:
            return plan
        branch = found.nodes[key][-1].id
    session = named_id(services.store.secret, tenant, f"{conversation.id}\n{branch.hex()}")
    return replace(plan, branch=branch, session=session)


def _asked_again(services: Services, plan: Whole, parent: Node, tree: Tree) -> Node | None:
    """The question that this one repeats, but for white space, say, or documents that came or went."""
    try:
        asked = echoed_questions(tree, parent, plan.new[0], Effort(services.requests.rules.effort))
    except TooMuch:
        return None
    return asked[-1][0] if asked else None


def _is_unanswered(tree: Tree, question: Node) -> bool:
    """Does no client hold an answer to a question, nor to what was asked behind it?"""
    waiting = [question]
    while waiting:
        behind = tree.children(waiting.pop())
        if any(each.source == "upstream" and (is_answer(each) or tree.children(each)) for each in behind):
            return False
        waiting += behind
    return True


async def _decided(
    services: Services, conversation: str, begin: Callable[[], Decision], is_large: bool
) -> Plan:
    """Fetch what the decision needs until it is one."""
    store = services.store
    decision = await _step(services, is_large, begin)
    while True:
        match decision:
            case NeedThreads(given):
                threads = await store.threads(conversation)
                decision = await _step(services, is_large, partial(given, threads))
            case NeedTree(given):
                nodes = await store.tree(conversation)
                step = partial(_in_tree, given, nodes)
                decision = await _step(services, is_large or are_large(nodes), step)
            case NeedPath(node, given):
                nodes = await store.path(conversation, node)
                decision = await _step(services, is_large or are_large(nodes), partial(given, nodes))
            case NeedSystem(given):
                decision = given(await store.system(conversation))
            case plan:
                return plan


async def _step(services: Services, is_large: bool, step: Callable[[], Decision]) -> Decision:
    return await services.background.large_work.do("decide", step) if is_large else step()


def _in_tree(given: Callable[[Tree], Decision], nodes: Sequence[Node]) -> Decision:
    return given(Tree(nodes))


async def _ids(services: Services, call: ChatCall) -> list[str] | None:
    """Under which ids the conversation may be kept, the first for a new one; None to keep nothing."""
    key = call.identity.key
    if key is not None and call.conversation_id is not None:
        # A client may also call a conversation that began without an id by the id that it was told.
        names = [call.conversation_id, key]
        return [_of_its_own(services, call, key), *names] if call.identity.by_agent else names
    chat, fallback = call.chat, services.settings.identity.fallback
    if fallback == "none":
        return None
    if fallback == "hash":
        said = b"".join(each.digest for each in (*chat.system, *chat.path.messages[:1]))
        opening = call.chain.hash(None, said).hex()
        return ["api-" + named_id(services.store.secret, call.identity.tenant, opening).removeprefix("conv_")]
    known = await recognised(services, call)
    return [known] if known else []


def _of_its_own(services: Services, call: ChatCall, key: str) -> str:
    """The id of a chat that is not the first under an agent's header, which may name a login that has many:
    told apart by their first messages, they must not become one session upstream."""
    root = call.chat.path.hashes[0] if call.chat.path.hashes else b""
    return id_of_its_own(services.store.secret, call.identity.tenant, key, root)


def _fresh(call: ChatCall, id: str) -> Conversation:
    now = time.time()
    return Conversation(id, call.identity.tenant, call.identity.key, created_at=now, updated_at=now)
