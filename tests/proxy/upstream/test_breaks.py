"""A connection that ends before the reply does: the client's, or the upstream's."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from sidecar.proxy import load
from tests.proxy.client import CHAT, Sidecar, chat, eventually, named, settled
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import (
    CUT,
    DONE,
    EVENTS,
    JSON,
    Answer,
    Exchange,
    Upstream,
    completion,
    cuts,
    event,
    says,
    sends,
    streams,
    told,
    waits,
)
from tests.proxy.store_lock import writing

HALF = event({"role": "assistant", "content": "half an"})
REST = event({"content": " answer"}, finish="stop")


def body_of(*messages: str, **more: object) -> bytes:
    return json.dumps({"model": "m", "messages": chat(*messages), **more}).encode()


async def leave_after(sidecar: Sidecar, shown: bytes, *messages: str, id: str | None = "a") -> None:
    """Ask for a stream, and leave when this much has come."""
    body = body_of(*messages, stream=True)
    async with sidecar.http.post(sidecar.url + CHAT, data=body, headers=named(id)) as response:
        assert await response.content.readexactly(len(shown)) == shown


async def branches(sidecar: Sidecar, *expected: list[str]) -> None:
    """Wait until these are stored: what is left behind is kept without anybody waiting for it."""
    found: list[list[str]] = []
    for _ in range(200):
        found = [branch for each in await sidecar.stored() for branch in each.branches]
        if found == list(expected):
            return
        await asyncio.sleep(0.01)
    assert found == list(expected)


async def test_a_client_that_leaves_ends_the_upstreams_work_at_once(sidecar: Sidecar, upstream: Upstream):
    upstream.will(streams(HALF, asyncio.Event()))
    await leave_after(sidecar, HALF, "hi")
    await eventually(upstream.last.gone.is_set)
    await branches(sidecar, ["hi", "half an (partial)"])


async def others_are_missed(sidecar: Sidecar, upstream: Upstream) -> None:
    """Wait until the sidecar has noticed that a client left; so it has of all who left before."""
    upstream.will(streams(b"half", asyncio.Event()))
    async with sidecar.http.post(sidecar.url + "/v1/audio/speech", data=body_of("hi")) as response:
        assert await response.content.readexactly(4) == b"half"
    await eventually(upstream.last.gone.is_set)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_before_the_headers_ends_the_upstreams_work_too(
    sidecar: Sidecar, upstream: Upstream, stream: bool
):
    upstream.will(waits(asyncio.Event(), says()))
    asked = asyncio.create_task(sidecar.ask("hi", id="a", stream=stream))
    await eventually(lambda: upstream.requests)
    asked.cancel()
    await eventually(upstream.last.gone.is_set)
    assert (await sidecar.ask("hi", id="a")).status == 200
    await branches(sidecar, ["hi", "ok"])


async def test_a_client_that_leaves_a_body_half_way_leaves_no_reply(sidecar: Sidecar, upstream: Upstream):
    whole = completion("one two three")
    upstream.will(sends(whole[:50], asyncio.Event(), whole[50:]))
    asked = asyncio.create_task(sidecar.ask("hi", id="a"))
    await eventually(lambda: upstream.requests)
    await settled()
    asked.cancel()
    await eventually(upstream.last.gone.is_set)
    await branches(sidecar, ["hi"])


async def test_a_partial_reply_that_the_client_sends_back_is_gone_on_from(
    sidecar: Sidecar, upstream: Upstream
):
    upstream.will(streams(HALF, asyncio.Event()))
    await leave_after(sidecar, HALF, "hi")
    await branches(sidecar, ["hi", "half an (partial)"])
    reply = await sidecar.ask("hi", "half an", "go on", id="a")
    assert reply.outcome == "continue"
    assert upstream.last.said == ["hi", "half an", "go on"]


@pytest.mark.parametrize("id", ["a", None])
async def test_whoever_asks_again_while_half_an_answer_is_being_stored_goes_on_from_it(
    sidecar: Sidecar, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, id: str | None
):
    """It would be a branch of its own beside it: the store does not have it yet."""
    monkeypatch.setattr(load, "_PATIENCE", 30.0)
    upstream.will(says("ok"), streams(HALF, asyncio.Event()))
    await sidecar.ask("hi", id=id)
    with writing(sidecar):
        await leave_after(sidecar, HALF, "hi", "ok", "and?", id=id)
        left = upstream.last
        await eventually(left.gone.is_set)
        asked = asyncio.create_task(sidecar.ask("hi", "ok", "and?", "half an", "go on", id=id))
        await asyncio.wait((asked,), timeout=0.2)
        assert len(upstream.requests) == 2
    assert (await asked).outcome == "continue"
    await branches(sidecar, ["hi", "ok", "and?", "half an (partial)", "go on", "ok"])


async def test_it_waits_for_that_no_longer_than_a_moment(
    sidecar: Sidecar, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(load, "_PATIENCE", 0.05)
    upstream.will(streams(HALF, asyncio.Event()))
    with writing(sidecar):
        await leave_after(sidecar, HALF, "hi")
        left = upstream.last
        await eventually(left.gone.is_set)
        asked = asyncio.create_task(sidecar.ask("hi", "half an", "go on", id="a"))
        await eventually(lambda: upstream.last is not left)
    assert (await asked).status == 200


async def test_with_finish_a_whole_history_does_not_wait_for_the_rest(
    start: Start, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(load, "_PATIENCE", 30.0)
    sidecar = await start(history={"on_disconnect": "finish"})
    gate = asyncio.Event()
    upstream.will(streams(HALF, gate, REST, DONE))
    await leave_after(sidecar, HALF, "hi")
    reply = await asyncio.wait_for(sidecar.ask("hi", "half an", "go on", id="a"), 10)
    gate.set()
    assert (reply.status, upstream.last.said) == (200, ["hi", "half an", "go on"])


async def test_what_a_stopped_answer_said_stands_before_what_is_appended(
    sidecar: Sidecar, upstream: Upstream
):
    upstream.will(streams(HALF, asyncio.Event()))
    await leave_after(sidecar, HALF, "hi")
    await branches(sidecar, ["hi", "half an (partial)"])
    await sidecar.ask("go on", id="a")
    await sidecar.ask("and on", id="a")
    assert upstream.last.said == ["hi", "half an", "go on", "ok", "and on"]


async def test_a_question_whose_answer_was_stopped_may_be_asked_again(sidecar: Sidecar, upstream: Upstream):
    upstream.will(*(streams(HALF, asyncio.Event()) for _ in range(2)))
    await leave_after(sidecar, HALF, "hi")
    await branches(sidecar, ["hi", "half an (partial)"])
    await leave_after(sidecar, HALF, "hi")
    await branches(sidecar, ["hi", "half an (partial)"], ["hi", "half an (partial)"])
    reply = await sidecar.ask("hi", id="a")
    assert (reply.outcome, upstream.last.said) == ("retry", ["hi"])


async def test_a_question_that_was_stopped_before_a_word_is_joined_with_the_next(
    sidecar: Sidecar, upstream: Upstream
):
    upstream.will(says("ok"), streams(asyncio.Event()))
    await sidecar.ask("hi", id="a")
    await leave_after(sidecar, b"", "one", id="a")
    await branches(sidecar, ["hi", "ok", "one"])
    await sidecar.ask("two", id="a")
    assert upstream.last.said == ["hi", "ok", "one\n\ntwo"]


async def test_a_stopped_retry_leaves_the_answer_that_was_there(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says("whole"), streams(HALF, asyncio.Event()))
    await sidecar.ask("hi", id="a")
    await leave_after(sidecar, HALF, "hi")
    await branches(sidecar, ["hi", "whole"], ["hi", "half an (partial)"])
    await sidecar.ask("go on", id="a")
    assert upstream.last.said == ["hi", "whole", "go on"]


async def test_a_reply_whose_end_the_client_did_not_wait_for_is_whole(sidecar: Sidecar, upstream: Upstream):
    """The finish reason came: all has been said."""
    upstream.will(streams(HALF, REST, asyncio.Event()))
    await leave_after(sidecar, HALF + REST, "hi")
    await branches(sidecar, ["hi", "half an answer"])


async def test_with_finish_the_upstream_goes_on_and_all_is_kept(start: Start, upstream: Upstream):
    sidecar = await start(history={"on_disconnect": "finish"})
    gate = asyncio.Event()
    upstream.will(streams(HALF, gate, REST, DONE))
    await leave_after(sidecar, HALF, "hi")
    asked = upstream.last
    await others_are_missed(sidecar, upstream)
    assert not asked.gone.is_set()
    gate.set()
    await branches(sidecar, ["hi", "half an answer"])


@pytest.mark.parametrize("stream", [False, True])
async def test_with_finish_it_goes_on_also_if_no_header_had_come(
    start: Start, upstream: Upstream, stream: bool
):
    """A reply that is not streamed has its headers at the very end."""
    sidecar = await start(history={"on_disconnect": "finish"})
    gate = asyncio.Event()
    upstream.will(waits(gate, says("at last")))
    asked = asyncio.create_task(sidecar.ask("hi", id="a", stream=stream))
    await eventually(lambda: upstream.requests)
    asked.cancel()
    received = upstream.last
    await others_are_missed(sidecar, upstream)
    assert not received.gone.is_set()
    gate.set()
    await branches(sidecar, ["hi", "at last"])


async def test_with_finish_an_upstream_that_breaks_off_later_leaves_a_failed_reply(
    start: Start, upstream: Upstream
):
    sidecar = await start(history={"on_disconnect": "finish"})
    gate = asyncio.Event()
    upstream.will(streams(HALF, gate, CUT))
    await leave_after(sidecar, HALF, "hi")
    gate.set()
    await branches(sidecar, ["hi", "half an (failed)"])


@pytest.mark.parametrize("answer", [cuts(), sends(b"{}", status=500)])
async def test_with_finish_there_may_be_nothing_to_keep(start: Start, upstream: Upstream, answer: Answer):
    sidecar = await start(history={"on_disconnect": "finish"})
    gate = asyncio.Event()
    upstream.otherwise = waits(gate, answer)
    asked = asyncio.create_task(sidecar.ask("hi", id="a"))
    await eventually(lambda: upstream.requests)
    asked.cancel()
    await asyncio.sleep(0.3)  # so late it is not tried again
    gate.set()
    upstream.otherwise = says()
    assert (await sidecar.ask("hi", id="a")).outcome == "start"
    await branches(sidecar, ["hi", "ok"])


async def test_the_next_append_ends_what_was_left_behind(start: Start, upstream: Upstream):
    sidecar = await start(history={"on_disconnect": "finish"})
    gate = asyncio.Event()
    upstream.will(streams(HALF, gate, REST, DONE))
    await leave_after(sidecar, HALF, "hi")
    await sidecar.ask("next", id="a")
    assert upstream.last.said == ["hi", "half an", "next"]


async def test_a_client_that_leaves_a_task_or_another_path_ends_the_upstreams_work(
    sidecar: Sidecar, upstream: Upstream
):
    for path, headers in ((CHAT, {"X-Task": "title"}), ("/v1/audio/speech", {})):
        upstream.will(streams(b"half", asyncio.Event()))
        async with sidecar.http.post(sidecar.url + path, data=body_of("hi"), headers=headers) as response:
            assert await response.content.readexactly(4) == b"half"
        await eventually(upstream.last.gone.is_set)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_sees_that_the_upstream_broke_off(sidecar: Sidecar, upstream: Upstream, stream: bool):
    """Else half an answer would look like a whole one."""
    pieces = (HALF, 0.01, CUT, REST) if stream else (completion("half an answer")[:90], 0.01, CUT, b"x" * 50)
    answer = streams if stream else sends
    upstream.will(answer(*pieces, headers=EVENTS if stream else JSON))
    with pytest.raises(aiohttp.ClientPayloadError):
        await sidecar.ask("hi", id="a", stream=stream)
    await branches(sidecar, ["hi", "half an (failed)"] if stream else ["hi"])
    assert (await sidecar.ask("hi", "never", "and?", id="a")).status == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_all_that_came_before_it_broke_off_is_passed_on(
    sidecar: Sidecar, upstream: Upstream, stream: bool
):
    """Some servers tell a wrong length, and their clients read what there is."""
    body = HALF + REST[:7] if stream else completion("an answer")
    upstream.will(sends(body, 0.01, CUT, b"x" * 50, headers=EVENTS if stream else JSON))
    async with sidecar.http.post(sidecar.url + CHAT, data=body_of("hi", stream=stream)) as response:
        assert await response.content.readexactly(len(body)) == body
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.read()


async def test_a_failed_reply_is_never_sent_upstream_again(sidecar: Sidecar, upstream: Upstream):
    upstream.will(streams(HALF, 0.01, CUT))
    with pytest.raises(aiohttp.ClientPayloadError):
        await sidecar.ask("hi", id="a", stream=True)
    await sidecar.ask("again", id="a")
    assert upstream.last.said == ["hi\n\nagain"]


async def test_a_question_asked_again_in_vain_keeps_the_answer_that_it_had(
    sidecar: Sidecar, upstream: Upstream
):
    """Whoever sends only what is new has seen that answer, and the model has to see it as well."""
    await sidecar.ask("hi", id="a")
    upstream.will(streams(HALF, 0.01, CUT))
    with pytest.raises(aiohttp.ClientPayloadError):
        await sidecar.ask("hi", id="a", stream=True)
    await sidecar.ask("next", id="a")
    assert upstream.last.said == ["hi", "ok", "next"]


async def test_a_client_of_another_path_sees_it_too(sidecar: Sidecar, upstream: Upstream):
    upstream.will(streams(b"half", 0.01, CUT))
    with pytest.raises(aiohttp.ClientPayloadError):
        await sidecar.send("GET", "/v1/files/1/content")


async def test_a_reply_in_another_coding_than_it_says_is_relayed_and_recorded(
    sidecar: Sidecar, upstream: Upstream
):
    pieces = told("one two")
    upstream.will(streams(*pieces, headers={**EVENTS, "Content-Encoding": "gzip"}))
    reply = await sidecar.ask("hi", id="a", stream=True)
    assert reply.body == b"".join(pieces)
    await branches(sidecar, ["hi", "one two"])


async def test_an_old_client_sees_it_too(sidecar: Sidecar, upstream: Upstream):
    """To HTTP/1.0 the end of the connection is the end of the body: it has to be reset, not closed."""
    upstream.will(streams(HALF, 0.05, CUT))
    reader, writer = await asyncio.open_connection("127.0.0.1", int(sidecar.url.rsplit(":", 1)[1]))
    body = body_of("hi", stream=True)
    writer.write(f"POST {CHAT} HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    await reader.readuntil(HALF)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_an_upstream_that_falls_silent_has_broken_off(start: Start, upstream: Upstream):
    sidecar = await start(timeouts={"idle": 0.1})
    upstream.will(streams(HALF, asyncio.Event()))
    with pytest.raises(aiohttp.ClientPayloadError):
        await sidecar.ask("hi", id="a", stream=True)
    await branches(sidecar, ["hi", "half an (failed)"])
    assert upstream.last.gone.is_set()


async def test_an_error_inside_a_stream_is_relayed_and_the_reply_has_failed(
    sidecar: Sidecar, upstream: Upstream
):
    error = b'data: {"error":{"message":"out of memory","code":500}}\n\n'
    upstream.will(streams(HALF, error, DONE))
    reply = await sidecar.ask("hi", id="a", stream=True)
    assert reply.body == HALF + error + DONE
    await branches(sidecar, ["hi", "half an (failed)"])
    await sidecar.ask("hi", "half an", "go on", id="a")
    assert upstream.last.said == ["hi", "half an", "go on"]


async def test_an_upstream_that_ends_early_and_cleanly_after_its_words_is_whole(
    sidecar: Sidecar, upstream: Upstream
):
    async def until_close(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        await exchange.send(b"".join(told("one two")))
        exchange.writer.close()

    upstream.will(until_close)
    reply = await sidecar.ask("hi", id="a", stream=True)
    assert reply.body == b"".join(told("one two"))
    await branches(sidecar, ["hi", "one two"])


def closing(*pieces: bytes) -> Answer:
    """A stream that ends where its connection does, as of HTTP/1.0."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        )
        for piece in pieces:
            await exchange.send(piece)
        exchange.writer.close()

    return answer


