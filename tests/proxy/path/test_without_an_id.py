"""A chat that names itself by nothing is one conversation and one session, however its client spells it."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import ClientError

from tests.proxy.client import CHAT, Reply, Sidecar
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import CUT, Answer, Upstream, event, says, streams
from tests.proxy.upstream.test_breaks import branches

Message = dict[str, Any]
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]


def of(role: str, content: Any, **more: Any) -> Message:
    return {"role": role, "content": content, **more}


def call(id: str, city: str = "Rome") -> Message:
    function = {"name": "look", "arguments": f'{{"city": "{city}"}}'}
    return of("assistant", None, tool_calls=[{"id": id, "type": "function", "function": function}])


def result(id: str, text: str = "sunny") -> Message:
    return of("tool", text, tool_call_id=id)


def id_of(reply: Reply) -> str:
    return reply.headers["X-Conversation-ID"]


def sessions(upstream: Upstream) -> list[str]:
    return [each.headers["X-Conversation-ID"] for each in upstream.requests]


RESPELLINGS: list[tuple[str, Callable[[str], str]]] = [
    ("a line\r\n\r\nand é", lambda text: text.replace("\r\n", "\n")),
    ("a line\n\nand é", lambda text: text.replace("\n", "\r\n")),
    ("naïve café", lambda text: unicodedata.normalize("NFD", text)),
    (unicodedata.normalize("NFD", "Ångström"), lambda text: unicodedata.normalize("NFC", text)),
    ("a\u00a0b\u3000c\u2028d", lambda text: " ".join(text.split())),
    ("  code:\n    x = 1\n", lambda text: "\n".join(each.strip() for each in text.splitlines())),
    ("a\u200bb \ufeffc", lambda text: text.replace("\u200b", "").replace("\ufeff", "")),
]


@pytest.mark.parametrize("both", [False, True], ids=["answers", "questions too"])
async def test_white_space_line_ends_and_unicode_form_part_no_chat(
    sidecar: Sidecar, upstream: Upstream, both: bool
):
    for number, (text, spelled) in enumerate(RESPELLINGS):
        upstream.will(says(f"{number} {text}"), says("B"))
        asked = of("user", f"{number}? {text}")
        first = await sidecar.ask(asked)
        again = of("user", spelled(asked["content"])) if both else asked
        second = await sidecar.ask(again, of("assistant", spelled(f"{number} {text}")), of("user", "b?"))
        third = await sidecar.ask(
            again,
            of("assistant", spelled(f"{number} {text}")),
            of("user", "b?"),
            of("assistant", "B"),
            of("user", "c?"),
        )

        assert [each.outcome for each in (first, second, third)] == ["start", "continue", "continue"], text
        assert id_of(first) == id_of(second) == id_of(third)
        assert upstream.last.json["messages"][0] == again


@pytest.mark.parametrize("named", [None, "chat-1"])
@pytest.mark.parametrize("depth", [0, 1, 2])
async def test_a_system_message_that_moves_with_the_newest_question_parts_no_chat(
    sidecar: Sidecar, upstream: Upstream, named: str | None, depth: int
):
    """Notes at a depth in SillyTavern, reminders of agents: in each request anew, and nowhere else."""
    told: list[Message] = [of("system", "card")]
    note = of("system", "Stay in character.")
    replies = []
    for number in range(4):
        upstream.will(says(f"answer {number}"))
        told.append(of("user", f"question {number}"))
        at = max(1, len(told) - depth)
        sent = [*told[:at], note, *told[at:]]
        replies.append(await sidecar.ask(*sent, id=named))
        assert upstream.last.json["messages"] == sent
        told.append(of("assistant", f"answer {number}"))

    assert len(set(sessions(upstream))) == 1
    assert [each.outcome for each in replies] == ["start", "continue", "continue", "continue"]


@pytest.mark.parametrize("named", [None, "chat-1"])
async def test_a_system_message_that_stays_in_its_place_parts_no_chat(
    sidecar: Sidecar, upstream: Upstream, named: str | None
):
    told: list[Message] = []
    replies = []
    for number in range(4):
        upstream.will(says(f"answer {number}"))
        told += [of("user", f"question {number}"), of("system", f"note {number}")]
        replies.append(await sidecar.ask(*told, id=named))
        assert upstream.last.json["messages"] == told
        told.append(of("assistant", f"answer {number}"))

    assert len(set(sessions(upstream))) == 1
    assert [each.outcome for each in replies] == ["start", "continue", "continue", "continue"]


@pytest.mark.parametrize(
    ("id", "respelled"),
    [
        ("call_aB-12", "callaB12"),
        ("toolu_01AbCdEfGhIj", "01AbCdEfG"),
        ("", "made-up"),
        ("functions.look:0", "look0"),
    ],
)
async def test_calls_by_ids_in_another_spelling_and_cleared_results_part_no_chat(
    sidecar: Sidecar, upstream: Upstream, id: str, respelled: str
):
    upstream.will(says(None, tool_calls=call(id)["tool_calls"]), says("It is sunny."), says("ok"), says("ok"))
    ask = of("user", "the weather?")
    await sidecar.ask(ask, tools=TOOLS)
    await sidecar.ask(ask, call(respelled), result(respelled), tools=TOOLS)
    told = [ask, call(respelled), result(respelled, "[cleared]"), of("assistant", "It is sunny.")]
    third = await sidecar.ask(*told, of("user", "and?"), tools=TOOLS)

    assert len(set(sessions(upstream))) == 1
    assert upstream.last.json["messages"] == [*told, of("user", "and?")]
    assert third.outcome == "continue"


async def test_steps_written_into_an_answer_as_smolagents_does_part_no_chat(
    sidecar: Sidecar, upstream: Upstream
):
    told = [of("user", [{"type": "text", "text": "New task:\nDo it"}])]
    for number in range(5):
        own = number % 2 == 0  # by a call of the model's own, or in code
        upstream.will(
            says(None, tool_calls=call(f"call_{number}")["tool_calls"]) if own else says(f"Thought: {number}")
        )
        await sidecar.ask(*told, tools=TOOLS)
        assert upstream.last.json["messages"] == told
        text = (
            "" if own else f"Thought: {number}"
        ) + f"\nCalling tools:\n[{{'id': 'call_{number}', 'type': 'function'}}]"
        told += [
            of("assistant", [{"type": "text", "text": text}]),
            of("user", [{"type": "text", "text": f"Observation:\n{number}"}]),
        ]

    assert len(set(sessions(upstream))) == 1
    assert len((await sidecar.only()).messages) == 10


@pytest.mark.parametrize(
    "flat",
    [
        'I look.\n"&quot;sunny&quot;"\nIt is sunny.',
        'I look.\n"sunny"\nIt is sunny.',
        'I look.\n<details type="tool_calls" done="true" id="c1" name="look" result="x">\n<summary>Tool'
        " Executed</summary>\n</details>\nIt is sunny.",
        "I look. It is sunny.",
    ],
    ids=["Open WebUI 0.6", "result", "block", "text alone"],
)
async def test_steps_written_into_an_answer_as_front_ends_do_part_no_chat(
    sidecar: Sidecar, upstream: Upstream, flat: str
):
    looks = {**call("c1"), "content": "I look."}
    upstream.will(says("I look.", tool_calls=looks["tool_calls"]), says("It is sunny."), says("ok"))
    await sidecar.ask("the weather?", tools=TOOLS)
    await sidecar.ask(of("user", "the weather?"), looks, result("c1"), tools=TOOLS)
    third = await sidecar.ask("the weather?", flat, "and?", tools=TOOLS)

    assert len(set(sessions(upstream))) == 1
    assert third.outcome == "continue"
    assert upstream.last.said == ["the weather?", flat, "and?"]


async def test_an_answer_that_was_completed_without_its_client_is_known_by_its_beginning(
    start: Start, upstream: Upstream
):
    sidecar, goes_on = await start(history={"on_disconnect": "finish"}), asyncio.Event()
    rest = event({"content": " a time."}, finish="stop")
    upstream.will(streams(event({"content": "Once upon"}), goes_on, rest))
    data = {"messages": [of("user", "a tale")], "stream": True}
    async with sidecar.http.post(sidecar.url + CHAT, json=data) as response:
        id = response.headers["X-Conversation-ID"]
        async for chunk in response.content:
            if b"upon" in chunk:
                break
    await asyncio.sleep(0.05)
    goes_on.set()
    await branches(sidecar, ["a tale", "Once upon a time."])
    reply = await sidecar.ask("a tale", "Once upon", "go on")

    assert (id_of(reply), reply.outcome) == (id, "continue")
    assert id_of(await sidecar.ask("a tale", "Once a", "go on")) != id


async def test_two_users_who_begin_alike_and_part_share_no_session(sidecar: Sidecar, upstream: Upstream):
    """Both behind one key, and the second before it has a chat of its own that could be told apart."""
    await sidecar.ask("hi")
    one = [id_of(await sidecar.ask("hi", "ok", "my salary"))]
    two = [id_of(await sidecar.ask("hi", "ok", "my cat"))]
    one.append(id_of(await sidecar.ask("hi", "ok", "my salary", "ok", "and taxes")))
    two.append(id_of(await sidecar.ask("hi", "ok", "my cat", "ok", "and food")))
    again = id_of(await sidecar.ask("hi", "ok", "my cat", "ok", "and food"))
    three = id_of(await sidecar.ask("hi", "ok", "my cat", "ok", "and water"))
    thin = await sidecar.ask("and now?", id=one[0])

    assert len(set(one)) == len(set(two)) == 1
    assert len({*one, *two, three}) == 3
    assert again == two[0]
    assert sessions(upstream)[1:-1] == [one[0], two[0], one[1], two[1], again, three]
    assert not any("cat" in text for text in upstream.last.said)
    assert thin.status == 200


async def test_a_chat_whose_client_dates_its_old_messages_anew_is_stored_once(
    sidecar: Sidecar, upstream: Upstream
):
    texts: list[str] = []
    for number in range(8):
        upstream.will(says(f"answer number {number}"))
        texts.append(f"question {number}")
        dated = [
            of("assistant", text) if at % 2 else of("user", f"[2026-11-28 10:{number:02}:{at:02}] {text}")
            for at, text in enumerate(texts)
        ]
        await sidecar.ask(*dated)
        texts.append(f"answer number {number}")

    assert len(set(sessions(upstream))) == 1
    assert len((await sidecar.only()).messages) == 16


@pytest.mark.parametrize("failure", [streams(event({"content": "The an"}), CUT), says("")])
async def test_a_question_behind_one_that_was_not_answered_stays_in_the_session(
    sidecar: Sidecar, upstream: Upstream, failure: Answer
):
    upstream.will(says("A"), failure, says("C"))
    await sidecar.ask("a?")
    told = [of("user", "a?"), of("assistant", "A"), of("user", "b?")]
    with suppress(ClientError):
        await sidecar.ask(*told, stream=True)
    await sidecar.ask(*told, of("user", "c?"))
    await sidecar.ask(*told, of("user", "c?"), of("assistant", "C"), of("user", "d?"))

    assert len(set(sessions(upstream))) == 1


@pytest.mark.parametrize("field", ["user", "safety_identifier"])
async def test_users_whom_the_bodies_name_never_meet(sidecar: Sidecar, upstream: Upstream, field: str):
    upstream.otherwise = says("Hello!\nWell?")
    users: list[dict[str, Any]] = [{field: name} for name in ("u1", "u2", "u3")]
    ids = {each[field]: id_of(await sidecar.ask("hi", **each)) for each in users}
    assert len(set(ids.values())) == 3
    told = [of("user", "hi"), of("assistant", "Hello!\nWell?")]
    for question in ("a?", "b?"):
        told.append(of("user", question))
        for each in users:
            assert id_of(await sidecar.ask(*told, **each)) == ids[each[field]]
        told.append(of("assistant", "Hello!\r\nWell?"))  # as it is spelled nowhere in the store
    stranger: dict[str, Any] = {field: "u4"}
    reply = await sidecar.ask(*told, of("user", "c?"), **stranger)
    assert (reply.outcome, id_of(reply) in ids.values()) == ("start", False)


async def test_the_words_of_a_chat_without_an_id_get_into_none_that_has_one(
    sidecar: Sidecar, upstream: Upstream
):
    upstream.will(says("Hello!"), says("theirs"))
    await sidecar.ask("hi", id="a")
    other = await sidecar.ask("hi", "Hello!", "I am somebody else")
    await sidecar.ask("what did I say?", id="a")

    assert (other.outcome, upstream.last.said) == ("start", ["hi", "Hello!", "what did I say?"])


@pytest.mark.parametrize("failure", [streams(event({"content": "The an"}), CUT), says("")])
async def test_two_questions_in_a_row_that_were_not_answered_stay_in_the_session_of_the_next_one(
    sidecar: Sidecar, upstream: Upstream, failure: Answer
):
    note = of("system", "Stay in character.")  # some clients put it in front of the newest question
    upstream.will(says("A"), failure, failure, says("D"))
    await sidecar.ask("a?")
    told = [of("user", "a?"), of("assistant", "A")]
    for question in ("b?", "c?", "d?"):
        with suppress(ClientError):
            await sidecar.ask(*told, note, of("user", question), stream=True)
        told.append(of("user", question))

    assert len(set(sessions(upstream))) == 1
