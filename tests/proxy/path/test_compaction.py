"""Clients that compact their history by themselves: the tree stays one, and nothing is put in twice."""

from __future__ import annotations

from typing import Any

import pytest

from tests.proxy.client import Sidecar
from tests.proxy.mock_upstream import Upstream, says

ID = {"X-Conversation-ID": "c"}
AFFINITY = {"X-Session-Affinity": "ses_1"}
OPEN_WEBUI = {**ID, "X-OpenWebUI-User-Id": "ada"}
PROMPT = {"role": "system", "content": "Be kind."}
LONG = "A long summary of what was said and done until now. " * 6


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


class Client:
    """It holds its own copy of the chat, sends all of it, and expects that it goes on as it was sent."""

    def __init__(self, sidecar: Sidecar, upstream: Upstream, headers: dict[str, str]) -> None:
        self.sidecar, self.upstream, self.headers = sidecar, upstream, headers
        self.system, self.messages = PROMPT, list[dict[str, Any]]()
        self.outcomes: list[str | None] = []
        self.said: list[str] = []

    async def turn(self, text: str, answer: str = "", **headers: str) -> None:
        self.messages.append(user(text))
        answer = answer or f"The answer to: {text}"
        self.upstream.will(says(answer))
        sent = [self.system, *self.messages]
        reply = await self.sidecar.ask(*sent, headers={**self.headers, **headers})
        assert self.upstream.last.json["messages"] == sent
        self.outcomes.append(reply.outcome)
        self.messages.append(assistant(answer))
        self.said += [text, answer]

    async def turns(self, *numbers: int) -> None:
        for number in numbers:
            await self.turn(f"question {number}")

    def sessions(self) -> set[str | None]:
        return {each.headers.get("X-Conversation-ID") for each in self.upstream.requests}


def by_system(client: Client, number: int) -> None:
    """Open WebUI: the summary stands in the system message."""
    client.system = {**PROMPT, "content": f"Be kind.\n\n[CONVERSATION SUMMARY]\nNumber {number}"}
    del client.messages[:-2]


def by_question(client: Client, number: int) -> None:
    """Many agents: it stands in a message of the user."""
    client.messages[:-2] = [user(f"This goes on from another talk. Summary {number}: …")]


def by_turn(client: Client, number: int) -> None:
    """It stands in a message of the user, and an answer that nobody gave acknowledges it."""
    client.messages[:-2] = [user(f"Summary {number}: …"), assistant("I will go on from there.")]


@pytest.mark.parametrize("compact", [by_system, by_question, by_turn])
async def test_what_follows_a_summary_joins_the_path_of_the_chat(
    sidecar: Sidecar, upstream: Upstream, compact: Any
):
    for headers in (ID, OPEN_WEBUI, AFFINITY):
        upstream.requests.clear()
        client = Client(sidecar, upstream, headers)
        await client.turns(1, 2, 3)
        compact(client, 1)
        await client.turns(4, 5)
        compact(client, 2)
        await client.turns(6)
        assert client.outcomes == ["start", *["continue"] * 2, "unanchored", "continue", "unanchored"]
        assert len(client.sessions()) == 1
        stored = await sidecar.stored()
        assert client.said in [branch for each in stored for branch in each.branches]
        if headers is ID:  # with the same id Open WebUI's header makes it another tenant's chat
            assert [each.branches for each in stored] == [[client.said]]


@pytest.mark.parametrize("headers", [ID, AFFINITY])
async def test_a_summary_that_the_model_gave_in_the_chat_is_known_where_it_stands_in_front(
    sidecar: Sidecar, upstream: Upstream, headers: dict[str, str]
):
    """opencode asks for it behind the whole history, and then begins with another question before it."""
    client = Client(sidecar, upstream, headers)
    await client.turns(1, 2)
    await client.turn("Sum up what we did, in detail.", LONG)
    client.messages[:-1] = [user("What did we do so far?")]
    await client.turns(3, 4)
    assert client.outcomes == ["start", "continue", "continue", "unanchored", "continue"]
    assert (await sidecar.only()).branches == [client.said]
    assert len(client.sessions()) == 1


async def test_where_only_the_newest_question_stays_its_parent_tells_the_place(
    sidecar: Sidecar, upstream: Upstream
):
    def ids(number: int) -> dict[str, str]:
        parent = {"X-User-Message-Parent-ID": f"a{number - 1}"} if number else {}
        return {"X-Message-ID": f"a{number}", "X-User-Message-ID": f"q{number}", **parent}

    client = Client(sidecar, upstream, ID)
    await client.turn("question 0", **ids(0))
    await client.turn("question 1", **ids(1))
    client.messages.clear()
    await client.turn("question 2", **ids(2))
    await client.turn("question 3", **ids(3))
    assert client.outcomes == ["start", "continue", "unanchored", "continue"]
    assert (await sidecar.only()).branches == [client.said]

    upstream.will(says("Another answer"))  # the client asks for another answer to what it was left with
    sent = [client.system, user("question 2")]
    await sidecar.ask(*sent, headers={**ID, **ids(2), "X-Message-ID": "b2"})
    assert upstream.last.json["messages"] == sent
    assert (await sidecar.only()).branches == [client.said, [*client.said[:5], "Another answer"]]


@pytest.mark.parametrize("headers", [ID, AFFINITY])
@pytest.mark.parametrize("dropped", [0, 1])
async def test_where_only_questions_stay_before_the_summary_nothing_is_put_between_them(
    sidecar: Sidecar, upstream: Upstream, headers: dict[str, str], dropped: int
):
    """Codex keeps what the user said, as much as there is room for, and puts the summary behind it."""
    client = Client(sidecar, upstream, headers)
    await client.turns(1, 2, 3)
    questions = [each for each in client.messages if each["role"] == "user"]
    client.messages = [*questions[dropped:], user("Another model has begun this. Its summary: …")]
    await client.turns(4, 5)
    assert {each.key for each in await sidecar.stored()} == {"c" if headers is ID else "ses_1"}
    assert client.outcomes[-1] == "continue"


async def test_calls_behind_a_summary_are_neither_doubled_nor_lost(sidecar: Sidecar, upstream: Upstream):
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    told = [PROMPT, user("one"), assistant("1"), user("two")]
    step = [
        {**assistant("I look."), "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "x"},
    ]
    left = [PROMPT, user("Summary"), user("two"), *step, assistant("2"), user("three")]
    for sent, answer in (
        (told[:2], says("1")),
        (told, says("I look.", finish="tool_calls", tool_calls=[call])),
        ([*told, *step], says("2")),
        (left, says("3")),
        ([*left, assistant("3"), user("four")], says("4")),
    ):
        upstream.will(answer)
        await sidecar.ask(*sent, headers=ID, tools=tools)
        assert upstream.last.json["messages"] == sent
    (branch,) = (await sidecar.only()).branches
    assert branch == ["one", "1", "two", "I look.", "x", "2", "three", "3", "four", "4"]
