"""The server: routes, start, and an end that loses nothing.

At SIGTERM or SIGINT `/-/ready` says 503, the listening socket closes, and answers under way get
`timeouts.shutdown` seconds to end. Connections that clients keep stay open for a second more, since a client
that is about to ask again would find them closed; what comes on them is answered, and is the last. What is
then still running is recorded as far as it came, and the store commits. Exit code 0. A second signal ends the
process at once, with 128 and its number.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any

from aiohttp import web
from yarl import URL

from sidecar import __version__
from sidecar.access.client_keys import hidden
from sidecar.aiohttp_internals.server import Server, SpecialRequest
from sidecar.background.memory import give_back_large_blocks
from sidecar.doctor.ask import command as doctor_command
from sidecar.errors import NotFound, SidecarError
from sidecar.inspector.door import Door, is_served
from sidecar.inspector.responses import ALWAYS
from sidecar.metrics import Metrics
from sidecar.proxy.services import Services
from sidecar.proxy.tracked import own_id
from sidecar.server.demo import start_demo
from sidecar.server.each_other import tell_each_other
from sidecar.server.http import NO_HEADERS, Handler, admit, body_failed, runner
from sidecar.server.routes import Answer, answer_of, own
from sidecar.server.sockets import BACKLOG, Sockets, cannot_listen, listening, without_inspector
from sidecar.server.workers import Workers
from sidecar.settings import Settings
from sidecar.settings.values import listen_address
from sidecar.store_factory import store_of
from sidecar.upstream.targets import targets_of

__all__ = ["running", "serve"]

log = logging.getLogger("sidecar")

# Seconds for which a thread with long work keeps the interpreter from the loop. With Python's own, 5 ms, a
# chunk comes late by as much while a page of the inspector is made or a large body is looked through.
_SWITCH = 0.0005
# Seconds for which a kept connection stays open after the signal, or after the answer that was under way: the
# next step of an agent comes within it. Whoever asks later finds it closed, and connects anew.
_LINGER = 1.0


def serve(settings: Settings, origins: Mapping[str, str], folder: str | None = None) -> int:
    """Serve until told to stop; returns the exit code. Raises `SidecarError` if it cannot start.

    `origins`: where the settings come from, by their names. `folder`: what workers share lies there.
    """
    _take_all_files()
    give_back_large_blocks()
    door = Door(origins)
    if settings.workers > 1:
        return _serve_by_many(settings, door, folder)
    _run(_serve(settings, door, ready=lambda address: _tell(settings, address, door), say=_say))
    return 0


def _serve_by_many(settings: Settings, door: Door, folder: str | None) -> int:
    worker_sockets = listening(settings, folder)
    door.workers = tuple(each.getsockname() for sockets in worker_sockets for each in sockets.inside)
    first = worker_sockets[0]
    address = _address(settings, first.clients[0].getsockname()[1])
    if first.admin:
        door.opened(first.admin[0].getsockname()[1])
    workers = Workers(settings, worker_sockets, partial(_be_worker, door), _say)
    return workers.run(lambda: _tell(settings, address, door))


def _be_worker(
    door: Door, settings: Settings, sockets: Sockets, alive: int, serves: Callable[[], object]
) -> None:
    """Serve until told to stop, or until `alive` ends since the parent has."""
    _run(
        _serve(
            settings,
            door,
            ready=lambda _address: serves(),
            say=lambda _said: None,
            sockets=sockets,
            alive=alive,
        )
    )


def _tell(settings: Settings, address: str, door: Door) -> None:
    print(_ready_line(settings, address), flush=True)
    if (inspector := door.address(settings)) is not None:
        print(f"see what happens in the chats, all of them: {inspector}", flush=True)
    port = door.port if settings.admin.listen else URL(address).port
    print(f"ask it whether all is well: {doctor_command(settings, port)}", flush=True)


def _say(said: str) -> None:
    print(f"sidecar: {said}", file=sys.stderr, flush=True)


def _run(work: Coroutine[Any, Any, None]) -> None:
    sys.setswitchinterval(_SWITCH)
    try:
        import uvloop
    except ImportError:  # not made for every platform
        asyncio.run(work)
    else:
        uvloop.run(work)


def _take_all_files() -> None:
    """As many open files as this process may have: a stream takes two, and the usual 1024 end at 500 streams.

    The low limit is there for programs that use `select`, which this one does not.
    """
    with suppress(ImportError, OSError, ValueError):  # not on every platform, nor without an upper limit
        import resource

        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@asynccontextmanager
async def running(
    settings: Settings, sockets: Sockets | None = None, door: Door | None = None, linger: float = 0.0
) -> AsyncIterator[str]:
    """A sidecar that serves while the body runs; gives its address, such as `http://127.0.0.1:8790`.

    It serves on these sockets, or, where none are given, on its own. `door`: that of the inspector.
    `linger`: seconds for which idle connections stay open at the end.
    """
    async with AsyncExitStack() as stack:
        if settings.upstream == "demo":
            demo, url = await start_demo()
            stack.push_async_callback(demo.cleanup)
            settings = settings.with_upstream(url)
        store = store_of(settings, upgrades=True)
        await store.open()
        stack.push_async_callback(store.close)
        metrics = Metrics(shared=settings.workers > 1)
        targets = targets_of(settings, metrics)
        stack.push_async_callback(targets.close)
        services = Services(settings, store, targets, metrics, sockets and sockets.folder)
        await services.background.start()
        server = runner(_handler(services, answer_of(services)), settings)
        await server.setup()
        if door is not None and sockets is not None:
            await tell_each_other(services, door, sockets.inside, stack)
        if settings.admin.listen or (door is not None and settings.admin_listen):
            await _serve_admin(services, door or Door(), sockets, stack)
        stack.push_async_callback(_end, server, services, linger)
        await _listen(server, settings.listen, "listen", sockets and sockets.clients)
        yield _address(settings, server.addresses[0][1])


async def _serve_admin(
    services: Services, door: Door, sockets: Sockets | None, stack: AsyncExitStack
) -> None:
    """Serve the pages for operators at an address of their own. Where the settings name none, that is one for
    the inspector, and without it all else is served all the same."""
    settings = services.settings
    answer = _answering_admin(services, door)
    always = ALWAYS if is_served(settings) else NO_HEADERS
    pages = runner(_handler(services, answer, always), settings, always)
    await pages.setup()
    stack.push_async_callback(pages.cleanup)
    if not settings.admin.listen and sockets is not None and not sockets.admin:
        return  # it was said
    try:
        await _listen(pages, settings.admin_listen, "admin.listen", sockets and sockets.admin)
    except SidecarError as error:
        if settings.admin.listen:
            raise
        without_inspector(error)
        return
    door.opened(pages.addresses[0][1])
    if settings.admin.listen:
        log.info("metrics and doctor are served", extra={"port": door.port})


async def _end(runner: web.ServerRunner, services: Services, linger: float = 0.0) -> None:
    """Let answers under way end, then what goes on without a client, all in `timeouts.shutdown`.

    Not left to aiohttp, which waits its time-out twice and does not wait for what it cancels.
    """
    clock = asyncio.get_running_loop().time
    end = clock() + services.settings.timeouts.shutdown
    services.requests.open.ending.set()
    for site in list(runner.sites):
        await site.stop()
    await asyncio.sleep(0)  # requests that came before the end begin to be answered
    if isinstance(runner.server, Server):
        if linger:
            await runner.server.linger(linger, end)
        runner.server.let_go()
    await services.requests.open.finish(end - clock())
    await runner.cleanup()
    await services.background.stop(max(0.0, end - clock()))


async def _serve(
    settings: Settings,
    door: Door,
    *,
    ready: Callable[[str], object],
    say: Callable[[str], None],
    sockets: Sockets | None = None,
    alive: int | None = None,
) -> None:
    stopped, served = asyncio.Event(), asyncio.Event()
    loop, starting = asyncio.get_running_loop(), asyncio.current_task()

    def stop(number: int) -> None:
        if stopped.is_set():
            # As `kill -9`, which loses nothing that anybody was told of. Not left to the signal itself: as
            # the first process of a container this one would not be ended by it.
            say("ended at once")
            os._exit(128 + number)
        stopped.set()
        if not served.is_set() and starting is not None:
            starting.cancel()  # it may be waiting for its store

    def parent_left() -> None:
        assert alive is not None
        loop.remove_reader(alive)
        stop(signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    if alive is not None:
        loop.add_reader(alive, parent_left)
    try:
        async with running(settings, sockets, door, _LINGER) as address:
            served.set()
            _collect_less_often()
            ready(address)
            await stopped.wait()
            say("stopping")
    except asyncio.CancelledError:
        if served.is_set() or not stopped.is_set():
            raise
        say("stopped before it served")


def _collect_less_often() -> None:
    """Tell the garbage collector that what is there now stays, and that requests leave little behind.

    It looked through all modules again and again; that was a tenth of what a short request costs.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def _address(settings: Settings, port: int) -> str:
    host = settings.listen_host
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _ready_line(settings: Settings, address: str) -> str:
    if settings.upstream != "demo":  # its models are not known here, and it may want a key
        return (
            f"sidecar {__version__} serves {address}/v1 in front of {settings.upstream}; "
            f"give {address}/v1 to your client, or try: curl {address}/v1/models"
        )
    return (
        f"sidecar {__version__} serves {address}/v1 in front of the demo upstream; "
        f"try: curl {address}/v1/chat/completions -H 'X-Conversation-ID: first' "
        """-d '{"model":"demo","messages":[{"role":"user","content":"hi"}]}'"""
    )


