"""What a client's key may ask for, and how much of it at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector
from msgspec.structs import replace

from sidecar.access import known_keys
from sidecar.access.client_keys import id_in
from sidecar.conversation.identity import tenant_of
from sidecar.settings import Settings
from tests.proxy import several
from tests.proxy.client import CHAT, Sidecar, assert_error, chat, eventually
from tests.proxy.client_keys import bearer, change, new_key, opened, revoke
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Exchange, Upstream, says, sends, streams, told
from tests.proxy.path.test_background import ask as in_background
from tests.proxy.process import serving
from tests.proxy.upstream.test_websocket import HANDSHAKE

REQUIRED = {"enforcement": "required"}
OWN_KEY = "the-key-of-the-target"
TARGET = {"api_key": OWN_KEY}


@pytest.fixture
async def sidecar(start: Start) -> Sidecar:
    return await start(keys=REQUIRED, target=TARGET)


class Counted:
    """Begins a stream, waits for `gate`, and counts how many streams there are at once."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.gate = asyncio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        first, *rest = told("ab")
        await streams(first, self.gate, *rest[:-1])(exchange)
        self.now -= 1


async def all_asked(counted: Counted, http: ClientSession, url: str, headers: dict[str, str]) -> list[int]:
    """The statuses of sixty requests at once, of which four wait for the others to be answered."""
    asking = [asyncio.ensure_future(asked(http, url, headers)) for _ in range(60)]
    async with asyncio.timeout(30):
        while sum(each.done() for each in asking) < 56 or counted.now < 4:
            await asyncio.sleep(0.01)
    counted.gate.set()
    return sorted(await asyncio.gather(*asking))


async def asked(http: ClientSession, url: str, headers: dict[str, str]) -> int:
    body = {"model": "m", "stream": True, "messages": chat("hi")}
    async with http.post(url + CHAT, json=body, headers=headers) as response:
        await response.read()
        return response.status


class TestModels:
    async def test_it_may_ask_for_its_models_alone_on_every_path(self, sidecar: Sidecar, upstream: Upstream):
        key = bearer(await new_key(sidecar.settings, models=("qwen*", "embed")))
        upstream.will(says("ok"), sends(b"{}"))
        assert (await sidecar.ask("hi", headers=key, model="qwen3")).status == 200
        body = b'{"model": "embed", "input": "a"}'
        assert (await sidecar.send("POST", "/v1/embeddings", data=body, headers=key)).status == 200
        assert upstream.last.json == {"model": "embed", "input": "a"}

        other = b'{"model": "gpt", "input": "a"}'
        near = (
            "/v1/conversations/a/chat/completions",
            "/v1/conversations/a/items/b",
            "/v1/responses/a/b/cancel",
        )
        for target in ("/v1/embeddings", CHAT, "/v1/responses", "/other", *near):
            reply = await sidecar.send("POST", target, data=other, headers=key)
            assert "gpt" in assert_error(reply, 404, "model_not_found")["message"]
        for target in ("/v1/models/gpt", "/openai/deployments/gpt/models"):
            assert_error(await sidecar.send("GET", target, headers=key), 404, "model_not_found")
        for data in (b"--form", b"{}", b'{"model": 1}'):
            reply = await sidecar.send("POST", "/v1/audio/transcriptions", data=data, headers=key)
            assert_error(reply, 400, "missing_required_parameter")
        assert len(upstream.requests) == 2

    async def test_no_way_of_spelling_gets_another_one(self, sidecar: Sidecar, upstream: Upstream):
        key = bearer(await new_key(sidecar.settings, models=("qwen*",)))
        messages = json.dumps(chat("hi"))
        upstream.will(says("ok"))
        twice = f'{{"model": "gpt", "messages": {messages}, "model": "qwen"}}'.encode()
        assert (await sidecar.send("POST", CHAT, data=twice, headers=key)).status == 200
        assert upstream.last.body.count(b'"model"') == 1
        assert upstream.last.json["model"] == "qwen"
        for wrong in ('"model": "qwen", "Model": "gpt"', '"model": "qwen", "models": ["gpt"]'):
            reply = await sidecar.send(
                "POST", CHAT, data=f'{{{wrong}, "messages": {messages}}}'.encode(), headers=key
            )
            assert reply.status in (400, 404)
        assert len(upstream.requests) == 1

    async def test_the_list_has_those_alone(self, sidecar: Sidecar, upstream: Upstream):
        keys = [await new_key(sidecar.settings, models=each) for each in (("qwen*",), ())]
        listed = b'{"object":"list","data":[{"id":"qwen3","object":"model"},{"id":"gpt","object":"model"}]}'
        upstream.will(sends(listed), sends(listed), sends(b'{"error":1}', status=500), sends(b"<html>"))
        mine, all_of_them, failed, odd = [
            await sidecar.send("GET", "/v1/models", headers=bearer(key)) for key in (*keys, keys[0], keys[0])
        ]
        assert mine.json == {"object": "list", "data": [{"id": "qwen3", "object": "model"}]}
        assert all_of_them.body == listed
        assert (failed.status, failed.body) == (500, b'{"error":1}')
        assert_error(odd, 502, "invalid_model_list")

    async def test_the_list_of_several_targets_has_those_alone_too(self, start: Start, upstream: Upstream):
        upstream.otherwise = sends(b'{"object":"list","data":[{"id":"gpt"},{"id":"qwen-old"}]}')
        async with several.upstreams("other") as (other,):
            other.otherwise = sends(b'{"object":"list","data":[{"id":"qwen3"},{"id":"llama"}]}')
            sidecar = await start(
                keys={"enforcement": "required"},
                targets=[several.target("other", other, models=["qwen3", "llama"])],
            )
            key = bearer(await new_key(sidecar.settings, models=("qwen*",)))
            listed = await sidecar.send("GET", "/v1/models", headers=key)
            assert sorted(each["id"] for each in listed.json["data"]) == ["qwen-old", "qwen3"]
            assert_error(await sidecar.send("GET", "/v1/models/llama", headers=key), 404, "model_not_found")
            assert not [each for each in other.requests if "Authorization" in each.headers]

    async def test_a_list_without_those_of_a_target_that_is_away_says_so_and_is_never_empty(
        self, start: Start, upstream: Upstream
    ):
        upstream.otherwise = sends(b'{"object":"list","data":[{"id":"gpt"}]}')
        async with several.upstreams("away") as (away,):
            sidecar = await start(
                keys={"enforcement": "required"}, targets=[several.target("away", away, models=["qwen*"])]
            )
            await away.stop()
            wide = bearer(await new_key(sidecar.settings, models=("qwen*", "gpt")))
            listed = await sidecar.send("GET", "/v1/models", headers=wide)
            assert [each["id"] for each in listed.json["data"]] == ["gpt"]
            assert listed.headers["X-Sidecar-Targets-Missing"] == "away"
            narrow = bearer(await new_key(sidecar.settings, "grace", models=("qwen*",)))
            error = assert_error(
                await sidecar.send("GET", "/v1/models", headers=narrow), 502, "upstream_unreachable"
            )
            assert error["message"].endswith("do not tell: away")

    async def test_a_websocket_says_it_in_its_address(self, sidecar: Sidecar, upstream: Upstream):
        key = bearer(await new_key(sidecar.settings, models=("qwen*",)))
        for query, status in (("?model=gpt", 404), ("", 400), ("?model=qwen&model=gpt", 404)):
            reply = await sidecar.send("GET", f"/v1/realtime{query}", headers={**HANDSHAKE, **key})
            assert reply.status == status
        assert upstream.requests == []


