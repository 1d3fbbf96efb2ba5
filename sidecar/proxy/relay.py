"""The reply on its way to the client: every byte as it came, chunk by chunk, with back-pressure.

Only where its client speaks another API than the upstream are they not the bytes that came.

Nothing is held back but the end, until the reply is in the store: of an event stream the line
`data: [DONE]`, of any other body its last piece. What the client sees finish is therefore durable, but for
`history.commit = after_end` and a store that fails or takes too long: who holds the history does not wait.

A client that leaves ends the upstream's work at once, or, if so set, the rest is read for the record.
An upstream that breaks off is passed on as just that: the client's connection breaks off too.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from aiohttp import HttpVersion11, web

from sidecar.aiohttp_internals.relayed import RelayedResponse
from sidecar.conversation.tree import State
from sidecar.dialects.base import End, Translation
from sidecar.errors import StoreUnavailable
from sidecar.exchange.outcome import UPSTREAM_BROKE_OFF, Progress, error_code
from sidecar.proxy.ends import end_of
from sidecar.proxy.record import Recording
from sidecar.proxy.stopped import is_forgotten, is_stopped
from sidecar.proxy.translated import ClientLeft, Translated, read_patiently, translation_of
from sidecar.upstream.content_encoding import coding_of, decompressed
from sidecar.upstream.failures import kind_of
from sidecar.upstream.headers import DEGRADED, from_upstream, without_controls
from sidecar.upstream.response import STREAM_ERRORS, UpstreamResponse

__all__ = ["read_on", "relay", "relay_recorded"]

log = logging.getLogger("sidecar.proxy")

_MAX_ERROR_SIZE = 64 << 10  # bytes of an error in which its code is looked for
# Headers of the upstream's that are about its own bytes (RFC 9110, 8; 9530).
_OF_ITS_BODY = ("Content-Length", "Content-Encoding", "Content-MD5", "Content-Digest", "Repr-Digest", "ETag")


async def relay(
    request: web.BaseRequest,
    upstream: UpstreamResponse,
    extra: Mapping[str, str],
    progress: Progress | None = None,
    translated: Translated | None = None,
) -> web.StreamResponse:
    """Pass a response on, without a copy. `progress`: of a chat, which is told how it ended."""
    translation = translation_of(translated, upstream.status)
    response = _response(upstream, extra, translation, translated)
    read = upstream.readany
    if translation is not None and translation.patience is not None:
        read = partial(read_patiently, upstream, translation, response.write)
    watch = _watch(upstream, progress)
    try:
        await response.prepare(request)
        while True:
            try:
                chunk = await read()
            except ClientLeft:
                raise
            except STREAM_ERRORS as error:
                if progress is not None:
                    progress.error = UPSTREAM_BROKE_OFF
                if translation is not None:
                    break  # which says so
                _break_off(request, error)
                return response
            if not chunk:
                break
            if watch is not None:
                watch = watch(chunk)
            await response.write(chunk if translation is None else translation.feed(chunk))
        if progress is not None and watch is not None:
            watch(b"")
        await response.write_eof(b"" if translation is None else translation.close() + translation.held)
    finally:
        upstream.close()
    return response


_Watch = Callable[[bytes], "_Watch | None"]  # gives what is to see the next piece


def _watch(upstream: UpstreamResponse, progress: Progress | None) -> _Watch | None:
    """What sees the pieces of a reply that is not recorded, for as long as they tell something."""
    if progress is None:
        return None
    if upstream.status >= 400:
        return _ErrorWatch(upstream, progress)
    return _first_piece(progress) if progress.streamed else None


def _first_piece(progress: Progress) -> _Watch:
    def watch(_piece: bytes) -> None:
        progress.first = time.monotonic()

    return watch


class _ErrorWatch:
    """Collects the body of an error, up to a limit, and says its code once it has come."""

    def __init__(self, upstream: UpstreamResponse, progress: Progress) -> None:
        self._coding, self._progress = coding_of(upstream.headers), progress
        self._body = b""

    def __call__(self, piece: bytes) -> _ErrorWatch:
        if len(self._body) <= _MAX_ERROR_SIZE:
            self._body += piece
        if not piece:
            self._progress.error = error_code(decompressed(self._body, self._coding, _MAX_ERROR_SIZE)[0])
        return self


async def relay_recorded(
    request: web.BaseRequest,
    upstream: UpstreamResponse,
    extra: Mapping[str, str],
    recording: Recording,
    translated: Translated | None = None,
) -> web.StreamResponse:
    """Pass a reply on and keep it. Returns when the client has its end, and the store too."""
    # Where the first piece is at hand, the head goes with it.
    response = _response(upstream, extra, recording.translation, translated, at_once=not upstream.head)
    recording.response = response
    relaying = _Relay(request, upstream, response, recording)
    keeping: asyncio.Future[None] | None = None
    try:
        await relaying.run()
    except (asyncio.CancelledError, ConnectionResetError):
        keeping = relaying.client_left()
        # Waited for, so that whoever comes next in this conversation finds what was kept.
        await asyncio.wait((keeping,))
        raise
    finally:
        relaying.release()
        if keeping is None or keeping.done():
            upstream.close()
        else:  # told to end while it is read on: the one who reads is told as well
            keeping.add_done_callback(lambda _: upstream.close())
    return response


class _Relay:
    """One reply between its two connections, and the one commit that it ends with."""

    def __init__(
        self,
        request: web.BaseRequest,
        upstream: UpstreamResponse,
        response: RelayedResponse,
        recording: Recording,
    ) -> None:
        self._request = request
        self._upstream = upstream
        self._response = response
        self._recording = recording
        self._translation = translation = recording.translation
        self._end: End = translation or end_of(recording)
        self._read: Callable[[], Awaitable[bytes]] = upstream.readany
        if translation is not None and translation.patience is not None:
            self._read = partial(read_patiently, upstream, translation, self._write)
        self._commit: asyncio.Task[None] | None = None
        # Has the end been held back for as long as it may be?
        self._waited = False

    async def run(self) -> None:
        """Relay to the end. Cancelled, or a connection error of the client's: see `client_left`."""
        response, upstream, kept = self._response, self._upstream, self._recording.kept
        data = kept.data
        end, is_begun, read = self._end, False, self._read
        if self._translation is None and not upstream.head:
            await response.prepare(self._request)
        while True:
            try:
                chunk = await read()
            except STREAM_ERRORS as error:
                return await self._broken_off(error)
            if not chunk:
                break
            data += chunk
            if len(data) > kept.mark and kept.grow():
                self._start_commit("partial")
            ready = end.feed(chunk)
            if ready:
                if not is_begun:
                    await response.prepare(self._request)  # if it has not begun
                    is_begun = True
                    self._recording.progress.first = time.monotonic()
                await response.write(ready)
            if end.done and end.held:
                if not await self._may_end():
                    return
                if not upstream.is_over:  # else it goes with the end of the response, below
                    await self._send(end, response.write)
        await self._close()
        if await self._may_end():
            await self._send(end, response.write_eof)

    async def _close(self) -> None:
        """Nothing more comes."""
        if self._translation is not None:
            await self._write(self._translation.close())

    async def _write(self, data: bytes) -> None:
        if data:
            await self._response.prepare(self._request)  # if it has not begun
            await self._response.write(data)

    def client_left(self) -> asyncio.Task[None]:
        """The client is gone: keep what came, and stop the upstream or read it to its end."""
        recording, services = self._recording, self._recording.services
        if self._commit is None and is_forgotten(self._request):
            self._upstream.close()
            self._commit = services.background.tasks.spawn(recording.drop())
            return self._commit
        recording.is_unseen = True
        named: list[str | bytes] = [recording.conversation.id]
        finishes = services.settings.history.on_disconnect == "finish" and not is_stopped(self._request)
        if self._commit is None and finishes:
            self._commit = services.background.tasks.spawn(read_on(self._upstream, recording))
        else:
            if self._commit is None:
                self._upstream.close()
            # Whoever names it by nothing, or by what an agent says, has to find it as well.
            named.append(recording.call.conversation_id or recording.call.identity.tenant)
        commit = self._start_commit("partial")
        for name in named:
            services.requests.running.is_being_written(name, commit)
        return commit

    def release(self) -> None:
        """The relay is over: without a commit, which does so itself, nothing that was kept is needed."""
        if self._commit is None:
            self._recording.kept.release()

    async def _may_end(self) -> bool:
        """Commit, unless that may be later. False if the client must not see the end: the store failed."""
        is_late = self._waited or self._recording.may_be_late
        return is_late or await self._keep("complete")

    async def _broken_off(self, error: Exception) -> None:
        """The upstream ended before its reply did: so does our response, unless it has words for that."""
        if isinstance(error, ClientLeft):
            raise error
        last = self._translation.close() if self._translation is not None else b""
        if await self._keep("failed"):
            if self._translation is not None:
                await self._write(last)
                return await self._send(self._translation, self._response.write_eof)
            await self._response.begin(self._request)
            if self._end.held:  # what came is the client's, and its connection tells that it is not all
                await self._send(self._end, self._response.write)
            _break_off(self._request, error)

    async def _send(self, end: End, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Hand out what was held back."""
        held, end.held = end.held, b""
        commit = self._start_commit("complete")  # if it may be later than that
        if not commit.done():
            self._recording.services.requests.running.is_being_written(
                self._recording.conversation.id, commit
            )
        await self._response.prepare(self._request)  # if it has not begun
        await send(held)

    async def _keep(self, ended: State) -> bool:
        """Commit once; False if a client that relies on it must be told that it failed."""
        services = self._recording.services
        limit = services.settings.timeouts.store
        commit = self._start_commit(ended)
        try:
            await _done(commit, limit)
            self._waited = True
            if not commit.done():
                error = StoreUnavailable(f"a turn was not written within `timeouts.store` = {limit:g} s")
                services.background.store_health.could_not_write(error)
                raise error
            commit.result()
        except Exception as error:  # logged where it arose; it must not end up in the middle of a response
            # Whoever sends the whole history holds all that is lost here; others must see it.
            if self._recording.is_relied_on:
                if isinstance(error, StoreUnavailable) and not self._response.prepared:
                    raise  # the client can still be told
                _break_off(self._request, error)
                return False
            if not self._response.prepared:
                self._response.headers[DEGRADED] = "store"
        return True

    def _start_commit(self, ended: State) -> asyncio.Task[None]:
        if self._commit is None:
            self._commit = self._recording.services.background.tasks.spawn(self._recording.commit(ended))
        return self._commit


async def _done(task: asyncio.Task[None], patience: float) -> None:
    """Return when the task is done, or after `patience` (seconds); it goes on if the caller is cancelled.

    As `asyncio.wait` with one task, at a third of what that costs.
    """
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()

    def wake(_task: object = None) -> None:
        if not waiter.done():
            waiter.set_result(None)

    timer = loop.call_later(patience, wake)
    task.add_done_callback(wake)
    try:
        await waiter
    finally:
        timer.cancel()
        task.remove_done_callback(wake)


async def read_on(upstream: UpstreamResponse, recording: Recording) -> None:
    """Keep a reply that no client waits for any more, to its end or to that of the process."""
    services = recording.services
    reading = asyncio.ensure_future(_rest(upstream, recording))
    stopping = asyncio.ensure_future(services.background.tasks.stopping.wait())
    with services.requests.running.left_behind(recording.conversation.id) as end:
        ended = asyncio.ensure_future(end.wait())
        await asyncio.wait((reading, stopping, ended), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    ended.cancel()
    if not reading.done():
        reading.cancel()
    await asyncio.wait((reading,))
    await recording.commit("partial" if reading.cancelled() else reading.result())


async def _rest(upstream: UpstreamResponse, recording: Recording) -> State:
    kept = recording.kept
    try:
        while chunk := await upstream.readany():
            kept.data += chunk
            if len(kept.data) > kept.mark and kept.grow():
                upstream.close()  # nobody would get the rest
                return "partial"
    except STREAM_ERRORS:
        return "failed"
    return "complete"


def _response(
    upstream: UpstreamResponse,
    extra: Mapping[str, str],
    translation: Translation | None,
    translated: Translated | None,
    *,
    at_once: bool = True,
) -> RelayedResponse:
    if translated is not None and translated.response is not None:
        return translated.response  # it has begun
    headers = from_upstream(upstream.headers)
    if translation is not None:
        for name in _OF_ITS_BODY:
            headers.popall(name, None)
        headers.update(translation.headers)
    for name, value in extra.items():
        headers[name] = value
    if headers.get("Content-Type", "").startswith("text/event-stream"):
        headers["X-Accel-Buffering"] = "no"
    return RelayedResponse(upstream.status, without_controls(upstream.reason or ""), headers, at_once=at_once)


def _break_off(request: web.BaseRequest, error: Exception) -> None:
    """End the client's connection without the end of the response, as the upstream ended ours."""
    log.warning("a response was cut off", extra={"error": kind_of(error)})
    transport = request.transport
    if transport is None:
        return
    if request.version < HttpVersion11:
        # To such a client (nginx by default) a closed connection is the end of the body; a reset is not.
        transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        transport.abort()
    else:
        transport.close()
