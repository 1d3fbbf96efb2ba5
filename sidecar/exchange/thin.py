"""New words behind the head of a thread: where they go on, and what of them is there already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from sidecar.conversation.likeness import are_near_questions
from sidecar.conversation.message import visible_text
from sidecar.conversation.reconcile import Outcome
from sidecar.conversation.records import Thread
from sidecar.conversation.tree import Message, Node, Tree
from sidecar.exchange.at_once import moved_behind
from sidecar.exchange.call import ChatCall
from sidecar.exchange.needs import Case, Decision, NeedPath, NeedSystem
from sidecar.exchange.open_calls import is_answer
from sidecar.exchange.plan import RecordedPlan, Thin
from sidecar.exchange.threads import (
    fitting,
    or_main_thread,
    same_prompt,
    system_of,
)
from sidecar.exchange.whole import alone, pinned

__all__ = ["behind", "in_thread", "said_thin"]


#: With more at once it is no chat of one user; each is compared.
_MAX_RUNNING = 16


def said_thin(case: Case, threads: Sequence[Thread]) -> Decision:
    """The client says that it sends only what is new: to the thread of its prompt, else to the newest."""
    known = or_main_thread(threads, case.conversation)
    with_head = [each for each in known if each.head is not None]
    chosen = [each for each in fitting(with_head, case.call) if each.is_answered] or with_head
    if not chosen:
        return alone(case)
    thread = next((each for each in chosen if each.is_thin), chosen[0])
    return behind(case, threads, thread, None, partial(in_thread, case, thread, is_said=True))


def behind(
    case: Case,
    threads: Sequence[Thread],
    thread: Thread,
    tree: Tree | None,
    go_on: Callable[[Sequence[Node]], Decision],
) -> Decision:
    """Go on behind the newest message of a thread. That is not its `head` where its client has sent its whole
    history meanwhile: of such a request the thread keeps nothing, the tip of the conversation alone moves."""
    tip, head = case.conversation.tip, thread.head
    if tree is not None and head is not None:
        head = _grown(tree, head)
    if tip is None or any(tip == each.head for each in threads):
        return _on_path(tree, head, go_on)

    def chosen(line: Sequence[Node]) -> Decision:
        is_behind = any(each.id == head for each in line)  # else another thread's, or read before the head
        return go_on(line) if is_behind else _on_path(tree, head, go_on)

    return _on_path(tree, tip, chosen)


def _grown(tree: Tree, head: bytes) -> bytes:
    """The newest message behind a head. There is one only where a turn has been stored after the threads were
    read, and before the tree was: of a client, say, that left and sends its results again."""
    node = next((each for each in tree.nodes if each.id == head), None)
    while node is not None and (
        behind_it := [each for each in tree.children(node) if each.state != "failed"]
    ):
        node = behind_it[-1]
    return node.id if node is not None else head


def _on_path(tree: Tree | None, id: bytes | None, go_on: Callable[[Sequence[Node]], Decision]) -> Decision:
    """Go on with the messages from the root to a node: of the tree, or of the store if that is not known."""
    if id is None:
        return go_on(())
    return NeedPath(id, go_on) if tree is None else go_on(tree.line(id))


def in_thread(
    case: Case,
    thread: Thread,
    line: Sequence[Node],
    *,
    is_said: bool = False,
    by_results: bool = False,
    after: Sequence[Node] = (),
) -> Decision:
    """As new words behind this line, the path to the head of a thread, if they are.

    `after`: what was said at the same time under another root, and comes after it.
    """
    messages = case.call.chat.path.messages
    if not line:
        return alone(case)
    if after:
        moved = moved_behind(case.call.chain, line[-1], after)
        if any(_repeats(case.call, each) for each in (line[0], moved[0])):
            return alone(case)
        return _with_moved(moved, in_thread(case, thread, (*line, *moved)))
    start = _newest_turn(line)
    again = _overlap(line, start, messages)
    if is_said and (longer := _overlap(line, 0, messages)).at < start and _end(longer) == len(line):
        again = longer  # a client that says so, and brings its history all the same
    new = messages[again.count :]
    if not is_said and not by_results and not _may_go_on(case, thread, line, new):
        return alone(case)
    end = _end(again)
    if not new:
        return _repeated(case, thread, line, again)
    parent = line[-1]
    if again.count and new[0].role == "tool" and _are_unanswered(line[end:]):
        parent = line[end - 1]
    elif again.count and end < len(line):  # it goes on from an inner message: all of it is said anew
        again, new = _Overlap(start, 0), messages
    before = line if not again.count else line[: again.at]
    return _thin(case, thread, Outcome.APPEND, parent, tuple(new), before)


def _with_moved(moved: tuple[Node, ...], decision: Decision) -> Decision:
    """The same, with what has to stand in the thread before it."""
    if isinstance(decision, NeedSystem):
        return NeedSystem(lambda stored: _with_moved(moved, decision.given(stored)))
    return msgspec.structs.replace(decision, moved=moved) if isinstance(decision, Thin) else decision


def _are_unanswered(behind: Sequence[Node]) -> bool:
    """Are these results that nobody answered? Those of a request then take their place."""
    return all(each.role == "tool" or (each.role == "assistant" and not is_answer(each)) for each in behind)


def _may_go_on(case: Case, thread: Thread, line: Sequence[Node], new: Sequence[Message]) -> bool:
    """Are these new words of a user, for a thread of a client that sends only such?"""
    return all(each.role == "user" for each in new) and (thread.is_thin or _is_first(case, thread, line))


def _repeated(case: Case, thread: Thread, line: Sequence[Node], again: _Overlap) -> Decision:
    """It is word for word what was asked last: asked again, or said again?"""
    call, end = case.call, _end(again)
    behind = line[end:]
    if call.chat.prefill is not None and not again.count and line[-1].role == "assistant" and len(line) > 1:
        return _thin(case, thread, Outcome.EXTEND, line[-2], (), line[:-1])
    unanswered = not behind or behind[-1].state != "complete" or behind[-1].role != "assistant"
    # Results are given once, and a prefill goes on from what is there.
    is_once = call.chat.prefill is not None or all(each.role != "user" for each in call.chat.path.messages)
    if again.count and (unanswered or is_once or call.is_sent_again or case.known.is_unseen):
        outcome = Outcome.EXTEND if call.chat.prefill is not None else Outcome.RETRY
        return _thin(case, thread, outcome, line[end - 1], (), line[: again.at])
    return _thin(case, thread, Outcome.APPEND, line[-1], call.chat.path.messages, line)


def _thin(
    case: Case,
    thread: Thread,
    outcome: Outcome,
    parent: Node,
    new: tuple[Message, ...],
    line: Sequence[Node],
) -> Decision:
    root = thread.root or line[0].id if line else thread.root or parent.id
    plan = Thin(outcome, case.conversation, parent, new, tuple(line), root=root)
    if case.call.chat.system:
        return NeedSystem(partial(pinned, case, plan)) if case.rules.pins else plan
    if not thread.root:
        return NeedSystem(partial(_with_last_prompt, case, plan))
    plan = msgspec.structs.replace(plan, system=thread.system)
    return NeedSystem(partial(pinned, case, plan)) if case.rules.pins else plan


def _with_last_prompt(case: Case, plan: Thin, stored: tuple[bytes, bytes] | None) -> RecordedPlan:
    """Without a prompt of its own it gets the last of the conversation, where its thread's is not known."""
    plan = msgspec.structs.replace(plan, system=stored[1] if stored else None)
    return pinned(case, plan, stored) if case.rules.pins else plan


