"""A response that is made in the background: asked for, made, and ended.

Rules: the request takes the path that every other takes, in a task of its own, with a place that keeps the
events where the connection of its client would be. Its client is answered as soon as it is known where the
response is kept, before the upstream is asked; what is refused before that is refused as any other request.
However it ends, it is told so: completed, incomplete, failed, or, where somebody wanted that, cancelled.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack
from functools import partial
from typing import Any

from aiohttp import web
from msgspec.structs import replace
from multidict import CIMultiDict

from sidecar.aiohttp_internals.inner import InnerWriter, detached_request
from sidecar.conversation.exchange_record import Reference, exchange_id
from sidecar.dialects.chat.joining import encode
from sidecar.dialects.responses.dialect import Responses
from sidecar.dialects.responses.errors import refusal_in
from sidecar.dialects.responses.in_background import beginning_of, end_of, kept_as_failed, unmade
from sidecar.dialects.responses.in_background import response_in as response_told
from sidecar.dialects.responses.request import ResponsesRequest
from sidecar.dialects.responses.translation import headers_of
from sidecar.errors import BadRequest, SidecarError, StoreUnavailable
from sidecar.exchange.outcome import Progress
from sidecar.exchange.plan import session_of
from sidecar.proxy.again import Kept, kept_exchange, response_in
from sidecar.proxy.follow import follow
from sidecar.proxy.handle import handle
from sidecar.proxy.runs import Run
from sidecar.proxy.services import Services
from sidecar.proxy.tracked import TRACKED, own_headers

__all__ = ["made_in_background"]

log = logging.getLogger("sidecar.proxy")

# What is said of the body as it came, or of the connection.
_OF_THE_CONNECTION = ("Connection", "Upgrade", "Content-Encoding", "Transfer-Encoding", "Expect")
_OK = 200
_FAILED = "server_error"
_BROKE_OFF = "the answer broke off, or could not be kept"
_STOPPED = "the sidecar that made it was stopped before it was over"


async def made_in_background(
    services: Services, dialect: Responses, request: web.BaseRequest, body: bytes
) -> web.StreamResponse:
    """Begin to make it, and answer. Raises `SidecarError`."""
    run = services.runs.enter()
    making = _Making(services, dialect.apart(), request, body, run)
    services.background.tasks.spawn(making.run())
    try:
        told, headers = await asyncio.shield(making.begun)
    except asyncio.CancelledError:  # the client left before it could know of it
        run.stop(is_cancelled=True)
        raise
    asked, where = run.asked, run.where
    assert asked is not None
    assert where is not None
    if asked.is_followed:
        return await follow(services, request, making.tenant, where, -1, headers)
    return web.Response(body=encode(told), headers=headers)


class _Making:
    """One response, from its request to its end. `begun`: the response as it is told at first, with
    headers."""

    def __init__(
        self, services: Services, dialect: Responses, request: web.BaseRequest, body: bytes, run: Run
    ) -> None:
        self._services, self._dialect = services, dialect
        self._outer, self._body, self._run = request, body, run
        self.begun: asyncio.Future[tuple[dict[str, Any], dict[str, str]]]
        self.begun = asyncio.get_running_loop().create_future()
        self.tenant = b""
        self._counted = ExitStack()  # from here on, before its client can leave
        if services.gate is not None:
            self._counted.enter_context(services.gate.counted_on(request))

    async def run(self) -> None:
        """Make it, to its end or to that of the process."""
        run = self._run
        run.making = asyncio.ensure_future(self._make())
        if run.is_stopped:
            run.making.cancel()
        stopping = asyncio.ensure_future(self._services.background.tasks.stopping.wait())
        try:
            await asyncio.wait((run.making, stopping), return_when=asyncio.FIRST_COMPLETED)
            run.stop()
            await asyncio.wait((run.making,))
            await self._ended(_error_of(run.making))
        finally:
            stopping.cancel()
            self._services.runs.leave(run)
            self._counted.close()

    async def _make(self) -> None:
        services, run = self._services, self._run
        headers = CIMultiDict(self._outer.headers)
        for name in _OF_THE_CONNECTION:
            headers.popall(name, None)
        writer = InnerWriter(run.tell)
        run.request = request = detached_request(self._outer, headers, self._body, writer)
        self._body = b""
        # It is found by the same, whoever answers it.
        response = await handle(services, self._dialect, request, request.get(TRACKED), self._begin)
        await response.prepare(request)  # if it has not begun
        await response.write_eof()

    async def _begin(self, progress: Progress) -> None:
        """It is known where it is kept: tell all of it. Raises `SidecarError`."""
        call, plan = progress.call, progress.plan
        assert call is not None
        assert isinstance(call.chat, ResponsesRequest)
        if plan is None or plan.conversation is None:
            raise BadRequest(
                "`background`: what is made in the background is kept, and nothing is kept of this chat",
                code="unsupported_value",
                param="background",
            )
        if plan.degraded:
            raise StoreUnavailable("the store does not work, and a response in the background is kept there")
        run, asked, self.tenant = self._run, call.chat.asked, call.identity.tenant
        where = Reference(plan.conversation.id, exchange_id(progress.when, progress.random))
        run.begin(where, asked, progress.when // 1000)
        response, events = beginning_of(asked, where, run.created)
        await self._services.runs.begin(run, self.tenant, encode(response), events)
        headers = headers_of(asked, "application/json")
        if progress.tracked is not None:
            headers |= own_headers(progress.tracked)
        if name := call.identity.key or session_of(plan):
            headers["X-Conversation-ID"] = name
        if not self.begun.done():
            self.begun.set_result((response, headers))

    async def _ended(self, error: BaseException | None) -> None:
        """Tell its end, or, to who waits for it, why it did not begin."""
        run = self._run
        if run.where is None or self._services.runs.find(run.where) is None:
            if not self.begun.done():
                self.begun.set_exception(error or SidecarError("it ended before it began"))
                self.begun.exception()  # nobody may wait for it any more
            return
        try:
            await run.write()
            kept = await self._kept()
            if run.end:
                events, told = [run.end], b"" if kept else response_told(run.end)
            else:
                work = partial(response_in, kept) if kept else partial(self._unmade, error)
                response = await asyncio.to_thread(work)
                events, told = end_of(response, run.last + 1), b"" if kept else encode(response)
            last = run.last + len(events)
            await self._services.store.end_response(run.where, told, last, run.kept_end(events))
        except StoreUnavailable as failure:  # whoever asks for it will find that nobody makes it
            self._services.background.store_health.report("response", failure)

    async def _kept(self) -> Kept | None:
        """What the tree has of it. One that was stopped, and that nobody cancelled, failed."""
        run, store = self._run, self._services.store
        assert run.where is not None
        kept = await kept_exchange(store, self.tenant, run.where)
        told = kept.exchange.detail.told if kept is not None else None
        if kept is None or told is None or run.end or run.is_cancelled or not run.is_stopped:
            return kept
        exchange = kept.exchange
        told = await asyncio.to_thread(kept_as_failed, told, _STOPPED)
        exchange = replace(exchange, detail=replace(exchange.detail, told=told))
        return Kept(exchange, kept.reply) if await store.amend(self.tenant, exchange) else None

    def _unmade(self, error: BaseException | None) -> dict[str, Any]:
        """The response of which nothing is kept."""
        run = self._run
        assert run.asked is not None
        assert run.where is not None
        about: dict[str, Any] | None = None
        if run.status != _OK:
            about = refusal_in(bytes(run.refusal), run.status)
        elif not run.is_cancelled:
            message = error.message if isinstance(error, SidecarError) else _BROKE_OFF
            about = {"code": _FAILED, "message": _STOPPED if run.is_stopped else message}
        return unmade(run.asked, run.where, run.created, about)


def _error_of(task: asyncio.Task[None]) -> BaseException | None:
    """What ended it; nothing if it came to its own end, or was stopped."""
    if task.cancelled():
        return None
    error = task.exception()
    if error is None or isinstance(error, (SidecarError, web.HTTPException, ConnectionResetError)):
        return error
    log.error("an unexpected error", exc_info=error)
    return SidecarError("the sidecar failed; see its log")
