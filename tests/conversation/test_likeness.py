"""A prompt with another clock in it is the same prompt; another role is not."""

from __future__ import annotations

import time

import pytest

from sidecar.conversation.likeness import are_near_prompts, are_near_questions

RULES = "You are a helpful assistant of the library. Answer briefly, and say where it stands."


class TestPrompts:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("It is 10:01.", "It is 10:02."),
            ("Now: 2026-11-28T10:01:07Z", "Now: 2026-11-29T09:00:00+01:00"),
            (f"{RULES} Today is Saturday, 28 November 2026.", f"{RULES} Today is Monday, 1 December 2026."),
            (f"{RULES} It is 9:59 AM.", f"{RULES} It is 10:00 PM UTC."),
            (f"{RULES} On 28.11.2026.", f"{RULES} On 11/29/2026."),
            (
                f"{RULES} Chat 0f8fad5b-d9cb-469f-a165-70867728950e",
                f"{RULES} Chat 7c9e6679-7425-40de-944b-e07fc1f90ae7",
            ),
            (f"{RULES} The user is Ada.", f"{RULES} The user is Bob."),
            ("", ""),
        ],
    )
    def test_clocks_dates_and_ids_do_not_count_and_little_else_does(self, one, other):
        assert are_near_prompts(one, other)
        assert are_near_prompts(other, one)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("You are Anna, a cook. It is 12:00.", "You are Bob, a lawyer. It is 12:01."),
            (RULES, "Summarise the page in one line."),
            (RULES, f"{RULES} Never speak of prices, of dates, of people or of other libraries."),
            (RULES, ""),
            ("Be brief.", "Be kind."),
        ],
    )
    def test_another_role_is_another_prompt(self, one, other):
        assert not are_near_prompts(one, other)
        assert not are_near_prompts(other, one)


class TestQuestions:
    def test_numbers_do_not_count_and_a_quarter_of_the_words_may_differ(self):
        assert are_near_questions("write 3 lines about the garden", "write 4 lines about the pond")
        assert not are_near_questions("write 3 lines about the garden", "sing a song about gardens")

    def test_the_words_of_a_short_one_have_to_stand_in_the_same_order(self):
        assert not are_near_questions("My name is Ada.", "What is my name?")
        assert are_near_questions("What is the capital of Malta?", "What is the capital of Italy?")
        long = "word " * 20 + "one two three four five six seven eight nine ten eleven twelve thirteen"
        assert are_near_questions(long, " ".join(reversed(long.split())))

    def test_a_short_one_has_to_be_the_same(self):
        assert not are_near_questions("step 2", "step 3")
        assert are_near_questions("go on", "Go on!")
        assert not are_near_questions("go on", "go back")
        assert not are_near_questions("paint it red", "paint it blue")
        assert are_near_questions("paint it all red", "paint it all blue")


@pytest.mark.parametrize("piece", ["a", "1", "a:", "1:", "word ", "2026-", "é ", "1.1 "])
def test_a_long_text_takes_no_more_than_its_length(piece: str):
    spent = []
    for count in (20_000, 80_000):
        begun = time.process_time()
        are_near_prompts(piece * count, "x" + piece * count)
        spent.append(time.process_time() - begun)
    assert spent[1] < 12 * spent[0] + 0.1
