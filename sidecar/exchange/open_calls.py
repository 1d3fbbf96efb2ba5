"""In which thread are the calls open whose results a request brings?

A call is open until an answer stands behind its result: an agent whose answer broke off may run its tools
again, and the new results take the place of the old ones.
"""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.conversation.records import Thread
from sidecar.conversation.tree import Message, Node, Tree
from sidecar.prompt.sendable import has_words

__all__ = ["is_answer", "results", "with_open_calls"]


def is_answer(node: Node) -> bool:
    """Has its client seen the end of it, and does it say anything?"""
    return node.state == "complete" and not node.is_seen_in_part and has_words(node.fields)


def results(messages: Sequence[Message]) -> frozenset[str]:
    """The ids of the calls whose results it brings."""
    return frozenset(str(each.fields.get("tool_call_id")) for each in messages if each.role == "tool")


def with_open_calls(tree: Tree, threads: Sequence[Thread], wanted: frozenset[str]) -> Thread | None:
    """The thread in which these calls are open; None if there is none, or more than one."""
    if not wanted:
        return None
    root_of: dict[bytes, bytes] = {}
    roots: set[bytes] = set()
    for node in tree.nodes:  # parents before children
        root = root_of[node.id] = root_of.get(node.parent or b"", node.id)
        if node.role == "assistant" and b'"tool_calls"' in node.body and _has_open(tree, node, wanted):
            roots.add(root)
    if len(roots) != 1:
        return None
    (root,) = roots
    return next((each for each in threads if each.root in (root, b"")), None)


def _has_open(tree: Tree, node: Node, wanted: frozenset[str]) -> bool:
    """Does a reply make one of these calls, and is it without a result that was answered?

    Some upstreams send calls without an id (llama.cpp #11992), for which clients make one up.
    """
    made = node.fields.get("tool_calls")
    calls = [each for each in made if isinstance(each, dict)] if isinstance(made, list) else []
    if not calls:
        return False
    named = {str(id) for each in calls if (id := each.get("id")) != "" and isinstance(id, str | int)}
    if len(named) == len(calls) and wanted.isdisjoint(named):
        return False
    closed = {str(each.fields.get("tool_call_id")) for each in _answered(tree, node)}
    nameless = len(calls) - len(named) - len(closed - named)
    return bool((wanted & named) - closed) or (nameless > 0 and bool(wanted - named - closed))


def _answered(tree: Tree, node: Node) -> list[Node]:
    """The results behind a reply behind which an answer stands."""
    behind: list[Node] = []
    waiting = [node]
    while waiting:
        new = [child for child in tree.children(waiting.pop()) if child.role == "tool"]
        behind += new
        waiting += new
    answered: set[bytes] = set()
    for each in reversed(behind):  # children before parents
        others = (child for child in tree.children(each) if child.role != "tool")
        below = (child.id in answered for child in tree.children(each))
        if any(below) or any(_leads_to_an_answer(tree, child) for child in others):
            answered.add(each.id)
    return [each for each in behind if each.id in answered]


def _leads_to_an_answer(tree: Tree, node: Node) -> bool:
    waiting = [node]
    while waiting:
        each = waiting.pop()
        if each.role == "assistant" and is_answer(each):
            return True
        waiting += tree.children(each)
    return False
