"""Responses that are made in the background: asked for, followed, cancelled, and what becomes of them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.dialects.responses import events_in
from tests.proxy.client import Reply, Sidecar, assert_error, eventually, named
from tests.proxy.client_keys import bearer, new_key
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import (
    CUT,
    Answer,
    Upstream,
    cuts,
    event,
    says,
    sends,
    streams,
    told,
    waits,
)
from tests.proxy.process import serving

RESPONSES = "/v1/responses"
TRANSLATED = {"upstream": "translate"}
ADA, BOB = ({"Authorization": f"Bearer {key}"} for key in ("ada", "bob"))
KEY = {"encryption": {"key": "A" * 43 + "="}}


@pytest.fixture
async def sidecar(start: Start) -> Sidecar:
    return await start(responses=TRANSLATED)


@pytest.fixture
def gate() -> asyncio.Event:
    """The upstream says `Hello`, and waits for this before the rest."""
    return asyncio.Event()


def halting(gate: asyncio.Event) -> Answer:
    return streams(event({"content": "Hello"}), gate, *told(" to you")[1:])


async def ask(
    sidecar: Sidecar, input: Any = "hi", headers: dict[str, str] | None = None, **body: Any
) -> Reply:
    data = json.dumps({"model": "m", "input": input, "background": True, **body}).encode()
    return await sidecar.send("POST", RESPONSES, data=data, headers=headers)


async def begun(sidecar: Sidecar, *input: Any, **body: Any) -> str:
    reply = await ask(sidecar, *input, **body)
    assert (reply.status, reply.json["status"]) == (200, "queued"), reply.body
    id: str = reply.json["id"]
    return id


async def do(
    sidecar: Sidecar, method: str, id: str, more: str = "", headers: dict[str, str] | None = None
) -> Reply:
    return await sidecar.send(method, f"{RESPONSES}/{id}{more}", headers=headers)


async def get(sidecar: Sidecar, id: str) -> Any:
    return (await do(sidecar, "GET", id)).json


async def until(sidecar: Sidecar, id: str, *statuses: str) -> Any:
    async with asyncio.timeout(5):
        while (response := await get(sidecar, id))["status"] not in statuses:
            await asyncio.sleep(0.01)
    return response


async def follow(sidecar: Sidecar, id: str, after: int | None = None) -> bytes:
    more = "" if after is None else f"&starting_after={after}"
    async with asyncio.timeout(5):
        return (await do(sidecar, "GET", id, f"?stream=true{more}")).body


async def until_told(sidecar: Sidecar, id: str, words: bytes) -> None:
    """Follow it until these have come, and leave."""
    seen = b""
    async with asyncio.timeout(5), sidecar.http.get(f"{sidecar.url}{RESPONSES}/{id}?stream=true") as response:
        while words not in seen:
            seen += await response.content.readany()


def text_of(response: Any) -> str:
    return "".join(part["text"] for item in response["output"] for part in item["content"])


def behind(stream: bytes, number: int) -> bytes:
    """What of a stream is told behind the event of this number."""
    return b"".join(stream.partition(b"data: [DONE]")[0].split(b"\n\n")[number + 1 :])


def compact(stream: bytes) -> bytes:
    return b"".join(stream.partition(b"data: [DONE]")[0].split(b"\n\n"))


class TestOne:
    async def test_it_is_answered_at_once_and_made_though_its_client_has_gone(
        self, sidecar: Sidecar, upstream: Upstream, gate: asyncio.Event
    ):
        upstream.will(waits(gate, says("Hello.")))
        reply = await ask(sidecar, metadata={"a": "b"}, tools=[{"type": "web_search"}])
        assert reply.headers["Content-Type"] == "application/json"
        assert (reply.headers["X-Sidecar-Untranslated"], "X-Conversation-ID" in reply.headers) == (
            "web_search",
            True,
        )
        first = reply.json
        assert (first["status"], first["output"], first["background"]) == ("queued", [], True)
        assert await get(sidecar, first["id"]) == first
        gate.set()
        over = await until(sidecar, first["id"], "completed")
        assert (text_of(over), over["created_at"], over["metadata"]) == (
            "Hello.",
            first["created_at"],
            {"a": "b"},
        )
        assert (await sidecar.only()).texts == ["hi", "Hello."]
        assert "background" not in upstream.last.json

    async def test_it_is_told_the_same_at_its_end_and_afterwards(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(says("Hello to you"))
        stream = await follow(sidecar, id := await begun(sidecar))
        events = events_in(stream)
        assert [each["type"] for each in events[:3]] == [
            "response.created",
            "response.queued",
            "response.in_progress",
        ]
        assert {each["response"]["status"] for each in events[:2]} == {"queued"}
        assert events[-1]["response"] == await get(sidecar, id)
        assert await follow(sidecar, id) == stream

    async def test_its_client_may_follow_it_from_the_beginning(
        self, sidecar: Sidecar, upstream: Upstream, gate: asyncio.Event
    ):
        upstream.will(halting(gate))
        data = json.dumps({"input": "hi", "background": True, "stream": True}).encode()
        seen = b""
        async with sidecar.http.post(sidecar.url + RESPONSES, data=data) as response:
            assert response.headers["Content-Type"] == "text/event-stream"
            while b"Hello" not in seen:
                seen += await response.content.readany()
        id = json.loads(seen.split(b"data: ")[1].split(b"\n")[0])["response"]["id"]
        assert (await get(sidecar, id))["status"] == "in_progress"
        gate.set()
        whole = await follow(sidecar, id)
        assert whole.startswith(seen)
        assert text_of(events_in(whole)[-1]["response"]) == "Hello to you"

    @pytest.mark.parametrize("is_over", [True, False])
    async def test_it_is_followed_from_any_event_on(
        self, sidecar: Sidecar, upstream: Upstream, gate: asyncio.Event, is_over: bool
    ):
        upstream.will(halting(gate))
        id = await begun(sidecar)
        await until_told(sidecar, id, b"Hello")
        if is_over:
            gate.set()
        work = asyncio.gather(
            *(follow(sidecar, id, after) for after in (0, 3, 5, 10_000)), follow(sidecar, id)
        )
        await asyncio.sleep(0)
        gate.set()
        *some, whole = await work
        assert [compact(each) for each in some] == [
            behind(whole, 0),
            behind(whole, 3),
            behind(whole, 5),
            b"",
        ]

    async def test_one_goes_on_from_it_once_it_is_over(self, sidecar: Sidecar, upstream: Upstream):
        upstream.will(says("one"))
        id = await begun(sidecar, "1")
        await until(sidecar, id, "completed")
        await until(sidecar, await begun(sidecar, "2", previous_response_id=id), "completed")
        assert upstream.last.said == ["1", "one", "2"]
        items = (await do(sidecar, "GET", id, "/input_items")).json["data"]
        assert [each["content"][0]["text"] for each in items] == ["1"]

    async def test_it_goes_on_in_a_conversation(self, sidecar: Sidecar, upstream: Upstream):
        made = (await sidecar.send("POST", "/v1/conversations", data=b"{}")).json["id"]
        for number in "12":
            over = await until(sidecar, await begun(sidecar, number, conversation=made), "completed")
            assert over["conversation"] == {"id": made}
        assert upstream.last.said == ["1", "ok", "2"]

    async def test_no_word_of_it_can_be_read_in_an_encrypted_store(
        self, start: Start, upstream: Upstream, gate: asyncio.Event, tmp_path: Path
    ):
        sidecar = await start(responses=TRANSLATED, **KEY)
        upstream.will(streams(event({"content": "Zeppelin"}), gate, *told(".")[1:]))
        id = await begun(sidecar, instructions="Xylophone.")
        await until_told(sidecar, id, b"Zeppelin")
        gate.set()
        assert text_of(await until(sidecar, id, "completed")) == "Zeppelin."
        assert text_of(events_in(await follow(sidecar, id))[-1]["response"]) == "Zeppelin."
        kept = b"".join(each.read_bytes() for each in tmp_path.glob("sidecar.db*"))
        assert b"Xylophone" not in kept
        assert b"Zeppelin" not in kept


class TestCancelling:
    @pytest.mark.parametrize("on_disconnect", ["cancel", "finish"])
    async def test_it_ends_the_upstreams_work_and_half_an_answer_stays(
        self, start: Start, upstream: Upstream, gate: asyncio.Event, on_disconnect: str
    ):
        sidecar = await start(responses=TRANSLATED, history={"on_disconnect": on_disconnect})
        upstream.will(halting(gate))
        id = await begun(sidecar)
        await until_told(sidecar, id, b"Hello")
        following = asyncio.ensure_future(follow(sidecar, id))
        reply = await do(sidecar, "POST", id, "/cancel")
        assert (reply.status, reply.json["status"], text_of(reply.json)) == (200, "cancelled", "Hello")
        await asyncio.wait_for(upstream.last.gone.wait(), 5)
        assert (await sidecar.only()).texts == ["hi", "Hello (partial)"]
        last = events_in(await following)[-1]
        assert (last["type"], last["response"]) == ("response.incomplete", reply.json)
        for method, more in (("POST", "/cancel"), ("GET", "")):
            assert (await do(sidecar, method, id, more)).json == reply.json

    @pytest.mark.parametrize("on_disconnect", ["cancel", "finish"])
    async def test_so_it_is_before_the_upstream_answers(
        self, start: Start, upstream: Upstream, gate: asyncio.Event, on_disconnect: str
    ):
        sidecar = await start(responses=TRANSLATED, history={"on_disconnect": on_disconnect})
        upstream.will(waits(gate, says()))
        id = await begun(sidecar)
        await eventually(lambda: upstream.requests)
        reply = await do(sidecar, "POST", id, "/cancel")
        assert (reply.json["status"], reply.json["output"]) == ("cancelled", [])
        await asyncio.wait_for(upstream.last.gone.wait(), 5)
        assert await get(sidecar, id) == reply.json
        assert events_in(await follow(sidecar, id))[-1]["response"] == reply.json

    async def test_one_that_is_over_stays_as_it_is(self, sidecar: Sidecar):
        over = await until(sidecar, id := await begun(sidecar), "completed")
        assert (await do(sidecar, "POST", id, "/cancel")).json == over

    async def test_one_whose_client_waited_for_it_is_none_to_cancel_or_follow(self, sidecar: Sidecar):
        id = (await ask(sidecar, background=False)).json["id"]
        assert_error(await do(sidecar, "POST", id, "/cancel"), 400, "invalid_request")
        assert_error(await do(sidecar, "GET", id, "?stream=true"), 400, "unsupported_value")

    async def test_that_of_another_tenant_is_as_unknown_as_any(
        self, sidecar: Sidecar, upstream: Upstream, gate: asyncio.Event
    ):
        upstream.will(halting(gate))
        id = await begun(sidecar, "hi", ADA)
        never = "resp_" + "0" * 20 + id[25:]
        calls = (("GET", ""), ("GET", "?stream=true"), ("POST", "/cancel"), ("DELETE", ""))
        for headers, asked in ((BOB, id), (ADA, never), (BOB, "x")):
            for method, more in calls:
                reply = await do(sidecar, method, asked, more, headers)
                assert_error(reply, 404, "response_not_found")
        assert (await do(sidecar, "GET", id, "", ADA)).json["status"] in ("queued", "in_progress")
        gate.set()


async def tell_follow_cancel(upstream: Upstream, one: Sidecar, other: Sidecar) -> None:
    gate = asyncio.Event()
    upstream.will(halting(gate), halting(asyncio.Event()))
    id = await begun(one)
    await until_told(other, id, b"Hello")
    assert (await get(other, id))["status"] == "in_progress"
    following = [asyncio.ensure_future(follow(each, id, 3)) for each in (one, other)]
    gate.set()
    here, there = await asyncio.gather(*following)
    assert here == there
    assert await get(other, id) == await get(one, id)

    id = await begun(one)
    await until_told(other, id, b"Hello")
    async with asyncio.timeout(5):
        reply = await do(other, "POST", id, "/cancel")
    assert (reply.json["status"], text_of(reply.json)) == ("cancelled", "Hello")
    assert await get(one, id) == reply.json
    assert events_in(await follow(other, id))[-1]["response"] == reply.json


class TestOtherProcesses:
    async def test_any_of_them_tells_follows_and_cancels_it(self, start: Start, upstream: Upstream):
        await tell_follow_cancel(upstream, *[await start(responses=TRANSLATED) for _ in range(2)])

    @pytest.mark.parametrize("about", [{}, KEY])
    async def test_so_does_any_replica(
        self, start: Start, upstream: Upstream, postgres_url: str, about: dict[str, Any]
    ):
        replicas = [await start(responses=TRANSLATED, store=postgres_url, **about) for _ in range(2)]
        await tell_follow_cancel(upstream, *replicas)

    async def test_after_a_crash_it_has_failed(
        self, start: Start, upstream: Upstream, gate: asyncio.Event, tmp_path: Path
    ):
        sidecar = await start(responses=TRANSLATED)
        upstream.will(halting(gate))
        flags = ("--upstream", upstream.url)
        async with serving(*flags, folder=tmp_path, SIDECAR_RESPONSES__UPSTREAM="translate") as process:
            crashing = Sidecar(process.url, sidecar.settings, sidecar.http)
            id = await begun(crashing)
            await until_told(sidecar, id, b"Hello")
            following = asyncio.ensure_future(follow(sidecar, id))
            process.running.kill()
            await process.running.wait()
        response = await until(sidecar, id, "failed")
        assert response["error"]["code"] == "server_error"
        events = events_in(await following)
        assert [each["type"] for each in events[-2:]] == ["error", "response.failed"]
        assert events[-1]["response"] == response
        assert (await do(sidecar, "POST", id, "/cancel")).json == response

    async def test_one_of_whose_process_nothing_is_heard_has_failed(
        self,
        start: Start,
        upstream: Upstream,
        gate: asyncio.Event,
        monkeypatch: pytest.MonkeyPatch,
    ):
        one, other = [await start(responses=TRANSLATED) for _ in range(2)]
        upstream.will(halting(gate))
        id = await begun(one)
        await until_told(other, id, b"Hello")
        monkeypatch.setattr("sidecar.proxy.follow.SILENT", -1.0)
        response = await get(other, id)
        assert (response["status"], response["output"]) == ("failed", [])
        # The one that makes it finds that it is taken for dead, and ends.
        await asyncio.wait_for(upstream.last.gone.wait(), 5)
        assert events_in(await follow(one, id))[-1]["response"] == response


class TestWhatGoesWrong:
    @pytest.mark.parametrize(
        ("answer", "words"),
        [
            (sends(b'{"error":{"message":"no money"}}', status=402), "no money"),
            (sends(b"<html>", status=502), "html"),
            (streams(event({"content": "Hel"}), CUT), "broke off"),
            (cuts(), "upstream"),
        ],
    )
    async def test_an_upstream_that_fails_is_a_response_that_failed(
        self, sidecar: Sidecar, upstream: Upstream, answer: Answer, words: str
    ):
        upstream.otherwise = answer
        response = await until(sidecar, id := await begun(sidecar), "failed")
        assert words in response["error"]["message"]
        events = events_in(await follow(sidecar, id))
        assert [each["type"] for each in events[-2:]] == ["error", "response.failed"]
        assert events[-1]["response"] == response

    async def test_at_the_end_of_its_process_it_has_failed_with_what_it_said(
        self, start: Start, upstream: Upstream, gate: asyncio.Event, tmp_path: Path
    ):
        upstream.will(halting(gate))
        flags = ("--upstream", upstream.url)
        quick = {"SIDECAR_RESPONSES__UPSTREAM": "translate", "SIDECAR_TIMEOUTS__SHUTDOWN": "0.1"}
        sidecar = await start(responses=TRANSLATED)
        async with serving(*flags, folder=tmp_path, **quick) as process:
            id = await begun(Sidecar(process.url, sidecar.settings, sidecar.http))
            await until_told(sidecar, id, b"Hello")
            process.running.terminate()
            assert await asyncio.wait_for(process.running.wait(), 10) == 0
        response = await get(sidecar, id)
        assert (response["status"], text_of(response)) == ("failed", "Hello")
        assert events_in(await follow(sidecar, id))[-1]["response"] == response

    @pytest.mark.parametrize(
        ("body", "headers", "param"),
        [
            ({"store": False}, {}, "background"),
            ({"background": "yes"}, {}, "background"),
            ({}, {"X-Sidecar-History": "off"}, "background"),
            ({}, named("local:1"), "background"),
            ({"previous_response_id": "resp_1"}, {}, "previous_response_id"),
            ({"input": 1}, {}, "input"),
        ],
    )
    async def test_what_cannot_be_is_refused_and_reaches_no_upstream(
        self, sidecar: Sidecar, upstream: Upstream, body: dict[str, Any], headers: dict[str, str], param: str
    ):
        reply = await ask(sidecar, headers=headers, **body)
        assert (reply.status, reply.json["error"]["param"]) == (400, param)
        assert upstream.requests == []

    async def test_a_process_that_makes_none_asks_the_store_for_nothing(
        self, sidecar: Sidecar, upstream: Upstream, gate: asyncio.Event
    ):
        def looks() -> bool:
            return any("Runs._watch" in repr(each.get_coro()) for each in asyncio.all_tasks())

        assert not looks()
        upstream.will(halting(gate))
        id = await begun(sidecar)
        assert looks()
        gate.set()
        await until(sidecar, id, "completed")
        await eventually(lambda: not looks())

    async def test_as_many_as_may_be_are_made_at_once(
        self, start: Start, upstream: Upstream, gate: asyncio.Event
    ):
        sidecar = await start(responses=TRANSLATED, limits={"background_responses": 1})
        upstream.will(halting(gate))
        await begun(sidecar)
        reply = await ask(sidecar)
        assert_error(reply, 429, "too_many_background_responses")
        assert reply.headers["Retry-After"] == "5"
        gate.set()
        async with asyncio.timeout(5):
            while (await ask(sidecar)).status != 200:
                await asyncio.sleep(0.01)

    async def test_it_counts_for_its_clients_key_until_it_is_over_and_can_be_cancelled(
        self, start: Start, upstream: Upstream, gate: asyncio.Event
    ):
        sidecar = await start(responses=TRANSLATED, keys={"enforcement": "required"})
        key = bearer(await new_key(sidecar.settings, parallel=1))
        upstream.will(halting(gate))
        id = (await ask(sidecar, "hi", key)).json["id"]
        assert (await do(sidecar, "GET", id, "", key)).status == 200
        assert (await ask(sidecar, "hi", key)).status == 429
        assert (await do(sidecar, "POST", id, "/cancel", key)).json["status"] == "cancelled"
        async with asyncio.timeout(5):
            while (await ask(sidecar, "hi", key)).status != 200:
                await asyncio.sleep(0.01)

    async def test_one_with_more_events_than_are_kept_is_made_and_cannot_be_followed(
        self, start: Start, upstream: Upstream, gate: asyncio.Event
    ):
        sidecar = await start(responses=TRANSLATED, limits={"background_events": 4000})
        upstream.will(streams(event({"content": "Hello"}), gate, *told(" to you" * 200)[1:]))
        id = await begun(sidecar)
        seen = b""
        async with sidecar.http.get(f"{sidecar.url}{RESPONSES}/{id}?stream=true") as following:
            while b"Hello" not in seen:
                seen += await following.content.readany()
            gate.set()
            assert len(text_of(await until(sidecar, id, "completed"))) > 1000
            last = events_in(seen + await asyncio.wait_for(following.read(), 5))[-1]
        assert (last["type"], last["code"]) == ("error", "events_not_kept")
        reply = await do(sidecar, "GET", id, "?stream=true&starting_after=10")
        assert "limits.background_events" in assert_error(reply, 400, "events_not_kept")["message"]

    @pytest.mark.parametrize("said", ["x", "-2", "", "1e3", "9" * 30])
    async def test_no_number_is_no_event(self, sidecar: Sidecar, said: str):
        reply = await do(sidecar, "GET", await begun(sidecar), f"?stream=true&starting_after={said}")
        assert_error(reply, 400, "invalid_value")


class TestDeleting:
    async def test_one_that_is_being_made_ends_and_is_gone(
        self, sidecar: Sidecar, upstream: Upstream, gate: asyncio.Event
    ):
        upstream.will(halting(gate))
        id = await begun(sidecar)
        await until_told(sidecar, id, b"Hello")
        assert (await do(sidecar, "DELETE", id)).json["deleted"] is True
        await asyncio.wait_for(upstream.last.gone.wait(), 5)
        for method, more in (("GET", ""), ("GET", "?stream=true"), ("POST", "/cancel"), ("DELETE", "")):
            assert_error(await do(sidecar, method, id, more), 404, "response_not_found")
        assert (await sidecar.only()).texts == ["hi", "Hello (partial)"]

    async def test_one_that_came_to_nothing_can_be_deleted(self, sidecar: Sidecar, upstream: Upstream):
        upstream.otherwise = cuts()
        id = await begun(sidecar)
        await until(sidecar, id, "failed")
        assert (await do(sidecar, "DELETE", id)).status == 200
        assert_error(await do(sidecar, "GET", id), 404, "response_not_found")

    async def test_with_its_conversation_it_ends_and_nothing_of_it_comes_back(
        self, sidecar: Sidecar, upstream: Upstream, gate: asyncio.Event
    ):
        made = (await sidecar.send("POST", "/v1/conversations", data=b"{}")).json["id"]
        upstream.will(halting(gate))
        id = await begun(sidecar, conversation=made)
        seen = b""
        async with sidecar.http.get(f"{sidecar.url}{RESPONSES}/{id}?stream=true") as following:
            while b"Hello" not in seen:
                seen += await following.content.readany()
            assert (await sidecar.send("DELETE", f"/v1/conversations/{made}")).status == 200
            await asyncio.wait_for(upstream.last.gone.wait(), 5)
            last = events_in(seen + await asyncio.wait_for(following.read(), 5))[-1]
        assert (last["type"], last["code"]) == ("error", "response_not_found")
        assert await sidecar.stored() == []
        assert_error(await do(sidecar, "GET", id), 404, "response_not_found")
