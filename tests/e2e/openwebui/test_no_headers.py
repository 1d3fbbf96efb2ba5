"""An Open WebUI that says nothing of its chats: they are recognised by what was said in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.openwebui.browser import Chat
from tests.e2e.openwebui.conftest import House
from tests.e2e.openwebui.server import NO_HEADERS

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("running", [NO_HEADERS], indirect=True),
]


def ids_told(house: House) -> set[str | None]:
    """The ids under which the upstream got the turns."""
    return {each.conversation for each in house.model.turns}


async def test_turns_are_one_conversation_under_one_id_without_their_tasks_and_an_edit_has_its_own(
    chat: Chat, house: House
):
    await chat.send("What begins this chat and no other?")
    await chat.send("Second?")
    await chat.regenerate()
    await chat.edit_question(1, "Second, differently?")
    *before, edited = (each.conversation for each in house.model.turns)
    assert before == [(await house.only())["conversation"]["id"]] * 3
    assert edited not in (None, before[0])
    assert {each.conversation for each in house.model.asked if each.task} == {None}
    assert len(house.model.tasks) >= 5
    assert (await chat.shown())[2:] == ["Second, differently?", "Answer 4 by model-a."]
    assert await house.tree(chat) == [
        "What begins this chat and no other?",
        "Answer 1 by model-a.",
        ["Second?", ["Answer 2 by model-a."], ["Answer 3 by model-a."]],
        ["Second, differently?", "Answer 4 by model-a."],
    ]


async def test_two_chats_that_begin_alike_are_two(house: House):
    chats = [await house.chat(), await house.chat()]
    for chat in chats:
        await chat.send("hi")
    for chat in chats:
        await chat.send("Who am I?")
    assert len(await house.kept()) == 2
    first, second, third, fourth = (each.conversation for each in house.model.turns)
    assert (first, second) == (third, fourth)
    assert first != second


async def test_a_document_that_comes_and_goes_parts_no_chat(chat: Chat, house: House, tmp_path: Path):
    note = tmp_path / "lighthouse.txt"
    note.write_text("The secret code of the lighthouse is 4711. " * 5)
    await chat.attach(note)
    await chat.send("What is the code?")
    await chat.send("Who keeps it?")
    await chat.send("Since when?")
    assert len(ids_told(house)) == 1
    assert len(await house.tree(chat)) == 6


async def test_tools_reasoning_and_a_stop_do_not_part_the_chat(chat: Chat, house: House):
    await chat.send("What time is it? [tools]", answers=3)
    await chat.send("Why? [think]")
    await chat.send("Count! [slow]", wait=False)
    await chat.page.get_by_text("word15").wait_for()
    await chat.stop()
    await chat.send("Enough?")
    assert len(ids_told(house)) == 1
    assert (await house.tree(chat))[5:] == [
        "result of call_2_0",
        "Answer 3 by model-a.",
        "Why? [think]",
        "Answer 4 by model-a. (reasoning)",
        "Count! [slow]",
        "word0 word1 word2 wo… (partial)",
        "Enough?",
        "Answer 6 by model-a.",
    ]
