"""The threads of a conversation: to which of them may a request belong, and what is kept of one.

A thread is a root with its prompt and what is under it. Two requests are of one thread only if their prompts,
the leading system messages, are equal or nearly so; having none counts as a prompt of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from sidecar.conversation.exchange_record import name_of, tools_of
from sidecar.conversation.likeness import are_near_prompts
from sidecar.conversation.message import call_ids, visible_text
from sidecar.conversation.records import Thread
from sidecar.conversation.tree import Conversation, Message, Node
from sidecar.exchange.call import ChatCall
from sidecar.exchange.plan import RecordedPlan, Thin

__all__ = [
    "Running",
    "fitting",
    "holds_a_turn",
    "names_of_tools",
    "or_main_thread",
    "prompt_text",
    "running",
    "same_prompt",
    "system_of",
    "talks_apart",
    "thread_after",
]

#: The newest ones; each that is compared takes what reading it takes.
_MAX_PROMPTS = 8
#: A client that sends its whole history has shown it after so many questions.
_QUESTIONS_UNTIL_SHOWN = 2

_read_list = msgspec.json.Decoder(list[Any]).decode


class _Function(msgspec.Struct):
    name: Any = None


class _Tool(msgspec.Struct):
    function: _Function


_read_tools = msgspec.json.Decoder(list[msgspec.Raw]).decode
_read_tool = msgspec.json.Decoder(_Tool).decode


class Running(msgspec.Struct, frozen=True):
    """A request that is being answered: its prompt, and what it asks."""

    system: bytes | None
    path: bytes

    def is_same(self, call: ChatCall) -> bool:
        """Is it this very request, sent twice?"""
        return self == running(call)


def running(call: ChatCall) -> Running:
    """What others have to know of a request while it is being answered."""
    told = call.chat.path.hashes
    return Running(system_of(call), told[-1] if told else b"")


def system_of(call: ChatCall) -> bytes | None:
    """The leading system messages of a request, as a JSON array; None if it has none."""
    system = call.chat.system
    return b"[" + b",".join([each.raw for each in system]) + b"]" if system else None


def prompt_text(system: bytes | None) -> str:
    """The words of leading system messages (a JSON array)."""
    if system is None:
        return ""
    try:
        messages = _read_list(system)
    except (ValueError, RecursionError):
        return ""
    return "\n".join(visible_text(each) for each in messages if isinstance(each, dict))


def same_prompt(one: bytes | None, other: bytes | None) -> bool:
    """Are they one prompt, but for a clock in it?"""
    if one is None or other is None:
        return one is other
    return one == other or are_near_prompts(prompt_text(one), prompt_text(other))


def or_main_thread(threads: Sequence[Thread], conversation: Conversation) -> Sequence[Thread]:
    """The threads. In a conversation recorded by a version that kept none: one, which ends at its tip."""
    if threads or conversation.tip is None:
        return threads
    return [Thread(b"", conversation.tip, is_answered=True, is_thin=True)]


def fitting(threads: Sequence[Thread], call: ChatCall) -> list[Thread]:
    """The roots of the one prompt to which the request may belong, the newest first; none if unclear."""
    own = system_of(call)
    equal = [each for each in threads if each.system == own or not each.root]
    if equal:
        return equal
    prompts = {each.system for each in threads}
    if own is None:
        return list(threads) if len(prompts) == 1 else []
    newest = list(dict.fromkeys(each.system for each in threads if each.system is not None))[:_MAX_PROMPTS]
    near = {each for each in newest if same_prompt(each, own)}
    if len(near) != 1:
        return []
    return [each for each in threads if each.system in near]


def names_of_tools(call: ChatCall) -> tuple[str, ...]:
    """The names of the tools that a request brings, as far as they are kept."""
    if not call.chat.tools:
        return ()
    try:
        return tools_of(map(_name_of, _read_tools(call.chat.tools)))
    except (ValueError, RecursionError):
        return ()


def _name_of(tool: msgspec.Raw) -> Any:
    """The name of a function; None for another tool. All else is passed over: a tool may be a megabyte."""
    try:
        return _read_tool(tool).function.name
    except (ValueError, RecursionError):
        return None


def thread_after(
    call: ChatCall,
    plan: RecordedPlan,
    asked: Sequence[Node],
    replies: Sequence[Node],
    head: Node | None,
    now: float,
) -> Thread | None:
    """What is kept of the thread of a request that has been answered; None where that tells nothing new.

    `asked`: its new nodes; `head`: behind which of all these the next one goes; `now`: Unix seconds. A front
    end that always sends its history needs no threads, nor does a chat whose client has shown that it does.
    """
    if not call.is_named or call.identity.sends_history:
        return None
    is_thin = isinstance(plan, Thin)
    if not is_thin and _has_shown_itself(call):
        return None
    root = _root(call, plan, asked)
    if root is None:
        return None
    is_answered = any(node.state != "failed" for node in replies)
    return Thread(
        root,
        head.id if head is not None else None,
        plan.system if is_thin and not call.chat.system else system_of(call),
        name_of(call.chat.model),
        names_of_tools(call),
        is_answered=is_answered,
        is_thin=is_thin and is_answered,
        is_whole=not is_thin and holds_a_turn(call.chat.path.messages),
        updated_at=now,
    )


def talks_apart(call: ChatCall, plan: RecordedPlan) -> bool:
    """Does it talk in a branch of its own? It has a session of its own, or goes on from an older response of
    a conversation that has a name, without that name. The conversation stays where it is: whoever goes on
    by its name would miss what was said there since."""
    if plan.session is not None or call.chat.behind is None:
        return plan.session is not None
    after = plan.moved[0].parent if plan.moved else plan.parent.id if plan.parent is not None else None
    return after != plan.conversation.tip and plan.conversation.key not in (None, call.identity.key)


def _root(call: ChatCall, plan: RecordedPlan, asked: Sequence[Node]) -> bytes | None:
    if plan.parent is None:
        return asked[0].id if asked else None
    if plan.root is not None:
        return plan.root
    path, at = call.chat.path, len(call.chat.path.messages) - len(plan.new)
    if at and path.hashes[at - 1] == plan.parent.hash:
        return call.chain.message_id(None, path.messages[0].digest, path.hashes[0])
    return None


def _has_shown_itself(call: ChatCall) -> bool:
    """Does it hold more questions than those after which nothing new is told of its client?"""
    questions = 0
    for each in call.chat.path.messages:
        questions += each.role == "user"
        if questions > _QUESTIONS_UNTIL_SHOWN:
            return True
    return False


def holds_a_turn(messages: Sequence[Message]) -> bool:
    """Does it hold a question, its final answer and a question behind it?"""
    asked = answered = False
    for each in messages:
        if each.role == "user":
            if answered:
                return True
            asked = True
        elif each.role == "assistant" and not call_ids(each.fields):
            answered = asked
    return False
