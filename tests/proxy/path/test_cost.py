"""One request costs what its bytes cost, and what takes more than its limits is told or kept apart."""

from __future__ import annotations

import json

import pytest

from tests.proxy.client import assert_error
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Upstream, says, sends

REFUSAL = json.dumps({"error": {"message": "too long", "code": "context_length_exceeded"}}).encode()
FULL = {"X-Sidecar-History": "full"}


@pytest.mark.parametrize("mode", ["full", "append", "off"])
async def test_too_many_messages_are_refused_and_reach_no_upstream(
    start: Start, upstream: Upstream, mode: str
):
    sidecar = await start(limits={"max_messages": 3})
    upstream.will(says("fine"))
    headers = {"X-Sidecar-History": mode}
    error = assert_error(
        await sidecar.ask("a", "b", "c", "d", id="c", headers=headers), 400, "too_many_messages"
    )
    assert "`limits.max_messages` = 3" in error["message"]
    assert upstream.requests == []
    assert (await sidecar.ask("a", "b", "c", id="c", headers=headers)).status == 200


async def test_a_history_that_takes_too_much_to_compare_is_kept_as_a_branch_of_its_own(
    start: Start, upstream: Upstream
):
    sidecar = await start(limits={"recognition_messages": 50})
    answer = {"role": "assistant", "content": "a"}
    told = [{"role": "user", "content": "q"}, *[answer] * 60, {"role": "user", "content": "end"}]
    upstream.will(says("first"), says("second"), says("third"))
    await sidecar.ask(*told, id="c", headers=FULL)
    other = [told[0], {"role": "assistant", "content": "zzz"}, {"role": "user", "content": "z"}]
    reply = await sidecar.ask(*other, id="c", headers=FULL)
    assert (reply.status, reply.outcome) == (200, "unanchored")
    assert await sidecar.metric("sidecar_recognitions_given_up_total") == 1
    assert ["q", "zzz", "z", "second"] in (await sidecar.only()).branches
    # From here on it is stored word for word.
    more = [*other, {"role": "assistant", "content": "second"}, {"role": "user", "content": "more"}]
    assert (await sidecar.ask(*more, id="c", headers=FULL)).outcome == "continue"
    assert await sidecar.metric("sidecar_recognitions_given_up_total") == 1


async def test_a_chat_that_names_none_begins_anew_where_it_takes_too_much_to_find(
    start: Start, upstream: Upstream
):
    sidecar = await start(limits={"recognition_bytes": 10})
    upstream.will(says("<think>so</think>answer"), says("second"))
    await sidecar.ask("<ctx>documents</ctx> question")
    reply = await sidecar.ask("question", "answer", "more")
    assert (reply.status, reply.outcome) == (200, "start")
    assert await sidecar.metric("sidecar_recognitions_given_up_total") == 1


@pytest.mark.parametrize("trim", [{}, {"max_input_tokens": 300}, {"max_messages": 1}, {"max_turns": 1}])
@pytest.mark.parametrize("role", ["system", "developer", "assistant", "tool", "odd"])
async def test_few_long_messages_of_any_kind_get_the_upstreams_own_answer(
    start: Start, upstream: Upstream, trim: dict[str, int], role: str
):
    sidecar = await start(trim=trim)
    long = {"role": role, "content": "s " * 3000, "tool_call_id": "a"}
    for messages in ([long], [long, long], []):
        for id in ("c", None):
            upstream.will(*[sends(REFUSAL, status=400)] * 5)
            reply = await sidecar.ask(*messages, id=id and f"{id}{len(messages)}")
            assert reply.status == 400
            assert reply.body == REFUSAL
