"""Reasoning, tools, documents, images: what Open WebUI drops or bends on its way back comes back whole."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.e2e.openwebui.browser import Chat
from tests.e2e.openwebui.conftest import House

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: Eight pixels by eight, all of one colour.
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEklEQVR4nGP4z8CAFWEXHbQSACj/P8Fu7N9hAAAAAElFTkSuQmCC"
)


async def test_reasoning_is_kept_and_its_stripped_copy_is_recognised(chat: Chat, house: House):
    await chat.send("First? [think]")
    await chat.send("Second? [tag think]")
    await chat.send("Third?")
    assert await chat.shown() == [
        "First? [think]",
        "Answer 1 by model-a.",
        "Second? [tag think]",
        "Answer 2 by model-a.",
        "Third?",
        "Answer 3 by model-a.",
    ]
    assert house.model.last.texts[1:4] == [
        "Answer 1 by model-a.",
        "Second? [tag think]",
        "Answer 2 by model-a.",
    ]
    assert not any("reasoning_content" in each for each in house.model.last.messages)
    assert await house.tree(chat) == [
        "First? [think]",
        "Answer 1 by model-a. (reasoning)",
        "Second? [tag think]",
        "<think>I wonder why.</think>\nAnswer 2 by model-a.",
        "Third?",
        "Answer 3 by model-a.",
    ]


async def test_tool_calls_go_up_again_as_the_model_made_them(chat: Chat, house: House):
    await chat.send("What time is it? [tools]", answers=3)
    assert [each["role"] for each in house.model.last.messages] == [
        *("user", "assistant", "tool", "tool", "assistant", "tool")
    ]
    await chat.send("Thanks.")
    assert (await chat.shown())[-1] == "Answer 4 by model-a."
    assert [each["role"] for each in house.model.last.messages] == [
        *("user", "assistant", "tool", "tool", "assistant", "tool", "assistant", "user")
    ]
    calls = house.model.last.messages[1]["tool_calls"]
    assert [each["function"]["arguments"] for each in calls] == ['{"seconds": 1}', '{"seconds":  2}']
    assert await house.tree(chat) == [
        "What time is it? [tools]",
        "Let me look. (calls call_0_0) (calls call_0_1)",
        "result of call_0_0",
        "result of call_0_1",
        "Let me look. (calls call_2_0)",
        "result of call_2_0",
        "Answer 3 by model-a.",
        "Thanks.",
        "Answer 4 by model-a.",
    ]


async def test_a_regenerated_answer_after_tools_calls_them_again_on_a_branch(chat: Chat, house: House):
    await chat.send("What time is it? [tools]", answers=3)
    await chat.regenerate(answers=3)
    await chat.send("Thanks.")
    again = [
        "Let me look. (calls call_0_0) (calls call_0_1)",
        "result of call_0_0",
        "result of call_0_1",
        "Let me look. (calls call_2_0)",
        "result of call_2_0",
    ]
    assert await house.tree(chat) == [
        "What time is it? [tools]",
        [*again, "Answer 3 by model-a."],
        [*again, "Answer 6 by model-a.", "Thanks.", "Answer 7 by model-a."],
    ]


async def test_a_document_goes_in_with_its_question_and_the_chat_stays_one(
    chat: Chat, house: House, tmp_path: Path
):
    note = tmp_path / "lighthouse.txt"
    note.write_text("The secret code of the lighthouse is 4711. " * 5)
    await chat.attach(note)
    await chat.send("What is the code?")
    assert "4711" in house.model.last.texts[0]
    await chat.send("Who keeps it?")
    first, answer, second = house.model.last.texts
    assert "4711" not in first
    assert first.endswith("What is the code?")
    assert answer == "Answer 1 by model-a."
    assert second.endswith("Who keeps it?")
    await chat.send("Since when?")
    assert [text.splitlines()[-1] for text in house.model.last.texts] == [
        "What is the code?",
        "Answer 1 by model-a.",
        "Who keeps it?",
        "Answer 2 by model-a.",
        "Since when?",
    ]
    assert "Answer 3 by model-a." in (await chat.shown())[-1]
    told = await house.tree(chat)
    assert len(told) == 6
    assert told[1::2] == ["Answer 1 by model-a.", "Answer 2 by model-a.", "Answer 3 by model-a."]
    assert "4711" in (await house.only())["messages"][0]["message"]["content"]


async def test_an_image_is_stored_once_and_sent_every_time(chat: Chat, house: House, tmp_path: Path):
    picture = tmp_path / "picture.png"
    picture.write_bytes(PICTURE)
    await chat.attach(picture)
    await chat.send("What do you see?")
    await chat.send("And what else?")
    for asked in house.model.turns:
        about_the_file, text, image = asked.messages[0]["content"]
        assert about_the_file["text"].startswith("<attached_files>")
        assert text == {"type": "text", "text": "What do you see?"}
        assert image["image_url"]["url"] == "data:image/png;base64," + base64.b64encode(PICTURE).decode()
    assert await chat.shown() == [
        "What do you see?",
        "Answer 1 by model-a.",
        "And what else?",
        "Answer 2 by model-a.",
    ]
    first, *rest = (await house.only())["messages"]
    assert first["message"]["content"][-1] == house.model.last.messages[0]["content"][-1]
    assert [each["message"]["content"] for each in rest] == [
        "Answer 1 by model-a.",
        "And what else?",
        "Answer 2 by model-a.",
    ]
    assert len(await house.tree(chat)) == 4
