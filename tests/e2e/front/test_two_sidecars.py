"""Two sidecars behind nginx as the guide to backends sets them up, word for word but for addresses."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.front.nginx import nginx_with
from tests.e2e.program import free_ports
from tests.guides import blocks
from tests.proxy.client import CHAT, chat
from tests.proxy.mock_upstream import DONE, Upstream, event, streams
from tests.proxy.process import Process, serving

_SERVER = """
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass http://sidecar;
        proxy_http_version 1.1;
        proxy_set_header Connection '';
        proxy_buffering off;
    }}
}}
"""
_BODY = {"model": "m", "messages": chat("hi"), "stream": True}


@pytest.fixture
async def store(postgres_url: str) -> str:
    return postgres_url


class House:
    """Two sidecars, the second the backup of the first, and the address of nginx before them."""

    def __init__(self, one: Process, two: Process, url: str, folder: Path) -> None:
        self.one, self.two, self.url, self.folder = one, two, url, folder

    def put(self, new: Process) -> None:
        """Have nginx send new requests there in place of the first one."""
        file = self.folder / "nginx.conf"
        old, there = (each.url.removeprefix("http://") for each in (self.one, new))
        file.write_text(file.read_text().replace(old, there))
        os.kill(int((self.folder / "nginx.pid").read_text()), signal.SIGHUP)  # as `nginx -s reload`

    @asynccontextmanager
    async def asked(self) -> AsyncIterator[aiohttp.ClientResponse]:
        async with (
            aiohttp.ClientSession() as http,
            http.post(self.url + CHAT, json=_BODY, headers={"X-Conversation-ID": "a"}) as reply,
        ):
            yield reply


@pytest.fixture
async def house(upstream: Upstream, store: str, tmp_path: Path) -> AsyncIterator[House]:
    (block,) = blocks("backends", "nginx")
    (port,) = free_ports(1)
    flags = ("--upstream", upstream.url, "--store", store)
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(serving(*flags, folder=tmp_path)) for _ in range(2)]
        for address, sidecar in (("10.0.0.11:8790", one), ("10.0.0.12:8790", two)):
            assert address in block
            block = block.replace(address, sidecar.url.removeprefix("http://"))
        await stack.enter_async_context(nginx_with(block + _SERVER.format(port=port), port, tmp_path))
        yield House(one, two, f"http://127.0.0.1:{port}", tmp_path)


async def through(sidecar: Process) -> float:
    """How many chats it has answered."""
    async with aiohttp.ClientSession() as http, http.get(f"{sidecar.url}/-/metrics") as reply:
        lines = (await reply.text()).splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("sidecar_requests_total{"))


async def test_one_that_is_told_to_stop_ends_its_answer_and_the_backup_takes_the_next(
    house: House, upstream: Upstream
):
    gate, (first, second) = (
        asyncio.Event(),
        (event({"content": "one"}), event({"content": "two"}, finish="stop")),
    )
    upstream.will(streams(first, gate, second, DONE))
    async with house.asked() as under_way:
        assert await under_way.content.readexactly(len(first)) == first
        house.one.running.send_signal(signal.SIGTERM)
        for _ in range(20):
            async with house.asked() as reply:
                assert reply.status == 200
                await reply.read()
        gate.set()
        assert await under_way.read() == second + DONE
    assert await house.one.running.wait() == 0
    assert await through(house.two) >= 19


async def test_one_that_is_killed_loses_what_was_under_way_alone(house: House, upstream: Upstream):
    first = event({"content": "one"})
    upstream.will(streams(first, asyncio.Event()))
    async with house.asked() as under_way:
        assert await under_way.content.readexactly(len(first)) == first
        assert await through(house.two) == 0  # it is the backup
        house.one.running.kill()
        with pytest.raises(aiohttp.ClientError):
            await under_way.read()
    await house.one.running.wait()  # what its socket had accepted is reset only then
    for _ in range(20):
        async with house.asked() as reply:
            assert reply.status == 200
            await reply.read()
    assert await through(house.two) == 20


async def test_one_is_replaced_as_the_guide_to_operations_says_and_no_answer_fails(
    house: House, upstream: Upstream, store: str, tmp_path: Path
):
    pieces = [event({"content": f" {at}"}) for at in range(4)] + [event({}, finish="stop"), DONE]
    upstream.otherwise = streams(*(step for piece in pieces for step in (0.02, piece)))
    over, answered = asyncio.Event(), 0

    async def talks() -> None:
        nonlocal answered
        while not over.is_set():
            async with house.asked() as reply:
                assert reply.status == 200
                assert await reply.read() == b"".join(pieces)
            answered += 1

    async def so_many_more(number: int) -> None:
        end = answered + number
        while answered < end:
            await asyncio.sleep(0.01)
            for each in talking:
                if each.done():
                    each.result()

    flags = ("--upstream", upstream.url, "--store", store)
    talking = [asyncio.create_task(talks()) for _ in range(4)]
    await so_many_more(8)
    async with serving(*flags, folder=tmp_path) as new:  # it prints its address once it is ready
        house.put(new)
        while not await through(new):
            await so_many_more(4)
        house.one.running.send_signal(signal.SIGTERM)
        await so_many_more(20)
        assert await house.one.running.wait() == 0
        await so_many_more(8)
        over.set()
        await asyncio.gather(*talking)
    assert await through(house.two) == 0
