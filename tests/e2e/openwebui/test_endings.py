"""Stopped, continued, refused, broken off: how an answer may end, and the turn after it."""

from __future__ import annotations

import pytest

from tests.e2e.openwebui.browser import Chat
from tests.e2e.openwebui.conftest import House

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_stopped_answer_is_kept_as_far_as_it_came_and_the_chat_goes_on(chat: Chat, house: House):
    await chat.send("Count! [slow]", wait=False)
    await chat.page.get_by_text("word15").wait_for()
    await chat.stop()
    assert house.model.last.left
    await chat.send("Enough?")
    question, counted, enough = house.model.last.texts
    assert (question, enough) == ("Count! [slow]", "Enough?")
    assert counted.startswith("word0 word1 word2")
    assert "word399" not in counted
    assert await chat.shown() == [question, counted.strip(), enough, "Answer 2 by model-a."]
    assert await house.tree(chat) == [
        "Count! [slow]",
        "word0 word1 word2 wo… (partial)",
        "Enough?",
        "Answer 2 by model-a.",
    ]


async def test_an_answer_stopped_before_its_first_word_leaves_the_question(chat: Chat, house: House):
    await chat.send("Wait! [late]", wait=False)
    await house.model.until(lambda: house.model.turns)
    await chat.stop()
    assert house.model.last.left
    await chat.send("And now?")
    assert house.model.last.texts[0] == "Wait! [late]"
    assert house.model.last.texts[-1] == "And now?"
    assert (await chat.shown())[-1] == "Answer 2 by model-a."


async def test_continuing_an_answer_makes_one_longer_answer_beside_it(chat: Chat, house: House):
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


@pytest.mark.parametrize("status", ["500", "429"])
async def test_after_an_error_of_the_upstream_the_chat_goes_on(chat: Chat, house: House, status: str):
    await chat.send("First?")
    await chat.send(f"Fail! [{status}]")
    assert f"the model says {status}" in (await chat.shown())[-1]
    await chat.send("Again?")
    assert house.model.last.texts == ["First?", "Answer 1 by model-a.", f"Fail! [{status}]", "Again?"]
    assert (await chat.shown())[-1] == "Answer 2 by model-a."
    assert await house.tree(chat) == [
        "First?",
        "Answer 1 by model-a.",
        f"Fail! [{status}]",
        "Again?",
        "Answer 2 by model-a.",
    ]


async def test_an_error_inside_the_stream_keeps_what_came_before_it(chat: Chat, house: House):
    await chat.send("Break! [error midway]")
    assert "the model broke down" in (await chat.shown())[-1]
    await chat.send("Again?")
    assert house.model.last.texts == ["Break! [error midway]", "Answer 1", "Again?"]
    assert (await chat.shown())[-1] == "Answer 2 by model-a."
    assert await house.tree(chat) == [
        "Break! [error midway]",
        "Answer 1 (failed)",
        "Again?",
        "Answer 2 by model-a.",
    ]


async def test_a_stream_that_is_cut_leaves_what_came_and_the_chat_goes_on(chat: Chat, house: House):
    await chat.send("Break! [cut]")
    await chat.send("Again?")
    assert house.model.last.texts == ["Break! [cut]", "Again?"]
    assert (await chat.shown())[-1] == "Answer 2 by model-a."
    assert await house.tree(chat) == [
        "Break! [cut]",
        ["Answer 1 (failed)"],
        ["Again?", "Answer 2 by model-a."],
    ]
