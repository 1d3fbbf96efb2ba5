"""What goes wrong on the way in: a request that cannot be served is refused in OpenAI's words."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib

import pytest

from tests.proxy.client import CHAT, Reply, Sidecar, assert_error, named
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Upstream, sends


async def post(sidecar: Sidecar, body: bytes, **headers: str) -> Reply:
    return await sidecar.send("POST", CHAT, data=body, headers=headers)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"{",
        b'{"messages":[]',
        b'{"messages":[]} trailing',
        b'{"messages": 5, "x": bad}',
        b'\xff\xfe{"messages":[]}',
        b'{"messages":[],"model":"\xff"}',
        b'{"messages":[{"role":"user","content":"hi"}],"x":nope}',
    ],
)
async def test_a_body_that_is_not_json_is_refused(sidecar: Sidecar, upstream: Upstream, body: bytes):
    error = assert_error(await post(sidecar, body), 400, "invalid_json", type="invalid_request_error")
    assert "JSON" in error["message"]
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"{}", "missing"),
        (b'{"model":"m"}', "missing"),
        (b"[]", "object"),
        (b"null", "object"),
        (b'"messages"', "object"),
        (b'{"messages":null}', "list"),
        (b'{"messages":"hi"}', "list"),
        (b'{"messages":{"0":{}}}', "list"),
    ],
)
async def test_a_body_without_a_list_of_messages_is_refused(
    sidecar: Sidecar, upstream: Upstream, body: bytes, word: str
):
    error = assert_error(await post(sidecar, body), 400, "invalid_messages", type="invalid_request_error")
    assert word in error["message"]
    assert error["param"] == "messages"
    assert upstream.requests == []


@pytest.mark.parametrize("other", [b"5", b'"hi"', b"null", b"[]", b"true"])
async def test_a_message_that_is_no_object_is_refused(sidecar: Sidecar, upstream: Upstream, other: bytes):
    body = b'{"messages":[{"role":"user","content":"hi"},' + other + b"]}"
    error = assert_error(await post(sidecar, body), 400, "invalid_messages")
    assert error["param"] == "messages[1]"
    assert upstream.requests == []


async def test_a_conversation_is_not_stuck_on_a_reply_that_only_just_could_be_read(
    sidecar: Sidecar, upstream: Upstream
):
    for depth in range(700, 1000, 6):
        deep = b"[" * depth + b"]" * depth
        upstream.will(
            sends(b'{"choices":[{"message":{"content":"ok","x":' + deep + b'},"finish_reason":"stop"}]}')
        )
        assert (await sidecar.ask("hi", id=f"{depth}")).status == 200
        assert (await sidecar.ask("and?", id=f"{depth}")).status == 200


async def test_a_message_nested_beyond_reason_is_refused(sidecar: Sidecar, upstream: Upstream):
    for deep in (b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000):
        body = b'{"messages":[{"role":"user","content":' + deep + b"}]}"
        assert (await post(sidecar, body)).status == 400
        assert (await post(sidecar, b'{"messages":[{"role":"user"}],"x":' + deep + b"}")).status == 400
    assert upstream.requests == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[]}',
        b'{"messages":[{}]}',
        b'{"messages":[{"role":5,"content":{"a":1}}]}',
        b'{"messages":[{"role":"critic","content":[{"type":"smell","smell":1}]}],"stream":"yes"}',
        b'{"messages":[{"role":"system","content":"alone"}],"model":["m"]}',
        b'{"messages":[{"role":"assistant","content":"go on"}]}',
        b'{"messages":[{"role":"tool","content":"no call"}],"tools":7}',
        b'{"messages":[{"role":"user","content":"half an emoji \\ud83d"}]}',
        b'{"messages":[{"role":"user","content":"a"}],"messages_":1,"big":1e400,"bigger":123456789012345678901}',
        '{"messages":[{"role":"user","content":"\u2028 \U0001f600"}]}'.encode(),
    ],
)
async def test_what_the_upstream_may_understand_is_not_ours_to_refuse(
    sidecar: Sidecar, upstream: Upstream, body: bytes
):
    assert (await post(sidecar, body, **named("a"))).status == 200
    assert upstream.last.body == body


async def test_half_an_emoji_does_not_spoil_a_history(sidecar: Sidecar, upstream: Upstream):
    for word in (b"one \\ud83d", b"two \\ude00", b"three \\\\ud83d \\ud83d\\ude00"):
        body = b'{"messages":[{"role":"user","content":"' + word + b'"}]}'
        assert (await post(sidecar, body, **named("a"))).status == 200
    assert upstream.last.said == ["one \ufffd", "ok", "two \ufffd", "ok", "three \\ud83d \U0001f600"]


@pytest.mark.parametrize("id", ["x" * 257, "tab\there", "höflich", "€", "soft\u00adhyphen"])
async def test_an_id_that_cannot_be_a_key_is_refused(sidecar: Sidecar, upstream: Upstream, id: str):
    for header in ("X-Conversation-ID", "X-OpenWebUI-Chat-Id"):
        reply = await sidecar.ask("hi", headers={header: id})
        error = assert_error(reply, 400, "invalid_conversation_id", type="invalid_request_error")
        assert error["param"] == header
        assert header in error["message"]
    assert upstream.requests == []
    assert await sidecar.stored() == []


async def test_an_id_of_256_characters_is_a_key(sidecar: Sidecar):
    await sidecar.ask("hi", id="x" * 256)
    assert (await sidecar.only()).key == "x" * 256


async def test_a_history_mode_that_is_none_is_refused(sidecar: Sidecar):
    reply = await sidecar.ask("hi", id="a", headers={"X-Sidecar-History": "some"})
    assert assert_error(reply, 400, "invalid_history_mode")["param"] == "X-Sidecar-History"


async def test_an_append_to_nothing_is_refused(sidecar: Sidecar):
    reply = await sidecar.ask("hi", headers={"X-Sidecar-History": "append"})
    assert assert_error(reply, 400, "conversation_id_required")["param"] == "X-Conversation-ID"


async def test_a_body_of_the_limit_passes_and_one_byte_more_does_not(start: Start, upstream: Upstream):
    sidecar = await start(limits={"max_body": 10_000})
    body = b'{"messages":[{"role":"user","content":"%b"}]}'
    fits = body % (b"x" * (10_000 - len(body) + 2))
    assert len(fits) == 10_000
    assert (await post(sidecar, fits)).status == 200
    assert upstream.last.body == fits
    error = assert_error(await post(sidecar, fits + b" "), 413, "body_too_large")
    assert "limits.max_body" in error["message"]
    assert "10000" in error["message"]
    assert len(upstream.requests) == 1


async def test_by_default_a_body_of_64_mib_passes_and_a_larger_one_does_not(
    sidecar: Sidecar, upstream: Upstream
):
    body = b'{"messages":[{"role":"user","content":"%b"}]}'
    fits = body % (b"x" * ((64 << 20) - len(body) + 2))
    assert (await post(sidecar, fits, **named("a"))).status == 200
    assert upstream.last.body == fits
    assert_error(await post(sidecar, fits + b" "), 413, "body_too_large", type="invalid_request_error")


async def test_a_body_that_grows_too_large_on_its_way_is_refused(start: Start, upstream: Upstream):
    sidecar = await start(limits={"max_body": 10_000})

    async def pieces():
        for _ in range(100):
            yield b"x" * 1000

    async with sidecar.http.post(sidecar.url + CHAT, data=pieces()) as response:
        reply = Reply(response.status, response.headers, await response.read())
    assert_error(reply, 413, "body_too_large")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "GZIP"])
async def test_a_compressed_body_is_understood(sidecar: Sidecar, upstream: Upstream, coding: str):
    body = b'{"messages":[{"role":"user","content":"hi"}], "x": 1.0}'
    pack = zlib.compress if coding == "deflate" else gzip.compress
    reply = await post(sidecar, pack(body), **named("a"), **{"Content-Encoding": coding})
    assert reply.status == 200
    assert upstream.last.body == body
    assert "Content-Encoding" not in upstream.last.headers
    assert (await sidecar.only()).branches == [["hi", "ok"]]


async def test_a_compressed_body_is_measured_unpacked(start: Start):
    sidecar = await start(limits={"max_body": 10_000})
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) > 10_000
    small = gzip.compress(b" " * 5_000_000)
    assert len(small) < 10_000
    for body in (bomb, small):
        reply = await post(sidecar, body, **{"Content-Encoding": "gzip"})
        assert_error(reply, 413, "body_too_large")


@pytest.mark.parametrize(
    ("body", "coding"),
    [(b"not gzip", "gzip"), (gzip.compress(b"{}", mtime=0)[:-9], "gzip"), (b"{}", "rot13")],
)
async def test_a_body_in_a_broken_or_unknown_coding_is_refused(sidecar: Sidecar, body: bytes, coding: str):
    reply = await post(sidecar, body, **{"Content-Encoding": coding})
    assert_error(reply, 400, "invalid_content_encoding")


async def test_a_body_whose_chunks_are_broken_is_refused(sidecar: Sidecar, upstream: Upstream):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(sidecar.url.rsplit(":", 1)[1]))
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head.encode() + b"5\r\n{mess\r\nzz\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.split()[1] == b"400"
    assert b'{"error": {"message": ' in answer
    assert upstream.requests == []


@pytest.mark.parametrize(
    "head",
    [
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Conversation-ID: a\x01b",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Conversation-ID: a\x7fb",
        b"nonsense",
    ],
)
async def test_what_is_no_http_is_refused_in_the_same_words(
    sidecar: Sidecar, upstream: Upstream, head: bytes
):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(sidecar.url.rsplit(":", 1)[1]))
    writer.write(head + b"\r\nContent-Length: 2\r\n\r\n{}")
    answer = await reader.read()
    writer.close()
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert b"\r\nContent-Type: application/json" in answer
    error = json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == "invalid_http"
    assert "\n" not in error["message"]
    assert upstream.requests == []


@pytest.mark.parametrize("path", [CHAT, "/v1/models"])
async def test_an_unexpected_error_is_told_in_the_same_words_and_logged(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, path: str
):
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a private thing")

    monkeypatch.setattr("sidecar.upstream.target.Target.url", fail)
    reply = await sidecar.send("POST", path, data=b'{"messages":[{"role":"user","content":"hi"}]}')
    error = assert_error(reply, 500, "internal_error", type="sidecar_error")
    assert "private" not in error["message"]
    assert "a private thing" in caplog.text


async def test_nothing_stored_is_lost_by_a_refused_request(sidecar: Sidecar):
    await sidecar.ask("hi", id="a")
    before = await sidecar.stored()
    await post(sidecar, b"not json", **named("a"))
    await post(sidecar, b'{"messages":[1]}', **named("a"))
    await sidecar.ask("hi", id="a", headers={"X-Sidecar-History": "nonsense"})
    assert await sidecar.stored() == before
