"""One request on its way from target to target, whatever it asks for.

Rules: nothing goes elsewhere once an engine may have begun: only where no connection came about, or the
answer is 429 or 503 (with `retries.gateway_errors` also 502 and 504). At most `MAX_REQUESTS` go out. Where
nobody could serve it, its client gets the last answer that there was. A target that has as many requests as
it may have is passed over; where all have, the request waits a moment for room.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar

from sidecar.errors import SidecarError, TargetsBusy
from sidecar.proxy.services import Services
from sidecar.upstream.pool import Member
from sidecar.upstream.router import Router

__all__ = ["MAX_REQUESTS", "TARGET", "Arrived", "Journey", "router_of"]

log = logging.getLogger("sidecar.proxy")

MAX_REQUESTS = 5
#: The response header that names the target that answered, where there are several.
TARGET = "X-Sidecar-Target"

_BUSY = frozenset((429, 503))
_OF_GATEWAYS = frozenset((502, 504))


class Answer(Protocol):
    """What a target says."""

    @property
    def status(self) -> int:
        """Of HTTP."""
        ...

    def close(self) -> None:
        """Nobody wants it."""
        ...


P = TypeVar("P")
A = TypeVar("A", bound=Answer)


class Arrived(NamedTuple, Generic[P, A]):
    """An answer, what it is the answer to, from whom it is, and how many requests it took."""

    member: Member
    parcel: P
    answer: A
    requests: int


def router_of(services: Services) -> Router:
    """Which targets there are, where there are several."""
    assert services.router is not None
    return services.router


@dataclass(slots=True)
class Journey(Generic[P, A]):
    """One request. `parcel_for`: it, put together for this member; `send`: gives what the member says, and is
    told whether there are others to go to; `is_settled`: would no other target help, whatever the status?"""

    services: Services
    model: str | None
    #: By what it stays where it is; None for what belongs to no chat.
    session: str | None
    parcel_for: Callable[[Member], Awaitable[P]]
    send: Callable[[Member, P, bool], Awaitable[A]]
    is_settled: Callable[[A, P], Awaitable[bool]] | None = None
    tried: set[Member] = field(default_factory=set)
    requests: int = 0
    #: The last answer that says that it was not served, and why there was none.
    spare: Arrived[P, A] | None = None
    failure: SidecarError | None = None
    #: Until when it waits for room, and for how many seconds it has.
    patience: float | None = None
    waited: float = 0.0

    async def run(self, member: Member, parcel: P) -> Arrived[P, A]:
        """Until somebody has served it, or nobody could; it is put together for this member."""
        spare: Arrived[P, A] | None
        try:
            while True:
                if member in self.tried or not member.has_room:
                    other = await self._with_room()
                    if other is None:
                        return self._in_vain()
                    if other is not member:
                        member, parcel = other, await self.parcel_for(other)
                    continue  # it may have no room any more
                arrived = await self._try(member, parcel)
                if arrived is not None:
                    return arrived
                self.tried.add(member)
        finally:
            spare, self.spare = self.spare, None
            if spare is not None:
                spare.answer.close()

    def _left(self) -> list[Member]:
        """Who may be tried yet, the first first."""
        if self.requests == MAX_REQUESTS:
            return []
        found = router_of(self.services).candidates(self.model, self.session)
        return [member for member in found if member not in self.tried]

    async def _with_room(self) -> Member | None:
        """The first that has room, now or in a moment; None if there is none."""
        while True:
            left = self._left()
            free = next((member for member in left if member.has_room), None)
            if free is not None or not left:
                return free
            now = time.monotonic()
            if self.patience is None:
                self.patience = now + self.services.settings.retries.wait_for_room
            has_ended = await router_of(self.services).room(left, self.patience - now)
            self.waited += time.monotonic() - now
            if not has_ended:
                return None

    def _in_vain(self) -> Arrived[P, A]:
        """What its client gets where nobody served it."""
        if self.spare is not None:
            arrived, self.spare = self.spare, None
            return arrived
        if self.failure is not None:
            raise self.failure
        raise TargetsBusy(
            f"every target for {self.model or 'this request'} has as many requests as it may; try again soon"
        )

    async def _try(self, member: Member, parcel: P) -> Arrived[P, A] | None:
        """Send it there; None if it is to go elsewhere, where there is anybody else."""
        health = self.services.background.target_health
        assert health is not None
        has_others = router_of(self.services).count(self.model) - len(self.tried) > 1
        try:
            answer = await self.send(member, parcel, has_others)
        except SidecarError as error:
            if error.status < 500:
                raise  # it is the request's
            health.failed(member, is_reachable=not error.nothing_sent)
            if not error.nothing_sent:
                raise
            self._note(member, has_others=has_others, why=error.message)
            self.failure = error
            return None
        self.requests += 1
        health.answered(member, answer.status)
        arrived = Arrived(member, parcel, answer, self.requests)
        if not self._is_passed_on(answer.status):
            return arrived
        if self.is_settled is not None and await self.is_settled(answer, parcel):
            return arrived
        self._note(member, has_others=has_others, why=f"it answered {answer.status}")
        if self.spare is not None:
            self.spare.answer.close()
        self.spare = arrived
        return None

    def _is_passed_on(self, status: int) -> bool:
        return status in _BUSY or (status in _OF_GATEWAYS and self.services.settings.retries.gateway_errors)

    def _note(self, member: Member, *, has_others: bool, why: str) -> None:
        if not has_others:
            return
        assert self.services.background.target_health is not None
        self.services.background.target_health.passed_over(member)
        log.info(
            "a request goes to another target",
            extra={"target": member.pool.name, "member": member.key, "reason": why},
        )
