"""What is known of one request by now, and the exchange that is made of it once, at its end.

Whatever tells of a request (headers, counters, the log, the doctor, the store) reads these two values.
Times are seconds of one clock that never goes back; 0.0: it has not come to that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec

from sidecar.conversation.exchange_record import (
    Detail,
    Difference,
    Exchange,
    Refusal,
    code_of,
    exchange_id,
    name_of,
)
from sidecar.conversation.tree import State
from sidecar.dialects.base import Assembled
from sidecar.exchange.call import Call
from sidecar.exchange.client_request import ClientRequest
from sidecar.exchange.plan import Plan
from sidecar.exchange.prompt import Prompt
from sidecar.exchange.usage import NO_TOKENS, Tokens

__all__ = [
    "CLIENT_LEFT",
    "CONTENT_FILTER",
    "NO_REPLY",
    "UNREAD",
    "UPSTREAM_BROKE_OFF",
    "Answered",
    "Arriving",
    "Begun",
    "Counted",
    "Progress",
    "Trace",
    "Tracked",
    "error_code",
    "exchange_of",
    "reason",
]

#: Why an exchange did not end well, where it was neither the sidecar's own error nor the upstream's word.
CLIENT_LEFT = "client_left"
UPSTREAM_BROKE_OFF = "upstream_broke_off"
NO_REPLY = "no_reply"
CONTENT_FILTER = "content_filter"
#: A reply that went through and was not read, since it was compressed in a way that we cannot undo.
UNREAD = "unread_content_encoding"
_UPSTREAM_ERROR = "upstream_error"

_decode = msgspec.json.Decoder().decode


class Trace(Protocol):
    """The place of a request in a trace that others have a part in too."""

    @property
    def id(self) -> str:
        """Of the whole trace, as W3C writes it."""
        ...

    def end(self, progress: Progress, exchange: Exchange, now: float) -> None:
        """The exchange has ended, at `now`."""
        ...


class Tracked(msgspec.Struct):
    """By what a request is known to others, where somebody wants to find it again.

    `request_id`: in logs. `upstream_id`: by what its upstream says that it knows it, where that is another
    name. `client`: what came before its body, if it is to be kept as it came, and `body` that body;
    `refusal`: the words in which the upstream refused it.
    """

    request_id: str | None = None
    upstream_id: str | None = None
    trace: Trace | None = None
    client: ClientRequest | None = None
    body: bytes = b""
    refusal: str = ""


class Arriving(Protocol):
    """A response that comes in."""

    @property
    def received(self) -> int:
        """Bytes of its body that have come."""
        ...

    @property
    def is_over(self) -> bool:
        """Has all of it come, and been read?"""
        ...


class Counted(msgspec.Struct, frozen=True):
    """The tokens that a prompt had at least, by the count of this model at this target."""

    target: str
    model: str | None
    tokens: int


class Progress(msgspec.Struct, eq=False):
    """What is known by now. `when`: its arrival, in Unix milliseconds; `random`: 4 bytes for its id."""

    when: int
    arrived: float
    random: bytes
    tracked: Tracked | None = None
    #: It stands in line behind another that goes on in the same thread.
    is_in_line: bool = False
    #: Its body has come; it is on its way upstream; the head of the answer came; a first piece went on.
    received: float = 0.0
    sent: float = 0.0
    head: float = 0.0
    first: float = 0.0
    #: Seconds that it stood in line, that its chat was looked up, and that it waited for room at a target.
    waited: float = 0.0
    reading: float = 0.0
    no_room: float = 0.0
    call: Call | None = None
    plan: Plan | None = None
    prompt: Prompt = Prompt()
    difference: Difference | None = None
    overflow_retries: int = 0
    #: What the upstream last said of a prompt that it found too long.
    refusal: Refusal | None = None
    #: What to say of an upstream that seems to cut such prompts silently; empty if it does not.
    silent_cut: str = ""
    #: It was cut silently, which the estimate alone does not show.
    is_cut_beyond_calibration: bool = False
    #: What was counted of the prompt before it, if it goes on from that; what was counted of its own.
    counted_before: Counted | None = None
    counted: Counted | None = None
    form_retries: int = 0
    #: The configured name of the upstream that it went to.
    target: str = "default"
    #: The name of its member that it went to, where it has several.
    member: str | None = None
    status: int | None = None
    streamed: bool = False
    answer: Arriving | None = None
    error: str | None = None
    #: The upstream refused what was asked, for its form or its length; it did not fail.
    is_refused: bool = False
    #: Its question is being kept without an answer: the id under which it is, or None if that failed.
    question: Awaitable[bytes | None] | None = None
    #: Whoever records its reply tells of it.
    is_recorded: bool = False
    #: The states of the replies that are stored now.
    recorded: Sequence[State] = ()
    #: Told once it is known where the exchange is kept, before the upstream is asked; what it raises ends it.
    begun: Begun | None = None


Begun = Callable[[Progress], Awaitable[None]]


class Answered(msgspec.Struct, frozen=True):
    """What a reply said of itself, and what became of it. `estimated`: the tokens of the prompt.
    `phases`: of what the client brought, by node."""

    parent: bytes | None = None
    replies: Sequence[bytes] = ()
    model: str | None = None
    finish: str | None = None
    tokens: Tokens = NO_TOKENS
    estimated: int | None = None
    silent_cut: bool = False
    phases: tuple[tuple[bytes, str], ...] = ()


NOTHING = Answered()


def exchange_of(progress: Progress, ended: float, answered: Answered = NOTHING) -> Exchange:
    """All of it as one value. Its conversation is empty where nothing is kept of it."""
    call, plan, tokens = progress.call, progress.plan, answered.tokens
    conversation = plan.conversation if plan is not None else None
    began, model = progress.arrived, name_of(call.chat.model) if call is not None else None
    return Exchange(
        exchange_id(progress.when, progress.random),
        conversation.id if conversation is not None else "",
        answered.parent,
        plan.outcome.value if plan is not None else "",
        model,
        progress.status,
        tokens.input,
        tokens.output,
        int((ended - began) * 1000),
        progress.error,
        _detail(progress, answered, call, model),
    )


def _detail(progress: Progress, answered: Answered, call: Call | None, model: str | None) -> Detail:
    began, plan, prompt, tokens = progress.arrived, progress.plan, progress.prompt, answered.tokens
    return Detail(
        replies=tuple(answered.replies),
        answered_by=model if answered.model == model else name_of(answered.model),  # as mostly
        target=progress.target,
        member=progress.member,
        api=call.dialect.name if call is not None else "chat",
        finish=code_of(answered.finish),
        received_ms=int((progress.received - began) * 1000) if progress.received else None,
        sent_ms=int((progress.sent - began) * 1000) if progress.sent else None,
        head_ms=int((progress.head - began) * 1000) if progress.head else None,
        first_token_ms=int((progress.first - began) * 1000) if progress.first and progress.streamed else None,
        cached_tokens=tokens.cached,
        reasoning_tokens=tokens.reasoning,
        estimated_tokens=answered.estimated,
        restored=prompt.restored,
        dropped=prompt.dropped,
        shortened=prompt.shortened,
        recalled=prompt.recalled,
        summary=prompt.summary,
        overflow_retries=progress.overflow_retries,
        form_retries=progress.form_retries,
        degraded=plan is not None and plan.degraded,
        silent_cut=answered.silent_cut,
        system=prompt.system_put_in or prompt.heads.system_hash,
        tools=prompt.heads.tools_hash,
        difference=progress.difference,
        sent=prompt.form,
        budget=prompt.budget,
        saved=prompt.saved,
        quoted=prompt.quoted,
        recall_score=prompt.recall_score,
        refusal=progress.refusal,
        supplied=prompt.supplied,
        left_out=prompt.left_out,
        brought=plan.brought if plan is not None else None,
        client_key=call.identity.client if call is not None else None,
        system_put_in=prompt.system_put_in is not None,
        system_tokens=prompt.around[0],
        tools_tokens=prompt.around[1],
        phases=answered.phases,
        waited_ms=int(progress.waited * 1000),
        reading_ms=int(progress.reading * 1000),
        no_room_ms=int(progress.no_room * 1000),
    )


def reason(ended: State, assembled: Assembled, cut_by: str, *, can_be_read: bool = True) -> str | None:
    """Why a recorded reply is not whole; None if it is. `cut_by`: the limit that cut it."""
    if assembled.error is not None:
        return error_code(assembled.error)
    if cut_by:
        return cut_by
    if ended == "partial":
        return CLIENT_LEFT
    if ended == "failed":
        return UPSTREAM_BROKE_OFF
    if assembled.replies:
        return None
    return NO_REPLY if can_be_read else UNREAD


def error_code(told: bytes) -> str:
    """The short code in an error as upstreams tell it (JSON): its code, its type, or that there was one."""
    try:
        error: Any = _decode(told)
    except (ValueError, RecursionError):
        return _UPSTREAM_ERROR
    if isinstance(error, list) and error:  # as Gemini's
        error = error[0]
    if isinstance(error, dict) and isinstance(error.get("error"), dict):
        error = error["error"]
    if not isinstance(error, dict):
        return _UPSTREAM_ERROR
    return code_of(error.get("code")) or code_of(error.get("type")) or _UPSTREAM_ERROR
