"""Which requests are background tasks of the front end, and which only look like one."""

from __future__ import annotations

import pytest

from sidecar.conversation.tasks import is_task
from sidecar.settings.openings import OPENINGS
from tests.conversation.build import request, says, user

TITLE = user("### Task:\nGenerate a concise title summarizing the chat history.\n### Guidelines: …")
SYSTEM = {"role": "system", "content": "be kind"}
CHOICE = {"role": "system", "content": 'Available Tools: [{"name": "look"}]'}


def looks_like_one(*messages, mark=None, **more):
    return is_task(mark, request(*messages, **more), OPENINGS)


class TestTheMark:
    def test_a_mark_makes_a_task_of_any_request(self):
        assert looks_like_one(user("hi"), mark="title_generation")

    def test_an_empty_mark_makes_a_turn_of_any_request(self):
        assert not looks_like_one(TITLE, mark="")


class TestTheShape:
    @pytest.mark.parametrize("opening", OPENINGS)
    def test_every_known_opening_marks_a_task(self, opening):
        assert looks_like_one(user(f"{opening} and so on"))

    def test_a_system_message_may_stand_before_it(self):
        assert looks_like_one(SYSTEM, TITLE)

    def test_the_opening_may_be_the_system_messages(self):
        assert looks_like_one(CHOICE, user("what time is it?"))

    def test_white_space_before_it_does_not_count(self):
        assert looks_like_one(user(" \n" + TITLE["content"]))

    @pytest.mark.parametrize("none", [None, []])
    def test_no_tools_may_be_said_in_so_many_words(self, none):
        assert looks_like_one(TITLE, tools=none)

    @pytest.mark.parametrize(
        "messages",
        [
            [],
            [TITLE, says("A title"), user("another")],
            [user("hi"), TITLE],
            [TITLE, says("Sure:")],
            [SYSTEM, SYSTEM, TITLE],
            [says("hi"), TITLE],
            [{**TITLE, "role": "tool"}],
            [user("### Task:\nRespond to the user query using the provided context")],
            [user("Please do this: " + TITLE["content"])],
            [user("### Task:")],
        ],
    )
    def test_any_other_shape_is_a_turn(self, messages):
        assert not looks_like_one(*messages)

    def test_a_request_with_tools_is_a_turn(self):
        assert not looks_like_one(TITLE, tools=[{"type": "function"}])
