"""What clients saw finish, held against what the store has. Rule: a fault is named, and nothing else counts.

A reply carries a mark of its own, `reply-RUN-NUMBER`, in its text or in the ids of its tool calls, so
that it is recognised wherever it turns up.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MARK = re.compile(r"reply-[0-9a-f]{8}-\d+")


@dataclass(frozen=True)
class Seen:
    """A reply whose end a client saw, and the messages before it as far as that client knows them."""

    key: str
    before: tuple[dict[str, Any], ...]
    message: dict[str, Any]
    whole: bool  # `before` is all of the path, as with a client that sends its full history
    #: Over the Responses API: its id, and the response in the bytes in which it came.
    response: tuple[str, bytes] | None = None


@dataclass(frozen=True)
class Fault:
    """`kind`: missing, doubled or broken."""

    kind: str
    what: str


def mark_of(message: dict[str, Any]) -> str | None:
    found = MARK.search(json.dumps([message.get("content"), message.get("tool_calls")]))
    return found[0] if found and message.get("role") == "assistant" else None


def said(message: dict[str, Any]) -> tuple[Any, ...]:
    """What of a message has to be the same on both sides."""
    calls = [
        (call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in message.get("tool_calls") or ()
    ]
    names = ("role", "reasoning_content", "tool_call_id")
    return (message.get("content") or "", calls, *(message.get(name) for name in names))


def faults(
    seen: Sequence[Seen], lines: Sequence[dict[str, Any]], *, is_disturbed: bool = False
) -> list[Fault]:
    """Everything that is wrong with exported conversations, given what had been seen before.

    `is_disturbed`: upstreams failed and clients left, so that a message may be unanswered or not complete.
    """
    found = [fault for line in lines for fault in _broken_trees(line, is_disturbed)]
    nodes = {(line["conversation"]["key"], node["id"]): node for line in lines for node in line["messages"]}
    places: dict[str, list[tuple[str, str]]] = {}
    for place, node in nodes.items():
        if mark := mark_of(node["message"]):
            places.setdefault(mark, []).append(place)
    for each in seen:
        found += _faults_of_reply(each, places, nodes)
    return found


def _broken_trees(line: dict[str, Any], is_disturbed: bool) -> list[Fault]:
    """Orphans, messages that are there twice, and turns of which only a part was kept."""
    key, messages = line["conversation"]["key"], line["messages"]
    broken = [f"{id} is there {n} times" for id, n in Counter(m["id"] for m in messages).items() if n > 1]
    known = {None}
    for message in messages:
        if message["parent"] not in known:
            broken.append(f"{message['id']} has no parent {message['parent']}")
        known.add(message["id"])
        if message["state"] != "complete" and not is_disturbed:
            broken.append(f"{message['id']} is {message['state']}")
    parents = {message["parent"] for message in messages}
    broken += [
        f"nothing answers {message['id']}"
        for message in messages
        if message["id"] not in parents and message["source"] != "upstream" and not is_disturbed
    ]
    return [Fault("broken", f"{key}: {what}") for what in broken or ([] if messages else ["it is empty"])]


def _faults_of_reply(
    seen: Seen, places: dict[str, list[tuple[str, str]]], nodes: dict[tuple[str, str], dict[str, Any]]
) -> list[Fault]:
    mark = mark_of(seen.message)
    found = places.get(mark or "", [])
    if not found:
        return [Fault("missing", f"{seen.key}: {mark}")]
    if len(found) > 1:
        return [Fault("doubled", f"{seen.key}: {mark} at {found}")]
    key, id = found[0]
    path = _path(nodes, key, id)
    node, before = path[-1], [said(each["message"]) for each in path[:-1]]
    expected = [said(message) for message in seen.before]
    wrong = {
        "is kept under another key": key != seen.key,
        "is not what the client saw": said(node["message"]) != said(seen.message),
        "did not come from the upstream": node["source"] != "upstream",
        "follows another message": before[-1:] != expected[-1:],
        "has another history": before != expected if seen.whole else not _holds(before, expected),
    }
    return [Fault("broken", f"{seen.key}: {mark} {what}") for what, is_so in wrong.items() if is_so]


def _path(nodes: dict[tuple[str, str], dict[str, Any]], key: str, id: str) -> list[dict[str, Any]]:
    line: list[dict[str, Any]] = []
    at = nodes.get((key, id))
    while at is not None and len(line) < len(nodes):  # broken parents may go round in a circle
        line.append(at)
        at = nodes.get((key, at["parent"]))
    return line[::-1]


def _holds(path: list[Any], wanted: list[Any]) -> bool:
    """Are the wanted ones on the path, in this order? Others may stand between them."""
    rest = iter(path)
    return all(any(each == one for one in rest) for each in wanted)
