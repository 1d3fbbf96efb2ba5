"""The messages that go upstream: stored ones where they say more, and the client's as it sent them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.conversation.reasoning import has_reasoning
from sidecar.conversation.reconcile import walk
from sidecar.prompt.rebuild import Restore, rebuilt
from tests.conversation.build import (
    CHAIN,
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


def sent_as(*messages):
    return [message(each) for each in messages]


def outgoing(sent, steps, rules=None, model="m"):
    return rebuilt(sent_as(*sent), steps, rules or Restore(), CHAIN, model)


def one(sent, stored, rules=None, model="m"):
    """What becomes of one message that stands for one stored node."""
    (out,) = outgoing([sent], [(stored,)], rules, model)
    return json.loads(out.raw), out.restored


def raws(line):
    return [each.raw for each in line]


def singly(nodes):
    return [(each,) for each in nodes]


def reply(fields, **about):
    return node(fields, nonce=1, **about)


class TestAnswers:
    def test_a_path_sent_as_it_is_stored_stays_the_clients(self):
        out = outgoing([*TURN, user("new")], singly(line(*TURN)))
        assert raws(out) == [raw(each) for each in (*TURN, user("new"))]
        assert not any(each.restored for each in out)

    def test_stripped_and_reserialised_answers_come_back_as_produced(self):
        sent = [
            user("hi"),
            calls("c", content="Look.", arguments='{"a":2}'),
            result("c", "it"),
            says("Done."),
        ]
        out = outgoing(sent, singly(line(*TURN)))
        assert raws(out) == [raw(each) for each in TURN]
        assert [each.restored for each in out] == [False, True, True, True]

    def test_a_flattened_turn_gets_its_tool_messages_back(self):
        root, *answer = line(*TURN)
        out = outgoing([user("hi"), says("Look. Done."), user("new")], [(root,), tuple(answer)])
        assert raws(out) == [raw(each) for each in (*TURN, user("new"))]
        assert [each.role for each in out] == ["user", "assistant", "tool", "assistant", "user"]

    def test_what_reads_alike_stays_as_the_client_wrote_it(self):
        sent = says("yes", refusal=None)
        assert one(sent, reply(says("yes", annotations=[]))) == (sent, False)

    def test_nothing_comes_back_if_no_answers_are_to(self):
        assert one(says("yes"), reply(says(" yes")), Restore(answers=False)) == (says("yes"), False)

    @pytest.mark.parametrize("state", ["partial", "failed"])
    def test_only_a_complete_reply_stands_in_for_the_clients_copy(self, state):
        assert one(says("yes"), reply(says("yes, of course"), state=state)) == (says("yes"), False)

    def test_a_whole_answer_is_restored_only_if_all_of_it_is_complete(self):
        root, call, found, _ = line(*TURN)
        broken = node(says("Done. An"), found, nonce=9, state="failed")
        out = outgoing([user("hi"), says("Look. Done.")], [(root,), (call, found, broken)])
        assert raws(out) == [raw(user("hi")), raw(says("Look. Done."))]


class TestReasoning:
    THOUGHT = says("yes", reasoning_content="so")

    def test_it_stays_away_by_default(self):
        assert one(says("yes"), reply(self.THOUGHT)) == (says("yes"), False)
        assert one(says("yes"), reply(says(" yes", reasoning="so"))) == (says(" yes"), True)

    @pytest.mark.parametrize(
        ("rule", "model", "back"),
        [("always", "m", True), ("always", "n", True), ("same-model", "m", True), ("same-model", "n", False)],
    )
    def test_it_comes_back_by_the_rule(self, rule, model, back):
        told, restored = one(says("yes"), reply(self.THOUGHT, model="m"), Restore(reasoning=rule), model)
        assert (told, restored) == (self.THOUGHT if back else says("yes"), back)

    def test_a_client_that_sends_it_again_keeps_it(self):
        assert one(self.THOUGHT, reply(self.THOUGHT)) == (self.THOUGHT, False)
        tool = calls("c") | {"reasoning_content": "so"}
        again = calls("c", arguments='{"a":2}') | {"reasoning_content": "so"}
        out = outgoing([again, result("c")], singly(line(tool, result("c"))))
        assert json.loads(out[0].raw) == tool

    def test_the_clients_own_form_of_it_stays(self):
        told = says("<think>so</think>yes")
        assert one(told, reply(self.THOUGHT), Restore(reasoning="always")) == (told, False)

    @pytest.mark.parametrize(
        ("rules", "by_hash"),
        [(Restore(), True), (Restore(reasoning="always"), False), (Restore(user_messages=True), False)],
    )
    def test_hashes_tell_what_to_restore_only_where_they_cover_it(self, rules, by_hash):
        assert rules.by_hash is by_hash


class TestUserMessages:
    STORED = user("context\n\nhi")

    def test_they_stay_the_clients_by_default(self):
        assert one(user("hi"), node(self.STORED)) == (user("hi"), False)

    def test_they_come_back_if_they_are_to(self):
        assert one(user("hi"), node(self.STORED), Restore(user_messages=True)) == (self.STORED, True)
        assert one(self.STORED, node(self.STORED), Restore(user_messages=True)) == (self.STORED, False)

    def test_they_come_back_even_if_no_answers_are_to(self):
        rules = Restore(answers=False, user_messages=True)
        assert one(user("hi"), node(self.STORED), rules) == (self.STORED, True)


RULES = st.builds(Restore, st.booleans(), st.sampled_from(["off", "same-model", "always"]), st.booleans())
QUICK = settings(max_examples=80, deadline=None)


class TestAtRandom:
    @QUICK
    @given(st.data(), RULES)
    def test_the_clients_messages_are_never_altered_and_its_new_ones_come_last(self, data, rules):
        chat, path = grown(data, texts_of)
        sent = [*meddled(copied(path, data), data), user("new")]
        steps = walk(chat.tree, request(*sent).path, NOBODY).steps
        out = outgoing(sent, steps, rules)
        new = [raw(each) for each in sent[len(steps) :]]
        assert raws(out)[-len(new) :] == new
        own = iter([raw(each) for each in sent])
        assert all(each.restored or each.raw in own for each in out)

    @QUICK
    @given(st.data())
    def test_what_was_dropped_on_the_way_is_back_to_the_byte(self, data):
        names = iter(f"text {number:03}" for number in range(1000))
        chat, path = grown(data, lambda _: next(names))
        sent = copied(path, data)
        rules = Restore(reasoning="always", user_messages=True)
        steps = walk(chat.tree, request(*sent, user("new")).path, NOBODY).steps
        assert raws(outgoing([*sent, user("new")], steps, rules)) == [
            raw(each) for each in (*path, user("new"))
        ]

    @QUICK
    @given(st.data())
    def test_a_path_sent_again_as_it_is_stored_goes_as_it_is(self, data):
        chat, path = grown(data, texts_of)
        steps = walk(chat.tree, request(*path, user("new")).path, NOBODY).steps
        out = outgoing([*path, user("new")], steps)
        assert raws(out) == [raw(each) for each in (*path, user("new"))]
        assert not any(each.restored for each in out)
        assert any(has_reasoning(each) for each in path)
