"""A target of `targets`, or the default one beside them: its models, and its members, one for each URL."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from multidict import CIMultiDict
from yarl import URL

from sidecar.errors import SidecarError
from sidecar.settings import RoutedTarget
from sidecar.upstream.choice import in_order
from sidecar.upstream.health import Health
from sidecar.upstream.response import HeldResponse, UpstreamResponse
from sidecar.upstream.slots import Slots
from sidecar.upstream.target import Fetched, Target

__all__ = ["AWAY", "Member", "Pool"]

#: Answers that say that who should answer is away.
AWAY = frozenset((502, 503, 504))
_NO_HELP = AWAY | {429}
# Seconds after which the next member is asked as well for what any of them can tell.
_PATIENCE = 1.0


class Member:
    """One URL of a target: what is under way there, and how it has done. `key`: its name for the hash."""

    def __init__(self, pool: Pool, target: Target, key: str, slots: int) -> None:
        self.pool = pool
        self.target = target
        self.key = key
        self.slots = Slots(slots)
        self.health = Health()
        self.under_way = 0

    @property
    def told(self) -> str | None:
        """Its name for records and the log; None where the target has no other."""
        pool = self.pool
        return self.key if len(pool.members) > 1 or pool.made_at is not None else None

    @property
    def has_room(self) -> bool:
        return self.pool.parallel is None or self.under_way < self.pool.parallel

    def enter(self) -> Held:
        """One request more is under way."""
        self.under_way += 1
        self.pool.count()
        return Held(self)


class Held:
    """The place of one request at a member, until it is released."""

    __slots__ = ("_member",)

    def __init__(self, member: Member) -> None:
        self._member: Member | None = member

    def release(self) -> None:
        """It has ended; once is enough."""
        member, self._member = self._member, None
        if member is not None:
            member.under_way -= 1
            member.pool.wake()

    def over(self, answer: UpstreamResponse) -> UpstreamResponse:
        """The answer, with which it ends."""
        return HeldResponse(answer, self.release)


class Pool:
    """A target that requests are led to. `options`: None for the default one, which serves all the rest.
    `slots`: of the engine at each of its URLs, if that is known."""

    def __init__(self, name: str, options: RoutedTarget | None, *, is_agent: bool, slots: int = 0) -> None:
        self.name = name
        self.priority = options.priority if options is not None else 0
        self.parallel = options.parallel if options is not None else None
        #: How many requests each of its members answers at once, if that is known.
        self.room = self.parallel or slots or None
        self.is_agent = is_agent
        self.forwards = options is None or options.forward_credential
        self.renames: Mapping[str, str] = options.rename if options is not None else {}
        self._options = options
        self.members: Sequence[Member] = ()
        #: Its URL, and what makes a member for one of the addresses of its name, where those are watched.
        self.base = URL()
        self.made_at: Callable[[str], Member] | None = None
        #: Told of a member to which no connection came about.
        self.unreachable: Callable[[Member], None] = _nobody_is_told
        self._known: Sequence[Member] = ()
        self._by_key: dict[str, Member] = {}
        self._begun = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def serves(self, model: str) -> bool:
        """Is it for this model, by the name that clients use?"""
        return self._options is None or self._options.serves(model)

    def named(self, model: str | None) -> str | None:
        """The name of a model there."""
        return self.renames.get(model, model) if self.renames and model is not None else model

    def maker(self, model: str | None) -> str | None:
        """By which name its answers are known as those of this model here: no other target reads what only
        their maker understands."""
        if self._options is None or model is None:
            return model
        return f"{self.named(model)} @{self.name}"

    def in_order(self, session: str | None) -> list[Member]:
        """Its members in the order in which a request of this session is to be tried."""
        members = self.members
        if len(members) == 1:
            return list(members)
        if members is not self._known:
            self._known, self._by_key = members, {each.key: each for each in members}
        by_key = self._by_key
        if session is None:  # those that have as little to do take turns
            at = self._begun % len(members)
            members = [*members[at:], *members[:at]]
        loads = {each.key: each.under_way for each in members}
        return [by_key[key] for key in in_order(session, loads, self.room)]

    @property
    def takes(self) -> frozenset[str]:
        """The credential headers of clients (lower case) that go there: to each member the same."""
        return self.members[0].target.takes

    async def fetch(
        self,
        method: str,
        path: str,
        headers: CIMultiDict[str],
        body: bytes | None = None,
        *,
        timeout: float,
        limit: int,
        attempts: int | None = None,
    ) -> Fetched:
        """As `Target.fetch`, for what any member can tell and nobody has to work for; `timeout` is for all.

        Those that are in use are asked first; the next one where there is no answer, or one that says that it
        cannot serve now, and beside it where it is silent for `_PATIENCE`: without power nothing is refused.
        """
        end = time.monotonic() + timeout
        members = sorted(self.members, key=lambda each: each.health.is_out)

        async def ask(member: Member) -> Fetched:
            left = max(0.0, end - time.monotonic())
            most = attempts if len(members) == 1 else 1
            try:
                return await member.target.fetch(
                    method, path, headers, body, timeout=left, limit=limit, attempts=most
                )
            except SidecarError as error:
                if error.nothing_sent:
                    self.unreachable(member)
                raise

        return await _first_answer(members, ask)

    def learn(self, models: Fetched) -> None:
        """As `Target.learn`, for each member: they are of one kind."""
        for member in self.members:
            member.target.learn(models)

    def count(self) -> None:
        """A request more has begun."""
        self._begun += 1

    def wake(self) -> None:
        """A request has ended: who waits first may look again."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return

    def wait(self, waiting: asyncio.Future[None]) -> None:
        """Have this done once a request has ended."""
        self._waiting.append(waiting)


def _nobody_is_told(_member: Member) -> None:
    pass


async def _first_answer(
    members: Sequence[Member], ask: Callable[[Member], Coroutine[Any, Any, Fetched]]
) -> Fetched:
    """The first answer that helps; else any answer, else why there is none."""
    to_ask = deque(members)
    under_way = {asyncio.create_task(ask(to_ask.popleft()))}
    answer: Fetched | None = None
    failure: BaseException | None = None
    try:
        while under_way and (answer is None or answer.status in _NO_HELP):
            done, under_way = await asyncio.wait(
                under_way, timeout=_PATIENCE if to_ask else None, return_when=asyncio.FIRST_COMPLETED
            )
            for each in done:
                if (error := each.exception()) is not None:
                    failure = failure or error
                elif answer is None or answer.status in _NO_HELP:
                    answer = each.result()
            if to_ask and (answer is None or answer.status in _NO_HELP):
                under_way.add(asyncio.create_task(ask(to_ask.popleft())))
    finally:
        for each in under_way:
            each.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
    if answer is not None:
        return answer
    assert failure is not None
    raise failure
