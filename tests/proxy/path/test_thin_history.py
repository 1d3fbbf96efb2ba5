"""A client that sends only what is new cannot mend its history: what goes upstream is valid all the same."""

from __future__ import annotations

from typing import Any

import pytest

from tests.proxy.client import Sidecar
from tests.proxy.mock_upstream import Upstream, says

CALL = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "five"}
TOOLS = [{"type": "function", "function": {"name": "look"}}]
SIGNED = [{"type": "reasoning.encrypted", "data": "s", "id": "c", "format": "google-gemini-v1", "index": 0}]


def sent(upstream: Upstream) -> list[dict[str, Any]]:
    return list(upstream.last.json["messages"])


@pytest.mark.parametrize(
    "more", [{"tool_calls": []}, {"annotations": [1]}, {"executed_tools": [1]}, {"refusal": None}]
)
async def test_what_only_answers_carry_is_not_sent_again(
    sidecar: Sidecar, upstream: Upstream, more: dict[str, Any]
):
    upstream.will(says("yes", **more))
    await sidecar.ask("hi", id="a")
    await sidecar.ask("new", id="a")
    assert sent(upstream)[1] == {"role": "assistant", "content": "yes"}


@pytest.mark.parametrize("empty", [says(""), says(None, reasoning_content="hm", finish="length")])
async def test_an_empty_answer_is_not_sent_again(sidecar: Sidecar, upstream: Upstream, empty):
    upstream.will(empty)
    await sidecar.ask("hi", id="a")
    await sidecar.ask("are you there?", id="a")
    assert upstream.last.said == ["hi\n\nare you there?"]


@pytest.mark.parametrize("thought", [{"reasoning_content": "so"}, {"reasoning_details": SIGNED}])
@pytest.mark.parametrize("stream", [False, True])
async def test_reasoning_goes_back_with_its_call_in_this_turn_and_all_later_ones(
    sidecar: Sidecar, upstream: Upstream, thought: dict[str, Any], stream: bool
):
    upstream.will(
        says("", tool_calls=[CALL], finish="tool_calls", **thought), says("5", reasoning_content="as it says")
    )
    await sidecar.ask("hi", id="a", tools=TOOLS, stream=stream)
    await sidecar.ask(RESULT, id="a", tools=TOOLS)
    asked = sent(upstream)
    assert asked[1] == {"role": "assistant", "content": "", **thought, "tool_calls": [CALL]}
    await sidecar.ask("thanks", id="a", tools=TOOLS)
    assert sent(upstream)[:3] == asked
    assert sent(upstream)[3] == {"role": "assistant", "content": "5"}


async def test_another_model_gets_neither_signatures_nor_foreign_ids(sidecar: Sidecar, upstream: Upstream):
    signed = {**CALL, "extra_content": {"google": {"thought_signature": "s"}}}
    upstream.will(says(None, tool_calls=[signed], finish="tool_calls"))
    await sidecar.ask("hi", id="a", tools=TOOLS, model="one")
    await sidecar.ask(RESULT, id="a", tools=TOOLS, model="one")
    assert sent(upstream)[1]["tool_calls"] == [signed]
    await sidecar.ask("new", id="a", tools=TOOLS, model="two")
    (made,), result = sent(upstream)[1]["tool_calls"], sent(upstream)[2]
    assert made == {**CALL, "id": made["id"]}
    assert made["id"] == result["tool_call_id"] != "c"


async def test_a_request_without_tools_gets_no_calls_but_that_of_its_own_result(
    sidecar: Sidecar, upstream: Upstream
):
    upstream.will(says(None, tool_calls=[CALL], finish="tool_calls"), says("It is 5."))
    await sidecar.ask("hi", id="a", tools=TOOLS)
    await sidecar.ask(RESULT, id="a")
    assert [each["role"] for each in sent(upstream)] == ["user", "assistant", "tool"]
    await sidecar.ask("thanks", id="a")
    assert upstream.last.said == ["hi", "It is 5.", "thanks"]
