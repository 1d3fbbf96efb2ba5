"""What is kept and counted of each request, compared with what the upstream saw."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from sidecar.commands.export import export
from sidecar.commands.tenant_selector import TenantSelector
from sidecar.errors import StoreUnavailable
from sidecar.store.sqlite.store import SQLiteStore
from tests.proxy.client import Sidecar, settled
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import (
    CUT,
    DONE,
    Upstream,
    completion,
    cuts,
    event,
    says,
    sends,
    streams,
    waits,
)

SIMPLE = {"X-OpenWebUI-Chat-Id": "a", "X-OpenWebUI-User-Id": "u1"}
USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 5,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


class Out:
    """A file for an export."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, text: str) -> int:
        self.lines.append(text)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        self.lines.extend(lines)


async def kept(sidecar: Sidecar) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The messages and the exchanges of all conversations, as `sidecar export` tells them."""
    out = Out()
    await export(sidecar.settings, TenantSelector(), name=None, format="jsonl", out=out)  # type: ignore[arg-type] # a text stream
    told = [json.loads(line) for text in out.lines for line in text.splitlines()]
    messages = [each for line in told for each in line.get("messages", ())]
    return messages, [each for line in told for each in line["exchanges"]]


async def rows(sidecar: Sidecar, number: int) -> list[dict[str, Any]]:
    """So many exchanges; what failed is kept in the background."""
    end = time.monotonic() + 5
    while len(found := (await kept(sidecar))[1]) < number:
        assert time.monotonic() < end, found
        await asyncio.sleep(0.01)
    assert len(found) == number
    return found


async def test_a_reply_in_a_coding_that_was_not_offered_is_relayed_and_said_to_be_unread(
    sidecar: Sidecar, upstream: Upstream
):
    upstream.will(sends(b"\x1b\x07", headers={"Content-Encoding": "br"}))
    reply = await sidecar.ask("hi", id="a")
    assert (reply.body, reply.headers["Content-Encoding"]) == (b"\x1b\x07", "br")
    messages, (exchange,) = await kept(sidecar)
    assert ([each["role"] for each in messages], exchange["error"]) == (["user"], "unread_content_encoding")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_turn_is_kept_with_its_numbers(sidecar: Sidecar, upstream: Upstream, stream: bool):
    body = json.dumps({**json.loads(completion("hello", model="m-2026")), "usage": USAGE}).encode()
    last = b"data: " + json.dumps({"choices": [], "usage": USAGE, "model": "m-2026"}).encode() + b"\n\n"
    piece = event({"content": "hello"}, finish="stop").replace(b'"model": "m"', b'"model": "m-2026"')
    upstream.will(streams(piece, 0.02, last, DONE) if stream else sends(body))
    began = time.time()
    await sidecar.ask("hi", id="a", stream=stream)

    messages, (exchange,) = await kept(sidecar)
    assert exchange["parent"] == messages[0]["id"]
    assert exchange["replies"] == [messages[1]["id"]]
    expected = {
        "outcome": "start",
        "model": "m",
        "answered_by": "m-2026",
        "target": "default",
        "api": "chat",
        "status": 200,
        "finish": "stop",
        "input_tokens": 9,
        "output_tokens": 5,
        "cached_tokens": 4,
        "reasoning_tokens": 2,
        "error": None,
        "degraded": False,
        "restored": 0,
        "difference": None,
        "sent": {"rule": "client", "first": None, "exceptions": {}},
    }
    assert {name: exchange[name] for name in expected} == expected
    assert began - 1 < exchange["began_at"] < time.time() + 1
    assert 0 <= exchange["head_ms"] <= exchange["duration_ms"] < 5000
    assert (exchange["first_token_ms"] is not None) == stream
    assert await sidecar.metric("sidecar_prompt_tokens_total") == 9
    assert await sidecar.metric("sidecar_completion_tokens_total") == 5
    assert await sidecar.metric("sidecar_cached_tokens_total") == 4
    for name in ("request_duration", "added_latency", "time_to_first_byte"):
        assert await sidecar.metric(f"sidecar_{name}_seconds_count") == 1
    assert await sidecar.metric("sidecar_time_to_first_token_seconds_count") == stream


async def test_outcomes_of_clients_that_send_everything(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says("hello"), says("fine"), says("A"), says("B"))
    await sidecar.ask("hi", headers=SIMPLE)
    await sidecar.ask("hi", "hello", "a?", headers=SIMPLE)
    await sidecar.ask("hi", "hello", "b?", headers=SIMPLE)
    await sidecar.ask("hi", "hello", "b?", headers=SIMPLE)
    await sidecar.ask("x?", "X", "c?", headers=SIMPLE)
    messages, exchanges = await kept(sidecar)
    text = {each["id"]: each["message"]["content"] for each in messages}
    told = [(each["outcome"], text[each["parent"]], each["difference"]) for each in exchanges]
    assert told == [
        ("start", "hi", None),
        ("continue", "a?", {"index": 1, "cause": "grown"}),
        ("branch", "b?", {"index": 2, "cause": "edited"}),
        ("retry", "b?", {"index": 3, "cause": "grown"}),
        ("unanchored", "c?", {"index": 0, "cause": "edited"}),
    ]
    assert [text[each["replies"][0]] for each in exchanges] == ["hello", "fine", "A", "B", "ok"]


async def test_a_reply_that_is_extended(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says("Once upon"), says(" a time"))
    await sidecar.ask("tell", headers=SIMPLE)
    await sidecar.ask("tell", "Once upon", headers=SIMPLE)
    assert [each["outcome"] for each in await rows(sidecar, 2)] == ["start", "extend"]


async def test_an_append_goes_with_the_whole_stored_path(sidecar: Sidecar, upstream: Upstream):
    for text in ("1", "2"):
        await sidecar.ask(text, id="a")
    assert upstream.last.said == ["1", "ok", "2"]
    exchange = (await rows(sidecar, 2))[1]
    assert (exchange["outcome"], exchange["restored"]) == ("append", 2)
    assert exchange["sent"] == {"rule": "whole", "first": None, "exceptions": {}}
    assert exchange["difference"] == {"index": 1, "cause": "grown"}


async def test_a_cut_names_the_first_message_behind_it(start: Start, upstream: Upstream):
    sidecar = await start(trim={"max_turns": 1})
    for text in ("1", "2"):
        await sidecar.ask(text, id="a")
    assert upstream.last.said == ["2"]
    messages, exchanges = await kept(sidecar)
    assert exchanges[1]["dropped"] == 2
    hash = messages[2]["id"][: len("b2:") + 32]
    assert exchanges[1]["sent"] == {"rule": "whole", "first": hash, "exceptions": {}}
    assert exchanges[1]["difference"] == {"index": 0, "cause": "trimmed"}


async def test_another_model_and_other_system_messages_are_causes(sidecar: Sidecar, upstream: Upstream):
    def system(text: str) -> dict[str, Any]:
        return {"role": "system", "content": text}

    user = {"role": "user", "content": "hi"}
    tools = [{"type": "function", "function": {"name": "look"}}]
    await sidecar.ask(system("A"), user, headers=SIMPLE)
    await sidecar.ask(system("B"), user, headers=SIMPLE)
    await sidecar.ask(system("B"), user, headers=SIMPLE, model="n")
    await sidecar.ask(system("B"), user, headers=SIMPLE, model="n", tools=tools)
    exchanges = await rows(sidecar, 4)
    causes = [each["difference"] and each["difference"]["cause"] for each in exchanges]
    assert causes == [None, "system", "model", "tools"]
    hashes = [each["system"] for each in exchanges]
    assert hashes[0] != hashes[1] == hashes[2] == hashes[3]
    assert [each["tools"] is None for each in exchanges] == [True, True, True, False]


async def test_an_upstreams_error_is_kept_and_the_conversation_stays(sidecar: Sidecar, upstream: Upstream):
    await sidecar.ask("hi", headers=SIMPLE)
    body = json.dumps({"error": {"message": "my secret", "code": "overloaded"}}).encode()
    upstream.will(sends(body, status=503), sends(body, status=503))
    assert (await sidecar.ask("hi", "ok", "and?", headers=SIMPLE)).status == 503
    assert (await sidecar.ask("hi", headers=SIMPLE)).status == 503
    exchanges = await rows(sidecar, 3)
    messages, _ = await kept(sidecar)
    assert len(messages) == 2
    told = [(each["outcome"], each["status"], each["error"], each["parent"]) for each in exchanges[1:]]
    assert told == [
        ("continue", 503, "overloaded", messages[1]["id"]),
        ("retry", 503, "overloaded", messages[0]["id"]),
    ]
    assert [each["replies"] for each in exchanges[1:]] == [[], []]
    assert "secret" not in json.dumps(exchanges)


async def test_a_first_request_that_fails_is_counted_and_not_kept(sidecar: Sidecar, upstream: Upstream):
    upstream.will(sends(b"{}", status=500))
    await sidecar.ask("hi", id="a")
    await sidecar.send("POST", "/v1/chat/completions", data=b"{")
    assert await kept(sidecar) == ([], [])
    assert await sidecar.metric("sidecar_requests_total") == 2
    assert await sidecar.metric("sidecar_request_duration_seconds_count") == 2
    assert await sidecar.metric("sidecar_time_to_first_byte_seconds_count") == 1


async def test_another_first_message_that_fails_is_kept_with_the_chat_that_is_there(
    sidecar: Sidecar, upstream: Upstream
):
    await sidecar.ask("hi", headers=SIMPLE)
    upstream.will(sends(b"{}", status=500))
    await sidecar.ask("hello", headers=SIMPLE)
    failed = (await rows(sidecar, 2))[1]
    assert (failed["parent"], failed["status"], failed["outcome"]) == (None, 500, "unanchored")
    assert [each["message"]["content"] for each in (await kept(sidecar))[0]] == ["hi", "ok"]


async def test_of_a_reply_that_could_not_be_stored_the_log_says_why_and_no_row_is_left(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    async def fails(*_: object) -> None:
        raise StoreUnavailable("full")

    caplog.set_level("DEBUG", "sidecar.exchange")
    with monkeypatch.context() as patched:
        patched.setattr(SQLiteStore, "record", fails)
        await sidecar.ask("hi", id="a")
    (line,) = [vars(each) for each in caplog.records if each.name == "sidecar.exchange"]
    assert (line["outcome"], line["target"], line["error"]) == ("start", "default", "store_unavailable")
    assert await kept(sidecar) == ([], [])


async def test_an_upstream_that_is_not_there(start: Start, upstream: Upstream):
    sidecar = await start(retries={"attempts": 1})
    await sidecar.ask("hi", headers=SIMPLE)
    upstream.will(cuts())
    assert (await sidecar.ask("hi", "ok", "and?", headers=SIMPLE)).status == 502
    exchange = (await rows(sidecar, 2))[1]
    assert (exchange["status"], exchange["error"], exchange["head_ms"]) == (502, "upstream_unreachable", None)


async def test_a_stream_that_breaks_off_says_so(sidecar: Sidecar, upstream: Upstream):
    upstream.will(streams(event({"content": "half"}), 0.02, CUT))
    with pytest.raises(Exception, match="payload"):
        await sidecar.ask("hi", id="a", stream=True)
    (exchange,) = await rows(sidecar, 1)
    assert (exchange["error"], len(exchange["replies"])) == ("upstream_broke_off", 1)


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_leaves_is_said(sidecar: Sidecar, upstream: Upstream, begun: bool):
    await sidecar.ask("hi", headers=SIMPLE)
    gate = asyncio.Event()
    upstream.will(streams(event({"content": "half"}), gate) if begun else waits(gate, says("late")))
    asking = asyncio.create_task(sidecar.ask("hi", "ok", "and?", headers=SIMPLE, stream=True))
    while len(upstream.requests) < 2:
        await asyncio.sleep(0.005)
    await settled()
    asking.cancel()
    exchange = (await rows(sidecar, 2))[1]
    assert (exchange["error"], len(exchange["replies"])) == ("client_left", begun)


async def test_a_prompt_that_was_cut_after_a_refusal_tells_how_often(sidecar: Sidecar, upstream: Upstream):
    long = "word " * 400
    await sidecar.ask(long, headers=SIMPLE)
    refusal = json.dumps(
        {
            "error": {
                "message": "This model's maximum context length is 500 tokens. However, your messages"
                " resulted in 900 tokens.",
                "code": "context_length_exceeded",
            }
        }
    ).encode()
    upstream.will(sends(refusal, status=400))
    reply = await sidecar.ask(long, "ok", "and?", headers=SIMPLE)
    exchange = (await rows(sidecar, 2))[1]
    assert reply.headers["X-Sidecar-Healed"] == str(exchange["overflow_retries"]) == "1"
    assert exchange["dropped"] == 2
    assert upstream.last.said == ["and?"]
    assert exchange["estimated_tokens"]
    assert exchange["refusal"] == {"window": 500, "prompt": 900}
    assert exchange["saved"] > 350
    assert exchange["budget"] < 500


async def test_a_reply_beyond_its_limit_says_which(start: Start, upstream: Upstream):
    sidecar = await start(limits={"max_reply": 1 << 20})
    words = [event({"content": f"{at} " + "x" * 60_000}) for at in range(30)]
    upstream.will(streams(*words, event({}, finish="stop"), DONE))
    await sidecar.ask("hi", id="a", stream=True)
    (exchange,) = await rows(sidecar, 1)
    assert exchange["error"] == "limits.max_reply"


@pytest.mark.parametrize(
    ("headers", "settings"),
    [
        ({"X-Conversation-ID": "a", "X-Task": "title"}, {}),
        ({"X-Conversation-ID": "temporary:1"}, {}),
        ({"X-Conversation-ID": "a", "X-Sidecar-History": "off"}, {}),
        ({}, {"identity": {"fallback": "none"}}),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_of_what_is_kept_nowhere_there_are_numbers_alone(
    start: Start, headers: dict[str, str], settings: dict[str, Any], stream: bool
):
    sidecar = await start(**settings)
    await sidecar.ask("hi", headers=headers, stream=stream)
    assert await kept(sidecar) == ([], [])
    assert await sidecar.metric("sidecar_requests_total") == 1
    assert await sidecar.metric("sidecar_time_to_first_token_seconds_count") == stream


async def test_an_exchange_is_deleted_with_its_conversation(sidecar: Sidecar, upstream: Upstream):
    await sidecar.ask("hi", id="a")
    await rows(sidecar, 1)
    from sidecar.store import make_store

    store = make_store(sidecar.settings.store_path)
    await store.open()
    async for each in store.conversations():
        await store.delete(each.id)
    await store.close()
    assert await kept(sidecar) == ([], [])
