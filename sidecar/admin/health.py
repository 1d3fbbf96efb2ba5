"""`/-/live`, `/-/ready`, `/-/metrics`, `/-/doctor`: for orchestrators and operators.

Live: the process answers. Ready: a reply could be recorded now (200, else 503), and the process is not about
to end. Whether the upstream is reachable is reported but not required: a model that is being restarted is no
reason to stop the sidecar. With `targets` each is reported, and one of them has to be reachable; the members
of one with several are reported by their places in its `url`, for addresses are not for everybody.
`/-/ready` reports only the states; reasons and addresses are in the log, addresses in the two others as well.

Anybody who reaches the port may read them, chat clients included, unless `admin.listen` or `admin.token`
restricts `/-/metrics` and `/-/doctor`. So none of them names a tenant, a conversation, a user or a
credential, or repeats content: they give counts, names of settings, and names of headers, programs and
models. Web pages of other sites cannot read them: no response allows another origin.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, TypeVar

from aiohttp import web
from multidict import CIMultiDict

from sidecar import __version__
from sidecar.admin.other_workers import ask
from sidecar.doctor.outages import Outage, joined
from sidecar.doctor.report import report
from sidecar.doctor.samples import Shared
from sidecar.doctor.targets import NOT_REACHABLE, OUT, REACHABLE, TargetState
from sidecar.errors import BadRequest, SidecarError, StoreUnavailable
from sidecar.proxy.services import Services
from sidecar.upstream.pool import Member, Pool
from sidecar.upstream.router import Router
from sidecar.upstream.target import Target

__all__ = ["asked", "doctor", "examined", "live", "metrics", "outages_of_all", "ready"]

log = logging.getLogger("sidecar.proxy")
T = TypeVar("T")

_STATES = (REACHABLE, NOT_REACHABLE, OUT)  # of a target's members the first of these counts
_PROBE_TIMEOUT = 2.0  # seconds: probes of orchestrators give up after a few


async def live(_services: Services, _request: web.BaseRequest) -> web.StreamResponse:
    """The process answers."""
    return web.json_response({"live": True, "version": __version__})


async def ready(services: Services, _request: web.BaseRequest) -> web.StreamResponse:
    """Could a turn be recorded now? Not by a process that ends: what comes next is for others."""
    if services.requests.open.ending.is_set():
        return web.json_response({"ready": False, "ending": True}, status=503)
    if services.router is not None:
        return await _ready_for_several(services, services.router)
    store, upstream = await asyncio.gather(_store(services), _upstream(services))
    is_ready = store == "writable"
    said = {"ready": is_ready, "store": store, "upstream": upstream}
    return web.json_response(said, status=200 if is_ready else 503)


async def _ready_for_several(services: Services, router: Router) -> web.StreamResponse:
    """With the state of each target. Where none can be reached, another sidecar may have one that can."""
    store, found = await asyncio.gather(_store(services), _targets(services, router))
    targets = {each.name: each.state for each in found}
    members = {
        each.name: {str(place): state for place, (_, state) in enumerate(each.members, 1)}
        for each in found
        if len(each.members) > 1
    }
    is_ready = store == "writable" and REACHABLE in targets.values()
    said = {"ready": is_ready, "store": store, "upstream": targets["default"], "targets": targets}
    return web.json_response(
        said | ({"members": members} if members else {}), status=200 if is_ready else 503
    )


async def metrics(services: Services, _request: web.BaseRequest) -> web.StreamResponse:
    """The counters, in Prometheus' text format."""
    for work, number in zip(("read", "write"), services.store.waiting(), strict=True):
        services.metrics.store_waiting.labels(work).set(number)
    reason = await services.background.store_room.look(_PROBE_TIMEOUT)
    _told(services, "room of the store", "not known" if reason else "known", reason)
    return web.Response(body=services.metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4"})


async def doctor(services: Services, request: web.BaseRequest) -> web.StreamResponse:
    """What the last clients sent, and what to change; `?last=N`: of the last N messages and their tasks."""
    last = request.query.get("last")
    if last is not None and not (last.isascii() and last.isdigit() and int(last[:9]) > 0):
        raise BadRequest("`last` has to be a number of messages, 1 or more", param="last")
    return web.json_response(await examined(services, None if last is None else int(last[:9])))


async def examined(services: Services, last: int | None = None) -> dict[str, Any]:
    """The doctor's report on the last messages and their tasks, on all that are remembered where `last` is
    None, by whichever worker; with it how many these are, and how many of them did not tell.
    """
    answers = await asked(services, "doctor", Shared)
    others = [each for each in answers if each is not None]
    samples = services.requests.samples
    store, upstream, targets = await asyncio.gather(
        _store(services), _upstream(services), _targets(services, services.router)
    )
    outages = await outages_of_all(services)
    files = services.background.slot_files
    slots = files.of_no_use if files is not None else []

    def made() -> dict[str, Any]:
        of_all = samples.joined(services.settings, others) if others else samples
        return report(services.settings, of_all, last, store, upstream, outages, slots, targets)

    # Counting thousands of requests takes a while, in which others are served.
    about = {"workers": 1 + len(answers), "silent": len(answers) - len(others)}
    return await asyncio.to_thread(made) | about


async def outages_of_all(services: Services) -> list[Outage]:
    """When the store failed, of all workers, as far as they answer."""
    others = await asked(services, "outages", list[Outage])
    own = services.background.store_health.outages.last
    return joined([*own, *(one for each in others if each for one in each)])


async def asked(services: Services, about: str, kind: type[T]) -> list[T | None]:
    """What each other worker tells of this; None for one that does not, or has nowhere to."""
    answers = await ask(services.requests.other_workers, about, kind)
    return answers + [None] * (services.settings.workers - 1 - len(answers))


async def _store(services: Services) -> str:
    try:
        await services.background.store_health.probe(_PROBE_TIMEOUT)
        await asyncio.wait_for(services.store.check(), _PROBE_TIMEOUT)
    except StoreUnavailable as error:
        return _told(services, "store", "failing", error.message)
    except TimeoutError:
        return _told(services, "store", "failing", f"it could not be read within {_PROBE_TIMEOUT:g} s")
    return _told(services, "store", "writable")


async def _upstream(services: Services) -> str:
    reason = await _unreachable(services.targets.default)
    return _told(services, "upstream", NOT_REACHABLE if reason else REACHABLE, reason)


async def _targets(services: Services, router: Router | None) -> list[TargetState]:
    """How each of several targets is; none where all go to one."""
    pools = router.pools if router is not None else ()
    return list(await asyncio.gather(*(_pool(services, pool) for pool in pools)))


async def _pool(services: Services, pool: Pool) -> TargetState:
    """The state of a target: one of its members is enough, if that is not out of health."""
    found = await asyncio.gather(*(_member(services, member) for member in pool.members))
    state, reason = min(((each, why) for _, each, why in found), key=lambda each: _STATES.index(each[0]))
    _told(services, f"target {pool.name}", state, reason)
    if len(found) > 1:
        for key, each, why in found:
            _told(services, f"member {key} of the target {pool.name}", each, why)
    return TargetState(pool.name, state, tuple((key, each) for key, each, _ in found))


async def _member(services: Services, member: Member) -> tuple[str, str, str]:
    """Its key, its state, and why it is not reachable."""
    if member.health.is_out:
        return member.key, OUT, "its last answers were failures"
    reason = await _unreachable(member.target)
    assert services.background.target_health is not None
    services.background.target_health.found(member, is_reachable=not reason)
    return member.key, NOT_REACHABLE if reason else REACHABLE, reason


async def _unreachable(target: Target) -> str:
    """Why it cannot be reached; nothing if it can. Any answer is enough: which paths an upstream has, and for
    whom, is not known here."""
    try:
        await target.fetch("HEAD", "/", CIMultiDict(), timeout=_PROBE_TIMEOUT, limit=0, attempts=1)
    except SidecarError as error:
        return "; ".join(filter(None, (error.message, error.logged.get("cure")))) or "it failed"
    return ""


def _told(services: Services, what: str, state: str, reason: str = "") -> str:
    """The state, once said in the log when it has become another: probes come every few seconds."""
    if services.requests.states.get(what) != state and (reason or what in services.requests.states):
        level = logging.WARNING if reason else logging.INFO
        log.log(level, f"the {what} is {state}", extra={"reason": reason} if reason else {})
    services.requests.states[what] = state
    return state
