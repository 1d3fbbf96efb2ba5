"""An index finds what BM25 finds, worked out here from the texts themselves, and parts texts well."""

from __future__ import annotations

import math
import tracemalloc
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.prompt.recall_index import Passage, RecallIndex, passages
from sidecar.prompt.words import likely_share, words

SOME_WORDS = st.sampled_from(["a", "an", "the", "oak", "sofa", "table", "pencil", "plumber", "4711", "x1"])
TEXTS = st.lists(st.lists(SOME_WORDS, max_size=8).map(" ".join), min_size=1, max_size=40)


def index_of(texts):
    index = RecallIndex()
    for text in texts:
        index.add(text)
    return index


def parts_of(texts):
    return [Counter(words(text[start:end])) for text in texts for start, end in passages(text)]


def fits(parts, question):
    """BM25 of each passage together with its neighbours: k1 is 1.2, b 0.75, and a count ends at 63."""
    around = [parts[max(0, at - 1) : at + 2] for at in range(len(parts))]
    lengths = [sum(each.total() for each in some) for some in around]
    average = 3 * sum(each.total() for each in parts) / len(parts)
    scores: dict[int, float] = {}
    for word, counts in question.items():
        times = [sum(min(each[word], 63) for each in some) for some in around]
        having = sum(1 for each in times if each)
        rarity = math.log(1 + (len(parts) - having + 0.5) / (having + 0.5))
        rarity *= counts * min(1.0, -math.log(likely_share(word)) / 3.5)
        for at, each in enumerate(times):
            if each:
                damped = each / (each + 1.2 * (1 - 0.75 + 0.75 * lengths[at] / average))
                scores[at] = scores.get(at, 0.0) + rarity * damped
    return scores


@given(TEXTS, st.dictionaries(SOME_WORDS, st.sampled_from((0.3, 1.0)), min_size=1), st.integers(0, 40))
@example(["oak " * 62, "oak " * 63, "oak " * 64, "oak " * 200, "the"], {"oak": 1.0}, 5)
@example(["oak " * 70, "an", "the", "oak"], {"oak": 1.0}, 4)
@example(["oak", "the", "the", "the oak", "", "a"], {"oak": 1.0, "the": 0.3}, 3)
def test_it_scores_by_the_words_of_a_passage_and_of_its_neighbours_and_by_nothing_behind(texts, asked, until):
    index = index_of(texts)
    parts = parts_of(texts)
    until = min(until, len(parts))
    parts = parts[:until]
    places = {word: sum(word in each for each in parts) for word in asked}
    common = len(parts) if len(parts) <= 12 else len(parts) * 3 // 10
    telling = {word: counts for word, counts in asked.items() if 0 < places[word] <= common}

    found = index.search(asked, until)

    assert found.words == tuple(sorted(telling, key=lambda word: (places[word], word)))
    assert found.scores == pytest.approx(fits(parts, telling) if telling else {})
    for at, each in enumerate(parts):
        assert found.held.get(at, 0) == sum(1 << n for n, word in enumerate(found.words) if word in each)
    assert index.places(asked, until) == places


@given(TEXTS, st.integers(0, 41), st.integers(0, 41))
@example(["x " * 1000, "", "oak"], 0, 1)
def test_its_passages_are_those_of_the_messages_in_their_order(texts, first, until):
    index = index_of(texts)
    all_of_them = [Passage(at, start, end) for at, text in enumerate(texts) for start, end in passages(text)]
    assert index.messages == len(texts)
    assert [index.passage(at) for at in range(len(all_of_them))] == all_of_them
    within = [index.passage(at) for at in index.within(first, until)]
    assert within == [each for each in all_of_them if first <= each.message < until]


def test_of_a_message_its_first_hundred_thousand_characters_are_looked_at():
    index = index_of(["." * 99_997 + "oak plumber", "table"])
    assert index.search({"oak": 1.0}, index.within(0, 2).stop).held
    assert not index.search({"plumber": 1.0}, index.within(0, 2).stop).held


def standing_in(places, of):
    """An index of so many passages, in so many of which each word stands."""
    return index_of(
        [" ".join(word for word, number in places.items() if at < number) or "so" for at in range(of)]
    )


def test_a_word_in_more_than_three_of_ten_passages_tells_none_from_another_but_in_a_short_talk_each_does():
    assert standing_in({"oak": 12}, of=12).search({"oak": 1.0}, 12).words == ("oak",)
    assert standing_in({"oak": 4}, of=13).search({"oak": 1.0}, 13).words == ()
    assert standing_in({"oak": 3, "sofa": 6}, of=20).search({"oak": 1.0, "sofa": 1.0}, 20).words == (
        "oak",
        "sofa",
    )


def test_no_more_than_five_hundred_places_are_looked_at_for_a_question_those_of_its_rarest_words():
    index = standing_in({"oak": 1, "sofa": 499, "table": 500}, of=2000)
    found = index.search(dict.fromkeys(("oak", "sofa", "table"), 1.0), 2000)
    assert found.words == ("oak", "sofa")
    assert index.search(dict.fromkeys(("oak", "table"), 1.0), 2000).words == ("oak",)
    assert sorted(index.search({"table": 1.0}, 2000).held) == list(range(500))


def test_of_a_word_alone_that_stands_in_more_places_the_latest_are_looked_at():
    index = standing_in({"oak": 503}, of=2000)
    assert sorted(index.search({"oak": 1.0}, 2000).held) == list(range(3, 503))
    assert sorted(index.search({"oak": 1.0}, 1900).held) == list(range(3, 503))


def test_up_to_eight_hundred_characters_are_one_passage():
    assert list(passages("x" * 800)) == [(0, 800)]
    assert list(passages("x" * 801)) == [(0, 800), (800, 801)]
    assert list(passages("x" * 800 + "\n " * 100)) == [(0, 800)]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("\n\n", "\n"),
        ("\n \t\n", "\n"),
        ("\n", ". "),
        ("! ", " "),
        ("?\t", " "),
        (". ", " "),
        ("\u3002", " "),
        ("\uff01", " "),
        ("\uff1f", " "),
        (" ", ".x"),
        ("\t", ""),
    ],
)
def test_a_passage_ends_behind_the_last_of_the_best_marks_in_its_second_half(better, worse):
    text = "x" * 450 + better + "y" * 50 + better + "z" * 50 + worse + "z" * 400
    end = text.rindex(better) + len(better)
    assert next(iter(passages(text))) == (0, end)
    assert list(passages(f"{'w' * 800}{text}"))[:2] == [(0, 800), (800, 800 + end)]


def test_a_mark_counts_from_the_middle_of_a_passage_on():
    assert next(iter(passages("x" * 400 + " " + "y" * 600))) == (0, 401)
    assert next(iter(passages("x" * 399 + " " + "y" * 600))) == (0, 800)
    assert next(iter(passages("x" * 799 + " " + "y" * 600))) == (0, 800)


@pytest.mark.parametrize(
    "texts",
    [
        [f"word{at}x" for at in range(20_000)],
        ["few words of all days " * 2] * 10_000,
        [" ".join(f"{at % 50}a{n}" for n in range(100)) for at in range(1000)],
    ],
    ids=["many words", "many passages", "many places"],
)
def test_it_tells_about_how_much_memory_it_takes(texts):
    tracemalloc.start()
    try:
        index = index_of(texts)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken / 2 < index.size < 2 * taken
