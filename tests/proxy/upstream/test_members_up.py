"""What the metrics say of each machine of a target, also of one to which no chat belongs."""

from __future__ import annotations

import asyncio
import re

import pytest

from tests.proxy.client import Sidecar
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Upstream
from tests.proxy.several import chats
from tests.proxy.upstream.test_members import before, engines, models


async def up(sidecar: Sidecar) -> dict[str, str]:
    """What the metrics say of each URL, and of the target."""
    text = (await sidecar.send("GET", "/-/metrics")).body.decode()
    members = re.findall(r'sidecar_target_member_up{member="([^"]+)",target="llama"} (\S+)', text)
    return {**dict(members), "llama": re.findall(r'sidecar_target_up{target="llama"} (\S+)', text)[0]}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.background.target_health._EVERY", 0.05)
    monkeypatch.setattr("sidecar.admin.health._PROBE_TIMEOUT", 20.0)


@pytest.mark.parametrize("path", ["/-/ready", "/-/doctor", "/v1/models"])
async def test_they_know_what_was_just_found_until_it_is_back(start: Start, path: str):
    async with engines("a", "b") as (one, two):
        sidecar = await before(start, one, two)
        assert await up(sidecar) == {one.url: "1.0", two.url: "1.0", "llama": "1.0"}
        await one.stop()
        await sidecar.send("GET", path)
        assert await up(sidecar) == {one.url: "0.0", two.url: "1.0", "llama": "1.0"}
        back = Upstream(otherwise=one.otherwise, port=one.port)
        await back.start()
        async with asyncio.timeout(5):
            while (await up(sidecar))[one.url] == "0.0":
                await asyncio.sleep(0.01)
        assert await up(sidecar) == {one.url: "1.0", two.url: "1.0", "llama": "1.0"}
        await back.stop()


async def test_a_request_that_had_to_go_elsewhere_is_enough_and_one_that_is_answered(
    start: Start, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sidecar.background.target_health._EVERY", 3600)
    async with engines("a", "b") as (one, two):
        sidecar = await before(start, one, two)
        await one.stop()
        for number in range(20):
            if await sidecar.metric("sidecar_target_fail_overs_total") == 0:
                await sidecar.ask("hi", id=f"chat {number}")
                last = f"chat {number}"
        assert await up(sidecar) == {one.url: "0.0", two.url: "1.0", "llama": "1.0"}
        back = Upstream(otherwise=one.otherwise, port=one.port)
        await back.start()
        assert (await sidecar.ask("hi", "b", "and?", id=last)).status == 200
        assert chats(back)
        assert (await up(sidecar))[one.url] == "1.0"
        await back.stop()


async def test_a_target_of_which_none_can_be_reached_is_not_up(start: Start):
    async with engines("a", "b") as servers:
        sidecar = await before(start, *servers)
        for each in servers:
            await each.stop()
        await sidecar.send("GET", "/-/ready")
        assert set((await up(sidecar)).values()) == {"0.0"}


async def test_one_that_is_out_stays_that_though_it_was_not_reached_before(start: Start):
    async with engines("a", "b") as (one, two):
        sidecar = await before(start, one, two)
        await one.stop()
        await sidecar.send("GET", "/-/ready")
        for _ in range(3):
            await models(sidecar)
        back = Upstream(otherwise=one.otherwise, port=one.port)
        await back.start()
        ready = (await sidecar.send("GET", "/-/ready")).json
        assert ready["members"]["llama"] == {"1": "out", "2": "reachable"}
        assert (await up(sidecar))[one.url] == "0.0"
        await back.stop()
