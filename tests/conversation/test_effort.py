"""What one recognition may cost."""

from __future__ import annotations

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.conversation.echo import (
    echoed_answers,
    echoed_questions,
    echoed_results,
    ends_of_answers,
    with_systems_below,
)
from sidecar.conversation.effort import Effort, EffortLimits, TooMuch
from sidecar.conversation.find_by_history import continues
from sidecar.conversation.message import call_forms
from sidecar.conversation.reconcile import NOWHERE, Match, walk
from sidecar.conversation.tree import Tree
from tests.conversation.build import NOBODY, calls, line, message, node, raw, request, result, says, user

LONG = "x" * 4000


def test_messages_and_bytes_are_limited_each_for_itself():
    effort = Effort(EffortLimits(messages=2, bytes=10))
    effort.look(2)
    effort.compare(10)
    with pytest.raises(TooMuch):
        effort.look()
    with pytest.raises(TooMuch):
        effort.compare(1)


def test_a_stored_message_is_read_once():
    effort = Effort(EffortLimits(messages=0, bytes=len(node(says(LONG)).body) // 4))
    stored = node(says(LONG), nonce=1)
    assert [effort.visible(stored), effort.visible(stored)] == [LONG, LONG]


def test_a_stored_question_is_read_once():
    stored = node(user(f" {LONG}"))
    effort = Effort(EffortLimits(bytes=len(stored.body) // 4))
    assert [effort.asked(stored), effort.asked(stored)] == [LONG, LONG]


def test_the_values_in_the_calls_of_a_stored_message_count():
    stored = node(calls("a", arguments="[" + "0," * 1000 + "0]"), nonce=1)
    assert Effort().calls(stored) == call_forms(calls("a", arguments="[" + "0," * 1000 + "0]"))
    with pytest.raises(TooMuch):
        Effort(EffortLimits(bytes=len(stored.body))).calls(stored)
    once = Effort(EffortLimits(bytes=50_000))
    assert once.calls(stored) is once.calls(stored)


def test_the_clients_message_is_read_once():
    effort, sent = Effort(), message(says(" yes"))
    assert effort.copy(sent) is effort.copy(sent)
    assert (effort.copy(sent).visible, effort.copy(sent).calls) == ("yes", frozenset())


@given(st.text("ab", max_size=6), st.text("ab", max_size=6))
def test_one_text_contains_the_other_as_python_says(one, other):
    assert Effort().contains(one, other) == (one in other or other in one)


def test_where_a_text_is_found_slowly_the_steps_count():
    # "aaa…b…aaa" fits nearly everywhere.
    effort = Effort(EffortLimits(bytes=20_000))
    with pytest.raises(TooMuch):
        effort.contains("a" * 2400, "a" * 600 + "b" + "a" * 600)
    assert not Effort(EffortLimits(bytes=40_000)).contains("a" * 31_000, "a" * 50 + "b" + "a" * 50)
    assert Effort(EffortLimits(bytes=1000)).contains("context" * 1000 + "what is it?", "what is it?")


def least(work, **limits):
    """The least limit of the one kind with which this is not given up."""

    def is_enough(most):
        try:
            work(Effort(EffortLimits(**{**limits, name: most})))
        except TooMuch:
            return False
        return True

    (name,) = {"messages", "bytes"} - limits.keys()
    return bisect_left(range(10**6), True, key=is_enough)


MANY_BYTES, MANY_MESSAGES = {"bytes": 10**9}, {"messages": 10**9}


class TestWhateverIsLookedAtCounts:
    ROOT = node(user("hi"))

    def under(self, *children):
        under = [
            node(each, self.ROOT, nonce=at if each["role"] == "assistant" else None)
            for at, each in enumerate(children)
        ]
        return Tree([self.ROOT, *under])

    def test_each_call_of_the_client_against_each_reply(self):
        tree = self.under(*(calls(*"abcde", content=f"{at}") for at in range(10)))
        sent = message(calls(*"abcde", arguments="[]"))
        spent = least(lambda effort: echoed_answers(tree, self.ROOT, sent, effort), **MANY_BYTES)
        assert spent == 10 + 10 * 5

    def test_each_result_beside_a_result(self):
        tree = self.under(*(result(f"c{at}") for at in range(10)), user("x"))
        sent = message(result("c3", "cleared"))
        spent = least(lambda effort: echoed_results(tree, self.ROOT, sent, effort), **MANY_BYTES)
        assert spent == 10

    def test_each_message_beside_a_question_and_beside_an_answer(self):
        tree = self.under(*(user(f"{at}") for at in range(10)), says("x"), {"role": "system", "content": "s"})
        spent = least(
            lambda effort: echoed_questions(tree, self.ROOT, message(user("y")), effort), **MANY_BYTES
        )
        assert spent == 12
        spent = least(
            lambda effort: echoed_answers(tree, self.ROOT, message(says("y")), effort), **MANY_BYTES
        )
        assert 12 <= spent <= 2 * 12 + 1

    def test_each_message_below_a_system_message(self):
        nodes = line(user("hi"), *({"role": "system", "content": f"{at}"} for at in range(10)), user("x"))
        spent = least(lambda effort: list(with_systems_below(Tree(nodes), nodes[0], effort)), **MANY_BYTES)
        assert spent == 11

    def test_each_message_of_an_answer_that_is_found(self):
        steps = [each for at in range(10) for each in (calls(f"c{at}"), result(f"c{at}"))]
        nodes = line(user("hi"), *steps, says("Found."))
        spent = least(
            lambda effort: echoed_answers(Tree(nodes), nodes[0], message(says("Found.")), effort),
            **MANY_BYTES,
        )
        assert 21 + 21 <= spent <= 3 * 21
        spent = least(lambda effort: list(ends_of_answers(Tree(nodes), nodes[0], effort)), **MANY_BYTES)
        assert spent == 21

    def test_each_place_at_which_a_front_that_was_cut_may_begin(self):
        nodes = line(*([user("hi"), says("a")] * 20))
        path = request(says("a"), says("zzz"), user("z")).path
        assert least(lambda effort: found(Tree(nodes), path, effort), **MANY_BYTES) >= 20

    def test_the_bytes_of_texts_that_are_compared(self):
        tree = self.under(says("x" * 8000, y=1), says("x" * 8000 + "y"))
        read = sum(len(each.body) // 4 for each in tree.nodes[1:])
        spent = least(
            lambda effort: echoed_answers(tree, self.ROOT, message(says("x" * 9000)), effort), **MANY_MESSAGES
        )
        assert read + 16_000 <= spent <= 3 * (read + 16_000) + 16 * 16_002

    def test_the_bytes_of_results_that_may_stand_in_a_text(self):
        told = [user("hi"), calls("c", content="a"), result("c", "x" * 8000), says("b")]
        nodes = line(*told)
        for text, least_of_it in (('a"', 8000), ("a", 0)):
            spent = least(
                lambda effort, text=text: echoed_answers(
                    Tree(nodes), nodes[0], message(says(f"{text}b")), effort
                ),
                **MANY_MESSAGES,
            )
            assert (spent >= 8000) is (least_of_it > 0)

    def test_a_search_within_a_longer_text_by_its_length_or_its_steps(self):
        for whole, part, steps in ((30_000, 100, 30_000), (29_999, 640, 299_990), (29_999, 10, 29_999)):
            text = "a" * whole
            spent = least(
                lambda effort, text=text, part=part: effort.contains(text, "b" * part), **MANY_MESSAGES
            )
            assert spent == part + steps
        assert least(lambda effort: effort.contains("b" * 100 + "a" * 900, "b" * 100), **MANY_MESSAGES) == 100
        assert least(lambda effort: effort.contains("a" * 900 + "b" * 100, "b" * 100), **MANY_MESSAGES) == 100

    def test_what_is_read_once_counts_once(self):
        stored = node(says("It is 10:01. " + LONG), nonce=1)
        for of in ("visible", "asked", "undated", "calls"):
            once = least(lambda effort, of=of: getattr(effort, of)(stored), **MANY_MESSAGES)
            twice = least(
                lambda effort, of=of: (getattr(effort, of)(stored), getattr(effort, of)(stored)),
                **MANY_MESSAGES,
            )
            assert once == twice > 0
        assert Effort().undated(stored) == f"Itis10:01.{LONG}"
        assert least(lambda effort: effort.undated(stored), **MANY_MESSAGES) > 16 * len(LONG)

    def test_as_much_as_is_usual_is_fifty_thousand_messages_and_16_mib(self):
        effort = Effort()
        effort.look(50_000)
        effort.compare(16 << 20)
        with pytest.raises(TooMuch):
            effort.look()
        with pytest.raises(TooMuch):
            effort.compare(1)


def found(tree, path, effort):
    if walk(tree, path, NOBODY, effort).is_given_up:
        raise TooMuch


class TestWhatTakesTooMuchIsUnknown:
    NODES = line(user("hi"), says("a"), *[says("a")] * 300)

    def test_a_walk_is_given_up(self):
        asked = request(says("a"), says("zzz"), user("z"))
        few = Effort(EffortLimits(messages=1000))
        assert walk(Tree(self.NODES), asked.path, NOBODY, few) == Match(NOWHERE, (), is_given_up=True)
        assert walk(Tree(self.NODES), asked.path, NOBODY, Effort()) == Match(NOWHERE, ())

    def test_a_conversation_is_not_taken_for_the_one_that_goes_on(self):
        asked = request(user("hi"), says("zzz"), user("z"))
        with pytest.raises(TooMuch):
            continues(Tree(self.NODES), asked.path, Effort(EffortLimits(messages=100)))

    def test_many_messages_of_others_under_an_answer_count_too(self):
        root = node(user("hi"))
        nodes = [root, *(node(user(str(at)), root) for at in range(100))]
        with pytest.raises(TooMuch):
            echoed_answers(Tree(nodes), root, message(says("x")), Effort(EffortLimits(messages=99)))

    def test_every_way_in_which_the_same_words_can_be_meant_counts(self):
        """Answers without a word may belong to the one before: ten times ten times ten ways …"""
        told = [user("q")]
        for _ in range(8):
            told += [says("a"), *[says("", x=1)] * 10]
        asked = request(user("q"), *[says("a", y=1)] * 8, user("new"))
        assert walk(Tree(line(*told)), asked.path, NOBODY).is_given_up

    def test_a_chat_of_thousands_of_messages_is_not(self):
        told = [each for at in range(2000) for each in (user(f"<ctx>{at}</ctx> q{at}"), says(f"a{at}"))]
        asked = [each for at in range(2000) for each in (user(f"q{at}"), says(f"a{at} ", z=1))]
        nodes = line(*told)
        assert walk(Tree(nodes), request(*asked, user("new")).path, NOBODY).place.node == nodes[-1]


def test_the_children_of_a_message_are_told_by_what_they_say_however_many_they_are():
    root = node(user("hi"))
    few = [node(says(text), root, nonce=at) for at, text in enumerate("aab")]
    many = [node(says("a" if at % 2 else str(at)), root, nonce=at) for at in range(20)]
    for replies in (few, many):
        tree = Tree([root, *replies])
        same = [each for each in replies if each.digest == message(says("a")).digest]
        assert list(tree.alike(root, message(says("a")).digest)) == same
        assert list(tree.alike(root, message(says("else")).digest)) == []
        assert list(tree.alike(root, message(says("a")).digest)) == same
        assert list(tree.alike(None, root.digest)) == [root]
    roots = [node(user(str(at))) for at in range(20)]
    assert list(Tree(roots).alike(None, roots[7].digest)) == [roots[7]]
    assert raw(user("7")) == roots[7].body
