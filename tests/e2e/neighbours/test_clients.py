"""Every library has the same conversations: what its user got, what went upstream, what is kept."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.e2e.neighbours.libraries import NAMES, Front, Libraries, say
from tests.e2e.stored import exported, tree
from tests.proxy.mock_upstream import Received, Upstream, event, says, sends, streams

#: One conversation of four turns: both ways to ask, and a tool in both.
STEPS = (
    say("My name is Ada."),
    say("How warm is it in Rome?", tool=True),
    say("And in Oslo?", tool=True, stream=True),
    say("What is my name?", stream=True),
)
#: Spelled as no serialiser of any library spells it.
ROME, OSLO = '{"city":  "Rome"}', '{ "city": "Oslo" }'
TOLD = [
    *("user: My name is Ada.", "assistant: Hello Ada."),
    *("user: How warm is it in Rome?", f"assistant calls: {ROME}", "tool: 5 degrees", "assistant: Warm."),
    *("user: And in Oslo?", f"assistant calls: {OSLO}", "tool: 5 degrees", "assistant: Warm too."),
    "user: What is my name?",
]
#: What a thin client's last request gets of it, for it has no tools: the text of the answers alone.
TOLD_WITHOUT_TOOLS = [line for line in TOLD if " calls: " not in line and not line.startswith("tool: ")]
TREE = [
    *("My name is Ada.", "Hello Ada."),
    *("How warm is it in Rome?", " (calls rome)", "result of rome", "Warm."),
    *("And in Oslo?", " (calls oslo)", "result of oslo", "Warm too."),
    *("What is my name?", "You are Ada."),
]
every_library = pytest.mark.parametrize("library", NAMES)


def calls(id: str, arguments: str) -> Any:
    call = {"id": id, "type": "function", "function": {"name": "weather", "arguments": arguments}}
    return says(None, tool_calls=[{"index": 0, **call}], finish="tool_calls")


def script(upstream: Upstream) -> None:
    upstream.only_chats = True  # a neighbour may ask for the models at any time
    upstream.will(says("Hello Ada."), calls("rome", ROME), says("Warm."), calls("oslo", OSLO))
    upstream.will(says("Warm too."), says("You are Ada."))


def told(request: Received) -> list[str]:
    """The messages that a request carried, one line each."""
    return [
        f"{each['role']} calls: {each['tool_calls'][0]['function']['arguments']}"
        if each.get("tool_calls")
        else f"{each['role']}: {text(each)}"
        for each in request.json["messages"]
    ]


def text(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def assert_answers(got: list[dict[str, Any]]) -> None:
    assert [each["text"] for each in got] == ["Hello Ada.", "Warm.", "Warm too.", "You are Ada."]
    arguments = [json.loads(a) if isinstance(a, str) else a for each in got for a in each["called"]]
    assert arguments == [{"city": "Rome"}, {"city": "Oslo"}]


@every_library
async def test_a_conversation_is_one_and_its_tool_calls_go_back_as_they_were_produced(
    library: str, libraries: Libraries, front: Front, upstream: Upstream
):
    script(upstream)
    named = {"X-Conversation-ID": "chat-1"}
    assert_answers(await libraries.converse(library, front.base_url, *STEPS, headers=named))
    assert [each.headers["X-Conversation-ID"] for each in upstream.requests] == ["chat-1"] * 6
    assert told(upstream.last) == TOLD
    stored = await front.only()
    assert stored["conversation"]["key"] == "chat-1"
    assert tree(stored) == TREE


@every_library
async def test_without_an_id_the_conversation_is_known_by_what_it_holds(
    library: str, libraries: Libraries, front: Front, upstream: Upstream
):
    script(upstream)
    assert_answers(await libraries.converse(library, front.base_url, *STEPS))
    stored = await front.only()
    assert stored["conversation"]["key"] is None
    assert tree(stored) == TREE
    # The first request could not be told from another chat's; whatever followed has the id.
    ids = {each.headers["X-Conversation-ID"] for each in upstream.requests}
    assert ids == {stored["conversation"]["id"]}
    # Nothing is put into it: the arguments are as the library spells them.
    arguments = [line.removeprefix("assistant calls: ") for line in told(upstream.last) if " calls: " in line]
    assert [json.loads(each) for each in arguments] == [{"city": "Rome"}, {"city": "Oslo"}]


@every_library
async def test_a_client_that_sends_only_what_is_new_gets_its_history(
    library: str, libraries: Libraries, front: Front, upstream: Upstream
):
    script(upstream)
    named = {"X-Conversation-ID": "thin-1"}
    got = await libraries.converse(library, front.base_url, *STEPS, call_headers=named, thin=True)
    assert_answers(got)
    assert told(upstream.requests[-2]) == TOLD[:-2]
    assert told(upstream.last) == TOLD_WITHOUT_TOOLS
    assert tree(await front.only()) == TREE


async def test_two_chats_of_the_same_words_are_two(libraries: Libraries, front: Front, upstream: Upstream):
    for name in ("one", "two"):
        named = {"X-Conversation-ID": name}
        await libraries.converse("openai_sdk.py", front.base_url, say("hi"), call_headers=named)
    assert [each["conversation"]["key"] for each in await exported(front.store)] == ["one", "two"]
    assert told(upstream.last) == ["user: hi"]


@every_library
async def test_what_was_seen_of_a_stopped_answer_is_gone_on_from(
    library: str, libraries: Libraries, front: Front, upstream: Upstream
):
    words = [event({"role": "assistant", "content": "Once"}), event({"content": " upon"})]
    upstream.will(streams(*words, asyncio.Event()), says("A time."))
    steps = (say("Tell me a story.", stop=True), say("Go on.", stream=True))
    got = await libraries.converse(library, front.base_url, *steps, headers={"X-Conversation-ID": "s"})
    assert [each["text"] for each in got] == ["Once upon", "A time."]
    await asyncio.wait_for(upstream.requests[0].gone.wait(), 5)
    assert told(upstream.last) == ["user: Tell me a story.", "assistant: Once upon", "user: Go on."]
    assert tree(await front.only()) == ["Tell me a story.", "Once upon (partial)", "Go on.", "A time."]


@every_library
async def test_an_error_of_the_upstream_is_the_librarys_own_and_the_chat_goes_on(
    library: str, libraries: Libraries, front: Front, upstream: Upstream
):
    error = {
        "message": "Slow down, please.",
        "type": "requests",
        "param": None,
        "code": "rate_limit_exceeded",
    }
    refused = sends(json.dumps({"error": error}).encode(), status=429)
    upstream.will(says("Hello."), refused, refused, says("Here I am."))
    steps = (say("hi"), say("there?"), say("there?", stream=True), say("there?", stream=True))
    got = await libraries.converse(library, front.base_url, *steps, headers={"X-Conversation-ID": "e"})
    assert [each.get("text") for each in got] == ["Hello.", None, None, "Here I am."]
    for each in got[1:3]:
        assert each["error"]["status"] == 429
        assert "Slow down, please." in each["error"]["message"]
    assert tree(await front.only()) == ["hi", "Hello.", "there?", "Here I am."]
