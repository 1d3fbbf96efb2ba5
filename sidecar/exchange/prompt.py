"""What goes upstream for one request: which messages, in which form, and what is new about them.

Rules: two prompts are compared message by message, by the bytes that are held of them, never by reading
them. What stands in the way of an upstream's prefix cache has one name: the cause of the first difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import is_
from typing import Protocol

import msgspec

from sidecar.conversation.exchange_record import Difference, Sent
from sidecar.conversation.measure import Measure
from sidecar.conversation.tree import Chain, Message, Node, Path
from sidecar.prompt.rebuild import Outgoing
from sidecar.prompt.trim import Trimmed

__all__ = [
    "AS_IT_CAME",
    "Heads",
    "Prompt",
    "Sendable",
    "difference",
    "heads",
    "names_of",
    "of_stored",
    "sent_of",
    "steps_left_out",
]

#: At most so many nodes are named as exceptions: more would be no exception.
_MAX_EXCEPTIONS = 32
#: The client's own bytes, all of them.
AS_IT_CAME = Sent("client")


class Sendable(Protocol):
    """A message as it goes: its bytes, and what an estimate counts of it."""

    @property
    def raw(self) -> bytes:
        """JSON."""
        ...

    @property
    def measure(self) -> Measure:
        """What is counted."""
        ...


class Heads(msgspec.Struct, frozen=True):
    """What stands before the messages: the leading system messages and the tools, as the client sent them,
    with their hashes under the tenant's key; None where there are none."""

    system: tuple[Message, ...] = ()
    tools: bytes = b""
    system_hash: bytes | None = None
    tools_hash: bytes | None = None


class Prompt(msgspec.Struct, frozen=True):
    """All that goes upstream. `sent`: the messages; empty where nobody has to know them.

    `leading`: how many of them are system messages at the front. The counts are of messages; `summary` is
    the hash that names the front a summary stands for; `over`: the limits that are exceeded all the same.
    """

    model: str | None = None
    sent: tuple[Sendable, ...] = ()
    leading: int = 0
    heads: Heads = Heads()
    restored: int = 0
    dropped: int = 0
    shortened: int = 0
    recalled: int = 0
    #: The tokens of what quotes them, by estimate.
    recalled_tokens: int = 0
    summed: int = 0
    summary: bytes | None = None
    over: tuple[str, ...] = ()
    #: What was put in since the upstream demands it, and what stays out of what we add since it refuses it.
    supplied: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    form: Sent | None = None
    #: The tokens that it might have, and those of what was left out, by estimate.
    budget: int | None = None
    saved: int = 0
    #: Those of the leading system messages, and of the tools, by estimate; none where there is no budget.
    around: tuple[int, int] = (0, 0)
    #: The messages that are quoted, each a node or its hash; how well the best of them fits; where in `sent`
    #: that stands.
    quoted: tuple[bytes, ...] = ()
    recall_score: float = 0.0
    quoted_at: int | None = None
    #: The hash of the leading system messages that the store had and the client did not send.
    system_put_in: bytes | None = None
    #: How many results of tools, with their calls, stayed out since the request has no tools.
    steps_left_out: int = 0
    #: Have its messages been measured, so that an estimate costs nothing more?
    is_measured: bool = False


def heads(chain: Chain, system: tuple[Message, ...], tools: bytes, before: Heads | None) -> Heads:
    """The heads of a request; hashed anew only where they differ from those of the request before."""
    if before is None:
        return Heads(system, tools, _hash_of_system(chain, system), _hash_of_tools(chain, tools))
    same_system = len(system) == len(before.system) and all(map(is_, system, before.system))
    same_tools = tools == before.tools
    if same_system and same_tools:
        return before
    return Heads(
        system,
        tools,
        before.system_hash if same_system else _hash_of_system(chain, system),
        before.tools_hash if same_tools else _hash_of_tools(chain, tools),
    )


def _hash_of_system(chain: Chain, system: tuple[Message, ...]) -> bytes | None:
    return chain.hash(None, b"[" + b",".join([each.raw for each in system]) + b"]") if system else None


def _hash_of_tools(chain: Chain, tools: bytes) -> bytes | None:
    return chain.hash(None, tools) if tools else None


def difference(before: Prompt | None, now: Prompt) -> Difference:
    """The first message at which `now` differs from the prompt before it, and why.

    The cause is one word: `grown` (at no message: it is only longer), `model`, `tools`, `system`, `summary`,
    `trimmed`, `recalled` (in front of one question of the two other words are quoted than stand there in the
    other prompt), `joined` (two questions are one message in one of the two), `restored` (a message goes in
    another form), `edited` (another message stands there); `unknown` where the prompt before is not held.
    """
    if before is None:
        return Difference(0, "unknown")
    if before.model != now.model:
        return Difference(0, "model")
    if before.heads.tools != now.heads.tools:
        return Difference(0, "tools")
    at = _first_difference(before.sent, now.sent)
    if at == len(before.sent):
        return Difference(at, "grown")
    return Difference(at, _cause(before, now, at))


def _cause(before: Prompt, now: Prompt, at: int) -> str:
    if at < max(before.leading, now.leading):
        return "system" if before.summary == now.summary else "summary"
    if (before.dropped, before.shortened) != (now.dropped, now.shortened):
        return "trimmed"
    if at in (before.quoted_at, now.quoted_at):
        return "recalled"
    old, new = _outgoing(before, at), _outgoing(now, at)
    if any(each is not None and each.is_joined for each in (old, new)):
        return "joined"
    if old and new and old.node != new.node and None not in (old.node, new.node):
        return "edited"
    return "restored" if any(each is not None and each.restored for each in (old, new)) else "edited"


