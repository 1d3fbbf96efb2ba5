"""What others that do this job were seen to get wrong, one test for each fault."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.proxy.client import CHAT, Sidecar, assert_error, chat, eventually, named
from tests.proxy.mock_upstream import (
    CUT,
    DONE,
    Upstream,
    event,
    says,
    sends,
    streams,
    told,
)

CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2,  "b": 3}'}}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "5"}


async def test_a_stream_is_kept_when_its_events_are_split_across_reads(sidecar: Sidecar, upstream: Upstream):
    whole = b"".join(told("Grüße an alle"))
    upstream.will(streams(*(whole[at : at + 7] for at in range(0, len(whole), 7))))
    reply = await sidecar.ask("hi", id="a", stream=True)
    assert reply.body == whole
    assert (await sidecar.only()).branches == [["hi", "Grüße an alle"]]


async def test_tool_messages_are_not_dropped(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says(None, tool_calls=[CALL]), says("It is 5"), says("Yes"))
    tools = [{"type": "function", "function": {"name": "add"}}]
    await sidecar.ask("add", id="a", tools=tools)
    await sidecar.ask(RESULT, id="a", tools=tools)
    await sidecar.ask("sure?", id="a", tools=tools)
    assistant = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    assert upstream.last.said == ["add", assistant, RESULT, "It is 5", "sure?"]
    assert [each["role"] for each in (await sidecar.only()).messages] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
        "assistant",
    ]


async def test_a_second_ok_reaches_the_model(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says("one"), says("two"), says("three"))
    for text in ("go", "ok", "ok"):
        await sidecar.ask(text, id="a")
    assert upstream.last.said == ["go", "one", "ok", "two", "ok"]
    assert (await sidecar.only()).branches == [["go", "one", "ok", "two", "ok", "three"]]


async def test_a_second_ok_in_a_whole_history_reaches_the_model(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says("fine"), says("fine"))
    await sidecar.ask("ok", id="a")
    await sidecar.ask("ok", "fine", "ok", id="a")
    assert upstream.last.said == ["ok", "fine", "ok"]
    assert (await sidecar.only()).branches == [["ok", "fine", "ok", "fine"]]


async def test_the_models_are_listed(sidecar: Sidecar, upstream: Upstream):
    upstream.will(sends(b'{"object":"list","data":[]}'))
    reply = await sidecar.send("GET", "/v1/models")
    assert (reply.status, reply.body) == (200, b'{"object":"list","data":[]}')
    assert upstream.last.target == "/v1/models"


async def test_the_history_under_a_new_id_goes_upstream_whole(sidecar: Sidecar, upstream: Upstream):
    await sidecar.ask("1", "2", "3", "4", "5", id="new")
    assert upstream.last.said == ["1", "2", "3", "4", "5"]
    assert (await sidecar.only()).branches == [["1", "2", "3", "4", "5", "ok"]]


async def test_an_edit_is_not_appended_to_the_old_branch(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says("hello"), says("Rome"), says("Bern"))
    await sidecar.ask("hi", id="a")
    await sidecar.ask("hi", "hello", "Italy?", id="a")
    edited = await sidecar.ask("hi", "hello", "Switzerland?", id="a")
    assert edited.outcome == "branch"
    assert upstream.last.said == ["hi", "hello", "Switzerland?"]
    assert (await sidecar.only()).branches == [
        ["hi", "hello", "Italy?", "Rome"],
        ["hi", "hello", "Switzerland?", "Bern"],
    ]


async def test_titles_do_not_enter_the_session(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says('{"title":"Greeting"}'), says("hello"))
    prompt = "### Task:\nGenerate a concise title summarizing the chat history.\nhi"
    task = await sidecar.ask(prompt, id="a", headers={"X-Task": "title_generation"})
    assert task.outcome == "task"
    assert "X-Conversation-ID" not in upstream.last.headers
    await sidecar.ask("hi", id="a", headers={"X-Task": ""})
    assert upstream.last.said == ["hi"]
    assert (await sidecar.only()).branches == [["hi", "hello"]]


async def test_no_turn_of_several_at_once_is_missing_from_the_next_prompt(
    sidecar: Sidecar, upstream: Upstream
):
    for text in ("to begin with", "first"):
        await sidecar.ask(text, id="a")
    await asyncio.gather(*(sidecar.ask(f"turn {number}", id="a") for number in range(3)))
    await sidecar.ask("last", id="a")
    said = upstream.last.said[2:]
    assert said[:2] == ["first", "ok"]
    assert sorted(said[2:8:2]) == ["turn 0", "turn 1", "turn 2"]
    assert said[3:9:2] == ["ok", "ok", "ok"]
    assert said[8:] == ["last"]


async def test_n_tool_calls_and_unknown_fields_pass(sidecar: Sidecar, upstream: Upstream):
    body = (
        b'{"n":2, "model":"m","x_vendor":{"deep":[1.50,1e3,null]},"tools":[{"type":"function"}],'
        b'"messages":[{"role":"user","content":"hi","x_note":"kept"},'
        b'{"role":"critic","content":"unknown role"}], "seed":12345678901234567890}'
    )
    await sidecar.send("POST", CHAT, data=body, headers=named("a"))
    assert upstream.last.body == body


async def test_every_choice_is_passed_and_kept(sidecar: Sidecar, upstream: Upstream):
    choices = [
        {"index": at, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for at, text in enumerate(("heads", "tails"))
    ]
    answer = json.dumps({"choices": choices}).encode()
    upstream.will(sends(answer))
    reply = await sidecar.ask("toss", id="a", n=2)
    assert reply.body == answer
    assert (await sidecar.only()).branches == [["toss", "heads"], ["toss", "tails"]]
    await sidecar.ask("toss", "tails", "again", id="a")
    assert (await sidecar.only()).branches == [["toss", "heads"], ["toss", "tails", "again", "ok"]]


async def test_every_streamed_choice_is_passed_and_kept(sidecar: Sidecar, upstream: Upstream):
    pieces = [
        event({"content": "he"}),
        event({"content": "ta"}, index=1),
        event({"content": "ils"}, index=1, finish="stop"),
        event({"content": "ads"}, finish="stop"),
        DONE,
    ]
    upstream.will(streams(*pieces))
    reply = await sidecar.ask("toss", id="a", n=2, stream=True)
    assert reply.body == b"".join(pieces)
    assert (await sidecar.only()).branches == [["toss", "heads"], ["toss", "tails"]]


async def test_a_stream_arrives_piece_by_piece(sidecar: Sidecar, upstream: Upstream):
    first, second = event({"content": "one"}), event({"content": " two"}, finish="stop")
    seen = asyncio.Event()
    upstream.will(streams(first, seen, second, DONE))
    body = json.dumps({"messages": chat("hi"), "stream": True}).encode()
    async with sidecar.http.post(sidecar.url + CHAT, data=body) as response:
        assert await response.content.readany() == first
        seen.set()
        assert await response.content.read() == second + DONE


async def test_the_credential_reaches_the_upstream(sidecar: Sidecar, upstream: Upstream):
    await sidecar.ask(
        "hi", id="a", headers={"Authorization": "Bearer k", "api-key": "azure", "x-api-key": "anthropic"}
    )
    assert upstream.last.headers["Authorization"] == "Bearer k"
    assert upstream.last.headers["api-key"] == "azure"
    assert upstream.last.headers["x-api-key"] == "anthropic"


async def test_the_clients_own_headers_are_forwarded(sidecar: Sidecar, upstream: Upstream):
    own = {"X-Title": "my app", "X-Trace": "1;a=b", "HTTP-Referer": "http://x", "User-Agent": "agent/1"}
    await sidecar.ask("hi", id="a", headers=own)
    assert {name: upstream.last.headers[name] for name in own} == own


async def test_a_partial_reply_is_kept(sidecar: Sidecar, upstream: Upstream):
    never = asyncio.Event()
    upstream.will(streams(event({"content": "half an"}), never))
    body = json.dumps({"messages": chat("hi"), "stream": True}).encode()
    async with sidecar.http.post(sidecar.url + CHAT, data=body, headers=named("a")) as response:
        await response.content.readany()
    await eventually(upstream.last.gone.is_set)
    await sidecar.ask("next", id="b")
    found = {each.key: each.branches for each in await sidecar.stored()}
    assert found["a"] == [["hi", "half an (partial)"]]


async def test_an_upstream_that_is_down_is_named_in_an_openai_error(sidecar: Sidecar, upstream: Upstream):
    await upstream.stop()
    error = assert_error(await sidecar.ask("hi", id="a"), 502, "upstream_unreachable")
    assert "upstream" in error["message"]


async def test_the_bytes_of_a_stream_are_not_made_anew(sidecar: Sidecar, upstream: Upstream):
    pieces = [
        b": OPENROUTER PROCESSING\n\n",
        b'data: {"choices":[{"index":0,"delta":{"content":"a","refusal":null},"logprobs":null}],"x":1.0}\n\n',
        b'event: vendor\nid: 7\nretry: 10\ndata: {"y" : [ ]}\r\n\r\n',
        b'data:{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
        b'data: {"choices":[],"usage":{"total_tokens":3}}\n\n',
        b"data: [DONE]\n\n: bye\n",
    ]
    upstream.will(streams(*pieces))
    reply = await sidecar.ask("hi", id="a", stream=True)
    assert reply.body == b"".join(pieces)
    assert (await sidecar.only()).branches == [["hi", "a"]]


async def test_no_usage_is_asked_for_that_the_client_did_not_ask_for(sidecar: Sidecar, upstream: Upstream):
    body = b'{"stream":true,"messages":[{"role":"user","content":"hi"}]}'
    await sidecar.send("POST", CHAT, data=body, headers=named("a"))
    assert upstream.last.body == body


async def test_an_upstream_that_breaks_off_is_not_taken_for_one_that_ended(
    sidecar: Sidecar, upstream: Upstream
):
    upstream.will(streams(event({"content": "half"}), 0.01, CUT))
    with pytest.raises(Exception, match=r"(?i)payload|disconnect|reset|closed"):
        await sidecar.ask("hi", id="a", stream=True)
    assert (await sidecar.only()).branches == [["hi", "half (failed)"]]


async def test_what_was_done_is_said_in_the_response_headers(sidecar: Sidecar, upstream: Upstream):
    await sidecar.ask("hi", id="a")
    reply = await sidecar.ask("and?", id="a")
    assert reply.headers["X-Conversation-ID"] == "a"
    assert reply.headers["X-Sidecar-Outcome"] == "append"
    assert reply.headers["X-Sidecar-Restored"] == "2"
