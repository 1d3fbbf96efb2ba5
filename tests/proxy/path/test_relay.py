"""The reply on its way: the very bytes, at once, and their end only when they are in the store."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from itertools import pairwise

import pytest
from aiohttp import ClientSession
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.server.serve import running
from sidecar.settings import Settings
from tests.proxy.client import CHAT, Sidecar, chat, eventually, named
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import (
    DONE,
    EVENTS,
    JSON,
    Exchange,
    Upstream,
    completion,
    event,
    sends,
    streams,
    told,
)
from tests.proxy.store_lock import writing

EVERYTHING = (
    b"\xef\xbb\xbf: comment\r\n\r\n"
    + event({"role": "assistant", "content": None, "reasoning_content": "hm"})
    + 'data: {"choices":[{"index":0,"delta":{"content":"né 😀 "}}]}\n\n'.encode()
    + b'event: x\nid: 1\ndata: {"choices":[{"index":0,\ndata: "delta":{"content":"ja"}}]}\r\n\r\n'
    + b'data:{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"vendor": 1.0}\r\r'
    + b'data: {"choices":[],"usage":{"total_tokens":3}}\n\n'
    + b"data: [DONE]\n\n"
)


def splits(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(set(places)), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a < b]


async def until_a_commit_waits(sidecar: Sidecar) -> None:
    async with asyncio.timeout(10):
        while await sidecar.metric('sidecar_store_waiting{work="write"}') == 0:
            await asyncio.sleep(0.005)
    # One more answer: what the sidecar had written for the client by then has arrived.
    await sidecar.metric("sidecar_store_waiting")


def asking(sidecar: Sidecar, *, id: str = "a", **body: object):
    data = json.dumps({"model": "m", "messages": chat("hi"), **body}).encode()
    return sidecar.http.post(sidecar.url + CHAT, data=data, headers=named(id))


async def relayed(*pieces: bytes) -> tuple[bytes, list[str]]:
    """What the client gets of a stream in these pieces, and what is in the history after it."""
    upstream = Upstream()
    await upstream.start()
    given = {"upstream": upstream.url, "listen": "127.0.0.1:0", "store": "memory:"}
    made = Settings.model_validate({**given, "trim": {"window_refresh": 0}})
    async with running(made) as url, ClientSession() as http:
        sidecar = Sidecar(url, made, http)
        upstream.will(streams(*pieces))
        reply = await sidecar.ask("hi", id="a", stream=True)
        await sidecar.ask("and?", id="a")
    await upstream.stop()
    return reply.body, upstream.last.said


@settings(max_examples=40, deadline=None)
@given(places=st.lists(st.integers(1, len(EVERYTHING) - 1), max_size=12))
def test_any_split_of_a_stream_is_relayed_as_it_is_and_kept_whole(places: list[int]):
    body, said = asyncio.run(relayed(*splits(EVERYTHING, places)))
    assert body == EVERYTHING
    assert said == ["hi", "né 😀 ja", "and?"]


async def test_a_body_in_pieces_is_relayed_as_it_is(sidecar: Sidecar, upstream: Upstream):
    body = b"  " + completion("né 😀") + b"\n\n"
    for headers in (JSON, {"Content-Type": "application/json; charset=utf-8"}, {}):
        upstream.will(streams(*splits(body, [1, 30, 50, 77]), headers=headers))
        assert (await sidecar.ask("hi", id="a")).body == body
    assert (await sidecar.only()).branches == [["hi", "né 😀"]] * 3


async def test_a_stream_ends_for_the_client_only_when_it_is_stored(sidecar: Sidecar, upstream: Upstream):
    pieces = told("one two")
    upstream.will(streams(*pieces))
    async with asking(sidecar, stream=True) as response:
        with writing(sidecar):
            shown = b"".join(pieces[:-1])
            assert await response.content.readexactly(len(shown)) == shown
            end = asyncio.ensure_future(response.content.read())
            await until_a_commit_waits(sidecar)
            assert not end.done()
        assert await end == DONE
        assert (await sidecar.only()).branches == [["hi", "one two"]]


async def test_a_body_ends_for_the_client_only_when_it_is_stored(sidecar: Sidecar, upstream: Upstream):
    with writing(sidecar):
        asked = asyncio.create_task(sidecar.ask("hi", id="a"))
        await eventually(lambda: len(upstream.requests) == 1)
        await until_a_commit_waits(sidecar)
        assert not asked.done()
    assert (await asked).json["choices"][0]["message"]["content"] == "ok"
    assert (await sidecar.only()).branches == [["hi", "ok"]]


def packed_one_by_one(pieces: list[bytes]) -> list[bytes]:
    packer = zlib.compressobj(wbits=31)
    packed = [packer.compress(each) + packer.flush(zlib.Z_SYNC_FLUSH) for each in pieces]
    return [*packed, packer.flush()]


@pytest.mark.parametrize("is_packed", [True, False], ids=["packed", "only said to be"])
async def test_the_end_of_a_compressed_stream_waits_for_the_store_too(
    sidecar: Sidecar, upstream: Upstream, is_packed: bool
):
    pieces = packed_one_by_one(told("one two")) if is_packed else told("one two")
    upstream.will(streams(*pieces, headers={**EVENTS, "Content-Encoding": "gzip"}))
    got = b""
    async with asking(sidecar, stream=True) as response:
        with writing(sidecar):
            end = asyncio.get_running_loop().time() + 0.15
            while (left := end - asyncio.get_running_loop().time()) > 0:
                try:
                    got += await asyncio.wait_for(response.content.readany(), left)
                except TimeoutError:
                    break
            seen = zlib.decompressobj(wbits=31).decompress(got) if is_packed else got
            assert b" two" in seen
            assert b"[DONE]" not in seen
        got += await response.content.read()
    assert got == b"".join(pieces)


async def test_a_compressed_stream_is_relayed_as_it_is_and_kept(sidecar: Sidecar, upstream: Upstream):
    packed = gzip.compress(b"".join(told("one two")))
    upstream.will(streams(*splits(packed, [5, 40, 60]), headers={**EVENTS, "Content-Encoding": "gzip"}))
    async with asking(sidecar, stream=True) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert await response.read() == packed
    assert (await sidecar.only()).branches == [["hi", "one two"]]


@pytest.mark.parametrize("coding", ["Identity", "none", "utf-8", "", "gzip"])
async def test_a_reply_that_is_not_packed_as_it_says_is_recorded(
    sidecar: Sidecar, upstream: Upstream, coding: str
):
    upstream.will(
        sends(completion("one two"), headers={"Content-Type": "application/json", "Content-Encoding": coding})
    )
    upstream.will(streams(*told("three"), headers={**EVENTS, "Content-Encoding": coding}))
    async with ClientSession(auto_decompress=False) as http:
        for id in ("a", "b"):
            body = b'{"messages":[{"role":"user","content":"hi"}]}'
            async with http.post(sidecar.url + CHAT, data=body, headers=named(id)) as response:
                assert await response.read()
    assert [each.branches for each in await sidecar.stored()] == [[["hi", "one two"]], [["hi", "three"]]]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_compressed_body_is_relayed_as_it_is_and_kept(
    sidecar: Sidecar, upstream: Upstream, coding: str
):
    packed = (gzip if coding == "gzip" else zlib).compress(completion("one two"))
    upstream.will(sends(packed, headers={**JSON, "Content-Encoding": coding}))
    reply = await sidecar.ask("hi", id="a")
    assert (reply.body, reply.headers["Content-Encoding"]) == (packed, coding)
    assert (await sidecar.only()).branches == [["hi", "one two"]]


async def test_no_coding_is_offered_in_which_a_reply_could_not_be_kept(sidecar: Sidecar, upstream: Upstream):
    for offered, passed in (
        ("gzip, deflate, br, zstd", "gzip, deflate"),
        ("br", "identity"),
        ("gzip;q=0.5", "gzip;q=0.5"),
    ):
        await sidecar.ask("hi", id="a", headers={"Accept-Encoding": offered})
        assert upstream.last.headers["Accept-Encoding"] == passed
        await sidecar.ask("hi", id="a", headers={"Accept-Encoding": offered, "X-Task": "title"})
        assert upstream.last.headers["Accept-Encoding"] == offered
    await sidecar.ask("hi", id="a")
    assert "Accept-Encoding" not in upstream.last.headers


async def test_with_after_end_the_client_does_not_wait_for_the_store(start: Start, upstream: Upstream):
    sidecar = await start(history={"commit": "after_end"})
    with writing(sidecar):
        for stream in (False, True):
            async with asyncio.timeout(2):
                reply = await sidecar.ask("hi", id=str(stream), stream=stream)
            assert b"ok" in reply.body
    for _ in range(200):
        found = await sidecar.stored()
        if len(found) == 2:
            break
        await asyncio.sleep(0.01)
    assert [each.branches for each in found] == [[["hi", "ok"]], [["hi", "ok"]]]


async def test_with_after_end_the_next_message_of_the_chat_waits_for_the_one_before(
    start: Start, upstream: Upstream
):
    sidecar = await start(history={"commit": "after_end"})
    with writing(sidecar):
        await sidecar.ask("hi", id="a")
        next = asyncio.create_task(sidecar.ask("and?", id="a"))
        await asyncio.sleep(0.1)
        assert len(upstream.requests) == 1
    assert (await next).outcome == "append"
    assert upstream.last.said == ["hi", "ok", "and?"]


async def test_a_stream_without_its_done_is_whole(sidecar: Sidecar, upstream: Upstream):
    pieces = told("one two")[:-1]
    upstream.will(streams(*pieces), streams(*pieces[:-1]))
    for _ in range(2):
        reply = await sidecar.ask("hi", id="a", stream=True)
        assert reply.body.startswith(b"".join(pieces[:-1]))
    assert (await sidecar.only()).branches == [["hi", "one two"], ["hi", "one two"]]


async def test_what_follows_done_is_relayed_too(sidecar: Sidecar, upstream: Upstream):
    gate = asyncio.Event()
    upstream.will(streams(*told("one"), gate, b"data: {}\n\n", b": bye"))
    async with asking(sidecar, stream=True) as response:
        seen = await response.content.readuntil(DONE)
        assert seen == b"".join(told("one"))
        gate.set()
        assert await response.content.read() == b"data: {}\n\n: bye"


async def test_a_stream_may_not_be_buffered_by_a_web_server_in_front(sidecar: Sidecar, upstream: Upstream):
    assert (await sidecar.ask("hi", id="a", stream=True)).headers["X-Accel-Buffering"] == "no"
    assert "X-Accel-Buffering" not in (await sidecar.ask("hi", id="a")).headers
    upstream.will(streams(event({})))
    assert (await sidecar.send("POST", "/v1/responses")).headers["X-Accel-Buffering"] == "no"


async def test_a_slow_client_slows_the_upstream_down(sidecar: Sidecar, upstream: Upstream):
    sent = 0

    async def flood(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.head(200, EVENTS, None)
        piece = event({"content": "x" * 60_000})
        for _ in range(1000):
            await exchange.piece(piece)
            sent += len(piece)

    upstream.otherwise = flood
    async with asking(sidecar, stream=True) as response:
        reached = -1
        while sent != reached:  # it comes to a halt
            reached = sent
            await asyncio.sleep(0.5)
        assert 0 < reached < 30_000_000  # what the sockets of three hops take; all of it would be twice that
        assert response.status == 200
    await eventually(upstream.last.gone.is_set)
