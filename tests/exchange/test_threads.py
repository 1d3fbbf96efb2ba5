"""What is kept of a thread, and which threads are alike."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from sidecar.conversation.exchange_record import Reference
from sidecar.conversation.identity import Identity, Kind
from sidecar.conversation.reconcile import Outcome
from sidecar.conversation.records import Thread
from sidecar.conversation.tree import Conversation
from sidecar.dialects.chat.dialect import CHAT
from sidecar.exchange.call import ChatCall, brings_no_history
from sidecar.exchange.plan import Thin, Unrecorded, Whole
from sidecar.exchange.threads import (
    names_of_tools,
    or_main_thread,
    prompt_text,
    same_prompt,
    system_of,
    talks_apart,
    thread_after,
)
from tests.conversation.build import CHAIN, TENANT, line, node, raw, request, says, user

TALK = Conversation("conv_1", TENANT, "a", created_at=1.0, updated_at=1.0)
BRIEF = {"role": "system", "content": "Be brief."}
TOLD = line(user("hi"), says("hello"), user("and?"), says("well"))


def call(*messages, key: str | None = "a", mode="auto", **more):
    about = {name: more.pop(name) for name in ("kind", "sends_history", "by_agent") if name in more}
    asked = request(*messages, model="m", **more)
    identity = Identity(TENANT, key, **about)
    relies = brings_no_history(identity, asked, mode)
    return ChatCall(identity, CHAT, CHAIN, asked, mode, "conv_1" if key else None, relies)


def tool(name):
    return {"type": "function", "function": {"name": name}}


def after(asked, plan, new, replies) -> Thread:
    stands = [each for each in replies if each.state != "failed"] or new[-1:]
    kept = thread_after(asked, plan, new, replies, stands[0] if stands else None, 5.0)
    assert kept is not None
    return kept


class TestAfter:
    def test_a_first_turn_is_a_thread(self):
        asked, replies = TOLD[:1], TOLD[1:2]
        plan = Whole(Outcome.START, TALK, None, request(user("hi")).path.messages)
        kept = after(call(BRIEF, user("hi"), tools=[tool("look")]), plan, asked, replies)
        assert kept == Thread(
            TOLD[0].id,
            TOLD[1].id,
            b"[" + raw(BRIEF) + b"]",
            "m",
            ("look",),
            is_answered=True,
            updated_at=5.0,
        )

    def test_a_stopped_answer_is_gone_on_from_and_a_failed_one_is_not(self):
        plan = Whole(Outcome.START, TALK, None, request(user("hi")).path.messages)
        for state, head, answered in (("partial", True, True), ("failed", False, False)):
            said = node(says("half"), TOLD[0], nonce=7, state=state)
            kept = after(call(user("hi")), plan, TOLD[:1], [said])
            assert (kept.head, kept.is_answered) == (said.id if head else TOLD[0].id, answered)

    def test_an_append_keeps_the_prompt_that_it_got(self):
        plan = Thin(Outcome.APPEND, TALK, TOLD[1], (), tuple(TOLD[:2]), b"[1]", root=TOLD[0].id)
        kept = after(call(user("and?")), plan, TOLD[2:3], TOLD[3:])
        assert (kept.root, kept.head, kept.system, kept.is_thin) == (TOLD[0].id, TOLD[3].id, b"[1]", True)
        assert not after(call(user("and?")), plan, TOLD[2:3], []).is_thin

    def test_a_whole_client_has_shown_itself_with_its_second_question(self):
        asked = call(user("hi"), says("hello"), user("and?"))
        plan = Whole(Outcome.CONTINUE, TALK, TOLD[1], asked.chat.path.messages[2:])
        kept = after(asked, plan, TOLD[2:3], TOLD[3:])
        assert (kept.root, kept.is_whole, kept.is_thin) == (TOLD[0].id, True, False)
        again = call(*(each for at in range(3) for each in (user(str(at)), says("x"))), user("new"))
        assert thread_after(again, plan, TOLD[2:3], TOLD[3:], None, 5.0) is None

    def test_with_its_third_question_nothing_new_is_told_of_it(self):
        nodes = line(user("hi"), says("hello"), user("and?"), says("well"), user("so?"))
        asked = call(user("hi"), says("hello"), user("and?"), says("well"), user("so?"))
        plan = Whole(Outcome.CONTINUE, TALK, nodes[3], asked.chat.path.messages[4:])
        assert thread_after(asked, plan, nodes[4:], [], None, 5.0) is None

    def test_the_root_of_an_echo_is_known_from_its_steps_or_not_at_all(self):
        asked = call(user("hi there"), says("hello"), user("and?"))
        plan = Whole(Outcome.CONTINUE, TALK, TOLD[1], asked.chat.path.messages[2:])
        assert thread_after(asked, plan, TOLD[2:3], TOLD[3:], None, 5.0) is None
        known = replace(plan, root=TOLD[0].id)
        assert after(asked, known, TOLD[2:3], TOLD[3:]).root == TOLD[0].id

    def test_a_retry_of_a_root_without_a_new_message_has_a_head_only_if_it_is_answered(self):
        plan = Whole(Outcome.RETRY, TALK, TOLD[0], ())
        assert after(call(user("hi")), plan, [], []).head is None

    @pytest.mark.parametrize("about", [{"key": None}, {"sends_history": True}, {"kind": Kind.CHANNEL}])
    def test_who_needs_none_has_none(self, about):
        plan = Whole(Outcome.START, TALK, None, ())
        assert thread_after(call(user("hi"), **about), plan, TOLD[:1], TOLD[1:2], None, 5.0) is None

    def test_without_any_message_there_is_no_root(self):
        assert thread_after(call(says("hi")), Whole(Outcome.EXTEND, TALK), [], [], None, 5.0) is None


def test_a_conversation_of_a_version_that_kept_no_threads_is_one_that_ends_at_its_tip():
    talk = replace(TALK, tip=TOLD[3].id)
    assert or_main_thread([], TALK) == []
    assert or_main_thread([], talk) == [Thread(b"", TOLD[3].id, is_answered=True, is_thin=True)]
    known = [Thread(TOLD[0].id)]
    assert or_main_thread(known, talk) is known


def test_the_words_of_a_prompt_are_read_whatever_it_is():
    assert prompt_text(None) == ""
    assert prompt_text(b"[") == ""
    assert prompt_text(b'[1,{"role":"system","content":"Be brief."}]') == "Be brief."


def test_no_prompt_is_a_prompt_of_its_own():
    assert same_prompt(None, None)
    assert not same_prompt(None, b"[]")
    assert same_prompt(system_of(call(BRIEF, user("a"))), system_of(call(BRIEF, user("b"))))
    assert system_of(call(user("a"))) is None


@pytest.mark.parametrize("tools", [[], [1], [{"function": 1}], [{"type": "x"}], {"a": 1}, [tool(None)], "x"])
def test_odd_tools_have_no_names(tools):
    assert names_of_tools(call(user("hi"), tools=tools)) == ()


def test_of_many_tools_the_first_names_are_kept():
    tools = [tool("x" * 65), *(tool(f"t{at}") for at in range(100))]
    assert names_of_tools(call(user("hi"), tools=tools))[:2] == ("x" * 64, "t0")
    assert len(names_of_tools(call(user("hi"), tools=tools))) == 64


def test_a_request_relies_on_the_store_by_what_it_lacks():
    assert call(user("hi")).brings_no_history
    assert call(user("hi"), says("x"), user("y"), mode="append").brings_no_history
    for asked in (
        call(user("hi"), says("x"), user("y")),
        call(user("hi"), mode="full"),
        call(user("hi"), key=None),
        call(user("hi"), sends_history=True),
        call(user("hi"), by_agent=True),
        call(says("x"), mode="append"),
    ):
        assert not asked.brings_no_history
    assert call(user("hi"), kind=Kind.TEMPORARY).is_temporary


def test_what_is_not_recorded_is_in_no_conversation():
    assert Unrecorded(Outcome.TASK).conversation is None


def test_odd_json_is_no_list_of_tools():
    asked = call(user("hi"))
    broken = replace(asked, chat=replace(asked.chat, tools=json.dumps([[]] * 3).encode()[:-1]))
    assert names_of_tools(broken) == ()


class TestApart:
    """Who goes on from a response, by its id alone."""

    @pytest.mark.parametrize(
        ("key", "place", "is_apart"), [(None, 1, True), ("b", 1, True), ("a", 1, False), (None, 3, False)]
    )
    @pytest.mark.parametrize("is_aborted", [False, True])
    def test_is_whoever_leaves_the_newest_message_of_a_chat_that_others_name(
        self, key: str | None, place: int, is_apart: bool, is_aborted: bool
    ):
        asked = call(user("and?"), key=key)
        asked = replace(asked, chat=replace(asked.chat, behind=Reference("conv_1", b"e")))
        talk = replace(TALK, tip=TOLD[3].id)
        moved = (node(user("x"), TOLD[place]),) if is_aborted else ()
        plan = Thin(Outcome.APPEND, talk, (TOLD[place], *moved)[-1], (), (), moved=moved)
        assert talks_apart(asked, plan) is is_apart
        assert not talks_apart(asked, replace(plan, conversation=replace(talk, key=None)))

    def test_is_no_other_but_a_branch_with_a_session_of_its_own(self):
        plan = Whole(Outcome.BRANCH, TALK, TOLD[1], ())
        assert not talks_apart(call(user("x")), plan)
        assert talks_apart(call(user("x")), replace(plan, session="s"))
