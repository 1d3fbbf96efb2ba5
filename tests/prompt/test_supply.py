"""What an upstream demands back is put in from what is stored; a placeholder where nothing ever was."""

from __future__ import annotations

import json

import pytest

from sidecar.conversation.reasoning import REASONING_FIELDS
from sidecar.prompt.form import (
    CALL,
    EMPTY_ALONE,
    EVERY_ANSWER,
    OF_ANSWERS,
    OF_LIBRARIES,
    REMOVABLE,
    SIGNATURE,
    SUPPLIED,
    SYSTEM_FIRST,
    VALID_SIGNATURE,
    Form,
)
from sidecar.prompt.plain import plain, stripped, without
from sidecar.prompt.rebuild import Outgoing
from sidecar.prompt.supply import NOTHING_HELD, held, needs_what_is_held, supplied, system_first
from tests.conversation.build import calls, line, message, node, result, says, user

SIGNED = {"google": {"thought_signature": "signed"}}
DUMMY = {"google": {"thought_signature": "skip_thought_signature_validator"}}
THOUGHT = {"reasoning_content": "so"}


def sent(*messages):
    return [Outgoing(each.role, each.raw, message=each) for each in map(message, messages)]


def stored(*messages, model="m"):
    return held(
        node(fields, nonce=number, model=model) if fields["role"] == "assistant" else node(fields)
        for number, fields in enumerate(messages)
    )


def told(wanted, known, *messages, model="m"):
    return [json.loads(each.raw) for each in supplied(sent(*messages), frozenset(wanted), known, model)]


def signed(call_message, *extras):
    made = [
        {**call, **({"extra_content": extra} if extra else {})}
        for call, extra in zip(call_message["tool_calls"], extras, strict=True)
    ]
    return {**call_message, "tool_calls": made}


class TestReasoning:
    def test_it_goes_back_to_the_call_that_it_was_made_with(self):
        known = stored(calls("c") | THOUGHT, calls("d") | {"reasoning_content": "else"})
        (out,) = told({"reasoning_content"}, known, calls("c"))
        assert out == calls("c") | THOUGHT

    def test_arguments_may_be_spelled_otherwise_and_ids_be_used_again(self):
        known = stored(calls("c", arguments='{"a": 1}') | THOUGHT, calls("c", arguments='{"a": 2}'))
        (out,) = told({"reasoning_content"}, known, calls("c", arguments='{"a":1}'))
        assert out["reasoning_content"] == "so"

    @pytest.mark.parametrize("other", ["reasoning", "reasoning_text"])
    def test_it_goes_under_the_name_that_is_demanded(self, other):
        (out,) = told({"reasoning_content"}, stored(calls("c") | {other: "so"}), calls("c"))
        assert out["reasoning_content"] == "so"
        (out,) = told({"reasoning_content"}, NOTHING_HELD, calls("c") | {other: "so"})
        assert out["reasoning_content"] == "so"

    def test_one_that_the_client_sends_stays_and_an_empty_one_counts_as_none(self):
        known = stored(calls("c") | THOUGHT)
        mine = calls("c") | {"reasoning_content": "mine"}
        assert told({"reasoning_content"}, known, mine) == [mine]
        (out,) = told({"reasoning_content"}, known, calls("c") | {"reasoning_content": ""})
        assert out["reasoning_content"] == "so"

    def test_another_models_stays_with_it_and_placeholders_differ_but_never_change(self):
        known = stored(calls("c") | THOUGHT, model="other")
        first, second = told({"reasoning_content"}, known, calls("c"), calls("d"))
        assert "not kept" in first["reasoning_content"]
        assert first["reasoning_content"] != second["reasoning_content"]
        assert told({"reasoning_content"}, known, calls("c"))[0] == first

    def test_signed_details_have_no_placeholder(self):
        details = {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]}
        assert told({"reasoning_details"}, NOTHING_HELD, calls("c")) == [calls("c")]
        assert told({"reasoning_details"}, stored(calls("c") | details), calls("c")) == [calls("c") | details]

    def test_answers_without_calls_get_it_only_where_every_one_has_to(self):
        known = stored(says("hello") | THOUGHT)
        assert told({"reasoning_content"}, known, says("hello"), user("hi")) == [says("hello"), user("hi")]
        out = told({"reasoning_content", EVERY_ANSWER}, known, says(" hello"), user("hi"))
        assert out == [says(" hello") | THOUGHT, user("hi")]

    def test_what_was_not_finished_is_not_given_back_nor_what_had_no_calls_if_only_calls_count(self):
        nodes = [node(says("hello") | THOUGHT, nonce=1), node(calls("c") | THOUGHT, nonce=2, state="partial")]
        known = held(nodes, calls_only=True)
        assert (known.by_call, known.by_id, known.by_form) == ({}, {}, {})

    def test_what_is_put_in_is_marked_and_names_its_node(self):
        known = stored(calls("c") | THOUGHT)
        (out,) = supplied(sent(calls("c")), frozenset({"reasoning_content"}), known, "m")
        assert out.restored
        assert out.node == known.by_id["c"].id


