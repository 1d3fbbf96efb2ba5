"""The remembered requests under the settings in force: who sent what, and how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from sidecar.doctor.samples import (
    ABSENT,
    CHAT,
    EMPTY,
    FILLED,
    OPEN_WEBUI,
    UNFILLED,
    RequestSample,
    SilentCuts,
    id_headers,
)
from sidecar.doctor.targets import TargetState
from sidecar.settings import Settings

__all__ = ["Evidence", "many"]

# What Open WebUI's own HTTP client calls itself. Others use it too, so it counts where nothing else tells.
_CLIENT = "Python aiohttp"


@dataclass(frozen=True)
class Evidence:
    """What the doctor looks at. `store` and `upstream` are what `/-/ready` says of them."""

    settings: Settings
    samples: Sequence[RequestSample]
    models_listed: int = 0
    store: str = "writable"
    upstream: str = "reachable"
    #: What is said of the times when the store failed.
    outages: Sequence[str] = ()
    #: What is wrong with engines whose slots are not saved though they should be, and its cure.
    slots: Sequence[tuple[str, str]] = ()
    #: How each target is where there are several, the default one first.
    targets: Sequence[TargetState] = ()
    #: Of which models the upstream seems to cut long prompts silently.
    cuts: Mapping[str, SilentCuts] = field(default_factory=dict)

    @cached_property
    def chats(self) -> list[RequestSample]:
        """The requests of the API that is read, refused ones included."""
        return [each for each in self.samples if each.api == CHAT]

    @cached_property
    def understood(self) -> list[RequestSample]:
        """The chat requests that could be read."""
        return [each for each in self.chats if each.mode]

    @cached_property
    def others(self) -> Counter[str]:
        """How many chats came by which other API."""
        return Counter(each.api for each in self.samples if each.api != CHAT)

    @cached_property
    def front(self) -> list[RequestSample]:
        """The chat requests of Open WebUI, as far as that can be told."""
        return [each for each in self.chats if self.is_open_webui(each)]

    @cached_property
    def id_headers(self) -> Counter[str]:
        """How many requests got their chat id from which header."""
        return Counter(name for each in self.chats if (name := self.id_header(each)) is not None)

    @cached_property
    def without_id(self) -> list[RequestSample]:
        """The chat requests that named no conversation."""
        return [each for each in self.chats if self.id_header(each) is None and not each.named]

    @cached_property
    def named_in_body(self) -> int:
        """How many chat requests named theirs in the body alone."""
        return sum(each.named and self.id_header(each) is None for each in self.chats)

    @cached_property
    def conversations(self) -> int:
        """How many conversations the requests belong to."""
        return len({each.conversation for each in self.understood if each.conversation})

    @property
    def message_id_headers(self) -> list[str]:
        """The headers that may carry ids of messages."""
        rules = self.settings.identity
        names = (rules.message_id_header, rules.user_message_id_header, rules.parent_id_header)
        return [name for name in names if name]

    def filled(self, name: str) -> int:
        """How many chat requests had a value in this header."""
        return self.count(self.chats, name, FILLED)

    def id_header(self, sample: RequestSample) -> str | None:
        """The header that named the conversation."""
        return self.first(sample, id_headers(self.settings))

    def user_header(self, sample: RequestSample) -> str | None:
        """The header that named the user, under the rule in force."""
        rules = self.settings.tenant
        signed = bool(rules.user_jwt_secret.get_secret_value())
        return self.first(sample, (rules.user_jwt_header,) if signed else rules.user_headers)

    def credential_header(self, sample: RequestSample) -> str | None:
        """The first header with a credential."""
        return self.first(sample, self.settings.tenant.credential_headers)

    def first(self, sample: RequestSample, names: Iterable[str]) -> str | None:
        """The first of these headers that named something."""
        return next((name for name in names if name and self.state(sample, name) == FILLED), None)

    def state(self, sample: RequestSample, name: str) -> int:
        """Was the header there, and did it mean anything?"""
        return sample.states.get(name.lower(), ABSENT)

    def count(self, samples: Iterable[RequestSample], name: str, *states: int) -> int:
        """How many had this header in one of these states."""
        return sum(self.state(each, name) in states for each in samples) if name else 0

    def unfilled(self, samples: Iterable[RequestSample], name: str) -> int:
        """How many had a template in this header that nobody filled in."""
        return self.count(samples, name, UNFILLED)

    def sent(self, samples: Iterable[RequestSample], name: str) -> int:
        """How many had this header at all."""
        return self.count(samples, name, EMPTY, UNFILLED, FILLED)

    def is_open_webui(self, sample: RequestSample) -> bool:
        """Did Open WebUI send this, as far as that can be told?"""
        return sample.client == _CLIENT or self._shows(sample)

    @cached_property
    def is_sure(self) -> bool:
        """Is it shown that Open WebUI is among the clients, by more than the name of a library?"""
        return any(map(self._shows, self.chats))

    def client(self, sample: RequestSample) -> str:
        """What to call the program that sent this."""
        name = sample.client or "(no name)"
        if not self.is_open_webui(sample):
            return name
        return f"Open WebUI ({name})" if self.is_sure else f"{name}, perhaps Open WebUI"

    def _shows(self, sample: RequestSample) -> bool:
        rules = self.settings
        shows = (*OPEN_WEBUI, rules.tasks.header, rules.identity.parent_id_header)
        return sample.task == "opening" or any(self.state(sample, name) != ABSENT for name in shows)


def many(number: int, noun: str, plural: str | None = None) -> str:
    """`1 request`, `2 requests`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