async def _listen(
    runner: web.ServerRunner, listen: str, name: str, sockets: list[socket.socket] | None
) -> None:
    """Serve on these sockets, or on one of our own; `name` is that of the setting that says where."""
    for each in sockets or ():
        await web.SockSite(runner, each, backlog=BACKLOG).start()
    if sockets:
        return
    try:
        await web.TCPSite(runner, *listen_address(listen), backlog=BACKLOG).start()
    except OSError as error:
        raise cannot_listen(listen, name, error) from error


def _handler(services: Services, answer: Answer, always: Mapping[str, str] = NO_HEADERS) -> Handler:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        """Every error of ours in OpenAI's shape; an unexpected one is logged in full."""
        task = services.requests.open.begin()
        try:
            if type(request) is SpecialRequest:
                await admit(request)
            return await answer(services, request)
        except SidecarError as error:
            failure = error
            level, event = (logging.INFO, "refused") if error.status < 500 else (logging.WARNING, "failed")
            about = {
                "status": error.status,
                "code": error.code,
                "path": hidden(request.path),
                "error": error.message,
            }
            log.log(level, event, extra={**about, **own_id(request)[1], **error.logged})
        except (web.HTTPException, asyncio.CancelledError, ConnectionResetError):
            raise
        except web.RequestPayloadError as error:
            failure = body_failed(error, services.settings)
        except Exception:  # whatever it is, the client gets a body that it understands, and the log the trace
            log.exception("an unexpected error", extra={"path": hidden(request.path), **own_id(request)[1]})
            failure = SidecarError("the sidecar failed; see its log")
        finally:
            services.requests.open.end(task)
        headers = {**always, **own_id(request)[0], **failure.headers}
        if failure.conversation:
            headers["X-Conversation-ID"] = failure.conversation
        if failure.status == 401:
            headers["WWW-Authenticate"] = "Bearer"  # RFC 9110, 15.5.2
        if failure.retry_after is not None:
            headers["Retry-After"] = str(failure.retry_after)
        return web.json_response(failure.body(), status=failure.status, headers=headers)

    return handle


def _answering_admin(services: Services, door: Door) -> Answer:
    """What answers at the address of `admin.listen`, from where nothing goes upstream."""
    inspector = None
    if is_served(services.settings):
        # Imported here: without such an address nobody needs it.
        from sidecar.inspector.pages import Inspector

        inspector = Inspector(services, door)

    async def answer(services: Services, request: web.BaseRequest) -> web.StreamResponse:
        if inspector is not None and inspector.is_asked(request):
            return await inspector.answer(request)
        page = await own(services, request, at_admin=True)
        if page is None:
            raise NotFound("this address serves /-/live, /-/ready, /-/metrics and /-/doctor alone")
        return page

    return answer
