"""More than one model, models with a prompt of their own, and chats that are more or less than one chat."""

from __future__ import annotations

import pytest

from tests.e2e.openwebui.browser import Chat
from tests.e2e.openwebui.conftest import House
from tests.e2e.stored import tree

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_two_models_side_by_side_answer_one_question(house: House):
    chat = await house.chat("model-a", "model-b")
    await chat.send("First?", answers=2)
    assert [each.texts for each in house.model.turns] == [["First?"], ["First?"]]
    assert {each.body["model"] for each in house.model.turns} == {"model-a", "model-b"}
    await chat.send("Second?", answers=2)
    chosen = {each.texts[1] for each in house.model.turns[2:]}
    assert len(chosen) == 1
    question, *branches = await house.tree(chat)
    assert question == "First?"
    assert {branch[0].split(" by ")[1] for branch in branches} == {"model-a.", "model-b."}
    goes_on = next(branch for branch in branches if len(branch) > 1)
    assert goes_on[:2] == [*chosen, "Second?"]
    assert {branch[0].split(" by ")[1] for branch in goes_on[2:]} == {"model-a.", "model-b."}
    (other,) = (branch for branch in branches if len(branch) == 1)
    assert other[0] not in chosen
    shown = await chat.shown()
    assert sorted(shown) == sorted(
        ["First?", *(branch[0] for branch in branches), "Second?", *(branch[0] for branch in goes_on[2:])]
    )


async def test_a_merge_of_two_answers_leaves_no_trace_and_the_chat_goes_on(house: House):
    chat = await house.chat("model-a", "model-b")
    await chat.send("First?", answers=2)
    before = await house.tree(chat)
    await chat.merge()
    assert house.model.tasks.count("merge") == 1
    assert await house.tree(chat) == before
    await chat.send("Second?", answers=2)
    # The merged text is for the reader alone: Open WebUI sends on with the answer that is selected.
    chosen = {each.texts[1] for each in house.model.turns[2:]}
    assert len(chosen) == 1
    question, *branches = await house.tree(chat)
    assert question == "First?"
    assert {len(branch) for branch in branches} == {1, 4}
    goes_on = next(branch for branch in branches if len(branch) > 1)
    assert goes_on[:2] == [*chosen, "Second?"]
    assert {branch[0].split(" by ")[1] for branch in goes_on[2:]} == {"model-a.", "model-b."}


async def test_a_temporary_chat_leaves_nothing(house: House):
    chat = await house.chat(temporary=True)
    await chat.send("Nobody shall know the word xylophone?")
    await chat.send("Forget it?")
    assert house.model.last.texts == [
        "Nobody shall know the word xylophone?",
        "Answer 1 by model-a.",
        "Forget it?",
    ]
    assert (await chat.shown())[-1] == "Answer 2 by model-a."
    assert await house.kept() == []
    for file in house.store.parent.glob("sidecar.db*"):
        assert b"xylophone" not in file.read_bytes()


async def test_a_clone_goes_on_by_itself(chat: Chat, house: House):
    await chat.send("First?")
    await chat.send("Second?")
    account = await house.admin()
    clone = await account.post(f"/api/v1/chats/{chat.id}/clone", {"title": "A clone"})
    copy = await house.chat()
    await copy.open(clone["id"])
    await copy.send("On the clone?")
    await chat.send("On the original?")
    shared = ["First?", "Answer 1 by model-a.", "Second?", "Answer 2 by model-a."]
    assert [each.texts for each in house.model.turns[2:]] == [
        [*shared, "On the clone?"],
        [*shared, "On the original?"],
    ]
    assert (await copy.shown())[-2:] == ["On the clone?", "Answer 3 by model-a."]
    trees = {each["conversation"]["key"]: tree(each) for each in await house.kept()}
    assert trees == {
        chat.id: [*shared, "On the original?", "Answer 4 by model-a."],
        copy.id: [
            "First?",
            "Answer 1 by model-a. (edited)",
            "Second?",
            "Answer 2 by model-a. (edited)",
            "On the clone?",
            "Answer 3 by model-a.",
        ],
    }


async def test_a_workspace_model_keeps_its_prompt_and_parameters(house: House):
    account = await house.admin()
    name = "pirate-" + house.configuration.replace(" ", "-")
    await account.post(
        "/api/v1/models/create",
        {
            "id": name,
            "base_model_id": "model-b",
            "name": "Pirate",
            "params": {"system": "Talk like a pirate.", "temperature": 0.25},
            "meta": {},
        },
    )
    chat = await house.chat(name)
    await chat.send("First?")
    await chat.send("Second?")
    assert house.model.last.body["model"] == "model-b"
    assert house.model.last.body["temperature"] == 0.25
    assert house.model.last.system == "Talk like a pirate."
    assert house.model.last.texts == ["First?", "Answer 1 by model-b.", "Second?"]
    assert (await chat.shown())[:-1] == house.model.last.texts
    # Its tasks carry the prompt as well, and are tasks all the same.
    await house.model.until(lambda: len(house.model.tasks) >= 4)
    assert await house.tree(chat) == ["First?", "Answer 1 by model-b.", "Second?", "Answer 2 by model-b."]


async def test_a_channel_is_recorded_and_never_continued_from_the_store(house: House):
    account = await house.admin()
    channel = await account.post(
        "/api/v1/channels/create", {"name": "tests", "type": "group", "user_ids": []}
    )
    path = f"/api/v1/channels/{channel['id']}/messages/post"
    for at in (1, 2):
        question = f"<@M:model-a|model-a> Question {at}?"
        await account.post(path, {"content": question, "data": {}, "meta": {}})
        await house.model.turned(at)
        assert house.model.last.texts == [f"Ada: model-a Question {at}?"]
    kept = await house.only()
    assert kept["conversation"]["key"] == f"channel:{channel['id']}"
    assert tree(kept) == [
        ["Ada: model-a Question 1?", "Answer 1 by model-a."],
        ["Ada: model-a Question 2?", "Answer 2 by model-a."],
    ]
    chat = await house.chat()
    await chat.page.goto(f"{house.url}/channels/{channel['id']}")
    await chat.page.get_by_text("Question 2?").first.wait_for()
