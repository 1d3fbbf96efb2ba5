"""A client over Responses whose upstream says nothing yet: its answer begins all the same."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientPayloadError, ClientSession, WSMsgType

from sidecar.dialects.responses.translation import Events
from sidecar.server.serve import running
from sidecar.settings import Settings
from tests.dialects.responses import events_in
from tests.proxy.client import Reply, Sidecar, eventually, named, settled
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import (
    CUT,
    Answer,
    Step,
    Upstream,
    cuts,
    event,
    says,
    sends,
    streams,
    told,
    waits,
)
from tests.proxy.path.test_exchange import rows
from tests.proxy.several import upstreams
from tests.proxy.upstream.test_fail_over import in_front_of, refuses

RESPONSES = "/v1/responses"
TRANSLATED = {"upstream": "translate"}
COMPACTION = {"client_metadata": {"x-codex-turn-metadata": '{"request_kind":"compaction"}'}}
SIGN = b"event: response.in_progress\n"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Events, "patience", 0.01)


@pytest.fixture
def gate() -> asyncio.Event:
    """The upstream waits for this before it says a word, its head included."""
    return asyncio.Event()


@pytest.fixture
async def sidecar(start: Start) -> Sidecar:
    return await start(responses=TRANSLATED)


def request(input: Any = "hi", **body: Any) -> bytes:
    return json.dumps({"model": "m", "input": input, "stream": True, **body}).encode()


async def asked(
    sidecar: Sidecar,
    gate: asyncio.Event,
    headers: Mapping[str, str] | None = None,
    **body: Any,
) -> Reply:
    """The answer to a client that lets the upstream go on after some signs of life."""
    data = b""
    url = sidecar.url + RESPONSES
    async with asyncio.timeout(20), sidecar.http.post(url, data=request(**body), headers=headers) as response:
        async for piece in response.content.iter_any():
            data += piece
            if data.count(SIGN) >= 3:
                gate.set()
        return Reply(response.status, response.headers, data)


def last(reply: Reply) -> dict[str, Any]:
    """The response at the end of an answer that began with signs of life."""
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/event-stream")
    events = events_in(reply.body)
    kinds = [each["type"].removeprefix("response.") for each in events]
    assert kinds[:4] == ["created", "in_progress", "in_progress", "in_progress"]
    response: dict[str, Any] = events[-1]["response"]
    assert {each["response"]["id"] for each in events if "response" in each} == {response["id"]}
    assert kinds[-1] == response["status"]
    if response["error"]:
        assert {name: events[-2][name] for name in ("code", "message")} == response["error"]
    return response


async def again(sidecar: Sidecar, id: str) -> Any:
    reply = await sidecar.send("GET", f"{RESPONSES}/{id}")
    return reply.json if reply.status == 200 else None


class TestWhatFollows:
    async def test_a_good_answer_goes_on_in_it(self, sidecar: Sidecar, upstream: Upstream, gate):
        upstream.will(waits(gate, says("Hello there.")))
        reply = await asked(sidecar, gate, named("a"))
        response = last(reply)
        assert (response["status"], response["output"][0]["content"][0]["text"]) == (
            "completed",
            "Hello there.",
        )
        assert (reply.outcome, reply.headers["X-Conversation-ID"]) == ("start", "a")
        assert await again(sidecar, response["id"]) == response
        assert (await sidecar.only()).texts == ["hi", "Hello there."]
        assert (await asked(sidecar, gate, input="2", previous_response_id=response["id"])).status == 200
        assert upstream.last.said == ["hi", "Hello there.", "2"]

    @pytest.mark.parametrize("steps", [[], [0.05, CUT], [event({"content": "Hel"}), CUT]])
    async def test_one_that_breaks_off_has_failed(
        self, sidecar: Sidecar, upstream: Upstream, gate, steps: list[Step]
    ):
        upstream.will(waits(gate, streams(*steps)))
        response = last(await asked(sidecar, gate))
        assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
        assert await again(sidecar, response["id"]) == response

    @pytest.mark.parametrize(
        ("answer", "status", "code", "message"),
        [
            (refuses(503, "no room", "overloaded"), 503, "overloaded", "no room"),
            (sends(b"<h1>Bad Gateway</h1>", status=502), 502, "server_error", "the upstream answered 502"),
            (cuts(), 502, "upstream_unreachable", None),
        ],
    )
    async def test_a_failure_ends_it_and_is_told_and_kept_as_what_it_is(
        self, start: Start, upstream: Upstream, gate, answer: Answer, status: int, code: str, message: str
    ):
        sidecar = await start(responses=TRANSLATED, retries={"attempts": 1})
        upstream.will(waits(gate, answer))
        response = last(await asked(sidecar, gate, named("a")))
        assert (response["status"], response["error"]["code"]) == ("failed", code)
        assert message in (None, response["error"]["message"])
        assert await again(sidecar, response["id"]) == response
        assert (await sidecar.only()).texts == ["hi"]
        (row,) = await rows(sidecar, 1)
        error = "upstream_error" if code == "server_error" else code
        assert (row["status"], row["error"]) == (status, error)
        assert (await asked(sidecar, asyncio.Event(), named("a"), input="2")).status == 200

    async def test_what_is_refused_fails_and_is_kept_nowhere(
        self, sidecar: Sidecar, upstream: Upstream, gate
    ):
        upstream.will(waits(gate, refuses(400, "no such tool", "bad_tool")))
        response = last(await asked(sidecar, gate))
        assert response["error"] == {"code": "bad_tool", "message": "no such tool"}
        assert await sidecar.stored() == []
        assert await again(sidecar, response["id"]) is None

    async def test_a_prompt_that_is_too_long_is_healed(self, sidecar: Sidecar, upstream: Upstream, gate):
        for at in range(4):
            await sidecar.ask(f"{at} " + "word " * 400, id="a", headers={"X-Sidecar-History": "append"})
        told = "This model's maximum context length is 1500 tokens, however you requested 3000 tokens"
        upstream.will(waits(gate, refuses(400, told, "context_length_exceeded")), says("Short."))
        response = last(await asked(sidecar, gate, {**named("a"), "X-Sidecar-History": "append"}))
        assert response["output"][0]["content"][0]["text"] == "Short."
        assert len(upstream.requests) == 6

    async def test_one_that_cannot_be_healed_is_told_in_a_word_that_clients_know(
        self, sidecar: Sidecar, upstream: Upstream, gate
    ):
        told = "This model's maximum context length is 10 tokens, however you requested 3000 tokens"
        upstream.will(waits(gate, refuses(400, told, "x")))
        response = last(await asked(sidecar, gate, truncation="disabled"))
        assert response["error"] == {"code": "context_length_exceeded", "message": told}

    async def test_another_target_may_answer_it(self, start: Start, gate):
        async with upstreams("one", "two") as pair:
            pair[0].otherwise = waits(gate, refuses(503))
            sidecar = await in_front_of(start, pair, responses=TRANSLATED)
            response = last(await asked(sidecar, gate))
            assert response["output"][0]["content"][0]["text"] == "I am two"

    async def test_so_it_is_where_no_target_can(self, start: Start, gate):
        async with upstreams("one", "two") as pair:
            for each in pair:
                each.otherwise = waits(gate, refuses(429, "slow down", ""))
            sidecar = await in_front_of(start, pair, responses=TRANSLATED)
            response = last(await asked(sidecar, gate))
            assert response["error"] == {"code": "rate_limit_exceeded", "message": "slow down"}
            assert await again(sidecar, response["id"]) == response

    async def test_a_task_is_told_of_before_and_after_the_head(
        self, sidecar: Sidecar, upstream: Upstream, gate
    ):
        rest = asyncio.Event()
        upstream.will(waits(gate, streams(rest, *told("Summed up."))))
        data = b""
        async with (
            asyncio.timeout(20),
            sidecar.http.post(sidecar.url + RESPONSES, data=request(**COMPACTION)) as response,
        ):
            async for piece in response.content.iter_any():
                data += piece
                if data.count(SIGN) >= 3:
                    gate.set()
                if data.count(SIGN) >= 6:
                    rest.set()
        response_told = last(Reply(response.status, response.headers, data))
        assert response_told["output"][0]["content"][0]["text"] == "Summed up."
        assert await sidecar.stored() == []

    @pytest.mark.parametrize("answer", [refuses(503, "busy", "busy"), cuts()])
    async def test_a_task_that_fails_is_told_of_as_well(
        self, start: Start, upstream: Upstream, gate, answer: Answer
    ):
        sidecar = await start(responses=TRANSLATED, retries={"attempts": 1})
        upstream.will(waits(gate, answer))
        response = last(await asked(sidecar, gate, **COMPACTION))
        assert response["error"]["code"] in ("busy", "upstream_unreachable")
        assert await sidecar.stored() == []


class TestWhoGetsNone:
    async def test_an_error_that_comes_in_time_is_one_of_http(
        self, sidecar: Sidecar, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.undo()
        upstream.will(refuses(503, "busy", "busy"))
        reply = await sidecar.send("POST", RESPONSES, data=request())
        assert (reply.status, reply.json["error"]["code"]) == (503, "busy")

    @pytest.mark.parametrize(
        ("path", "data"),
        [
            (RESPONSES, b'{"model":"m","input":"hi"}'),
            (
                "/v1/chat/completions",
                b'{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}',
            ),
        ],
    )
    async def test_who_wants_no_events_of_this_api_waits(
        self, sidecar: Sidecar, upstream: Upstream, gate, path: str, data: bytes
    ):
        upstream.will(waits(gate, refuses(503, "busy", "busy")))
        asking = asyncio.create_task(sidecar.send("POST", path, data=data))
        await eventually(lambda: upstream.requests)
        await settled()
        gate.set()
        assert (await asking).status == 503


class TestWhoLeaves:
    async def left(self, sidecar: Sidecar) -> str:
        """The id of the response that a client saw begin, which then left."""
        async with sidecar.http.post(sidecar.url + RESPONSES, data=request(), headers=named("a")) as response:
            data = b""
            while data.count(SIGN) < 3:
                piece = await response.content.readany()
                assert piece
                data += piece
        first = json.loads(data.split(b"\n\n")[0].partition(b"data: ")[2])
        id: str = first["response"]["id"]
        return id

    async def test_has_the_upstream_end(self, sidecar: Sidecar, upstream: Upstream, gate):
        upstream.will(waits(gate, says()))
        await self.left(sidecar)
        await asyncio.wait_for(upstream.last.gone.wait(), 5)
        assert (await asked(sidecar, asyncio.Event(), named("a"))).status == 200

    async def test_finds_what_was_finished_without_it_under_the_id_it_was_told(
        self, start: Start, upstream: Upstream, gate
    ):
        sidecar = await start(responses=TRANSLATED, history={"on_disconnect": "finish"})
        upstream.will(waits(gate, says("Hello.")))
        id = await self.left(sidecar)
        gate.set()
        async with asyncio.timeout(5):
            while (response := await again(sidecar, id)) is None:
                await asyncio.sleep(0.01)
        assert (response["status"], response["output"][0]["content"][0]["text"]) == ("completed", "Hello.")

    async def test_finds_an_error_that_came_meanwhile_as_one(self, start: Start, upstream: Upstream, gate):
        sidecar = await start(responses=TRANSLATED, history={"on_disconnect": "finish"})
        upstream.will(waits(gate, streams(b'data: {"error":{"message":"out of memory","code":500}}\n\n')))
        id = await self.left(sidecar)
        gate.set()
        async with asyncio.timeout(5):
            while (response := await again(sidecar, id)) is None:
                await asyncio.sleep(0.01)
        assert response["status"] == "failed"

    async def test_holds_up_no_end_of_the_process(self, upstream: Upstream, gate, tmp_path: Path):
        upstream.will(waits(gate, says()))
        settings = Settings.model_validate(
            {
                "upstream": upstream.url,
                "listen": "127.0.0.1:0",
                "store": f"sqlite:///{tmp_path}/sidecar.db",
                "timeouts": {"shutdown": 0.1},
                "responses": TRANSLATED,
            }
        )
        async with asyncio.timeout(20), ClientSession() as http, AsyncExitStack() as life:
            url = await life.enter_async_context(running(settings))
            async with http.post(url + RESPONSES, data=request()) as response:
                await response.content.readany()
                await life.aclose()
                with pytest.raises(ClientPayloadError):
                    await response.read()
        await asyncio.wait_for(upstream.last.gone.wait(), 5)


class TestOverAWebSocket:
    async def test_it_is_told_the_same(self, sidecar: Sidecar, upstream: Upstream, gate):
        upstream.will(waits(gate, says("Hello.")), waits(gate, refuses(503, "no room", "overloaded")), cuts())
        statuses = []
        async with sidecar.http.ws_connect(sidecar.url + RESPONSES) as socket:
            for _ in range(2):
                gate.clear()
                await socket.send_str(json.dumps({"type": "response.create", "model": "m", "input": "hi"}))
                events: list[dict[str, Any]] = []
                while not events or events[-1]["type"] not in ("response.completed", "response.failed"):
                    message = await socket.receive(timeout=5)
                    assert message.type is WSMsgType.TEXT
                    events.append(json.loads(message.data))
                    if len(events) == 4:
                        assert events[-1]["type"] == "response.in_progress"
                        gate.set()
                assert [each["sequence_number"] for each in events] == list(range(len(events)))
                statuses.append(events[-1]["response"]["status"])
                assert await again(sidecar, events[-1]["response"]["id"]) == events[-1]["response"]
        assert statuses == ["completed", "failed"]


class TestInTheBackground:
    @pytest.mark.parametrize(
        ("answer", "status"), [(says("Hello."), "completed"), (refuses(503, "no room", "x"), "failed")]
    )
    async def test_who_follows_sees_the_same(
        self, sidecar: Sidecar, upstream: Upstream, gate, answer: Answer, status: str
    ):
        upstream.will(waits(gate, answer))
        data = b""
        url = sidecar.url + RESPONSES
        async with asyncio.timeout(20), sidecar.http.post(url, data=request(background=True)) as response:
            async for piece in response.content.iter_any():
                data += piece
                if data.count(SIGN) >= 2:
                    gate.set()
        events = events_in(data)
        assert [each["type"] for each in events[:4]] == [
            "response.created",
            "response.queued",
            "response.in_progress",
            "response.in_progress",
        ]
        ended = events[-1]["response"]
        assert ended["status"] == status
        assert await again(sidecar, ended["id"]) == ended
        followed = await sidecar.send("GET", f"{RESPONSES}/{ended['id']}?stream=true&starting_after=1")
        assert followed.body == data[data.index(SIGN) :]
