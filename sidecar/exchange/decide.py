"""Whole, thin or alone? What a request is, decided from what it holds and from what is stored.

The evidence, in this order: what the client says; what shows that it brings its history (its front end, or
stored messages at its beginning); results of calls that are open in one thread; and, last, that it brings
nothing but new words for a thread whose prompt, tools and model it has. Whatever is left is *alone*: it goes
as it came, under a root of its own.

Nothing here reads a store. Where more has to be known, the answer is a *need*: whoever can, fetches it and
hands it to `given`, which decides on. Most requests need nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sidecar.conversation.likeness import are_near_questions
from sidecar.conversation.message import visible_text
from sidecar.conversation.reconcile import (
    Outcome,
    Place,
    places,
)
from sidecar.conversation.records import Found, Thread
from sidecar.conversation.tree import Node, Tree
from sidecar.exchange.at_once import sent_at_once
from sidecar.exchange.call import ChatCall
from sidecar.exchange.needs import Case, Decision, Known, NeedThreads, NeedTree, Rules, case_of
from sidecar.exchange.open_calls import results, with_open_calls
from sidecar.exchange.plan import RecordedPlan, Whole
from sidecar.exchange.thin import behind, in_thread, said_thin
from sidecar.exchange.threads import (
    fitting,
    holds_a_turn,
    names_of_tools,
    or_main_thread,
)
from sidecar.exchange.whole import alone, is_faithful, match_of, matched, onward, whole

__all__ = ["at_hand", "decide", "hashes"]


def hashes(call: ChatCall) -> list[bytes]:
    """Where the request may continue, the deepest first."""
    told = call.chat.path.hashes
    return [told[position - 1] for position in places(call.chat.path)]


def at_hand(call: ChatCall, found: Found | None, rules: Rules) -> RecordedPlan | None:
    """What to do with the usual turn, which goes on where this process has recorded the one before; None for
    any other. What relies on the store has to find what another process recorded just now."""
    if found is None or found.conversation is None or call.brings_no_history or rules.pins:
        return None
    case = case_of(call, Known(found, found.conversation), rules, found.conversation)
    place = case.place
    if place is None or place.node is None or not _shows_history(call, place):
        return None
    return onward(case, place, found.is_tip) if is_faithful(case, place, place.node) else None


def decide(call: ChatCall, known: Known, rules: Rules) -> Decision:
    """What to do with a request, or what has to be known first."""
    conversation = known.found.conversation
    if conversation is None:
        return Whole(Outcome.START, known.fresh, None, call.chat.path.messages)
    case = case_of(call, known, rules, conversation)
    if call.mode == "append" and call.is_named and call.chat.path.messages:
        return NeedThreads(partial(said_thin, case))
    if _shows_history(call, case.place):
        return whole(case)
    return NeedThreads(partial(_by_evidence, case))


def _shows_history(call: ChatCall, place: Place | None) -> bool:
    """Does it bring its history, as far as the client and the hashes of its messages tell?"""
    if not call.is_named or call.mode == "full" or call.identity.sends_history:
        return True
    if call.identity.by_agent:  # but for results alone, whose calls no history of its own holds
        return call.chat.path.last_answer > 0 or not results(call.chat.path.messages)
    # It begins with a stored root and goes on from it.
    return place is not None and place.node is not None and len(call.chat.path.messages) > 1


def _by_evidence(case: Case, threads: Sequence[Thread]) -> Decision:
    path = case.call.chat.path
    if not case.conversation.full:
        threads = or_main_thread(threads, case.conversation)
    if path.last_answer or case.call.chat.prefill or results(path.messages):
        return NeedTree(partial(_by_tree, case, threads))
    return _by_thread(case, threads, None)


def _by_tree(case: Case, threads: Sequence[Thread], tree: Tree) -> Decision:
    path = case.call.chat.path
    match = match_of(case, tree)
    place = match.place
    if match.is_given_up or (place.node is not None and (place.anchored or holds_a_turn(path.messages))):
        return matched(case, tree, match)
    thread = with_open_calls(tree, threads, results(path.messages))
    if thread is not None and _may_be_thin(case, threads, thread):
        return behind(case, threads, thread, tree, partial(in_thread, case, thread, by_results=True))
    return _by_thread(case, threads, tree)


def _may_be_thin(case: Case, threads: Sequence[Thread], thread: Thread) -> bool:
    known_as_whole = any(each.is_whole for each in threads) or (not threads and case.conversation.full)
    return thread.is_thin or not known_as_whole


def _by_thread(case: Case, threads: Sequence[Thread], tree: Tree | None) -> Decision:
    """Is there one thread whose new words these may be?"""
    group = fitting(threads, case.call)
    thin = [each for each in group if each.is_thin]
    after: Sequence[Node] = ()
    if thin:
        thread = thin[0]
    elif len(group) == 1:
        thread = group[0]
    elif 1 < len(group) <= _FEW_ROOTS:
        if tree is None:
            return NeedTree(partial(_by_thread, case, threads))
        several = _of_several(group, tree)
        if several is None:
            return alone(case)
        thread, after = several
    else:
        return alone(case)
    if thread.head is None or not _may_be_thin(case, threads, thread):
        return alone(case)
    if not _has_its_tools(case.call, thread):
        return alone(case)
    return behind(case, threads, thread, tree, partial(in_thread, case, thread, after=after))


#: More roots under one prompt, none of which was gone on from, are parallel workers.
_FEW_ROOTS = 4


def _of_several(group: Sequence[Thread], tree: Tree) -> tuple[Thread, Sequence[Node]] | None:
    """Of several roots under one prompt the newest, if they are one question, asked again or edited; of two
    that a user sent at once the first, and what comes after it; None for parallel workers."""
    by_id = {each.id: each for each in tree.nodes}
    roots = [by_id[each.root] for each in group if each.root in by_id]
    answered = next((each for each in group if each.is_answered), None)
    if not roots or answered is None:
        return None
    questions = [visible_text(each.fields) for each in roots]
    if all(are_near_questions(questions[0], each) for each in questions[1:]):
        return answered, ()
    return sent_at_once(group, tree)


def _has_its_tools(call: ChatCall, thread: Thread) -> bool:
    own = names_of_tools(call)
    return not own or not thread.tools or not set(own).isdisjoint(thread.tools)
