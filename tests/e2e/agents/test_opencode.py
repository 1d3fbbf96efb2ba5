"""A real opencode before the sidecar, which knows its chats by its headers, or by their words alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.agents.opencode import Opencode, opencode
from tests.e2e.stored import exported, tree
from tests.proxy.mock_upstream import Answer, Exchange, Received, Upstream, event, streams, told
from tests.proxy.process import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: What the sidecar is told, by the name of the provider that opencode has it for.
SETTINGS = {"named": {}, "nameless": {"SIDECAR_IDENTITY__AGENT_HEADERS": "[]"}}
NAMES = ["X-Session-Affinity", "X-Session-Id", "X-Conversation-ID"]


@dataclass
class House:
    agent: Opencode
    model: Upstream
    stores: dict[str, Path]

    def turns(self, chat: str) -> list[Received]:
        named = [each for each in self.model.requests if each.headers.get("X-Session-Id") == chat]
        return [each for each in named if each.json.get("tools")]

    def others(self, since: int) -> list[Received]:
        """What it asks besides: titles and summaries."""
        return [each for each in self.model.requests[since:] if not each.json.get("tools")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder = tmp_path_factory.mktemp("opencode")
    model = Upstream(otherwise=_model())
    stores = {name: folder / f"{name}.db" for name in SETTINGS}
    await model.start()
    try:
        async with AsyncExitStack() as stack:
            urls = {}
            for name, settings in SETTINGS.items():
                where = ("--upstream", model.url, "--store", f"sqlite:///{stores[name]}")
                process = await stack.enter_async_context(serving(*where, folder=folder, **settings))
                urls[name] = f"{process.url}/v1"
            agent = await stack.enter_async_context(opencode(folder, urls))
            yield House(agent, model, stores)
    finally:
        await model.stop()


def _model() -> Answer:
    """Calls the shell once in each turn, and sums up and names chats in one line."""
    made = 0

    async def answer(exchange: Exchange) -> None:
        nonlocal made
        asked = exchange.request.json
        if not asked.get("tools"):
            await streams(*told("A line about it all"))(exchange)
        elif asked["messages"][-1]["role"] != "user":
            await streams(*told(f"Done {made}"))(exchange)
        else:
            made += 1
            # Spelled with blanks, as models do and clients do not.
            arguments = json.dumps({"command": f"echo said {made}", "description": "Says it"}, indent=1)
            function = {"name": "bash", "arguments": arguments}
            call = {"index": 0, "id": f"call_{made}", "type": "function", "function": function}
            first = event({"role": "assistant", "content": "Let me see.", "tool_calls": [call]})
            await streams(first, event({}, finish="tool_calls"), told("")[-1])(exchange)

    return answer


def roles(request: Received) -> list[str]:
    return [each["role"] for each in request.json["messages"]]


@pytest.mark.parametrize("by", SETTINGS)
async def test_turns_with_tools_are_one_conversation_and_the_rest_stays_out_of_it(house: House, by: str):
    before = len(house.model.requests)
    chat = await house.agent.begin()
    first = await house.agent.say(chat, "Say it in the shell.", by=by)
    second = await house.agent.say(chat, "Say it again.", by=by)
    assert first.startswith("Done")
    assert second.startswith("Done")

    turns = house.turns(chat)
    step = ["assistant", "tool"]
    whole = ["system", "user", *step, "assistant", "user", *step]
    assert [roles(each) for each in turns] == [whole[:2], whole[:4], whole[:6], whole]
    sessions = {each.headers["X-Conversation-ID"] for each in turns}
    assert len(sessions) == 1

    (title,) = house.others(before)
    assert "title generator" in title.json["messages"][0]["content"]
    # Names that the sidecar is not told to read go on as any header does.
    assert [name for name in NAMES if name in title.headers] == ([] if by == "named" else NAMES[:2])
    (kept,) = [each for each in await exported(house.stores[by]) if tree(each)[0] == "Say it in the shell."]
    path = tree(kept)
    assert kept["conversation"]["key"] == (chat if by == "named" else None)
    assert [each.split(" (")[0] for each in path if not each.startswith("result")] == [
        *("Say it in the shell.", "Let me see.", first),
        *("Say it again.", "Let me see.", second),
    ]


async def test_what_follows_a_summary_of_its_own_goes_as_it_was_sent(house: House):
    chat = await house.agent.begin()
    await house.agent.say(chat, "Talk of the weather.", by="named")
    before = len(house.model.requests)
    await house.agent.compact(chat, by="named")
    (summed,) = house.others(before)
    assert [name for name in NAMES if name in summed.headers] == []
    assert "<conversation>" in summed.json["messages"][-1]["content"]
    await house.agent.say(chat, "Go on.", by="named")

    newest = house.turns(chat)[-1]
    assert roles(newest) == ["system", "user", "assistant", "user", "assistant", "tool"]
    assert [each["content"] for each in newest.json["messages"][2:4]] == ["A line about it all", "Go on."]
    kept = await exported(house.stores["named"])
    texts = [tree(each) for each in kept if each["conversation"]["key"] == chat]
    assert sum("Go on." in path for path in texts) == 1
    assert sum("Talk of the weather." in path for path in texts) == 1
    assert not any("<conversation>" in str(path) for path in texts)
