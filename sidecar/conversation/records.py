"""The values that stores keep and give back, besides messages: what all of them and their users speak of.

An exchange is one request with its reply, and what was done to it: numbers, names, hashes and ids, but never
a word of what was said, except where an API promises to tell it again and no message holds it (`told`).
Whatever comes from outside (a model's name, a count, an error's code, the names of tools) goes through
`name_of`, `count_of`, `code_of` or `tools_of` on its way in, so that every store can keep it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec
from msgspec.structs import replace

from sidecar.conversation.tree import Conversation, Node

__all__ = [
    "OF_CONVERSATION",
    "ConversationStats",
    "ConversationUpdate",
    "Detail",
    "Difference",
    "Exchange",
    "Found",
    "Reference",
    "Refusal",
    "Sent",
    "Snapshot",
    "Summary",
    "Thread",
    "code_of",
    "count_of",
    "detail_of",
    "exchange_id",
    "joined",
    "name_of",
    "packed",
    "tools_of",
]

#: The outcome of what made a conversation by itself, with nothing asked: no upstream was part of it.
OF_CONVERSATION = "conversation"
#: Bytes of an exchange's id that tell its time, and what a count may be at most (32 bits in PostgreSQL).
_TIME_SIZE, _MAX_COUNT = 6, (1 << 31) - 1
_MAX_NAME, _MAX_TOOLS, _MAX_TOOL_NAME = 200, 64, 64
_CODE = re.compile(r"[A-Za-z0-9_.:/-]{1,64}")


class Difference(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a prompt first differs from the one before it: the message's index, and the cause in one word."""

    index: int
    cause: str


class Sent(msgspec.Struct, frozen=True, array_like=True):
    """Which stored messages went upstream, and in which form: a rule, and the nodes that are an exception.

    `rule` is one word: `client` (the client's own bytes of the messages that it sent, which are those of the
    path up to the exchange's parent), `restored` (the same, but answers and tools' results in the stored form
    where the client's copy says something else), `whole` (that path from its root, in the stored form, and
    then what the client sent). Of what stands before `first` only went what is never cut; it is a node, or
    its hash where nobody had to look the node up. `exceptions`: nodes that did not go (`out`), and the one up
    to which old messages went in a shorter form (`short`).
    Its size grows with what is new in a request, not with the history.
    """

    rule: str
    first: bytes | None = None
    exceptions: tuple[tuple[bytes, str], ...] = ()


