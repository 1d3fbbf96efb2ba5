"""What is remembered of a request: how it named its chat, its messages, its user. Bounded, and cheap.

Rule: a sample holds no text, no id, no credential, no user. Of a header it keeps whether it was there and
whether it meant anything; conversations and tenants are salted hashes of this process, only to be counted.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from types import TracebackType

import msgspec
from msgspec.structs import replace
from multidict import istr

from sidecar.conversation.exchange_record import name_of
from sidecar.conversation.identity import is_named
from sidecar.dialects import chat, responses
from sidecar.errors import SidecarError
from sidecar.settings import Settings

__all__ = [
    "ABSENT",
    "ALIASES",
    "CHAT",
    "EMPTY",
    "FILLED",
    "OPEN_WEBUI",
    "UNFILLED",
    "RequestSample",
    "RequestSamples",
    "Shared",
    "SilentCuts",
    "id_headers",
    "product",
]

#: What a header was: not there, without a value (or a word for none), an unfilled template, a value.
ABSENT, EMPTY, UNFILLED, FILLED = range(4)

#: The API of the requests that are read; others have the end of their path for a name.
CHAT = chat.PATH

#: Headers by which Open WebUI shows, whatever the sidecar is told to read.
OPEN_WEBUI = ("X-OpenWebUI-User-Id", "X-OpenWebUI-User-Jwt", "X-OpenWebUI-Auth-Type", "X-OpenWebUI-Chat-Id")

#: The names that these headers have in guides for Open WebUI, by the setting that would read them.
ALIASES = {
    "identity.message_id_header": "X-OpenWebUI-Message-Id",
    "identity.user_message_id_header": "X-OpenWebUI-User-Message-Id",
    "identity.parent_id_header": "X-OpenWebUI-User-Message-Parent-Id",
    "tasks.header": "X-OpenWebUI-Task",
}

_LIKE_A_CHAT_ID = re.compile(r"chat|conversation|thread|session|dialog", re.IGNORECASE)
_PRODUCT = re.compile(r"(?:^|\s)([A-Za-z][A-Za-z_-]{0,23})(?=[/\s]|$)")
_COMMENT = re.compile(r"\([^)]*\)?")
_MAX_PRODUCTS, _MAX_PRODUCT_LENGTH = 3, 60
_MAX_USER_AGENT = 200  # characters of a User-Agent
_MOST_CUTS = 20  # models
_MOST_BEGUN = 500  # requests that were cut, of a model
_MANY, _LONG = 100, 4000  # headers of a request, and the characters of their names: more are not remembered


class RequestSample(msgspec.Struct):
    """One request. Written to until its answer has begun; `status` 0 means that none has."""

    at: float
    api: str
    client: str
    #: What the watched headers were that it had, by their names in lower case.
    states: Mapping[str, int]
    #: Headers with a value that are not read and whose names look like that of a chat id.
    elsewhere: tuple[str, ...] = ()
    kind: str = ""
    #: How it was known for a task: by the `header`, by its `opening`, or not.
    task: str = ""
    #: It asks for a summary that will stand in the place of a chat's front.
    compacts: bool = False
    mode: str = ""
    #: One message and no tools, as tasks are.
    single: bool = False
    outcome: str = ""
    #: It came without the front that is stored, and goes on from the rest: its client cuts or sums up itself.
    joined: bool = False
    conversation: int = 0
    #: It says in its body what it goes on from: a conversation, or a response (Responses API).
    named: bool = False
    tenant: int = 0
    #: It was let in by one of the sidecar's own keys, which say who asks.
    has_key: bool = False
    status: int = 0
    #: The code of the sidecar's own error.
    refusal: str = ""
    degraded: bool = False
    #: Turns of it were left out.
    is_cut: bool = False
    #: The tokens that it might have, and those that the system prompt and the tools took, by estimate.
    budget: int = 0
    system_tokens: int = 0
    tools_tokens: int = 0
    #: Its prompt was compared with the one before in its chat, and had another system prompt.
    compared: bool = False
    other_system: bool = False
    #: What the upstream demands back, and what it refuses of what we add, by their names.
    supplied: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def __enter__(self) -> RequestSample:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, SidecarError):
            self.status, self.refusal = error.status, error.code


class SilentCuts(msgspec.Struct, frozen=True):
    """That an upstream seems to cut long prompts of a model silently: what it counted of the last one, by
    estimate of how many tokens, how often it was seen, and when the newest of those requests began (Unix
    milliseconds)."""

    tokens: int
    estimated: int | None
    times: int
    at: float
    begun: tuple[int, ...] = ()

    def since(self, when: float) -> SilentCuts | None:
        """What was seen of requests that began then (Unix seconds) or later, if anything."""
        begun = tuple(each for each in self.begun if each >= int(when * 1000))
        return replace(self, times=len(begun), begun=begun) if begun else None

    def with_others(self, others: SilentCuts) -> SilentCuts:
        """With what another worker saw."""
        newest = max(self, others, key=lambda each: each.at)
        begun = tuple(sorted((*self.begun, *others.begun)))[-_MOST_BEGUN:]
        return replace(newest, times=self.times + others.times, begun=begun)


class Shared(msgspec.Struct, frozen=True):
    """What one worker remembers, for another to join."""

    since: float
    models_listed: int
    samples: tuple[RequestSample, ...]
    cuts: Mapping[str, SilentCuts] = {}


class RequestSamples:
    """The last requests, as many as `doctor.remember` says."""

    def __init__(self, settings: Settings) -> None:
        self.since = time.time()
        #: How often the list of models was asked for, which a front end does before any chat.
        self.models_listed = 0
        #: Of which models the upstream seems to cut long prompts silently.
        self.cuts: dict[str, SilentCuts] = {}
        self._ids = frozenset(name.lower() for name in id_headers(settings))
        self._no_id = frozenset(("", *settings.identity.no_id))
        self._watched = watched(settings)
        self._samples: deque[RequestSample] = deque(maxlen=settings.doctor.remember)
        # A client sends the same names every time; looking through them once leaves a microsecond a request.
        self._telling = lru_cache(maxsize=256)(self._told_by)

    def last(self, number: int | None = None) -> list[RequestSample]:
        """The newest requests, oldest first; all that are remembered without a number.

        Only messages of a chat count, and the tasks behind them come along: a front end sends several after
        each message, and alone they tell nothing of how a chat is named.
        """
        samples = list(self._samples)
        if number is None:
            return samples
        messages = [at for at, each in enumerate(samples) if not each.task]
        return samples[messages[-number] :] if number <= len(messages) else samples

    def shared(self) -> Shared:
        """All that is remembered."""
        return Shared(self.since, self.models_listed, tuple(self._samples), dict(self.cuts))

    def joined(self, settings: Settings, others: Iterable[Shared]) -> RequestSamples:
        """What this and other workers remember; all of them began with one seed, so that hashes agree."""
        parts, made = [self.shared(), *others], RequestSamples(settings)
        samples = sorted((each for part in parts for each in part.samples), key=lambda each: each.at)
        made._samples = deque(samples)
        made.since = min(part.since for part in parts)
        made.models_listed = sum(part.models_listed for part in parts)
        for name, cuts in (each for part in parts for each in part.cuts.items()):
            before = made.cuts.get(name)
            made.cuts[name] = before.with_others(cuts) if before else cuts
        return made

    def cut_silently(self, model: str | None, tokens: int | None, estimated: int | None, begun: int) -> None:
        """The upstream seems to have cut a prompt for this model to so many tokens; None: no more. `begun`:
        when its request arrived (Unix milliseconds)."""
        name = name_of(model) or ""
        before = self.cuts.pop(name, None) or SilentCuts(0, None, 0, 0.0)
        if tokens is not None:  # the newest stand last
            all_begun = (*before.begun, begun)[-_MOST_BEGUN:]
            self.cuts[name] = SilentCuts(tokens, estimated, before.times + 1, time.time(), all_begun)
        while len(self.cuts) > _MOST_CUTS:
            del self.cuts[next(iter(self.cuts))]

    def see(self, api: str, headers: Mapping[str, str]) -> RequestSample:
        """Remember a request; what becomes of it is written into the sample that this gives."""
        names = tuple(headers)
        is_usual = len(names) <= _MANY and sum(map(len, names)) <= _LONG
        known, alike = self._telling(names) if is_usual else self._told_by(names)
        no_id = self._no_id
        states = {
            name: FILLED
            if (value := headers[name]) not in no_id and "{{" not in value
            else _state(value, no_id)
            for name in known
        }
        elsewhere = tuple(name for name in alike if headers[name]) if alike else ()
        sample = RequestSample(
            time.time(), api, product(headers.get("User-Agent", "")[:_MAX_USER_AGENT]), states, elsewhere
        )
        self._samples.append(sample)
        return sample

    def forget(self, sample: RequestSample) -> None:
        """It is no request of its own: what comes of it has a sample."""
        with suppress(ValueError):  # it may have made room for others
            self._samples.remove(sample)

    def _told_by(self, names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Of the names of a request's headers those that are watched, and those like that of a chat id."""
        lowered = {name.lower(): str(name) for name in names}
        # As `istr` a name is found in half the time.
        known = tuple(istr(name) for name in lowered if name in self._watched)
        alike = [
            name
            for lower, name in lowered.items()
            if lower not in self._ids and len(name) <= _MAX_PRODUCT_LENGTH and _LIKE_A_CHAT_ID.search(name)
        ]
        return known, tuple(alike[:_MAX_PRODUCTS])


