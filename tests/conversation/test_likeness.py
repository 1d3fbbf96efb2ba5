"""A prompt with another clock in it is the same prompt; another role is not."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.conversation.likeness import are_near_prompts, are_near_questions, folded, undated

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


DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October"]
MONTHS += ["November", "December"]
SHORT = ["Jan", "Feb", "Mar", "Apr", "Jun", "Jul", "Aug", "Sep", "Sept", "Oct", "Nov", "Dec"]
MOMENTS = [
    "7:05",
    "07:05:09",
    "07:05:09.123",
    "7:05pm",
    "2026-11-28",
    "28/11/2026",
    "28.11.26",
    "1999",
    "2026",
]
MOMENTS += ["28", "7", "1st", "2nd", "3rd", "28th", "am", "pm", "utc", "gmt", "2026-11-28t10:01:07z"]


@pytest.mark.parametrize("moment", [*DAYS, *MONTHS, *SHORT, *MOMENTS])
def test_a_moment_is_no_word_of_a_prompt(moment):
    assert are_near_prompts(f"Be brief {moment}", "Be brief")


@pytest.mark.parametrize("name", [*DAYS, *MONTHS, *SHORT])
def test_what_only_begins_like_one_is(name):
    assert not are_near_prompts(f"Be brief {name}er", "Be brief")


@pytest.mark.parametrize(
    ("word", "is_an_id"),
    [
        ("a" * 15 + "1", True),
        ("a" * 14 + "1", False),
        ("1" * 16, True),
        ("abcdefgh-12345678", True),
        ("well-known-and-well-liked", False),
        ("internationalisation", False),
        ("v1", False),
    ],
)
def test_a_long_word_with_a_digit_in_it_is_an_id_and_does_not_count(word, is_an_id):
    assert are_near_prompts(f"Be brief {word}", "Be brief") is is_an_id


def told_apart(count, others):
    """Two texts of so many words, of which the last ones are others."""
    words = [f"w{'abcdefghijklmnopqrstuvwxyz'[at % 26]}{'x' * (at // 26)}" for at in range(count)]
    return " ".join(words), " ".join([*words[: count - others], *(f"other{each}" for each in words[:others])])


@pytest.mark.parametrize("count", [*range(4, 45), 100])
def test_of_a_prompt_nine_words_in_ten_have_to_be_there_and_of_a_question_three_in_four(count):
    for near, tenths in ((are_near_prompts, 90), (are_near_questions, 75)):
        most = next(others for others in range(count, -1, -1) if 100 * (count - others) >= tenths * count)
        assert near(*told_apart(count, most))
        assert not near(*told_apart(count, most + 1))
        longer = told_apart(count, 0)[0]
        shorter = " ".join(longer.split()[: count - most])
        assert near(longer, shorter)
        assert near(shorter, longer)
        assert not near(longer, " ".join(longer.split()[: count - most - 1]))


def test_fewer_than_four_words_have_to_be_the_same():
    for near in (are_near_prompts, are_near_questions):
        assert near("paint it red", "Paint it red!")
        assert not near("paint it red", "paint it")
        assert not near("red red blue", "red blue blue")
    assert are_near_questions("take step 2 now", "take step 3 now")
    assert not are_near_questions("take step 2", "take step 3")
    assert not are_near_questions("2 3 4 now", "5 6 7 then")


@given(st.permutations(list("abcdefghij")))
def test_three_in_four_words_of_a_question_have_to_stand_in_one_order(order):
    best: list[int] = []  # the longest part that ascends and ends with each word
    for at, word in enumerate(order):
        best.append(1 + max((best[b] for b in range(at) if order[b] < word), default=0))
    assert are_near_questions("a b c d e f g h i j", " ".join(order)) is (max(best) >= 7.5)


@pytest.mark.parametrize(("count", "is_near"), [(32, False), (33, True)])
def test_of_more_than_thirty_two_words_the_order_does_not_count(count, is_near):
    one = told_apart(count, 0)[0]
    assert are_near_questions(one, " ".join(reversed(one.split()))) is is_near


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a b", "a  b\n"),
        ("a b", "a\r\nb\t"),
        ("a\u00a0b", "a b"),
        ("\u200ba\u2060 b\ufeff", "ab"),
        ("soft\u00adhyphen", "softhyphen"),
        ("caf\u00e9", "cafe\u0301"),
        ("", " \n"),
    ],
)
def test_copies_that_look_alike_are_equal_once_folded(one, other):
    assert folded(one) == folded(other)
    assert folded(one) == "".join(folded(one).split())
    for role in ("user", "assistant"):
        assert undated(one, role) == undated(other, role)


@pytest.mark.parametrize(("one", "other"), [("a", "b"), ("a", "A"), ("e", "\u00e9"), ("ab", "ba"), ("a", "")])
def test_what_reads_otherwise_is_not(one, other):
    assert folded(one) != folded(other)


WRITTEN = [
    "2026-11-28",
    "28.11.2026",
    "11/28/26",
    "November 28, 2026",
    "Nov. 28",
    "28th November 2026",
    "1 Jan",
]
WRITTEN += ["7:05", "07:05:09", "07:05:09.123 pm", "07:05:09,5 UTC", "07:05Z", "07:05+01:00", "07:05:09-0800"]
WRITTEN += [
    "2026-11-28 07:05",
    "2026-11-28T07:05:09.123Z",
    "Sept 3 7:05am GMT",
    "Monday",
    "Sunday,",
    "1764313507",
]
WRITTEN += ["1764313507123", "1764313507.25"]


@pytest.mark.parametrize("moment", WRITTEN)
@pytest.mark.parametrize("form", ["{}", "[{}]", "({})"])
def test_a_moment_that_a_client_writes_does_not_count(moment, form):
    stamp = form.format(moment)
    assert undated(f"{stamp} It is late.", "user") == folded("It is late.")
    assert undated(f"Late: {stamp} is it.", "user") == folded("Late: is it.")
    assert undated(f"\n{stamp} It is late.", "assistant") == folded("It is late.")


@pytest.mark.parametrize("moment", WRITTEN)
def test_in_an_answer_it_counts_where_it_was_said(moment):
    assert undated(f"It is {moment} now.", "assistant") == folded(f"It is {moment} now.")


@pytest.mark.parametrize(
    "number",
    ["1.2.3", "12345", "3.1764313507", "v2026-11", "7:5", "2764313507", "Mondays", "May I?", "11/28"],
)
def test_what_is_no_moment_counts(number):
    assert undated(f"{number} it is", "user") == folded(f"{number} it is")


@pytest.mark.parametrize("piece", ["a", "1", "a:", "1:", "word ", "2026-", "é ", "1.1 "])
def test_a_long_text_takes_no_more_than_its_length(piece: str):
    spent = []
    for count in (20_000, 80_000):
        begun = time.process_time()
        are_near_prompts(piece * count, "x" + piece * count)
        spent.append(time.process_time() - begun)
    assert spent[1] < 12 * spent[0] + 0.1
