"""A chat over another API than its upstream speaks: where its requests go, and what its answers become.

While the upstream says nothing, the client gets signs of life, where its API has any (events over Responses):
between two pieces, and also before the first, so that the answer begins without the upstream. Rules: until
so much time has passed an error is a status of HTTP, as everywhere. Nothing else changes: a request is healed
and goes to other targets for as long as no upstream has answered, and what comes then goes on in the answer
that has begun. Where that is an error, of an upstream or of ours, the answer ends with it.
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
from sidecar.conversation.records import Reference, exchange_id
from sidecar.dialects.base import Translation
from sidecar.dialects.chat.joining import encode
from sidecar.errors import SidecarError
from sidecar.exchange.call import Call
from sidecar.exchange.outcome import Progress
from sidecar.proxy.build import UpstreamRequest
from sidecar.proxy.observers import response_headers
from sidecar.proxy.unrecorded import is_failure
from sidecar.upstream.response import OwnResponse, UpstreamResponse
from sidecar.upstream.target import Target

__all__ = [
    "ClientLeft",
    "Translated",
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


def translated_answer(request: web.BaseRequest, progress: Progress) -> Translated | None:
    """What makes of the answer what its client understands; None where that is the answer as it comes."""
    call, plan = progress.call, progress.plan
    assert call is not None
    if not call.dialect.is_translated:
        return None
    kept = plan.conversation if plan is not None else None
    exchange = Reference(kept.id if kept is not None else "", exchange_id(progress.when, progress.random))
    translation = call.dialect.translation(call.chat, exchange, progress.when // 1000, time.time)
    return Translated(request, progress, translation) if translation is not None else None


def translation_of(answer: Translated | None, status: int) -> Translation | None:
    """What makes it of an upstream's answer with this status."""
    if answer is None:
        return None
    return answer.translation if status < _FIRST_ERROR else answer.translation.refused(status)


class Translated:
    """The answer to one request. `response`: as far as it has begun before the upstream's."""

    def __init__(self, request: web.BaseRequest, progress: Progress, translation: Translation) -> None:
        self._request, self._progress = request, progress
        self.translation = translation
        self._telling: asyncio.Task[None] | None = None
        self.response: RelayedResponse | None = None

    async def until(self, sending: Awaitable[T]) -> T:
        """What this gives; its client gets signs of life meanwhile."""
        patience = self.translation.patience
        if patience is None:
            return await sending
        timer = asyncio.get_running_loop().call_later(patience, self._begin, patience)
        try:
            return await sending
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
        headers = response_headers(self._progress, _NO_HEADERS)
        headers |= {**self.translation.headers, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        response = RelayedResponse(200, "OK", CIMultiDict(headers), at_once=False)
        await response.prepare(self._request)
        self.response = response
        while True:
            await response.write(self.translation.alive())
            await asyncio.sleep(patience)


def patiently(answer: Translated | None, sending: Awaitable[T]) -> Awaitable[T]:
    """What this gives; a client whose API has signs of life gets them meanwhile."""
    return sending if answer is None else answer.until(sending)


def is_late(answer: Translated | None, progress: Progress) -> bool:
    """Does its client get the upstream's failure as the end of an answer? That is kept as any that failed."""
    if answer is None or answer.response is None or progress.status is None:
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
