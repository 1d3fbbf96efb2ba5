"""Chats side by side on one member of a target: who stays where its prompt is cached, who goes elsewhere."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.proxy.client import Sidecar
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Exchange, Upstream, says
from tests.proxy.several import target, upstreams

ROOM = 3


async def at_home(sidecar: Sidecar, servers: list[Upstream], number: int) -> tuple[Upstream, list[str]]:
    """A member, and so many chats that are there when nothing else is asked."""
    homes: dict[int, list[str]] = {}
    for each in range(len(servers) * number):
        await sidecar.ask("hi", id=f"chat {each}")
        (at,) = (at for at, server in enumerate(servers) if server.requests)
        servers[at].requests.clear()
        homes.setdefault(at, []).append(f"chat {each}")
        if len(homes[at]) == number:
            return servers[at], homes[at]
    raise AssertionError("some member has that many")


@asynccontextmanager
async def all_at_once(sidecar: Sidecar, servers: list[Upstream], chats: list[str]):
    """Their next turns under way, none of which is answered before the end."""
    goes_on = asyncio.Event()

    async def later(exchange: Exchange) -> None:
        await goes_on.wait()
        await says("ok")(exchange)

    for each in servers:
        each.otherwise = later
    asked = []
    for number, id in enumerate(chats, 1):
        asked.append(asyncio.create_task(sidecar.ask("hi", "ok", "and?", id=id)))
        async with asyncio.timeout(5):
            while sum(len(each.requests) for each in servers) < number:
                await asyncio.sleep(0.005)
    yield
    goes_on.set()
    assert [each.status for each in await asyncio.gather(*asked)] == [200] * len(chats)


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({"parallel": ROOM}, {}),
        ({}, {"session": {"slots": ROOM}}),
        ({"parallel": ROOM}, {"session": {"slots": 1}}),
    ],
    ids=["parallel", "slots", "both, of which the first counts"],
)
async def test_where_it_is_known_how_many_a_member_answers_at_once_chats_stay_while_it_has_room(
    start: Start, options: dict[str, Any], settings: dict[str, Any]
):
    async with upstreams("a", "b", "c", "d") as servers:
        sidecar = await start(targets=[target("pool", *servers, **options)], **settings)
        home, chats = await at_home(sidecar, servers, ROOM + 1)
        async with all_at_once(sidecar, servers, chats):
            assert len(home.requests) == ROOM
            assert sum(len(each.requests) for each in servers) == ROOM + 1


async def test_where_it_is_not_known_they_share_the_load(start: Start):
    async with upstreams("a", "b", "c", "d") as servers:
        sidecar = await start(targets=[target("pool", *servers)])
        home, chats = await at_home(sidecar, servers, ROOM)
        async with all_at_once(sidecar, servers, chats):
            assert len(home.requests) == 2
