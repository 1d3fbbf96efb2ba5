"""The second address: what is on it, what is no longer on the first, and for whom."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientSession

from sidecar import cli
from sidecar.doctor.ask import address
from sidecar.settings import Settings
from tests.proxy.client import CHAT, Sidecar, assert_error
from tests.proxy.conftest import Start
from tests.proxy.faults.test_store_errors import broken
from tests.proxy.mock_upstream import Upstream
from tests.proxy.process import serving

PAGES = ("/-/metrics", "/-/doctor")
TOKEN = "a token of the operator's own"


@pytest.fixture
def free() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
async def both(start: Start, free: str) -> tuple[Sidecar, Sidecar]:
    """At its first address, and at its second."""
    sidecar = await start(admin={"listen": free})
    return sidecar, replace(sidecar, url=f"http://{free}")


async def test_by_default_all_pages_are_where_clients_are(sidecar: Sidecar):
    for path in PAGES:
        assert (await sidecar.send("GET", path)).status == 200


async def test_the_pages_are_at_the_second_address_alone(both: tuple[Sidecar, Sidecar], upstream: Upstream):
    first, second = both
    for path in PAGES:
        assert_error(await first.send("GET", path), 404, "not_found")
        assert (await second.send("GET", path)).status == 200
    for each in both:
        for path in ("/-/live", "/-/ready"):
            assert (await each.send("GET", path)).status == 200
    assert {each.target for each in upstream.requests} == {"/"}  # the probes


async def test_nothing_goes_upstream_from_the_second_address(
    both: tuple[Sidecar, Sidecar], upstream: Upstream
):
    _, second = both
    assert_error(await second.ask("hi", id="a"), 404, "not_found")
    for path in ("/", "/v1/models", "/-/other", CHAT):
        assert_error(await second.send("GET", path), 404, "not_found")
    assert_error(await second.send("POST", "/-/metrics", data=b""), 404, "not_found")
    assert upstream.requests == []


@pytest.mark.parametrize("separate", [False, True])
async def test_a_token_keeps_them_for_whoever_has_it(start: Start, free: str, separate: bool):
    sidecar = await start(admin={"listen": free if separate else "", "token": TOKEN})
    at = replace(sidecar, url=f"http://{free}") if separate else sidecar
    for path in PAGES:
        for wrong in ("", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer \xff"):
            reply = await at.send("GET", path, headers={"Authorization": wrong} if wrong else {})
            assert_error(reply, 401, "admin_token_required")
            assert reply.headers["WWW-Authenticate"] == "Bearer"
        for right in (f"Bearer {TOKEN}", f"bearer  {TOKEN}"):
            assert (await at.send("GET", path, headers={"Authorization": right})).status == 200
    assert (await at.send("GET", "/-/ready")).status == 200


async def test_the_doctor_finds_the_second_address_and_has_the_token(
    start: Start, free: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    await start(admin={"listen": free, "token": TOKEN})
    monkeypatch.setenv("SIDECAR_ADMIN__LISTEN", free)
    assert await asyncio.to_thread(cli.main, ["doctor"]) == 2
    assert "admin.token" in capsys.readouterr().err
    monkeypatch.setenv("SIDECAR_ADMIN__TOKEN", TOKEN)
    assert await asyncio.to_thread(cli.main, ["doctor"]) == 1
    assert f"at http://{free}: no chat request yet" in capsys.readouterr().out


def test_where_the_doctor_asks():
    assert address(Settings(admin={"listen": "0.0.0.0:8791"})) == "http://127.0.0.1:8791"  # type: ignore[arg-type] # as read


async def test_several_workers_serve_the_second_address_too(upstream: Upstream, free: str, tmp_path: Path):
    flags = ("--workers", "2", "--upstream", upstream.url)
    async with (
        serving(*flags, folder=tmp_path, SIDECAR_ADMIN__LISTEN=free) as process,
        ClientSession() as http,
    ):
        for path, there, here in (
            (PAGES[0], 200, 404),
            (PAGES[1], 200, 404),
            ("/-/ready", 200, 200),
            ("/v1/x", 404, 200),
        ):
            for url, status in ((f"http://{free}", there), (process.url, here)):
                async with http.get(url + path) as response:
                    assert (path, url, response.status) == (path, url, status)


async def test_ready_tells_kinds_and_no_more(
    start: Start, upstream: Upstream, caplog: pytest.LogCaptureFixture
):
    sidecar = await start()
    with broken(sidecar, reading=False):
        await upstream.stop()
        for _ in range(2):
            reply = await sidecar.send("GET", "/-/ready")
            assert reply.json == {"ready": False, "store": "failing", "upstream": "not reachable"}
    said = [each.message for each in caplog.records if each.message.startswith("the ")]
    assert sorted(said).count("the upstream is not reachable") == 1
    assert (await sidecar.send("GET", "/-/ready")).json["store"] == "writable"
