"""A target that cannot serve a request, and the next that can: when, and when not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.bench.fail_over import Soak
from tests.proxy.client import CHAT, Reply, Sidecar, assert_error, chat
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import (
    CUT,
    Answer,
    Exchange,
    Upstream,
    completion,
    cuts,
    event,
    says,
    sends,
    streams,
)
from tests.proxy.path.test_exchange import rows
from tests.proxy.several import chats, target, upstreams


@pytest.fixture
async def pair():
    """Two targets for the same models; the first is asked first."""
    async with upstreams("one", "two") as made:
        yield made


async def in_front_of(start: Start, pair: list[Upstream], **settings: Any) -> Sidecar:
    one, two = pair
    return await start(targets=[target("one", one), target("two", two, priority=1)], **settings)


def refuses(status: int, message: str = "no", code: str = "some_code", **headers: str) -> Answer:
    body = json.dumps({"error": {"message": message, "code": code}}).encode()
    return sends(body, status=status, headers={"Content-Type": "application/json", **headers})


async def ask(sidecar: Sidecar, *, stream: bool, **more: Any) -> Reply:
    return await sidecar.ask("hi", id="a", stream=stream, **more)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "JSON"])
class TestBeforeTheFirstByte:
    @pytest.mark.parametrize("status", [429, 503])
    async def test_who_is_busy_or_away_has_the_next_one_answer(self, start: Start, pair, status, stream):
        one, two = pair
        one.otherwise = refuses(status)
        sidecar = await in_front_of(start, pair)
        reply = await ask(sidecar, stream=stream)
        assert (reply.status, reply.headers["X-Sidecar-Target"]) == (200, "two")
        assert b"two" in reply.body
        assert (await sidecar.only()).branches == [["hi", "I am two"]]
        assert [each["target"] for each in await rows(sidecar, 1)] == ["two"]
        assert (len(chats(one)), len(chats(two))) == (1, 1)
        assert await sidecar.metric("sidecar_target_fail_overs_total") == 1

    async def test_who_refuses_the_connection_has_the_next_one_answer_at_once(
        self, start: Start, pair, stream
    ):
        one, two = pair
        await one.stop()
        sidecar = await in_front_of(start, pair, retries={"backoff": 60})
        reply = await ask(sidecar, stream=stream)
        assert (reply.status, reply.headers["X-Sidecar-Target"]) == (200, "two")
        assert (await sidecar.only()).branches == [["hi", "I am two"]]
        assert len(chats(two)) == 1

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 500, 502, 504])
    async def test_every_other_answer_is_the_clients(self, start: Start, pair, status, stream):
        one, two = pair
        one.otherwise = refuses(status)
        sidecar = await in_front_of(start, pair)
        reply = await ask(sidecar, stream=stream)
        assert (reply.status, reply.headers["X-Sidecar-Target"]) == (status, "one")
        assert chats(two) == []

    @pytest.mark.parametrize("status", [502, 504])
    async def test_what_a_gateway_says_counts_where_that_is_set(self, start: Start, pair, status, stream):
        one, _ = pair
        one.otherwise = refuses(status)
        sidecar = await in_front_of(start, pair, retries={"gateway_errors": True})
        assert (await ask(sidecar, stream=stream)).headers["X-Sidecar-Target"] == "two"

    async def test_a_connection_that_breaks_off_is_not_tried_elsewhere(self, start: Start, pair, stream):
        one, two = pair

        async def later(exchange: Exchange) -> None:
            await asyncio.sleep(0.3)
            await cuts()(exchange)

        sidecar = await in_front_of(start, pair)
        await ask(sidecar, stream=stream)
        one.otherwise = later
        reply = await sidecar.ask("hi", "I am one", "and?", id="a", stream=stream)
        assert_error(reply, 502, "upstream_unreachable")
        assert (len(chats(one)), chats(two)) == (2, [])
        _, exchange = await rows(sidecar, 2)
        assert (exchange["target"], exchange["error"]) == ("one", "upstream_unreachable")

    async def test_silence_is_not_tried_elsewhere(self, start: Start, pair, stream):
        one, two = pair
        gate = asyncio.Event()

        async def silent(exchange: Exchange) -> None:
            await gate.wait()

        one.otherwise = silent
        sidecar = await in_front_of(start, pair, timeouts={"idle": 0.2, "shutdown": 0.2})
        assert_error(await ask(sidecar, stream=stream), 504, "upstream_timeout")
        assert (len(chats(one)), chats(two)) == (1, [])

    @pytest.mark.parametrize("status", [400, 429, 503])
    async def test_a_prompt_that_is_too_long_is_cut_and_goes_to_the_same_target(
        self, start: Start, pair, status, stream
    ):
        one, two = pair
        too_long = "This model's maximum context length is 512 tokens. However, you requested 900 tokens"
        one.will(refuses(status, too_long, "context_length_exceeded"))
        sidecar = await in_front_of(start, pair)
        said = ["word " * 200, "an answer", "word " * 200, "another", "word " * 200]
        reply = await sidecar.ask(*said, id="a", stream=stream)
        assert (reply.status, reply.headers["X-Sidecar-Target"]) == (200, "one")
        assert (len(chats(one)), chats(two)) == (2, [])
        assert len(chats(one)[1]["messages"]) < len(said)

    async def test_where_nobody_can_serve_it_the_client_gets_the_last_answer(
        self, start: Start, pair, stream
    ):
        one, two = pair
        one.otherwise = refuses(429, "one is busy")
        two.otherwise = refuses(503, "two is away")
        sidecar = await in_front_of(start, pair)
        reply = await ask(sidecar, stream=stream)
        assert (reply.status, reply.headers["X-Sidecar-Target"]) == (503, "two")
        assert reply.json["error"]["message"] == "two is away"

    async def test_an_answer_counts_more_than_a_refused_connection_after_it(self, start: Start, pair, stream):
        one, two = pair
        one.otherwise = refuses(429, "one is busy", **{"Retry-After": "7"})
        await two.stop()
        sidecar = await in_front_of(start, pair)
        reply = await ask(sidecar, stream=stream)
        assert (reply.status, reply.headers["Retry-After"]) == (429, "7")
        assert reply.headers["X-Sidecar-Target"] == "one"

    async def test_where_none_can_be_reached_that_is_said(self, start: Start, pair, stream):
        for each in pair:
            await each.stop()
        sidecar = await in_front_of(start, pair)
        error = assert_error(await ask(sidecar, stream=stream), 502, "upstream_unreachable")
        assert error["message"] == "the upstream failed: it refuses connections"


@pytest.mark.parametrize("is_sent", [False, True], ids=["after the head", "after a word"])
async def test_after_the_first_byte_of_a_stream_nothing_is_tried_elsewhere(start: Start, pair, is_sent):
    one, two = pair
    word = event({"role": "assistant", "content": "half"})
    one.otherwise = streams(word, 0.05, CUT) if is_sent else streams(0.05, CUT)
    sidecar = await in_front_of(start, pair)
    with pytest.raises(aiohttp.ClientError):
        await ask(sidecar, stream=True)
    assert (len(chats(one)), chats(two)) == (1, [])
    (exchange,) = await rows(sidecar, 1)
    assert (exchange["target"], exchange["error"]) == ("one", "upstream_broke_off")
    assert (await sidecar.only()).texts == (["hi", "half (failed)"] if is_sent else ["hi"])


async def test_after_the_first_byte_of_json_nothing_is_tried_elsewhere(start: Start, pair):
    one, two = pair
    whole = completion("half of it")

    async def half(exchange: Exchange) -> None:
        await exchange.head(200, {"Content-Type": "application/json"}, len(whole))
        await exchange.send(whole[:-20])
        await asyncio.sleep(0.05)
        exchange.writer.transport.abort()

    one.otherwise = half
    sidecar = await in_front_of(start, pair)
    with pytest.raises(aiohttp.ClientError):
        await ask(sidecar, stream=False)
    assert (len(chats(one)), chats(two)) == (1, [])


WORD = event({"role": "assistant", "content": "half"})
ERROR = b'{"error":{"message":"no","code":"some_code"}}'


async def stays_silent(_exchange: Exchange) -> None:
    await asyncio.Event().wait()


async def says_half(exchange: Exchange) -> None:
    await exchange.head(200, {"Content-Type": "application/json"}, 500)
    await exchange.send(completion("half of it")[:-20])
    await asyncio.sleep(0.05)
    exchange.writer.transport.abort()


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "JSON"])
@pytest.mark.parametrize(
    ("fault", "status", "error", "kept"),
    [
        pytest.param(refuses(502), 502, "some_code", [], id="502"),
        pytest.param(refuses(404), 404, "some_code", [], id="404"),
        pytest.param(stays_silent, 504, "upstream_timeout", [], id="silence"),
        pytest.param(sends(ERROR), 200, "some_code", ["and?"], id="an error in JSON"),
        pytest.param(
            streams(b"data: " + ERROR + b"\n\n"), 200, "some_code", ["and?"], id="an error in a stream"
        ),
        pytest.param(
            streams(WORD, b"data: " + ERROR + b"\n\n"),
            200,
            "some_code",
            ["and?", "half (failed)"],
            id="and later",
        ),
        pytest.param(streams(0.05, CUT), None, "upstream_broke_off", ["and?"], id="a head and no more"),
        pytest.param(
            streams(WORD, asyncio.Event()), None, "upstream_broke_off", ["and?", "half (failed)"], id="a word"
        ),
        pytest.param(says_half, None, "upstream_broke_off", ["and?"], id="half of the JSON"),
    ],
)
async def test_what_no_other_target_is_asked_for_is_told_and_kept_as_it_went(
    start: Start, pair, fault, status, error, kept, stream
):
    """The table of the guide, as far as the other tests do not show it."""
    one, two = pair
    sidecar = await in_front_of(start, pair, timeouts={"idle": 0.3, "shutdown": 0.2})
    await ask(sidecar, stream=stream)
    one.otherwise = fault
    if status is None:
        with pytest.raises(aiohttp.ClientError):
            await sidecar.ask("hi", "I am one", "and?", id="a", stream=stream)
    else:
        reply = await sidecar.ask("hi", "I am one", "and?", id="a", stream=stream)
        assert reply.status == status
    assert (len(chats(one)), chats(two)) == (2, [])
    _, exchange = await rows(sidecar, 2)
    assert (exchange["target"], exchange["error"]) == ("one", error)
    assert (await sidecar.only()).texts == ["hi", "I am one", *kept]


async def test_the_chat_goes_on_at_the_first_once_that_serves_again(start: Start, pair):
    one, _ = pair
    one.will(refuses(503))
    sidecar = await in_front_of(start, pair)
    assert (await sidecar.ask("hi", id="a")).headers["X-Sidecar-Target"] == "two"
    reply = await sidecar.ask("hi", "I am two", "and?", id="a")
    assert reply.headers["X-Sidecar-Target"] == "one"
    assert chats(one)[-1]["messages"] == chat("hi", "I am two", "and?")
    assert (await sidecar.only()).branches == [["hi", "I am two", "and?", "I am one"]]


async def test_an_append_is_put_together_for_whoever_gets_it(start: Start, pair):
    one, two = pair
    sidecar = await in_front_of(start, pair)
    append = {"X-Sidecar-History": "append"}
    await sidecar.ask("hi", id="a", headers=append)
    one.will(refuses(503))
    reply = await sidecar.ask("and?", id="a", headers=append)
    assert reply.headers["X-Sidecar-Target"] == "two"
    assert chats(two)[-1]["messages"] == chat("hi", "I am one", "and?")
    assert (await sidecar.only()).branches == [["hi", "I am one", "and?", "I am two"]]


async def test_reasoning_goes_back_to_the_target_that_made_it_alone(start: Start, pair):
    one, two = pair
    one.otherwise = says("I am one", reasoning_content="because")
    sidecar = await in_front_of(start, pair, restore={"reasoning": "same-model"})
    await sidecar.ask("hi", id="a")
    one.will(refuses(503))
    await sidecar.ask("hi", "I am one", "and?", id="a")
    assert "reasoning_content" not in chats(two)[-1]["messages"][1]
    await sidecar.ask("hi", "I am one", "and?", id="a")
    assert chats(one)[-1]["messages"][1]["reasoning_content"] == "because"


async def test_who_gave_a_task_its_answer_is_named_though_another_was_tried_later(start: Start, pair):
    one, two = pair
    one.otherwise = refuses(429)
    await two.stop()
    sidecar = await in_front_of(start, pair)
    reply = await sidecar.ask("a title?", headers={"X-Task": "title"})
    assert (reply.status, reply.headers["X-Sidecar-Target"]) == (429, "one")


async def test_a_task_goes_elsewhere_as_well(start: Start, pair):
    one, two = pair
    one.otherwise = refuses(503)
    sidecar = await in_front_of(start, pair)
    reply = await sidecar.ask("a title?", headers={"X-Task": "title"})
    assert (reply.status, reply.headers["X-Sidecar-Target"]) == (200, "two")
    assert len(chats(two)) == 1


async def test_three_failures_and_it_is_left_alone_until_a_probe_finds_it_well(
    start: Start, pair, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sidecar.upstream.health._FIRST", 0.2)
    one, two = pair
    one.otherwise = refuses(503)
    sidecar = await in_front_of(start, pair)
    for _ in range(4):
        assert (await sidecar.ask("hi")).headers["X-Sidecar-Target"] == "two"
    assert (len(chats(one)), len(chats(two))) == (3, 4)
    ready = await sidecar.send("GET", "/-/ready")
    assert ready.json["targets"] == {"default": "reachable", "one": "out", "two": "reachable"}
    one.otherwise = says("I am one")
    async with asyncio.timeout(5):
        while (await sidecar.ask("hi")).headers["X-Sidecar-Target"] != "one":
            await asyncio.sleep(0.02)
    probes = [each.target for each in one.requests if each.method == "GET"]
    assert probes
    assert set(probes) == {"/v1/models"}


async def test_where_all_are_out_they_are_asked_all_the_same(start: Start, pair):
    one, two = pair
    one.otherwise = two.otherwise = refuses(503)
    sidecar = await in_front_of(start, pair)
    for _ in range(4):
        assert (await sidecar.ask("hi")).status == 503
    one.otherwise = says("I am one")
    reply = await sidecar.ask("hi")
    assert (reply.status, reply.headers["X-Sidecar-Target"]) == (200, "one")


async def test_an_upstream_alone_is_never_left_alone(start: Start, upstream: Upstream):
    """As without `targets`: nobody else could serve it."""
    async with upstreams("other") as (other,):
        upstream.otherwise = refuses(503)
        sidecar = await start(targets=[target("other", other, models=["other"])])
        for _ in range(5):
            reply = await sidecar.ask("hi")
            assert (reply.status, reply.headers["X-Sidecar-Target"]) == (503, "default")
        assert len(chats(upstream)) == 5
        assert chats(other) == []


async def test_a_client_that_leaves_gives_its_place_back(start: Start, pair):
    one, _ = pair
    begun = asyncio.Event()

    async def silent(exchange: Exchange) -> None:
        begun.set()
        await asyncio.Event().wait()

    one.will(silent)
    sidecar = await start(targets=[target("one", one, parallel=1)])
    body = json.dumps({"model": "m", "messages": chat("hi")}).encode()
    leaving = asyncio.ensure_future(sidecar.http.post(sidecar.url + CHAT, data=body))
    await asyncio.wait_for(begun.wait(), 5)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert (await sidecar.ask("hi")).status == 200


async def test_at_random_nothing_is_lost_kept_twice_or_asked_of_an_engine_that_had_begun(tmp_path: Path):
    """Ten thousand requests: `./dev bench fail_over`."""
    soak = Soak(seed=7, requests=150)
    async with asyncio.timeout(60):
        await soak.run(tmp_path)
    assert soak.faults == []
    assert {"200", "broke off"} <= set(soak.seen)
