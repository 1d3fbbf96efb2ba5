"""The remembered requests under the settings in force: who sent what, and how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from sidecar.doctor.sights import ABSENT, CHAT, EMPTY, FILLED, OPEN_WEBUI, UNFILLED, Sight
from sidecar.settings import Settings

__all__ = ["Seen", "many"]

# What Open WebUI's own HTTP client calls itself. Others use it too, so it counts where nothing else tells.
_CLIENT = "Python aiohttp"


@dataclass(frozen=True)
class Seen:
    """What the doctor looks at. `store` and `upstream` are what `/-/ready` says of them."""

    settings: Settings
    sights: Sequence[Sight]
    models_listed: int = 0
    store: str = "writable"
    upstream: str = "reachable"

    @cached_property
    def chats(self) -> list[Sight]:
        """The requests of the API that is read, refused ones included."""
        return [each for each in self.sights if each.api == CHAT]

    @cached_property
    def understood(self) -> list[Sight]:
        """The chat requests that could be read."""
        return [each for each in self.chats if each.mode]

    @cached_property
    def others(self) -> Counter[str]:
        """How many chats came by which other API."""
        return Counter(each.api for each in self.sights if each.api != CHAT)

    @cached_property
    def front(self) -> list[Sight]:
        """The chat requests of Open WebUI, as far as that can be told."""
        return [each for each in self.chats if self.is_open_webui(each)]

    @cached_property
    def id_headers(self) -> Counter[str]:
        """How many requests got their chat id from which header."""
        return Counter(name for each in self.chats if (name := self.id_header(each)) is not None)

    @cached_property
    def without_id(self) -> list[Sight]:
        """The chat requests that named no conversation."""
        return [each for each in self.chats if self.id_header(each) is None]

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

    def id_header(self, sight: Sight) -> str | None:
        """The header that named the conversation."""
        return self.first(sight, self.settings.identity.headers)

    def user_header(self, sight: Sight) -> str | None:
        """The header that named the user, under the rule in force."""
        rules = self.settings.tenant
        signed = bool(rules.user_jwt_secret.get_secret_value())
        return self.first(sight, (rules.user_jwt_header,) if signed else rules.user_headers)

    def credential_header(self, sight: Sight) -> str | None:
        """The first header with a credential."""
        return self.first(sight, self.settings.tenant.credential_headers)

    def first(self, sight: Sight, names: Iterable[str]) -> str | None:
        """The first of these headers that named something."""
        return next((name for name in names if name and self.state(sight, name) == FILLED), None)

    def state(self, sight: Sight, name: str) -> int:
        """Was the header there, and did it mean anything?"""
        return sight.states.get(name.lower(), ABSENT)

    def count(self, sights: Iterable[Sight], name: str, *states: int) -> int:
        """How many had this header in one of these states."""
        return sum(self.state(each, name) in states for each in sights) if name else 0

    def unfilled(self, sights: Iterable[Sight], name: str) -> int:
        """How many had a template in this header that nobody filled in."""
        return self.count(sights, name, UNFILLED)

    def sent(self, sights: Iterable[Sight], name: str) -> int:
        """How many had this header at all."""
        return self.count(sights, name, EMPTY, UNFILLED, FILLED)

    def is_open_webui(self, sight: Sight) -> bool:
        """Did Open WebUI send this, as far as that can be told?"""
        return sight.client == _CLIENT or self._shows(sight)

    @cached_property
    def is_sure(self) -> bool:
        """Is it shown that Open WebUI is among the clients, by more than the name of a library?"""
        return any(map(self._shows, self.chats))

    def client(self, sight: Sight) -> str:
        """What to call the program that sent this."""
        name = sight.client or "(no name)"
        if not self.is_open_webui(sight):
            return name
        return f"Open WebUI ({name})" if self.is_sure else f"{name}, perhaps Open WebUI"

    def _shows(self, sight: Sight) -> bool:
        rules = self.settings
        shows = (*OPEN_WEBUI, rules.tasks.header, rules.identity.parent_id_header)
        return sight.task == "opening" or any(self.state(sight, name) != ABSENT for name in shows)


def many(number: int, noun: str, plural: str | None = None) -> str:
    """`1 request`, `2 requests`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
