"""What the path of a request asks of an API, and the values in which an API answers.

A dialect reads and writes the JSON of one API. Another API is a package beside `chat` with a `Dialect` in it,
and a line in `served.py`. Responses needs more, since some upstreams serve it themselves and clients ask for
what is kept: it is `Requests.responses` in `proxy/services.py`, and its other paths are in `state/`. Messages
are kept in the form of Chat Completions, whatever the API: so a chat that was begun over one can go on over
another.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import msgspec

from sidecar.conversation.exchange_record import Reference
from sidecar.conversation.measure import Measure
from sidecar.conversation.tree import Chain, Message, Path, State

__all__ = [
    "Assembled",
    "Carried",
    "Dialect",
    "End",
    "FormRefusal",
    "Opening",
    "Overflow",
    "Reply",
    "Request",
    "Translation",
    "Truncation",
    "Verdict",
]

#: What a request may say of being cut.
Truncation = Literal["auto", "disabled"]

#: What a stream begins with; `open` while that is not known.
Verdict = Literal["open", "answer", "error"]


#: System messages that stand before all else in what a request goes on from: role and text.
Carried = Sequence[tuple[str, str]]


class Request(Protocol):
    """A request that was read: what it says, and its body with other messages in it."""

    @property
    def body(self) -> bytes:
        """As it was received."""
        ...

    @property
    def system(self) -> tuple[Message, ...]:
        """The leading system messages, which belong to the request and not to the tree."""
        ...

    @property
    def path(self) -> Path:
        """The messages behind them, with their hashes."""
        ...

    @property
    def tail(self) -> tuple[Message, ...]:
        """The system messages behind the newest question, which belong to the request as well."""
        ...

    @property
    def prefill(self) -> Message | None:
        """A message of the assistant at the very end, which the reply is to extend."""
        ...

    @property
    def sent(self) -> tuple[Message, ...]:
        """All messages, in the order in which they came."""
        ...

    @property
    def last_answer(self) -> int:
        """How many messages of the path there are up to and including its last one of the assistant."""
        ...

    @property
    def model(self) -> str | None:
        """The model that is asked."""
        ...

    @property
    def tools(self) -> bytes:
        """The tools that it may call, JSON; nothing if it has none."""
        ...

    @property
    def max_tokens(self) -> int | None:
        """How long an answer may be, if the request says it."""
        ...

    @property
    def choices(self) -> int:
        """How many answers it asks for."""
        ...

    @property
    def user(self) -> str | None:
        """Whom it names as its user, if anybody: no tenant, but not somebody else either."""
        ...

    @property
    def is_private(self) -> bool:
        """Does it ask that nothing of it be kept, unless its chat has a name?"""
        ...

    @property
    def phases(self) -> Mapping[int, str]:
        """What its messages of the assistant are said to be, by their places among all that came."""
        ...

    @property
    def behind(self) -> Reference | None:
        """The exchange that it says it goes on from, be it the last one of its chat or not."""
        ...

    @property
    def conversation(self) -> str | None:
        """The conversation behind whose newest message it says that it goes on."""
        ...

    @property
    def measure(self) -> Measure:
        """What an estimate of tokens counts of all messages."""
        ...

    @property
    def is_large(self) -> bool:
        """Does it take milliseconds to look through all that it says?"""
        ...

    @property
    def weight(self) -> int:
        """The bytes of memory that it takes."""
        ...

    def with_body(self, body: bytes) -> Request:
        """The same request in another body, in which other fields were changed."""
        ...

    def with_messages(self, sent: Sequence[bytes], *, extra: dict[str, bytes] | None = None) -> bytes:
        """The body with these messages (JSON each) and those of these fields that it lacks."""
        ...

    def with_values(self, changed: dict[str, bytes]) -> bytes:
        """The body with these fields set to these JSON values, all else as it came."""
        ...

    def with_fields(self, extra: dict[str, bytes]) -> bytes:
        """The body with those of these fields (JSON values) that it lacks, all else as it came."""
        ...


class Reply(msgspec.Struct, frozen=True):
    """One choice. `message` is a JSON object, for a body that was not streamed its very bytes.

    `settled`: the finish reason came, and nothing was said after it. Where it came too early (Gemini behind
    LiteLLM sends it with every chunk, litellm #2195) it does not tell that all has come. `failed`: the
    upstream told of an error in this choice.
    """

    index: int
    message: bytes
    finish_reason: str | None
    settled: bool = False
    failed: bool = False


class Assembled(msgspec.Struct, frozen=True):
    """All that one response said. `usage` and `error` are JSON as the upstream wrote it.

    `done` tells that the stream was ended by its own rules, `ignored` how many payloads could not be read.
    """

    replies: tuple[Reply, ...]
    model: str | None
    usage: bytes | None
    error: bytes | None
    done: bool
    ignored: int = 0


@dataclass(slots=True, frozen=True)
class Overflow:
    """A refusal for length. `limit` is the model's window, `sent` the prompt as the upstream counted it.

    `with_answer`: it says that the answer that was asked for counts as well.
    """

    limit: int | None = None
    sent: int | None = None
    with_answer: bool = field(default=False, compare=False)


class FormRefusal(msgspec.Struct, frozen=True):
    """`demanded`: the name of a reasoning field, or one of the words of `prompt/form.py`; None for nothing
    that we know of. `unwanted`: the fields that it names as such."""

    demanded: str | None = None
    unwanted: frozenset[str] = frozenset()


class Opening(Protocol):
    """Reads the head of an event stream until it can be told what it is; `error` is then the error's JSON."""

    error: bytes

    def feed(self, data: bytes, /) -> Verdict:
        """What the stream begins with, as far as it is known by now."""
        ...

    def close(self) -> Verdict:
        """The same when nothing more comes."""
        ...


class End(Protocol):
    """What of a response is held back until the reply is stored; once `done`, its end."""

    held: bytes

    @property
    def done(self) -> bool:
        """Is what is held the end?"""
        ...

    def feed(self, chunk: bytes, /) -> bytes:
        """What may go to the client now."""
        ...


class Translation(End, Protocol):
    """A response in the words of another API than its upstream's; once `done`, `held` is its end."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What stands in place of the upstream's headers about its body."""
        ...

    @property
    def patience(self) -> float | None:
        """Seconds of silence after which a sign of life is due; None if there is none."""
        ...

    def close(self) -> bytes:
        """What may go to the client when nothing more comes, however that came about. It is then `done`."""
        ...

    def alive(self) -> bytes:
        """A sign of life, with which the answer begins if it has not."""
        ...

    def refused(self, status: int) -> Translation:
        """The same for a response with this status of an error."""
        ...

    def told(
        self, message: Mapping[str, Any] | None, usage: bytes | None, state: State, carried: Carried = ()
    ) -> bytes | None:
        """What of it is to be kept for whoever asks for it again, JSON; None for nothing.

        `message`: the reply as it is stored, in this state, with the reported usage (JSON); None of none.
        `carried`: the system items of what it goes on from.
        """
        ...


class Dialect(Protocol):
    """One API, as the path of a request uses it."""

    @property
    def path(self) -> str:
        """How the path of its requests ends."""
        ...

    @property
    def name(self) -> str:
        """What it is called in what is kept and told of an exchange."""
        ...

    @property
    def agent_headers(self) -> tuple[str, ...]:
        """By which headers its clients name their chats without being told to."""
        ...

    @property
    def is_translated(self) -> bool:
        """Are its requests made into those of another API, and the answers back?"""
        ...

    def upstream_path(self, path: str) -> str:
        """The path, with its parameters, at which an upstream takes what came to this one."""
        ...

    def translation(
        self, request: Request, exchange: Reference, created: int, clock: Callable[[], float]
    ) -> Translation | None:
        """For the response to this request; None where it goes to the client as it comes.

        `exchange`: where it is kept, in a conversation without an id if nowhere. `created` and what `clock`
        tells are Unix seconds.
        """
        ...

    def parse(
        self, body: bytes, chain: Chain, before: Request | None, most: int, escapes: int
    ) -> Generator[None, None, Request]:
        """Read a request of at most so many messages and escaped characters.

        `before` is an earlier one of the same conversation. Yields, of a large body, before it begins
        and every few milliseconds. Raises `BadRequest`.
        """
        ...

    def truncation(self, request: Request) -> Truncation | None:
        """Whether it may be cut where it is too long; None if it does not say so."""
        ...

    def is_task(self, mark: str | None, request: Request, openings: tuple[str, ...]) -> bool:
        """Is it a background task of a front end? `mark`: the value of the task header, None without one."""
        ...

    def shorter_task(self, request: Request, most: int, size: Callable[[bytes], int]) -> list[bytes] | None:
        """The messages of a task in so many tokens; None if nothing has to go, or nothing can."""
        ...

    def opening(self) -> Opening:
        """For the first events of a stream."""
        ...

    def end(self, *, streamed: bool) -> End:
        """For the end of a response that is, or is not, called a stream."""
        ...

    def compacted(self, data: bytes) -> bytes:
        """A part of a stream in fewer bytes that say the same."""
        ...

    def assembled(self, data: bytes, choices: int) -> Assembled:
        """All that a response said to a request for so many answers. Raises nothing."""
        ...

    def extended(self, prefill: Message, reply: bytes) -> bytes:
        """The message (JSON) that a reply makes with the one that it goes on from."""
        ...

    def overflow(self, status: int, error: bytes, request: bytes) -> Overflow | None:
        """What an error says about the length of the prompt; None if it is about another thing."""
        ...

    def form_refusal(self, status: int, error: bytes) -> FormRefusal | None:
        """What an error refuses of a request's form; None if it is about another thing."""
        ...

    def is_refused(self, said: Assembled, request: bytes) -> bool:
        """Does a response without a word refuse the request, for its form, content or length?"""
        ...
