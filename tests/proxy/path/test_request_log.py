"""`logs.requests`: one line for each exchange, under an id that client and upstream know as well."""

from __future__ import annotations

import asyncio
import io
import json
import re
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDict
from yarl import URL

from sidecar import logs
from tests.proxy.client import CHAT, Sidecar, assert_error
from tests.proxy.conftest import Start
from tests.proxy.faults.test_store_errors import broken
from tests.proxy.mock_upstream import CUT, DONE, Upstream, cuts, event, says, sends, streams
from tests.proxy.path.test_exchange import rows
from tests.proxy.store_lock import writing

MADE = re.compile(r"req_[0-9a-f]{24}")
NAMED = {"X-Request-ID": "my-request-1"}
USAGE = {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}


@pytest.fixture
async def sidecar(start: Start) -> Sidecar:
    return await start(logs={"requests": True})


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Says as the settings say; gives the lines of exchanges since it was last called."""
    err = io.StringIO()
    with monkeypatch.context() as patched:
        patched.setattr("sys.stderr", err)
        logs.configure("info", "json", requests=True)

    def told() -> list[dict[str, Any]]:
        events = [json.loads(line) for line in err.getvalue().splitlines()]
        err.truncate(0)
        err.seek(0)
        return [each for each in events if each["logger"] == logs.EXCHANGES]

    return told


async def test_an_exchange_is_one_line_with_its_numbers(sidecar: Sidecar, upstream: Upstream, told: Any):
    upstream.will(streams(event({"content": "hello"}, finish="stop", usage=USAGE), DONE))
    await sidecar.ask("a secret question", id="a", headers=NAMED, stream=True)
    (line,) = told()
    assert line["level"] == "info"
    assert line["message"] == "exchange"
    expected = {
        "request": "my-request-1",
        "outcome": "start",
        "model": "m",
        "target": "default",
        "status": 200,
        "finish": "stop",
        "input": 9,
        "output": 5,
        "cached": 4,
    }
    assert {name: line[name] for name in expected} == expected
    assert 0 <= line["head_ms"] <= line["first_piece_ms"] <= line["duration_ms"] < 5000
    assert line["conversation"] == (await sidecar.only()).conversation["id"]
    assert [line["exchange"]] == [each["id"] for each in await rows(sidecar, 1)]
    assert not {"error", "trimmed", "restored", "degraded"} & set(line)


async def test_in_text_it_is_one_line_too(sidecar: Sidecar, capsys: pytest.CaptureFixture[str]):
    logs.configure("error", "text", requests=True)  # it was asked for, whatever else is said
    await sidecar.ask("hi", id="a", headers=NAMED)
    (line,) = capsys.readouterr().err.splitlines()
    assert " info sidecar.exchange: exchange request=my-request-1 outcome=start conversation=conv_" in line


async def test_two_ids_are_none(sidecar: Sidecar, upstream: Upstream, told: Any):
    """Else the upstream could go by the one, and the log by the other."""
    data = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
    two = CIMultiDict([("X-Request-ID", "one"), ("X-Request-ID", "two")])
    reply = await sidecar.send("POST", CHAT, data=data, headers=two)
    (made,) = reply.headers.getall("X-Request-ID")
    assert MADE.fullmatch(made)
    assert upstream.requests[0].headers.getall("X-Request-ID") == [made]
    assert told()[0]["request"] == made


@pytest.mark.parametrize("level", ["info", "debug"])
async def test_without_the_setting_there_is_no_id_and_a_line_only_on_the_level_debug(
    start: Start, upstream: Upstream, capsys: pytest.CaptureFixture[str], level: str
):
    sidecar = await start()
    logs.configure(level, "text")
    reply = await sidecar.ask("hi", id="a")
    assert "X-Request-ID" not in reply.headers
    assert "X-Request-ID" not in upstream.requests[0].headers
    lines = [line for line in capsys.readouterr().err.splitlines() if "sidecar.exchange: exchange" in line]
    assert len(lines) == (level == "debug")


async def test_nothing_of_what_is_said_is_in_the_lines(sidecar: Sidecar, upstream: Upstream, told: Any):
    refusal = {"error": {"message": "the word was hush", "type": "invalid", "code": "hush now"}}
    upstream.will(says("hush"), sends(json.dumps(refusal).encode(), status=400))
    tools = [{"type": "function", "function": {"name": "hush"}}]
    await sidecar.ask({"role": "system", "content": "hush"}, {"role": "user", "content": "hush"}, tools=tools)
    await sidecar.ask("hush", id="b", user="hush", headers={"Authorization": "Bearer hush"})
    lines = told()
    assert [each["status"] for each in lines] == [200, 400]
    assert "hush" not in json.dumps(lines)


async def test_the_clients_id_goes_up_and_comes_back(sidecar: Sidecar, upstream: Upstream):
    reply = await sidecar.ask("hi", id="a", headers=NAMED)
    assert reply.headers.getall("X-Request-ID") == ["my-request-1"]
    assert upstream.requests[0].headers.getall("X-Request-ID") == ["my-request-1"]


@pytest.mark.parametrize("given", ["", "two words", "x" * 201, "\u00fc"])
async def test_what_is_no_id_is_replaced_by_one(sidecar: Sidecar, upstream: Upstream, told: Any, given: str):
    reply = await sidecar.ask("hi", id="a", headers={"X-Request-ID": given} if given else {})
    made = reply.headers["X-Request-ID"]
    assert MADE.fullmatch(made)
    assert upstream.requests[0].headers.getall("X-Request-ID") == [made]
    assert [each["request"] for each in told()] == [made]


async def test_other_headers_stay_as_they_are_whatever_bytes_they_hold(sidecar: Sidecar, upstream: Upstream):
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
    url = URL(sidecar.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    writer.write(head + b"X-Other: a\xffb\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200")
    assert MADE.search(answer.decode())
    assert "b" in upstream.requests[0].headers["X-Other"]


async def test_two_requests_never_share_an_id_that_was_made(sidecar: Sidecar):
    replies = [await sidecar.ask("hi", id=f"chat {at}") for at in range(3)]
    assert len({each.headers["X-Request-ID"] for each in replies}) == 3


async def test_the_upstreams_own_id_stays_and_the_line_has_both(
    sidecar: Sidecar, upstream: Upstream, told: Any
):
    named = {"Content-Type": "application/json", "x-request-id": "up-7"}
    upstream.will(sends(says_body(), headers=named))
    reply = await sidecar.ask("hi", id="a", headers=NAMED)
    assert reply.headers.getall("X-Request-ID") == ["up-7"]
    (line,) = told()
    assert (line["request"], line["upstream_request"]) == ("my-request-1", "up-7")


async def test_one_that_the_upstream_repeats_is_said_once(sidecar: Sidecar, upstream: Upstream, told: Any):
    named = {"Content-Type": "application/json", "x-request-id": "my-request-1"}
    upstream.will(sends(says_body(), headers=named))
    reply = await sidecar.ask("hi", id="a", headers=NAMED)
    assert reply.headers.getall("X-Request-ID") == ["my-request-1"]
    assert "upstream_request" not in told()[0]


def says_body() -> bytes:
    message = {"role": "assistant", "content": "ok"}
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()


async def test_a_request_that_is_sent_again_keeps_its_id(sidecar: Sidecar, upstream: Upstream):
    overflow = {
        "error": {"code": "context_length_exceeded", "message": "maximum context length is 100 tokens"}
    }
    upstream.will(sends(json.dumps(overflow).encode(), status=400), says("ok"))
    words = " ".join(f"word{at}" for at in range(200))
    await sidecar.ask(words, "ok", words, "ok", "and?", id="a", headers=NAMED)
    assert [each.headers["X-Request-ID"] for each in upstream.requests] == ["my-request-1"] * 2


async def test_tasks_and_what_is_not_recorded_have_a_line_as_well(
    sidecar: Sidecar, upstream: Upstream, told: Any
):
    upstream.will(says("a title"), says("ok"), says("ok"))
    await sidecar.ask("name it", id="a", headers={"X-Task": "title"})
    await sidecar.ask("hi", id="a", headers={"X-Sidecar-History": "off"})
    await sidecar.ask("hi", id="temporary:1")
    lines = told()
    assert [each["outcome"] for each in lines] == ["task", "bypass", "bypass"]
    assert all("conversation" not in each for each in lines)
    assert [each.headers["X-Request-ID"] for each in upstream.requests] == [each["request"] for each in lines]


async def test_an_error_of_the_sidecars_own_carries_the_id(sidecar: Sidecar, upstream: Upstream, told: Any):
    upstream.will(cuts(), cuts(), cuts())
    reply = await sidecar.ask("hi", id="a", headers=NAMED)
    assert_error(reply, 502, "upstream_unreachable")
    assert reply.headers["X-Request-ID"] == "my-request-1"
    reply = await sidecar.send("POST", "/v1/chat/completions", data=b"{", headers=NAMED)
    assert reply.status == 400
    assert reply.headers["X-Request-ID"] == "my-request-1"
    assert [(each["outcome"], each["status"], each["error"]) for each in told()] == [
        ("start", 502, "upstream_unreachable"),
        ("refused", 400, "invalid_json"),
    ]


async def test_an_error_that_nobody_foresaw_is_found_by_the_id(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("unforeseen")

    logs.configure("info", "json", requests=True)
    monkeypatch.setattr("sidecar.proxy.handle.receive", fails)
    reply = await sidecar.ask("hi", id="a", headers=NAMED)
    assert_error(reply, 500, "internal_error")
    assert reply.headers["X-Request-ID"] == "my-request-1"
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [each["request"] for each in events if each["message"] == "an unexpected error"] == [
        "my-request-1"
    ]


async def test_a_stream_that_breaks_off_says_so_in_its_line(sidecar: Sidecar, upstream: Upstream, told: Any):
    upstream.will(streams(event({"content": "half"}), 0.02, CUT))
    with pytest.raises(Exception, match="payload"):
        await sidecar.ask("hi", id="a", stream=True, headers=NAMED)
    (line,) = told()
    assert (line["request"], line["error"]) == ("my-request-1", "upstream_broke_off")


async def test_other_paths_are_left_alone(sidecar: Sidecar, upstream: Upstream, told: Any):
    upstream.will(sends(b"{}"), sends(b"{}"))
    reply = await sidecar.send("GET", "/v1/models")
    assert "X-Request-ID" not in reply.headers
    assert "X-Request-ID" not in upstream.requests[0].headers
    await sidecar.send("GET", "/v1/models", headers=NAMED)
    assert upstream.requests[1].headers["X-Request-ID"] == "my-request-1"
    assert told() == []


@pytest.mark.parametrize("stream", [False, True])
async def test_a_turn_that_is_not_stored_has_the_status_that_its_client_got(
    sidecar: Sidecar, told: Any, stream: bool
):
    await sidecar.ask("hi", id="thin")
    told()
    with broken(sidecar, reading=False):
        if stream:  # of which something has gone before
            with pytest.raises(aiohttp.ClientError):
                await sidecar.ask("and?", id="thin", stream=True)
        else:
            assert_error(await sidecar.ask("and?", id="thin"), 503, "store_unavailable")
        # Who holds the history has the answer.
        assert (await sidecar.ask("hi", "ok", "and?", headers={"X-OpenWebUI-Chat-Id": "a"})).status == 200
        lines = await of_all(told, 2)
    assert [(each["status"], each["error"]) for each in lines] == [
        (200 if stream else 503, "store_unavailable"),
        (200, "store_unavailable"),
    ]


async def test_the_time_that_a_client_waited_for_the_store_in_vain_is_in_the_line(start: Start, told: Any):
    sidecar = await start(logs={"requests": True}, timeouts={"store": 0.3, "shutdown": 0.2})
    with writing(sidecar):
        assert_error(await sidecar.ask("hi", id="thin"), 503, "store_unavailable")
        assert told() == []  # it may still be stored
    (line,) = await of_all(told, 1)
    assert (line["status"], line["error"]) == (503, "store_unavailable")
    assert 300 <= line["duration_ms"] < 5000


async def of_all(told: Any, number: int) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = told()
    async with asyncio.timeout(10):
        while len(lines) < number:
            await asyncio.sleep(0.01)
            lines += told()
    return lines
