"""Turns as a model is told them that is to sum them up."""

from __future__ import annotations

import json
import time

import pytest

from sidecar.prompt.rebuild import Outgoing
from sidecar.prompt.summary import fronts, measure
from sidecar.prompt.summary_question import MORE_ROOM, fault_of, pieces, question, transcript
from tests.conversation.build import calls, raw, request, result, says, user

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def told(*messages):
    return [Outgoing(each["role"], raw(each)) for each in messages]


def said(fields):
    return transcript([Outgoing(fields.get("role", ""), raw(fields))])


def chat(turns, text="word"):
    return [each for at in range(turns) for each in (user(f"q{at} {text}"), says(f"a{at}"))]


def split(messages, *, room, told_before=0):
    asked = request(*messages, user("newest"))
    path = [(each.role, hash) for each, hash in zip(asked.path.messages, asked.path.hashes, strict=True)]
    line = told(*messages, user("newest"))
    found = fronts(line, len(messages), path)
    return pieces(line, told_before, [each for each in found if each.end > told_before], room)


class TestTranscript:
    def test_messages_are_lines_that_begin_with_who_speaks(self):
        assert transcript(told(user("hi"), says("hello"), {"role": "system", "content": "x"})) == (
            "User: hi\nAssistant: hello\nSystem: x"
        )

    def test_calls_and_results_are_told_in_short(self):
        text = transcript(told(calls("c", content="Wait."), result("c", "found " * 1000)))
        assert text.startswith('Assistant: Wait.\nAssistant calls look: {"a": 2}\nResult: found found')
        assert len(text) < 500

    def test_a_long_message_keeps_its_beginning_and_its_end(self):
        text = said(user("begin " + "x" * 5000 + " end"))
        assert text.startswith("User: begin xxx")
        assert "[…]" in text
        assert text.endswith("xxx end")
        assert len(text) < 2050

    @pytest.mark.parametrize(
        ("of", "most"),
        [
            (lambda text: (user(text), f"User: {text}"), 2000),
            (lambda text: (says(text), f"Assistant: {text}"), 2000),
            (lambda text: (result("c", text), f"Result: {text}"), 400),
            (lambda text: ({"role": "function", "content": text}, f"Result: {text}"), 400),
            (lambda text: (calls("c", arguments=text), f"Assistant calls look: {text}"), 200),
            (lambda text: (calls("c", arguments="", name=text), f"Assistant calls {text}: "), 200),
        ],
    )
    def test_two_thirds_of_what_is_left_of_it_are_its_beginning(self, of, most):
        text = "".join(chr(ord("a") + at % 26) for at in range(most + 1))
        assert said(of(text[:most])[0]) == of(text[:most])[1]
        end = most // 3
        assert said(of(text)[0]) == of(f"{text[: most - end]} […] {text[-end:]}")[1]

    def test_reasoning_and_images_stay_out(self):
        assert said({**says("<think>secret</think>yes"), "reasoning_content": "secret"}) == "Assistant: yes"
        assert "base64" not in said(user([{"type": "text", "text": "Look:"}, IMAGE]))

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({"content": "x"}, "Somebody: x"),
            (says(None), ""),
            (says(None, tool_calls="odd"), ""),
            (says(None, tool_calls=["odd", {}, {"function": 5}]), ""),
            (says(None, tool_calls=[{"function": {"arguments": {"a": 1}}}]), 'Assistant calls null: {"a":1}'),
        ],
    )
    def test_odd_messages_do_no_harm(self, fields, text):
        assert said(fields) == text


class TestPieces:
    def test_what_fits_is_one_piece_up_to_the_last_front(self):
        (piece,) = split(chat(3), room=1000)
        assert (
            piece.text
            == "User: q0 word\nAssistant: a0\nUser: q1 word\nAssistant: a1\nUser: q2 word\nAssistant: a2"
        )
        assert piece.front.end == 6

    def test_what_was_told_before_is_left_out(self):
        (piece,) = split(chat(3), room=1000, told_before=4)
        assert piece.text == "User: q2 word\nAssistant: a2"

    def test_a_piece_holds_whole_turns_and_is_no_larger_than_the_room(self):
        found = split(chat(20, "word " * 30), room=200)
        assert 4 < len(found) < 20
        assert all(measure(each.text) <= 200 and each.text.startswith("User: q") for each in found)
        assert [each.front.end for each in found][-1] == 40

    def test_a_turn_larger_than_the_room_loses_its_middle(self):
        steps = [each for at in range(100) for each in (calls(f"c{at}"), result(f"c{at}", f"found {at}"))]
        (piece,) = split([user("q"), *steps, says("the end")], room=300)
        assert measure(piece.text) <= 300
        assert piece.text.startswith("User: q\n")
        assert piece.text.endswith("Assistant: the end")

    def test_without_room_a_turn_is_hardly_anything(self):
        (piece,) = split(chat(1), room=0)
        assert len(piece.text) < 10

    def test_a_turn_takes_what_just_fits_and_the_next_begins_another_piece(self):
        whole = split(chat(2, "word"), room=1000)[0].text
        assert len(split(chat(2, "word"), room=measure(whole))) == 1
        assert len(split(chat(2, "word"), room=measure(whole) - 1)) == 2

    def test_a_very_long_turn_is_cut_in_a_few_steps(self):
        begun = time.process_time()
        (piece,) = split([user("q"), says("word " * 300_000)], room=100_000)
        assert measure(piece.text) <= 100_000
        (piece,) = split(
            [user("q"), *[each for at in range(2000) for each in (calls(f"{at}"), result(f"{at}"))]], room=9
        )
        assert measure(piece.text) <= 9
        assert time.process_time() - begun < 3

    def test_of_a_turn_as_much_is_told_as_has_room(self):
        for room in range(8, 120):
            (piece,) = split([user("q " * 400)], room=room)
            assert room - 2 <= measure(piece.text) <= room


