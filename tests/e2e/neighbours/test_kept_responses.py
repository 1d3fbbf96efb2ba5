"""Libraries that ask for responses and conversations by their ids."""

from __future__ import annotations

import asyncio

from tests.dialects.responses import chunk, piece, streamed
from tests.e2e.neighbours.libraries import Front, Libraries, conversation
from tests.e2e.neighbours.test_clients import STEPS, TOLD, TREE, script, told
from tests.e2e.stored import exported, tree
from tests.proxy.mock_upstream import Upstream, event, says, streams

TURNS = 5


async def test_the_openai_sdk_finds_all_that_is_kept(front: Front, upstream: Upstream, libraries: Libraries):
    halts = streams(event({"content": "Hello"}), asyncio.Event())
    upstream.will(says(), says(), says(), says("Hello."), halts)
    got = await libraries.run("kept_openai.py", {"base_url": front.base_url, "model": "m"})
    assert got["responses"] == {
        "same": [True, True],
        "texts": ["1", "ok", "2"],
        "ids": [True],
        "gone": [404, "response_not_found"],
        "behind": [400, "previous_response_not_found"],
    }
    assert got["conversations"] == {
        "metadata": [{"a": "b"}, {"c": "d"}, {"c": "d"}],
        "added": ["zero"],
        "answer": ["ok", True],
        "texts": ["0", "zero", "1", "ok"],
        "one": True,
        "left": ["ok", "1", "zero"],
        "deleted": True,
        "gone": [404, "conversation_not_found"],
    }
    assert got["background"] == {
        "begun": ["queued", True],
        "kinds": ["response.created", "response.queued", "response.in_progress", "response.completed"],
        "numbers": True,
        "rest": True,
        "over": ["completed", "Hello."],
        "told": True,
        "cancelled": ["cancelled", "cancelled"],
        "again": "completed",
    }


async def test_the_agents_sdk_goes_on_in_every_way_that_it_has(
    front: Front, upstream: Upstream, libraries: Libraries
):
    for _ in range(TURNS):
        called = chunk(piece(0, f"call_{len(upstream.requests)}", "temperature", '{"city":"Rome"}'))
        upstream.will(streams(streamed(called, chunk(finish="tool_calls"))), says("Warm."), says("I am Ada."))
    got = await libraries.run("kept_agents.py", {"base_url": front.base_url, "model": "m"})
    ways = ("list", "previous", "auto", "conversation", "session")
    assert {way: got[way] for way in ways} == {way: ["Warm.", "I am Ada."] for way in ways}
    kinds = ["message", "function_call", "function_call_output", "message", "message", "message"]
    assert (got["items"], got["listed"], got["popped"]) == (kinds, kinds, 5)
    whole = ["Be brief.", "How warm is it in Rome?", None, "21 in Rome", "Warm.", "And you are?"]
    for way in ("previous", "conversation", "session"):
        last = upstream.requests[3 * ways.index(way) + 2]
        assert [each.get("content") for each in last.json["messages"]] == whole
    kept = await exported(front.store)
    assert sum(each["conversation"]["key"] is not None for each in kept) == 1


async def test_the_ai_sdk_refers_to_what_was_answered(front: Front, upstream: Upstream, libraries: Libraries):
    script(upstream)
    asked = conversation(front.base_url, *STEPS, headers={"X-Conversation-ID": "ada"}) | {"store": True}
    (answers,) = await libraries.run("responses_ai_sdk.mjs", [asked])
    assert [each["text"] for each in answers] == ["Hello Ada.", "Warm.", "Warm too.", "You are Ada."]
    assert told(upstream.last) == TOLD
    assert tree(await front.only()) == TREE
