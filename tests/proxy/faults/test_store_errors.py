"""A store that fails: who brings the whole history is served, who relies on ours is told."""

from __future__ import annotations

import asyncio
import gzip
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import pytest

from tests.proxy.client import Sidecar, assert_error
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import CUT, EVENTS, JSON, Answer, Upstream, completion, says, streams, told

FAILURES = "sidecar_store_failures_total"
OPEN_WEBUI = {"X-OpenWebUI-Chat-Id": "a"}


@contextmanager
def broken(sidecar: Sidecar, *, reading: bool) -> Iterator[None]:
    """The store cannot be written meanwhile, as on a full disk; or not even be read."""
    path = sidecar.settings.store_path
    assert path is not None
    other = sqlite3.connect(path, isolation_level=None)
    tables = ("message", "conversation", "secret")
    for table in tables:
        if reading:
            other.execute(f"ALTER TABLE {table} RENAME TO {table}_lost")
        else:
            for change in ("INSERT", "UPDATE"):
                other.execute(
                    f"CREATE TRIGGER no_{change}_{table} BEFORE {change} ON {table} "
                    "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
                )
    try:
        yield
    finally:
        for table in tables:
            if reading:
                other.execute(f"ALTER TABLE {table}_lost RENAME TO {table}")
            else:
                for change in ("INSERT", "UPDATE"):
                    other.execute(f"DROP TRIGGER no_{change}_{table}")
        other.close()


