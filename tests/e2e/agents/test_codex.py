"""A real Codex before the sidecar, in front of an upstream that speaks chat completions alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.agents.codex import Codex
from tests.e2e.program import free_ports
from tests.e2e.stored import exported
from tests.proxy.mock_upstream import Answer, Exchange, Upstream, event, says, streams
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


class House:
    def __init__(self, folder: Path, upstream: Upstream) -> None:
        self.folder, self.upstream = folder, upstream
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}/v1"

    @asynccontextmanager
    async def sidecar(self) -> AsyncIterator[Process]:
        """Always at the same place, with the same store."""
        where = ("--upstream", self.upstream.url, "--store", f"sqlite:///{self.folder}/sidecar.db")
        at = ("--listen", f"127.0.0.1:{self.port}")
        async with serving(*where, *at, folder=self.folder, SIDECAR_RESPONSES__UPSTREAM="translate") as one:
            yield one

    async def only(self) -> dict[str, Any]:
        (conversation,) = await exported(self.folder / "sidecar.db")
        return conversation


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    upstream = Upstream(otherwise=model())
    upstream.only_chats = True
    await upstream.start()
    yield House(tmp_path, upstream)
    await upstream.stop()


def roles(messages: list[dict[str, Any]]) -> list[str]:
    return [each["role"] for each in messages]


@over_both
async def test_it_runs_its_tools_and_goes_on_after_the_sidecar_was_killed(house: House, websocket: bool):
    codex = Codex(house.folder, house.url, websocket)
    async with house.sidecar() as process:
        assert await codex.say("Please run it.") == "It says: 42"
        process.running.kill()
        await process.running.wait()
    first, second = house.upstream.requests
    assert second.json["messages"][: len(first.json["messages"])] == first.json["messages"]
    assert ("responses_websockets" in first.headers.get("openai-beta", "")) is websocket
    async with house.sidecar():
        assert await codex.go_on("Thank you.") == "You are welcome."
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
    codex = Codex(house.folder, house.url, websocket, compacts_at=4_000)
    house.upstream.will(full("Hello."), says("SUMMARY: he said hello."))
    async with house.sidecar():
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
async def test_it_changes_files_by_a_tool_that_takes_free_text(house: House, websocket: bool):
    codex = Codex(house.folder, house.url, websocket, model="gpt-5.5")
    async with house.sidecar():
        answer = await codex.say("Please patch it.")
    assert (house.folder / "work" / "b.txt").read_text() == "forty-two\n"
    assert "Success" in answer or "b.txt" in answer
