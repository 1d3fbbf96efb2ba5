"""The Responses API over a WebSocket, as Codex and OpenAI's SDKs speak it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, WSServerHandshakeError

from sidecar.logs import EXCHANGES
from sidecar.server.serve import running
from sidecar.settings.sections import Timeouts
from tests.dialects.responses import chunk, output, piece, said, streamed
from tests.proxy.client import Sidecar, eventually
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Upstream, event, says, sends, streams

RESPONSES = "/v1/responses"
TRANSLATED = {"upstream": "translate"}
THREAD = "01a22034-26f0-7d91-8dbe-af6c09da2970"
CODEX = {"thread-id": THREAD, "session-id": THREAD, "openai-beta": "responses_websockets=2026-02-06"}
SHELL = {"type": "function", "name": "shell", "strict": False, "parameters": {"type": "object"}}
Event = dict[str, Any]


@pytest.fixture
async def sidecar(start: Start) -> Sidecar:
    return await start(responses=TRANSLATED)


class Socket:
    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.raw = socket

    async def send(self, input: Any, **body: Any) -> None:
        told = {"type": "response.create", "model": "m", "input": input, **body}
        await self.raw.send_str(json.dumps(told))

    async def event(self) -> Event:
        message = await self.raw.receive(timeout=5)
        assert message.type is WSMsgType.TEXT, message
        told: Event = json.loads(message.data)
        return told

    async def rest(self) -> list[Event]:
        """The events up to the end of an answer, or to an error in its place."""
        events = [await self.event()]
        while "response" not in events[-1] or events[-1]["response"]["status"] == "in_progress":
            if "status" in events[-1]:
                return events
            events.append(await self.event())
        assert [each["sequence_number"] for each in events] == list(range(len(events)))
        return events

    async def ask(self, input: Any, **body: Any) -> Event:
        """The response."""
        await self.send(input, **body)
        events = await self.rest()
        response: Event = events[-1]["response"]
        return response

    async def refused(self, input: Any, **body: Any) -> Event:
        """The error in place of an answer."""
        await self.send(input, **body)
        (told,) = await self.rest()
        assert told["type"] == "error"
        assert told["error"].keys() == {"type", "code", "message", "param"}
        return {"status": told["status"], **told["error"]}


@asynccontextmanager
async def connected(sidecar: Sidecar, headers: Mapping[str, str] | None = None):
    async with sidecar.http.ws_connect(sidecar.url + RESPONSES, headers=headers) as socket:
        yield Socket(socket)


def texts(response: Event) -> list[str]:
    return [part["text"] for item in response["output"] for part in item.get("content", ())]


def calls(*deltas: Any) -> Any:
    return streams(streamed(*map(chunk, deltas), chunk(finish="tool_calls")))


class TestOneRequest:
    async def test_its_events_are_those_of_a_stream(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(says("Hello to you"))
        async with connected(sidecar) as socket:
            await socket.send("hi", stream=False)
            events = await socket.rest()
        assert [each["type"] for each in events] == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            *3 * ["response.output_text.delta"],
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
        assert texts(events[-1]["response"]) == ["Hello to you"]
        assert upstream.last.target == "/v1/chat/completions"
        assert (await sidecar.only()).texts == ["hi", "Hello to you"]

    async def test_of_the_handshake_nothing_but_its_headers_goes_on(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        headers = {"Authorization": "Bearer k", "X-Conversation-ID": "a", "x-stainless-retry-count": "1"}
        async with connected(sidecar, headers) as socket:
            await socket.ask("hi")
        sent = upstream.last.headers
        assert (sent["Authorization"], sent["X-Conversation-ID"]) == ("Bearer k", "a")
        assert not [name for name in sent if name.lower().startswith(("sec-websocket", "upgrade"))]
        assert "x-stainless-retry-count" not in sent
        assert (await sidecar.only()).key == "a"

    async def test_what_headers_tell_over_http_its_first_event_does(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        upstream.will(says("one"), says("two"), sends(b"{}", status=429, headers={"Retry-After": "7"}))
        told = []
        async with connected(sidecar, {"X-Conversation-ID": "a"}) as socket:
            for each in ("1", "2", "3"):
                await socket.send(each, tools=[{"type": "web_search"}])
                events = await socket.rest()
                assert not [at for at, event in enumerate(events) if at and "headers" in event]
                told.append(events[0]["headers"])
            await socket.send("4", generate=False, store=False, tools=[{"type": "mcp"}])
            told.append((await socket.rest())[0]["headers"])
        done = {"X-Conversation-ID": "a", "X-Sidecar-Untranslated": "web_search"}
        assert told[0] == {"X-Sidecar-Outcome": "start", **done}
        assert told[1] == {"X-Sidecar-Outcome": "append", "X-Sidecar-Restored": "2", **done}
        assert told[2].items() >= {"Retry-After": "7", "X-Conversation-ID": "a"}.items()
        assert told[3] == {"X-Sidecar-Untranslated": "mcp"}

    async def test_one_follows_another_and_a_second_one_waits(self, sidecar: Sidecar, upstream: Upstream):
        gate = asyncio.Event()
        upstream.will(streams(gate, streamed(chunk({"content": "one"}), chunk(finish="stop"))), says("two"))
        async with connected(sidecar) as socket:
            await socket.send("1")
            await socket.send("2")
            await eventually(lambda: upstream.requests)
            gate.set()
            assert texts((await socket.rest())[-1]["response"]) == ["one"]
            assert texts((await socket.rest())[-1]["response"]) == ["two"]
        assert [each.said for each in upstream.requests] == [["1"], ["2"]]

    async def test_a_large_one_is_as_any_other(self, sidecar: Sidecar, upstream: Upstream):
        async with connected(sidecar) as socket:
            assert (await socket.ask("x" * 2_000_000))["status"] == "completed"
        assert upstream.last.said == ["x" * 2_000_000]

    async def test_a_client_that_leaves_ends_the_upstreams_work(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(streams(event({"content": "Hel"}), asyncio.Event()))
        async with connected(sidecar) as socket:
            await socket.send("hi")
            while (await socket.event())["type"] != "response.output_text.delta":
                pass
        await asyncio.wait_for(upstream.last.gone.wait(), 5)
        async with asyncio.timeout(5):
            while not (stored := await sidecar.stored()) or stored[0].texts != ["hi", "Hel (partial)"]:
                await asyncio.sleep(0.02)

    async def test_what_is_asked_is_answered_before_the_sidecar_ends_and_it_waits_for_nothing_else(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        settings = sidecar.settings.model_copy(update={"timeouts": Timeouts(shutdown=60)})
        gate = asyncio.Event()
        upstream.will(
            streams(event({"content": "Hel"}), gate, streamed(chunk({"content": "lo"}), chunk(finish="stop")))
        )
        async with AsyncExitStack() as stack:
            ending = AsyncExitStack()
            url = await ending.enter_async_context(running(settings))
            other = Sidecar(url, settings, sidecar.http)
            idle = await stack.enter_async_context(connected(other))
            asking = await stack.enter_async_context(connected(other))
            await asking.send("hi")
            while (await asking.event())["type"] != "response.output_text.delta":
                pass
            end = asyncio.create_task(ending.aclose())
            gate.set()
            while "response" not in (told := await asking.event()):
                pass
            assert texts(told["response"]) == ["Hello"]
            await asyncio.wait_for(end, 10)
            bye = await idle.raw.receive(timeout=5)
            assert (bye.type, bye.data) == (WSMsgType.CLOSE, 1001)

    async def test_each_is_found_again_by_an_id_of_its_own(
        self, start: Start, upstream: Upstream, caplog: pytest.LogCaptureFixture
    ):
        sidecar = await start(
            responses=TRANSLATED, logs={"requests": True}, inspector={"keep_requests": "all"}
        )
        with caplog.at_level(logging.INFO, EXCHANGES):
            async with connected(sidecar, {"X-Request-ID": "req_of_the_handshake"}) as socket:
                await socket.ask("1")
                await socket.ask("2")
        ids = [each.headers["X-Request-ID"] for each in upstream.requests]
        assert len(set(ids)) == 2
        told = [each.__dict__.get("request") for each in caplog.records]
        assert [id for id in ids if id not in told] == []

    async def test_by_default_a_socket_is_the_upstreams(self, start: Start):
        sidecar = await start()
        with pytest.raises(WSServerHandshakeError):
            async with connected(sidecar):
                pass


class TestGoingOn:
    async def test_what_is_kept_nowhere_is_held_by_the_connection(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(says("one"), calls(piece(0, "c1", "shell", "{}")), says("three"))
        async with connected(sidecar) as socket:
            first = await socket.ask("1", store=False)
            second = await socket.ask("2", store=False, previous_response_id=first["id"], tools=[SHELL])
            assert second["previous_response_id"] == first["id"]
            third = await socket.ask(
                [output("c1", "a.txt")], store=False, previous_response_id=second["id"], tools=[SHELL]
            )
        assert texts(third) == ["three"]
        roles = [each["role"] for each in upstream.last.json["messages"]]
        assert roles == ["user", "assistant", "user", "assistant", "tool"]
        assert await sidecar.stored() == []

    async def test_codex_sends_ahead_and_then_what_is_new(self, sidecar: Sidecar, upstream: Upstream):
        """The tools with each request, the rest once: bifrost #2441."""
        upstream.will(calls(piece(0, "c1", "shell", '{"cmd":"ls"}')), says("Done."))
        about = {"store": False, "stream": True, "tools": [SHELL], "prompt_cache_key": THREAD}
        async with connected(sidecar, CODEX) as socket:
            rules = [said("developer", "You are an agent.")]
            ahead = await socket.ask(rules, generate=False, **about)
            assert (ahead["status"], ahead["output"], upstream.requests) == ("completed", [], [])
            asks = [said("developer", "Sandbox: none."), said("user", "List.")]
            first = await socket.ask(asks, previous_response_id=ahead["id"], **about)
            last = await socket.ask([output("c1", "a.txt")], previous_response_id=first["id"], **about)
        assert texts(last) == ["Done."]
        assert upstream.last.said[:2] == ["You are an agent.\n\nSandbox: none.", "List."]
        stored = await sidecar.only()
        assert (stored.key, [each["message"]["role"] for each in stored.messages]) == (
            THREAD,
            ["user", "assistant", "tool", "assistant"],
        )

    async def test_what_is_sent_ahead_may_refer_to_items_that_are_kept(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        upstream.will(says("one"), says("two"))
        async with connected(sidecar) as socket:
            (item,) = (await socket.ask("1"))["output"]
            told = [said("user", "1"), {"type": "item_reference", "id": item["id"]}]
            ahead = await socket.ask(told, store=False, generate=False)
            await socket.ask("2", store=False, previous_response_id=ahead["id"])
        assert upstream.last.said == ["1", "one", "2"]

    async def test_what_is_kept_is_gone_on_from_over_any_connection(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        upstream.will(says("one"), says("two"), says("three"))
        async with connected(sidecar) as socket:
            first = await socket.ask("1")
            second = await socket.ask("2", previous_response_id=first["id"])
        async with connected(sidecar) as socket:
            await socket.ask("3", previous_response_id=second["id"])
        assert upstream.last.said == ["1", "one", "2", "two", "3"]

    async def test_what_was_held_ends_with_its_connection(self, sidecar: Sidecar, upstream: Upstream):
        async with connected(sidecar) as socket:
            first = await socket.ask("1", store=False)
        async with connected(sidecar) as socket:
            error = await socket.refused("2", store=False, previous_response_id=first["id"])
            assert (error["status"], error["code"]) == (400, "previous_response_not_found")
            assert (await socket.ask("1", store=False))["status"] == "completed"
        assert len(upstream.requests) == 2

    async def test_going_on_in_vain_ends_what_was_held(self, sidecar: Sidecar, upstream: Upstream):
        async with connected(sidecar) as socket:
            first = await socket.ask("1", store=False)
            about = {"store": False, "previous_response_id": first["id"]}
            error = await socket.refused([output("c9")], **about)
            assert error["message"] == "No tool call found for function call output with call_id 'c9'."
            error = await socket.refused("2", **about)
            assert error["code"] == "previous_response_not_found"
        assert len(upstream.requests) == 1

    async def test_so_does_an_answer_that_failed(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(says("one"), streams(streamed(chunk({"content": "Hel"}))))
        async with connected(sidecar) as socket:
            first = await socket.ask("1", store=False)
            second = await socket.ask("2", store=False, previous_response_id=first["id"])
            assert second["status"] == "failed"
            for id in (first["id"], second["id"]):
                error = await socket.refused("3", store=False, previous_response_id=id)
                assert error["code"] == "previous_response_not_found"

    async def test_without_room_nothing_is_held(self, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("sidecar.proxy.room.Room.take", lambda room, number: False)
        async with connected(sidecar) as socket:
            first = await socket.ask("1", store=False)
            error = await socket.refused("2", store=False, previous_response_id=first["id"])
        assert error["code"] == "previous_response_not_found"


class TestWhatGoesWrong:
    @pytest.mark.parametrize(
        ("data", "param"),
        [
            ("{", None),
            ("[]", None),
            ('{"type": "response.cancel"}', "type"),
            ('{"type": "response.create"}', "input"),
            ('{"type": "response.create", "input": 5}', "input"),
            ('{"type": "response.create", "input": "hi", "background": true}', "background"),
            ('{"type": "response.create", "input": "hi", "generate": false, "text": 5}', "text"),
        ],
    )
    async def test_what_cannot_be_read_is_refused_and_the_connection_goes_on(
        self, sidecar: Sidecar, upstream: Upstream, data: str, param: str | None
    ):
        async with connected(sidecar) as socket:
            await socket.raw.send_bytes(data.encode())
            told = await socket.event()
            assert (told["type"], told["status"], told["error"]["param"]) == ("error", 400, param)
            assert upstream.requests == []
            assert (await socket.ask("hi"))["status"] == "completed"

    async def test_an_error_of_the_upstreams_has_its_status(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(sends(b"<h1>no</h1>", status=429, headers={"Content-Type": "text/html"}))
        async with connected(sidecar) as socket:
            error = await socket.refused("hi")
        assert (error["status"], error["message"]) == (429, "<h1>no</h1>")

    async def test_an_upstream_that_cannot_be_reached_is_an_error_of_ours(self, start: Start):
        sidecar = await start(responses=TRANSLATED, upstream="http://127.0.0.1:9/v1")
        async with connected(sidecar) as socket:
            assert (await socket.refused("hi"))["status"] == 502

    @pytest.mark.parametrize(
        ("headers", "status"),
        [({"Origin": "https://evil.example"}, 403), ({"X-Conversation-ID": "x" * 300}, 400)],
    )
    async def test_whoever_may_not_ask_does_not_connect(
        self, sidecar: Sidecar, headers: dict[str, str], status: int
    ):
        with pytest.raises(WSServerHandshakeError) as refused:
            async with connected(sidecar, headers):
                pass
        assert refused.value.status == status

    async def test_a_message_that_is_too_large_ends_the_connection(self, start: Start):
        sidecar = await start(responses=TRANSLATED, limits={"websocket_message": 1000})
        async with connected(sidecar) as socket:
            await socket.send("x" * 1000)
            message = await socket.raw.receive(timeout=5)
            assert (message.type, message.data) == (WSMsgType.CLOSE, 1009)

    async def test_another_tenant_goes_on_from_nothing(self, sidecar: Sidecar, upstream: Upstream):
        """litellm #39559"""
        async with connected(sidecar, {"Authorization": "Bearer ada"}) as socket:
            first = await socket.ask("1")
        async with connected(sidecar, {"Authorization": "Bearer bob"}) as socket:
            error = await socket.refused("2", previous_response_id=first["id"])
        assert (error["status"], error["code"]) == (400, "previous_response_not_found")
        assert len(upstream.requests) == 1
