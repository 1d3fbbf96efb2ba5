"""Replies that no specification allows and upstreams send: passed as they came, and kept as what they say."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from tests.proxy.client import CHAT, Sidecar, chat, named
from tests.proxy.mock_upstream import CUT, DONE, Upstream, completion, event, says, sends, streams, told

HALF = event({"role": "assistant", "content": "half an"})
WHOLE = [*told("one two")]


def called(arguments: object, **more: object) -> dict[str, Any]:
    return {"tool_calls": [{**more, "function": {"name": "f", "arguments": arguments}}]}


async def kept(sidecar: Sidecar) -> list[str]:
    (branch,) = (await sidecar.only()).branches
    return branch


@pytest.mark.parametrize(
    "named_as",
    [
        "text/plain; charset=utf-8",
        "application/json",
        "application/x-ndjson",
        "application/octet-stream",
        "text/event-stream charset=utf-8",
        "text/event-stream, text/event-stream",
        None,
    ],
)
async def test_a_stream_is_one_whatever_it_is_called(
    sidecar: Sidecar, upstream: Upstream, named_as: str | None
):
    headers = {"Content-Type": named_as} if named_as else {}
    open_end = asyncio.Event()
    upstream.will(streams(*WHOLE, open_end, headers=headers))
    body = json.dumps({"model": "m", "stream": True, "messages": chat("hi")}).encode()
    async with sidecar.http.post(sidecar.url + CHAT, data=body, headers=named("a")) as response:
        seen = b""
        async with asyncio.timeout(5):
            while DONE not in seen:  # although the response has not ended
                seen += await response.content.readany()
        assert await kept(sidecar) == ["hi", "one two"]
        open_end.set()
        assert seen + await response.content.read() == b"".join(WHOLE)


async def test_lines_of_json_are_passed_one_by_one(sidecar: Sidecar, upstream: Upstream):
    lines = [each[6:-1] for each in WHOLE[:-1]]
    gate = asyncio.Event()
    upstream.will(streams(lines[0], gate, *lines[1:], headers={"Content-Type": "application/x-ndjson"}))
    body = json.dumps({"model": "m", "stream": True, "messages": chat("hi")}).encode()
    async with sidecar.http.post(sidecar.url + CHAT, data=body, headers=named("a")) as response:
        async with asyncio.timeout(5):
            assert await response.content.readexactly(len(lines[0])) == lines[0]
        gate.set()
        assert await response.content.read() == b"".join(lines[1:])
    assert await kept(sidecar) == ["hi", "one two"]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
async def test_events_may_be_parted_by_one_line_end(sidecar: Sidecar, upstream: Upstream, end: bytes):
    events = [each.strip() + end for each in WHOLE]
    upstream.will(streams(*events))
    reply = await sidecar.ask("hi", id="a", stream=True)
    assert reply.body == b"".join(events)
    assert await kept(sidecar) == ["hi", "one two"]


@pytest.mark.parametrize(
    "first",
    [
        b'data: {"choices":[{"index":0,"delta":{"content":"\xf0\x9f"},"finish_reason":"stop"}]}\n\n',
        'data: {"error":{"message":"模型过载"}}\n\n'.encode("gbk"),
        b"data: \xff\xfe\n\n",
        b'data: {"choices":[{"index":0,"delta":{"content":"a","x":NaN}}]}\n\n',
    ],
)
async def test_bytes_of_any_encoding_pass_as_they_came(sidecar: Sidecar, upstream: Upstream, first: bytes):
    upstream.will(streams(first, DONE))
    reply = await sidecar.ask("hi", id="a", stream=True)
    assert (reply.status, reply.body) == (200, first + DONE)


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(b'error: {"code":500,"message":"boom"}\n\n', id="a field"),
        pytest.param(b'event: error\ndata: {"message":"boom","code":500}\n\n', id="an event"),
        pytest.param(b"event: error\ndata: upstream exploded\n\n", id="an event of text"),
        pytest.param(b'{"error":{"message":"boom"}}\n', id="a line"),
        pytest.param(b'{\n  "error": {"message": "boom"}\n}\n', id="several lines"),
        pytest.param(b'data: {"detail":"boom"}\n\n', id="a detail"),
        pytest.param(b'data: {"type":"error","message":"boom"}\n\n', id="a type"),
        pytest.param(b'data: [{"error":{"code":503}}]\n\n', id="a list"),
        pytest.param(b"data: Internal Server Error\n\n", id="text"),
        pytest.param(event({}, finish="error"), id="a finish reason"),
        pytest.param(event({}, finish="insufficient_system_resource"), id="another finish reason"),
        pytest.param(event({"error": {"message": "boom"}}), id="in the delta"),
        pytest.param(
            event({}, finish="stop") + b'data: {"error":{"message":"boom"}}\n\n', id="after the finish reason"
        ),
    ],
)
async def test_an_error_in_any_form_makes_a_failed_reply(sidecar: Sidecar, upstream: Upstream, error: bytes):
    upstream.will(streams(HALF, error))
    reply = await sidecar.ask("hi", id="a", stream=True)
    assert reply.body == HALF + error
    assert await kept(sidecar) == ["hi", "half an (failed)"]


@pytest.mark.parametrize("finish", ["stop", "null", "None"])
async def test_a_cut_after_a_finish_reason_with_every_chunk_is_a_cut(
    sidecar: Sidecar, upstream: Upstream, finish: str
):
    chunks = [event({"content": "half"}, finish=finish), event({"content": " an"}, finish=finish)]
    upstream.will(streams(*chunks, 0.05, CUT))
    with pytest.raises(aiohttp.ClientError):
        await sidecar.ask("hi", id="a", stream=True)
    assert await kept(sidecar) == ["hi", "half an (failed)"]


async def test_a_finish_reason_with_every_chunk_is_no_harm(sidecar: Sidecar, upstream: Upstream):
    upstream.will(streams(*(event({"content": each}, finish="stop") for each in ("one", " two")), DONE))
    await sidecar.ask("hi", id="a", stream=True)
    assert await kept(sidecar) == ["hi", "one two"]


async def test_a_question_that_is_refused_inside_of_a_200_is_not_asked_again(
    sidecar: Sidecar, upstream: Upstream
):
    error = json.dumps({"error": {"code": "content_filter", "message": "no"}}).encode()
    refusals = {
        "an error": sends(error),
        "an event": streams(b"data: " + error + b"\n\n", DONE),
        "an end": says("", finish="content_filter"),
        "no text": says(None, finish="content_filter"),
    }
    for name, refusal in refusals.items():
        upstream.will(says("hello"), refusal, says("fine"))
        for question in ("hi", "something bad", "something good"):
            await sidecar.ask(question, id=name, stream=name == "an event")
        assert upstream.last.said == ["hi", "hello", "something good"], name
    texts = [each.texts for each in await sidecar.stored()]
    assert texts == [["hi", "hello", "something good", "fine"]] * len(refusals)
    assert await sidecar.metric("sidecar_requests_total") == 3 * len(refusals)


async def test_words_before_a_filter_stand(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says("I would", finish="content_filter"), says("fine"))
    for question in ("something bad", "something good"):
        await sidecar.ask(question, id="a")
    assert upstream.last.said == ["something bad", "I would", "something good"]


async def test_indexes_that_count_tokens_make_one_reply(sidecar: Sidecar, upstream: Upstream):
    upstream.will(streams(*(event({"content": each}, index=at) for at, each in enumerate("abc")), DONE))
    await sidecar.ask("hi", id="a", stream=True)
    assert await kept(sidecar) == ["hi", "abc"]


async def test_text_and_calls_in_two_choices_make_one_reply(sidecar: Sidecar, upstream: Upstream):
    text = {"index": 0, "message": {"role": "assistant", "content": "Look."}, "finish_reason": "tool_calls"}
    made = called("{}", id="c", type="function")
    calls = {
        "index": 1,
        "message": {"role": "assistant", "content": None, **made},
        "finish_reason": "tool_calls",
    }
    upstream.will(sends(json.dumps({"choices": [text, calls]}).encode()))
    await sidecar.ask("hi", id="a")
    reply = (await sidecar.only()).messages[-1]["message"]
    assert reply == {"role": "assistant", "content": "Look.", **made}


async def test_a_chat_goes_on_after_a_part_of_no_proper_type(sidecar: Sidecar, upstream: Upstream):
    for at, odd in enumerate(({"type": ["text"]}, {"type": {"text": 1}}, {"type": 7}, ["text"])):
        upstream.will(sends(completion([odd, {"type": "text", "text": "Look."}])))  # type: ignore[arg-type] # odd on purpose
        await sidecar.ask("hi", id=f"{at}")
        assert (await sidecar.ask("again", id=f"{at}")).status == 200
        told = {"role": "user", "content": [odd, {"type": "text", "text": "and?"}]}
        assert (await sidecar.ask(told, id=f"{at}")).status == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("id", [{"call": 1}, ["c"], "", None])
async def test_a_chat_goes_on_after_a_call_with_no_proper_id(
    sidecar: Sidecar, upstream: Upstream, id: object, stream: bool
):
    odd = called({"city": "Oslo"}, id=id, index=0)
    if stream:
        upstream.will(streams(event({"content": "Look.", **odd}), event({}, finish="tool_calls"), DONE))
    else:
        upstream.will(says("Look.", finish="tool_calls", **odd))
    await sidecar.ask("hi", id="a", stream=stream)
    assert (await sidecar.ask("again", id="a")).status == 200
    assert upstream.last.said == ["hi", "Look.", "again"]
    result = {"role": "tool", "tool_call_id": "made up", "content": "42"}
    upstream.will(says("Look.", finish="tool_calls", **odd))
    await sidecar.ask("hi", id="b")
    await sidecar.ask(result, id="b")
    _, call, answer = upstream.last.json["messages"]
    assert call["tool_calls"] == [
        {"id": "made up", "type": "function", "function": {"name": "f", "arguments": '{"city":"Oslo"}'}}
    ]
    assert answer == result


@pytest.mark.parametrize(
    ("prefill", "said", "whole"),
    [
        ("The capital", " is Paris.", "The capital is Paris."),
        ("The capital", "The capital is Paris.", "The capital is Paris."),
        ("The capital ", "The capital is Paris.", "The capital is Paris."),
        (
            [{"type": "text", "text": "The capital"}],
            " is Paris.",
            [{"type": "text", "text": "The capital is Paris."}],
        ),
        ([{"type": "text", "text": "The capital"}], "The capital is Paris.", "The capital is Paris."),
        ("The", [{"type": "text", "text": " end"}], [{"type": "text", "text": "The end"}]),
        ("The", [{"type": "text", "text": "The end"}], [{"type": "text", "text": "The end"}]),
        ("The capital", None, "The capital"),
        ("", "Paris.", "Paris."),
    ],
)
async def test_a_prefill_is_joined_once(
    sidecar: Sidecar, upstream: Upstream, prefill: object, said: object, whole: object
):
    upstream.will(sends(completion(said)))  # type: ignore[arg-type] # odd on purpose
    await sidecar.ask("hi", {"role": "assistant", "content": prefill, "prefix": True}, id="a")
    reply = (await sidecar.only()).messages[-1]["message"]
    assert reply == {"role": "assistant", "content": whole}
