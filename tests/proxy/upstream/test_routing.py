"""Several targets: which model goes where, with which key and name, and what is told of them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.proxy.client import CHAT, assert_error, chat
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import DONE, Exchange, Upstream, event, says, sends, streams
from tests.proxy.path.test_exchange import rows
from tests.proxy.several import chats, target, upstreams


@pytest.fixture
async def other():
    async with upstreams("other") as (made,):
        yield made


def lists(*models: str | dict[str, Any], **more: Any):
    entries = [{"id": each, "object": "model"} if isinstance(each, str) else each for each in models]
    return sends(json.dumps({"object": "list", "data": entries}).encode(), **more)


class TestByModel:
    async def test_a_model_goes_to_the_target_that_names_it_and_every_other_to_the_upstream(
        self, start: Start, upstream: Upstream, other: Upstream
    ):
        sidecar = await start(targets=[target("other", other, models=["qwen*", "exact"])])
        for model, answers in (
            ("qwen2.5", "other"),
            ("exact", "other"),
            ("gpt", "default"),
            ("Qwen", "default"),
        ):
            reply = await sidecar.ask("hi", id=model, model=model)
            assert (reply.status, reply.headers["X-Sidecar-Target"]) == (200, answers)
        assert [each["model"] for each in chats(other)] == ["qwen2.5", "exact"]
        assert [each["model"] for each in chats(upstream)] == ["gpt", "Qwen"]
        targets = [each["target"] for each in await rows(sidecar, 4)]
        assert sorted(targets) == ["default", "default", "other", "other"]

    async def test_without_targets_nothing_is_said_of_any(self, start: Start, upstream: Upstream):
        sidecar = await start()
        assert "X-Sidecar-Target" not in (await sidecar.ask("hi", id="a")).headers
        assert "targets" not in (await sidecar.send("GET", "/-/ready")).json
        assert b"sidecar_target" not in (await sidecar.send("GET", "/-/metrics")).body

    async def test_the_request_goes_as_it_came_but_for_the_name_of_its_model(
        self, start: Start, upstream: Upstream, other: Upstream
    ):
        sidecar = await start(targets=[target("other", other, models=["m"], rename={"fast": "qwen2.5-7b"})])
        body = b'{ "stream":false, "model" : "m","messages":[{"role":"user","content":"hi"}],"x":1.50}'
        await sidecar.send("POST", CHAT, data=body)
        assert other.last.body == body
        await sidecar.send("POST", CHAT, data=body.replace(b'"m"', b'"fast"'))
        assert other.last.json == {**json.loads(body), "model": "qwen2.5-7b"}
        assert b"1.50" in other.last.body
        assert upstream.requests == []

    async def test_the_lower_priority_is_tried_first_and_then_the_order_of_the_settings(self, start: Start):
        async with upstreams("a", "b", "c") as (a, b, c):
            sidecar = await start(
                targets=[target("a", a, priority=2), target("b", b, priority=1), target("c", c, priority=1)]
            )
            assert (await sidecar.ask("hi")).headers["X-Sidecar-Target"] == "b"

    async def test_tasks_go_by_their_model_too(self, start: Start, upstream: Upstream, other: Upstream):
        sidecar = await start(
            targets=[target("other", other, models=[], rename={"small": "tiny"}) | {"models": ["small"]}],
            tasks={"model": "small"},
        )
        reply = await sidecar.ask("a title?", headers={"X-Task": "title"})
        assert reply.headers["X-Sidecar-Target"] == "other"
        assert [each["model"] for each in chats(other)] == ["tiny"]
        assert upstream.requests == []

    async def test_what_is_not_to_be_kept_goes_by_its_model_as_well(
        self, start: Start, upstream: Upstream, other: Upstream
    ):
        sidecar = await start(targets=[target("other", other)])
        reply = await sidecar.ask("hi", headers={"X-Sidecar-History": "off"})
        assert (reply.headers["X-Sidecar-Target"], reply.outcome) == ("other", "bypass")
        assert upstream.requests == []
        assert await sidecar.stored() == []

    async def test_what_names_no_model_of_theirs_goes_to_the_upstream(
        self, start: Start, upstream: Upstream, other: Upstream
    ):
        sidecar = await start(targets=[target("other", other)])
        for body in (b'{"model":"x","input":"m"}', b'{"input":"m"}', b"m", b'{"model":7}', b"[" * 9999):
            reply = await sidecar.send("POST", "/v1/embeddings", data=body)
            assert reply.headers["X-Sidecar-Target"] == "default"
            assert upstream.last.body == body
        assert (await sidecar.send("GET", "/v1/files")).headers["X-Sidecar-Target"] == "default"
        assert other.requests == []

    async def test_what_an_agent_refused_is_not_sent_to_it_again(self, start: Start, other: Upstream):
        body = b'{"error":{"message":"Unexpected field: messages[0].x","code":"invalid"}}'
        too_long = {"error": {"message": "too long", "code": "context_length_exceeded"}}
        other.otherwise = sends(json.dumps(too_long).encode(), status=400)
        assert body
        sidecar = await start(targets=[target("other", other, agent=True)])
        said = ["word " * 200, "an answer", "word " * 200, "another", "word " * 200]
        assert (await sidecar.ask(*said, id="a")).status == 400
        assert len(chats(other)) == 1


class TestCredentials:
    async def test_a_target_gets_its_own_key_and_nothing_of_the_clients(
        self, start: Start, upstream: Upstream, other: Upstream
    ):
        sidecar = await start(
            targets=[target("other", other, models=["m"], api_key="sk-own", headers={"X-Org": "us"})]
        )
        mine = {"Authorization": "Bearer sk-mine", "api-key": "sk-also", "Cookie": "login=1"}
        await sidecar.ask("hi", headers=mine, path=CHAT + "?key=sk-third")
        got = other.last
        assert (got.headers["Authorization"], got.headers["X-Org"]) == ("Bearer sk-own", "us")
        assert got.target == CHAT
        assert not {"api-key", "cookie"} & {name.lower() for name in got.headers}
        await sidecar.ask("hi", model="else", headers=mine)
        assert upstream.last.headers["Authorization"] == "Bearer sk-mine"
        assert "X-Org" not in upstream.last.headers

    async def test_the_clients_own_goes_where_that_is_set(self, start: Start, other: Upstream):
        sidecar = await start(targets=[target("other", other, forward_credential=True, api_key="sk-own")])
        await sidecar.ask("hi", headers={"Authorization": "Bearer sk-mine"})
        assert other.last.headers["Authorization"] == "Bearer sk-mine"
        await sidecar.ask("hi")
        assert other.last.headers["Authorization"] == "Bearer sk-own"


class TestTheModels:
    async def test_the_list_has_those_of_all_targets_under_the_names_that_lead_there(
        self, start: Start, upstream: Upstream, other: Upstream
    ):
        upstream.otherwise = lists({"id": "gpt", "owned_by": "openai"}, "qwen-old")
        other.otherwise = lists({"id": "qwen2.5", "owned_by": "library", "meta": {"n_ctx": 4096}}, "llama")
        sidecar = await start(targets=[target("other", other, models=["qwen*"], rename={"fast": "llama"})])
        reply = await sidecar.send("GET", "/v1/models")
        assert reply.json == {
            "object": "list",
            "data": [
                {"id": "qwen2.5", "owned_by": "library", "meta": {"n_ctx": 4096}},
                {"id": "fast", "object": "model"},
                {"id": "gpt", "owned_by": "openai"},
            ],
        }
        assert "X-Sidecar-Targets-Missing" not in reply.headers

    async def test_a_target_that_does_not_tell_is_left_out_and_named(
        self, start: Start, upstream: Upstream, other: Upstream, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("sidecar.proxy.model_list._TIMEOUT", 0.2)

        async def silent(exchange: Exchange) -> None:
            await asyncio.Event().wait()

        upstream.otherwise = lists("gpt")
        async with upstreams("away", "failing") as (away, failing):
            await away.stop()
            failing.otherwise = sends(b"no", status=500)
            other.otherwise = silent
            sidecar = await start(
                targets=[
                    target(name, server, models=[f"{name}*"])
                    for name, server in (("other", other), ("away", away), ("failing", failing))
                ]
            )
            reply = await sidecar.send("GET", "/v1/models")
        assert [each["id"] for each in reply.json["data"]] == ["gpt"]
        assert reply.headers["X-Sidecar-Targets-Missing"] == "other, away, failing"

    async def test_where_none_tells_the_answer_is_the_upstreams_own(
        self, start: Start, upstream: Upstream, other: Upstream
    ):
        upstream.otherwise = other.otherwise = sends(b'{"error":"key"}', status=401)
        sidecar = await start(targets=[target("other", other)])
        reply = await sidecar.send("GET", "/v1/models")
        assert (reply.status, reply.json) == (401, {"error": "key"})

    async def test_one_model_is_asked_for_at_its_target_by_its_name_there(
        self, start: Start, upstream: Upstream, other: Upstream
    ):
        upstream.otherwise = sends(b'{"id":"gpt"}')
        other.otherwise = sends(b'{"id":"org/real","owned_by":"x"}')
        sidecar = await start(targets=[target("other", other, rename={"fast": "org/real"})])
        reply = await sidecar.send("GET", "/v1/models/fast?key=sk-mine")
        assert (reply.json, reply.headers["X-Sidecar-Target"]) == ({"id": "fast", "owned_by": "x"}, "other")
        assert other.last.target == "/v1/models/org/real"
        assert (await sidecar.send("GET", "/v1/models/gpt")).json == {"id": "gpt"}
        other.otherwise = sends(b'{"error":"none such"}', status=404)
        assert (await sidecar.send("GET", "/v1/models/m2")).status == 404


class TestReady:
    async def test_each_target_is_told_and_one_that_can_be_reached_is_enough(
        self, start: Start, upstream: Upstream, other: Upstream
    ):
        sidecar = await start(targets=[target("other", other)])
        said = {"ready": True, "store": "writable", "upstream": "reachable"}
        reply = await sidecar.send("GET", "/-/ready")
        assert reply.json == said | {"targets": {"default": "reachable", "other": "reachable"}}
        await upstream.stop()
        reply = await sidecar.send("GET", "/-/ready")
        assert (reply.status, reply.json["upstream"]) == (200, "not reachable")
        await other.stop()
        reply = await sidecar.send("GET", "/-/ready")
        assert (reply.status, reply.json["ready"]) == (503, False)
        assert reply.json["targets"] == {"default": "not reachable", "other": "not reachable"}

    async def test_what_they_answered_is_counted(self, start: Start, other: Upstream):
        sidecar = await start(targets=[target("other", other)])
        await sidecar.ask("hi")
        text = (await sidecar.send("GET", "/-/metrics")).body.decode()
        assert 'sidecar_target_requests_total{result="answered",target="other"} 1.0' in text
        assert 'sidecar_target_up{target="other"} 1.0' in text


class TestParallel:
    async def test_never_more_are_under_way_than_it_allows_and_the_others_wait(
        self, start: Start, other: Upstream
    ):
        now = most = 0

        async def counted(exchange: Exchange) -> None:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.01)
            await says("ok")(exchange)
            now -= 1

        other.otherwise = counted
        sidecar = await start(targets=[target("other", other, parallel=2)], retries={"wait_for_room": 30})
        replies = await asyncio.gather(*(sidecar.ask(f"hi {at}", id=str(at)) for at in range(12)))
        assert [each.status for each in replies] == [200] * 12
        assert most == 2

    async def test_the_next_target_takes_what_one_has_no_room_for(self, start: Start, other: Upstream):
        async with upstreams("spare") as (spare,):
            goes_on = asyncio.Event()
            word = event({"role": "assistant", "content": "a"})
            other.will(streams(word, goes_on, event({}, finish="stop"), DONE))
            sidecar = await start(
                targets=[target("other", other, parallel=1), target("spare", spare, priority=1)]
            )
            body = json.dumps({"model": "m", "stream": True, "messages": chat("hi")}).encode()
            async with sidecar.http.post(sidecar.url + CHAT, data=body) as response:
                await response.content.readany()
                assert (await sidecar.ask("hi")).headers["X-Sidecar-Target"] == "spare"
                goes_on.set()
                await response.read()
            assert (await sidecar.ask("hi")).headers["X-Sidecar-Target"] == "other"

    async def test_who_finds_no_room_in_time_gets_429(self, start: Start, other: Upstream):
        goes_on = asyncio.Event()
        other.will(streams(event({"role": "assistant", "content": "a"}), goes_on, DONE))
        sidecar = await start(targets=[target("other", other, parallel=1)], retries={"wait_for_room": 0.05})
        body = json.dumps({"model": "m", "stream": True, "messages": chat("hi")}).encode()
        async with sidecar.http.post(sidecar.url + CHAT, data=body) as response:
            await response.content.readany()
            reply = await sidecar.ask("hi", id="a")
            assert_error(reply, 429, "targets_busy", type="rate_limit_error")
            assert reply.headers["Retry-After"] == "2"
            goes_on.set()
            await response.read()
        assert len(chats(other)) == 1


class TestWhatIsLearned:
    async def test_a_window_counts_for_its_target_alone(
        self, start: Start, upstream: Upstream, other: Upstream
    ):
        upstream.otherwise = other.otherwise = says("ok")
        too_long = "This model's maximum context length is 512 tokens. However, you requested 900 tokens"
        other.will(
            sends(
                json.dumps({"error": {"message": too_long, "code": "context_length_exceeded"}}).encode(),
                status=400,
            )
        )
        sidecar = await start(
            targets=[target("other", other, models=[], rename={"there": "m"}) | {"models": ["there"]}]
        )
        said = ["word " * 200, "an answer", "word " * 200, "another", "word " * 200]
        await sidecar.ask(*said, id="a", model="there")
        assert len(chats(other)[-1]["messages"]) < len(said)
        await sidecar.ask(*said, id="b", model="there")
        assert len(chats(other)) == 3  # cut at once
        await sidecar.ask(*said, id="c", model="m")
        assert len(chats(upstream)[-1]["messages"]) == len(said)


class TestReplicas:
    async def test_a_chat_stays_where_it_is_and_chats_are_spread(self, start: Start):
        async with upstreams("a", "b", "c") as servers:
            sidecar = await start(targets=[target("pool", *servers)])
            for turn in range(3):
                for number in range(60):  # which goes where, their ports decide
                    said = ["hi", *(["ok", "and?"] * turn)]
                    await sidecar.ask(*said, id=f"chat {number}", headers={"X-Turn": str(turn)})
            homes: dict[str, set[int]] = {}
            for at, server in enumerate(servers):
                for each in server.requests:
                    homes.setdefault(each.headers["X-Conversation-ID"], set()).add(at)
            assert len(homes) == 60
            assert all(len(at) == 1 for at in homes.values())
            assert set().union(*homes.values()) == {0, 1, 2}

    async def test_two_sidecars_agree(self, start: Start):
        async with upstreams("a", "b", "c") as servers:
            one = await start(targets=[target("pool", *servers)])
            two = await start(targets=[target("pool", *reversed(servers))])
            for number in range(8):
                await one.ask("hi", id=f"chat {number}")
                await two.ask("hi", "ok", "and?", id=f"chat {number}")
            for server in servers:
                counts: dict[str, int] = {}
                for each in server.requests:
                    name = each.headers["X-Conversation-ID"]
                    counts[name] = counts.get(name, 0) + 1
                assert all(count == 2 for count in counts.values())

    async def test_questions_of_no_chat_and_tasks_take_turns(self, start: Start):
        async with upstreams("a", "b", "c") as servers:
            sidecar = await start(targets=[target("pool", *servers)])
            for _ in range(6):
                await sidecar.ask("hi")
            for _ in range(6):
                await sidecar.ask("a title?", headers={"X-Task": "title"})
            assert [len(chats(each)) for each in servers] == [4, 4, 4]

    async def test_a_member_that_is_away_moves_its_own_chats_alone_and_nobody_sees_it(self, start: Start):
        async with upstreams("a", "b", "c") as servers:
            sidecar = await start(targets=[target("pool", *servers)])
            ids = [f"chat {number}" for number in range(9)]
            for id in ids:
                await sidecar.ask("hi", id=id)
            homes = {
                each.headers["X-Conversation-ID"]: server for server in servers for each in server.requests
            }
            away = servers[0]
            await away.stop()
            for server in servers:
                server.requests.clear()
            for id in ids:
                reply = await sidecar.ask("hi", "ok", "and?", id=id)
                assert (reply.status, reply.headers["X-Sidecar-Target"]) == (200, "pool")
            for server in servers[1:]:
                for each in server.requests:
                    assert homes[each.headers["X-Conversation-ID"]] in (server, away)

    async def test_each_has_slots_of_its_own(self, start: Start):
        async with upstreams("a", "b") as servers:
            sidecar = await start(targets=[target("pool", *servers)], session={"slots": 4})
            for number in range(8):
                await sidecar.ask("hi", id=f"chat {number}")
            for server in servers:
                used = [each["id_slot"] for each in chats(server)]
                assert len(set(used)) == min(len(used), 4)


class TestANameWithSeveralAddresses:
    async def test_each_address_is_a_member_and_is_called_by_the_name(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ):
        there = ["127.0.0.1", "127.0.0.2"]

        async def addresses_of(_base: object) -> list[str]:
            return there

        monkeypatch.setattr("sidecar.background.target_addresses.addresses_of", addresses_of)
        monkeypatch.setattr("sidecar.background.target_addresses._EVERY", 0.02)
        one = Upstream(otherwise=says("one"))
        await one.start()
        two = Upstream(otherwise=says("two"), host="127.0.0.2", port=one.port)
        await two.start()
        url = f"http://pool.example:{one.port}/v1"
        sidecar = await start(targets=[{"name": "pool", "url": url, "models": ["m"], "resolve": True}])
        for number in range(10):
            assert (await sidecar.ask("hi", id=f"chat {number}")).status == 200
        assert {each.headers["Host"] for each in (*one.requests, *two.requests)} == {
            f"pool.example:{one.port}"
        }
        assert len(chats(one)) + len(chats(two)) == 10
        assert {each["member"] for each in await rows(sidecar, 10)} == {"127.0.0.1", "127.0.0.2"}
        assert b"sidecar_target_member_up{" not in (await sidecar.send("GET", "/-/metrics")).body
        assert chats(one)
        assert chats(two)
        there.remove("127.0.0.1")
        async with asyncio.timeout(5):
            while b"one" in (await sidecar.ask("hi")).body or b"one" in (await sidecar.ask("hi")).body:
                await asyncio.sleep(0.01)
        await one.stop()
        for number in range(10):
            assert (await sidecar.ask("hi", "two", "and?", id=f"chat {number}")).json["choices"]
        await two.stop()