class Refusal(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What an upstream said of a prompt that it found too long, in tokens as it counts; None: nothing."""

    window: int | None = None
    prompt: int | None = None


class Detail(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    # Each name takes room in every row. A letter that was given away never gets another meaning; `i` was one.
    rename={
        "replies": "r",
        "answered_by": "m",
        "target": "t",
        "member": "M",
        "api": "a",
        "finish": "f",
        "head_ms": "h",
        "first_token_ms": "k",
        "cached_tokens": "c",
        "reasoning_tokens": "g",
        "estimated_tokens": "e",
        "restored": "R",
        "dropped": "D",
        "shortened": "S",
        "recalled": "q",
        "summary": "s",
        "overflow_retries": "o",
        "form_retries": "O",
        "degraded": "d",
        "silent_cut": "C",
        "system": "p",
        "tools": "T",
        "difference": "x",
        "sent": "u",
        "budget": "b",
        "saved": "v",
        "quoted": "Q",
        "recall_score": "y",
        "refusal": "w",
        "supplied": "N",
        "left_out": "l",
        "brought": "n",
        "told": "j",
        "received_ms": "E",
        "sent_ms": "G",
        "client_key": "K",
        "system_put_in": "P",
        "system_tokens": "Y",
        "tools_tokens": "L",
        "phases": "H",
        "encrypted": "z",
    },
):
    """What a store keeps of an exchange as one piece, since nobody sorts by it.

    Times are in milliseconds from the request's arrival until its body had come, it went upstream (first),
    the head of the answer came (of the last one), and a first piece. Tokens are counted as the upstream
    reported them, but for the estimate of the prompt. `summary`: the hash that names the front a summary
    stood for. `system` and `tools`: hashes, keyed by the tenant, of the leading system messages
    (`system_put_in`: of the store's) and of the tools. `restored`, `dropped`, `shortened` and `recalled`
    count messages. `budget`: the tokens that the prompt might have, `saved`: those left out of it, and with
    a budget `system_tokens` and `tools_tokens`: those that they took; all by estimate. `quoted`: the messages
    of which something stands again; each is a node, or its hash; `recall_score`: how well the best of it fits
    the question (BM25). `refusal`: the last for its length. `supplied`, `left_out`: names of fields that the
    upstream demands, or refuses. `brought`: how many messages the client sent, without the leading ones,
    where it left the stored front out, or put a summary in its place. `told`: what its client may ask for
    again over the Responses API and no message holds, JSON; `phases`: the same of messages that it brought,
    by node. `client_key`: its id. `encrypted`: all the rest. `replies`: one node for each choice.
    """

    replies: tuple[bytes, ...] = ()
    answered_by: str | None = None
    #: The configured name of the upstream, and which of its URLs or addresses it was, where it has several.
    target: str = "default"
    member: str | None = None
    api: str = "chat"
    finish: str | None = None
    received_ms: int | None = None
    sent_ms: int | None = None
    head_ms: int | None = None
    first_token_ms: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    estimated_tokens: int | None = None
    restored: int = 0
    dropped: int = 0
    shortened: int = 0
    recalled: int = 0
    summary: bytes | None = None
    overflow_retries: int = 0
    form_retries: int = 0
    degraded: bool = False
    silent_cut: bool = False
    system: bytes | None = None
    tools: bytes | None = None
    difference: Difference | None = None
    sent: Sent | None = None
    budget: int | None = None
    saved: int = 0
    quoted: tuple[bytes, ...] = ()
    recall_score: float = 0.0
    refusal: Refusal | None = None
    supplied: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    brought: int | None = None
    told: bytes | None = None
    client_key: str | None = None
    system_put_in: bool = False
    system_tokens: int = 0
    tools_tokens: int = 0
    phases: tuple[tuple[bytes, str], ...] = ()
    encrypted: bytes | None = None


class Exchange(msgspec.Struct, frozen=True):
    """One request and its reply. Its fields, but for the detail, are columns, to filter and sort by.

    `id` is unique in its conversation and is made by `exchange_id`: in the order of ids, exchanges are in the
    order of their beginning. `parent`: the newest stored message that the request ended with, or None.
    `outcome`: one word (start, continue, branch, …). `model` as it was asked for. `status`: the client's.
    `duration_ms`: from its arrival to the end of the response. `error`: ours or the upstream's code.
    """

    id: bytes
    conversation: str
    parent: bytes | None = None
    outcome: str = ""
    model: str | None = None
    status: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    duration_ms: int | None = None
    error: str | None = None
    detail: Detail = Detail()

    @property
    def when(self) -> int:
        """When the request arrived, in Unix milliseconds."""
        return int.from_bytes(self.id[:_TIME_SIZE])

    @property
    def nodes(self) -> list[bytes]:
        """All messages that it names."""
        sent = self.detail.sent
        named = [self.parent, *self.detail.replies, *self.detail.quoted]
        if sent is not None:
            named += [sent.first, *(node for node, _form in sent.exceptions)]
        return [node for node in named if node is not None]


class Reference(msgspec.Struct, frozen=True):
    """An exchange by which a client goes on: the ids of its conversation, and of itself."""

    conversation: str
    exchange: bytes


def exchange_id(when: int, random: bytes) -> bytes:
    """The id of an exchange that began at `when` (Unix milliseconds); `random`: 4 bytes."""
    return when.to_bytes(_TIME_SIZE) + random


def name_of(value: Any) -> str | None:
    """A name from outside, such as a model's, as it can be kept; None if there is none."""
    if type(value) is not str or not value:
        return None
    value = value[:_MAX_NAME]
    return value if value.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in value)


def count_of(value: Any) -> int | None:
    """A count from outside as it can be kept; None if it is none."""
    return value if type(value) is int and 0 <= value <= _MAX_COUNT else None


def code_of(value: Any) -> str | None:
    """The code of an error, from outside; None for a sentence, which might repeat what was said."""
    if type(value) is str:  # as nearly every one
        return value if _CODE.fullmatch(value) else None
    return code_of(str(value)) if type(value) is int else None


def tools_of(names: Iterable[Any]) -> tuple[str, ...]:
    """Names of tools from outside as they can be kept: the first 64, of 64 characters at most."""
    told = (name_of(each) for each in names)
    return tuple(islice((name[:_MAX_TOOL_NAME] for name in told if name is not None), _MAX_TOOLS))


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Detail).decode


def packed(detail: Detail) -> bytes:
    """A detail as a store keeps it: MessagePack, without what is as usual."""
    return _encode(detail)


