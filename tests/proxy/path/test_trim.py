"""What goes upstream of a history that has outgrown its budget."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tests.proxy.client import Sidecar, chat
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Upstream, says

SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "5"}


def turns(count: int) -> list[str]:
    """So many questions, each but the last with its answer."""
    return [text for at in range(1, count + 1) for text in (f"q{at}", f"a{at}")][:-1]


async def test_without_a_limit_all_goes(sidecar: Sidecar, upstream: Upstream):
    reply = await sidecar.ask(*turns(50), id="a")
    assert upstream.last.said == turns(50)
    assert "X-Sidecar-Trimmed" not in reply.headers


@pytest.mark.parametrize("thin", [False, True])
async def test_the_oldest_turns_go_first_and_nothing_stored_is_lost(
    start: Start, upstream: Upstream, thin: bool
):
    sidecar = await start(trim={"max_messages": 5, "step": 0.4})
    trimmed = []
    for count in range(1, 7):
        upstream.will(says(f"a{count}"))
        sent = [f"q{count}"] if thin else turns(count)
        reply = await sidecar.ask(*sent, id="a")
        trimmed.append(reply.headers.get("X-Sidecar-Trimmed"))
        said = upstream.last.said
        assert len(said) <= 5
        assert said == turns(count)[-len(said) :]
        assert said[0].startswith("q")
    assert trimmed == [None, None, None, "2", "4", "6"]
    assert (await sidecar.only()).branches == [[*turns(6), "a6"]]


async def test_the_cut_moves_in_steps(start: Start, upstream: Upstream):
    sidecar = await start(trim={"max_messages": 20, "step": 0.4})
    firsts = []
    for count in range(1, 30):
        await sidecar.ask(*turns(count), id="a")
        assert upstream.last.said[:2] == turns(count)[:2]  # the first turn stays
        firsts.append(upstream.last.said[2:3])
    moves = sum(one != other for one, other in pairwise(firsts[1:]))
    assert moves == 5  # 8 messages, 4 turns, at a time


async def test_the_system_message_and_the_newest_question_stay(start: Start, upstream: Upstream):
    sidecar = await start(trim={"max_messages": 1})
    reply = await sidecar.ask(SYSTEM, *({"role": "user", "content": text} for text in ("1", "2", "3")))
    assert upstream.last.said == ["Be brief.", "3"]
    assert reply.headers["X-Sidecar-Trimmed"] == "2"
    assert reply.headers["X-Sidecar-Over-Budget"] == "max_messages"


async def test_turns_are_counted_by_their_questions(start: Start, upstream: Upstream):
    sidecar = await start(trim={"max_turns": 2, "step": 0.1})
    await sidecar.ask(*turns(5), id="a")
    assert upstream.last.said == ["q4", "a4", "q5"]


async def test_tokens_are_estimated(start: Start, upstream: Upstream):
    sidecar = await start(trim={"max_input_tokens": 1000})
    long = [text + " or so" * 60 for text in turns(20)]
    reply = await sidecar.ask(*long, id="a")
    assert upstream.last.said == [*long[:2], *long[2 - len(upstream.last.said) :]]
    # No more than the budget, and no less than it without a step and a turn.
    assert 1000 - 400 - 230 <= sum(len(each) / 4 for each in upstream.last.said) <= 1000
    assert int(reply.headers["X-Sidecar-Trimmed"]) == 39 - len(upstream.last.said)


async def test_a_question_beyond_the_budget_goes_whole_and_is_said(start: Start, upstream: Upstream):
    sidecar = await start(trim={"max_input_tokens": 100})
    reply = await sidecar.ask("x" * 4000, id="a")
    assert upstream.last.said == ["x" * 4000]
    assert reply.headers["X-Sidecar-Over-Budget"] == "max_input_tokens"
    assert await sidecar.metric("sidecar_over_budget_total") == 1


async def test_a_result_never_goes_without_its_call(start: Start, upstream: Upstream):
    sidecar = await start(trim={"max_messages": 4, "step": 0.1})
    call = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    answer, *later = chat("a1", "q2", "a2", "q3")
    answer["role"] = later[1]["role"] = "assistant"
    later[0]["role"] = later[2]["role"] = "user"
    sent: list[dict[str, Any]] = [{"role": "user", "content": "q1"}, call, RESULT, answer, *later]
    await sidecar.ask(*sent, id="a")
    assert upstream.last.said == ["q2", "a2", "q3"]


@pytest.mark.parametrize("history", ["append", "full"])
async def test_a_question_behind_a_long_run_still_gets_its_task_its_last_steps_and_its_answer(
    start: Start, upstream: Upstream, history: str
):
    sidecar = await start(trim={"max_input_tokens": 1000})
    task = {"role": "user", "content": "Count the birds of all the islands."}
    run: list[dict[str, Any]] = [task]
    for step in range(60):
        call = {**CALL, "id": f"c{step}"}
        run += [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": f"c{step}", "content": f"island {step}: " + "gulls " * 20},
        ]
    done, more = {"role": "assistant", "content": "7,000 birds."}, {"role": "user", "content": "And boats?"}
    tools = [{"type": "function", "function": {"name": "f"}}]
    upstream.will(says("7,000 birds."), says("None."))
    await sidecar.ask(*run, id="a", tools=tools, headers={"X-Sidecar-History": "full"})
    sent = [more] if history == "append" else [*run, done, more]
    reply = await sidecar.ask(*sent, id="a", tools=tools, headers={"X-Sidecar-History": history})
    said = upstream.last.json["messages"]
    assert [said[0], said[-2], said[-1]] == [task, done, more]
    assert [each["role"] for each in said[1:-2]] == ["assistant", "tool"] * (len(said[1:-2]) // 2)
    assert said[-3]["content"].startswith("island 59")
    assert 6 < len(said) < 40
    assert int(reply.headers["X-Sidecar-Trimmed"]) == len(run) + 2 - len(said)


@pytest.mark.parametrize(
    ("limit", "keep", "stays"),
    [
        ({"max_messages": 5}, True, True),
        ({"max_messages": 5}, "auto", False),  # two of five are more than a quarter
        ({"max_messages": 9}, "auto", True),
        ({"max_messages": 9}, False, False),
        ({"max_turns": 3}, True, True),
        ({"max_turns": 3}, "auto", False),
        ({"max_turns": 4}, "auto", True),
        ({"max_input_tokens": 100}, "auto", True),
        ({"max_input_tokens": 100, "first_turn_share": 0.1}, "auto", False),
        ({"max_input_tokens": 40}, "auto", False),
        ({"max_input_tokens": 40}, True, True),
    ],
)
async def test_the_first_turn_stays_unless_it_is_long_beside_the_budget(
    start: Start, upstream: Upstream, limit: dict[str, Any], keep: Any, stays: bool
):
    sidecar = await start(trim={**limit, "keep_first_turn": keep, "step": 0.1})
    sent = turns(30)
    reply = await sidecar.ask(*sent, id="a")
    said = upstream.last.said
    assert said == [*sent[: 2 * stays], *sent[2 * stays - len(said) :]]
    assert int(reply.headers["X-Sidecar-Trimmed"]) == len(sent) - len(said) > 40


async def test_the_first_turn_goes_where_the_newest_would_not_fit_beside_it(start: Start, upstream: Upstream):
    sidecar = await start(trim={"max_input_tokens": 1000})
    task, newest = "the task " * 20, "word " * 860
    reply = await sidecar.ask(task, "ok", "and", "ok", newest, id="a")
    assert upstream.last.said == [newest]
    assert "X-Sidecar-Over-Budget" not in reply.headers
    await sidecar.ask(task, "ok", "and", "ok", "word " * 500, id="b")
    assert upstream.last.said[0] == task


async def test_a_client_may_have_one_request_go_whole(start: Start, upstream: Upstream):
    sidecar = await start(trim={"max_turns": 1})
    for headers, said in (({}, ["q3"]), ({"X-Sidecar-Trim": "Off"}, turns(3)), ({}, ["q3"])):
        reply = await sidecar.ask(*turns(3), id="a", headers=headers)
        assert upstream.last.said == said
        assert "X-Sidecar-Trim" not in upstream.last.headers
        assert ("X-Sidecar-Trimmed" in reply.headers) == (not headers)
    reply = await sidecar.ask("q1", id="a", headers={"X-Sidecar-Trim": "yes"})
    assert (reply.status, reply.json["error"]["code"]) == (400, "invalid_trim_mode")
    assert reply.json["error"]["param"] == "X-Sidecar-Trim"


async def test_a_temporary_chat_and_one_without_an_id_are_trimmed_too(start: Start, upstream: Upstream):
    sidecar = await start(trim={"max_turns": 1})
    for headers in ({"X-Conversation-ID": "temporary:1"}, {}):
        reply = await sidecar.ask(*turns(3), headers=headers)
        assert upstream.last.said == ["q3"]
        assert reply.headers["X-Sidecar-Trimmed"] == "4"


async def test_a_task_and_a_bypass_are_not_trimmed(start: Start, upstream: Upstream):
    sidecar = await start(trim={"max_turns": 1})
    for headers in ({"X-Task": "title"}, {"X-Sidecar-History": "off"}):
        await sidecar.ask(*turns(3), id="a", headers=headers)
        assert upstream.last.said == turns(3)


async def test_what_was_trimmed_is_still_known_the_next_time(start: Start, upstream: Upstream):
    sidecar = await start(trim={"max_turns": 1, "step": 1})
    for text in ("1", "2", "3"):
        await sidecar.ask(text, id="a")
    reply = await sidecar.ask("1", "ok", "2", "ok", "3", "ok", "4", id="a")
    assert reply.outcome == "continue"
    assert (await sidecar.only()).branches == [["1", "ok", "2", "ok", "3", "ok", "4", "ok"]]
