"""A chat that was begun in Open WebUI, over chat completions, and other clients over the Responses API."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.neighbours.libraries import Libraries, conversation, say
from tests.e2e.openwebui.browser import Chat
from tests.e2e.openwebui.conftest import House
from tests.e2e.openwebui.server import KEY

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("running", ["template headers"], indirect=True),
]


async def test_a_chat_goes_on_in_another_client_over_the_other_api_and_back_and_is_one_tree(
    chat: Chat, house: House, tmp_path: Path
):
    admin = await house.admin()

    async def elsewhere(*questions: str) -> list[str]:
        """Ask these with OpenAI's SDK, of the conversation of the chat."""
        url = f"{house.sidecar.url.removesuffix('/-/ready')}/v1"
        steps = [say(each, stream=at % 2 == 1) for at, each in enumerate(questions)]
        asked = conversation(url, *steps, model="model-a", headers={"X-User-ID": admin.id}, thin=True)
        named = {**asked, "conversation": chat.id, "key": KEY}
        (answers,) = await Libraries(tmp_path).run("responses_openai.py", [named])
        return [each["text"] for each in answers]

    await chat.send("First? [tools]", answers=3)
    answers = await elsewhere("Second, elsewhere?", "Third, elsewhere?")
    assert answers == ["Answer 4 by model-a.", "Answer 5 by model-a."]
    # It has no tools, so that it gets the words alone that were said when there were some.
    first, steps, *new = house.model.last.texts
    assert (first, steps.split("\n\n")[-1]) == ("First? [tools]", "Answer 3 by model-a.")
    assert new == ["Second, elsewhere?", "Answer 4 by model-a.", "Third, elsewhere?"]
    await chat.send("Second, here?")
    assert house.model.last.texts[-2:] == ["Answer 3 by model-a.", "Second, here?"]
    assert await elsewhere("Third, behind what was said there?") == ["Answer 7 by model-a."]
    assert house.model.last.texts[-3:-1] == ["Second, here?", "Answer 6 by model-a."]
    assert (await house.tree(chat))[6:] == [
        "Answer 3 by model-a.",
        ["Second, elsewhere?", "Answer 4 by model-a.", "Third, elsewhere?", "Answer 5 by model-a."],
        [
            *("Second, here?", "Answer 6 by model-a."),
            *("Third, behind what was said there?", "Answer 7 by model-a."),
        ],
    ]
    apis = [each["api"] for each in (await house.only())["exchanges"]]
    assert sorted(apis) == [*["chat"] * 4, *["responses"] * 3]
    assert {each.conversation for each in house.model.turns} == {chat.id}
