"""Where the history continues that a request brings, or that it does not continue at all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from sidecar.conversation.echo import Step
from sidecar.conversation.effort import Effort
from sidecar.conversation.reconcile import (
    Match,
    Outcome,
    Place,
    called_place,
    joined_behind,
    outcome_of,
    walk,
)
from sidecar.conversation.tree import Message, Node, Tree
from sidecar.exchange.call import ChatCall
from sidecar.exchange.needs import Case, Decision, NeedPath, NeedSystem, NeedTree
from sidecar.exchange.plan import RecordedPlan, Thin, Whole
from sidecar.exchange.threads import (
    same_prompt,
    system_of,
)

__all__ = ["alone", "is_faithful", "match_of", "matched", "onward", "pinned", "whole"]


def whole(case: Case) -> Decision:
    """Where the history continues that the request brings."""
    place, known = case.place, case.known
    if place is None:
        return NeedTree(partial(_whole_by_content, case))
    if place.node is None and case.call.is_named and case.call.identity.parent_id:
        return NeedTree(partial(_whole_by_name, case, case.call.identity.parent_id))
    if place.node is not None and not is_faithful(case, place, place.node):
        return NeedPath(place.node.id, partial(_whole_on_path, case, place))
    return _settled_whole(case, place, (), known.found.is_tip)


def _whole_on_path(case: Case, place: Place, path: Sequence[Node]) -> Decision:
    """Something on the path to the place may have to be restored: what stands for which message?"""
    steps = walk(Tree(path), case.call.chat.path, case.named, Effort(case.rules.effort)).steps
    return _settled_whole(case, place, steps, case.known.found.is_tip)


def _whole_by_content(case: Case, tree: Tree) -> Decision:
    return matched(case, tree, match_of(case, tree))


def _whole_by_name(case: Case, parent_id: str, tree: Tree) -> Decision:
    """It brings no history, and says which answer it follows: its client has replaced all before it."""
    place = called_place(tree, case.call.chat.path, parent_id, case.named, Effort(case.rules.effort))
    return matched(case, tree, Match(place, ()))


def match_of(case: Case, tree: Tree) -> Match:
    """Where the request's history is stored: all of it, or what its client has kept behind a new front.

    For the latter nothing is put in, so that no step is told. Who names no chat has to bring all of it.
    """
    path, limits = case.call.chat.path, case.rules.effort
    match = walk(tree, path, case.named, Effort(limits))
    if match.place.node is not None or match.is_given_up or not case.call.is_named:
        return match
    return Match(joined_behind(tree, path, case.named, Effort(limits)), ())


def matched(case: Case, tree: Tree, match: Match) -> Decision:
    """The same, once it has been looked for in the tree by its content."""
    place = match.place
    is_tip = not tree.children(place.node)
    return _settled_whole(case, place, match.steps, is_tip, is_given_up=match.is_given_up)


def _settled_whole(
    case: Case, place: Place, steps: tuple[Step, ...], is_tip: bool, *, is_given_up: bool = False
) -> Decision:
    call = case.call
    if place.node is None and call.identity.by_agent and case.known.of_its_own is not None:
        return Whole(Outcome.START, case.known.of_its_own, None, call.chat.path.messages)
    plan = msgspec.structs.replace(
        onward(case, place, is_tip),
        steps=steps if call.is_named else (),
        is_given_up=is_given_up,
        root=_root_of(place, steps),
        brought=_brought(call, place, steps),
    )
    if not (case.rules.pins and call.is_named and call.chat.system):
        return plan
    return NeedSystem(partial(pinned, case, plan))


def _root_of(place: Place, steps: tuple[Step, ...]) -> bytes | None:
    """The stored root with which the request begins; None if it was not looked for, or the client has cut off
    its front: an echo of what is left of it leads to its place as well."""
    if not steps or not place.anchored:
        return None
    first = steps[0][0]
    return first.id if first.parent is None else None


def _brought(call: ChatCall, place: Place, steps: tuple[Step, ...]) -> int | None:
    """How many messages it brings, if the stored front that stands before the place is not among them.

    Where its messages were compared with the stored ones, the first step tells; else the hash does. A request
    that names no chat may have the front and read otherwise: of that no step is told.
    """
    if place.node is None or not call.is_named:
        return None
    path = call.chat.path
    if steps:
        has_front = any(node.parent is None for node in steps[0])
    else:
        has_front = place.position > 0 and path.hashes[place.position - 1] == place.node.hash
    return None if has_front else len(path.messages)


def onward(case: Case, place: Place, is_tip: bool) -> Whole:
    """To go on at a place up to which there is nothing to restore."""
    chat = case.call.chat
    extends = chat.prefill is not None
    return Whole(
        outcome=outcome_of(chat.path, place, extends=extends, stored=True, is_tip=is_tip),
        conversation=case.conversation,
        parent=place.node,
        new=chat.path.messages[place.position :],
        is_branch=not is_tip and not case.call.is_named and _is_turned(place, chat.path.messages),
    )


def _is_turned(place: Place, messages: Sequence[Message]) -> bool:
    """Is there something new behind it, other than an answer that the client tells changed?"""
    position = place.position
    return place.node is not None and position < len(messages) and messages[position].role != "assistant"


def pinned(case: Case, plan: Whole | Thin, stored: tuple[bytes, bytes] | None) -> RecordedPlan:
    """With the first prompt of the conversation, where the request's is the same but for a clock."""
    if stored is None:
        return plan
    own = system_of(case.call) or plan.system
    if own is not None and not same_prompt(stored[0], own):
        return plan
    return msgspec.structs.replace(plan, system=stored[0])


def is_faithful(case: Case, place: Place, node: Node) -> bool:
    """Is there nothing to restore up to this place?"""
    if not case.call.is_named:
        return True
    return case.rules.by_hash and node.exact == case.call.chat.path.exacts[place.position - 1]


def alone(case: Case) -> Decision:
    """It goes as it came, under a root of its own; a root that is there already is asked again."""
    call, place = case.call, case.place
    if place is not None and (place.node is not None or call.identity.by_agent):
        return _settled_whole(case, place, (), case.known.found.is_tip)
    outcome = Outcome.EXTEND if call.chat.prefill else Outcome.ALONE
    return Whole(outcome, case.conversation, None, call.chat.path.messages)
