"""Regenerate, edit, switch, delete: however a conversation is bent, the right tree and the right prompt."""

from __future__ import annotations

import pytest

from tests.e2e.openwebui.browser import Chat
from tests.e2e.openwebui.conftest import House

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_regenerated_answer_is_a_sibling_and_the_chat_goes_on_under_it(chat: Chat, house: House):
    await chat.send("First?")
    await chat.send("Second?")
    await chat.regenerate()
    assert house.model.last.texts == ["First?", "Answer 1 by model-a.", "Second?"]
    await chat.send("Third?")
    assert await chat.shown() == [*house.model.last.texts, "Answer 4 by model-a."]
    assert house.model.last.texts == [
        "First?",
        "Answer 1 by model-a.",
        "Second?",
        "Answer 3 by model-a.",
        "Third?",
    ]
    assert await house.tree(chat) == [
        "First?",
        "Answer 1 by model-a.",
        "Second?",
        ["Answer 2 by model-a."],
        ["Answer 3 by model-a.", "Third?", "Answer 4 by model-a."],
    ]


async def test_the_very_first_answer_can_be_regenerated(chat: Chat, house: House):
    await chat.send("First?")
    await chat.regenerate()
    await chat.send("Second?")
    assert house.model.last.texts == ["First?", "Answer 2 by model-a.", "Second?"]
    assert (await chat.shown())[:-1] == house.model.last.texts
    assert await house.tree(chat) == [
        "First?",
        ["Answer 1 by model-a."],
        ["Answer 2 by model-a.", "Second?", "Answer 3 by model-a."],
    ]


async def test_an_earlier_answer_can_be_regenerated(chat: Chat, house: House):
    await chat.send("First?")
    await chat.send("Second?")
    await chat.regenerate(at=0)
    await chat.send("Another second?")
    assert house.model.last.texts == ["First?", "Answer 3 by model-a.", "Another second?"]
    assert (await chat.shown())[:-1] == house.model.last.texts
    assert await house.tree(chat) == [
        "First?",
        ["Answer 1 by model-a.", "Second?", "Answer 2 by model-a."],
        ["Answer 3 by model-a.", "Another second?", "Answer 4 by model-a."],
    ]


async def test_answers_that_read_alike_stay_two(chat: Chat, house: House):
    await chat.send("First? [same]")
    await chat.regenerate()
    await chat.send("Second?")
    assert house.model.last.texts == ["First? [same]", "The same as ever.", "Second?"]
    assert await house.tree(chat) == [
        "First? [same]",
        ["The same as ever."],
        ["The same as ever.", "Second?", "Answer 3 by model-a."],
    ]


async def test_a_guided_regenerate_leaves_its_guidance_on_a_branch_of_its_own(chat: Chat, house: House):
    await chat.send("First?")
    await chat.send("Second?")
    await chat.regenerate("More Concise")
    guided = house.model.last.texts
    assert guided[:-1] == ["First?", "Answer 1 by model-a.", "Second?", "Answer 2 by model-a."]
    await chat.send("Third?")
    assert house.model.last.texts == [
        "First?",
        "Answer 1 by model-a.",
        "Second?",
        "Answer 3 by model-a.",
        "Third?",
    ]
    assert (await chat.shown())[:-1] == house.model.last.texts
    assert await house.tree(chat) == [
        "First?",
        "Answer 1 by model-a.",
        "Second?",
        ["Answer 2 by model-a.", guided[-1], "Answer 3 by model-a."],
        ["Answer 3 by model-a. (edited)", "Third?", "Answer 4 by model-a."],
    ]


async def test_an_edited_question_is_a_branch_and_both_branches_can_go_on(chat: Chat, house: House):
    await chat.send("First?")
    await chat.send("Second?")
    await chat.send("Third?")
    await chat.edit_question(1, "Second, differently?")
    assert house.model.last.texts == ["First?", "Answer 1 by model-a.", "Second, differently?"]
    await chat.send("On the new branch?")
    assert house.model.last.texts[2:] == [
        "Second, differently?",
        "Answer 4 by model-a.",
        "On the new branch?",
    ]
    await chat.turn_back(1)
    await chat.send("On the old branch?")
    assert house.model.last.texts == [
        "First?",
        "Answer 1 by model-a.",
        "Second?",
        "Answer 2 by model-a.",
        "Third?",
        "Answer 3 by model-a.",
        "On the old branch?",
    ]
    assert (await chat.shown())[:-1] == house.model.last.texts
    assert await house.tree(chat) == [
        "First?",
        "Answer 1 by model-a.",
        [
            "Second?",
            "Answer 2 by model-a.",
            "Third?",
            "Answer 3 by model-a.",
            "On the old branch?",
            "Answer 6 by model-a.",
        ],
        ["Second, differently?", "Answer 4 by model-a.", "On the new branch?", "Answer 5 by model-a."],
    ]


async def test_an_answer_that_the_user_edits_is_the_users_version(chat: Chat, house: House):
    await chat.send("First?")
    await chat.edit_answer(0, "The user knows better.")
    await chat.send("Second?")
    assert house.model.last.texts == ["First?", "The user knows better.", "Second?"]
    assert (await chat.shown())[:-1] == house.model.last.texts
    await chat.send("Third?")
    assert await house.tree(chat) == [
        "First?",
        ["Answer 1 by model-a."],
        [
            "The user knows better. (edited)",
            "Second?",
            "Answer 2 by model-a.",
            "Third?",
            "Answer 3 by model-a.",
        ],
    ]


async def test_a_copy_of_an_answer_that_the_user_edits_stands_beside_it(chat: Chat, house: House):
    await chat.send("First?")
    await chat.edit_answer(0, "The user knows better.", copy=True)
    await chat.send("Second?")
    assert house.model.last.texts == ["First?", "The user knows better.", "Second?"]
    assert await house.tree(chat) == [
        "First?",
        ["Answer 1 by model-a."],
        ["The user knows better. (edited)", "Second?", "Answer 2 by model-a."],
    ]


async def test_deleted_messages_are_not_sent_again_and_stay_in_the_store(chat: Chat, house: House):
    await chat.send("First?")
    await chat.send("Second?")
    await chat.send("Third?")
    await chat.delete(1)
    await chat.send("Fourth?")
    assert house.model.last.texts == [
        "First?",
        "Answer 1 by model-a.",
        "Third?",
        "Answer 3 by model-a.",
        "Fourth?",
    ]
    assert (await chat.shown())[:-1] == house.model.last.texts
    await chat.send("Fifth?")
    assert await house.tree(chat) == [
        "First?",
        "Answer 1 by model-a.",
        ["Second?", "Answer 2 by model-a.", "Third?", "Answer 3 by model-a."],
        [
            "Third?",
            "Answer 3 by model-a. (edited)",
            "Fourth?",
            "Answer 4 by model-a.",
            "Fifth?",
            "Answer 5 by model-a.",
        ],
    ]
