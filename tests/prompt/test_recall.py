"""What was dropped and is asked for stands again, as a turn of its own in front of the question."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import pairwise

import pytest

from sidecar.prompt.fit import Full, Weighing, fit
from sidecar.prompt.rebuild import Outgoing
from sidecar.prompt.recall import ANSWER, HEADING, asked_for, recalled, told
from sidecar.prompt.recall_index import RecallIndex, passages
from sidecar.prompt.trim import Budget
from sidecar.prompt.weights import DEFAULT_WEIGHTS
from tests.conversation.build import calls, raw, result, says, user

BUDGET = Budget(max_input_tokens=1200)
NAMES = ["Ada", "Bela", "Carl", "Dora", "Emil", "Fred", "Gina", "Hugo", "Ivan", "Jane"]
NAMES += ["Kurt", "Lena", "Mona", "Nils", "Olga", "Paul", "Quin", "Rosa", "Sven", "Tina"]
COLOURS = ["red", "blue", "green", "white", "black", "brown", "grey", "pink", "orange", "purple"]


def outgoing(*messages):
    return [Outgoing(each["role"], raw(each)) for each in messages]


def facts():
    """A chat of twenty turns, each with a fact and an answer that says nothing of it."""
    said = []
    for at, name in enumerate(NAMES):
        said += [
            user(f"The house of {name} is {COLOURS[at % 10]}."),
            says("I see. " + "So it is, then. " * 12),
        ]
    return said


def index_of(line, until=None):
    index = RecallIndex()
    for each in line[:until]:
        index.add(told(each))
    return index


def ask(*behind, before=None, budget=BUDGET, recall=300, index=None):
    """The cut of a chat that ends so, and what stands again."""
    line = outgoing(*(facts() if before is None else before), *behind)
    full = Full(line, recall=recall)
    fitted = fit(full, budget, Weighing(DEFAULT_WEIGHTS))
    index = index or index_of(line)
    return full, fitted, recalled(full, fitted, budget.max_input_tokens, index, asked_for(line))


def quoted(found):
    return json.loads(found.turn[0].raw)["content"] if found else ""


def size(each):
    return each.tokens(DEFAULT_WEIGHTS)


def test_what_is_asked_for_is_quoted_in_front_of_the_question():
    _, fitted, found = ask(user("Which colour is the house of Bela?"))
    assert fitted.trimmed.turns
    assert "The house of Bela is blue." in quoted(found)
    assert quoted(found).startswith(HEADING)
    line = found.within(fitted.trimmed.kept)
    assert [json.loads(each.raw)["content"] for each in line[-2:]] == [
        ANSWER,
        "Which colour is the house of Bela?",
    ]
    assert [each.role for each in line] == ["user", "assistant"] * (len(line) // 2) + ["user"]
    assert sum(map(size, line)) <= BUDGET.max_input_tokens


KEEPER = [user("The lighthouse keeper is Bartholomew."), says("I see.")]


def test_what_was_corrected_in_what_is_still_shown_is_not_quoted():
    changed = [user("The lighthouse keeper is Cornelius now."), says("I see.")]
    before = [*facts()[:4], *KEEPER, *facts()[4:]]
    _, _, found = ask(user("Who is the lighthouse keeper?"), before=before)
    assert "Bartholomew" in quoted(found)
    _, fitted, found = ask(*changed, user("Who is the lighthouse keeper?"), before=before)
    assert "Cornelius" in str([each.raw for each in fitted.trimmed.kept])
    assert "Bartholomew" not in quoted(found)


def test_what_may_have_been_corrected_since_is_followed_by_what_is_shown_of_it():
    changed = user("Paint was cheap: Bela has made it violet.")
    facts_of_bela = [user("Bela told me of his cellar and his wooden garage."), says("I see.")]
    _, _, found = ask(
        changed,
        says("Oh."),
        user("What of the cellar, garage and Bela?"),
        before=[*facts()[:4], *facts_of_bela, *facts()[4:]],
    )
    text = quoted(found)
    assert 0 < text.find("wooden garage") < text.find("later: Paint was cheap")
    _, _, found = ask(
        user("Bela " + "paints " * 60),
        says("Oh."),
        user("What of the cellar, garage and Bela?"),
        before=[*facts()[:4], *facts_of_bela, *facts()[4:]],
    )
    (later,) = [line for line in quoted(found).splitlines() if line.startswith("later: ")]
    assert len(later) < 220
    assert later.endswith("…")


def test_the_question_before_counts_too_where_the_newest_refers_to_it():
    _, _, found = ask(user("Think of Carl."), says("Yes?"), user("Was it green or was it not?"))
    _, _, other = ask(user("Think of it."), says("Yes?"), user("Was it green or was it not?"))
    assert "The house of Carl is green." in quoted(found)
    assert "Carl" not in quoted(other)


def test_of_what_was_corrected_and_dropped_the_newest_is_quoted():
    changed = [user("The lighthouse keeper is Cornelius now."), says("Noted.")]
    before = [*facts()[:4], *KEEPER, *facts()[4:10], *changed, *facts()[10:]]
    _, _, found = ask(user("Who is the lighthouse keeper?"), before=before)
    assert "Cornelius" in quoted(found)
    assert "Bartholomew" not in quoted(found)


def test_a_long_question_says_what_it_means_and_brings_nothing_of_the_one_before():
    asked = asked_for(
        outgoing(
            user("Carl?"), says("Yes?"), user("Was the house in the valley rather green, or was it blue?")
        )
    )
    assert "carl" not in asked
    assert asked["green"] == 1.0


def test_what_stands_in_every_question_tells_little_of_what_this_one_asks_for():
    usual = [user("Where is Bela? Answer briefly."), says("Here."), user("And Carl? Answer briefly.")]
    asked = asked_for(outgoing(*usual, says("There."), user("Which colour has a house? Answer briefly.")))
    assert asked["answer"] == asked["briefly"] == 0.3
    assert asked["colour"] == asked["house"] == 1.0
    asked = asked_for(outgoing(*usual[:1], says("There."), user("Which colour has a house? Answer briefly.")))
    assert asked["briefly"] == 1.0


def test_what_was_said_is_quoted_in_its_order():
    _, _, found = ask(user("What do you know of Dora, Bela and Gina?"), recall=350)
    text = quoted(found)
    assert 0 < text.index("house of Bela") < text.index("house of Dora") < text.index("house of Gina")


def test_nothing_is_quoted_that_does_not_fit_the_question_at_all():
    assert ask(user("Quux?"))[2] is None
    assert ask(user("The, is, of?"))[2] is None  # words of every message
    assert ask(user("!"))[2] is None


def test_nothing_is_quoted_where_nothing_was_dropped():
    full, fitted, found = ask(
        user("Which colour is the house of Ada?"), budget=Budget(max_input_tokens=99_999)
    )
    assert not fitted.trimmed.turns
    assert not fitted.trimmed.recall
    assert found is None
    assert fitted.trimmed.kept == tuple(full.line)


def test_in_too_little_room_nothing_is_quoted():
    full, fitted, _ = ask(user("Which colour is the house of Bela?"))
    tight = replace(fitted, trimmed=fitted.trimmed)
    assert recalled(full, tight, 0, index_of(full.line), asked_for(full.line)) is not None
    trimmed = type(fitted.trimmed)(
        **{**{f: getattr(fitted.trimmed, f) for f in fitted.trimmed.__struct_fields__}, "recall": 40}
    )
    assert (
        recalled(full, replace(fitted, trimmed=trimmed), 0, index_of(full.line), asked_for(full.line)) is None
    )


def test_a_passage_that_has_no_room_leaves_it_to_what_stands_beside_it():
    long = [user("The treasure chamber: " + "gold and silver " * 40), says("I see.")]
    before = [*facts()[:2], *long, *facts()[2:]]
    full, fitted, _ = ask(user("Where is the treasure chamber?"), before=before, recall=150)
    found = recalled(full, fitted, 0, index_of(full.line), asked_for(full.line))
    assert "I see." in quoted(found)
    assert "gold" not in quoted(found)


def test_through_all_steps_behind_a_question_the_same_stands_there():
    question = user("Look up the house of Bela, and compare.")
    steps = [each for at in range(6) for each in (calls(f"c{at}"), result(f"c{at}", f"step {at}"))]
    found = [ask(question, *steps[: 2 * count])[2] for count in range(7)]
    assert len({quoted(each) for each in found}) == 1
    assert len({each.place for each in found}) == 1


def test_what_is_quoted_makes_no_prompt_too_long_where_the_estimate_is_a_little_too_low():
    chance, fullest = random.Random(7), 0.0
    for most in (600, 1200, 3000) * 12:
        said = [
            " ".join(f"word{chance.randrange(900)}x" for _ in range(chance.randrange(2, 60)))
            for _ in range(80)
        ]
        before = [(user, says)[at % 2](text) for at, text in enumerate(said)]
        question = user(" ".join(text.split()[0] for text in chance.sample(said, 12)))
        _, fitted, found = ask(
            question, before=before, budget=Budget(max_input_tokens=most), recall=most // 4
        )
        length = sum(map(size, found.within(fitted.trimmed.kept)))
        assert length <= most * 0.96 + 1
        fullest = max(fullest, length / most)
    assert fullest > 0.9


def test_where_the_steps_need_the_room_less_is_quoted_and_the_prompt_still_fits():
    question, sizes = user("Which colours have the houses of Ada, Bela, Carl, Dora and Emil?"), []
    for words in range(0, 400, 20):
        _, fitted, found = ask(question, calls("c"), result("c", "step " * words))
        line = found.within(fitted.trimmed.kept)
        assert sum(map(size, line)) <= BUDGET.max_input_tokens
        sizes.append(sum(map(size, found.turn)))
    assert max(sizes) > 300 >= min(sizes)


def test_calls_and_their_results_are_found_by_what_they_say():
    before = [
        user("Look"),
        calls("c"),
        result("c", "The parcel 4711 lies in Kiel."),
        says("Found."),
        *facts(),
    ]
    _, _, found = ask(user("Where is parcel 4711?"), before=[user("Hello"), says("Hi."), *before])
    assert "tool: The parcel 4711 lies in Kiel." in quoted(found)
    assert 'assistant: look {"a": 2}' in quoted(found)
    assert told(outgoing({"role": "assistant", "content": "so", "tool_calls": [1, {}]})[0]) == "so"
    made = [{"function": {"name": name, "arguments": "{}"}} for name in "fg"]
    calling = {"role": "assistant", "content": "so", "tool_calls": made}
    assert told(outgoing(calling)[0]) == "so\nf {}\ng {}"


def test_of_a_long_message_the_passage_is_quoted():
    long = [f"Chapter {at}. " + "Nothing happens here at all. " * 20 for at in range(12)]
    long[7] += "The treasure lies under the old oak."
    _, _, found = ask(
        user("Where is the treasure?"),
        before=[user("Hi"), says("Hi."), user("\n\n".join(long)), says("Read."), *facts()],
    )
    assert "under the old oak" in quoted(found)
    assert "…" in quoted(found)
    assert "Chapter 2." not in quoted(found)


def test_a_text_is_parted_at_paragraphs_lines_sentences_or_words_and_nothing_is_lost():
    chance = random.Random(4)
    for _ in range(60):
        ends = ("\n\n", "\n", ". ", " ", "")[chance.randrange(5) :]
        text = "".join(
            chance.choice(("x" * chance.randrange(1, 90), "…", "é")) + chance.choice(ends) for _ in range(80)
        )
        parts = list(passages(text))
        assert "".join(text[start:end] for start, end in parts).strip() == text.strip()
        assert all(0 < end - start <= 800 for start, end in parts)
    assert list(passages(" \n ")) == []


def test_an_index_that_goes_on_behind_the_cut_finds_the_same():
    question = user("Which colour is the house of Bela?")
    full, fitted, found = ask(question)
    exact = index_of(full.line[:-1])
    assert recalled(full, fitted, 1200, exact, asked_for(full.line)) == found
    exact.add("")
    exact.add("Bela " * 1000)
    assert recalled(full, fitted, 1200, exact, asked_for(full.line)) == found


def test_an_index_tells_what_it_takes_and_grows_with_what_is_said():
    index = RecallIndex()
    assert index.search({"a": 1.0}, 0).scores == {}
    before = index.size
    index.add("some words")
    assert index.size > before
    assert index.messages == 1


def test_a_word_of_every_day_counts_less_than_one_as_rare_in_this_talk():
    index = RecallIndex()
    for at in range(30):
        index.add({5: "such", 20: "plumber"}.get(at, f"number{at}"))
    found = index.search({"such": 1.0, "plumber": 1.0}, 30).scores
    assert found[5] < 0.8 * found[20]


def test_a_question_of_many_words_is_looked_up_by_the_rarest():
    index = RecallIndex()
    for at in range(3000):
        index.add(f"word{at % 5} common{at % 4} {'rare' if at == 1500 else 'usual'}")
    found = index.search(dict.fromkeys(("rare", *(f"word{at}" for at in range(5))), 1.0), 3000).scores
    assert max(found, key=lambda at: found[at]) in (1499, 1500, 1501)


def test_a_word_that_stands_in_too_many_places_is_looked_up_where_it_stood_last():
    index = RecallIndex()
    for at in range(3000):
        index.add(f"word{at % 4} again")
    found = index.search({"word1": 1.0}, 3000).scores
    assert 2997 in found
    assert len(found) <= 1500
    assert min(found) > 900


def test_how_long_the_neighbours_of_the_last_passage_are_does_not_hang_on_what_comes_behind_it():
    exact, longer = RecallIndex(), RecallIndex()
    for at in range(20):
        exact.add(f"number{at} of many")
        longer.add(f"number{at} of many")
    longer.add("a long tale of something else " * 20)
    for until in (1, 2, 19, 20):
        shorter = RecallIndex()
        for at in range(until):
            shorter.add(f"number{at} of many")
        question = {f"number{until - 1}": 1.0}
        assert longer.search(question, until).scores == shorter.search(question, until).scores
    assert exact.search({"number19": 1.0}, 20).scores == longer.search({"number19": 1.0}, 20).scores


class TestWhatIsAskedFor:
    @pytest.mark.parametrize(
        ("newest", "refers"),
        [
            ("one two ten", False),
            ("one two ten six", True),
            ("a b c d e f g h i j k", True),
            ("a b c d e f g h i j k l", False),
        ],
    )
    def test_a_question_of_four_to_eleven_words_refers_to_the_one_before(self, newest, refers):
        asked = asked_for(outgoing(user("zoo"), says("Yes?"), user(newest)))
        assert asked.get("zoo") == (0.3 if refers else None)
        assert asked["a" if "a" in asked else "one"] == 1.0
        assert "zoo" not in asked_for(outgoing(user("other"), user("zoo"), user("x")))

    def test_of_the_three_questions_before_two_make_a_word_usual(self):
        def counts(*having):
            before = [user("zoo" if at in having else "x") for at in range(4)]
            return asked_for(outgoing(*before, user("zoo")))["zoo"]

        assert [counts(), counts(3), counts(1), counts(0, 3), counts(0, 1)] == [1.0] * 5
        assert [counts(2, 3), counts(1, 2), counts(1, 3), counts(0, 1, 2, 3)] == [0.3] * 4

    def test_four_thousand_characters_tell_what_it_asks_for(self):
        asked = asked_for(outgoing(user("x" * 3996 + " zoos")))
        assert ("zoo" in asked, "zoos" in asked) == (True, False)

    def test_what_calls_say_counts_where_they_name_a_function(self):
        made = [{"function": {"name": "f", "arguments": "{}"}}, {"function": "g"}, "h", {}]
        for content, text in (("so", "so\nf {}"), ("", "f {}"), (None, "f {}")):
            assert told(outgoing(says(content, tool_calls=made))[0]) == text
        assert told(outgoing({"role": "user", "content": "so", "tool_calls": made})[0]) == "so"


class TestRoom:
    QUESTION = user("What do you know of Dora, Bela, Gina, Ada, Carl, Emil, Fred, Hugo and Ivan?")

    def quoting(self, recall, most=1200):
        full, fitted, _ = ask(self.QUESTION, recall=recall)
        index, asked = index_of(full.line), asked_for(full.line)
        found = recalled(full, fitted, most, index, asked)
        return full, fitted, found

    def test_what_is_quoted_takes_no_more_than_what_is_free_less_the_error(self):
        for most in range(700, 3000, 37):
            full, fitted, found = self.quoting(300, most)
            kept = fitted.trimmed.kept
            free = max(0, most - fitted.trimmed.reserved - sum(map(size, kept)))
            error = int(most * 0.04)
            room = min(4000, 300 + min(int(free * 0.9), free - error))
            assert found.tokens == sum(map(size, found.turn)) <= room + 2
            assert full.line

    def test_more_room_quotes_more_and_never_more_than_four_thousand_tokens(self):
        said = [
            each
            for at in range(400)
            for each in (user(f"key{at % 12}x " + "opens a door " * 20), says("I see."))
        ]
        line = outgoing(*said, user(" ".join(f"key{at}x" for at in range(12))))
        full = Full(line, recall=300)
        fitted = fit(full, Budget(max_input_tokens=3000), Weighing(DEFAULT_WEIGHTS))
        index, asked = index_of(line), asked_for(line)
        told = [recalled(full, fitted, most, index, asked) for most in range(3000, 12000, 500)]
        tokens = [found.tokens if found is not None else 0 for found in told]
        assert tokens == sorted(tokens)
        assert 3500 < tokens[-1] <= 4000
        assert tokens[-2] == tokens[-1]

    def test_with_its_neighbours_where_there_is_room_and_by_itself_where_there_is_not(self):
        before = [
            *facts()[:4],
            user("Zoe?"),
            user("The treasure of Zoe is gold."),
            says("A " + "neighbour " * 30),
            *facts()[4:],
        ]
        texts = [
            quoted(ask(user("Where is the treasure of Zoe?"), before=before, recall=recall)[2])
            for recall in (150, 400)
        ]
        assert all("treasure of Zoe is gold" in each for each in texts)
        assert "neighbour" in texts[1]

    def test_a_text_that_is_shown_and_stands_once_more_has_two_hundred_characters(self):
        for length in (200, 201):
            shown = "Bela paints " + "x" * (length - 12)
            facts_of_bela = [user("Bela told me of his cellar and his wooden garage."), says("I see.")]
            _, _, found = ask(
                user(shown),
                says("Oh."),
                user("What of the cellar, garage and Bela?"),
                before=[*facts()[:4], *facts_of_bela, *facts()[4:]],
            )
            (later,) = [each for each in quoted(found).splitlines() if each.startswith("later: ")]
            assert later == f"later: {shown[:200]}" + ("\u2026" if length > 200 else "")


class TestQuotations:
    def test_between_passages_of_messages_that_do_not_follow_each_other_stands_a_mark(self):
        _, _, found = ask(user("What do you know of Dora and Gina?"), recall=350)
        blocks = quoted(found).removeprefix(f"{HEADING}\n\n").split("\n\u2026\n")
        assert len(blocks) > 1
        at = [next(n for n, name in enumerate(NAMES) if f" {name} " in block) for block in blocks]
        assert at == sorted(at)
        assert found.messages == tuple(sorted(found.messages))
        parts = [each for each in quoted(found).splitlines()[2:] if each != "\u2026"]
        roles = [each.partition(":")[0] for each in parts]
        assert roles == ["user" if at % 2 == 0 else "assistant" for at in found.messages]
        jumps = sum(b > a + 1 for a, b in pairwise(found.messages))
        assert quoted(found).count("\n\u2026\n") == jumps

    def test_of_a_long_message_marks_tell_what_is_left_out(self):
        parts = [f"{'abcdefghij'[at]}{'x' * 780}." for at in range(10)]
        text = " ".join(parts[:4]) + " The oak hides the treasure. " + " ".join(parts[4:])
        before = [user(text), says("Read."), *facts()]
        _, _, found = ask(user("Where is the treasure that an oak hides?"), before=before, recall=900)
        said = quoted(found)
        assert said.startswith(f"{HEADING}\n\nuser: \u2026\n")
        assert "The oak hides the treasure." in said
        assert "\u2026" in said.splitlines()[-1] or "\nassistant: Read." in said
