"""Which conversation a request continues that names none."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.conversation.find_by_history import (
    clues,
    continues,
    hash_of_text,
    hash_of_user,
    hashes,
    key_of_branch,
    key_of_name,
    with_prefill,
)
from sidecar.conversation.tree import Tree
from tests.conversation.build import CHAIN, calls, line, node, request, result, says, user
from tests.conversation.chats import copied, grown, meddled, texts_of

QUICK = settings(max_examples=80, deadline=None)


def hashes_of(nodes):
    return [each.hash for each in nodes]


class TestHashes:
    def test_they_go_from_the_end_to_the_last_answer(self):
        asked = request(user("hi"), says("hello"), user("and?"), user("well?"))
        stored = line(user("hi"), says("hello"), user("and?"), user("well?"))

        assert hashes(asked.path) == hashes_of(stored[:0:-1])

    def test_the_last_is_that_of_the_answer_after_however_many_messages(self):
        asked = request(user("hi"), calls("c"), *(result("c", str(number)) for number in range(100)))

        found = hashes(asked.path)

        assert len(found) < 40
        assert found[0] == asked.path.hashes[-1]
        assert found[-1] == asked.path.hashes[1]

    def test_an_answer_that_is_to_go_on_is_the_last_answer(self):
        asked = _whole(user("hi"), says("Once upon"))

        assert hashes(asked) == hashes_of(line(user("hi"), says("Once upon"))[1:])
        assert asked.last_answer == 2

    def test_a_request_without_such_an_answer_stays_as_it_is(self):
        asked = request(user("hi"), says("hello"), user("and?"))

        assert with_prefill(asked.path, asked.prefill, CHAIN) is asked.path


class TestClues:
    def test_they_are_the_fronts_and_the_answers_nearest_to_the_end(self):
        told = [user("1"), says("one"), user("2"), says("two"), user("3"), says("three"), user("4")]
        stored = line(*told)

        found = clues(request(*told).path, CHAIN)

        texts = [hash_of_text(CHAIN, says(each)) for each in ("three", "two", "one")]
        assert list(found.hashes) == [*hashes_of(stored[4:0:-1]), *texts]
        assert list(found.digests) == [stored[at].digest for at in (5, 3, 1)]

    def test_an_answer_given_over_and_over_is_one_clue(self):
        told = [user("1"), says("one"), *[user("2"), says("ok")] * 10, user("3")]

        found = clues(request(*told).path, CHAIN)

        assert list(found.digests) == [node(says(each)).digest for each in ("ok", "one")]

    def test_the_first_answer_has_the_question_before_it(self):
        found = clues(request(user("1"), says("one"), user("2")).path, CHAIN)

        assert list(found.hashes) == [*hashes_of(line(user("1"))), hash_of_text(CHAIN, says("one"))]


def _whole(*messages):
    """Its path, with the answer that is to go on."""
    asked = request(*messages)
    return with_prefill(asked.path, asked.prefill, CHAIN)


DOCUMENT = "Use this context:\n<context>a long text</context>\n\n"
TOLD = [user("hi"), says("hello"), user("and?")]


class TestContinues:
    @pytest.mark.parametrize(
        ("stored", "sent"),
        [
            ([user("hi"), says("hello")], TOLD),
            ([user(DOCUMENT + "hi"), says("hello")], TOLD),
            ([user("hi"), calls("c", content="I look."), result("c"), says("hello")], TOLD),
            (
                [user("hi"), calls("c", content="I look."), result("c"), says("hello")],
                [user("hi"), says("I look.\n\nhello"), user("and?")],
            ),
            ([user("x"), says("y"), user("hi"), says("hello")], TOLD),
        ],
        ids=["as it is", "documents gone", "tools gone", "tools flattened", "front cut off"],
    )
    def test_an_echo_of_the_whole_history_does(self, stored, sent):
        assert continues(Tree(line(*stored)), request(*sent).path)

    def test_the_beginning_of_a_reply_that_was_stopped_does(self):
        ask = node(user("hi"))
        stopped = node(says("hello, and welcome"), ask, nonce=1, state="partial")

        assert continues(Tree([ask, stopped]), request(user("hi"), says("hello, and"), user("and?")).path)
        assert continues(Tree([ask, stopped]), _whole(user("hi"), says("hello, and")))

    @pytest.mark.parametrize(
        "stored",
        [
            [user("hi"), says("good morning")],
            [user("good morning"), says("hello")],
            [user("hi"), says("hello!"), user("hello")],
            [user("hi")],
            [],
        ],
        ids=["another answer", "another question", "edited", "no answer", "nothing"],
    )
    def test_less_than_the_whole_history_does_not(self, stored):
        assert not continues(Tree(line(*stored)), request(*TOLD).path)

    def test_an_answer_that_the_client_wrote_does_not(self):
        ask = node(user("hi"))
        example = node(says("hello"), ask)

        assert not continues(Tree([ask, example]), request(*TOLD).path)
        assert continues(Tree([ask, example, node(says("hello"), ask, nonce=1)]), request(*TOLD).path)

    def test_a_greeting_before_the_first_question_does_not(self):
        stored = line(user("hi"), says("How can I help?"))

        assert not continues(Tree(stored), request(says("How can I help?"), user("and?")).path)


class TestAnswerToAWish:
    """What a guided regenerate gives: the wish is in no later request, and its answer is."""

    STORED = (user("hi"), says("a long answer"), user("Shorter, please."), says("hello"))

    def test_it_continues(self):
        assert continues(Tree(line(*self.STORED)), request(*TOLD).path)

    def test_it_does_with_documents_gone_from_the_question(self):
        stored = [user(DOCUMENT + "hi"), *self.STORED[1:]]

        assert continues(Tree(line(*stored)), request(*TOLD).path)
        assert continues(Tree(line(user("x"), says("y"), *stored)), request(user("x"), says("y"), *TOLD).path)
        assert not continues(Tree(line(*stored)), request(user("x"), says("y"), *TOLD).path)

    def test_it_does_not_behind_a_front_that_is_not_stored(self):
        asked = [says("How can I help?"), *TOLD]

        assert not continues(Tree(line(*self.STORED)), request(*asked).path)

    def test_it_does_after_one_wish_and_then_another(self):
        ask, answer, *rest = line(user("hi"), says("a long answer"), user("Shorter."), says("short"))
        told = node(says("short"), ask)
        wish = node(user("Still shorter."), told)
        last = node(says("hello"), wish, nonce=9)

        assert continues(Tree([ask, answer, *rest, told, wish, last]), request(*TOLD).path)

    def test_it_does_not_behind_anything_but_a_question(self):
        stored = [user("hi"), calls("c"), result("c", "found"), says("a long answer"), *self.STORED[2:]]
        asked = [user("hi"), calls("c"), result("c", "found"), says("hello"), user("and?")]

        assert not continues(Tree(line(*stored)), request(*asked).path)

    def test_it_does_also_once_the_client_has_told_it_as_its_own(self):
        ask, *later = line(*self.STORED)
        told = node(says("hello"), ask)

        assert continues(Tree([ask, *later, told, node(user("and?"), told)]), request(*TOLD).path)

    @pytest.mark.parametrize(
        "stored",
        [
            (user("hi"), says("a long answer"), user("Shorter, please."), says("good morning")),
            (user("hi"), says("a long answer"), result("c"), says("hello, you")),
            (user("hi"), says("a"), user("b"), says("c"), user("d"), says("hello")),
        ],
        ids=["another answer", "no wish", "two turns later"],
    )
    def test_another_answer_does_not(self, stored):
        assert not continues(Tree(line(*stored)), request(*TOLD).path)

    def test_examples_of_the_client_followed_by_a_question_do_not(self):
        ask = node(user("hi"))
        example = node(says("hello"), ask)
        question = node(user("so?"), example)
        assert not continues(
            Tree([ask, example, question, node(says("hello"), question, nonce=1)]), request(*TOLD).path
        )


class TestAtRandom:
    @QUICK
    @given(st.data())
    def test_a_copy_is_recognised_in_its_own_chat_and_in_no_other(self, data):
        names = iter(f"text {number:03}" for number in range(1000))
        own, path = grown(data, lambda _: next(names))
        other, _ = grown(data, lambda _: next(names))
        asked = request(*copied(path, data), user("new"))

        assert continues(own.tree, asked.path)
        assert not continues(other.tree, asked.path)

    @QUICK
    @given(st.data())
    def test_of_a_whole_answer_one_clue_at_least_is_stored(self, data):
        names = iter(f"text {number:03}" for number in range(1000))
        chat, path = grown(data, lambda _: next(names))
        asked = request(*copied(path, data), user("new"))

        assert {each.digest for each in chat.nodes.values()} & set(clues(asked.path, CHAIN).digests)

    @QUICK
    @given(st.data())
    def test_what_continues_ends_with_words_that_an_upstream_said_here(self, data):
        chat, path = grown(data, texts_of)
        asked = request(*meddled(copied(path, data), data), user("new"))
        if asked.last_answer and continues(chat.tree, asked.path):
            said = asked.path.messages[asked.last_answer - 1].fields.get("content") or ""
            replies = [each for each in chat.nodes.values() if each.source == "upstream"]
            # Flattened, the answers of one turn are joined, so it may be the words of several of them.
            assert all(any(word.encode() in each.body for each in replies) for word in said.split())


def test_what_a_chat_is_found_by_beside_its_path_is_nothing_else():
    path = hashes_of(line(user("1")))
    by_user = [hash_of_user(CHAIN, name, hash) for name in ("u1", "u2") for hash in (b"", *path)]
    others = [hash_of_user(CHAIN, None), key_of_name(CHAIN, "u1"), key_of_branch(CHAIN, b"u1")]
    assert len({*path, *by_user, *others}) == len(path) + len(by_user) + len(others)