async def test_what_goes_on_from_a_response_is_refused_when_the_store_cannot_be_read(
    start: Start, upstream: Upstream
):
    sidecar = await start(responses={"upstream": "translate"})
    first = await sidecar.send("POST", "/v1/responses", data=b'{"input": "hi"}')
    data = json.dumps({"input": "and?", "previous_response_id": first.json["id"]}).encode()
    with broken(sidecar, reading=True):
        reply = await sidecar.send("POST", "/v1/responses", data=data)
        assert_error(reply, 503, "store_unavailable", type="store_error")
    assert len(upstream.requests) == 1
    await sidecar.send("POST", "/v1/responses", data=data)
    assert upstream.last.said == ["hi", "ok", "and?"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_whole_history_is_served_when_the_store_cannot_be_read(
    sidecar: Sidecar, upstream: Upstream, stream: bool
):
    await sidecar.ask("hi", headers=OPEN_WEBUI)
    with broken(sidecar, reading=True):
        reply = await sidecar.ask("hi", "well", "and?", headers=OPEN_WEBUI, stream=stream)
        assert reply.status == 200
        assert b"ok" in reply.body
        assert reply.headers["X-Sidecar-Degraded"] == "store"
        assert upstream.last.said == ["hi", "well", "and?"]
        assert await sidecar.metric(FAILURES) >= 1


async def test_a_turn_that_is_at_hand_is_served_and_marked_when_the_store_can_be_neither_read_nor_written(
    sidecar: Sidecar, upstream: Upstream
):
    await sidecar.ask("hi", headers=OPEN_WEBUI)
    with broken(sidecar, reading=True):
        reply = await sidecar.ask("hi", "ok", "and?", headers=OPEN_WEBUI)
        assert (reply.status, b"ok" in reply.body) == (200, True)
        assert reply.headers["X-Sidecar-Degraded"] == "store"
        assert upstream.last.said == ["hi", "ok", "and?"]
        assert await sidecar.metric(FAILURES) >= 1


async def test_an_append_is_refused_when_the_store_cannot_be_read(sidecar: Sidecar, upstream: Upstream):
    await sidecar.ask("hi", id="a")
    with broken(sidecar, reading=True):
        reply = await sidecar.ask("and?", id="a")
        assert_error(reply, 503, "store_unavailable", type="store_error")
    assert len(upstream.requests) == 1
    await sidecar.ask("and?", id="a")
    assert upstream.last.said == ["hi", "ok", "and?"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_whole_history_is_served_when_the_store_cannot_be_written(
    sidecar: Sidecar, upstream: Upstream, stream: bool
):
    await sidecar.ask("hi", headers=OPEN_WEBUI)
    before = await sidecar.stored()
    with broken(sidecar, reading=False):
        first = await sidecar.ask("hi", "ok", "and?", headers=OPEN_WEBUI, stream=stream)
        assert ("X-Sidecar-Degraded" in first.headers) is not stream  # where nothing of it was sent before
        assert (first.status, b"ok" in first.body) == (200, True)
        assert await sidecar.metric(FAILURES) == 1
        second = await sidecar.ask("hi", "ok", "and?", headers=OPEN_WEBUI, stream=stream)
        assert second.status == 200
        assert second.headers["X-Sidecar-Degraded"] == "store"
        assert second.outcome == "continue"
        async with asyncio.timeout(5):
            while await sidecar.metric(FAILURES) < 2:  # its end did not wait for the store
                await asyncio.sleep(0.01)
    assert await sidecar.stored() == before
    healed = await sidecar.ask("hi", "ok", "and?", headers=OPEN_WEBUI, stream=stream)
    assert "X-Sidecar-Degraded" not in healed.headers
    assert (await sidecar.only()).branches == [["hi", "ok", "and?", "ok"]]


async def test_an_append_is_refused_once_the_store_is_known_not_to_be_writable(
    sidecar: Sidecar, upstream: Upstream
):
    await sidecar.ask("hi", id="a")
    with broken(sidecar, reading=False):
        assert_error(await sidecar.ask("one", id="a"), 503, "store_unavailable")  # and one that finds it out
        assert_error(await sidecar.ask("two", id="a"), 503, "store_unavailable")
        assert len(upstream.requests) == 2
    await sidecar.ask("three", id="a")
    assert upstream.last.said == ["hi", "ok", "three"]


async def test_a_client_that_appends_never_sees_the_end_of_a_stream_that_is_not_stored(sidecar: Sidecar):
    with broken(sidecar, reading=False), pytest.raises(aiohttp.ClientError):
        await sidecar.ask("hi", id="a", headers={"X-Sidecar-History": "append"}, stream=True)
    assert await sidecar.stored() == []


async def test_a_client_that_appends_is_told_that_its_reply_is_not_stored(sidecar: Sidecar):
    with broken(sidecar, reading=False):
        reply = await sidecar.ask("hi", id="a", headers={"X-Sidecar-History": "append"})
    assert_error(reply, 503, "store_unavailable")
    assert reply.headers["X-Conversation-ID"] == "a"
    assert await sidecar.stored() == []


@pytest.mark.parametrize(
    "answer",
    [
        streams(completion("ok"), headers=JSON),
        streams(gzip.compress(b"".join(told("a b"))), headers={**EVENTS, "Content-Encoding": "gzip"}),
        streams(completion("ok")[:20], CUT, headers=JSON),
    ],
    ids=["JSON", "packed stream", "cut"],
)
async def test_an_error_in_place_of_an_answer_in_chunks_is_a_whole_answer(
    sidecar: Sidecar, upstream: Upstream, answer: Answer
):
    upstream.will(answer)
    with broken(sidecar, reading=False):
        reply = await sidecar.ask("hi", id="a", headers={"X-Sidecar-History": "append"})
    assert_error(reply, 503, "store_unavailable")
    assert "Transfer-Encoding" not in reply.headers
    assert (await sidecar.send("GET", "/-/live")).status == 200  # on the same connection


async def test_with_refuse_nobody_is_served(start: Start, upstream: Upstream):
    sidecar = await start(history={"if_store_fails": "refuse"})
    await sidecar.ask("hi", headers=OPEN_WEBUI)
    with broken(sidecar, reading=True):
        reply = await sidecar.ask("hi", "ok", "and?", headers=OPEN_WEBUI)
        assert_error(reply, 503, "store_unavailable")
    assert (await sidecar.ask("hi", "ok", "and?", headers=OPEN_WEBUI)).status == 200
    with broken(sidecar, reading=False):
        reply = await sidecar.ask("hi", "ok", "more", headers=OPEN_WEBUI)
        assert_error(reply, 503, "store_unavailable")
        asked = len(upstream.requests)
        assert_error(await sidecar.ask("hi", "ok", "more", headers=OPEN_WEBUI), 503, "store_unavailable")
        assert len(upstream.requests) == asked


async def test_tasks_temporary_chats_and_other_paths_need_no_store(sidecar: Sidecar, upstream: Upstream):
    with broken(sidecar, reading=True):
        for headers in (
            {"X-Task": "title"},
            {"X-Conversation-ID": "temporary:1"},
            {"X-Sidecar-History": "off"},
        ):
            reply = await sidecar.ask("hi", headers=headers)
            assert reply.status == 200
            assert "X-Sidecar-Degraded" not in reply.headers
        assert (await sidecar.send("POST", "/v1/embeddings", data=b"{}")).status == 200


async def test_a_request_without_an_id_is_served_too(sidecar: Sidecar, upstream: Upstream):
    with broken(sidecar, reading=True):
        reply = await sidecar.ask("hi", "ok", "and?")
        assert (reply.status, reply.headers["X-Sidecar-Degraded"]) == (200, "store")


async def test_a_reply_that_cannot_be_understood_is_relayed_all_the_same(
    sidecar: Sidecar, upstream: Upstream
):
    deep = b"[" * 900 + b"]" * 900
    for body in (
        b"no json at all",
        b'{"choices":[{"message":{"role":"assistant","content":' + deep + b"}}]}",
        b'{"choices":[{"message":{"role":"assistant","content":"half \\ud83d"}}]}',
        b'{"choices":[{"message":{"role":"assistant","content":"\xff"}}]}',
        b'{"choices":[{"message":{"role":"assistant","content":1e999}}]}',
        b'{"choices":"none","usage":NaN}',
    ):

        async def answer(exchange, body=body):
            await exchange.head(200, {"Content-Type": "application/json"}, len(body))
            await exchange.send(body)

        upstream.will(answer)
        reply = await sidecar.ask("hi", id="a", headers=OPEN_WEBUI)
        assert (reply.status, reply.body) == (200, body)
    upstream.will(says("at last"))
    await sidecar.ask("hi", id="a", headers=OPEN_WEBUI)
    assert "at last" in (await sidecar.only()).texts
