"""Which stored messages a client's copy stands for."""

from __future__ import annotations

import pytest

from sidecar.conversation import message as messages
from sidecar.conversation.echo import echoed_answers, echoed_questions, ends_of_answers
from sidecar.conversation.effort import Effort
from sidecar.conversation.message import read
from sidecar.conversation.tree import Tree
from tests.conversation.build import calls, line, message, node, result, says, user

TOOL_TURN = [
    user("hi"),
    calls("c1", content="Let me look."),
    result("c1"),
    calls("c2", content=""),
    result("c2"),
    says("Found it."),
]

#: "Le café\nest là." as clients write it back.
SPELLINGS = [
    "Le café\r\nest là.\r\n",
    "Le cafe\u0301\nest la\u0300.",
    "Le\u00a0café\u2028est\u3000là.",
    "Le café  \n\n\test là. ",
]


def echoed(nodes, fields, parent=None):
    return echoed_answers(Tree(nodes), parent or nodes[0], message(fields), Effort())


def asked_again(nodes, text):
    return [step for (step,) in echoed_questions(Tree(nodes), None, message(user(text)), Effort())]


class TestAnswers:
    def test_an_answer_ends_at_each_of_its_replies(self):
        root, first, _, second, _, last = nodes = line(*TOOL_TURN)
        assert set(ends_of_answers(Tree(nodes), root, Effort())) == {first, second, last}

    def test_the_next_question_is_no_part_of_an_answer(self):
        root, reply, *_ = nodes = line(user("hi"), says("a"), user("more"), says("b"))
        assert list(ends_of_answers(Tree(nodes), root, Effort())) == [reply]

    def test_every_regenerated_answer_is_one(self):
        root = node(user("hi"))
        replies = [node(says(text), root, nonce=at) for at, text in enumerate("aab")]
        assert set(ends_of_answers(Tree([root, *replies]), root, Effort())) == set(replies)


class TestEchoedAnswers:
    @pytest.mark.parametrize(
        "text",
        [
            "Found it.",
            "Let me look.Found it.",
            "Let me look.\nFound it.",
            "Let me look.\n\nFound it. ",
            "Let me look. Found it.",
        ],
    )
    def test_a_flattened_tool_turn_is_the_whole_of_it(self, text):
        nodes = line(*TOOL_TURN)
        assert echoed(nodes, says(text)) == [tuple(nodes[1:])]

    @pytest.mark.parametrize("text", ["", "Found", "Found it. And more.", "Let me look. Well. Found it."])
    def test_any_other_text_is_no_echo(self, text):
        assert echoed(line(*TOOL_TURN), says(text)) == []

    def test_reasoning_makes_no_difference(self):
        nodes = line(user("hi"), says("<think>so</think>yes", x=1))
        assert echoed(nodes, says("yes", reasoning="else")) == [(nodes[1],)]

    @pytest.mark.parametrize("spelled", SPELLINGS)
    def test_white_space_line_ends_and_the_form_of_unicode_make_no_difference(self, spelled):
        nodes = line(user("hi"), says("Le café\nest là."))
        assert echoed(nodes, says(spelled)) == [(nodes[1],)]
        stored = line(user("hi"), says(spelled))
        assert echoed(stored, says("Le café\nest là.")) == [(stored[1],)]

    def test_the_beginning_of_a_partial_reply_is_its_echo(self):
        root = node(user("hi"))
        partial = node(says("Once upon a time"), root, nonce=1, state="partial")
        whole = node(says("Once upon a time"), root, nonce=2)
        assert echoed([root, partial, whole], says("Once upon ")) == [(partial,)]
        assert echoed([root, partial], says("Once upon a time there")) == []
        assert echoed([root, partial], says("upon a time")) == []

    def test_an_answer_of_other_words_is_no_echo_of_a_question(self):
        nodes = line(user("hi"), user("yes"))
        assert echoed(nodes, says("yes")) == []

    @pytest.mark.parametrize("text", ["Found it.", "Let me look.Found it.", "Nothing of that."])
    def test_every_reply_of_a_long_answer_is_read_once(self, monkeypatch, text):
        told = [user("hi"), calls("c0", content="Let me look."), result("c0")]
        for number in range(200):
            told += [calls(f"c{number}"), result(f"c{number}")]
        nodes = line(*told, says("Found it."))
        seen: list[bytes] = []

        def reading(raw: bytes) -> dict[str, object]:
            seen.append(raw)
            return read(raw)

        monkeypatch.setattr(messages, "read", reading)

        assert bool(echoed(nodes, says(text))) == (text != "Nothing of that.")
        assert len(seen) == 202 + 1  # and the answer that the client sends


class TestEchoedCalls:
    def test_calls_that_got_no_result_may_be_missing(self):
        nodes = line(user("hi"), calls("a", "b"), result("a"))
        assert echoed(nodes, calls("a", arguments='{"a":2}')) == [(nodes[1],)]

    def test_other_calls_are_no_echo_even_with_the_same_text(self):
        nodes = line(user("hi"), calls("a", content="Let me look."))
        assert echoed(nodes, calls("a", content="Let me look.", arguments='{"a":3}')) == []
        assert echoed(nodes, calls("b", content="Let me look.")) == []

    def test_the_same_calls_under_another_text_are_one(self):
        nodes = line(user("hi"), calls("a", "b", content="Let me look."))
        assert echoed(nodes, calls("a", content="")) == [(nodes[1],)]

    def test_of_two_replies_with_the_same_calls_the_one_with_the_same_text_is_meant(self):
        root = node(user("hi"))
        one, two = (node(calls("a", content=text), root, nonce=at) for at, text in enumerate(("one", "two")))
        assert echoed([root, one, two], calls("a", content="two ", arguments='{"a":2.0}')) == [(two,)]
        assert echoed([root, one, two], calls("a")) == [(one,), (two,)]

    def test_a_call_is_the_same_whatever_fields_the_client_has_lost(self):
        signed = calls("a")
        signed["tool_calls"][0]["extra_content"] = {"google": {"thought_signature": "s"}}
        nodes = line(user("hi"), signed)
        assert echoed(nodes, calls("a")) == [(nodes[1],)]


class TestEchoedQuestions:
    def test_a_text_with_more_around_it_may_be_one_and_so_may_what_is_left_of_it(self):
        root = node(user("context\n\nwhat is it?"))
        assert asked_again([root], "what is it?") == [root]
        assert asked_again([root], "other\n\nwhat is it?") == []
        assert asked_again([root], " memory\ncontext\n\nwhat is it?\n") == [root]
        assert asked_again([root], "context\r\n\u00a0what  is it?") == [root]

    @pytest.mark.parametrize("text", ["", " ", "who is it?"])
    def test_no_text_or_another_is_none(self, text):
        assert asked_again([node(user("what is it?")), node(user(""))], text) == []

    def test_an_answer_is_never_the_echo_of_a_question(self):
        assert asked_again([node(says("hi"), nonce=1)], "hi") == []


def test_a_question_is_another_where_more_than_a_time_was_changed():
    (node,) = nodes = line(user("It is 2026-03-01 10:00. Who am I?"))
    assert asked_again(nodes, "It is 2026-03-01 10:05. Who am I?") == [node]
    assert asked_again(nodes, "It is 2026-03-01 10:05. Who are you?") == []
    assert asked_again(nodes, f"It is 2026-03-01 10:05. {'Really, ' * 20}who am I?") == []
