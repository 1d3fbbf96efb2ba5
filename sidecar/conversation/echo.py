"""When is a message that the client re-sent one that we hold?

A client's copy of a message is often not its equal: tool steps flattened into one text, a retrieval
block that came or went, a stopped answer shorter than what had arrived here. Such an *echo* is taken
for the stored message, by these rules and no others; whatever is neither equal nor an echo is the
client's new version, and what could be the echo of two different messages is the echo of none.

White space, line ends, Unicode form (`likeness.folded`) and the times that a client writes into its messages,
or in front of an answer (`likeness.undated`), do not count in what an answer has followed. In the newest
question they do: people edit indentation.

- An assistant message echoes a whole stored answer (one reply, or several with tool messages between)
  when its visible text is the visible text of that answer, be its calls or results written out in it.
- One that makes tool calls echoes a single reply that made these calls, and maybe more: clients drop calls
  that got no result, and the text beside calls. A call is the same by its id, name and arguments alone;
  where none is, its id may be spelled in another way. Of several replies those with the same text.
- An assistant message echoes a *partial* reply, or one that was read to its end without the client, when its
  text is a beginning of it: what the client had seen when it stopped.
- A user message echoes the stored one when one text contains the other, **and** the answer that
  follows matches too (which `reconcile` sees to). So does a result that the client has cleared.
- A system message that the client has moved or left out is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator

from sidecar.conversation.effort import Copy, Effort
from sidecar.conversation.flattened import forms_of_result
from sidecar.conversation.message import SYSTEM_ROLES, are_respelled, call_ids, text_of
from sidecar.conversation.tree import Message, Node, Tree

__all__ = [
    "Step",
    "echoed_answers",
    "echoed_questions",
    "echoed_results",
    "ends_of_answers",
    "with_systems_below",
]

#: The stored nodes that one message of the client stands for, in order; the last one is where it ends.
Step = tuple[Node, ...]

_IN_AN_ANSWER = frozenset(("assistant", "tool", "function"))

# How far into the client's text an answer may have come. Places rather than texts: those would be written
# anew with every reply.
_Spoken = frozenset[int]
_NOTHING: _Spoken = frozenset((0,))
#: More ways than these to read one text are not followed.
_MAX_PLACES = 16
#: Characters by which two times may differ.
_LONGEST_MOMENT = 64

# A way down the tree: the node, and the way to it. A tuple of all nodes is made only where it is wanted.
_Line = tuple[Node, "_Line | None"]


def ends_of_answers(tree: Tree, parent: Node | None, effort: Effort) -> Iterator[Node]:
    """The last reply of every stored answer under `parent`: reply, or reply, tool messages, reply …"""
    waiting = _replies(tree, parent, effort)
    while waiting:
        node = waiting.pop()
        if node.role == "assistant":
            yield node
        waiting.extend(_within_answer(tree, node, effort))


def echoed_answers(tree: Tree, parent: Node | None, sent: Message, effort: Effort) -> list[Step]:
    """The stored answers under `parent` whose echo `sent` is. Raises `TooMuch`."""
    copy = effort.copy(sent)
    text, calls = copy.visible, copy.calls
    if calls:
        return _echoed_calls(tree, parent, copy, effort)
    found = list(_echoed(tree, parent, text, effort)) if text else []
    if not found and copy.flattened is not None:
        said, told = copy.flattened
        replies = _replies(tree, parent, effort)
        found = [(each,) for each in replies if _is_told(each, said, told, effort)]
    if not found and text and copy.undated != text:
        replies = _replies(tree, parent, effort)
        found = [(each,) for each in replies if copy.undated and effort.undated(each) == copy.undated]
    return found


def _echoed_calls(tree: Tree, parent: Node | None, copy: Copy, effort: Effort) -> list[Step]:
    found: list[Step] = []
    others: list[Step] = []
    for reply in _replies(tree, parent, effort):
        effort.look(len(copy.calls))
        if copy.calls <= effort.calls(reply):
            found.append((reply,))
        elif not found and are_respelled(effort.read(reply), copy.sent.fields):
            others.append((reply,))
    found = found or others
    alike = [step for step in found if _told((step[0], None), copy.visible, _NOTHING, effort)[0]]
    return alike or found


def _is_told(reply: Node, said: str, told: str, effort: Effort) -> bool:
    """Does a text say what this reply says, and then tell of the calls that it made, if it made some?"""
    ids = list(call_ids(effort.read(reply)))
    effort.compare(len(told) * len(ids))
    return effort.visible(reply) == said and bool(said or ids) and all(id in told for id in ids)


def echoed_results(tree: Tree, parent: Node, sent: Message, effort: Effort) -> list[Node]:
    """The stored results under `parent` whose echo `sent` may be: of the same call, else with the same text,
    else any, for a client may have cleared them. The answer has to confirm it. Raises `TooMuch`."""
    results = [each for each in tree.children(parent) if each.role == sent.role]
    effort.look(len(results))
    call, text = sent.fields.get("tool_call_id"), effort.copy(sent).asked
    of_call = [each for each in results if effort.read(each).get("tool_call_id") == call]
    return of_call or [each for each in results if effort.asked(each) == text] or results


def with_systems_below(tree: Tree, parent: Node | None, effort: Effort) -> Iterator[Node | None]:
    """The message itself, and the stored system messages directly behind it: those may have moved since."""
    waiting = [parent]
    while waiting:
        node = waiting.pop()
        yield node
        if node is not None:
            children = tree.children(node)
            effort.look(len(children))
            waiting.extend(child for child in children if child.role in SYSTEM_ROLES)


def echoed_questions(tree: Tree, parent: Node | None, sent: Message, effort: Effort) -> list[Step]:
    """The stored user messages under `parent` whose echo `sent` may be; the answer has to confirm it.

    Raises `TooMuch`.
    """
    text = effort.copy(sent).asked
    if not text:
        return []
    children = tree.children(parent)
    effort.look(len(children))
    found: list[Step] = []
    for node in children:
        if node.role == "user":
            stored = effort.asked(node)
            if stored and (effort.contains(stored, text) or _is_redated(node, sent, effort)):
                found.append((node,))
    return found


def _is_redated(node: Node, sent: Message, effort: Effort) -> bool:
    """Is it the same question, with another time written into it?"""
    there, here = effort.asked(node), effort.copy(sent)
    if abs(len(there) - len(here.asked)) > _LONGEST_MOMENT or not here.undated:
        return False
    return effort.undated(node) == here.undated


def _replies(tree: Tree, parent: Node | None, effort: Effort) -> list[Node]:
    children = tree.children(parent)
    effort.look(len(children))
    return [node for node in children if node.role == "assistant"]


def _within_answer(tree: Tree, node: Node, effort: Effort) -> list[Node]:
    children = tree.children(node)
    effort.look(len(children))
    return [child for child in children if child.role in _IN_AN_ANSWER]


def _echoed(tree: Tree, parent: Node | None, text: str, effort: Effort) -> Iterator[Step]:
    """The answers that have this text. Each reply is read once, however many steps an answer has."""
    waiting: list[tuple[_Line, _Spoken]] = [
        ((node, None), _NOTHING) for node in _replies(tree, parent, effort)
    ]
    while waiting:
        line, spoken = waiting.pop()
        if line[0].role == "assistant":
            is_echo, spoken = _told(line, text, spoken, effort)
            if is_echo:
                yield _step(line, effort)
        elif spoken:
            spoken = _with_result(line[0], text, spoken, effort)
        waiting.extend(((child, line), spoken) for child in _within_answer(tree, line[0], effort))


def _step(line: _Line, effort: Effort) -> Step:
    nodes: list[Node] = []
    at: _Line | None = line
    while at is not None:
        nodes.append(at[0])
        at = at[1]
    effort.look(len(nodes))
    return tuple(reversed(nodes))


def _told(line: _Line, text: str, before: _Spoken, effort: Effort) -> tuple[bool, _Spoken]:
    """Has the answer this text? And what it has said, `before` being what it said before its last message."""
    node, above = line
    last = effort.visible(node)
    effort.compare(min(len(last), len(text)))
    spoken = before
    if last:
        spoken = frozenset(at + len(last) for at in before if text.startswith(last, at))
    if above is None and (node.state == "partial" or node.is_seen_in_part):
        return last.startswith(text), spoken
    return text == last or len(text) in spoken, spoken


def _with_result(node: Node, text: str, before: _Spoken, effort: Effort) -> _Spoken:
    """The same behind a result, which stands in the text or does not."""
    if not any(text.startswith('"', at) for at in before):
        return before
    result = text_of(effort.read(node))
    effort.compare(len(result))
    found = set(before)
    for form in forms_of_result(result):
        found |= {at + len(form) for at in before if text.startswith(form, at)}
    return frozenset(sorted(found)[-_MAX_PLACES:])
