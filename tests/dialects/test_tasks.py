"""Which requests are background tasks of the front end, which only look like one, and how long they are."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.dialects.chat.tasks import MARKER, is_task, shorter_task
from sidecar.prompt.weights import estimate
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

    def test_another_list_marks_others(self):
        asked = request(user("Name this chat: hi"))
        assert is_task(None, asked, ("Name this chat:",))
        assert not is_task(None, asked, OPENINGS)

    def test_a_system_message_may_stand_before_it(self):
        assert looks_like_one(SYSTEM, TITLE)

    def test_the_opening_may_be_the_system_messages(self):
        assert looks_like_one(CHOICE, user("what time is it?"))

    @pytest.mark.parametrize(
        "opening", ["You are a title generator. You output ONLY a thread title.", CHOICE["content"]]
    )
    def test_after_a_system_message_that_opens_one_there_may_be_several_questions(self, opening):
        asks = {"role": "system", "content": f"{opening} Nothing else."}
        assert looks_like_one(asks, user("Generate a title for this conversation:\n"), user("Mend a.py"))
        assert not looks_like_one(asks, user("Mend a.py"), says("Mended."), user("Thanks"))
        assert not looks_like_one(asks, user("Mend a.py"), {**user("and?"), "role": "tool"})

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
            [TITLE, user("hi")],
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


LINES = [f"{'ASSISTANT' if at % 2 else 'USER'}: line number {at} of the chat" for at in range(40)]


def titled(lines, *, after="", **more):
    chat = "\n".join(lines)
    return user(f"{TITLE['content']}\n<chat_history>\n{chat}\n</chat_history>{after}", **more)


def cut(asked, most):
    sent = shorter_task(asked, most, estimate)
    assert sent is not None
    return sent


def texts(sent):
    return [json.loads(raw)["content"] for raw in sent]


def chat_in(text):
    return text.split("<chat_history>\n")[1].split("\n</chat_history>")[0].split("\n")


class TestTheLength:
    def test_what_fits_stays_as_it_is(self):
        asked = request(SYSTEM, titled(LINES))
        assert shorter_task(asked, sum(estimate(each.raw) for each in asked.sent), estimate) is None

    def test_lines_go_from_the_middle_of_the_chat(self):
        system, text = texts(cut(request(SYSTEM, titled(LINES, after="\nJSON:")), 250))
        lines = chat_in(text)
        at = lines.index(MARKER)
        newest = len(lines) - at - 1
        assert (system, text.endswith("</chat_history>\nJSON:")) == ("be kind", True)
        assert text.startswith(TITLE["content"])
        assert lines == [*LINES[:at], MARKER, *LINES[-newest:]]
        assert 0 < at < newest < 40 - at

    def test_as_few_lines_go_as_will_do(self):
        most = 400
        (text,) = texts(cut(request(titled(LINES)), most))
        lines = chat_in(text)
        at = lines.index(MARKER)
        gone = len(LINES) - (len(lines) - 1)
        one_more = [*lines[: at + 1], LINES[at + gone - 1], *lines[at + 1 :]]
        assert estimate(json.dumps(titled(lines)).encode()) <= most
        assert estimate(json.dumps(titled(one_more)).encode()) > most

    def test_the_last_line_stays_whatever_its_length(self):
        (text,) = texts(cut(request(titled(["USER: a", "ASSISTANT: " + "long " * 500])), 20))
        assert chat_in(text) == [MARKER, "ASSISTANT: " + "long " * 500]

    def test_everything_else_of_the_message_survives(self):
        (raw,) = cut(request(titled(LINES, name="Ada", x=1)), 100)
        assert {name: json.loads(raw)[name] for name in ("role", "name", "x")} == {
            "role": "user",
            "name": "Ada",
            "x": 1,
        }

    @pytest.mark.parametrize(
        "prompt",
        [
            user("no chat in here " * 100),
            titled(["USER: one line " * 100]),
            user("</chat_history>\nUSER: a\nASSISTANT: b\n<chat_history>\n" + "long " * 100),
            user([{"type": "text", "text": "a\n<chat_history>\nb\nc\n</chat_history>" + "long " * 100}]),
            user(None, refusal="long " * 100),
        ],
    )
    def test_a_prompt_of_another_shape_stays_as_it_is(self, prompt):
        assert shorter_task(request(prompt), 10, estimate) is None

    @given(st.lists(st.text(max_size=30), min_size=2, max_size=40), st.integers(0, 300))
    def test_what_is_left_is_a_beginning_the_marker_and_an_end(self, lines, most):
        lines = [line.replace("\n", " ") for line in lines]
        sent = shorter_task(request(titled(lines)), most, estimate)
        if sent is None:
            assert estimate(request(titled(lines)).sent[0].raw) <= most
            return
        chat = texts(sent)[0].removeprefix(f"{TITLE['content']}\n<chat_history>\n")
        left = chat.removesuffix("\n</chat_history>").split("\n")
        at = next(
            at
            for at, line in enumerate(left)
            if line == MARKER
            and left[:at] == lines[:at]
            and left[at + 1 :] == lines[len(lines) - len(left) + at + 1 :]
        )
        assert at < len(left) - 1
        assert estimate(sent[0]) <= most or len(left) == 2
