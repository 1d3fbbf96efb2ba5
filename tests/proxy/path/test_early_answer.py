"""A client over Responses whose upstream says nothing yet: its answer begins all the same."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientPayloadError, ClientSession, WSMsgType

from sidecar.dialects.responses.translation import Events
from sidecar.server.serve import running
from sidecar.settings import Settings
from tests.dialects.responses import events_in, said
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


async def ask_for(sidecar: Sidecar, input: Any, headers: Mapping[str, str] | None = None) -> Reply:
    data = request(input, stream=False)
    return await sidecar.send("POST", RESPONSES, data=data, headers=headers)


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


class TestInLine:
    """What is asked while another one of its thread is being answered, or a target has no room."""

    APPEND: Mapping[str, str] = {"X-Conversation-ID": "a", "X-Sidecar-History": "append"}

    async def behind(self, sidecar: Sidecar, upstream: Upstream, first: asyncio.Event) -> asyncio.Task[Reply]:
        """The answer to a request that is under way, until the event lets it end."""
        upstream.will(waits(first, says("one")))
        data = b'{"model":"m","input":"1"}'
        asking = asyncio.create_task(sidecar.send("POST", RESPONSES, data=data, headers=self.APPEND))
        await eventually(lambda: upstream.requests)
        return asking

    async def test_it_is_told_of_and_answered_in_its_turn(self, sidecar: Sidecar, upstream: Upstream, gate):
        first = await self.behind(sidecar, upstream, gate)
        upstream.will(says("two"))
        reply = await asked(sidecar, gate, self.APPEND, input="2")
        response = last(reply)
        assert (await first).status == 200
        assert upstream.last.said == ["1", "one", "2"]
        assert response["output"][0]["content"][0]["text"] == "two"
        assert reply.headers["X-Conversation-ID"] == "a"
        assert "X-Sidecar-Outcome" not in reply.headers  # which it had yet to be seen
        assert await again(sidecar, response["id"]) == response
        assert (await sidecar.only()).branches == [["1", "one", "2", "two"]]

    async def test_its_upstream_may_be_silent_as_well(self, sidecar: Sidecar, upstream: Upstream, gate):
        rest, data, signs = asyncio.Event(), b"", 3
        await self.behind(sidecar, upstream, gate)
        upstream.will(waits(rest, says("two")))
        url, asks = sidecar.url + RESPONSES, request("2")
        async with asyncio.timeout(20), sidecar.http.post(url, data=asks, headers=self.APPEND) as response:
            async for piece in response.content.iter_any():
                data += piece
                if data.count(SIGN) >= 3:
                    gate.set()
                    signs = max(signs, data.count(SIGN) if len(upstream.requests) == 1 else 0)
                if data.count(SIGN) >= signs + 3:
                    rest.set()
        told = last(Reply(response.status, response.headers, data))
        assert (told["status"], await again(sidecar, told["id"])) == ("completed", told)

    async def test_a_conversation_in_the_body_has_one_too_also_over_a_websocket(
        self, sidecar: Sidecar, upstream: Upstream, gate
    ):
        await self.behind(sidecar, upstream, gate)
        upstream.will(says("two"))
        gate.set()
        await sidecar.send("POST", RESPONSES, data=b'{"input":"2"}', headers=self.APPEND)
        gate.clear()
        upstream.will(waits(gate, says("three")), says("four"))
        third = asyncio.create_task(asked(sidecar, asyncio.Event(), conversation="a", input="3"))
        await eventually(lambda: len(upstream.requests) == 3)
        async with sidecar.http.ws_connect(sidecar.url + RESPONSES) as socket:
            about = {"type": "response.create", "model": "m", "conversation": "a", "input": "4"}
            await socket.send_str(json.dumps(about))
            events: list[dict[str, Any]] = []
            while not events or events[-1]["type"] != "response.completed":
                events.append(json.loads((await socket.receive(timeout=5)).data))
                if len(events) == 4:
                    assert len(upstream.requests) == 3
                    gate.set()
        assert [each["type"] for each in events[:4]] == ["response.created", *3 * ["response.in_progress"]]
        assert events[0]["headers"] == {"X-Conversation-ID": "a"}
        assert (await third).status == 200
        assert upstream.last.said == ["1", "one", "2", "two", "3", "three", "4"]
        assert await again(sidecar, events[-1]["response"]["id"]) == events[-1]["response"]

    async def test_one_that_waits_for_too_long_fails(self, start: Start, upstream: Upstream, gate):
        sidecar = await start(responses=TRANSLATED, history={"append_wait": 0.8})
        await self.behind(sidecar, upstream, gate)
        response = last(await asked(sidecar, asyncio.Event(), self.APPEND, input="2"))
        assert (response["status"], response["error"]["code"]) == ("failed", "conversation_busy")
        assert "history.append_wait" in response["error"]["message"]
        whole = await sidecar.send("POST", RESPONSES, data=b'{"input":"2"}', headers=self.APPEND)
        assert (whole.status, whole.json["error"]["code"]) == (409, "conversation_busy")
        assert len(upstream.requests) == 1
        assert await again(sidecar, response["id"]) is None

    async def test_one_whose_client_leaves_is_asked_of_nobody_and_gives_up_its_place(
        self, sidecar: Sidecar, upstream: Upstream, gate
    ):
        first = await self.behind(sidecar, upstream, gate)
        url = sidecar.url + RESPONSES
        async with sidecar.http.post(url, data=request("2"), headers=self.APPEND) as response:
            assert SIGN in await response.content.readany() + await response.content.readany()
        gate.set()
        assert (await first).status == 200
        assert (await asked(sidecar, gate, self.APPEND, input="3")).status == 200
        assert [each.said for each in upstream.requests] == [["1"], ["1", "one", "3"]]

    async def test_one_whose_conversation_is_taken_away_meanwhile_fails(
        self, sidecar: Sidecar, upstream: Upstream, gate
    ):
        made = (await sidecar.send("POST", "/v1/conversations", data=b"{}")).json["id"]
        upstream.will(waits(gate, says("one")))
        first = asyncio.create_task(asked(sidecar, asyncio.Event(), conversation=made, input="1"))
        await eventually(lambda: upstream.requests)
        data = b""
        url, asks = sidecar.url + RESPONSES, request("2", conversation=made)
        async with asyncio.timeout(20), sidecar.http.post(url, data=asks) as response:
            async for piece in response.content.iter_any():
                data += piece
                if data.count(SIGN) >= 3 and not first.cancelling() and not first.done():
                    await sidecar.send("DELETE", f"/v1/conversations/{made}")
                    first.cancel()
        told = last(Reply(response.status, response.headers, data))
        assert (told["status"], told["error"]["code"]) == ("failed", "conversation_not_found")
        assert len(upstream.requests) == 1

    async def test_so_does_one_that_would_be_told_under_another_id_than_it_began_with(
        self, sidecar: Sidecar, upstream: Upstream, gate
    ):
        """A chat that was named late (LibreChat) is found by that name alone until it is deleted."""
        first = (await ask_for(sidecar, "1")).json
        whole = [said("user", "1"), *first["output"], said("user", "2")]
        assert (await ask_for(sidecar, whole, named("a"))).outcome == "continue"
        id = (await sidecar.only()).conversation["id"]
        upstream.will(waits(gate, says("three")))
        third = asyncio.create_task(ask_for(sidecar, "3", self.APPEND))
        await eventually(lambda: len(upstream.requests) == 3)
        data = b""
        url, asks = sidecar.url + RESPONSES, request("4")
        async with asyncio.timeout(20), sidecar.http.post(url, data=asks, headers=self.APPEND) as response:
            async for piece in response.content.iter_any():
                data += piece
                if data.count(SIGN) >= 3 and not third.cancelling() and not third.done():
                    assert (await sidecar.send("DELETE", f"/v1/conversations/{id}")).status == 200
                    third.cancel()
        told = last(Reply(response.status, response.headers, data))
        assert (told["status"], told["error"]["code"]) == ("failed", "conversation_busy")
        assert len(upstream.requests) == 3
        assert await again(sidecar, told["id"]) is None

    async def test_what_it_waited_for_in_line_counts(
        self, sidecar: Sidecar, upstream: Upstream, gate, monkeypatch: pytest.MonkeyPatch
    ):
        """An hour that has passed since it came is not waited for anew."""
        monkeypatch.setattr(Events, "patience", 3600.0)

        class Later:
            time = staticmethod(time.time)

            @staticmethod
            def monotonic() -> float:
                return time.monotonic() + 3600

        monkeypatch.setattr("sidecar.proxy.translated.time", Later)
        upstream.will(waits(gate, says("Hello.")))
        url = sidecar.url + RESPONSES
        async with asyncio.timeout(5), sidecar.http.post(url, data=request()) as response:
            assert SIGN in await response.content.readany()
            gate.set()
            assert b"response.completed" in await response.content.read()

    async def test_room_at_a_target_is_waited_for_with_signs_of_life(self, start: Start, gate):
        async with upstreams("one") as (one,):
            one.otherwise = waits(gate, says("ok"))
            target = {"name": "one", "url": one.url, "models": ["*"], "parallel": 1}
            sidecar = await start(responses=TRANSLATED, targets=[target], retries={"wait_for_room": 10})
            first = asyncio.create_task(sidecar.send("POST", RESPONSES, data=b'{"model":"m","input":"1"}'))
            await eventually(lambda: one.requests)
            data = b""
            async with (
                asyncio.timeout(20),
                sidecar.http.post(sidecar.url + RESPONSES, data=request("2")) as response,
            ):
                async for piece in response.content.iter_any():
                    data += piece
                    if data.count(SIGN) >= 3 and not gate.is_set():
                        assert len(one.requests) == 1
                        gate.set()
            assert last(Reply(response.status, response.headers, data))["status"] == "completed"
            assert (await first).status == 200

    async def test_in_the_background_it_is_answered_at_once_and_made_in_its_turn(
        self, sidecar: Sidecar, upstream: Upstream, gate
    ):
        first = await self.behind(sidecar, upstream, gate)
        upstream.will(says("two"))
        data = b'{"model":"m","input":"2","background":true}'
        async with asyncio.timeout(5):
            told = (await sidecar.send("POST", RESPONSES, data=data, headers=self.APPEND)).json
        await settled()
        assert (await again(sidecar, told["id"]), len(upstream.requests)) == (told, 1)
        assert told["status"] == "queued"
        gate.set()
        assert (await first).status == 200
        async with asyncio.timeout(5):
            while (response := await again(sidecar, told["id"]))["status"] != "completed":
                await asyncio.sleep(0.01)
        assert response["output"][0]["content"][0]["text"] == "two"
        assert upstream.last.said == ["1", "one", "2"]


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
