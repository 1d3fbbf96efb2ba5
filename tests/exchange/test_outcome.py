"""What happened to one request, as one value."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from sidecar.conversation.exchange_record import Detail, Difference, Exchange, Refusal, Sent, exchange_id
from sidecar.conversation.identity import Identity, Kind
from sidecar.conversation.reconcile import Outcome
from sidecar.conversation.tree import Conversation
from sidecar.dialects.chat.assembly import from_json
from sidecar.dialects.chat.dialect import CHAT
from sidecar.exchange.call import ChatCall
from sidecar.exchange.new_nodes import client_nodes, new_nodes, other_ends, phases_of
from sidecar.exchange.outcome import Answered, Progress, error_code, exchange_of, reason
from sidecar.exchange.plan import Whole
from sidecar.exchange.prompt import Heads, Prompt
from sidecar.exchange.usage import Tokens
from tests.conversation.build import CHAIN, TENANT, node, raw, request, result, says, user

TALK = Conversation("conv_1", TENANT, "a", created_at=1.0, updated_at=1.0)


def call(*messages, **about):
    identity = Identity(TENANT, "a", Kind.CHAT, **about)
    return ChatCall(
        identity=identity,
        dialect=CHAT,
        chain=CHAIN,
        chat=request(*messages, model="m"),
        mode="auto",
        conversation_id="conv_1",
        brings_no_history=False,
    )


def test_of_a_request_that_could_not_be_read_little_is_known():
    progress = Progress(1000, 5.0, b"abcd", status=400, error="invalid_json")
    assert exchange_of(progress, 5.25) == Exchange(
        exchange_id(1000, b"abcd"), "", status=400, duration_ms=250, error="invalid_json"
    )


def test_of_one_that_was_answered_all_is_known():
    prompt = Prompt(
        "m",
        heads=Heads(system_hash=b"s", tools_hash=b"t"),
        restored=1,
        dropped=2,
        shortened=3,
        recalled=4,
        recall_score=5,
        summary=b"front",
        form=Sent("client"),
        budget=700,
        saved=21,
        around=(11, 222),
        quoted=(b"old",),
        supplied=("signature",),
        left_out=("reasoning",),
    )
    progress = Progress(
        1000,
        5.0,
        b"abcd",
        received=5.01,
        sent=5.02,
        head=5.5,
        first=5.75,
        waited=0.5,
        reading=0.25,
        no_room=0.125,
        call=call(user("hi")),
        plan=Whole(Outcome.CONTINUE, TALK, degraded=True, brought=3),
        prompt=prompt,
        difference=Difference(1, "grown"),
        overflow_retries=1,
        form_retries=2,
        refusal=Refusal(600, 800),
        target="eu",
        status=200,
        streamed=True,
    )
    answered = Answered(
        b"parent", [b"reply"], "m-2026\0", "stop", Tokens(9, 5, 4, 2), estimated=30, silent_cut=True
    )
    assert exchange_of(progress, 6.0, answered) == Exchange(
        exchange_id(1000, b"abcd"),
        "conv_1",
        b"parent",
        "continue",
        "m",
        200,
        9,
        5,
        1000,
        None,
        Detail(
            target="eu",
            replies=(b"reply",),
            answered_by="m-2026\ufffd",
            finish="stop",
            received_ms=9,
            sent_ms=19,
            head_ms=500,
            first_token_ms=750,
            cached_tokens=4,
            reasoning_tokens=2,
            estimated_tokens=30,
            restored=1,
            dropped=2,
            shortened=3,
            recalled=4,
            recall_score=5,
            summary=b"front",
            overflow_retries=1,
            form_retries=2,
            degraded=True,
            silent_cut=True,
            system=b"s",
            tools=b"t",
            difference=Difference(1, "grown"),
            sent=Sent("client"),
            budget=700,
            saved=21,
            quoted=(b"old",),
            refusal=Refusal(600, 800),
            supplied=("signature",),
            left_out=("reasoning",),
            brought=3,
            system_tokens=11,
            tools_tokens=222,
            waited_ms=500,
            reading_ms=250,
            no_room_ms=125,
        ),
    )
    progress.streamed = False
    assert exchange_of(progress, 6.0, answered).detail.first_token_ms is None


OK = b'{"choices":[{"message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}]}'


@pytest.mark.parametrize(
    ("body", "ended", "cut_by", "expected"),
    [
        (OK, "complete", "", None),
        (OK, "partial", "", "client_left"),
        (OK, "failed", "", "upstream_broke_off"),
        (OK, "partial", "limits.max_reply", "limits.max_reply"),
        (b'{"error":{"code":"overloaded"}}', "complete", "", "overloaded"),
        (b"<html>", "complete", "", "no_reply"),
    ],
)
def test_what_is_wrong_with_a_reply_has_a_short_name(body, ended, cut_by, expected):
    assert reason(ended, from_json(body), cut_by) == expected


@pytest.mark.parametrize(("body", "expected"), [(b"\x1b\x07", "unread_content_encoding"), (OK, None)])
def test_a_reply_that_could_only_be_relayed_is_told_from_one_that_said_nothing(body, expected):
    assert reason("complete", from_json(body), "", can_be_read=False) == expected


@pytest.mark.parametrize(
    ("told", "code"),
    [
        (b'{"error":{"code":"rate_limit_exceeded","type":"requests"}}', "rate_limit_exceeded"),
        (b'{"code":429}', "429"),
        (b'[{"error":{"code":400,"status":"INVALID_ARGUMENT"}}]', "400"),
        (b'{"error":{"code":null,"type":"server_error"}}', "server_error"),
        (b'{"error":{"code":"you said: my secret","type":7.5}}', "upstream_error"),
        (b'{"error":"sorry"}', "upstream_error"),
        (b"[]", "upstream_error"),
        (b'"no"', "upstream_error"),
        (b"<html>", "upstream_error"),
        (b"[" * 100_000, "upstream_error"),
    ],
)
def test_an_upstreams_error_gives_its_code_and_never_its_words(told, code):
    assert error_code(told) == code


ASK = node(user("hi"))
ANSWER = node(says("hello"), ASK, nonce=1)
LATER = {"role": "system", "content": "Be brief."}


def test_new_messages_follow_the_place_where_the_request_continues():
    asked = call(user("hi"), says("hello"), user("and?"), user_message_id="u2")
    plan = Whole(Outcome.CONTINUE, TALK, ANSWER, asked.chat.path.messages[2:])
    (new,) = new_nodes(asked, plan, 7.0)
    assert (new.parent, new.hash, new.created_at) == (ANSWER.id, asked.chat.path.hashes[2], 7.0)
    assert (new.exact, new.message_id) == (ANSWER.exact, "u2")


def test_under_a_place_that_the_client_tells_otherwise_they_have_hashes_of_their_own():
    asked = call(user("hi"), says("HELLO, edited"), user("and?"))
    plan = Whole(Outcome.CONTINUE, TALK, ANSWER, asked.chat.path.messages[2:])
    (new,) = new_nodes(asked, plan, 7.0)
    assert new.parent == ANSWER.id
    assert new.hash == CHAIN.hash(ANSWER.hash, asked.chat.path.messages[2].digest)
    assert new.exact == ANSWER.exact != asked.chat.path.exacts[2]


def test_messages_that_no_request_tells_are_the_nodes_that_it_would_make():
    messages = request(user("hi"), says("hello"), user("and?")).path.messages
    one, two, three = client_nodes(CHAIN, None, messages, 7.0)
    asked = call(user("hi"), says("hello"), user("and?"))
    assert [one, two, three] == new_nodes(
        asked, Whole(Outcome.START, TALK, None, asked.chat.path.messages), 7.0
    )
    assert client_nodes(CHAIN, two, messages[2:], 7.0) == [three]
    assert (one.source, one.state, one.created_at, one.parent) == ("client", "complete", 7.0, None)


def test_at_a_root_they_have_no_parent_and_the_same_ids_each_time():
    asked = call(user("hi"), user("there"))
    first, second = new_nodes(asked, Whole(Outcome.START, TALK, None, asked.chat.path.messages), 7.0)
    assert (first.parent, first.id, second.parent) == (None, ASK.id, first.id)


def test_messages_that_the_plan_took_from_elsewhere_are_hashed_anew():
    asked = call(user("and?"))
    other = request(user("hi")).path.messages
    (new,) = new_nodes(asked, Whole(Outcome.APPEND, TALK, None, other), 7.0)
    assert new.id == ASK.id


def test_a_root_that_the_plan_took_from_elsewhere_is_the_one_that_a_request_would_make():
    other = request(result("c1")).path.messages
    (new,) = new_nodes(call(user("and?")), Whole(Outcome.APPEND, TALK, None, other), 7.0)
    assert [new] == client_nodes(CHAIN, None, other, 7.0)
    assert (new.exact, new.message_id) == (request(result("c1")).path.exacts[0], None)


@pytest.mark.parametrize("system", [(), (LATER,), (LATER, LATER)])
def test_a_message_has_the_phase_that_its_request_tells_of_its_place(system):
    asked = call(*system, user("hi"), says("I look."), says("Found."), user("and?"))
    at = len(system)
    told = replace(asked.chat, phases={at + 1: "commentary", at + 2: "final_answer"})
    asked = replace(asked, chat=told)
    nodes = client_nodes(CHAIN, None, told.path.messages, 7.0)
    for stored, phases in ((0, ["commentary", "final_answer"]), (2, ["final_answer"]), (3, [])):
        plan = Whole(Outcome.CONTINUE, TALK, None, told.path.messages[stored:])
        found = phases_of(asked, plan, nodes[stored:])
        assert found == tuple(zip([each.id for each in nodes[3 - len(phases) : 3]], phases, strict=True))
    silent = replace(asked, chat=replace(told, phases={}))
    assert phases_of(silent, Whole(Outcome.START, TALK, None, told.path.messages), nodes) == ()


class TestOtherEnds:
    """By which hashes a client may go on that leaves out, or keeps, system messages behind the first."""

    def ends(self, *messages, new):
        asked = call(*messages)
        path = asked.chat.path.messages
        return other_ends(asked, Whole(Outcome.CONTINUE, TALK, ANSWER, path[len(path) - new :]))

    def end_of(self, *messages):
        hash = None
        for each in messages:
            hash = CHAIN.hash(hash, CHAIN.message(raw(each)).digest)
        return hash

    def test_without_a_later_system_message_there_is_none(self):
        assert self.ends(user("hi"), says("hello"), user("and?"), new=1) == []
        assert self.ends(LATER, user("hi"), says("hello"), user("and?"), new=3) == []

    @pytest.mark.parametrize("role", ["system", "developer"])
    def test_one_amid_what_is_new_may_be_left_out(self, role):
        told = [user("hi"), says("hello"), {**LATER, "role": role}, user("and?")]
        assert self.ends(*told, new=2) == [self.end_of(told[0], told[1], told[3])]
        assert self.ends(*told, new=1) == []
        assert self.ends(*told[:1], *told[2:], new=3) == [self.end_of(told[0], told[3])]

    def test_those_behind_the_newest_question_may_be_kept(self):
        told = [user("hi"), says("hello"), user("and?"), LATER, {**LATER, "role": "developer"}]
        assert self.ends(*told, new=1) == [self.end_of(*told)]
        assert self.ends(*told[:1], LATER, *told[2:], new=3) == [
            self.end_of(told[0], LATER, *told[2:]),
            self.end_of(told[0], told[2]),
        ]