def _outgoing(prompt: Prompt, at: int) -> Outgoing | None:
    each = prompt.sent[at] if at < len(prompt.sent) else None
    return each if isinstance(each, Outgoing) else None


def _first_difference(before: tuple[Sendable, ...], now: tuple[Sendable, ...]) -> int:
    """The length of the shorter one if it is the other's beginning."""
    end = len(before)
    # Most prompts only grow, by the very same objects up to there: tuples compare those at no cost.
    if end and len(now) >= end and now[end - 1] is before[end - 1] and now[:end] == before:
        return end
    same = list(map(is_, before, now))
    at = len(same) if all(same) else same.index(False)
    for old, new in zip(islice(before, at, None), islice(now, at, None), strict=False):
        if old.raw != new.raw:
            break
        at += 1
    return at


def sent_of(
    line: Sequence[Outgoing], trimmed: Trimmed, chain: Chain, path: Path, before: Sequence[Node] | None
) -> Sent:
    """Which stored messages go upstream, and in which form, of this line cut so.

    `before`: the stored path that goes before the messages of a client that sends only what is new.
    """
    rule = "whole" if before is not None else "restored" if any(each.restored for each in line) else "client"

    ends = (trimmed.first, trimmed.shorter - 1 if trimmed.shortened else 0)
    is_cut = trimmed.first or trimmed.shortened
    names = _names(line, ends, chain, path, before) if is_cut else {}
    exceptions: list[tuple[bytes, str]] = []
    if before:
        forms = _forms(line)
        exceptions = [(node.id, form) for node in before if (form := forms.get(node.id, "out"))]
        exceptions += [(hash, "out") for hash in _own_left_out(line, chain, path, before)]
        exceptions += [(hash, "text") for hash in _own_written_out(line, chain, path, before)]
    if trimmed.shortened and ends[1] in names:
        exceptions.append((names[ends[1]], "short"))
    first = names.get(trimmed.first) if trimmed.first else None
    return Sent(rule, first, tuple(exceptions[-_MAX_EXCEPTIONS:]))


def _forms(line: Sequence[Outgoing]) -> dict[bytes | None, str]:
    """The exceptional forms of stored messages by their names; an empty one of those that go as they are."""
    forms: dict[bytes | None, str] = {name: "told" for each in line for name in each.told}
    forms.update((each.node, "text" if each.told else "") for each in line)
    return forms


def of_stored(sent: Sent, new: Iterable[Node]) -> Sent:
    """The same, where these messages are not stored after all: none of them is named."""
    gone = {name for node in new for name in (node.id, node.hash)}
    first = None if sent.first in gone else sent.first
    return Sent(sent.rule, first, tuple(each for each in sent.exceptions if each[0] not in gone))


def _own_left_out(line: Sequence[Outgoing], chain: Chain, path: Path, before: Sequence[Node]) -> list[bytes]:
    """The hashes of the client's own messages that do not go as messages of their own: questions that are
    joined to the one before them, results of calls that do not go. Its own answers always go."""
    left = {id(each) for each in path.messages if each.role != "assistant"}
    for each in reversed(line):
        if not left:
            return []
        if not each.is_joined:
            left.discard(id(each.message))
    return [hash for message, hash in _hashes(chain, path, before) if id(message) in left]


def _own_written_out(
    line: Sequence[Outgoing], chain: Chain, path: Path, before: Sequence[Node]
) -> list[bytes]:
    """The hashes of the client's own results that go as a text, in which the calls stand as well."""
    told = {id(each.message) for each in line if each.told and each.node is None}
    return [hash for message, hash in _hashes(chain, path, before) if id(message) in told] if told else []


def steps_left_out(line: Sequence[Outgoing], before: Sequence[Node]) -> int:
    """How many results of the stored path `before` are not in the line of a request without tools."""
    results = [node.id for node in before if node.role == "tool"]
    if not results:
        return 0
    there = {each.node for each in line}
    return sum(each not in there for each in results)


def names_of(
    line: Sequence[Outgoing], places: Sequence[int], chain: Chain, path: Path, before: Sequence[Node] | None
) -> tuple[bytes, ...]:
    """The nodes of these messages of a line, or their hashes; `before`: as for `sent_of`."""
    places = places[:_MAX_EXCEPTIONS]
    names = _names(line, places, chain, path, before)
    return tuple(names[at] for at in places if at in names)


def _names(
    line: Sequence[Outgoing], places: Iterable[int], chain: Chain, path: Path, before: Sequence[Node] | None
) -> dict[int, bytes]:
    """The nodes of the messages at these places or, where nobody had to look one up, its hash; what is no
    message of the client's, and none of the path, has none. The path is walked once."""
    wanted = {at: line[at] for at in places if at < len(line)}
    names = {at: each.node for at, each in wanted.items() if each.node is not None}
    left = {id(each.message): at for at, each in wanted.items() if at not in names}
    for message, hash in _hashes(chain, path, before) if left else ():
        if (at := left.pop(id(message), None)) is not None:
            names[at] = hash
        if not left:
            break
    return names


def _hashes(chain: Chain, path: Path, before: Sequence[Node] | None) -> Iterator[tuple[Message, bytes]]:
    """The messages of this path with their hashes, each covering all before it."""
    hash = before[-1].hash if before else None
    for message, told in zip(path.messages, path.hashes, strict=True):
        hash = chain.hash(hash, message.digest) if before else told
        yield message, hash
