"""The process ends when told to, within its limit, and loses nothing."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sqlite3
import time
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from unittest.mock import AsyncMock, Mock

import aiohttp
import pytest
from aiohttp import ClientSession, web

from sidecar import __version__
from sidecar.cli import main
from sidecar.proxy.open_requests import OpenRequests
from sidecar.proxy.services import Services
from sidecar.server.http import runner
from sidecar.server.serve import _end, running
from sidecar.settings import Settings
from tests.proxy.client import CHAT, Sidecar, chat, named
from tests.proxy.mock_upstream import DONE, Exchange, Upstream, event, says, streams
from tests.proxy.process import Process, measured, serving

# Seconds: `timeouts.shutdown` unless it is set: what waits in vain takes that long, on any machine.
BY_DEFAULT = Settings().timeouts.shutdown
HALF = event({"role": "assistant", "content": "half an"})
REST = event({"content": " answer"}, finish="stop")
BODY = json.dumps({"model": "m", "messages": chat("hi"), "stream": True}).encode()


def asking(http: ClientSession, process: Process):
    return http.post(process.url + CHAT, data=BODY, headers=named("a"))


async def ended(process: Process) -> int:
    return await asyncio.wait_for(process.running.wait(), 15)


async def branches(folder: Path, http: ClientSession) -> list[list[str]]:
    settings = Settings.model_validate({"store": f"sqlite:///{folder}/sidecar.db"})
    return (await Sidecar("", settings, http).only()).branches


async def test_one_line_says_that_it_is_ready_and_what_to_do_next(tmp_path: Path):
    async with measured(folder=tmp_path) as process:
        assert __version__ in process.ready
        assert f"{process.url}/v1" in process.ready
        assert "curl" in process.ready
        assert "X-Conversation-ID" in process.ready
        async with ClientSession() as http, asking(http, process) as response:
            assert response.status == 200
            assert (await response.read()).endswith(DONE)


async def test_the_line_names_no_model_that_the_upstream_may_not_have(upstream: Upstream, tmp_path: Path):
    async with serving("--upstream", upstream.url, folder=tmp_path) as process:
        assert f"in front of {upstream.url}" in process.ready
        assert process.ready.endswith(f"curl {process.url}/v1/models\n")


async def until_refused(http: ClientSession, process: Process) -> None:
    """Connect anew until nobody takes that any more, and raise what the client raises then."""
    async with asyncio.timeout(10):
        while True:
            try:
                async with http.get(process.url + "/-/live", headers={"Connection": "close"}):
                    await asyncio.sleep(0.02)
            except aiohttp.ClientConnectorError:
                raise
            except aiohttp.ClientConnectionError:
                pass  # it was the last one that was let in, and nobody was there any more to answer


async def test_who_connects_in_the_moment_of_the_end_is_let_go_at_once():
    async def nothing(_request: web.BaseRequest) -> web.StreamResponse:
        raise AssertionError

    async def under_way() -> None:
        task = requests.begin()
        await gate.wait()
        requests.end(task)

    requests, gate, settings = OpenRequests(), asyncio.Event(), Settings()
    asked, background = SimpleNamespace(open=requests), SimpleNamespace(stop=AsyncMock())
    services = SimpleNamespace(settings=settings, requests=asked, background=background)
    at = runner(nothing, settings)
    await at.setup()
    assert at.server is not None
    answering = asyncio.create_task(under_way())
    await asyncio.sleep(0)
    transport = Mock(asyncio.Transport)
    asyncio.get_running_loop().call_soon(at.server().connection_made, transport)
    ending = asyncio.create_task(_end(at, cast(Services, services)))
    for _ in range(20):
        await asyncio.sleep(0)
    assert transport.close.called
    assert not ending.done()
    gate.set()
    await asyncio.gather(answering, ending)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stream_that_ends_in_time_is_let_end(
    upstream: Upstream, tmp_path: Path, number: signal.Signals
):
    gate = asyncio.Event()
    upstream.will(streams(HALF, gate, REST, DONE))
    limit = {"SIDECAR_TIMEOUTS__SHUTDOWN": "60"}  # on the busiest machine
    async with (
        serving("--upstream", upstream.url, folder=tmp_path, **limit) as process,
        ClientSession() as http,
    ):
        async with asking(http, process) as response:
            assert await response.content.readexactly(len(HALF)) == HALF
            process.running.send_signal(number)
            with pytest.raises(aiohttp.ClientConnectorError):
                await until_refused(http, process)
            gate.set()
            assert await response.read() == REST + DONE
        assert await ended(process) == 0
        assert await branches(tmp_path, http) == [["hi", "half an answer"]]


async def test_a_kept_connection_is_closed_while_others_are_still_answered(
    upstream: Upstream, tmp_path: Path
):
    """Who asks on it would wait for the end of all others, and get nothing."""
    gate = asyncio.Event()
    upstream.will(streams(HALF, gate, REST, DONE))
    limit = {"SIDECAR_TIMEOUTS__SHUTDOWN": "60"}
    async with (
        serving("--upstream", upstream.url, folder=tmp_path, **limit) as process,
        ClientSession() as http,
        asking(http, process) as response,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(process.url.rpartition(":")[2]))
        writer.write(b"GET /-/live HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        assert await response.content.readexactly(len(HALF)) == HALF
        process.running.terminate()
        async with asyncio.timeout(20):
            await reader.read()  # to its end
        writer.close()
        gate.set()
        assert await response.read() == REST + DONE


@dataclass
class Ending:
    """A sidecar in this process. Idle connections stay open for a minute: what ends sooner has a reason."""

    url: str
    stack: AsyncExitStack
    told: asyncio.Task[None] | None = None

    async def connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", int(self.url.rpartition(":")[2]))

    async def tell(self) -> None:
        """Tell it to end, and see that nobody gets in any more."""
        self.told = asyncio.create_task(self.stack.aclose())
        async with asyncio.timeout(10):
            while True:
                try:
                    _, writer = await self.connected()
                except ConnectionError:
                    return
                writer.close()

    async def ended(self) -> None:
        assert self.told is not None
        await asyncio.wait_for(self.told, 20)


@pytest.fixture
async def ending(upstream: Upstream, tmp_path: Path):
    store = f"sqlite:///{tmp_path}/sidecar.db"
    given = {"upstream": upstream.url, "listen": "127.0.0.1:0", "store": store, "timeouts": {"shutdown": 60}}
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(running(Settings.model_validate(given), linger=60))
        yield Ending(url, stack)


ASKS = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX-Conversation-ID: a\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
)
READY = b"GET /-/ready HTTP/1.1\r\nHost: a\r\n\r\n"


async def test_what_comes_on_a_kept_connection_at_the_end_is_answered_and_is_the_last(ending: Ending):
    reader, writer = await ending.connected()
    writer.write(READY)
    assert b"Connection: close" not in await reader.readuntil(b'"reachable"}')
    await ending.tell()
    writer.write(READY)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")  # to its end
    writer.close()
    await ending.ended()
    assert head.startswith(b"HTTP/1.1 503")
    assert b"Connection: close" in head
    assert json.loads(body) == {"ready": False, "ending": True}


async def test_an_answer_that_begins_after_the_signal_says_that_it_is_the_last(
    ending: Ending, upstream: Upstream
):
    asked, gate = asyncio.Event(), asyncio.Event()

    async def late(exchange: Exchange) -> None:
        asked.set()
        await gate.wait()
        await streams(HALF, REST, DONE)(exchange)

    upstream.will(late)
    reader, writer = await ending.connected()
    writer.write(ASKS)
    await asked.wait()
    await ending.tell()
    gate.set()
    answer = await reader.read()  # to its end
    writer.close()
    await ending.ended()
    assert b"Connection: close" in answer.partition(b"\r\n\r\n")[0]
    assert DONE in answer


async def test_who_asks_again_when_the_stream_under_way_has_ended_is_answered_on_that_connection(
    ending: Ending, upstream: Upstream
):
    gate = asyncio.Event()
    upstream.will(streams(HALF, gate, REST, DONE), streams(HALF, REST, DONE))
    reader, writer = await ending.connected()
    writer.write(ASKS)
    first = await reader.readuntil(HALF)
    await ending.tell()
    gate.set()
    first += await reader.readuntil(DONE)
    writer.write(ASKS)
    second = await reader.read()  # to its end
    writer.close()
    await ending.ended()
    assert b"Connection: close" not in first
    assert b"Connection: close" in second
    assert second.count(DONE) == 1


async def test_clients_that_leave_by_themselves_are_not_waited_for(ending: Ending):
    reader, writer = await ending.connected()
    writer.write(READY)
    await reader.readuntil(b'"reachable"}')
    await ending.tell()
    writer.close()
    await ending.ended()


async def test_a_stream_that_takes_too_long_is_kept_as_far_as_it_came(upstream: Upstream, tmp_path: Path):
    upstream.will(streams(HALF, asyncio.Event()))
    limit = {"SIDECAR_TIMEOUTS__SHUTDOWN": "0.3"}
    async with (
        measured("--upstream", upstream.url, folder=tmp_path, **limit) as process,
        ClientSession() as http,
    ):
        async with asking(http, process) as response:
            assert await response.content.readexactly(len(HALF)) == HALF
            began = time.monotonic()
            process.running.terminate()
            assert await ended(process) == 0
            assert 0.3 <= time.monotonic() - began < BY_DEFAULT
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.content.read()
        assert await branches(tmp_path, http) == [["hi", "half an (partial)"]]


@pytest.mark.parametrize("seen", [HALF, b""])
async def test_a_reply_that_is_read_on_for_nobody_does_not_hold_up_the_end(
    upstream: Upstream, tmp_path: Path, seen: bytes
):
    upstream.will(streams(*filter(None, (seen,)), asyncio.Event()))
    limits = {"SIDECAR_TIMEOUTS__SHUTDOWN": "0.3", "SIDECAR_HISTORY__ON_DISCONNECT": "finish"}
    async with (
        serving("--upstream", upstream.url, folder=tmp_path, **limits) as process,
        ClientSession() as http,
    ):
        async with asking(http, process) as response:
            await response.content.readexactly(len(seen))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        process.running.terminate()
        assert await ended(process) == 0
        assert time.monotonic() - began < BY_DEFAULT
        expected = ["hi", "half an (partial)"] if seen else ["hi"]
        assert await branches(tmp_path, http) == [expected]


async def test_what_came_of_a_reply_is_kept_also_if_the_store_is_locked_at_the_end(
    upstream: Upstream, tmp_path: Path
):
    upstream.will(streams(HALF, asyncio.Event()))
    limit = {"SIDECAR_TIMEOUTS__SHUTDOWN": "0.3"}
    async with (
        measured("--upstream", upstream.url, folder=tmp_path, **limit) as process,
        ClientSession() as http,
    ):
        async with asking(http, process) as response:
            assert await response.content.readexactly(len(HALF)) == HALF
            with closing(sqlite3.connect(tmp_path / "sidecar.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                process.running.terminate()
                await asyncio.sleep(1)
                assert process.running.returncode is None
            assert await ended(process) == 0
        assert await branches(tmp_path, http) == [["hi", "half an (partial)"]]


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_it_at_once(upstream: Upstream, tmp_path: Path, second: signal.Signals):
    upstream.will(says("kept"), streams(HALF, asyncio.Event()))
    async with measured("--upstream", upstream.url, folder=tmp_path) as process, ClientSession() as http:
        async with asking(http, process) as response:
            assert (await response.read()).endswith(DONE)
        async with asking(http, process) as response:
            assert await response.content.readexactly(len(HALF)) == HALF
            process.running.terminate()
            await asyncio.sleep(0.2)
            assert process.running.returncode is None
            began = time.monotonic()
            process.running.send_signal(second)
            assert await ended(process) == 128 + second
            assert time.monotonic() - began < BY_DEFAULT
        assert await branches(tmp_path, http) == [["hi", "kept"]]


async def test_idle_connections_do_not_hold_up_the_end(upstream: Upstream, tmp_path: Path):
    async with serving("--upstream", upstream.url, folder=tmp_path) as process, ClientSession() as http:
        async with http.get(process.url + "/v1/models") as response:
            await response.read()
        began = time.monotonic()
        process.running.terminate()
        assert await ended(process) == 0
        assert time.monotonic() - began < BY_DEFAULT


@pytest.fixture
def complaint(
    undisturbed: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    """What a sidecar says that does not start."""
    monkeypatch.chdir(tmp_path)

    def complaint(*flags: str) -> str:
        assert main(["serve", *flags]) == 1
        said, complained = capsys.readouterr()
        assert said == ""
        return complained

    return complaint


def test_an_address_in_use_stops_the_start_with_a_sentence(complaint):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert complaint("--listen", address) == (
            f"sidecar: cannot listen on {address}: Address already in use (set `listen` to another address)\n"
        )


def test_a_store_that_cannot_be_opened_stops_the_start_with_a_sentence(complaint, tmp_path: Path):
    file = tmp_path / "nowhere" / "sidecar.db"
    assert complaint("--listen", "127.0.0.1:0", "--store", f"sqlite:///{file}") == (
        f"sidecar: cannot open the store {file}: unable to open database file "
        f"(the folder {file.parent} does not exist: make it, or set `store` to another file)\n"
    )