def _state(value: str, no_id: Collection[str]) -> int:
    if value in no_id:
        return EMPTY
    return FILLED if is_named(value, no_id) else UNFILLED


def id_headers(settings: Settings) -> tuple[str, ...]:
    """The headers that may name the conversation, those of clients first, then those of agents."""
    identity = settings.identity
    own = responses.AGENT_HEADERS if settings.responses.upstream == "translate" else ()
    return (*identity.headers, *identity.agent_headers, *settings.session.own_headers, *own)


def watched(settings: Settings) -> frozenset[str]:
    """The headers of which a sample tells, in lower case."""
    identity, tenant = settings.identity, settings.tenant
    named = (
        *id_headers(settings),
        identity.message_id_header,
        identity.user_message_id_header,
        identity.parent_id_header,
        settings.tasks.header,
        *tenant.credential_headers,
        *tenant.user_headers,
        tenant.user_jwt_header,
        *OPEN_WEBUI,
        *ALIASES.values(),
    )
    return frozenset(name.lower() for name in named if name)


@lru_cache(maxsize=256)
def product(user_agent: str) -> str:
    """The names of the first two products of a User-Agent: letters only, since the rest may be anything."""
    found = _PRODUCT.findall(_COMMENT.sub(" ", user_agent))
    return " ".join(found[:2])