class TestQuestion:
    def test_the_summary_so_far_comes_before_what_was_said_since(self):
        body = json.loads(question("Sum up.", "small", "They met.", "User: hi", 400))
        system, asked = body.pop("messages")
        assert system == {"role": "system", "content": "Sum up.\nWrite at most 200 words."}
        assert asked["content"].index("They met.") < asked["content"].index("User: hi")
        assert body == {"model": "small", "max_tokens": 400, "stream": False}

    def test_the_first_has_no_summary(self):
        asked = json.loads(question("Sum up.", "small", "", "User: hi", 1))["messages"][1]
        assert asked == {"role": "user", "content": "<conversation>\nUser: hi\n</conversation>"}

    def test_more_room_asks_for_no_more_words(self):
        first = json.loads(question("Sum up.", "small", "", "User: hi", 400))
        more = json.loads(question("Sum up.", "small", "", "User: hi", 400, MORE_ROOM))
        assert more == {**first, "max_tokens": 1600}


class TestFaults:
    @pytest.mark.parametrize("finish", ["stop", "STOP", "end_turn", "eos", "eos_token", "stop_sequence"])
    def test_a_text_that_came_to_its_end_is_a_summary(self, finish):
        for text in (
            "They met.",
            "{not JSON",
            "[1] They met.",
            '{"they": "met"}',
            "<think>so</think>They met.",
        ):
            assert fault_of({"role": "assistant", "content": text}, finish, 100) == ""

    @pytest.mark.parametrize(
        ("fields", "finish", "fault"),
        [
            ({"content": "They met"}, "length", "did not come to its end"),
            ({"content": "They met"}, None, "did not come to its end"),
            ({"content": "They met", "tool_calls": [{}]}, "stop", "called a tool"),
            ({"content": None, "function_call": {"name": "f"}}, "stop", "called a tool"),
            ({"content": None}, "stop", "answered without a text"),
            ({"content": "<think>They met"}, "stop", "answered without a text"),
            ({"content": "<|tool_call|>f"}, "stop", "answered with no prose"),
            ({"content": '{"name": "f", "arguments": {}}'}, "stop", "answered with no prose"),
            ({"content": "They met. " * 60}, "stop", "wrote more than was asked for"),
        ],
    )
    def test_what_is_none_is_told(self, fields, finish, fault):
        assert fault_of({"role": "assistant", **fields}, finish, 100) == fault

    @pytest.mark.parametrize(
        "text",
        [
            *(
                "<tool_call>f",
                "</tool>f",
                "<|tool|>f",
                "<function=f>",
                "<invoke f>",
                "<|channel|>f",
                "<thought_1>",
            ),
            *("<|start|>f", "<|python_tag|>f", "<reasoning_x>", "[TOOL_CALLS]f", "[tool_calls]f"),
            '{"tool_calls": []}',
        ],
    )
    def test_what_a_server_took_for_text_is_no_prose(self, text):
        assert fault_of({"role": "assistant", "content": text}, "stop", 100) == "answered with no prose"
        behind = fault_of({"role": "assistant", "content": f"They met: {text}"}, "stop", 100)
        assert behind == ""

    def test_a_quarter_more_than_was_asked_for_is_not_too_long(self):
        text = "They met. " * 50  # visible without its last blank: 499 characters
        assert measure(text.strip()) == 124
        assert measure(f"{text}They.") == 126
        assert fault_of({"role": "assistant", "content": text}, "stop", 100) == ""
        assert fault_of({"role": "assistant", "content": f"{text}They.."}, "stop", 100) != ""
        assert fault_of({"role": "assistant", "content": f"{text}T"}, "stop", 100) == ""

    def test_a_little_more_is_none_to_speak_of(self):
        assert fault_of({"role": "assistant", "content": "They met. " * 48}, "stop", 100) == ""
