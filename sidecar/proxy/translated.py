"""A chat over another API than its upstream speaks: where its requests go, and what its answers become.

While nothing can be told, the client gets signs of life, where its API has any (events over Responses):
between two pieces, and also before the first, so that the answer begins without the upstream, be that silent
or not yet asked, since the request stands in line. Rules: until so much time has passed since the request
came an error is a status of HTTP, as everywhere. Nothing else changes: a request is healed and goes to other
targets for as long as no upstream has answered, and what comes then goes on in the answer that has begun.
Where that is an error, of an upstream or of ours, the answer ends with it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import web
from multidict import CIMultiDict

from sidecar.aiohttp_internals.relayed import RelayedResponse
from sidecar.conversation.exchange_record import Reference, exchange_id
from sidecar.dialects.base import Translation
from sidecar.dialects.chat.joining import encode
from sidecar.errors import SidecarError
from sidecar.exchange.call import Call
from sidecar.exchange.outcome import Progress
from sidecar.exchange.plan import Plan
from sidecar.proxy.observers import headers_in_line, response_headers
from sidecar.proxy.unrecorded import is_failure
from sidecar.proxy.upstream_request import UpstreamRequest
from sidecar.upstream.response import OwnResponse, UpstreamResponse
from sidecar.upstream.target import Target

__all__ = [
    "ClientLeft",
    "Translated",
    "has_begun",
    "instead_of",
    "is_late",
    "path_of",
    "patiently",
    "read_patiently",
    "translated_answer",
    "translation_of",
]

log = logging.getLogger("sidecar.proxy")

_FIRST_ERROR = 400
_NO_HEADERS: dict[str, str] = {}
T = TypeVar("T")


def path_of(call: Call, composed: UpstreamRequest, request: web.BaseRequest, target: Target) -> str:
    """Where it goes. What is to be translated has to come in a form that can be read."""
    path = request.raw_path
    if call.dialect.is_translated:
        composed.headers["Accept-Encoding"] = "identity"
        path = call.dialect.upstream_path(path)
    return target.chat_path(path)


def translated_answer(request: web.BaseRequest, progress: Progress, plan: Plan) -> Translated | None:
    """What makes of the answer what its client understands; None where that is the answer as it comes."""
    call, kept = progress.call, plan.conversation
    assert call is not None
    if not call.dialect.is_translated:
        return None
    exchange = Reference(kept.id if kept is not None else "", exchange_id(progress.when, progress.random))
    translation = call.dialect.translation(call.chat, exchange, progress.when // 1000, time.time)
    return Translated(request, progress, plan, translation) if translation is not None else None


def translation_of(answer: Translated | None, status: int) -> Translation | None:
    """What makes it of an upstream's answer with this status."""
    if answer is None:
        return None
    return answer.translation if status < _FIRST_ERROR else answer.translation.refused(status)


class Translated:
    """The answer to one request. `response`: as far as it has begun before the upstream's."""

    def __init__(
        self, request: web.BaseRequest, progress: Progress, plan: Plan, translation: Translation
    ) -> None:
        self._request, self._progress, self._plan = request, progress, plan
        self.translation = translation
        self._heard = progress.received  # when its client was last told something, or had asked
        self._telling: asyncio.Task[None] | None = None
        self.response: RelayedResponse | None = None

    async def until(self, waiting: Awaitable[T]) -> T:
        """What this gives; its client gets signs of life meanwhile."""
        patience = self.translation.patience
        if patience is None:
            return await waiting
        left = max(0.0, self._heard + patience - time.monotonic())
        timer = asyncio.get_running_loop().call_later(left, self._begin, patience)
        try:
            return await waiting
        finally:
            timer.cancel()
            if self._telling is not None:
                await _ended(self._telling)

    def told(self, error: SidecarError) -> OwnResponse:
        """An error of ours, as an upstream would say it."""
        level, event = (logging.INFO, "refused") if error.status < 500 else (logging.WARNING, "failed")
        about = {"status": error.status, "code": error.code, "error": error.message}
        log.log(level, event, extra={**about, **error.logged})
        self._progress.status, self._progress.error = error.status, error.code
        return OwnResponse(error.status, encode(error.body()))

    def _begin(self, patience: float) -> None:
        self._telling = asyncio.ensure_future(self._tell(patience))

    async def _tell(self, patience: float) -> None:
        response = self.response or await self._begun()
        while True:
            await response.write(self.translation.alive())
            self._heard = time.monotonic()
            await asyncio.sleep(patience)

    async def _begun(self) -> RelayedResponse:
        progress = self._progress
        if progress.is_in_line:
            headers = headers_in_line(progress, self._plan)
        else:
            headers = response_headers(progress, _NO_HEADERS)
        headers |= {**self.translation.headers, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        response = RelayedResponse(200, "OK", CIMultiDict(headers), at_once=False)
        await response.prepare(self._request)
        self.response = response
        return response


def patiently(answer: Translated | None, waiting: Awaitable[T]) -> Awaitable[T]:
    """What this gives; a client whose API has signs of life gets them meanwhile."""
    return waiting if answer is None else answer.until(waiting)


def has_begun(answer: Translated | None) -> bool:
    """Does its client know its id?"""
    return answer is not None and answer.response is not None


def is_late(answer: Translated | None, progress: Progress) -> bool:
    """Does its client get the upstream's failure as the end of an answer? That is kept as any that failed."""
    if not has_begun(answer) or progress.status is None:
        return False
    return is_failure(progress.status, progress)


def instead_of(answer: Translated | None, error: BaseException) -> OwnResponse | None:
    """This error of ours in place of the upstream's answer; None where it is for a status to tell."""
    if answer is None or answer.response is None or not isinstance(error, SidecarError):
        return None
    return answer.told(error)


class ClientLeft(ConnectionResetError):
    """It is the client that broke off, and not the upstream."""


async def read_patiently(
    upstream: UpstreamResponse, translation: Translation, write: Callable[[bytes], Awaitable[None]]
) -> bytes:
    """The next piece; as long as there is none, a sign of life now and then. Raises one of `STREAM_ERRORS`,
    or `ClientLeft`."""
    while True:
        silence = asyncio.timeout(translation.patience)
        try:
            async with silence:
                return await upstream.readany()
        except TimeoutError:
            if not silence.expired():
                raise  # it is the upstream that waits no longer
        try:
            await write(translation.alive())
        except ConnectionResetError as error:
            raise ClientLeft from error


async def _ended(telling: asyncio.Task[None]) -> None:
    """No more signs: whatever comes now is the upstream's."""
    telling.cancel()
    await asyncio.wait((telling,))
    if not telling.cancelled() and not isinstance(error := telling.exception(), ConnectionResetError):
        assert error is not None
        raise error
