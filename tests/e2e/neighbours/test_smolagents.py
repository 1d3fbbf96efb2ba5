"""Agents of a real smolagents: it writes its tool calls and their results into texts, and sends all of it."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from tests.e2e.neighbours.libraries import Front, Libraries
from tests.e2e.stored import exported
from tests.proxy.mock_upstream import Exchange, Received, Upstream, completion, sends


async def answer(exchange: Exchange) -> None:
    """Looks at the place of the newest task, and then has done with it."""
    asked = exchange.request.json
    text = json.dumps(asked["messages"][-1]["content"])
    place = "Malta" if "Malta" in text else "Rome"
    is_seen = "seen at" in text
    name, given, word = (
        ("final_answer", "answer", f"done with {place}.") if is_seen else ("look", "place", place)
    )
    if asked.get("tools"):
        function = {"name": name, "arguments": json.dumps({given: word}, indent=1)}
        call = {"id": f"call_{len(asked['messages'])}", "type": "function", "function": function}
        answered = completion("I go on.", finish="tool_calls", tool_calls=[call])
    else:
        code = f"{name}({word!r})" if is_seen else f"print({name}({word!r}))"
        answered = completion(f"I go on.\n<code>\n{code}\n</code>")
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}  # it counts on that
    await sends(json.dumps(json.loads(answered) | {"usage": usage}).encode())(exchange)


def runs(upstream: Upstream) -> dict[str, list[Received]]:
    """The requests of each agent: only one of them has tools."""
    found: dict[str, list[Received]] = {"tools": [], "code": []}
    for each in upstream.requests:
        found["tools" if each.json.get("tools") else "code"].append(each)
    return found


@pytest.mark.parametrize("is_named", [True, False])
async def test_each_agent_is_one_conversation_and_goes_as_it_was_sent(
    libraries: Libraries, front: Front, upstream: Upstream, is_named: bool
):
    upstream.only_chats, upstream.otherwise = True, answer
    headers = {kind: {"X-Conversation-ID": kind} if is_named else {} for kind in ("tools", "code")}
    said = await libraries.run("smolagents_agents.py", {"base_url": front.base_url, "headers": headers})
    assert said == {kind: ["done with Rome.", "done with Malta."] for kind in ("tools", "code")}

    kept = await exported(front.store)
    assert len(kept) == 2
    for kind, requests in runs(upstream).items():
        assert [len(each.json["messages"]) for each in requests] == [2, 4, 6, 8]
        (session,) = {each.headers["X-Conversation-ID"] for each in requests}
        assert (session == kind) == is_named
        # Its results are no messages of a tool, so that nothing belongs to a call that could be put back.
        told = [json.dumps(each.json["messages"]) for each in requests]
        assert all(longer.startswith(shorter[:-1]) for shorter, longer in pairwise(told))
        assert all("tool_calls" not in each for each in told)
