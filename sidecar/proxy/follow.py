"""The events of a response that is made in the background, for whoever follows it, wherever it is made.

Rules: a follower gets the same events under the same numbers as the first one, from whichever on it asks for.
What is made here is told as it comes; what another process makes, as it is stored, a few times a second. A
response whose process is gone has failed; whoever comes across it says so to all. Whoever follows holds up
nobody: the one who reads slowly reads from the store.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial

from aiohttp import web

from sidecar.conversation.exchange_record import Reference
from sidecar.conversation.running_response import KeptEvents, RunningResponse
from sidecar.dialects.chat.joining import encode
from sidecar.dialects.responses.in_background import (
    end_of,
    error_behind,
    failed_with,
    joined_after,
    packed,
)
from sidecar.dialects.responses.translation import LAST, PATIENCE
from sidecar.errors import BadRequest, StoreUnavailable
from sidecar.proxy.again import kept_exchange, response_in
from sidecar.proxy.runner import is_gone
from sidecar.proxy.runs import SILENT
from sidecar.proxy.services import Services

__all__ = ["follow", "settled"]

_PAUSE = 0.25  # seconds between two looks at what another process makes
_AT_ONCE = 4  # pieces of events, each of which may be a megabyte
_LARGE = 16 << 10  # packed bytes of them that take a while to unpack
_STILL_WAITING = b": still waiting\n\n"
_GONE = "the process that made it ended before it was over"
_NOT_KEPT = "events_not_kept"


async def settled(services: Services, tenant: bytes, where: Reference) -> RunningResponse | None:
    """The response, if it is made in the background, or was a while ago; one whose process is gone is
    over."""
    store = services.store
    found = await store.running_response(tenant, where)
    if found is None or found.ended is not None or services.runs.find(where) is not None:
        return found
    # What this process says that it makes, and does not, could not be ended when it was over.
    is_lost = found.runner == services.runs.name or found.silent > SILENT or is_gone(found.runner)
    if not is_lost:
        return found
    kept = await kept_exchange(store, tenant, where)
    response = response_in(kept) if kept is not None else failed_with(found.told, _GONE)
    events = end_of(response, found.last + 1)
    last = found.last + len(events)
    told = b"" if kept is not None else encode(response)
    await store.end_response(where, told, last, packed(events, found.last + 1))
    return await store.running_response(tenant, where)


async def follow(
    services: Services,
    request: web.BaseRequest,
    tenant: bytes,
    where: Reference,
    after: int,
    headers: Mapping[str, str],
) -> web.StreamResponse:
    """Its events behind that of the number `after`, to its end. Raises `SidecarError`."""
    following = _Following(services, tenant, where, after)
    await following.look()
    about = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    response = web.StreamResponse(headers={**headers, **about})
    await response.prepare(request)
    told = time.monotonic()
    while not following.is_over:
        data = await following.next()
        if data:
            await response.write(data)
            told = time.monotonic()
        elif time.monotonic() - told > PATIENCE:
            await response.write(_STILL_WAITING)
            told = time.monotonic()
    await response.write_eof(LAST)
    return response


class _Following:
    def __init__(self, services: Services, tenant: bytes, where: Reference, after: int) -> None:
        self._services, self._tenant, self._where, self._after = services, tenant, where, after
        self.is_over = False

    async def look(self) -> None:
        """Raises `BadRequest` where nobody can follow it any more, as one follows from there."""
        found = await self._in_time()
        if found is None:
            raise BadRequest(
                "it is not made in the background, or was over long ago, and its events are kept no longer:"
                " leave out `stream`",
                code="unsupported_value",
                param="stream",
            )
        if self._services.runs.find(self._where) is None and found.ended is not None:
            kept = await self._services.store.response_events(self._tenant, self._where, self._after, 1)
            if self._after < found.last and not _goes_on(kept, self._after):
                raise BadRequest(self._not_kept(), code=_NOT_KEPT, param="starting_after")

    async def next(self) -> bytes:
        """What there is to tell, after a while of waiting at most; it may be nothing."""
        run = self._services.runs.find(self._where)
        if run is not None and (data := run.since(self._after)) is not None:
            self._after = max(self._after, run.last)
            if not data:
                await run.change(PATIENCE)
            return data
        try:
            return await self._stored()
        except StoreUnavailable as error:
            return self._broken(error.message, error.code)

    async def _stored(self) -> bytes:
        found = await self._in_time()
        if found is None:
            return self._broken("it was deleted", "response_not_found")
        kept = await self._services.store.response_events(self._tenant, self._where, self._after, _AT_ONCE)
        if _goes_on(kept, self._after):
            work = partial(joined_after, kept, self._after)
            self._after = kept[-1].last
            return await asyncio.to_thread(work) if sum(len(each.data) for each in kept) > _LARGE else work()
        if kept or (found.ended is not None and self._after < found.last):
            return self._broken(self._not_kept(), _NOT_KEPT)
        if found.ended is not None:
            self.is_over = True
        else:
            await asyncio.sleep(_PAUSE)
        return b""

    async def _in_time(self) -> RunningResponse | None:
        limit = self._services.settings.timeouts.store
        try:
            async with asyncio.timeout(limit):
                return await settled(self._services, self._tenant, self._where)
        except TimeoutError as error:
            self._services.background.store_health.timed_out()
            raise StoreUnavailable(
                f"the store did not answer within `timeouts.store` = {limit:g} s"
            ) from error

    def _broken(self, message: str, code: str) -> bytes:
        """The last that is told, though the response goes on, or had more to tell."""
        self.is_over = True
        return error_behind(message, code, self._after + 1)

    def _not_kept(self) -> str:
        most = self._services.settings.limits.background_events
        return f"its events take more than `limits.background_events` = {most}: ask for the response itself"


def _goes_on(kept: list[KeptEvents], after: int) -> bool:
    """Do these events begin right behind the one of this number, or before it?"""
    return bool(kept) and kept[0].first <= after + 1
