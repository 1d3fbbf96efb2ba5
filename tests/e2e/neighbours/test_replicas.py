"""`kill -9` between the turns of libraries over Responses, and the next turn at another sidecar."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.neighbours.libraries import Libraries
from tests.e2e.stored import exported, tree
from tests.proxy.mock_upstream import Answer, Exchange, Upstream, says
from tests.proxy.process import Process, serving

OPENAI = ("openai_previous", "openai_streamed", "openai_conversation")
AGENTS = ("agents_list", "agents_previous", "agents_conversation", "agents_session")
TURNS = (1, 2, 3)


def model() -> Answer:
    """Looks something up where it can, once for each question, and then answers it."""

    async def answer(exchange: Exchange) -> None:
        body = exchange.request.json
        question = next(each["content"] for each in reversed(body["messages"]) if each["role"] == "user")
        if body.get("tools") and body["messages"][-1]["role"] == "user":
            function = {"name": "temperature", "arguments": json.dumps({"city": "Rome"})}
            call = {"index": 0, "id": called(question), "type": "function", "function": function}
            await says(None, tool_calls=[call], finish="tool_calls")(exchange)
        else:
            await says(f"Answer to {question}")(exchange)

    return answer


def called(question: str) -> str:
    """The id of the call that it makes for this."""
    return f"call_{question.replace(' ', '_')}"


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    server = Upstream(otherwise=model())
    server.only_chats = True
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(params=["SQLite", "PostgreSQL"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "SQLite":
        return f"sqlite:///{tmp_path}/sidecar.db"
    url: str = await request.getfixturevalue("server").store_url()
    return url


async def test_no_chat_notices_that_its_sidecar_was_killed_and_another_one_goes_on(
    store: str, upstream: Upstream, libraries: Libraries, tmp_path: Path
):
    def sidecar() -> AbstractAsyncContextManager[Process]:
        where = ("--upstream", upstream.url, "--store", store)
        return serving(*where, folder=tmp_path, SIDECAR_RESPONSES__UPSTREAM="translate")

    left: dict[str, Any] = {}

    async def turn(process: Process, number: int) -> None:
        """One more of each chat, at a sidecar that is killed behind it."""
        asked = [{"way": way, "say": f"{number} {way}", "left": left.get(way)} for way in (*OPENAI, *AGENTS)]
        given = {"base_url": f"{process.url}/v1", "model": "m", "turns": asked}
        got = await libraries.run("kept_turns.py", given)
        assert [each["text"] for each in got] == [f"Answer to {each['say']}" for each in asked]
        for one, each in zip(asked, got, strict=True):
            left[str(one["way"])] = each["left"]
        process.running.kill()
        await process.running.wait()

    async with sidecar() as first, sidecar() as second:
        await turn(first, 1)
        await turn(second, 2)
    async with sidecar() as third:
        await turn(third, 3)
    for way in (*OPENAI, *AGENTS):
        sent = [each["content"] or None for each in last_of(upstream, way) if each["role"] != "system"]
        assert sent == said(way)[:-1]
    paths = {way: kept(way) for way in (*OPENAI, *AGENTS)}
    # The session adds its items by itself and sends all of them without a name: two conversations.
    expected = [*paths.values(), kept("agents_session", by="client")]
    assert sorted(tree(each) for each in await exported(store)) == sorted(expected)


def last_of(upstream: Upstream, way: str) -> list[dict[str, Any]]:
    """The messages of the last request of a chat."""
    question = f"{TURNS[-1]} {way}"
    asked = [each.json["messages"] for each in upstream.requests]
    messages: list[dict[str, Any]] = [
        each for each in asked if any(message["content"] == question for message in each)
    ][-1]
    return messages


def said(way: str) -> list[str | None]:
    """The contents of all of its messages."""
    looked_up = (None, "21 in Rome") if way in AGENTS else ()
    turns = ((f"{number} {way}", *looked_up, f"Answer to {number} {way}") for number in TURNS)
    return [each for turn in turns for each in turn]


def kept(way: str, *, by: str = "upstream") -> list[str]:
    """The path that is kept of it; of answers that a client wrote, its own."""
    mark = " (edited)" if by == "client" else ""
    path: list[str] = []
    for question in (f"{number} {way}" for number in TURNS):
        call = called(question)
        steps = (f" (calls {call}){mark}", f"result of {call}") if way in AGENTS else ()
        path += (question, *steps, f"Answer to {question}{mark}")
    return path
