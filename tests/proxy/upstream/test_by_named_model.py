"""What is no chat goes to the target that serves the model which it names: embeddings, forms, WebSockets."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest
from aiohttp import WSServerHandshakeError

from tests.proxy.client import Sidecar, assert_error
from tests.proxy.client_keys import bearer, new_key
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Upstream, cuts, sends
from tests.proxy.several import target, upstreams
from tests.proxy.upstream.test_fail_over import in_front_of, pair, refuses
from tests.proxy.upstream.test_websocket import Sockets, sockets

__all__ = ["pair", "sockets"]  # fixtures

EMBED = b'{"input": "x", "model": "m", "numbers": [1.0, 1e2]}'


@pytest.fixture
async def other():
    async with upstreams("other") as (server,):
        yield server


async def embed(
    sidecar: Sidecar, body: bytes = EMBED, path: str = "/v1/embeddings", headers: dict[str, str] | None = None
):
    kind = {"Content-Type": "application/json"}
    return await sidecar.send("POST", path, data=body, headers={**kind, **(headers or {})})


SOUND = b"\x00sound" * 20_000


async def send_form(sidecar: Sidecar, path: str, *parts: bytes):
    """The parts of a form: what stands behind `form-data`."""
    body = (
        b"".join(b"--b\r\nContent-Disposition: form-data" + part + b"\r\n" for part in parts) + b"--b--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    return await sidecar.send("POST", path, data=body, headers=headers)


async def transcribe(sidecar: Sidecar, model: bytes = b"m"):
    """As OpenAI's clients do it: the file comes last."""
    named, file = b'; name="model"\r\n\r\n' + model, b'; name="file"; filename="a"\r\n\r\n' + SOUND
    return await send_form(sidecar, "/v1/audio/transcriptions", named, file)


class TestJson:
    async def test_it_goes_to_the_target_of_its_model_as_it_came(
        self, start: Start, upstream: Upstream, other: Upstream
    ):
        keyed = target("other", other, api_key="sk-of-other")
        sidecar = await start(targets=[keyed])
        other.will(sends(b"[1]", headers={"Content-Type": "text/x"}))
        reply = await embed(sidecar, headers=bearer("of-the-client"))
        assert (reply.status, reply.body, reply.headers["Content-Type"]) == (200, b"[1]", "text/x")
        assert reply.headers["X-Sidecar-Target"] == "other"
        assert (other.last.target, other.last.body) == ("/v1/embeddings", EMBED)
        assert other.last.headers["Authorization"] == "Bearer sk-of-other"
        assert upstream.requests == []

    async def test_nothing_changes_in_it_but_the_name_of_its_model(self, start: Start, other: Upstream):
        sidecar = await start(targets=[target("other", other, rename={"m": "a \u00fc model"})])
        assert (await embed(sidecar)).status == 200
        assert other.last.json == {**json.loads(EMBED), "model": "a \u00fc model"}
        assert b"[1.0, 1e2]" in other.last.body
        assert list(other.last.json) == ["input", "model", "numbers"]

    async def test_a_packed_one_is_unpacked(self, start: Start, other: Upstream):
        sidecar = await start(targets=[target("other", other)])
        headers = {"Content-Encoding": "gzip"}
        assert (await embed(sidecar, gzip.compress(EMBED), headers=headers)).headers[
            "X-Sidecar-Target"
        ] == "other"
        assert other.last.body == EMBED
        assert "Content-Encoding" not in other.last.headers

    async def test_a_large_one_is_read_beside_the_loop(self, start: Start, other: Upstream):
        sidecar = await start(targets=[target("other", other, rename={"m": "n"})])
        text = "x" * 3_000_000
        assert (await embed(sidecar, json.dumps({"input": text, "model": "m"}).encode())).status == 200
        assert other.last.json == {"input": text, "model": "n"}

    async def test_one_that_is_larger_than_may_be_read_passes_unread(
        self, start: Start, upstream: Upstream, other: Upstream
    ):
        sidecar = await start(targets=[target("other", other)], limits={"max_body": 10})
        assert (await embed(sidecar)).headers["X-Sidecar-Target"] == "default"
        assert upstream.last.body == EMBED

    async def test_the_path_may_name_it(self, start: Start, other: Upstream):
        sidecar = await start(targets=[target("other", other)])
        reply = await embed(sidecar, b'{"input":"x"}', "/v1/engines/m/embeddings")
        assert reply.headers["X-Sidecar-Target"] == "other"
        assert other.last.target == "/v1/engines/m/embeddings"

    @pytest.mark.parametrize("body", [b'["x"]', b'{"input":"x"}', b"a text", b'{"input":'])
    async def test_then_the_body_goes_as_it_came_whatever_it_is(
        self, start: Start, other: Upstream, body: bytes
    ):
        sidecar = await start(targets=[target("other", other, rename={"m": "n"})])
        reply = await embed(sidecar, body, "/v1/engines/m/embeddings")
        assert (reply.status, other.last.body) == (200, body)

    async def test_a_chat_that_is_named_stays_at_one_url(self, start: Start):
        async with upstreams("one", "two", "three") as servers:
            sidecar = await start(targets=[target("all", *servers)])
            for chat in "abcd":
                for _ in range(3):
                    await embed(sidecar, path="/v1/completions", headers={"X-Conversation-ID": chat})
            seen = [{each.headers["X-Conversation-ID"] for each in server.requests} for server in servers]
        assert sum(map(len, seen)) == len(set().union(*seen)) == 4


