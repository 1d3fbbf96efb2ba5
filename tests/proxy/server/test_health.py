"""What orchestrators and operators ask."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sidecar import __version__
from tests.proxy.client import Sidecar
from tests.proxy.conftest import Start
from tests.proxy.faults.test_store_errors import broken
from tests.proxy.mock_upstream import Exchange, Upstream, sends
from tests.proxy.store_lock import writing


async def test_live_tells_that_the_process_answers(sidecar: Sidecar, upstream: Upstream):
    await upstream.stop()
    reply = await sidecar.send("GET", "/-/live")
    assert (reply.status, reply.json) == (200, {"live": True, "version": __version__})


async def test_ready_tells_of_the_store_and_the_upstream(sidecar: Sidecar, upstream: Upstream):
    reply = await sidecar.send("GET", "/-/ready")
    assert (reply.status, reply.json) == (200, {"ready": True, "store": "writable", "upstream": "reachable"})


@pytest.mark.parametrize("status", [200, 401, 404, 500])
async def test_any_answer_shows_that_the_upstream_can_be_reached(
    sidecar: Sidecar, upstream: Upstream, status: int
):
    upstream.will(sends(status=status))
    assert (await sidecar.send("GET", "/-/ready")).json["upstream"] == "reachable"


@pytest.mark.parametrize("gap", [0, 1, 2, 3, 4, 20])
async def test_an_upstream_that_answers_head_with_a_body_can_be_reached(
    sidecar: Sidecar, upstream: Upstream, gap: int
):
    async def answer(exchange: Exchange) -> None:
        said = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"
        cut = len(said) - 4 - gap
        await exchange.send(said[:cut])
        await asyncio.sleep(0.02)
        await exchange.send(said[cut:])

    upstream.will(answer)
    assert (await sidecar.send("GET", "/-/ready")).json["upstream"] == "reachable"
    reply = await sidecar.send("GET", "/v1/models")
    assert (reply.status, reply.json["object"]) == (200, "chat.completion")
    assert upstream.connections == 2  # the first was no longer fit for a request


async def test_an_upstream_that_is_down_is_told_and_no_reason_not_to_be_ready(
    sidecar: Sidecar, upstream: Upstream
):
    await upstream.stop()
    reply = await sidecar.send("GET", "/-/ready")
    assert reply.status == 200
    assert reply.json["ready"] is True
    assert reply.json["upstream"] == "not reachable"


async def test_an_upstream_that_stays_silent_does_not_hold_up_the_answer(
    sidecar: Sidecar, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sidecar.admin.health._PROBE_TIMEOUT", 0.1)

    async def silent(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    upstream.otherwise = silent
    reply = await sidecar.send("GET", "/-/ready")
    assert reply.status == 200
    assert reply.json["upstream"] == "not reachable"


@pytest.mark.parametrize("reading", [False, True])
async def test_a_store_that_cannot_be_written_is_not_ready(sidecar: Sidecar, reading: bool):
    with broken(sidecar, reading=reading):
        reply = await sidecar.send("GET", "/-/ready")
        assert reply.status == 503
        assert reply.json["ready"] is False
        assert reply.json["store"] == "failing"
        assert (await sidecar.send("GET", "/-/live")).status == 200
    assert (await sidecar.send("GET", "/-/ready")).status == 200


async def test_a_store_that_does_not_answer_is_not_ready(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sidecar.admin.health._PROBE_TIMEOUT", 0.1)
    with writing(sidecar):
        reply = await sidecar.send("GET", "/-/ready")
    assert reply.status == 503
    assert reply.json["store"] == "failing"


@pytest.mark.parametrize("path", ["/-/live", "/-/ready", "/-/metrics"])
async def test_a_probe_may_ask_for_the_head_alone(sidecar: Sidecar, upstream: Upstream, path: str):
    reply = await sidecar.send("HEAD", path)
    assert (reply.status, reply.body) == (200, b"")
    assert all(each.target == "/" for each in upstream.requests)  # the probe of the upstream, if any


async def test_the_counters_tell_what_was_done_and_name_nobody(sidecar: Sidecar, tmp_path: Path):
    await sidecar.ask("hi", id="my-id", headers={"Authorization": "Bearer secret"})
    await sidecar.ask("and?", id="my-id", headers={"Authorization": "Bearer secret"})
    reply = await sidecar.send("GET", "/-/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain")
    text = reply.body.decode()
    assert 'sidecar_requests_total{outcome="start"} 1.0' in text
    assert 'sidecar_requests_total{outcome="append"} 1.0' in text
    assert 'sidecar_replies_total{state="complete"} 2.0' in text
    assert "sidecar_restored_messages_total 2.0" in text
    for secret in ("my-id", "secret", "and?"):
        assert secret not in text


async def test_other_paths_under_it_are_the_upstreams(start: Start, upstream: Upstream):
    sidecar = await start()
    assert (await sidecar.send("GET", "/-/other")).status == 200
    assert upstream.last.target == "/-/other"
