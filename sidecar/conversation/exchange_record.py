"""An exchange: one request with its reply, and what was done to it, as stores keep it.

Numbers, names, hashes and ids, but never a word of what was said, except where an API promises to tell it
again and no message holds it (`told`). Whatever comes from outside (a model's name, a count, an error's code,
the names of tools) goes through `name_of`, `count_of`, `code_of` or `tools_of` on its way in, so that every
store can keep it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from typing import Any

import msgspec

__all__ = [
    "OF_CONVERSATION",
    "Detail",
    "Difference",
    "Exchange",
    "Reference",
    "Refusal",
    "Sent",
    "code_of",
    "count_of",
    "detail_of",
    "exchange_id",
    "name_of",
    "packed",
    "tools_of",
]

#: The outcome of what made a conversation by itself, with nothing asked: no upstream was part of it.
OF_CONVERSATION = "conversation"
#: Bytes of an exchange's id that tell its time.
_TIME_SIZE = 6
#: What a count may be at most: 32 bits in PostgreSQL.
_MAX_COUNT = (1 << 31) - 1
_MAX_NAME = 200
_MAX_TOOLS, _MAX_TOOL_NAME = 64, 64
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
    its hash where nobody had to look the node up. `exceptions`: nodes, or their hashes, that did not go as
    messages of their own (`out`), those that went as an answer of text since it tells calls and their results
    (`text`), and the others that stand in that text (`told`); and the one up to which old messages went in a
    shorter form (`short`).
    Its size grows with what is new in a request, not with the history.
    """

    rule: str
    first: bytes | None = None
    exceptions: tuple[tuple[bytes, str], ...] = ()


class Refusal(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What an upstream said of a prompt that it found too long, in tokens: the model's window, and the prompt
    as it counts. None: it did not say."""

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
        "waited_ms": "W",
        "reading_ms": "F",
        "no_room_ms": "V",
        "encrypted": "z",
    },
):
    """What a store keeps of an exchange as one piece, since nobody sorts by it.

    Times are in milliseconds from the request's arrival until its body had come, it went upstream (first),
    the head of the answer came (of the last one), and a first piece; `waited_ms`, `reading_ms` and
    `no_room_ms`: for how long it stood in line behind another of its chat, its chat was looked up in the
    store, and it waited for room at a target. Tokens are counted as the upstream
    reported them, but for the estimate of the prompt. `summary`: the hash that names the front a summary
    stood for. `system` and `tools`: hashes of the leading system messages and of the tools, keyed by the
    tenant; `system_put_in`: these messages were the store's, and not the client's. `restored`, `dropped`,
    `shortened` and `recalled` count messages. `budget`: the tokens that the prompt might have, `saved`: those
    of what was left out of it, and where there is a budget `system_tokens` and `tools_tokens`: those that the
    system messages and the tools took of it; all by estimate. `quoted`: the messages of which something
    stands again; each is a node, or its hash; `recall_score`: how well the best of it fits the question
    (BM25). `refusal`: the last one for its length, before it was taken or given up. `supplied`, `left_out`:
    names of fields that the upstream demands, or refuses. `brought`: how many messages the client sent,
    without the leading system messages, where the stored front is not among them: it has left that out, or
    put a summary in its place. `told`: what its client may ask for again over the Responses API and that no
    message holds, JSON; `phases`: the same of messages that the client brought, each with its node.
    `client_key`: the id of the key by which its client was let in.
    `encrypted` is all of the rest, encrypted: within an encrypted store, and nowhere else.
    """

    #: The nodes that the reply became, one for each choice.
    replies: tuple[bytes, ...] = ()
    #: The model's name in the reply.
    answered_by: str | None = None
    #: The configured name of the upstream.
    target: str = "default"
    #: Which of its URLs or addresses it was, where it has several.
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
    waited_ms: int = 0
    reading_ms: int = 0
    no_room_ms: int = 0
    encrypted: bytes | None = None


class Exchange(msgspec.Struct, frozen=True):
    """One request and its reply. Its fields, but for the detail, are columns, to filter and sort by.

    `id` is unique in its conversation and is made by `exchange_id`: in the order of ids, exchanges are in the
    order of their beginning. `parent`: the newest stored message that the request ended with, or None.
    `model` as it was asked for. `error`: ours or the upstream's code.
    """

    id: bytes
    conversation: str
    parent: bytes | None = None
    #: One word: start, continue, branch, retry, ...
    outcome: str = ""
    model: str | None = None
    #: The HTTP status that the client got.
    status: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    #: Milliseconds from the request's arrival to the end of the response.
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
        named += [node for node, _phase in self.detail.phases]
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
