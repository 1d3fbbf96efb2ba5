"""The body of a chat completion: read once, written back only where it must differ.

Owns the rule that what we do not touch survives: every other key keeps its place, its spelling and
its numbers, and a request whose messages stay as they are goes upstream as the very bytes received.
What an upstream might understand is not refused here; only a body in which no messages can be found.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from itertools import chain as in_turn
from itertools import repeat
from operator import attrgetter, eq, is_
from typing import Any

import msgspec
from msgspec.structs import force_setattr, replace

from sidecar.conversation.exchange_record import Reference
from sidecar.conversation.measure import NOTHING, Measure, total
from sidecar.conversation.message import SYSTEM_ROLES
from sidecar.conversation.pieces import LARGE, MANY, begins_alike, has_more_pieces, most_pieces
from sidecar.conversation.tree import Chain, Message, Path
from sidecar.dialects.chat.body import (
    MAX_VALUES_PER_MESSAGE,
    Body,
    fields_of,
    object_of,
    read_body,
    read_messages,
    read_object,
    refuse_excess,
    too_many,
)
from sidecar.errors import BadRequest

__all__ = ["MAX_ESCAPES", "MAX_MESSAGES", "ChatRequest", "parse", "parse_in_steps"]

#: Messages of a request, where nothing else is said.
MAX_MESSAGES = 20_000
#: Escaped characters, likewise. Reading one takes as long as a dozen others.
MAX_ESCAPES = 4_000_000
_RAW = attrgetter("raw")
_NO_TOOLS = frozenset((b"null", b"[]"))
#: Bodies below this are read as fast as compared.
_COMPARE_FROM = 8 << 10
_MESSAGES = b'"messages"'
_OPENED = re.compile(rb'"messages"\s*:\s*\[\s*\Z')
_MAX_BEFORE_MESSAGES = 64  # bytes before the first message in which that is looked for
_SOUGHT = 1 << 10  # bytes of a message
_COMMAS = (b", ", b",")
_NO_VALUE = frozenset((b"null", b'""'))
# Memory: how often a text is held (in the body, as a message's JSON, read), and the bytes of a message, and
# of a string, a list or an object, beside that.
_MEMORY_COPIES = 3
_MEMORY_PER_MESSAGE = 500
_MEMORY_PER_VALUE = 100
# Bytes that are read at once; reading a short message takes as long as so many bytes of a long one.
_READ_AT_ONCE = 512 << 10
_EFFORT_PER_MESSAGE = 2 << 10
_MANY_PIECES = 5 * MANY


class ChatRequest(msgspec.Struct, frozen=True):
    """A parsed request.

    `system` are the leading system and developer messages, which belong to the request and not to the
    tree; so do those behind the newest question, `tail`. `path` is what stands between, with its hashes;
    `prefill` is an assistant message at the very end, which the reply is to extend.
    """

    body: bytes
    system: tuple[Message, ...]
    path: Path
    prefill: Message | None
    #: All messages, in the order in which they came.
    sent: tuple[Message, ...]
    model: str | None
    tools: bytes
    #: How long an answer may be, if the request says it.
    max_tokens: int | None = None
    #: How many answers it asks for, and whom it names as its user.
    choices: int = 1
    user: str | None = None
    #: Where in a long body its messages begin and end, if that is known.
    start: int = 0
    end: int = 0
    #: How many of the messages have been measured, and how much they are together.
    _measured: tuple[int, Measure] = (0, NOTHING)
    #: How many strings, lists and objects its messages may hold.
    pieces: int = 0
    #: The system messages behind the newest question or result.
    tail: tuple[Message, ...] = ()
    #: Does it take a while to look through it?
    is_large: bool = False
    #: What it says that it goes on from, beside its history; over Chat Completions nothing can say it.
    behind: Reference | None = None
    conversation: str | None = None
    phases: Mapping[int, str] = {}

    @property
    def is_private(self) -> bool:
        """No: what OpenAI keeps of a completion is nothing that a client goes on from."""
        return False

    @property
    def measure(self) -> Measure:
        """What an estimate of tokens counts of all messages; once, of those that the request before had."""
        count, known = self._measured
        sent = self.sent
        if count < len(sent):
            known = total([known, *[each.measure for each in sent[count:]]])
            force_setattr(self, "_measured", (len(sent), known))
        return known

    @property
    def weight(self) -> int:
        """The bytes of memory that it takes, with all that was read of it; rather too many."""
        messages = len(self.sent) + 1
        unread = sum(len(each.raw) for each in self.sent if each.is_long) if len(self.body) > LARGE else 0
        return (
            _MEMORY_COPIES * len(self.body)
            - unread
            + _MEMORY_PER_MESSAGE * messages
            + _MEMORY_PER_VALUE * self.pieces
        )

    @property
    def last_answer(self) -> int:
        """How many messages of the path there are up to and including its last assistant message."""
        return self.path.last_answer

    def with_body(self, body: bytes) -> ChatRequest:
        """The same request in another body, in which other fields were changed."""
        return replace(self, body=body)

    def with_messages(self, sent: Sequence[bytes], *, extra: dict[str, bytes] | None = None) -> bytes:
        """The body with these messages (JSON each), else as `with_fields` makes it."""
        return self._written({"messages": b",".join(sent)}, extra or {}, b"[", b"]")

    def with_values(self, changed: dict[str, bytes]) -> bytes:
        """The body with these keys set to these JSON values, all else as it came."""
        return self._written(changed, {})

    def with_fields(self, extra: dict[str, bytes]) -> bytes:
        """The body with those of these keys (JSON values) that it lacks, all else as it came."""
        return self._written({}, extra)

    def _written(
        self, changed: dict[str, bytes], extra: dict[str, bytes], opened: bytes = b"", closed: bytes = b""
    ) -> bytes:
        """With other values; those that are `changed` stand between `opened` and `closed`."""
        fields: dict[str, Any] = object_of(self.body)
        lacking = {name: extra[name] for name in extra if bytes(fields.get(name, b"null")) in _NO_VALUE}
        if not changed and not lacking:
            return self.body
        pieces: list[bytes] = []  # joined once: a body may be as large as dozens of images
        for name, value in (fields | changed | lacking).items():
            pieces += (b",", msgspec.json.encode(name), b":")
            pieces += (opened, value, closed) if name in changed and name not in lacking else (value,)
        pieces[0:1] = (b"{",)
        return b"".join((*pieces, b"}"))


def parse(
    body: bytes,
    chain: Chain,
    before: ChatRequest | None = None,
    most: int = MAX_MESSAGES,
    escapes: int = MAX_ESCAPES,
) -> ChatRequest:
    """`parse_in_steps`, all of them at once."""
    steps = parse_in_steps(body, chain, before, most, escapes)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            request: ChatRequest = end.value
            return request


def parse_in_steps(
    body: bytes, chain: Chain, before: ChatRequest | None, most: int, escapes: int = MAX_ESCAPES
) -> Generator[None, None, ChatRequest]:
    """Read a body. Raises `BadRequest` if it is not JSON, has no list of message objects, or more than `most`
    messages or `escapes` escaped characters; what holds far too much is not even read for that.

    `before` is an earlier request of the same tenant, best the last one of the conversation: messages
    that stand there byte for byte in the same place are neither decoded nor hashed again, and where the whole
    front of the body is the same it is not even read. A request that re-sends 200 messages and adds two costs
    a twentieth of what it costs at first sight.

    Of a large body it yields before it begins, and every few milliseconds from then on, so that whoever reads
    it can let others go on meanwhile; 25 MB of images take a quarter of a second. Of most it never does.
    """
    if len(body) > LARGE:
        yield
    known = before.sent if before else ()
    grown = _grown(body, before, most) if before and before.end else None
    if before and grown is not None:
        fields, start, end = grown
        pieces = before.pieces + most_pieces(body, before.end, end)
        new, sent = _copied(fields.messages, body), list(known)
    else:
        pieces = most_pieces(body, 0, len(body))
        if pieces > _MANY_PIECES and len(body) <= LARGE:
            yield
        refuse_excess(body, most, escapes, pieces)
        fields = fields_of(body)
        if len(fields.messages) > most:
            raise too_many("messages than", most)
        raws = _copied(fields.messages, body)
        start, end = _place(body, raws)
        sent = _unchanged(known, raws) if len(body) <= LARGE else []
        new = raws[len(sent) :]
    effort = 0
    for raw, old in zip(new, in_turn(known[len(sent) :], repeat(None)), strict=False):
        if old is not None and old.raw == raw:
            sent.append(old)
            continue
        sent.append(_message(chain, raw, len(sent)))
        effort += len(raw) + _EFFORT_PER_MESSAGE
        if effort >= _READ_AT_ONCE:
            effort = 0
            yield
    return _request(body, fields, chain, tuple(sent), before, start, end, pieces)


def _unchanged(known: tuple[Message, ...], raws: Sequence[bytes]) -> list[Message]:
    """The messages with which both begin. Compared by one call, which keeps the interpreter."""
    alike = list(map(eq, map(_RAW, known), raws))
    return list(known[: len(alike) if all(alike) else alike.index(False)])


def _request(
    body: bytes,
    fields: Body,
    chain: Chain,
    sent: tuple[Message, ...],
    before: ChatRequest | None,
    start: int,
    end: int,
    pieces: int,
) -> ChatRequest:
    leading = 0
    for each in sent:
        if each.role not in SYSTEM_ROLES:
            break
        leading += 1
    system, said = sent[:leading], sent[leading:]
    prefill = said[-1] if said and said[-1].role == "assistant" else None
    if prefill:
        said = said[:-1]
    tail: tuple[Message, ...] = ()
    if said and said[-1].role in SYSTEM_ROLES:
        said, tail = _without_tail(said)
    tools = bytes(fields.tools)
    if before and tools == before.tools:
        tools = before.tools  # the very same, of which more is known
    return ChatRequest(
        body=body,
        system=system,
        path=chain.path(said, before.path if before else None),
        prefill=prefill,
        sent=sent,
        model=_text(fields.model),
        tools=b"" if tools in _NO_TOOLS else tools,
        max_tokens=_positive(fields.max_completion_tokens) or _positive(fields.max_tokens),
        choices=_positive(fields.n) or 1,
        user=_text(fields.safety_identifier) or _text(fields.user) or None,
        start=start,
        end=end,
        pieces=pieces,
        tail=tail,
        is_large=len(body) > LARGE or len(sent) > MANY,
        _measured=_taken_over(before, sent) if before else (0, NOTHING),
    )


def _text(told: Any) -> str | None:
    return told if isinstance(told, str) else None


def _without_tail(said: tuple[Message, ...]) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """The messages, and the system messages behind the newest question or result; behind an answer they are
    what is asked."""
    end = len(said)
    while said[end - 1].role in SYSTEM_ROLES:  # the first one is none
        end -= 1
    return (said, ()) if said[end - 1].role == "assistant" else (said[:end], said[end:])


def _taken_over(before: ChatRequest, sent: tuple[Message, ...]) -> tuple[int, Measure]:
    """What was measured of the request before, if these messages begin with the very same objects."""
    count = before._measured[0]
    is_same = 0 < count <= len(sent) and all(map(is_, sent, before.sent))
    return before._measured if is_same else (0, NOTHING)


def _copied(raws: Sequence[msgspec.Raw], body: bytes) -> list[bytes]:
    """Each with bytes of its own. Of a large body by many calls, since each keeps the interpreter."""
    return [bytes(raw) for raw in raws] if len(body) > LARGE else list(map(bytes, raws))


def _place(body: bytes, raws: list[bytes]) -> tuple[int, int]:
    """Where the messages of a long body begin and end; 0, 0 if they are not found as they usually stand."""
    # By its beginning: to look for a message of megabytes takes much longer than to compare it.
    start = body.find(raws[0][:_SOUGHT]) if raws and len(body) >= _COMPARE_FROM else 0
    end = (
        _behind(body, start, raws)
        if start > 0 and _OPENED.search(body[max(0, start - _MAX_BEFORE_MESSAGES) : start])
        else 0
    )
    return (start, end) if end and not _has_messages(body[end:]) else (0, 0)


def _behind(body: bytes, start: int, raws: list[bytes]) -> int:
    """Where these messages end if they begin at `start`; 0 if they do not, or are parted in another way."""
    second = start + len(raws[0])
    comma = next((each for each in _COMMAS if body.startswith(each, second)), b",")
    if len(body) <= LARGE:
        joined = comma.join(raws)
        return start + len(joined) if body.startswith(joined, start) else 0
    at = start - len(comma)
    for raw in raws:
        if at >= start and not body.startswith(comma, at):
            return 0
        at += len(comma)
        if not body.startswith(raw, at):
            return 0
        at += len(raw)
    return at


def _grown(body: bytes, before: ChatRequest, most: int) -> tuple[Body, int, int] | None:
    """A body that begins as the one before it, up to the end of its messages: its fields, with the further
    messages alone, and where all of them begin and end. None for any other, be it one that is no JSON.

    What was the same is left out, and the rest read: the JSON around it is known. Nor is what stands behind
    the messages read where that is the same as well.
    """
    start, end = before.start, before.end
    if not begins_alike(body, before.body, end):
        return None
    comma = next((each for each in _COMMAS if body.startswith(each, end)), b"")
    at, rest = end + len(comma), memoryview(before.body)[end:]
    is_same = len(body) - len(rest) >= at and body.endswith(rest)
    tail = body[at : len(body) - len(rest)] if is_same else body[at:]
    if len(tail) > MAX_VALUES_PER_MESSAGE * most and has_more_pieces(
        tail, MAX_VALUES_PER_MESSAGE * most, most_pieces(tail, 0, len(tail))
    ):
        return None
    try:
        fields = _with_messages(before, tail) if is_same else read_body(before.body[:start] + tail)
        raws = list(map(bytes, fields.messages))
        if bool(comma) != bool(raws) or len(before.sent) + len(raws) > most:
            return None
        end = _behind(body, at, raws) if raws else end
        if not end or (not is_same and _has_messages(body[end:])):
            return None
        return fields, start, end
    except (ValueError, RecursionError):
        return None  # whoever reads all of it says what is wrong


def _with_messages(before: ChatRequest, messages: bytes) -> Body:
    """The fields of a request that differs from the one before in nothing but these messages."""
    return Body(
        read_messages(b"[" + messages + b"]"),
        before.model,
        msgspec.Raw(before.tools),
        max_tokens=before.max_tokens,
        n=before.choices,
        user=before.user,
    )


def _has_messages(rest: bytes) -> bool:
    """Are there messages once more behind what seems to be the list of messages? Of two, the last counts."""
    if _MESSAGES not in rest and b"\\u" not in rest:  # which could spell it otherwise
        return False
    try:
        return "messages" in read_object(b'{"":0' + rest.lstrip()[1:])
    except (ValueError, RecursionError):  # they stand in another list
        return True


def _positive(value: Any) -> int | None:
    """-1 and 0 are what some clients send for no limit."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _message(chain: Chain, raw: bytes, index: int) -> Message:
    try:
        return chain.new_message(raw)
    except (ValueError, RecursionError) as error:
        where = f"messages[{index}]"
        raise BadRequest(f"{where} is {error}", code="invalid_messages", param=where) from error
