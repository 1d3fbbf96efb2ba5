"""Some rounds of `kill -9`, and that the ledger would notice what it is there to notice."""

from __future__ import annotations

import copy

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from tests.crash.kill9 import Rounds
from tests.crash.ledger import Fault, Seen, faults
from tests.crash.responses import told_again

# What is tested runs in processes of its own, which the coverage does not see.
pytestmark = pytest.mark.no_cover

QUESTION = {"role": "user", "content": "hi"}
REPLY = {"role": "assistant", "content": "reply-0a1b2c3d-7 hello"}
CALLS = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "reply-0a1b2c3d-8-0", "function": {"name": "f", "arguments": "{}"}}],
}


async def test_no_reply_that_a_client_saw_finish_is_lost_to_kill_9(tmp_path):
    summary = await Rounds(tmp_path, seed=7).run(6)

    assert summary.faults == []
    assert summary.kills == len(summary.starts) == 6
    assert len(summary.seen) > 30
    assert {seen.whole for seen in summary.seen} == {True, False}
    assert any(seen.message.get("tool_calls") for seen in summary.seen)
    assert str(summary).startswith(f"kills 6, acknowledged replies {len(summary.seen)}, lost 0, doubled 0, ")


async def test_nor_where_several_workers_share_the_store_and_are_killed_at_once(tmp_path):
    summary = await Rounds(tmp_path, seed=8, workers=3).run(4)

    assert summary.faults == []
    assert len(summary.seen) > 20
    assert {seen.whole for seen in summary.seen} == {True, False}


async def test_a_response_that_a_client_saw_completed_is_told_again_byte_for_byte_after_kill_9(tmp_path):
    summary = await Rounds(tmp_path, seed=9, api="responses").run(3)

    assert summary.faults == []
    assert len(summary.seen) > 20
    assert summary.retrieved > len(summary.seen)
    assert {seen.whole for seen in summary.seen} == {True, False}
    assert any(seen.message.get("tool_calls") for seen in summary.seen)


async def test_what_is_not_told_again_as_it_was_is_a_fault():
    seen = [Seen("a", (QUESTION,), REPLY, whole=True, response=(id, b"{}")) for id in ("resp_1", "resp_2")]

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b"{ }", status=200 if request.path.endswith("1") else 404)

    app = web.Application()
    app.router.add_get("/v1/responses/{id}", answer)
    async with TestServer(app) as server, ClientSession() as http:
        found = await told_again(http, str(server.make_url("")).rstrip("/"), seen)

    assert [each.kind for each in found] == ["broken", "missing"]
    assert await told_again(http, "", [Seen("a", (QUESTION,), REPLY, whole=True)]) == []


class TestTheLedger:
    @pytest.fixture
    def seen(self):
        return [
            Seen("chat-1", (QUESTION,), REPLY, whole=True),
            Seen("chat-1", (QUESTION, REPLY, QUESTION), CALLS, whole=True),
        ]

    @pytest.fixture
    def messages(self):
        said: list[dict] = [QUESTION, REPLY, QUESTION, CALLS]
        return [
            {
                "id": f"b2:{number}",
                "parent": f"b2:{number - 1}" if number else None,
                "message": message,
                "source": "upstream" if message["role"] == "assistant" else "client",
                "state": "complete",
            }
            for number, message in enumerate(copy.deepcopy(said))
        ]

    @staticmethod
    def found(seen, *conversations, kind="broken"):
        lines = [
            {"conversation": {"key": f"chat-{number}"}, "messages": messages}
            for number, messages in enumerate(conversations, 1)
        ]
        kinds = {kind: [fault.what for fault in faults(seen, lines) if fault.kind == kind]}
        assert all(fault.kind in kinds for fault in faults(seen, lines))
        return [what.removeprefix("chat-1: ") for what in kinds[kind]]

    def test_finds_nothing_wrong_where_nothing_is(self, seen, messages):
        assert self.found(seen, messages) == []

    def test_misses_what_is_gone(self, seen, messages):
        assert self.found(seen, messages[:2], kind="missing") == ["reply-0a1b2c3d-8"]
        assert faults(seen[:1], []) == [Fault("missing", "chat-1: reply-0a1b2c3d-7")]

    def test_sees_a_reply_that_is_there_twice(self, seen, messages):
        again = {**messages[1], "id": "b2:9", "source": "client"}
        (what,) = self.found(seen, [*messages, {**again, "source": "upstream"}], kind="doubled")
        assert what.startswith("reply-0a1b2c3d-7 at ")
        assert len(self.found(seen, messages, messages, kind="doubled")) == 2

    def test_sees_a_reply_that_is_not_whole(self, seen, messages):
        messages[1]["message"]["content"] = "reply-0a1b2c3d-7 hel"
        messages[3]["message"]["tool_calls"][0]["function"]["arguments"] = "{"

        assert self.found(seen, messages) == [
            "reply-0a1b2c3d-7 is not what the client saw",
            "reply-0a1b2c3d-8 is not what the client saw",
            "reply-0a1b2c3d-8 has another history",
        ]

    @pytest.mark.parametrize(
        ("number", "change", "what"),
        [
            (1, {"state": "partial"}, "b2:1 is partial"),
            (1, {"source": "client"}, "reply-0a1b2c3d-7 did not come from the upstream"),
            (2, {"parent": "b2:8"}, "b2:2 has no parent b2:8"),
            (3, {"source": "client"}, "nothing answers b2:3"),
            (3, {"parent": "b2:1"}, "reply-0a1b2c3d-8 follows another message"),
            (3, {"id": "b2:2"}, "b2:2 is there 2 times"),
        ],
    )
    def test_sees_what_is_broken(self, seen, messages, number, change, what):
        messages[number].update(change)

        assert what in self.found(seen, messages)

    def test_sees_a_reply_under_another_key(self, seen, messages):
        line = {"conversation": {"key": "chat-2"}, "messages": messages[:2]}

        assert faults(seen[:1], [line]) == [
            Fault("broken", "chat-1: reply-0a1b2c3d-7 is kept under another key")
        ]

    def test_lets_others_stand_between_what_an_appending_client_knows(self, seen, messages):
        thin = [Seen("chat-1", (QUESTION, QUESTION), CALLS, whole=False)]
        assert self.found(thin, messages) == []

        unknown = [Seen("chat-1", (REPLY, REPLY, QUESTION), CALLS, whole=False)]
        assert self.found(unknown, messages) == ["reply-0a1b2c3d-8 has another history"]

    def test_sees_a_conversation_without_messages(self):
        assert self.found([], []) == ["it is empty"]
