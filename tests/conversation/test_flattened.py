"""Which calls are one in two spellings, and what clients make of calls within a text."""

from __future__ import annotations

import pytest

from sidecar.conversation.echo import echoed_answers, echoed_results
from sidecar.conversation.effort import Effort
from sidecar.conversation.flattened import forms_of_result, parted
from sidecar.conversation.likeness import folded, undated
from sidecar.conversation.message import are_respelled
from sidecar.conversation.tree import Tree
from tests.conversation.build import calls, line, message, node, result, says, user

BLOCK = '<details type="tool_calls" done="true">\n<summary>Ran</summary>\n</details>'


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (calls("call_a-B"), calls("callaB"), True),
        (calls("call_abcdefghij"), calls("abcdefghi"), True),
        (calls(""), calls("made-up"), True),
        (calls("a"), calls("b"), False),
        (calls("a"), calls("a", "a"), False),
        (calls("a"), calls("a", name="other"), False),
        (says("no calls"), calls("a"), False),
        ({"tool_calls": [None]}, {"tool_calls": [None]}, True),
        ({"tool_calls": [None]}, calls("a"), False),
    ],
)
def test_calls_are_one_in_two_spellings_by_name_arguments_and_what_is_left_of_the_id(one, other, alike):
    assert are_respelled(one, other) is alike


def test_blocks_of_front_ends_are_parted_from_what_was_said():
    assert parted(f"a{BLOCK}b{BLOCK}") == ("ab", BLOCK * 2)
    assert parted("<details>a</details>") == ("<details>a</details>", "")


def test_a_result_stands_in_a_text_as_json_or_as_html_of_that():
    assert list(forms_of_result('a "b"')) == ['"&quot;a\\&quot;b\\&quot;&quot;"', '"a\\"b\\""']


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("[2026-11-28T10:03:22Z] hi", "hi"),
        ("28 November 2026, 3:05 pm hi", ",hi"),
        ("1732812345 hi", "hi"),
        ("add 2+2, 0.9518438343943443 and 1.2.3", "add2+2,0.9518438343943443and1.2.3"),
    ],
)
def test_moments_are_no_part_of_an_undated_text(text, left):
    assert undated(text, "user") == left
    assert folded(text) == "".join(text.split())


def test_of_an_answer_only_a_moment_in_front_is_no_part():
    assert undated("[2026-11-28 10:01] at 11:00", "assistant") == "at11:00"
    assert undated("at 11:00", "assistant") == "at11:00"


def test_a_text_with_calls_in_it_is_the_reply_that_made_them_or_said_the_rest():
    nodes = line(user("hi"), calls("c1", content="I look."))
    told = "I look.\nCalling tools:\n[{'id': '%s'}]"

    assert echoed_answers(Tree(nodes), nodes[0], message(says(told % "c1")), Effort()) == [(nodes[1],)]
    assert not echoed_answers(Tree(nodes), nodes[0], message(says(told % "c2")), Effort())


def test_an_answer_with_another_time_in_front_of_it_is_the_same_and_one_with_another_in_it_is_an_edit():
    nodes = line(user("hi"), says("[10:01] hello"))

    assert echoed_answers(Tree(nodes), nodes[0], message(says("[10:02] hello")), Effort()) == [(nodes[1],)]
    assert not echoed_answers(Tree(nodes), nodes[0], message(says("[10:02] bye")), Effort())
    assert not echoed_answers(Tree(nodes), nodes[0], message(says("[10:02]")), Effort())

    nodes = line(user("hi"), says("We meet at 10:00."))
    assert not echoed_answers(Tree(nodes), nodes[0], message(says("We meet at 11:00.")), Effort())


def test_a_changed_result_is_that_of_its_call_else_that_with_its_text_else_any():
    root = node(calls("a", "b"))
    one, two = node(result("a", "1"), root), node(result("b", "2"), root)
    tree = Tree([root, one, two])

    assert echoed_results(tree, root, message(result("b", "[cleared]")), Effort()) == [two]
    assert echoed_results(tree, root, message(result("x", " 1")), Effort()) == [one]
    assert echoed_results(tree, root, message(result("x", "[cleared]")), Effort()) == [one, two]
