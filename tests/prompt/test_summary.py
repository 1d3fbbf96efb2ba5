"""What a summary stands for, where it stands, and how much room it may take."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.prompt.rebuild import Outgoing
from sidecar.prompt.summary import (
    HEADING,
    PLACE,
    Front,
    clipped,
    fitting,
    fronts,
    latest_fronts,
    measure,
    room,
    with_summary,
)
from sidecar.prompt.trim import Budget, trim
from tests.conversation.build import calls, message, raw, request, result, says, user


def out(fields):
    return Outgoing(fields["role"], raw(fields))


def line_of(*messages):
    return [out(each) for each in messages]


def path_of(*messages):
    asked = request(*messages)
    return [(each.role, hash) for each, hash in zip(asked.path.messages, asked.path.hashes, strict=True)]


def contents(system):
    return [json.loads(each.raw)["content"] for each in system]


SYSTEM = out({"role": "system", "content": "Be brief."})
CHAT = (user("q1"), says("a1"), user("q2"), says("a2"), user("q3"))


class TestFronts:
    def test_a_front_ends_where_a_turn_begins_and_goes_by_the_hash_before_it(self):
        path = path_of(*CHAT)
        assert fronts(line_of(*CHAT), 4, path) == [Front(path[1][1], 2, 2), Front(path[3][1], 4, 4)]

    def test_none_ends_behind_the_cut(self):
        assert [each.end for each in fronts(line_of(*CHAT), 2, path_of(*CHAT))] == [2]
        assert fronts(line_of(*CHAT), 0, path_of(*CHAT)) == []

    def test_questions_tell_the_places_where_messages_came_back_from_the_store(self):
        line = line_of(user("q1"), calls("c"), result("c"), says("a1"), user("q2"))
        path = path_of(user("q1"), says("a1"), user("q2"))
        assert fronts(line, 4, path) == [Front(path[1][1], 2, 4)]

    def test_what_stands_before_the_first_question_is_a_front_of_its_own(self):
        chat = (says("Welcome!"), *CHAT)
        path = path_of(*chat)
        assert [each.messages for each in fronts(line_of(*chat), 3, path)] == [1, 3]

    def test_a_greeting_that_does_not_go_upstream_makes_no_front(self):
        assert fronts(line_of(*CHAT[:1]), 0, path_of(calls("c"), *CHAT[:1])) == []

    def test_two_branches_share_the_fronts_before_they_part(self):
        other = (*CHAT[:3], says("another"), user("q3"))
        one, two = (fronts(line_of(*chat), 4, path_of(*chat)) for chat in (CHAT, other))
        assert one[0] == two[0]
        assert one[1].hash != two[1].hash

    @given(st.lists(st.sampled_from((1, 2, 3)), min_size=1, max_size=9), st.booleans())
    def test_the_latest_first_they_are_the_same(self, steps, greeted):
        chat = [says("Welcome!")] if greeted else []
        for at, count in enumerate(steps):
            chat += [user(f"q{at}"), *(says(f"a{at}.{step}") for step in range(count))]
        path = request(*chat).path
        found = fronts(line_of(*chat), len(chat), path_of(*chat))
        assert list(latest_fronts(line_of(*chat), path.messages, path.hashes.__getitem__)) == found[::-1]

    def test_the_latest_first_all_fronts_are_told_but_that_before_the_first_question(self):
        chat = [user("q0"), says("a0"), user("q1"), says("a1"), user("q2")]
        path = request(*chat).path
        found = latest_fronts(line_of(*chat), path.messages, path.hashes.__getitem__)
        assert list(found) == [Front(path.hashes[3], 4, 4), Front(path.hashes[1], 2, 2)]

    @given(st.integers(1, 12), st.integers(1, 6))
    def test_the_cut_of_a_trim_always_ends_a_front(self, turns, most):
        chat = [each for at in range(turns) for each in (user(f"q{at}"), says(f"a{at}"))]
        cut = trim(line_of(*chat), Budget(max_turns=most)).cut
        found = fronts(line_of(*chat), cut, path_of(*chat))
        assert (found[-1].end if found else 0) == cut


class TestPlace:
    def test_it_stands_in_the_last_leading_system_message(self):
        other = out({"role": "developer", "content": "Never lie.", "name": "x"})
        one, two = with_summary([SYSTEM, other], "They met.")
        assert one is SYSTEM
        assert json.loads(two.raw) == {
            "role": "developer",
            "content": f"Never lie.\n\n{HEADING}\nThey met.",
            "name": "x",
        }

    def test_it_is_a_part_where_there_are_parts(self):
        part = {"type": "text", "text": "Be brief."}
        system = out({"role": "system", "content": [part]})
        assert contents(with_summary([system], "They met.")) == [
            [part, {"type": "text", "text": f"{HEADING}\nThey met."}]
        ]

    @pytest.mark.parametrize("fields", [{}, {"content": None}, {"content": ""}])
    def test_it_is_all_where_the_system_message_says_nothing(self, fields):
        system = out({"role": "system", **fields})
        assert contents(with_summary([system], "They met.")) == [f"{HEADING}\nThey met."]

    def test_without_a_system_message_it_makes_one(self):
        (made,) = with_summary([], "They met.")
        assert json.loads(made.raw) == {"role": "system", "content": f"{HEADING}\nThey met."}
        assert (made.role, made.restored) == (PLACE.role, PLACE.restored)

    def test_a_restored_system_message_stays_one(self):
        (made,) = with_summary([Outgoing("system", SYSTEM.raw, restored=True)], "They met.")
        assert made.restored


class TestRoom:
    def test_it_is_that_of_the_summary_and_its_heading(self):
        assert 400 + len(HEADING) / 4 < room(400, None) < 400 + len(HEADING) / 2
        assert room(400, 100_000) == room(400, None)

    def test_it_is_never_more_than_a_quarter_of_the_limit(self):
        assert room(400, 1000) == 250

    def test_a_summary_that_fits_stays_as_it_is(self):
        text = "word " * 100
        assert fitting(text, room(400, None)) == text

    def test_where_there_is_no_room_there_is_no_summary(self):
        assert fitting("They met.", room(400, 160)) == ""

    @pytest.mark.parametrize(("tokens", "fits"), [(15, ""), (16, "They met.")])
    def test_of_less_than_sixteen_tokens_there_is_none(self, tokens, fits):
        assert fitting("They met.", room(tokens, None)) == fits
        assert fitting("word " * 100, room(tokens, None)) == (clipped("word " * 100, 16) if fits else "")

    @given(st.text(), st.integers(16, 500))
    def test_no_summary_takes_more_than_its_room(self, text, tokens):
        free = room(tokens, None)
        before = with_summary([PLACE], "")
        (after,) = with_summary([SYSTEM], fitting(text, free))
        assert measure(after.raw.decode()) - measure(SYSTEM.raw.decode()) <= free + 1
        assert len(before) == 1


class TestClipping:
    def test_it_ends_between_two_words_and_says_so(self):
        assert clipped("one two three four five six seven", 5) == "one two three…"

    def test_one_long_word_is_cut_through(self):
        assert clipped("x" * 100, 4) == "x" * 14 + "…"

    def test_what_has_three_bytes_a_character_has_more_tokens(self):
        assert measure("字" * 100) > 3 * measure("x" * 100)
        assert 5 <= len(clipped("字" * 100, 10)) <= 15

    @given(st.text(), st.integers(2, 50))
    def test_it_is_a_beginning_and_fits(self, text, most):
        short = clipped(text, most)
        assert short == text or (short.endswith("…") and text.startswith(short[:-1]))
        assert measure(short) <= most

    def test_no_room_at_all_leaves_the_mark_alone(self):
        assert clipped("many words", 0) == "…"


def test_the_same_summary_reads_the_same_whatever_came_before():
    assert with_summary([SYSTEM], "They met.") == with_summary([SYSTEM], "They met.")
    assert message({"role": "system", "content": "Be brief."}).raw == SYSTEM.raw