class TestSignatures:
    def test_the_calls_get_the_extras_that_they_were_made_with(self):
        whole = signed(calls("c", "d"), SIGNED, None)
        assert told({SIGNATURE}, stored(whole), calls("c", "d")) == [whole]
        assert told({SIGNATURE}, stored(whole), whole) == [whole]

    def test_a_call_of_another_model_gets_the_documented_one_on_its_first_alone(self):
        (out,) = told({SIGNATURE}, stored(calls("c"), model="other"), calls("c", "d"))
        assert out == signed(calls("c", "d"), DUMMY, None)

    @pytest.mark.parametrize("odd", [{}, {"google": "odd"}, "odd"])
    def test_extras_without_a_signature_are_none(self, odd):
        (out,) = told({SIGNATURE}, NOTHING_HELD, signed(calls("c"), odd or None))
        assert out == signed(calls("c"), DUMMY)

    def test_one_that_is_refused_is_replaced(self):
        wrong = signed(calls("c"), {"google": {"thought_signature": "wrong"}})
        whole = signed(calls("c"), SIGNED)
        assert told({SIGNATURE}, stored(whole), wrong) == [wrong]
        assert told({VALID_SIGNATURE}, stored(whole), wrong) == [whole]
        assert told({VALID_SIGNATURE}, NOTHING_HELD, wrong) == [signed(calls("c"), DUMMY)]

    def test_a_call_without_a_function_is_left_to_whoever_refuses_it(self):
        odd = says(None, tool_calls=[{"id": "c"}])
        assert told({SIGNATURE}, stored(odd), odd)[0]["tool_calls"][0]["extra_content"] == DUMMY


class TestCalls:
    def test_a_result_gets_its_call_and_no_other(self):
        known = stored(calls("c", "d", content="Look.") | THOUGHT)
        out = told({CALL}, known, user("hi"), result("c"), user("and?"))
        assert out == [user("hi"), calls("c", content="Look."), result("c"), user("and?")]

    def test_it_is_marked_as_put_in_and_names_its_node(self):
        known = stored(calls("c"))
        question, made, found = supplied(sent(user("hi"), result("c")), frozenset({CALL}), known, "m")
        assert (made.restored, made.node, made.role) == (True, known.by_id["c"].id, "assistant")
        assert not question.restored
        assert not found.restored

    def test_results_of_one_answer_get_one_call_message(self):
        known = stored(calls("c", "d"))
        out = told({CALL}, known, user("hi"), result("d"), result("c"))
        assert out == [user("hi"), calls("c", "d"), result("d"), result("c")]

    def test_the_answer_in_front_of_it_makes_the_call(self):
        out = told({CALL}, stored(calls("c", content="Look.")), says("Look!"), result("c"))
        assert out == [calls("c", content="Look!"), result("c")]

    def test_a_result_that_has_its_call_or_that_nobody_knows_stays_as_it_is(self):
        known = stored(calls("c"))
        for line_ in ([calls("c"), result("c"), result("c")], [user("hi"), result("x")]):
            assert told({CALL}, known, *line_) == line_

    def test_the_call_that_is_put_in_gets_what_else_is_demanded(self):
        known = stored(calls("c") | THOUGHT)
        out = told({CALL, "reasoning_content"}, known, result("c"))
        assert out == [calls("c") | THOUGHT, result("c")]


def test_nothing_wanted_changes_nothing():
    assert told(set(), NOTHING_HELD, user("hi"), calls("c")) == [user("hi"), calls("c")]
    assert told({EVERY_ANSWER}, NOTHING_HELD, calls("c")) == [calls("c")]


def test_the_table_of_what_can_be_learned_is_closed():
    assert {CALL, SIGNATURE, VALID_SIGNATURE, EVERY_ANSWER, "reasoning_content"} <= SUPPLIED
    of_answers = {"extra_content", "name", "refusal", "annotations", "audio", "function_call"}
    assert of_answers | REASONING_FIELDS == REMOVABLE
    assert {"content", "tool_calls"}.isdisjoint(REMOVABLE)
    of_libraries = {"annotations", "provider_specific_fields", "index", "parsed", "citations", "context"}
    assert of_libraries | {"end_turn", "executed_tools"} == OF_LIBRARIES
    assert {"refusal", "audio", "function_call"} == EMPTY_ALONE
    assert OF_LIBRARIES | EMPTY_ALONE | REASONING_FIELDS | {"extra_content"} == OF_ANSWERS
    words = {CALL, SIGNATURE, VALID_SIGNATURE, EVERY_ANSWER, SYSTEM_FIRST}
    assert words == {"call", "signature", "valid_signature", "every_answer", "system_first"}
    assert words | REASONING_FIELDS == SUPPLIED
    assert Form().left_out == ()
    assert Form(without=frozenset({"name", "audio"})).left_out == ("audio", "name")
    assert Form(as_sent=True).left_out == ("all",)


