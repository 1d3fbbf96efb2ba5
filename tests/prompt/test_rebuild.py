"""The messages that go upstream: stored ones where they say more, and the client's as it sent them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sidecar.conversation.message import visible_text
from sidecar.conversation.reasoning import has_reasoning
from sidecar.conversation.reconcile import walk
from sidecar.prompt.rebuild import Reader, Restore, rebuilt, tool_names
from tests.conversation.build import (
    NOBODY,
    calls,
    line,
    message,
    node,
    raw,
    request,
    result,
    says,
    user,
)
from tests.conversation.chats import copied, grown, meddled, texts_of

TURN = [user("hi"), calls("c", content="Look. "), result("c", " it "), says("Done.\n")]
TOOLS = raw([{"type": "function", "function": {"name": "look"}}])
PICTURE = {"type": "image_url", "image_url": {"url": "https://host/a.png"}}
SIGNATURE = {"extra_content": {"google": {"thought_signature": "s"}}}


def sent_as(*messages):
    return [message(each) for each in messages]


def by(model, nodes):
    """These nodes, the replies from this model."""
    return [replace(each, model=model) if each.source == "upstream" else each for each in nodes]


def outgoing(sent, steps, rules=None, model="m", tools=TOOLS):
    return rebuilt(sent_as(*sent), steps, rules or Restore(), Reader(model, tools))


def one(sent, stored, rules=None, model="m"):
    """What becomes of one message that stands for one stored node."""
    (out,) = outgoing([sent], [(stored,)], rules, model)
    return json.loads(out.raw), out.restored


def told(line):
    return [json.loads(each.raw) for each in line]


def raws(line):
    return [each.raw for each in line]


def singly(nodes):
    return [(each,) for each in nodes]


def reply(fields, **about):
    return node(fields, nonce=1, **{"model": "m"} | about)


def made(*ids, **extra):
    """The calls of these ids, each with extra fields."""
    return [{**call, **extra} for call in calls(*ids)["tool_calls"]]


class TestAnswers:
    def test_a_path_sent_as_it_is_stored_stays_the_clients(self):
        out = outgoing([*TURN, user("new")], singly(by("m", line(*TURN))))
        assert raws(out) == [raw(each) for each in (*TURN, user("new"))]
        assert not any(each.restored for each in out)

    @pytest.mark.parametrize(
        ("stored", "sent"),
        [
            (says("yes"), says(" yes", refusal=None)),
            (says("yes", annotations=[1], executed_tools=[1], images=[1]), says("yes")),
            (says("yes", context={"citations": []}, end_turn=True), says("yes")),
            (says("yes", thinking_blocks=[{"signature": "s"}], reasoning="so"), says("yes")),
            (says([{"type": "thinking", "thinking": "so"}, {"type": "text", "text": "yes"}]), says("yes")),
            (says("<think>so</think>yes"), says("yes")),
            (calls("c", arguments=""), calls("c", arguments="{}")),
            (calls("c", "d"), calls("c")),
            (calls("c") | {"reasoning_content": "so"}, calls("c")),
        ],
    )
    def test_the_clients_message_stays_where_it_lost_nothing_that_the_model_would_miss(self, stored, sent):
        assert one(sent, reply(stored)) == (sent, False)
        assert one(sent, reply(stored), model="other") == (sent, False)

    def test_a_tool_message_stays_the_clients(self):
        nodes = by("m", line(user("hi"), calls("c"), result("c", "five")))
        sent = [user("hi"), calls("c"), result("c", "[cleared]")]
        assert told(outgoing(sent, singly(nodes))) == sent

    def test_nothing_comes_back_if_no_answers_are_to(self):
        signed = reply(says(None, tool_calls=made("c", **SIGNATURE)))
        assert one(calls("c"), signed, Restore(answers=False)) == (calls("c"), False)

    @pytest.mark.parametrize("state", ["partial", "failed"])
    def test_nothing_is_put_into_the_copy_of_a_reply_that_did_not_end(self, state):
        signed = reply(says(None, tool_calls=made("c", **SIGNATURE)), state=state)
        assert one(calls("c"), signed) == (calls("c"), False)


class TestCalls:
    def test_a_signature_that_the_client_dropped_comes_back(self):
        signed = says(None, tool_calls=made("c", **SIGNATURE))
        sent = calls("c", content="", arguments='{"a":2}')
        assert one(sent, reply(signed)) == ({**signed, "content": ""}, True)

    def test_the_very_bytes_that_are_stored_go_where_they_read_the_same(self):
        stored = reply(says(None, tool_calls=made("c", **SIGNATURE)))
        (out,) = outgoing([calls("c")], [(stored,)])
        assert (out.raw, out.node) == (stored.body, stored.id)

    def test_what_the_client_holds_of_a_call_stays_its_own(self):
        stored = reply(says(None, tool_calls=made("c", **SIGNATURE, x=1)))
        sent = says(None, tool_calls=made("c", x=2))
        assert one(sent, stored)[0] == says(None, tool_calls=made("c", x=2, **SIGNATURE))

    def test_signatures_go_to_the_model_that_made_them_alone(self):
        signed = reply(says(None, tool_calls=made("c", **SIGNATURE)))
        assert one(calls("c"), signed, model="other") == (calls("c"), False)

    @pytest.mark.parametrize(
        ("stored", "sent", "back"),
        [
            ('{"a": 2.0}', '{"a":2}', '{"a": 2.0}'),
            ({"a": 2}, '{"a": 2}', '{"a": 2}'),
            ('{"a": 2', '{"a": 2', '{"a": 2'),
            ("", "{}", "{}"),
        ],
    )
    def test_arguments_are_spelled_as_they_were_if_that_was_an_object_in_a_text(self, stored, sent, back):
        assert one(calls("c", arguments=sent), reply(calls("c", arguments=stored)))[0] == calls(
            "c", arguments=back
        )

    @pytest.mark.parametrize("other", [calls("d"), calls("c", name="find"), calls("c", arguments='{"a": 3}')])
    def test_another_call_gets_nothing(self, other):
        assert one(other, reply(says(None, tool_calls=made("c", **SIGNATURE)))) == (other, False)

    def test_a_call_gets_nothing_from_an_answer_without_any(self):
        assert one(calls("c"), reply(says("x"))) == (calls("c"), False)

    @pytest.mark.parametrize("odd", [["odd"], {"id": "c"}, [{"id": "c"}], [{"id": "c", "function": "odd"}]])
    def test_calls_of_an_odd_shape_go_as_they_came(self, odd):
        sent = says("x", tool_calls=odd)
        assert one(sent, reply(says("x", tool_calls=odd))) == (sent, False)

    def test_arguments_that_are_an_object_stay_as_the_client_has_them(self):
        sent = calls("c", arguments={"a": 2})
        assert one(sent, reply(calls("c"))) == (sent, False)


class TestFlattenedAnswers:
    def flat(self, text, *answer, tools=TOOLS, model="m", rules=None):
        root, *nodes = by("m", line(user("hi"), *answer))
        sent = [user("hi"), says(text, x=1), user("new")]
        return told(outgoing(sent, [(root,), tuple(nodes)], rules, model, tools))[1:-1]

    def test_a_flattened_turn_gets_its_calls_and_results_back_and_the_text_stays_the_clients(self):
        assert self.flat(" Done.", *TURN[1:]) == [*TURN[1:3], says(" Done.", x=1)]
        assert self.flat("Look. Done.", *TURN[1:]) == [*TURN[1:3], says("Done.", x=1)]

    def test_they_go_with_their_reasoning_to_the_model_that_made_them_alone(self):
        thought = calls("c") | {"reasoning_content": ""}
        answer = [thought, result("c"), says("Done.", reasoning_content="so")]
        assert self.flat("Done.", *answer) == [thought, result("c"), says("Done.", x=1)]
        assert self.flat("Done.", *answer, model="other") == [says("Done.", x=1)]
        last = self.flat("Done.", *answer, rules=Restore(reasoning="same-model"))[-1]
        assert last == says("Done.", x=1, reasoning_content="so")

    @pytest.mark.parametrize(
        "tools", [b"", b"[]", raw([{"type": "function", "function": {"name": "find"}}]), b"{}"]
    )
    def test_they_stay_out_where_the_requests_tools_do_not_name_them(self, tools):
        assert self.flat("Done.", *TURN[1:], tools=tools) == [says("Done.", x=1)]

    @pytest.mark.parametrize(
        "answer",
        [
            [calls("c"), says("Done.")],
            [calls("c"), result("z"), says("Done.")],
            [says("Done."), result("c"), says("Done.")],
            [calls("c"), result("c"), says("Look."), result("c", "again"), says("Done.")],
            [calls("c", "d"), result("c"), calls("e"), result("e"), result("d"), says("Done.")],
        ],
    )
    def test_they_come_back_in_pairs_or_not_at_all(self, answer):
        assert self.flat("Done.", *answer) == [says("Done.", x=1)]

    def test_what_was_spoken_beside_a_call_goes_by_its_id_until_that_expires(self):
        spoken = {**calls("c"), "audio": {"id": "a", "data": "AA", "expires_at": 10, "transcript": "Look."}}
        root, *nodes = by("m", line(user("hi"), spoken, result("c"), says("Done.")))
        sent = [user("hi"), says("Done.", x=1)]
        for now, made in (
            (9.0, {**calls("c"), "audio": {"id": "a"}}),
            (10.0, calls("c", content="Look.")),
        ):
            out = rebuilt(sent_as(*sent), [(root,), tuple(nodes)], Restore(), Reader("m", TOOLS, now))
            assert told(out)[1] == made
            assert [each.node for each in out] == [None, nodes[0].id, nodes[1].id, None]
            assert [each.restored for each in out] == [False, True, True, False]

    def test_a_call_without_its_result_stays_out(self):
        answer = [calls("c", "d"), result("d"), result("d", "new"), says("Done.")]
        assert self.flat("Done.", *answer) == [calls("d"), result("d", "new"), says("Done.", x=1)]

    def test_an_answer_that_ends_without_words_stays_as_it_came(self):
        assert self.flat("Look.", calls("c", content="Look."), result("c"), says("")) == [says("Look.", x=1)]

    def test_only_what_is_whole_comes_back(self):
        root, call, found, _ = by("m", line(*TURN))
        broken = node(says("Done. An"), found, nonce=9, state="failed")
        out = outgoing([user("hi"), says("Look. Done.")], [(root,), (call, found, broken)])
        assert raws(out) == [raw(user("hi")), raw(says("Look. Done."))]

    @pytest.mark.parametrize(
        ("tools", "names"),
        [
            (TOOLS, {"look"}),
            (b'[{"name":"look"},{"type":"custom","custom":{"name":"run"}}]', {"look", "run"}),
            (b'[{"function":"odd"},{"name":3},{"type":"web_search"}]', set()),
        ],
    )
    def test_tools_are_named_in_each_form_of_a_request(self, tools, names):
        assert tool_names(tools) == names


class TestReasoning:
    THOUGHT = says("yes", reasoning_content="so")

    @pytest.mark.parametrize(
        ("rule", "model", "back"),
        [
            *(("off", "m", False), ("always", "m", True), ("always", "n", True)),
            *(("same-model", "m", True), ("same-model", "n", False)),
        ],
    )
    @pytest.mark.parametrize("stored", [THOUGHT, says("<think>so</think>yes")])
    def test_it_comes_back_by_the_rule(self, rule, model, back, stored):
        out, restored = one(says("yes"), reply(stored), Restore(reasoning=rule), model)
        assert (out, restored) == (stored if back else says("yes"), back)

    def test_signatures_of_it_go_to_no_other_model(self):
        stored = reply(says("yes", reasoning_opaque="s", thinking_blocks=[{"signature": "s"}], **SIGNATURE))
        always = Restore(reasoning="always")
        assert one(says("yes"), stored, always)[0] == json.loads(stored.body)
        assert one(says("yes"), stored, always, "other") == (says("yes"), False)

    def test_parts_of_it_come_back(self):
        stored = says([{"type": "thinking", "thinking": "so"}, {"type": "text", "text": "yes"}])
        assert one(says("yes"), reply(stored), Restore(reasoning="same-model"))[0] == stored

    @pytest.mark.parametrize("own", [says("<think>so</think>yes"), says("yes", reasoning="mine"), THOUGHT])
    def test_a_client_that_sends_it_again_keeps_its_own(self, own):
        assert one(own, reply(self.THOUGHT), Restore(reasoning="always")) == (own, False)

    @pytest.mark.parametrize(
        ("rules", "by_hash"),
        [(Restore(), True), (Restore(reasoning="always"), False), (Restore(user_messages=True), False)],
    )
    def test_hashes_tell_what_to_restore_only_where_they_cover_it(self, rules, by_hash):
        assert rules.by_hash is by_hash


class TestUserMessages:
    STORED = user("context\n\nhi")
    RULES = Restore(user_messages=True)

    def test_they_stay_the_clients_by_default(self):
        assert one(user("hi"), node(self.STORED)) == (user("hi"), False)

    def test_their_documents_come_back_if_they_are_to(self):
        assert one(user("hi"), node(self.STORED), self.RULES) == (self.STORED, True)
        assert one(self.STORED, node(self.STORED), self.RULES) == (self.STORED, False)

    @pytest.mark.parametrize("edit", ["context\n\nhi, and be brief", "", " "])
    def test_a_question_that_has_grown_is_an_edit(self, edit):
        assert one(user(edit), node(self.STORED), self.RULES) == (user(edit), False)

    def test_pictures_that_the_client_left_out_stay_out(self):
        text = {"type": "text", "text": "context\n\nhi"}
        stored = node(user([text, PICTURE]))
        assert one(user("hi", name="bob"), stored, self.RULES)[0] == user([text], name="bob")
        hi = {"type": "text", "text": "hi"}
        (out,) = outgoing([user([hi, PICTURE])], [(stored,)], self.RULES)
        assert out.raw == stored.body

    def test_they_come_back_even_if_no_answers_are_to(self):
        rules = Restore(answers=False, user_messages=True)
        assert one(user("hi"), node(self.STORED), rules) == (self.STORED, True)


RULES = st.builds(Restore, st.booleans(), st.sampled_from(["off", "same-model", "always"]), st.booleans())
QUICK = settings(max_examples=80, deadline=None)


class TestAtRandom:
    @QUICK
    @given(st.data(), RULES)
    def test_every_message_of_the_client_goes_in_its_order_and_with_its_words(self, data, rules):
        chat, path = grown(data, texts_of)
        sent = [*meddled(copied(path, data), data), user("new")]
        steps = walk(chat.tree, request(*sent).path, NOBODY).steps
        out = outgoing(sent, steps, rules, model=None)
        own = iter(out)
        for fields in sent:
            assert any(_holds(each, fields) for each in own)
        assert raws(out)[len(out) - len(sent) + len(steps) :] == [raw(each) for each in sent[len(steps) :]]

    @QUICK
    @given(st.data())
    def test_what_was_dropped_on_the_way_is_back_to_the_byte(self, data):
        names = iter(f"text {number:03}" for number in range(1000))
        chat, path = grown(data, lambda _: next(names))
        sent = copied(path, data)
        rules = Restore(reasoning="always", user_messages=True)
        steps = walk(chat.tree, request(*sent, user("new")).path, NOBODY).steps
        out = outgoing([*sent, user("new")], steps, rules, model=None)
        assert raws(out) == [raw(each) for each in (*path, user("new"))]

    @QUICK
    @given(st.data())
    def test_a_path_sent_again_as_it_is_stored_goes_as_it_is(self, data):
        chat, path = grown(data, texts_of)
        steps = walk(chat.tree, request(*path, user("new")).path, NOBODY).steps
        out = outgoing([*path, user("new")], steps, model=None)
        assert raws(out) == [raw(each) for each in (*path, user("new"))]
        assert not any(each.restored for each in out)
        assert any(has_reasoning(each) for each in path)


def _holds(each, fields):
    """Is it this message of the client's, or that with more in it?"""
    told = json.loads(each.raw)
    return told["role"] == fields["role"] and visible_text(fields) in visible_text(told)
