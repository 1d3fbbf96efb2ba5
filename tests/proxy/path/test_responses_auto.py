"""`responses.upstream = auto`: the upstream's own Responses where it serves them, else translated."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from aiohttp import WSServerHandshakeError

from sidecar.proxy.own_responses import OwnResponses, verdict
from sidecar.upstream.target import Fetched
from tests.proxy.client import Reply, Sidecar, eventually
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Answer, Exchange, Upstream, says, sends
from tests.proxy.path.test_responses_socket import connected, texts

RESPONSES, CHAT = "/v1/responses", "/v1/chat/completions"
NO_PATH = b'{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}'


@pytest.fixture
async def sidecar(start: Start) -> Sidecar:
    return await start(responses={"upstream": "auto"})


def upstream_that(answers: Answer) -> Answer:
    """Completes chats; what comes to the paths of Responses gets this answer."""

    async def answer(exchange: Exchange) -> None:
        await (answers if "/responses" in exchange.request.target else says("ok"))(exchange)

    return answer


def serves_responses() -> Answer:
    async def answer(exchange: Exchange) -> None:
        if exchange.request.body == b"{}":
            await sends(b'{"error":{"message":"`model` is missing"}}', status=400)(exchange)
        else:
            await sends(b'{ "id": "resp_theirs" }')(exchange)

    return answer


async def ask(sidecar: Sidecar, headers: Mapping[str, str] | None = None, **body: Any) -> Reply:
    data = json.dumps({"model": "m", "input": "hi", **body}).encode()
    return await sidecar.send("POST", RESPONSES, data=data, headers=headers)


def asked(upstream: Upstream) -> list[tuple[str, bytes]]:
    return [(each.target, each.body) for each in upstream.requests]


class TestAnUpstreamThatServesThem:
    async def test_gets_them_as_they_are_whatever_they_are(self, sidecar: Sidecar, upstream: Upstream):
        upstream.otherwise = upstream_that(serves_responses())
        for method, path, data in [
            ("POST", RESPONSES, b'{ "input": "hi" }'),
            ("POST", RESPONSES, b'{ "previous_response_id": "resp_theirs" }'),
            ("GET", f"{RESPONSES}/resp_theirs", None),
            ("POST", "/v1/conversations", b"{ }"),
        ]:
            await sidecar.send(method, path, data=data)
            assert (upstream.last.method, upstream.last.target, upstream.last.body) == (
                method,
                path,
                data or b"",
            )
        assert len(upstream.requests) == 5
        assert await sidecar.stored() == []

    async def test_is_asked_once_for_all_that_come_at_once_with_nothing_but_their_key(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        upstream.otherwise = upstream_that(serves_responses())
        headers = {"Authorization": "Bearer k", "X-Conversation-ID": "a"}
        await asyncio.gather(*(ask(sidecar, headers) for _ in range(5)))
        first, *others = upstream.requests
        assert (first.target, first.body, first.headers["Authorization"]) == (RESPONSES, b"{}", "Bearer k")
        assert "X-Conversation-ID" not in first.headers
        assert [each.target for each in others] == [RESPONSES] * 5
        assert b"{}" not in [each.body for each in others]

    async def test_is_asked_at_its_base_whatever_path_a_client_makes_up(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        async def answer(exchange: Exchange) -> None:
            is_there = exchange.request.target == RESPONSES
            await (serves_responses() if is_there else sends(NO_PATH, status=404))(exchange)

        upstream.otherwise = answer
        assert (await sidecar.send("POST", "/nope/v1/responses", data=b'{"input":"hi"}')).status == 404
        assert (await ask(sidecar)).json["id"] == "resp_theirs"
        assert [target for target, _ in asked(upstream)] == [RESPONSES, "/nope/v1/responses", RESPONSES]

    async def test_gets_its_sockets_too(self, sidecar: Sidecar, upstream: Upstream):
        upstream.otherwise = upstream_that(serves_responses())
        with pytest.raises(WSServerHandshakeError):
            async with connected(sidecar):
                pass
        assert [each.method for each in upstream.requests] == ["POST", "GET"]


class TestAnyOther:
    @pytest.mark.parametrize("status", [404, 405, 501])
    async def test_gets_chats_and_no_request_twice(self, sidecar: Sidecar, upstream: Upstream, status: int):
        upstream.otherwise = upstream_that(sends(NO_PATH, status=status))
        first = await ask(sidecar)
        assert texts(first.json) == ["ok"]
        assert texts((await ask(sidecar, previous_response_id=first.json["id"])).json) == ["ok"]
        assert [target for target, _ in asked(upstream)] == [RESPONSES, CHAT, CHAT]
        assert (await sidecar.only()).texts == ["hi", "ok", "hi", "ok"]

    async def test_is_asked_whatever_comes_first(self, sidecar: Sidecar, upstream: Upstream):
        upstream.otherwise = upstream_that(sends(NO_PATH, status=404))
        assert (await sidecar.send("GET", f"{RESPONSES}/resp_1")).status == 404
        async with connected(sidecar) as socket:
            assert texts(await socket.ask("hi")) == ["ok"]
        assert [target for target, _ in asked(upstream)] == [RESPONSES, CHAT]

    async def test_is_asked_again_soon_where_its_answer_decides_nothing(
        self, sidecar: Sidecar, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("sidecar.proxy.own_responses._ASKED_AGAIN_AFTER", 0.05)
        upstream.otherwise = upstream_that(sends(b"{}", status=503))
        assert texts((await ask(sidecar)).json) == ["ok"]
        upstream.otherwise = upstream_that(serves_responses())

        async def is_theirs() -> bool:
            return bool((await ask(sidecar)).json["id"] == "resp_theirs")

        async with asyncio.timeout(5):
            while not await is_theirs():
                await asyncio.sleep(0.02)

    async def test_what_is_known_outlives_an_answer_that_decides_nothing(
        self, sidecar: Sidecar, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
    ):
        doubts: list[OwnResponses] = []
        monkeypatch.setattr("sidecar.proxy.own_responses._KNOWN_FOR", 0.05)
        doubt = OwnResponses._doubt

        def seen(own: OwnResponses, doubted: Callable[[], None]) -> None:
            doubt(own, doubted)
            doubts.append(own)

        monkeypatch.setattr(OwnResponses, "_doubt", seen)
        upstream.otherwise = upstream_that(serves_responses())
        assert (await ask(sidecar)).json["id"] == "resp_theirs"
        await eventually(lambda: doubts)
        upstream.otherwise = upstream_that(sends(b'{"error":{"message":"busy"}}', status=429))
        assert (await ask(sidecar)).json == {"error": {"message": "busy"}}
        assert [target for target, _ in asked(upstream)] == [RESPONSES] * 4


@pytest.mark.parametrize(
    ("status", "body", "is_served"),
    [
        (400, b'{"error":{"message":"`input` is missing"}}', True),
        (422, b'{"detail":[{"loc":["body","model"]}]}', True),
        (404, b'{"detail":"Not Found"}', False),
        (404, b"404 page not found", False),
        (404, b'{"error":{"message":"The model `` does not exist","code":"model_not_found"}}', True),
        (405, b'{"detail":"Method Not Allowed"}', False),
        (501, b"", False),
        (200, b'{"object":"response"}', True),
        (200, b"<!doctype html>", False),
        (401, b'{"error":{"message":"no key"}}', None),
        (429, b"", None),
        (500, b"", None),
        (302, b"", None),
    ],
)
def test_what_an_answer_says(status: int, body: bytes, is_served: bool | None):
    assert verdict(Fetched(status, body, False)) is is_served
