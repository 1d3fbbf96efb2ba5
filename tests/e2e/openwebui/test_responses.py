"""Open WebUI over the Responses API: what its users do to a chat, and what becomes of that."""

from __future__ import annotations

import pytest

from tests.e2e.openwebui.browser import Chat
from tests.e2e.openwebui.conftest import House
from tests.e2e.openwebui.server import RESPONSES, STATEFUL

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("running", [RESPONSES, STATEFUL], indirect=True),
]

STEPS = [
    "Let me look. (calls call_0_0) (calls call_0_1)",
    "result of call_0_0",
    "result of call_0_1",
    "Let me look. (calls call_2_0)",
    "result of call_2_0",
]


async def test_turns_edits_and_another_answer_make_one_tree_without_their_tasks(chat: Chat, house: House):
    await chat.send("First?")
    await chat.send("Second?")
    await chat.regenerate()
    assert house.model.last.texts == ["First?", "Answer 1 by model-a.", "Second?"]
    await chat.send("Third?")
    await chat.edit_question(1, "Second, differently?")
    assert house.model.last.texts == ["First?", "Answer 1 by model-a.", "Second, differently?"]
    await chat.turn_back(1)
    await chat.send("Fourth?")
    told = ["First?", "Answer 1 by model-a.", "Second?", "Answer 3 by model-a.", "Third?"]
    told += ["Answer 4 by model-a.", "Fourth?"]
    assert house.model.last.texts == told
    assert await chat.shown() == [*told, "Answer 6 by model-a."]
    assert await house.tree(chat) == [
        "First?",
        "Answer 1 by model-a.",
        ["Second?", ["Answer 2 by model-a."], [*told[3:], "Answer 6 by model-a."]],
        ["Second, differently?", "Answer 5 by model-a."],
    ]
    assert {each["api"] for each in (await house.only())["exchanges"]} == {"responses"}
    await house.model.until(lambda: len(house.model.tasks) >= 6)
    assert set(house.model.tasks) == {"follow_ups", "tags", "title"}
    assert {each.conversation for each in house.model.turns} == {chat.id}
    assert {each.conversation for each in house.model.asked if each.task} == {None}


async def test_tools_are_called_over_several_responses_and_again_for_another_answer(chat: Chat, house: House):
    await chat.send("What time is it? [tools]", answers=3)
    roles = ["user", "assistant", "tool", "tool", "assistant", "tool"]
    assert [each["role"] for each in house.model.last.messages] == roles
    await chat.send("Thanks.")
    assert (await chat.shown())[-1] == "Answer 4 by model-a."
    assert [each["role"] for each in house.model.last.messages] == [*roles, "assistant", "user"]
    for asked in house.model.turns[1:]:
        calls = asked.messages[1]["tool_calls"]
        assert [each["function"]["arguments"] for each in calls] == ['{"seconds": 1}', '{"seconds":  2}']
    await chat.regenerate(at=0, answers=3)
    assert await house.tree(chat) == [
        "What time is it? [tools]",
        [*STEPS, "Answer 3 by model-a.", "Thanks.", "Answer 4 by model-a."],
        [*STEPS, "Answer 7 by model-a."],
    ]


async def test_reasoning_a_stop_and_an_error_leave_what_they_leave_over_chat_completions(
    chat: Chat, house: House
):
    await chat.send("Why? [think]")
    await chat.send("Count! [slow]", wait=False)
    await chat.page.get_by_text("word15").wait_for()
    await chat.stop()
    await chat.send("Fail! [500]")
    assert "the model says 500" in (await chat.shown())[-1]
    await chat.send("Enough?")
    asked = house.model.last.texts
    assert [*asked[:3], *asked[4:]] == [
        *("Why? [think]", "Answer 1 by model-a.", "Count! [slow]", "Fail! [500]", "Enough?")
    ]
    assert asked[3].startswith("word0 word1 word2")
    assert await house.tree(chat) == [
        "Why? [think]",
        "Answer 1 by model-a. (reasoning)",
        "Count! [slow]",
        "word0 word1 word2 wo… (partial)",
        "Fail! [500]",
        "Enough?",
        "Answer 3 by model-a.",
    ]


async def test_an_answer_is_continued_where_its_length_has_ended_it(chat: Chat, house: House):
    await chat.send("Count to 10! [ends at 8]")
    await chat.go_on()
    assert house.model.last.texts == ["Count to 10! [ends at 8]", "1 2 3 4 5 6 7 8"]
    await chat.send("Thanks!")
    whole = "1 2 3 4 5 6 7 8 9 10."
    assert house.model.last.texts == ["Count to 10! [ends at 8]", whole, "Thanks!"]
    assert await chat.shown() == ["Count to 10! [ends at 8]", whole, "Thanks!", "Answer 3 by model-a."]
    assert await house.tree(chat) == [
        "Count to 10! [ends at 8]",
        ["1 2 3 4 5 6 7 8"],
        [whole, "Thanks!", "Answer 3 by model-a."],
    ]


async def test_a_chat_survives_that_the_sidecar_is_killed_between_its_turns(chat: Chat, house: House):
    await chat.send("First? [tools]", answers=3)
    await house.sidecar.kill()
    await house.sidecar.start()
    await chat.send("Second?")
    assert await house.tree(chat) == [
        *("First? [tools]", *STEPS, "Answer 3 by model-a."),
        *("Second?", "Answer 4 by model-a."),
    ]
