"""Whether a text is the answer or was said on the way to it (`phase`) survives, over Responses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.dialects.responses import call, output, said
from tests.proxy.client import Sidecar
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import DONE, Exchange, Upstream, event, says, sends, streams
from tests.proxy.ways import asked, in_each_way

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
STEPS: list[dict[str, Any]] = [
    said("user", "a"),
    {**said("assistant", "Let me see."), "phase": "commentary"},
    call("c1"),
    output("c1", "found"),
    {**said("assistant", "Done."), "phase": "final_answer"},
    said("user", "b"),
]
PHASES = [("Let me see.", "commentary"), ("Done.", "final_answer")]


@pytest.fixture
async def sidecar(start: Start) -> Sidecar:
    return await start(responses={"upstream": "translate"})


def phases_in(items: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Of what the assistant said: the text, and its phase where it has one."""
    return [(each["content"][0]["text"], each["phase"]) for each in items if "phase" in each]


async def listed(sidecar: Sidecar, path: str) -> list[dict[str, Any]]:
    reply = await sidecar.send("GET", f"/v1/{path}?order=asc&limit=100")
    assert reply.status == 200, reply.body
    data: list[dict[str, Any]] = reply.json["data"]
    return data


async def tells(exchange: Exchange) -> None:
    """Says first that it looks, and then what it found; each is said to be that, in every piece of it."""
    if not exchange.request.wants_stream:
        message = {"role": "assistant", "content": "Found it.", "phase": "final_answer"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return await sends(json.dumps({"choices": [choice], "usage": USAGE}).encode())(exchange)
    pieces = [{"role": "assistant", "phase": "final_answer"}, {"content": "Found"}]
    more = {"content": " it.", "phase": "final_answer"}
    steps = [*map(event, (*pieces, more)), event({}, finish="stop"), DONE]
    return await streams(*steps)(exchange)


@in_each_way
class TestWhatAClientSends:
    async def test_comes_back_among_the_items_that_a_response_answered(
        self, sidecar: Sidecar, upstream: Upstream, way: str
    ):
        told = await asked(sidecar, way, input=[said("system", "Be kind."), *STEPS], instructions="Be brief.")
        assert (told.status, told.untranslated) == (200, None)
        assert phases_in(await listed(sidecar, f"responses/{told.response['id']}/input_items")) == PHASES
        assert b"phase" not in upstream.last.body

    async def test_and_behind_the_next_response_too(self, sidecar: Sidecar, upstream: Upstream, way: str):
        first = await asked(sidecar, way, input=STEPS)
        more = [{**said("assistant", "And more."), "phase": "commentary"}, said("user", "c")]
        next = await asked(sidecar, way, input=more, previous_response_id=first.response["id"])
        items = await listed(sidecar, f"responses/{next.response['id']}/input_items")
        assert phases_in(items) == [*PHASES, ("And more.", "commentary")]
        assert b"phase" not in upstream.last.body

    async def test_and_where_the_whole_history_is_sent_anew(self, sidecar: Sidecar, way: str):
        first = await asked(sidecar, way, input=STEPS)
        history = [*STEPS, *first.response["output"], said("user", "c")]
        next = await asked(sidecar, way, input=history)
        assert phases_in(await listed(sidecar, f"responses/{next.response['id']}/input_items")) == PHASES

    async def test_and_in_its_conversation(self, sidecar: Sidecar, way: str):
        id = (await sidecar.send("POST", "/v1/conversations", data=b"{}")).json["id"]
        assert (await asked(sidecar, way, input=STEPS, conversation=id)).status == 200
        assert phases_in(await listed(sidecar, f"conversations/{id}/items")) == PHASES


@in_each_way
class TestWhatAnUpstreamTells:
    async def test_is_told_and_comes_back(self, sidecar: Sidecar, upstream: Upstream, way: str):
        upstream.otherwise = tells
        told = await asked(sidecar, way, input="a")
        assert phases_in(told.response["output"]) == [("Found it.", "final_answer")]
        for each in told.events:
            if each["type"].startswith("response.output_item."):
                assert each["item"]["phase"] == "final_answer"
        assert (await sidecar.send("GET", f"/v1/responses/{told.response['id']}")).json == told.response
        again = [said("user", "a"), *told.response["output"], said("user", "b")]
        next = await asked(sidecar, way, input=again)
        items = await listed(sidecar, f"responses/{next.response['id']}/input_items")
        assert items[1] == told.response["output"][0]

    async def test_and_in_the_conversation(self, sidecar: Sidecar, upstream: Upstream, way: str):
        upstream.otherwise = tells
        id = (await sidecar.send("POST", "/v1/conversations", data=b"{}")).json["id"]
        told = await asked(sidecar, way, input="a", conversation=id)
        assert (await listed(sidecar, f"conversations/{id}/items"))[1:] == told.response["output"]


class TestOfAConversation:
    async def test_items_that_are_added_have_it(self, sidecar: Sidecar, upstream: Upstream):
        made = await sidecar.send(
            "POST", "/v1/conversations", data=json.dumps({"items": STEPS[:-1]}).encode()
        )
        path = f"conversations/{made.json['id']}/items"
        assert "X-Sidecar-Untranslated" not in made.headers
        more = json.dumps({"items": [said("user", "b"), {**STEPS[1], "content": "More."}]}).encode()
        added = await sidecar.send("POST", f"/v1/{path}", data=more)
        assert phases_in(added.json["data"]) == [("More.", "commentary")]
        items = await listed(sidecar, path)
        assert phases_in(items) == [*PHASES, ("More.", "commentary")]
        one = items[-1]
        assert (await sidecar.send("GET", f"/v1/{path}/{one['id']}")).json == one
        told = await asked(sidecar, "JSON", input="c", conversation=made.json["id"])
        assert told.status == 200
        assert b"phase" not in upstream.last.body
        assert phases_in(await listed(sidecar, path)) == [*PHASES, ("More.", "commentary")]

    async def test_a_private_turn_keeps_it_where_its_chat_is_kept(self, sidecar: Sidecar, upstream: Upstream):
        """Codex: nothing is kept of the response, and all of the chat."""
        body = {"model": "m", "input": STEPS, "store": False}
        reply = await sidecar.send(
            "POST", "/v1/responses", data=json.dumps(body).encode(), headers={"thread-id": "t1"}
        )
        assert reply.status == 200
        items = await listed(sidecar, "conversations/t1/items")
        assert phases_in(items) == PHASES
        gone = await sidecar.send("GET", f"/v1/responses/{reply.json['id']}")
        assert gone.status == 404


async def test_of_a_private_answer_its_chat_keeps_it(sidecar: Sidecar, upstream: Upstream):
    upstream.otherwise = tells
    body = json.dumps({"model": "m", "input": "a", "store": False, "stream": True}).encode()
    reply = await sidecar.send("POST", "/v1/responses", data=body, headers={"thread-id": "t1"})
    assert reply.status == 200
    assert phases_in(await listed(sidecar, "conversations/t1/items")) == [("Found it.", "final_answer")]


async def test_each_phase_of_one_answer_is_an_item(sidecar: Sidecar, upstream: Upstream):
    deltas = [
        {"role": "assistant", "content": "Let me", "phase": "commentary"},
        {"content": " see."},
        {"content": "Done.", "phase": "final_answer"},
    ]
    upstream.will(streams(*map(event, deltas), event({}, finish="stop"), DONE))
    told = await asked(sidecar, "events", input="a")
    assert phases_in(told.response["output"]) == PHASES
    assert (await sidecar.send("GET", f"/v1/responses/{told.response['id']}")).json == told.response
    upstream.will(says("ok"))
    next = await asked(sidecar, "JSON", input="b", previous_response_id=told.response["id"])
    items = await listed(sidecar, f"responses/{next.response['id']}/input_items")
    assert phases_in(items) == PHASES


@pytest.mark.parametrize("odd", [5, ["final_answer"], "", "p" * 65, "no word"])
async def test_what_is_no_phase_is_not_told(sidecar: Sidecar, upstream: Upstream, odd: Any):
    deltas = [{"role": "assistant", "content": "Found", "phase": odd}, {"content": " it."}]
    upstream.will(streams(*map(event, deltas), event({}, finish="stop"), DONE))
    told = await asked(sidecar, "events", input="a")
    (item,) = told.response["output"]
    assert (item["content"][0]["text"], item.get("phase")) == ("Found it.", None)
    assert (await sidecar.send("GET", f"/v1/responses/{told.response['id']}")).json == told.response