def detail_of(data: bytes) -> Detail:
    """What was packed. Raises `ValueError` if it was not; what a newer version added is passed over."""
    return _decode(data)


class Found(msgspec.Struct, frozen=True):
    """What is known of a conversation at the deepest stored place of a request.

    `nodes` maps the hash that was found to the nodes that read alike there, oldest first; it is empty
    if no hash was found. `is_tip`: nothing lies under the newest of them.
    """

    conversation: Conversation | None = None
    nodes: Mapping[bytes, Sequence[Node]] = msgspec.field(default_factory=dict)
    is_tip: bool = False


class Thread(msgspec.Struct, frozen=True):
    """What one root and the messages under it are known by: what one thin client talks.

    Of every root there is one; `joined` says what becomes of it when the root's next turn is recorded.
    """

    #: The root node's id.
    root: bytes
    #: The node behind which an append goes: its newest message that an upstream may see again.
    head: bytes | None = None
    #: The leading system messages (a JSON array), as last sent; None: none were sent.
    system: bytes | None = None
    #: As last asked for, and the names of the tools last sent; see `tools_of`.
    model: str | None = None
    tools: tuple[str, ...] = ()
    #: It has a reply with a word or a finished call.
    is_answered: bool = False
    #: An append was answered in it.
    is_thin: bool = False
    #: A request held it, its final answer and a later question.
    is_whole: bool = False
    updated_at: float = 0.0  # Unix seconds


def joined(old: Thread | None, new: Thread) -> Thread:
    """What is kept of a root once `new` has been recorded after `old`.

    `new` stands in place of `old`, with three exceptions: a `head` or `model` that it does not name stays as
    it was, and what was once answered, thin or whole remains so. A `system` of None is no exception: it
    says that none was sent.
    """
    if old is None:
        return new
    return replace(
        new,
        head=new.head if new.head is not None else old.head,
        model=new.model if new.model is not None else old.model,
        is_answered=new.is_answered or old.is_answered,
        is_thin=new.is_thin or old.is_thin,
        is_whole=new.is_whole or old.is_whole,
    )


class ConversationUpdate(msgspec.Struct, frozen=True):
    """What one request and its reply add to a conversation.

    `nodes`: parents before children. `echoes`: hashes under which the client will name a node, where
    they are not the node's own. `system`: the request's leading messages, a JSON array, or None. A
    conversation whose `tip` or `weights` is None keeps what it has, as does one that has a `key` where this
    has none, and its `updated_at` never goes back. `exchange` and `thread` are kept with them, the latter as
    `joined` says. `beside`: where an exchange comes without messages, one of its conversation, which may be
    deleted by now. `is_found_by_echo`: it has a key, or takes one, and `find_by_history` finds it by these.
    """

    conversation: Conversation
    nodes: tuple[Node, ...]
    echoes: tuple[tuple[bytes, bytes], ...] = ()
    system: bytes | None = None
    exchange: Exchange | None = None
    thread: Thread | None = None
    beside: bytes | None = None
    is_found_by_echo: bool = False

    @property
    def after(self) -> bytes | None:
        """The message that it goes on from, which has to be there; None if it begins at a root."""
        if self.nodes:
            return self.nodes[0].parent
        return (self.exchange.parent if self.exchange else None) or self.beside


class Summary(msgspec.Struct, frozen=True):
    """What a model made of the front of a path; `hash` names that front."""

    hash: bytes
    text: str
    model: str
    created_at: float


class ConversationStats(msgspec.Struct, frozen=True):
    """What one conversation takes up; `size` in bytes: what was said, reported usage, exchanges' details,
    threads' prompts, requests that are kept."""

    id: str
    tenant: bytes
    key: str | None
    created_at: float
    updated_at: float
    messages: int = 0
    size: int = 0


class Snapshot(msgspec.Struct, frozen=True):
    """All that a store holds of one conversation. `nodes`: in the order in which they were recorded;
    `exchanges`: in the order in which they began; `threads`: in that of their roots' ids. `found_by`: of one
    that has a key the echoes by which `find_by_history` finds it; one that has none is found by all it holds.
    """

    conversation: Conversation
    nodes: tuple[Node, ...] = ()
    echoes: tuple[tuple[bytes, bytes], ...] = ()
    system: tuple[bytes, bytes] | None = None
    summaries: tuple[Summary, ...] = ()
    exchanges: tuple[Exchange, ...] = ()
    threads: tuple[Thread, ...] = ()
    found_by: tuple[bytes, ...] = ()