def _newest_turn(line: Sequence[Node]) -> int:
    """Where the newest turn of a line begins: at its question, or the first of several in a row."""
    at = len(line)
    while at and line[at - 1].role != "user":
        at -= 1
    while at > 1 and line[at - 2].role == "user":
        at -= 1
    return max(0, at - 1)


class _Overlap(msgspec.Struct, frozen=True):
    """So many messages at the beginning of a request are those of a line from `at` on."""

    at: int
    count: int


def _end(overlap: _Overlap) -> int:
    return overlap.at + overlap.count


def _overlap(line: Sequence[Node], start: int, messages: Sequence[Message]) -> _Overlap:
    """The longest front of the request that repeats a part of the line behind `start`; the latest such part.

    In time that grows with the two alone, by Knuth, Morris and Pratt: a turn may say the same over and over.
    """
    sent = [each.digest for each in messages]
    borders = _borders(sent)
    best, count = _Overlap(start, 0), 0
    for at in range(start, len(line)):
        if count == len(sent):
            count = borders[count - 1] if count else 0
        while count and sent[count] != line[at].digest:
            count = borders[count - 1]
        if sent and sent[count] == line[at].digest:
            count += 1
        if count and count >= best.count:
            best = _Overlap(at - count + 1, count)
    return best


def _borders(sent: Sequence[bytes]) -> list[int]:
    """For each front of it the longest shorter front that is also its end."""
    borders, count = [0] * len(sent), 0
    for at in range(1, len(sent)):
        while count and sent[at] != sent[count]:
            count = borders[count - 1]
        count += sent[at] == sent[count]
        borders[at] = count
    return borders


def _is_first(case: Case, thread: Thread, line: Sequence[Node]) -> bool:
    """May these be the first new words behind a root from which nobody went on yet? Then more has to hold."""
    call = case.call
    if thread.model != call.chat.model:
        return False
    if _repeats(call, line[0]):
        return False
    others = case.known.running
    return len(others) <= _MAX_RUNNING and not any(
        same_prompt(each.system, system_of(call)) and not each.is_same(call) for each in others
    )


def _repeats(call: ChatCall, question: Node) -> bool:
    """Does it ask this once more, or nearly?"""
    newest = visible_text(call.chat.path.messages[-1].fields) if len(call.chat.path) else ""
    return are_near_questions(newest, visible_text(question.fields))