class TestLimits:
    async def test_a_stream_counts_until_its_last_byte(self, sidecar: Sidecar, upstream: Upstream):
        key = bearer(await new_key(sidecar.settings, parallel=2))
        gate = asyncio.Event()
        upstream.will(*[streams(told("a")[0], gate, *told("b"))] * 2, says("ok"))
        under_way = [asyncio.ensure_future(sidecar.ask("hi", headers=key, stream=True)) for _ in range(2)]
        await eventually(lambda: len(upstream.requests) == 2)
        reply = await sidecar.ask("hi", headers=key)
        error = assert_error(reply, 429, "rate_limit_exceeded", type="requests")
        assert "more than 2 requests at once" in error["message"]
        assert reply.headers["Retry-After"] == "1"
        assert reply.headers["x-ratelimit-limit-requests"] == "2"
        assert (await sidecar.send("HEAD", "/", headers=key)).status != 429, "it asks no model"
        gate.set()
        assert [(await each).status for each in under_way] == [200, 200]
        assert (await sidecar.ask("hi", headers=key)).status == 200

    async def test_what_a_client_left_counts_until_its_upstream_is_left(
        self, start: Start, upstream: Upstream
    ):
        sidecar = await start(keys=REQUIRED, history={"on_disconnect": "finish"})
        key = bearer(await new_key(sidecar.settings, parallel=1))
        gate = asyncio.Event()
        upstream.will(streams(told("a")[0], gate, *told("b")), says("ok"))
        asking = asyncio.ensure_future(sidecar.ask("hi", headers=key, stream=True))
        await eventually(lambda: len(upstream.requests) == 1)
        await asyncio.sleep(0.05)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        await asyncio.sleep(0.05)
        assert (await sidecar.ask("hi", headers=key)).status == 429
        gate.set()
        async with asyncio.timeout(5):
            while (await sidecar.ask("hi", headers=key)).status == 429:
                await asyncio.sleep(0.01)

    async def test_a_response_in_the_background_counts_until_it_is_made_and_can_be_cancelled(
        self, start: Start, upstream: Upstream
    ):
        sidecar = await start(keys=REQUIRED, responses={"upstream": "translate"})
        key = bearer(await new_key(sidecar.settings, parallel=1, models=("m",)))
        gate = asyncio.Event()
        upstream.will(streams(told("a")[0], gate, *told("b")))
        begun = await in_background(sidecar, headers=key)
        assert (begun.status, begun.json["status"]) == (200, "queued")
        await eventually(lambda: len(upstream.requests) == 1)
        assert (await sidecar.ask("hi", headers=key)).status == 429
        told_of = await sidecar.send("GET", f"/v1/responses/{begun.json['id']}", headers=key)
        assert told_of.json["status"] in ("queued", "in_progress")
        cancelled = await sidecar.send("POST", f"/v1/responses/{begun.json['id']}/cancel", headers=key)
        assert cancelled.status == 200
        async with asyncio.timeout(5):
            while (await sidecar.ask("hi", headers=key)).status == 429:
                await asyncio.sleep(0.01)

    async def test_so_many_begin_in_a_minute(self, sidecar: Sidecar, upstream: Upstream):
        key = bearer(await new_key(sidecar.settings, rpm=3))
        upstream.will(*[says("ok")] * 3)
        replies = [await sidecar.ask("hi", headers=key) for _ in range(5)]
        assert [reply.status for reply in replies] == [200, 200, 200, 429, 429]
        assert 55 <= int(replies[-1].headers["Retry-After"]) <= 60
        assert replies[-1].headers["x-ratelimit-remaining-requests"] == "0"

    async def test_of_many_at_once_never_more_are_upstream_than_may_be(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        key = bearer(await new_key(sidecar.settings, parallel=4))
        counted = upstream.otherwise = Counted()
        assert await all_asked(counted, sidecar.http, sidecar.url, key) == [200] * 4 + [429] * 56
        assert counted.most == 4

    async def test_nor_are_there_on_several_workers(self, upstream: Upstream, tmp_path: Path):
        counted = upstream.otherwise = Counted()
        settings = Settings.model_validate({"store": f"sqlite:///{tmp_path}/sidecar.db"})
        key = bearer(await new_key(settings, parallel=4))
        flags = ("--workers", "2", "--upstream", upstream.url)
        async with (
            serving(*flags, folder=tmp_path, SIDECAR_KEYS__ENFORCEMENT="required") as process,
            ClientSession(connector=TCPConnector(force_close=True, limit=0)) as http,
        ):
            assert await all_asked(counted, http, process.url, key) == [200] * 4 + [429] * 56
        assert counted.most == 4

    async def test_others_count_within_five_seconds_and_what_is_under_way_goes_on(
        self, sidecar: Sidecar, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(known_keys, "_FRESH", 0.05)
        text = await new_key(sidecar.settings, parallel=1)
        key, counted = bearer(text), Counted()
        upstream.otherwise = counted
        first = asyncio.create_task(asked(sidecar.http, sidecar.url, key))
        await eventually(lambda: counted.now == 1)
        assert_error(await sidecar.ask("hi", headers=key), 429, "rate_limit_exceeded")
        await change(sidecar.settings, text, lambda one: replace(one, parallel=2))
        second = asyncio.create_task(until_admitted(sidecar, key))
        await eventually(lambda: counted.now == 2)
        counted.gate.set()
        assert (await first, await second) == (200, 200)


async def until_admitted(sidecar: Sidecar, key: dict[str, str]) -> int:
    while (status := await asked(sidecar.http, sidecar.url, key)) == 429:
        await asyncio.sleep(0.01)
    return status


class TestOverAWebSocket:
    async def test_each_message_is_a_request_of_the_key(self, start: Start, upstream: Upstream):
        sidecar = await start(keys=REQUIRED, target=TARGET, responses={"upstream": "translate"})
        key = await new_key(sidecar.settings, models=("qwen*",), rpm=1)
        upstream.will(streams(*told("a")))
        async with sidecar.http.ws_connect(f"{sidecar.url}/v1/responses", headers=bearer(key)) as socket:
            said = {"type": "response.create", "input": "hi"}
            await socket.send_json({**said, "model": "gpt"})
            refused = await socket.receive_json(timeout=5)
            assert (refused["status"], refused["error"]["code"]) == (404, "model_not_found")
            await socket.send_json({**said, "model": "qwen"})
            assert (await socket.receive_json(timeout=5))["error"]["code"] == "rate_limit_exceeded"
        assert upstream.requests == []

    async def test_a_message_after_its_key_was_revoked_is_refused(
        self, start: Start, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(known_keys, "_FRESH", 0.0)
        sidecar = await start(keys=REQUIRED, target=TARGET, responses={"upstream": "translate"})
        key = await new_key(sidecar.settings)
        upstream.will(streams(*told("a")))
        async with sidecar.http.ws_connect(f"{sidecar.url}/v1/responses", headers=bearer(key)) as socket:
            said = {"type": "response.create", "input": "hi", "model": "m"}
            await socket.send_json(said)
            while (await socket.receive_json(timeout=5))["type"] != "response.completed":
                pass
            assert upstream.last.headers["Authorization"] == f"Bearer {OWN_KEY}"
            await revoke(sidecar.settings, key)
            await socket.send_json(said)
            assert (await socket.receive_json(timeout=5))["error"]["code"] == "invalid_api_key"
        async with opened(sidecar.settings) as store:
            (about,) = [each async for each in store.conversations()]
            assert about.tenant == tenant_of(store.secret, f"\nkey {id_in(key)}", None)