class TestPlain:
    def test_a_history_goes_as_user_and_assistant_in_turn(self):
        before = line(
            {"role": "system", "content": "late"},
            user("hi"),
            user([{"type": "text", "text": "there"}]),
            calls("c", content="<think>so</think>Look.") | THOUGHT,
            result("c"),
            says("Done."),
            user("and?"),
            says(""),
        )
        out = [json.loads(each.raw) for each in plain(before, [message(user("well?"))])]
        assert out == [user("hi\n\nthere"), says("Look.\n\nDone."), user("and?\n\nwell?")]

    def test_the_calls_that_the_new_messages_answer_go_as_they_were_made(self):
        made = signed(calls("c", "d") | THOUGHT, SIGNED, None)
        before = line(user("hi"), made, result("c"))
        out = [json.loads(each.raw) for each in plain(before, [message(result("d"))])]
        assert out == [user("hi"), calls("c", "d"), result("c"), result("d")]

    @pytest.mark.parametrize("before", [[], [result("d")], [says(None, tool_calls=["odd"])]])
    def test_a_result_whose_call_is_nowhere_goes_as_it_came(self, before):
        out = [json.loads(each.raw) for each in plain(line(user("hi"), *before), [message(result("d"))])]
        assert out == [user("hi"), result("d")]

    def test_pictures_of_the_history_stay_out_and_those_that_are_new_go(self):
        picture = {"type": "image_url", "image_url": {"url": "https://host/a.png"}}
        asked = user([{"type": "text", "text": "what is it? "}, picture])
        before = line(asked, says("A cat."), asked)
        out = [json.loads(each.raw) for each in plain(before, [message(user([picture]))])]
        text = {"type": "text", "text": "what is it?"}
        assert out == [user("what is it?"), says("A cat."), user([text, picture])]


class TestWithout:
    def test_what_we_added_goes_without_the_fields_and_the_clients_own_stays(self):
        made = signed(calls("c"), SIGNED) | THOUGHT
        (mine,) = sent(made)
        ours = Outgoing("assistant", mine.raw, restored=True, node=b"n")
        out = without([mine, ours], frozenset({"extra_content", "reasoning_content"}))
        assert out[0] is mine
        assert json.loads(out[1].raw) == calls("c")
        assert (out[1].restored, out[1].node) == (True, b"n")

    def test_what_has_none_of_them_stays_the_same(self):
        odd = Outgoing("assistant", message(says("x", tool_calls=["odd"])).raw, restored=True)
        question = Outgoing("user", message(user("x")).raw, restored=True)
        assert without([odd, question], frozenset({"name"})) == [odd, question]

    def test_what_the_client_itself_sends_back_is_stripped_of_what_only_answers_carry(self):
        call = {"id": "a", "index": 0, "function": {"name": "look", "arguments": "{}"}}
        sent = {"role": "assistant", "content": None, "refusal": None, "index": 1, "tool_calls": [call]}
        asked = {"role": "user", "content": "q", "index": 1}
        names = frozenset({"index", "refusal"})
        question, answer = (Outgoing(str(each["role"]), json.dumps(each).encode()) for each in (asked, sent))
        left, right = stripped([question, answer], names)
        assert left is question
        assert right.restored
        assert set(right.fields) == {"role", "content", "tool_calls"}
        assert set(right.fields["tool_calls"][0]) == {"id", "function"}

    def test_a_refusal_that_says_something_is_no_field_to_be_stripped(self):
        refused = {"role": "assistant", "content": None, "refusal": "No."}
        answer = Outgoing("assistant", json.dumps(refused).encode())
        assert stripped([answer], frozenset({"refusal"})) == [answer]


def test_a_system_message_behind_others_is_told_by_the_user():
    parts = {"role": "developer", "content": [{"type": "text", "text": "b"}]}
    line = sent(user("q"), {"role": "system", "content": "a"}, says("ok"), parts)
    line[3] = Outgoing("developer", line[3].raw, restored=True, node=b"n")
    told = system_first(line)
    assert [each.node for each in told] == [None, None, None, b"n"]
    assert [each.fields["content"] for each in told] == [
        "q",
        "[A message of the system]\n\na",
        "ok",
        "[A message of the system]\n\nb",
    ]
    assert [each.role for each in told] == [each.fields["role"] for each in told]
    assert [each.role for each in told] == ["user", "user", "assistant", "user"]
    assert [each.restored for each in told] == [False, True, False, True]


def test_for_that_nothing_has_to_be_looked_up():
    assert not needs_what_is_held(frozenset((SYSTEM_FIRST,)))
    assert needs_what_is_held(frozenset((SYSTEM_FIRST, CALL)))