class TestWhereTheFirstCannot:
    @pytest.mark.parametrize("status", [429, 503])
    async def test_the_next_one_answers(self, start: Start, pair: list[Upstream], status: int):
        one, two = pair
        one.otherwise = refuses(status)
        sidecar = await in_front_of(start, pair)
        reply = await embed(sidecar)
        assert (reply.status, reply.headers["X-Sidecar-Target"]) == (200, "two")
        assert [each.body for each in (one.last, two.last)] == [EMBED, EMBED]
        assert await sidecar.metric("sidecar_target_fail_overs_total") == 1

    @pytest.mark.parametrize("status", [400, 404, 500, 502])
    async def test_no_other_answer_goes_elsewhere(self, start: Start, pair: list[Upstream], status: int):
        one, two = pair
        one.otherwise = refuses(status)
        reply = await embed(await in_front_of(start, pair))
        assert (reply.status, reply.headers["X-Sidecar-Target"], two.requests) == (status, "one", [])

    async def test_nor_does_what_was_sent_and_not_answered(self, start: Start, pair: list[Upstream]):
        one, two = pair
        one.otherwise = cuts()
        sidecar = await in_front_of(start, pair, retries={"attempts": 1})
        assert_error(await embed(sidecar), 502, "upstream_unreachable")
        assert (len(one.requests), two.requests) == (1, [])

    async def test_a_form_goes_on_where_nobody_was_connected_to(self, start: Start, pair: list[Upstream]):
        one, two = pair
        await one.stop()
        response = await transcribe(await in_front_of(start, pair))
        assert (response.status, response.headers["X-Sidecar-Target"]) == (200, "two")
        assert SOUND in two.last.body

    async def test_and_stays_where_a_part_of_it_was_sent(self, start: Start, pair: list[Upstream]):
        one, two = pair
        one.otherwise = refuses(503)
        response = await transcribe(await in_front_of(start, pair))
        assert (response.status, response.headers["X-Sidecar-Target"], two.requests) == (503, "one", [])

    async def test_never_more_are_under_way_than_a_target_allows(self, start: Start, other: Upstream):
        limits = {"retries": {"wait_for_room": 0}, "targets": [target("other", other, parallel=1)]}
        sidecar = await start(**limits)
        for _ in range(3):  # each gives its place back
            assert (await embed(sidecar)).status == 200


class TestForms:
    async def test_the_beginning_tells_the_model(self, start: Start, upstream: Upstream, other: Upstream):
        sidecar = await start(targets=[target("other", other)])
        assert (await transcribe(sidecar)).headers["X-Sidecar-Target"] == "other"
        assert SOUND in other.last.body
        assert (await transcribe(sidecar, b"x")).headers["X-Sidecar-Target"] == "default"
        assert SOUND in upstream.last.body

    async def test_its_name_there_takes_the_place_of_it(self, start: Start, other: Upstream):
        sidecar = await start(targets=[target("other", other, rename={"m": "whisper-large"})])
        assert (await transcribe(sidecar)).status == 200
        assert b'name="model"\r\n\r\nwhisper-large\r\n' in other.last.body
        assert int(other.last.headers["Content-Length"]) == len(other.last.body)

    async def test_one_without_a_model_goes_to_the_upstream_whole(
        self, start: Start, upstream: Upstream, other: Upstream
    ):
        sidecar = await start(targets=[target("other", other)])
        reply = await send_form(sidecar, "/v1/files", b'; name="file"; filename="a"\r\n\r\n' + SOUND)
        assert reply.headers["X-Sidecar-Target"] == "default"
        assert SOUND in upstream.last.body
        assert other.requests == []

    async def test_a_name_that_is_no_text_is_refused(self, start: Start, other: Upstream):
        sidecar = await start(targets=[target("other", other)])
        reply = await transcribe(sidecar, b"\xff")
        assert_error(reply, 400, "invalid_value")


