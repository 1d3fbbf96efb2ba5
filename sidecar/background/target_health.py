"""Which members of targets are out, and whether they are well again.

Rules: a member that is out gets no request of a client's while another could serve it; once its time is over
it is asked for its list of models, until it gives any answer that does not say that it is away (502, 503,
504). Who is out, and who is back, is logged and counted. One to which no connection came about, be it for
`/-/ready`, is not up from then on, though it is not out, until it was reached again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import cache

from multidict import CIMultiDict

from sidecar.background.tasks import Spawn
from sidecar.errors import SidecarError
from sidecar.metrics import Metrics
from sidecar.upstream.pool import AWAY, Member
from sidecar.upstream.router import Router

__all__ = ["TargetHealth"]

log = logging.getLogger("sidecar.proxy")

_TIMEOUT = 5.0  # seconds for an answer to a probe
_EVERY = 10.0  # seconds between probes of one that could not be reached


class TargetHealth:
    """Told of each answer and failure; probes those that are out or were not reached. `stop` it."""

    def __init__(self, router: Router, metrics: Metrics, spawn: Spawn) -> None:
        self._spawn = spawn
        self._told = metrics.of_targets()
        self._requests = cache(self._told.requests.labels)
        self._probes: dict[Member, asyncio.Task[None]] = {}
        self._not_reached: dict[Member, asyncio.Task[None]] = {}
        for pool in router.pools:
            pool.unreachable = self.unreachable
            self._told.up.labels(pool.name).set(1)
            for member in pool.members:
                self._set_member_up(member)

    def answered(self, member: Member, status: int) -> None:
        """It has answered a request."""
        name = member.pool.name
        if status in AWAY:
            self._requests(name, "away").inc()
            self._note_failure(member)
            return
        self._requests(name, "busy" if status == 429 else "answered").inc()
        was_out = member.health.is_out
        member.health.answered()
        if was_out:
            self._probes.pop(member).cancel()
            self._say_back(member)
        if self._not_reached:
            self.found(member, is_reachable=True)

    def failed(self, member: Member, *, is_reachable: bool) -> None:
        """It could not be reached, or broke off before its answer began."""
        self._requests(member.pool.name, "failed").inc()
        self._note_failure(member)
        if not is_reachable:
            self.found(member, is_reachable=False)

    def unreachable(self, member: Member) -> None:
        """No connection came about for something that is none of a client's requests, such as a list."""
        self._note_failure(member)
        self.found(member, is_reachable=False)

    def found(self, member: Member, *, is_reachable: bool) -> None:
        """What somebody who asked it has just found. Three failures take it out, but one is known at once."""
        if is_reachable:
            self._is_reached(member)
        elif not (member.health.is_out or member in self._not_reached or member.pool.made_at is not None):
            self._not_reached[member] = self._spawn(self._until_reached(member))
            self._set_up(member)

    def passed_over(self, member: Member) -> None:
        """A request of its own went elsewhere."""
        self._told.fail_overs.labels(member.pool.name).inc()

    def stop(self) -> None:
        """The process ends: nobody needs to know any more."""
        for probe in (*self._probes.values(), *self._not_reached.values()):
            probe.cancel()

    def _note_failure(self, member: Member) -> None:
        if member.health.failed(time.monotonic()):
            log.warning("a target is out", extra=_about(member))
            self._is_reached(member)  # or not: the probe tells that
            self._set_up(member)
            self._probes[member] = self._spawn(self._probe(member))

    async def _probe(self, member: Member) -> None:
        while (until := member.health.out_until) is not None:
            await asyncio.sleep(max(0.0, until - time.monotonic()))
            is_well = await _is_well(member)
            member.health.probed(time.monotonic(), is_well=is_well)
        self._probes.pop(member, None)
        self._say_back(member)

    async def _until_reached(self, member: Member) -> None:
        is_well = False
        while not is_well:
            await asyncio.sleep(_EVERY)
            is_well = await _is_well(member)
        self._not_reached.pop(member, None)
        self._set_up(member)

    def _is_reached(self, member: Member) -> None:
        if (probe := self._not_reached.pop(member, None)) is not None:
            probe.cancel()
            self._set_up(member)

    def _is_up(self, member: Member) -> bool:
        return not member.health.is_out and member not in self._not_reached

    def _say_back(self, member: Member) -> None:
        log.info("a target is back", extra=_about(member))
        self._set_up(member)

    def _set_up(self, member: Member) -> None:
        is_up = any(map(self._is_up, member.pool.members))
        self._told.up.labels(member.pool.name).set(int(is_up))
        self._set_member_up(member)

    def _set_member_up(self, member: Member) -> None:
        # Addresses of a name come and go, and a label would stay.
        if len(member.pool.members) > 1 and member.pool.made_at is None:
            self._told.member_up.labels(member.pool.name, member.key).set(int(self._is_up(member)))


async def _is_well(member: Member) -> bool:
    headers = CIMultiDict({"Accept": "application/json", "Accept-Encoding": "identity"})
    try:
        answer = await member.target.fetch(
            "GET", "/v1/models", headers, timeout=_TIMEOUT, limit=0, attempts=1
        )
    except SidecarError:
        return False
    return answer.status not in AWAY


def _about(member: Member) -> dict[str, str]:
    return {"target": member.pool.name, "member": member.key}
