"""What goes upstream for a client that sends only what is new is valid for the strictest chat templates."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sidecar.conversation.message import read
from sidecar.prompt.rebuild import Reader, Restore, as_before
from sidecar.prompt.thin_history import remembered
from tests.conversation.build import calls, line, message, node, raw, result, says, user

TOOLS = b'[{"type":"function","function":{"name":"look"}}]'
WITH_TOOLS = Reader("m", TOOLS)
WITHOUT = Reader("m")


def stored(*messages, together=0):
    """A stored path of which each message came with a request of its own, but the last ones `together`."""
    nodes = line(*messages)
    last = len(nodes) - together
    return [
        replace(each, created_at=float(min(at, last)), model="m" if each.source == "upstream" else None)
        for at, each in enumerate(nodes)
    ]


def changed(nodes, at, **about):
    return [*nodes[:at], replace(nodes[at], **about), *nodes[at + 1 :]]


def outgoing(nodes, *sent, rules=None, reader=WITH_TOOLS):
    return remembered(nodes, [message(each) for each in sent], rules or Restore(), reader)


def told(nodes, *sent, rules=None, reader=WITH_TOOLS):
    return [json.loads(each.raw) for each in outgoing(nodes, *sent, rules=rules, reader=reader)]


def fault(messages):
    """Why a strict template refuses them; None if it does not. Mistral's and Gemma's in one, with tools."""
    before = ""
    waiting: list[str] = []
    for at, each in enumerate(messages):
        role = each["role"]
        if role == "tool":
            if each["tool_call_id"] not in waiting:
                return f"{at}: a result without its call"
            waiting.remove(each["tool_call_id"])
        elif role == "user" and before == "tool":
            return f"{at}: a question behind a result"
        elif waiting:
            return f"{at}: calls without results"
        elif role == before and role in ("user", "assistant"):
            return f"{at}: two {role} messages in a row"
        if role == "assistant":
            if not each.get("content") and not each.get("tool_calls"):
                return f"{at}: an answer without words"
            if each.get("tool_calls") == []:
                return f"{at}: an empty list of calls"
            waiting = [call["id"] for call in each.get("tool_calls", ())]
        before = role
    return "calls without results at the end" if waiting else None


class TestAnswers:
    def test_a_path_goes_as_it_is_stored_and_then_what_is_new(self):
        nodes = stored(user("hi"), calls("c"), result("c"), says("It is 5."))
        out = outgoing(nodes, user("new"))
        assert [each.raw for each in out] == [*(each.body for each in nodes), raw(user("new"))]
        assert [each.restored for each in out] == [True] * 4 + [False]
        assert [each.node for each in out[:4]] == [each.id for each in nodes]

    def test_a_stopped_answer_stands_with_its_words(self):
        nodes = changed(stored(user("hi"), says("Step 1")), 1, state="partial")
        assert told(nodes, user("go on")) == [user("hi"), says("Step 1"), user("go on")]

    def test_a_failed_answer_never_goes(self):
        nodes = changed(stored(user("hi"), says("Ste")), 1, state="failed")
        assert told(nodes, user("go on")) == [user("hi\n\ngo on")]

    @pytest.mark.parametrize(
        "empty",
        [says(""), says(None, reasoning="so"), says("<think>so"), says("", tool_calls=[]), calls("c")],
    )
    def test_an_answer_that_says_nothing_is_left_out(self, empty):
        assert told(stored(user("hi"), empty), user("are you there?")) == [user("hi\n\nare you there?")]

    def test_what_only_answers_carry_does_not_go(self):
        nodes = stored(user("hi"), says("yes", tool_calls=[], refusal=None, annotations=[]))
        assert told(nodes, user("new"))[1] == says("yes")

    def test_what_the_client_said_for_the_model_stays_as_it_came(self):
        nodes = [node(user("hi")), node(says("yes", x=1))]
        assert told(nodes, user("new"))[1] == says("yes", x=1)
        nodes = [node(user("hi")), node(says("yes", x=1, tool_calls=[]))]
        assert told(nodes, user("new"))[1] == says("yes", x=1)

    def test_two_answers_in_a_row_are_joined(self):
        assert told(stored(user("hi"), says("one"), says("two")), user("new"))[1] == says("one\n\ntwo")

    def test_answers_in_parts_are_joined_too(self):
        one, two = {"type": "text", "text": "one"}, {"type": "text", "text": "two"}
        now = told(stored(user("hi"), says("one"), says([two])), user("new"))
        assert now[1] == says([one, two])

    def test_an_answer_before_a_call_takes_the_call(self):
        nodes = stored(user("hi"), calls("b", content="Look."), calls("a"), result("a"))
        assert told(nodes)[1:] == [calls("a", content="Look."), result("a")]

    def test_audio_goes_as_its_transcript_when_it_has_expired(self):
        spoken = says(None, audio={"id": "a", "data": "AA", "expires_at": 10, "transcript": "yes"})
        nodes = stored(user("hi"), spoken)
        assert told(nodes, reader=Reader("m", now=9.0))[1] == says(None, audio={"id": "a"})
        assert told(nodes, reader=Reader("m", now=11.0))[1] == says("yes")


class TestQuestions:
    def test_an_unanswered_question_is_joined_with_the_next(self):
        out = outgoing(stored(user("one"), user("two")), user("three"))
        assert [json.loads(each.raw) for each in out] == [user("one\n\ntwo\n\nthree")]
        assert (out[0].restored, out[0].is_joined) == (True, True)
        assert out[0].fields == user("one\n\ntwo\n\nthree")
        assert out[0].measure == outgoing(stored(user("one\n\ntwo\n\nthree")))[0].measure
        assert not outgoing(stored(user("one"), user("two")))[0].is_joined, "not just now"

    def test_it_reads_the_same_when_it_was_answered_later(self):
        before = outgoing(stored(user("one")), user("two"))
        after = outgoing(stored(user("one"), user("two"), says("yes")), user("three"))
        assert after[0].raw == before[0].raw

    def test_one_that_was_sent_again_stands_once(self):
        assert told(stored(user("one")), user("one")) == [user("one")]
        assert told(stored(user("one"), user("two"), user("two")), user("two")) == [user("one\n\ntwo")]

    def test_questions_of_one_request_stay_as_they_came(self):
        both = (user("one"), user("two"))
        assert told([], *both) == list(both)
        assert told(stored(*both, together=2)) == list(both)

    def test_answers_that_the_client_itself_sends_stay_apart(self):
        assert told([], says("yes"), says("no")) == [says("yes"), says("no")]
        assert told(stored(user("one")), says("yes"), says("no"))[1:] == [says("yes"), says("no")]

    def test_questions_of_two_people_stay_apart(self):
        both = [user("one", name="ada"), user("two", name="bob")]
        assert told(stored(both[0]), both[1]) == both

    def test_parts_are_put_one_behind_the_other(self):
        picture = {"type": "image_url", "image_url": {"url": "https://host/a.png"}}
        text = {"type": "text", "text": "one"}
        assert told(stored(user("one")), user([picture])) == [user([text, picture])]
        assert told(stored(user([picture])), user(None)) == [user([picture])]


class TestCalls:
    def test_a_call_without_its_result_goes_without_it(self):
        nodes = stored(user("hi"), calls("a", "b", content="Look."), result("b"), says("yes"))
        assert told(nodes, user("new"))[1:3] == [calls("b", content="Look."), result("b")]

    def test_its_text_goes_if_it_has_one(self):
        nodes = stored(user("hi"), calls("a", content="Look."))
        assert told(nodes, user("new")) == [user("hi"), says("Look."), user("new")]

    def test_the_result_may_be_what_the_client_sends(self):
        out = outgoing(stored(user("hi"), calls("a")), result("a"), reader=WITHOUT)
        assert [json.loads(each.raw) for each in out] == [user("hi"), calls("a"), result("a")]
        assert [each.restored for each in out] == [True, True, False]

    def test_a_late_result_takes_its_call_along(self):
        nodes = stored(user("how far?"), calls("c"), user("in km"), says("Noted."))
        before = told(nodes[:3])
        now = told(nodes, result("c"))
        asked = user("how far?\n\nin km")
        assert before == [asked]
        assert now == [asked, says("Noted.", tool_calls=calls("c")["tool_calls"]), result("c")]
        later = told([*nodes, *stored(*[user("x")] * 4, result("c"), says("3 km"))[4:]], user("and back?"))
        assert later == [*now, says("3 km"), user("and back?")]

    def test_a_late_result_behind_an_unanswered_question_gets_its_call_in_front(self):
        nodes = stored(user("how far?"), calls("c"), user("in km"))
        assert told(nodes, result("c")) == [user("how far?\n\nin km"), calls("c"), result("c")]

    def test_each_of_two_late_results_takes_its_call_along(self):
        nodes = stored(user("how far?"), calls("c", "d"), user("in km"), says("Noted."))
        now = told(nodes, result("d"), result("c"))
        assert now[1:] == [
            says("Noted.", tool_calls=calls("d")["tool_calls"]),
            result("d"),
            calls("c"),
            result("c"),
        ]

    def test_one_of_two_results_that_comes_later_leaves_what_was_sent_as_it_was(self):
        nodes = stored(user("hi"), calls("a", "b"), result("a"), says("one"))
        before, now = told(nodes), told(nodes, result("b"))
        assert now[:3] == before[:3]
        assert now[3:] == [says("one", tool_calls=calls("b")["tool_calls"]), result("b")]

    def test_a_late_call_brings_its_reasoning(self):
        nodes = stored(user("hi"), calls("c") | {"reasoning_content": "so"}, user("x"), says("Noted."))
        assert told(nodes, result("c"))[1]["reasoning_content"] == "so"

    def test_of_two_results_the_last_one_counts(self):
        nodes = stored(user("hi"), calls("c"), result("c", "old"), says("yes"))
        now = told(nodes, result("c", "new"))
        assert now == [user("hi"), says("yes", tool_calls=calls("c")["tool_calls"]), result("c", "new")]
        nodes = stored(user("hi"), calls("c"), result("c", "old"), result("c", "new"), says("yes"))
        assert told(nodes)[2:] == [result("c", "new"), says("yes")]

    def test_a_late_result_that_is_sent_once_more_counts_once(self):
        nodes = stored(user("hi"), calls("c"), user("x"), says("Noted."), result("c"), says("yes"))
        now = told(nodes, result("c"))
        assert (
            now[2:] == [says("yes", tool_calls=calls("c")["tool_calls"]), result("c")] or fault(now) is None
        )
        assert sum(each["role"] == "tool" for each in now) == 1

    def test_a_stored_result_without_any_call_is_left_out_and_the_clients_own_stays(self):
        assert told(stored(user("hi"), result("z"), says("yes"))) == [user("hi"), says("yes")]
        assert told(stored(user("hi"), says("yes")), result("z"))[2] == result("z")

    def test_a_result_that_is_stored_twice_far_apart_goes_once(self):
        nodes = stored(user("hi"), calls("c"), result("c"), says("yes"), result("c"), says("again"))
        assert [each["role"] for each in told(nodes)] == ["user", "assistant", "tool", "assistant"]

    def test_an_id_that_is_used_in_every_turn_names_the_nearest_call(self):
        nodes = stored(
            user("hi"), calls("a"), result("a", "1"), says("x"), user("y"), calls("a"), result("a", "2")
        )
        assert told(nodes) == [json.loads(each.body) for each in nodes]

    def test_a_call_that_broke_off_goes_only_with_a_result_of_the_request(self):
        broken = calls("c", arguments='{"a": ')
        nodes = stored(user("hi"), broken)
        assert told(nodes, result("c"))[1:] == [broken, result("c")]
        nodes = stored(user("hi"), broken, result("c", "bad JSON"), calls("d"), result("d"))
        assert told(nodes) == [user("hi"), calls("d"), result("d")]

    def test_other_messages_between_do_not_part_a_call_from_its_result(self):
        note = {"role": "developer", "content": "note"}
        assert told(stored(user("hi"), calls("a"), note, result("a")))[1:] == [calls("a"), note, result("a")]

    def test_a_step_to_which_no_answer_came_is_written_out_before_the_next_question(self):
        nodes = stored(
            user("hi"), calls("a"), result("a"), calls("c", "d", content="Look."), result("d"), result("c")
        )
        step = says('Look.\n\nlook({"a": 2}): found\nlook({"a": 2}): found')
        assert told(nodes, user("new"))[1:] == [calls("a"), result("a"), step, user("new")]

    def test_a_result_and_a_question_of_one_request_stay_as_they_came(self):
        nodes = stored(user("hi"), calls("a"), result("a"), user("so?"), together=2)
        assert told(nodes) == [user("hi"), calls("a"), result("a"), user("so?")]
        assert told(nodes[:2], result("a"), user("so?")) == told(nodes)

    def test_a_result_without_a_call_of_ours_before_it_stays(self):
        nodes = stored(user("hi"), calls("c"), {"role": "developer", "content": "note"}, result("c"))
        assert told(nodes, user("new"))[2:] == [json.loads(nodes[2].body), result("c"), user("new")]

    def test_the_clients_own_pair_stays_its_own(self):
        own = (calls("c"), result("c"))
        assert told(stored(user("hi"), says("yes")), *own)[2:] == list(own)
        odd = says("x", tool_calls={"function": {"name": "look"}})
        assert told(stored(user("hi")), odd)[1] == odd
        again = (calls("c"), result("c", "old"), result("c", "new"))
        assert told(stored(user("hi")), *again)[1:] == list(again)

    def test_calls_of_no_list_do_not_go(self):
        assert told(stored(user("hi"), says("x", tool_calls={"function": {"name": "look"}})))[1] == says("x")

    @pytest.mark.parametrize("id", [{}, {"id": ""}, {"id": None}, {"id": ["c"]}, {"id": {"call": 1}}])
    def test_a_call_without_an_id_gets_that_of_its_result(self, id):
        function = {"type": "function", "function": {"name": "look", "arguments": "{}"}}
        made = says("x", tool_calls=[{**id, **function}, {"id": "b", **function}, "odd", {**id, **function}])
        now = told(stored(user("hi"), made), result("made up"), result("b"), result("so is this"))
        assert [call["id"] for call in now[1]["tool_calls"]] == ["made up", "b", "so is this"]
        assert told(stored(user("hi"), made), user("new"))[1] == says("x")

    def test_an_id_that_is_a_number_names_its_call(self):
        made = says("x", tool_calls=[{"id": 7, "function": {"name": "look"}}])
        assert told(stored(user("hi"), made), result("7"))[1]["tool_calls"][0]["id"] == "7"

    def test_the_old_form_of_a_call_goes_only_with_its_result(self):
        old = says("x", function_call={"name": "look", "arguments": "{}"})
        found = {"role": "function", "name": "look", "content": "5"}
        assert told(stored(user("hi"), old, found))[1:] == [old, found]
        assert told(stored(user("hi"), old), user("new"))[1] == says("x")


class TestWithoutTools:
    def test_earlier_steps_are_left_out_and_the_text_of_their_answer_goes(self):
        nodes = stored(user("hi"), calls("c", content="Look."), result("c"), says("It is 5."))
        assert told(nodes, user("new"), reader=WITHOUT)[1:] == [says("Look.\n\nIt is 5."), user("new")]

    def test_steps_without_any_text_are_written_out(self):
        nodes = stored(user("hi"), calls("c"), result("c", "five"))
        assert told(nodes, user("new"), reader=WITHOUT)[1] == says('look({"a": 2}): five')

    def test_a_result_of_the_request_that_is_written_out_is_still_known_for_it(self):
        nodes, sent = stored(user("hi"), calls("c")), [message(result("c")), message(user("so?"))]
        _, written, asked = remembered(nodes, sent, Restore(), WITHOUT)
        assert (written.role, written.fields) == ("assistant", says('look({"a": 2}): found'))
        assert (written.message, asked.message) == (sent[0], sent[1])
        assert (written.restored, asked.restored, written.is_joined) == (True, False, False)

    @pytest.mark.parametrize(
        ("made", "words"),
        [
            ({"id": "c", "type": "custom", "custom": {"name": "run", "input": "ls"}}, "run(ls): 5"),
            ({"id": "c", "type": "odd"}, "tool: 5"),
        ],
    )
    def test_so_are_calls_of_another_kind(self, made, words):
        nodes = stored(user("hi"), says(None, tool_calls=[made]), result("c", "5"))
        assert told(nodes, user("new"), reader=WITHOUT)[1] == says(words)

    def test_late_results_are_no_exception(self):
        nodes = stored(user("how far?"), calls("c"), user("in km"), says("Noted."), result("c"), says("3 km"))
        now = told(nodes, user("new"), reader=WITHOUT)
        assert now == [user("how far?\n\nin km"), says("Noted.\n\n3 km"), user("new")]

    def test_late_results_without_an_answer_are_written_out_where_they_came(self):
        nodes = stored(user("how far?"), calls("c"), user("in km"), result("c", "two"))
        asked = user("how far?\n\nin km")
        now = told(nodes, user("new"), reader=WITHOUT)
        assert now == [asked, says('look({"a": 2}): two'), user("new")]

    def test_the_steps_of_the_newest_turn_go_with_the_result_that_the_request_brings(self):
        old = stored(
            user("hi"), calls("a"), result("a"), says("x"), user("y"), calls("b"), result("b"), calls("c")
        )
        now = told(old, result("c"), reader=WITHOUT)
        assert now == [user("hi"), says("x"), user("y"), calls("b"), result("b"), calls("c"), result("c")]


class TestReasoning:
    THOUGHT = calls("c") | {"reasoning_content": ""}

    def test_it_goes_with_every_call_to_the_model_that_made_it(self):
        nodes = stored(user("hi"), self.THOUGHT, result("c"), says("yes", reasoning="so"))
        assert told(nodes, user("new"))[1:4] == [self.THOUGHT, result("c"), says("yes")]

    @pytest.mark.parametrize(("rule", "goes"), [("off", False), ("same-model", True), ("always", True)])
    def test_of_answers_without_calls_it_goes_by_the_setting(self, rule, goes):
        thought = says("yes", reasoning_content="so")
        now = told(stored(user("hi"), thought), user("new"), rules=Restore(reasoning=rule))
        assert now[1] == (thought if goes else says("yes"))

    @pytest.mark.parametrize(("rule", "goes"), [("off", False), ("same-model", False), ("always", True)])
    def test_another_model_gets_its_text_by_the_setting_and_no_signature(self, rule, goes):
        thought = says("yes", reasoning_content="so", reasoning_opaque="s")
        reader = Reader("other", TOOLS)
        now = told(stored(user("hi"), thought), user("new"), rules=Restore(reasoning=rule), reader=reader)
        assert now[1] == (says("yes", reasoning_content="so") if goes else says("yes"))


class TestAnotherModel:
    SIGNED = says(None, tool_calls=[calls("call_PTLP")["tool_calls"][0] | {"extra_content": {"s": 1}}])
    OTHER = Reader("other", TOOLS)

    def test_calls_go_to_it_without_extras_under_ids_that_every_upstream_takes(self):
        nodes = stored(user("hi"), self.SIGNED, result("call_PTLP"), says("yes"))
        now = told(nodes, user("new"), reader=self.OTHER)
        (made,) = now[1]["tool_calls"]
        assert made == {**calls("x")["tool_calls"][0], "id": made["id"]}
        assert len(made["id"]) == 9
        assert now[2] == result(made["id"])

    def test_a_late_call_too(self):
        nodes = stored(user("hi"), self.SIGNED, user("x"), says("Noted."), result("call_PTLP"), says("yes"))
        now = told(nodes, user("new"), reader=self.OTHER)
        assert now[2]["tool_call_id"] == now[1]["tool_calls"][0]["id"] != "call_PTLP"
        assert "extra_content" not in now[1]["tool_calls"][0]

    def test_the_call_of_a_result_in_the_request_keeps_its_id(self):
        now = told(stored(user("hi"), self.SIGNED), result("call_PTLP"), reader=self.OTHER)
        assert now[1:] == [calls("call_PTLP"), result("call_PTLP")]

    def test_so_does_a_late_one_and_one_beside_it(self):
        nodes = stored(user("hi"), self.SIGNED, user("x"), says("Noted."))
        assert told(nodes, result("call_PTLP"), reader=self.OTHER)[1:] == [
            says("Noted.", tool_calls=calls("call_PTLP")["tool_calls"]),
            result("call_PTLP"),
        ]
        nodes = stored(user("hi"), calls("a", "b"), result("a"))
        assert told(nodes, result("b"), reader=self.OTHER)[1:] == [calls("a", "b"), result("a"), result("b")]

    def test_what_the_client_itself_said_for_a_model_is_no_models(self):
        nodes = line(user("hi"), calls("c"), result("c"), says("yes"))
        nodes = changed(nodes, 1, source="client")
        assert told(nodes, user("new"), reader=self.OTHER)[1] == calls("c")


PIECES = st.sampled_from(
    [
        *(
            user("one"),
            user("two"),
            says("yes"),
            says(""),
            says("<think>so</think>"),
            says(None, reasoning="so"),
        ),
        *(calls("a"), calls("b", content="Look."), calls("a", "b"), calls("c", arguments='{"a": ')),
        *(result("a"), result("a", "again"), result("b"), result("c"), result("z")),
    ]
)
STATES = st.sampled_from(["complete", "complete", "partial", "failed"])


class TestAtRandom:
    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(st.tuples(PIECES, STATES), max_size=12), st.sampled_from([TOOLS, b""]), st.sampled_from("mn")
    )
    def test_any_stored_path_makes_a_valid_history_with_every_question_in_it(self, pieces, tools, model):
        nodes = stored(user("start"), *(fields for fields, _ in pieces))
        nodes = [
            replace(each, state=state if each.role == "assistant" else "complete")
            for each, state in zip(nodes, ["complete", *(state for _, state in pieces)], strict=True)
        ]
        reader = Reader(model, tools)
        now = told(nodes, user("end"), reader=reader)
        assert fault(now) is None
        asked = "\n\n".join(each["content"] for each in now if each["role"] == "user").split("\n\n")
        assert asked[0] == "start"
        assert asked[-1] == "end"
        assert {each.body for each in nodes if each.role == "user"} <= {raw(user(text)) for text in asked}
        assert told(nodes, user("end"), reader=reader) == now
        # What was read of a stored message is shared with whoever asks for it next.
        assert [each.fields for each in nodes] == [read(each.body) for each in nodes]


class TestThePromptBefore:
    """What is the same as then is told by the same object, which has been measured."""

    def test_a_turn_later_only_what_is_new_is_new(self):
        nodes = stored(user("hi"), says("ho"), user("and?"), says("so"))
        before = outgoing(nodes[:2], user("and?"))
        now = as_before(outgoing(nodes, user("then?")), before)
        assert now == outgoing(nodes, user("then?"))
        assert [any(each is old for old in before) for each in now] == [True, True, False, False, False]

    def test_what_says_something_else_now_is_not_taken_from_there(self):
        nodes = stored(user("hi"), calls("c"), result("c", "found"), says("ho"))
        before = outgoing(nodes, user("and?"))
        without = outgoing(nodes, user("and?"), reader=WITHOUT)
        assert [each.raw for each in without] != [each.raw for each in before]
        assert as_before(without, before) == without

    def test_nor_what_the_client_sends_itself_or_is_no_message_of_a_store(self):
        nodes = stored(user("hi"), says("ho"))
        before = [*outgoing(nodes, user("and?")), message(user("and?"))]
        assert all(each.message is not None for each in as_before(outgoing([], user("and?")), before))
        assert as_before(outgoing(nodes), []) == outgoing(nodes)