async def test_the_models_of_a_key_hold(start: Start, upstream: Upstream, other: Upstream):
    sidecar = await start(targets=[target("other", other)], keys={"enforcement": "required"})
    key = bearer(await new_key(sidecar.settings, models=("m*",)))
    assert (await embed(sidecar, headers=key)).headers["X-Sidecar-Target"] == "other"
    assert_error(await embed(sidecar, b'{"model":"x"}', headers=key), 404, "model_not_found")
    assert_error(await embed(sidecar, b'{"input":"x"}', headers=key), 400, "missing_required_parameter")
    assert (len(other.requests), upstream.requests) == (1, [])


class TestWebSockets:
    @pytest.mark.parametrize("query", ["?model=m", "?a=b&model=m&c=d"])
    async def test_one_goes_to_the_target_of_its_model_under_its_name_there(
        self, start: Start, sockets: Sockets, upstream: Upstream, query: str
    ):
        there = {"name": "voice", "url": sockets.url, "models": ["m"], "rename": {"m": "v/1"}}
        sidecar = await start(targets=[there])
        async with sidecar.http.ws_connect(f"{sidecar.url}/v1/realtime{query}") as socket:
            await socket.send_str("a")
            assert await socket.receive_str() == "a"
            assert socket._response.headers["X-Sidecar-Target"] == "voice"
        assert sockets.requests[0].path_qs == f"/v1/realtime{query.replace('=m', '=v%2F1')}"
        assert upstream.requests == []

    async def test_one_that_names_none_goes_to_the_upstream(
        self, start: Start, sockets: Sockets, other: Upstream
    ):
        sidecar = await start(upstream=sockets.url, targets=[target("other", other)])
        async with sidecar.http.ws_connect(f"{sidecar.url}/v1/realtime") as socket:
            assert socket._response.headers["X-Sidecar-Target"] == "default"
        assert other.requests == []

    @pytest.mark.parametrize("is_away", [True, False])
    async def test_where_the_first_is_away_or_busy_the_next_one_opens_it(
        self, start: Start, sockets: Sockets, other: Upstream, is_away: bool
    ):
        other.otherwise = refuses(503)
        if is_away:
            await other.stop()
        voice = {"name": "voice", "url": sockets.url, "models": ["m*"], "priority": 1}
        sidecar = await start(targets=[target("other", other), voice])
        async with sidecar.http.ws_connect(f"{sidecar.url}/v1/realtime?model=m") as socket:
            assert socket._response.headers["X-Sidecar-Target"] == "voice"

    async def test_another_refusal_is_the_clients(self, start: Start, sockets: Sockets, other: Upstream):
        other.otherwise = refuses(403)
        voice = {"name": "voice", "url": sockets.url, "models": ["m*"], "priority": 1}
        sidecar = await start(targets=[target("other", other), voice])
        with pytest.raises(WSServerHandshakeError) as refused:
            await sidecar.http.ws_connect(f"{sidecar.url}/v1/realtime?model=m")
        assert (refused.value.status, sockets.requests) == (403, [])

    async def test_it_has_its_place_until_it_ends(self, start: Start, sockets: Sockets):
        voice = {"name": "voice", "url": sockets.url, "models": ["m*"], "parallel": 1}
        sidecar = await start(targets=[voice], retries={"wait_for_room": 0})
        url = f"{sidecar.url}/v1/realtime?model=m"
        async with sidecar.http.ws_connect(url):
            with pytest.raises(WSServerHandshakeError) as refused:
                await sidecar.http.ws_connect(url)
            assert refused.value.status == 429

        async with asyncio.timeout(10):
            while True:
                try:
                    async with sidecar.http.ws_connect(url):
                        break
                except WSServerHandshakeError:
                    await asyncio.sleep(0.01)