@pytest.mark.parametrize("end", [[REST], [event({"content": " answer"}), DONE]], ids=["reason", "DONE"])
async def test_a_stream_that_its_connection_ends_is_a_part_where_the_upstream_tells_ends(
    sidecar: Sidecar, upstream: Upstream, end: list[bytes]
):
    upstream.will(closing(HALF, *end), closing(HALF), says("a whole one"))
    await sidecar.ask("one", id="a", stream=True)
    for _ in range(2):
        await sidecar.ask("two", id="a", stream=True, headers={"X-Sidecar-History": "append"})
    (found,) = await sidecar.stored()
    assert found.branches == [
        ["one", "half an answer", "two", "half an (failed)"],
        ["one", "half an answer", "two", "a whole one"],
    ]


async def test_a_stream_that_its_connection_ends_is_whole_where_the_upstream_never_tells_ends(
    sidecar: Sidecar, upstream: Upstream
):
    upstream.will(closing(HALF), closing(HALF))
    for question in ("one", "two"):
        await sidecar.ask(question, id="a", stream=True, headers={"X-Sidecar-History": "append"})
    (found,) = await sidecar.stored()
    assert found.branches == [["one", "half an", "two", "half an"]]


async def test_a_chunked_stream_says_its_end_by_its_chunks(sidecar: Sidecar, upstream: Upstream):
    upstream.will(streams(HALF, REST, DONE), streams(HALF))
    for question in ("one", "two"):
        await sidecar.ask(question, id="a", stream=True, headers={"X-Sidecar-History": "append"})
    (found,) = await sidecar.stored()
    assert found.branches == [["one", "half an answer", "two", "half an"]]
