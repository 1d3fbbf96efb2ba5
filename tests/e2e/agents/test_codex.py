"""A real Codex before the sidecar, in front of an upstream that speaks chat completions alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sidecar.dialects.responses.translation import PATIENCE
from tests.e2e.agents.codex import Codex
from tests.e2e.stored import exported
from tests.proxy.mock_upstream import Answer, Exchange, Upstream, event, says, streams, told
from tests.proxy.process import Process, serving

PATCH = "*** Begin Patch\n*** Add File: b.txt\n+forty-two\n*** End Patch"
over_both = pytest.mark.parametrize("websocket", [False, True], ids=["over HTTP", "over a WebSocket"])


def calls(name: str, **arguments: str) -> Answer:
    function = {"name": name, "arguments": json.dumps(arguments)}
    call = {"index": 0, "id": f"call_{name}", "type": "function", "function": function}
    return says(None, tool_calls=[call], finish="tool_calls")


def full(text: str) -> Answer:
    """An answer after which the model's window is said to be nearly full."""
    usage = {"prompt_tokens": 5_000, "completion_tokens": 5, "total_tokens": 5_005}
    return streams(event({"content": text}), event({}, finish="stop", usage=usage), b"data: [DONE]\n\n")


def model() -> Answer:
    """Does what it is asked, by the tool that the question names, and then says what came of it."""

    async def answer(exchange: Exchange) -> None:
        last: dict[str, Any] = exchange.request.json["messages"][-1]
        asked = str(last["content"])
        if last["role"] == "tool":
            await says(f"It says: {asked.splitlines()[-1]}")(exchange)
        elif "run" in asked:
            await calls("exec_command", cmd="echo $((40 + 2))")(exchange)
        elif "patch" in asked:
            await calls("apply_patch", input=PATCH)(exchange)
        else:
            await says("You are welcome.")(exchange)

    return answer


def waits_for(seconds: float, then: Answer) -> Answer:
    """Silence for so long, headers and all."""

    async def answer(exchange: Exchange) -> None:
        await asyncio.sleep(seconds)
        await then(exchange)

    return answer


class House:
    def __init__(self, folder: Path, store: str, upstream: Upstream) -> None:
        self.folder, self.store, self.upstream = folder, store, upstream

    @asynccontextmanager
    async def sidecar(self) -> AsyncIterator[Process]:
        """One more, with the same store."""
        where = ("--upstream", self.upstream.url, "--store", self.store)
        async with serving(*where, folder=self.folder, SIDECAR_RESPONSES__UPSTREAM="translate") as one:
            yield one

    def codex(self, process: Process, websocket: bool, **about: Any) -> Codex:
        """The same, in front of this one."""
        return Codex(self.folder, process.url, websocket, **about)

    async def only(self) -> dict[str, Any]:
        (conversation,) = await exported(self.store)
        return conversation


@pytest.fixture
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    store = f"sqlite:///{tmp_path}/sidecar.db"
    if getattr(request, "param", "SQLite") == "PostgreSQL":
        store = await request.getfixturevalue("server").store_url()
    upstream = Upstream(otherwise=model())
    upstream.only_chats = True
    await upstream.start()
    yield House(tmp_path, store, upstream)
    await upstream.stop()


def roles(messages: list[dict[str, Any]]) -> list[str]:
    return [each["role"] for each in messages]


@over_both
@pytest.mark.parametrize("house", ["SQLite", "PostgreSQL"], indirect=True)
async def test_it_runs_its_tools_and_goes_on_at_another_replica_after_the_first_was_killed(
    house: House, websocket: bool
):
    async with house.sidecar() as process, house.sidecar() as replica:
        assert await house.codex(process, websocket).say("Please run it.") == "It says: 42"
        process.running.kill()
        await process.running.wait()
        first, second = house.upstream.requests
        assert second.json["messages"][: len(first.json["messages"])] == first.json["messages"]
        assert ("responses_websockets" in first.headers.get("openai-beta", "")) is websocket
        assert await house.codex(replica, websocket).go_on("Thank you.") == "You are welcome."
    last = house.upstream.last.json["messages"]
    assert roles(last)[-4:] == ["assistant", "tool", "assistant", "user"]
    stored = await house.only()
    assert stored["conversation"]["key"] == first.headers["thread-id"]
    told = [each["message"] for each in stored["messages"]]
    assert roles(told)[-5:] == ["assistant", "tool", "assistant", "user", "assistant"]
    inner = {each["parent"] for each in stored["messages"]}
    assert len([each for each in stored["messages"] if each["id"] not in inner]) == 1


@over_both
async def test_it_has_its_history_summed_up_and_stays_in_its_chat(house: House, websocket: bool):
    house.upstream.will(full("Hello."), says("SUMMARY: he said hello."))
    async with house.sidecar() as process:
        codex = house.codex(process, websocket, compacts_at=4_000)
        assert await codex.say("Good day.") == "Hello."
        assert await codex.go_on("Thank you.") == "You are welcome."
    first, summing, last = house.upstream.requests
    assert not summing.json.get("tools")
    assert summing.said[: len(first.said)] == first.said
    assert "SUMMARY: he said hello." in str(last.said)
    assert "Hello." not in last.said
    stored = await house.only()
    assert "SUMMARY: he said hello." not in [
        each["message"]["content"] for each in stored["messages"] if each["message"]["role"] == "assistant"
    ]


@over_both
async def test_it_waits_for_a_model_that_says_nothing_for_longer_than_it_is_patient(
    house: House, websocket: bool
):
    """Before the first word, and in the middle: over HTTP it begins to count with the head of the answer."""
    patience, words = PATIENCE + 4, told("It took a while.")
    house.upstream.will(streams(*words[:2], patience + 4, *words[2:]))
    if websocket:
        house.upstream.will(waits_for(patience + 4, says("You are welcome.")))
    async with house.sidecar() as process:
        codex = house.codex(process, websocket, patience=patience)
        assert await codex.say("Good day.") == "It took a while."
        if websocket:
            assert await codex.go_on("Thank you.") == "You are welcome."
    assert len(house.upstream.requests) == (2 if websocket else 1)


@over_both
async def test_it_changes_files_by_a_tool_that_takes_free_text(house: House, websocket: bool):
    async with house.sidecar() as process:
        answer = await house.codex(process, websocket, model="gpt-5.5").say("Please patch it.")
    assert (house.folder / "work" / "b.txt").read_text() == "forty-two\n"
    assert "Success" in answer or "b.txt" in answer
