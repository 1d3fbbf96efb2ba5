"""What clients send, by setting and by header; and what of the stored comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.proxy.client import CHAT, Sidecar, chat, named
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Upstream, says

SYSTEM = {"role": "system", "content": "It is 10:01."}
LATER = {"role": "system", "content": "It is 10:02."}


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def history(mode: str) -> dict[str, str]:
    return {"X-Sidecar-History": mode}


async def test_off_passes_the_very_bytes_and_keeps_nothing(sidecar: Sidecar, upstream: Upstream):
    await sidecar.ask("hi", id="a")
    body = b'{ "messages" : [{"role":"user","content":"private"}] }'
    reply = await sidecar.send("POST", CHAT, data=body, headers={**named("a"), **history("off")})
    assert reply.outcome == "bypass"
    assert upstream.last.body == body
    assert "X-Sidecar-History" not in upstream.last.headers
    assert (await sidecar.only()).branches == [["hi", "ok"]]


async def test_full_takes_a_lone_question_for_a_whole_history(sidecar: Sidecar, upstream: Upstream):
    await sidecar.ask("hi", id="a")
    await sidecar.ask("other", id="a", headers=history("FULL"))
    assert upstream.last.said == ["other"]
    assert (await sidecar.only()).branches == [["hi", "ok"], ["other", "ok"]]


async def test_append_takes_an_answer_for_new_as_well(sidecar: Sidecar, upstream: Upstream):
    await sidecar.ask("hi", id="a")
    reply = await sidecar.ask("1", "an example", "2", id="a", headers=history("append"))
    assert reply.outcome == "append"
    assert upstream.last.said == ["hi", "ok", "1", "an example", "2"]


async def test_append_says_the_same_twice_where_it_was_answered(sidecar: Sidecar, upstream: Upstream):
    for _ in range(2):
        await sidecar.ask("ok", id="a", headers=history("append"))
    assert upstream.last.said == ["ok", "ok", "ok"]


async def test_append_goes_on_behind_the_newest_message_whatever_parent_it_names(
    sidecar: Sidecar, upstream: Upstream
):
    upstream.will(says("1"), says("2"), says("3"))
    for question, number, parent in (("one", "1", ""), ("two", "2", "m1"), ("other", "3", "m1")):
        ids = {"X-User-Message-ID": f"u{number}", "X-Message-ID": f"m{number}"}
        named_parent = {"X-User-Message-Parent-ID": parent} if parent else {}
        await sidecar.ask(question, id="a", headers={**history("append"), **ids, **named_parent})
    assert upstream.last.said == ["one", "1", "two", "2", "other"]


async def test_after_one_whole_history_a_new_name_goes_on_by_append(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says("another"), says("more"))
    await sidecar.ask("one", "1", "other", id="b", headers=history("full"))
    await sidecar.ask("and?", id="b", headers=history("append"))
    assert upstream.last.said == ["one", "1", "other", "another", "and?"]


@pytest.mark.parametrize(
    ("mode", "said"), [("full", ["and?"]), ("append", ["hi", "ok", "and?"]), ("off", ["and?"])]
)
async def test_the_setting_says_it_for_all(start: Start, upstream: Upstream, mode: str, said: list[str]):
    sidecar = await start(history={"mode": mode})
    await sidecar.ask("hi", id="a")
    await sidecar.ask("and?", id="a")
    assert upstream.last.said == said
    assert bool(await sidecar.stored()) == (mode != "off")


async def test_the_header_wins_over_the_setting(start: Start, upstream: Upstream):
    sidecar = await start(history={"mode": "off"})
    await sidecar.ask("hi", id="a", headers=history("auto"))
    await sidecar.ask("and?", id="a", headers=history("auto"))
    assert upstream.last.said == ["hi", "ok", "and?"]


@pytest.mark.parametrize("sign", [{"X-OpenWebUI-User-Id": "u"}, {"X-Message-ID": "m"}])
async def test_who_is_known_to_send_all_is_never_appended_for(
    sidecar: Sidecar, upstream: Upstream, sign: dict[str, str]
):
    await sidecar.ask("hi", id="a", headers=sign)
    await sidecar.ask("other", id="a", headers=sign)
    assert upstream.last.said == ["other"]


async def test_a_conversation_seen_in_full_is_never_appended_to(sidecar: Sidecar, upstream: Upstream):
    await sidecar.ask("hi", "hello", "and?", id="a")
    await sidecar.ask("other", id="a")
    assert upstream.last.said == ["other"]


async def test_bodies_go_upstream_as_they_are_where_nothing_is_restored(sidecar: Sidecar, upstream: Upstream):
    bodies = [
        b'{"messages":[{"content":"hi","role":"user"}],\n "temperature": 1.0, "model":"m"}',
        b'{"temperature":0.70,"messages":[ {"role":"user","content":"hi"},'
        b'{"role":"assistant","content":"ok"}, {"role":"user","content":"\\u00e9?"} ],"z":1,"a":2}',
    ]
    for body in bodies:
        await sidecar.send("POST", CHAT, data=body, headers=named("a"))
        assert upstream.last.body == body


async def test_what_is_not_touched_keeps_its_order_and_spelling(sidecar: Sidecar, upstream: Upstream):
    await sidecar.ask("hi", id="a")
    body = b'{"z": 1.50,"messages" : [{"role": "user",  "content":"\\u00e9"}], "a":{"k":1e3, "b":[ ]}}'
    await sidecar.send("POST", CHAT, data=body, headers={**named("a"), "X-Sidecar-History": "append"})
    sent = upstream.last.body
    assert list(upstream.last.json) == ["z", "messages", "a"]
    for kept in (b"1.50", b'{"role": "user",  "content":"\\u00e9"}', b'{"k":1e3, "b":[ ]}'):
        assert kept in sent
    assert upstream.last.said == ["hi", "ok", "\u00e9"]


async def test_pin_keeps_the_first_system_message(start: Start, upstream: Upstream):
    sidecar = await start(restore={"system_prompt": "pin"})
    await sidecar.ask(SYSTEM, user("hi"), id="a")
    reply = await sidecar.ask(LATER, user("hi"), {"role": "assistant", "content": "ok"}, user("and?"), id="a")
    assert upstream.last.said == ["It is 10:01.", "hi", "ok", "and?"]
    assert reply.headers["X-Sidecar-Restored"] == "1"
    await sidecar.ask(LATER, user("hi"))
    assert upstream.last.said == ["It is 10:02.", "hi"]


async def test_pin_is_against_clocks_and_leaves_another_prompt_alone(start: Start, upstream: Upstream):
    sidecar = await start(restore={"system_prompt": "pin"})
    ok = {"role": "assistant", "content": "ok"}
    await sidecar.ask(system("You are Anna, a cook. It is 12:00."), user("hi"), id="a")
    await sidecar.ask(system("You are Bob, a lawyer. It is 12:01."), user("hi"), ok, user("and?"), id="a")
    assert upstream.last.said[0] == "You are Bob, a lawyer. It is 12:01."
    await sidecar.ask(user("a page"), ok, user("and?"), id="a", headers=history("full"))
    assert upstream.last.said == ["a page", "ok", "and?"]
    await sidecar.ask(system("You are Anna, a cook. It is 12:02."), user("hi"), ok, user("so?"), id="a")
    assert upstream.last.said[0] == "You are Anna, a cook. It is 12:00."


async def test_pin_gives_a_request_that_brings_no_prompt_the_one_that_goes_on(
    start: Start, upstream: Upstream
):
    sidecar = await start(restore={"system_prompt": "pin"})
    append = history("append")
    await sidecar.ask(system("You are Anna. It is 12:00."), user("hi"), id="a", headers=append)
    await sidecar.ask(system("You are Anna. It is 12:01."), user("two"), id="a", headers=append)
    await sidecar.ask(user("three"), id="a", headers=append)
    assert upstream.last.said[0] == "You are Anna. It is 12:00."
    await sidecar.ask(
        system("Sum it all up for me, please, in one line."), user("four"), id="a", headers=append
    )
    await sidecar.ask(user("five"), id="a", headers=append)
    assert upstream.last.said[0] == "Sum it all up for me, please, in one line."


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


async def test_by_default_the_system_message_is_the_clients(sidecar: Sidecar, upstream: Upstream):
    await sidecar.ask(SYSTEM, user("hi"), id="a")
    await sidecar.ask(LATER, user("hi"), {"role": "assistant", "content": "ok"}, user("and?"), id="a")
    assert upstream.last.said == ["It is 10:02.", "hi", "ok", "and?"]


THOUGHT = {"reasoning_content": "hm"}


@pytest.mark.parametrize(
    ("rule", "model", "comes_back"),
    [
        ("off", "m", False),
        ("same-model", "m", True),
        ("same-model", "other", False),
        ("always", "other", True),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
async def test_reasoning_comes_back_as_set(
    start: Start, upstream: Upstream, rule: str, model: str, comes_back: bool, whole: bool
):
    sidecar = await start(restore={"reasoning": rule})
    upstream.will(says("fine", **THOUGHT))
    await sidecar.ask("hi", id="a")
    said = {"X-Conversation-ID": "a", "X-Sidecar-History": "full" if whole else "append"}
    await sidecar.ask(*(["hi", "fine", "and?"] if whole else ["and?"]), headers=said, model=model)
    expected: Any = {"role": "assistant", "content": "fine", **THOUGHT} if comes_back else "fine"
    assert upstream.last.said == ["hi", expected, "and?"]


@pytest.mark.parametrize(("rule", "second"), [(False, "hi"), (True, "<context>long</context> hi")])
async def test_user_messages_come_back_as_set(start: Start, upstream: Upstream, rule: bool, second: str):
    sidecar = await start(restore={"user_messages": rule})
    await sidecar.ask("<context>long</context> hi", id="a")
    reply = await sidecar.ask("hi", "ok", "and?", id="a")
    assert reply.outcome == "continue"
    assert upstream.last.said == [second, "ok", "and?"]


async def test_answers_stay_the_clients_where_so_set(start: Start, upstream: Upstream):
    sidecar = await start(restore={"answers": False})
    upstream.will(says(" spaced out "))
    await sidecar.ask("hi", id="a")
    body = json.dumps({"messages": chat("hi", "spaced out", "and?")}).encode()
    await sidecar.send("POST", CHAT, data=body, headers=named("a"))
    assert upstream.last.body == body


async def test_the_text_of_an_answer_stays_the_clients(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says(" spaced out \n", annotations=[1]))
    await sidecar.ask("hi", id="a")
    body = json.dumps({"messages": chat("hi", "spaced out", "and?")}).encode()
    reply = await sidecar.send("POST", CHAT, data=body, headers=named("a"))
    assert upstream.last.body == body
    assert "X-Sidecar-Restored" not in reply.headers


async def test_appending_an_answer_does_not_make_it_a_client_of_whole_histories(
    sidecar: Sidecar, upstream: Upstream
):
    await sidecar.ask("hi", id="a")
    await sidecar.ask("1", "an example", "2", id="a", headers=history("append"))
    reply = await sidecar.ask("new", id="a")
    assert (reply.outcome, upstream.last.said[-1]) == ("append", "new")
    assert len(upstream.last.said) == 7


async def test_a_late_tool_result_takes_its_call_along_and_nothing_said_meanwhile_is_lost(
    sidecar: Sidecar, upstream: Upstream
):
    called, ids = {"name": "f", "arguments": "{}"}, ("c1", "c2")
    made = [{"id": id, "type": "function", "function": called} for id in ids]
    results = [{"role": "tool", "tool_call_id": id, "content": id} for id in ids]
    upstream.will(says(None, tool_calls=made), says("half"), says("well"), says("done"), says("again"))
    await sidecar.ask("hi", id="a")
    await sidecar.ask(results[0], id="a")
    await sidecar.ask("meanwhile", id="a")
    before = upstream.last.json["messages"]
    reply = await sidecar.ask(results[1], id="a")
    now = upstream.last.json["messages"]
    late = {"role": "assistant", "content": "well", "tool_calls": made[1:]}
    assert now == [*before, late, results[1]]
    assert reply.outcome == "append"
    assert (await sidecar.ask(results[1], id="a")).outcome == "retry"
    assert upstream.last.json["messages"] == now
