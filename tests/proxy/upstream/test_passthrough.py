"""Every other path and method goes through as it is, in both directions and of any size."""

from __future__ import annotations

import asyncio
import gzip

import pytest

from tests.proxy.client import CHAT, Sidecar, eventually
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import DONE, Exchange, Upstream, event, says, sends, streams


async def raw(sidecar: Sidecar, request: bytes) -> bytes:
    """Send these bytes and read until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(sidecar.url.rsplit(":", 1)[1]))
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
@pytest.mark.parametrize("body", [b"", b'{"a": 1.0}'])
async def test_every_method_passes(sidecar: Sidecar, upstream: Upstream, method: str, body: bytes):
    upstream.will(sends(b"answer", status=207, headers={"Content-Type": "text/x"}))
    reply = await sidecar.send(method, "/v1/things/7", data=body or None, headers={"X-A": "b"})
    assert (reply.status, reply.body, reply.headers["Content-Type"]) == (207, b"answer", "text/x")
    assert (upstream.last.method, upstream.last.target) == (method, "/v1/things/7")
    assert upstream.last.body == body
    assert upstream.last.headers["X-A"] == "b"
    assert "X-Sidecar-Outcome" not in reply.headers
    assert await sidecar.stored() == []


async def test_a_head_has_the_headers_and_no_body(sidecar: Sidecar, upstream: Upstream):
    async def answer(exchange: Exchange) -> None:
        await exchange.head(200, {"Content-Type": "text/x", "X-A": "b"}, 12345)

    upstream.will(answer, says())
    reply = await sidecar.send("HEAD", "/v1/files/1")
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["Content-Length"] == "12345"
    assert reply.headers["Content-Type"] == "text/x"
    assert (await sidecar.ask("hi")).status == 200


@pytest.mark.parametrize("status", [204, 304])
async def test_a_response_without_a_body_stays_one(sidecar: Sidecar, upstream: Upstream, status: int):
    async def answer(exchange: Exchange) -> None:
        await exchange.send(f'HTTP/1.1 {status} X\r\nETag: "e"\r\n\r\n'.encode())

    upstream.will(answer)
    request = b"GET /v1/files/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    head, _, body = (await raw(sidecar, request)).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert body == b""
    assert b'etag: "e"' in head.lower()
    assert b"transfer-encoding" not in head.lower()


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/chat/completions/abc", "/v1/chat/completionsx"]
)
async def test_only_a_post_to_the_chat_path_is_a_turn(sidecar: Sidecar, upstream: Upstream, path: str):
    method = "GET" if path == CHAT else "POST"
    reply = await sidecar.send(method, path, data=None if method == "GET" else b"not json")
    assert reply.status == 200
    assert "X-Sidecar-Outcome" not in reply.headers
    assert upstream.last.target == path


TARGETS = [
    "/v1/files?limit=10&after=a%20b+c&x=%2F&x=1&empty=&flag",
    "/v1/files/a%2Fb%20c%25d",
    "/v1/models/meta-llama%2FLlama-3:free",
    "/v1/%E2%82%AC/~user/(x)/'y'/$z/,;=@!*",
    "/v1/a//b/./c/../d",
    '/v1/files?q=a?b/c:d@e|f"g',
    "/v1/files/a%0Ab%0D%09",
    "/v1?x=1",
    "/v1/",
]


@pytest.mark.parametrize("target", TARGETS)
async def test_paths_and_queries_are_passed_as_they_are_spelled(
    sidecar: Sidecar, upstream: Upstream, target: str
):
    await raw(sidecar, f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert upstream.last.target == target


@pytest.mark.parametrize(
    ("base", "target", "expected"),
    [
        ("", "/v1/models", "/v1/models"),
        ("/", "/v1/models", "/v1/models"),
        ("/v1", "/v1/models?a=b", "/v1/models?a=b"),
        ("/v1/", "/v1/models", "/v1/models"),
        ("/api/openai/v1", "/v1/models", "/api/openai/v1/models"),
        ("/api/openai/v1", "/v1", "/api/openai/v1"),
        ("/api/openai/v1", "/v1beta/models", "/v1beta/models"),
        ("/api/openai/v1", "/health", "/health"),
        ("/api/openai/v1", "/props?x=1", "/props?x=1"),
        (
            "/api/openai/v1",
            "/v1/chat/completions?api-version=2",
            "/api/openai/v1/chat/completions?api-version=2",
        ),
        (
            "/v1",
            "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
            "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
        ),
    ],
)
async def test_the_base_url_stands_for_v1(
    start: Start, upstream: Upstream, base: str, target: str, expected: str
):
    sidecar = await start(upstream=f"http://127.0.0.1:{upstream.port}{base}")
    body = b'{"messages":[]}' if "chat" in target else None
    assert (await sidecar.send("POST", target, data=body)).status == 200
    assert upstream.last.target == expected


async def test_an_azure_path_is_a_turn_as_well(sidecar: Sidecar, upstream: Upstream):
    path = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
    for text in ("hi", "and?"):
        reply = await sidecar.ask(text, id="a", headers={"api-key": "k"}, path=path)
    assert reply.outcome == "append"
    assert upstream.last.target == path
    assert upstream.last.said == ["hi", "ok", "and?"]


@pytest.mark.parametrize("target", [b"*", b"http://other.example/v1/models", b"other.example:443"])
async def test_a_target_that_is_no_path_leads_nowhere_else(
    sidecar: Sidecar, upstream: Upstream, target: bytes
):
    method = {b"*": b"OPTIONS", b"o": b"CONNECT"}.get(target[:1], b"GET")
    request = method + b" " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = await raw(sidecar, request)
    if method == b"GET":
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert upstream.last.target == "/v1/models"
    else:
        assert answer.split()[1] in (b"400", b"404")
        assert upstream.requests == []


async def test_cookies_stay_several(sidecar: Sidecar, upstream: Upstream):
    async def answer(exchange: Exchange) -> None:
        await exchange.send(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\n"
            b"Link: <x>\r\nLink: <y>\r\n\r\n{}"
        )

    for path in ("/v1/models", CHAT):
        upstream.will(answer)
        reply = await sidecar.send("POST", path, data=b'{"messages":[{"role":"user","content":"hi"}]}')
        assert reply.headers.getall("Set-Cookie") == ["a=1; Path=/", "b=2"]
        assert reply.headers.getall("Link") == ["<x>", "<y>"]
    await sidecar.send("GET", "/v1/models")
    assert "Cookie" not in upstream.last.headers


async def test_what_belongs_to_one_connection_stays_on_it(sidecar: Sidecar, upstream: Upstream):
    async def answer(exchange: Exchange) -> None:
        await exchange.send(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\n"
            b"Keep-Alive: timeout=9\r\nProxy-Authenticate: x\r\nX-End: 2\r\n\r\n{}"
        )

    upstream.will(answer)
    sent = {"Connection": "X-Mine, keep-alive", "X-Mine": "1", "TE": "trailers", "X-End": "2"}
    sent |= {"Proxy-Authorization": "secret", "Keep-Alive": "1", "X-Sidecar-History": "off"}
    reply = await sidecar.send("GET", "/v1/models", headers=sent)
    assert upstream.last.headers["X-End"] == reply.headers["X-End"] == "2"
    for name in ("X-Mine", "TE", "Proxy-Authorization", "Keep-Alive", "X-Sidecar-History"):
        assert name not in upstream.last.headers
    for name in ("X-Hop", "Keep-Alive", "Proxy-Authenticate"):
        assert name not in reply.headers
    assert upstream.last.headers["Host"] == f"127.0.0.1:{upstream.port}"


async def test_nothing_is_added_to_what_passes(sidecar: Sidecar, upstream: Upstream):
    async def answer(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: today\r\n\r\n{}")

    upstream.will(answer)
    reply = await sidecar.send("GET", "/v1/models")
    assert set(upstream.last.headers) == {"Host"}
    assert set(reply.headers) == {"Content-Length", "Date"}
    assert reply.headers["Date"] == "today"


async def test_a_compressed_body_passes_as_it_is_in_both_directions(sidecar: Sidecar, upstream: Upstream):
    packed = gzip.compress(b"hello")
    upstream.will(sends(packed, headers={"Content-Encoding": "gzip"}))
    reply = await sidecar.send("POST", "/v1/x", data=packed, headers={"Content-Encoding": "gzip"})
    assert upstream.last.body == packed
    assert upstream.last.headers["Content-Encoding"] == "gzip"
    assert (reply.body, reply.headers["Content-Encoding"]) == (packed, "gzip")


async def test_a_stream_of_another_path_arrives_piece_by_piece(sidecar: Sidecar, upstream: Upstream):
    gate = asyncio.Event()
    upstream.will(streams(event({"content": "one"}), gate, DONE))
    async with sidecar.http.post(sidecar.url + "/v1/responses", data=b"{}") as response:
        assert await response.content.readany() == event({"content": "one"})
        gate.set()
        assert await response.content.read() == DONE


@pytest.mark.parametrize("known", [True, False])
async def test_an_upload_is_passed_piece_by_piece(sidecar: Sidecar, upstream: Upstream, known: bool):
    upstream.reads_lazily = True
    got = asyncio.Event()
    received = b""

    async def answer(exchange: Exchange) -> None:
        nonlocal received
        async for piece in exchange.body():
            received += piece
            got.set()
        await sends(b"{}")(exchange)

    async def pieces():
        yield b"first"
        await got.wait()  # hangs if the sidecar waits for the whole
        yield b"second"

    upstream.will(answer)
    headers = {"Content-Length": "11"} if known else {}
    async with asyncio.timeout(5):
        async with sidecar.http.post(sidecar.url + "/v1/files", data=pieces(), headers=headers) as response:
            assert response.status == 200
    assert received == b"firstsecond"
    assert upstream.last.headers.get("Content-Length") == ("11" if known else None)


async def test_an_upload_may_be_refused_before_it_is_over(sidecar: Sidecar, upstream: Upstream):
    upstream.reads_lazily = True

    async def answer(exchange: Exchange) -> None:
        await sends(b'{"error":"too large"}', status=413)(exchange)

    async def pieces():
        for _ in range(5):
            yield b"x" * 1000
            await asyncio.sleep(0.02)

    upstream.will(answer)
    async with sidecar.http.post(sidecar.url + "/v1/files", data=pieces()) as response:
        assert response.status == 413
        assert await response.read() == b'{"error":"too large"}'


async def test_a_client_that_leaves_during_an_upload_ends_it(sidecar: Sidecar, upstream: Upstream):
    upstream.reads_lazily = True
    started = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        async for _ in exchange.body():
            started.set()
        raise AssertionError("the upload was no whole one")

    upstream.will(answer)
    _, writer = await asyncio.open_connection("127.0.0.1", int(sidecar.url.rsplit(":", 1)[1]))
    writer.write(b"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
    await started.wait()
    writer.close()
    await eventually(upstream.last.gone.is_set)


async def test_a_client_that_waits_to_be_told_so_sends_its_body(sidecar: Sidecar, upstream: Upstream):
    """As curl does before a large body."""
    port = int(sidecar.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n"
    writer.write(head.encode() + b"Connection: close\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()
    assert "Expect" not in upstream.last.headers


async def test_a_client_that_expects_anything_else_is_told_so(sidecar: Sidecar, upstream: Upstream):
    answer = await raw(
        sidecar, b"GET /v1/models HTTP/1.1\r\nHost: x\r\nExpect: rain\r\nConnection: close\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 417 ")
    assert b'"unknown_expectation"' in answer
    assert upstream.requests == []
