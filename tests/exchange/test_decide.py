"""Whole, thin or alone: what a request is, by what it holds and what is stored."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from sidecar.conversation.effort import EffortLimits
from sidecar.conversation.identity import Identity, Kind
from sidecar.conversation.reconcile import Outcome
from sidecar.conversation.records import Found, Thread
from sidecar.conversation.tree import UNSEEN, Conversation, Node, Tree
from sidecar.dialects.chat.dialect import CHAT
from sidecar.exchange.call import ChatCall, brings_no_history
from sidecar.exchange.decide import at_hand, decide, hashes
from sidecar.exchange.needs import Known, NeedPath, NeedSystem, NeedThreads, NeedTree, Rules
from sidecar.exchange.plan import Thin, Whole
from sidecar.exchange.threads import running
from tests.conversation.build import (
    CHAIN,
    TENANT,
    calls,
    line,
    node,
    path_to,
    raw,
    request,
    result,
    says,
    user,
)

TALK = Conversation("conv_1", TENANT, "a", created_at=1.0, updated_at=1.0, tip=b"tip")
FRESH = Conversation("conv_new", TENANT, "a", created_at=2.0, updated_at=2.0)
BRIEF = {"role": "system", "content": "Be brief."}
MALTA, ROME = user("What is the capital of Malta?"), user("Find me a flight to Rome")
VALLETTA = says("Valletta.")


def call(*messages, mode="auto", key: str | None = "a", again=False, model="m", tools=None, **about):
    more = {"tools": [{"type": "function", "function": {"name": name}} for name in tools]} if tools else {}
    identity, asked = Identity(TENANT, key, **about), request(*messages, model=model, **more)
    relies = brings_no_history(identity, asked, mode)
    return ChatCall(
        identity, CHAT, CHAIN, asked, mode, "conv_1" if key else None, relies, is_sent_again=again
    )


def thread(nodes, *, system=None, head=-1, **about):
    about = {"model": "m", "is_answered": True, "updated_at": nodes[-1].created_at} | about
    kept = b"[" + raw(system) + b"]" if system else None
    return Thread(nodes[0].id, nodes[head].id, kept, **about)


def decided(asked, nodes=(), threads=(), *, system=None, conversation=TALK, rules=None, needs=None, **known):
    """The plan for a request, of a store that holds these nodes."""
    needs = [] if needs is None else needs
    tree = Tree(nodes)
    at = next((each for each in hashes(asked) if any(node.hash == each for node in nodes)), None)
    there = [node for node in nodes if node.hash == at]
    is_tip = bool(there) and not tree.children(there[-1])
    found = Found(conversation if nodes else None, {at: there} if at else {}, is_tip)
    decision = decide(asked, Known(found, FRESH, **known), rules or Rules())
    while not isinstance(decision, Whole | Thin):
        needs.append(type(decision))
        match decision:
            case NeedThreads(given):
                decision = given(threads)
            case NeedTree(given):
                decision = given(tree)
            case NeedPath(id, given):
                by_id = {each.id: each for each in nodes}
                decision = given(path_to(tree, by_id[id]) if id in by_id else [])
            case NeedSystem(given):
                decision = given(system)
    return decision


def texts(plan):
    """What of the store goes before a thin request, and what of the request is new."""
    return [json.loads(node.body).get("content") for node in plan.line], [
        each.fields.get("content") for each in plan.new
    ]


TOLD = line(MALTA, VALLETTA)


def at_once():
    """Two roots, of which the second began while the first was being answered."""
    times = [(MALTA, 1.0), (VALLETTA, 3.0)], [(ROME, 2.0), (says("Done."), 4.0)]
    lines: list[list[Node]] = []
    for asked, answered in times:
        root = replace(node(asked[0]), created_at=asked[1])
        nonce = len(lines) * 2 + 1
        lines.append([root, replace(node(answered[0], root, nonce=nonce), created_at=answered[1])])
    return lines


class TestWithoutLooking:
    def test_where_nothing_is_stored_it_starts(self):
        needs: list[type] = []
        plan = decided(call(MALTA), needs=needs)
        assert (plan.outcome, plan.conversation, needs) == (Outcome.START, FRESH, [])

    def test_a_whole_history_that_is_stored_needs_nothing_more(self):
        needs: list[type] = []
        plan = decided(call(MALTA, VALLETTA, user("and of Italy?")), TOLD, needs=needs)
        assert (plan.brought, plan.is_given_up) == (None, False)
        assert (plan.outcome, plan.parent, len(plan.new), needs) == (Outcome.CONTINUE, TOLD[-1], 1, [])

    def test_nor_does_a_first_question_that_was_not_answered_and_another_behind_it(self):
        plan = decided(call(MALTA, user("please")), TOLD[:1], [thread(TOLD[:1])])
        assert (type(plan), plan.parent, plan.brought) == (Whole, TOLD[0], None)

    @pytest.mark.parametrize("about", [{"sends_history": True}, {"by_agent": True}, {"kind": Kind.CHANNEL}])
    def test_a_client_that_is_known_to_send_all_is_taken_at_its_word(self, about):
        plan = decided(call(ROME, **about), TOLD, [thread(TOLD, is_thin=True)])
        assert isinstance(plan, Whole)

    def test_of_answers_that_read_alike_the_one_that_the_client_names_is_gone_on_from(self):
        ask = node(MALTA)
        one, two = (node(VALLETTA, ask, nonce=at, message_id=f"m-{at}") for at in (1, 2))
        asked = call(MALTA, VALLETTA, user("And?"), sends_history=True, parent_id="m-1")
        assert decided(asked, [ask, one, two]).parent == one

    def test_a_new_chat_under_an_agents_header_is_a_conversation_of_its_own(self):
        own = replace(FRESH, id="conv_own")
        plan = decided(call(ROME, by_agent=True), TOLD, of_its_own=own)
        assert (plan.outcome, plan.conversation) == (Outcome.START, own)

    def test_at_hand_is_only_what_nothing_can_be_missed_of(self):
        found = Found(TALK, {TOLD[-1].hash: [TOLD[-1]]}, is_tip=True)
        whole = call(MALTA, VALLETTA, user("and of Italy?"))
        usual = at_hand(whole, found, Rules())
        assert usual is not None
        assert usual.outcome is Outcome.CONTINUE
        assert at_hand(whole, found, Rules(pins=True)) is None
        assert at_hand(whole, None, Rules()) is None
        assert at_hand(whole, Found(TALK), Rules()) is None
        assert at_hand(call(MALTA), found, Rules()) is None
        reworded = call(MALTA, says(" Valletta. "), user("and of Italy?"))
        assert at_hand(reworded, found, Rules()) is None


class TestThin:
    def test_new_words_go_behind_the_answer(self):
        needs: list[type] = []
        talk = replace(TALK, tip=TOLD[-1].id)
        asked = call(user("How many live there?"))
        plan = decided(asked, TOLD, [thread(TOLD)], conversation=talk, needs=needs)
        assert (plan.outcome, plan.parent, plan.root) == (Outcome.APPEND, TOLD[-1], TOLD[0].id)
        assert texts(plan) == (["What is the capital of Malta?", "Valletta."], ["How many live there?"])
        assert needs == [NeedThreads, NeedPath]

    def test_without_a_prompt_of_its_own_it_gets_the_threads(self):
        plan = decided(call(user("How many live there?")), TOLD, [thread(TOLD, system=BRIEF)])
        assert plan.system == b"[" + raw(BRIEF) + b"]"

    def test_with_its_own_prompt_it_keeps_that(self):
        clock = {"role": "system", "content": "Be brief. It is 10:01."}
        later = {"role": "system", "content": "Be brief. It is 10:02."}
        plan = decided(call(later, user("How many live there?")), TOLD, [thread(TOLD, system=clock)])
        assert (plan.outcome, plan.system) == (Outcome.APPEND, None)

    def test_a_prefill_is_the_last_of_its_new_words(self):
        plan = decided(call(user("How many live there?"), says("About")), TOLD, [thread(TOLD)])
        assert (plan.outcome, len(plan.new)) == (Outcome.APPEND, 1)

    def test_what_is_asked_word_for_word_is_said_again(self):
        nodes = line(user("go on with the course"), says("step 1"), user("ok"), says("step 2"))
        plan = decided(call(user("ok")), nodes, [thread(nodes, is_thin=True)])
        assert (plan.outcome, plan.parent, len(plan.new)) == (Outcome.APPEND, nodes[-1], 1)

    @pytest.mark.parametrize("about", [{"again": True}, {"is_unseen": True}])
    def test_unless_the_client_has_seen_no_answer(self, about):
        nodes = line(user("go on with the course"), says("step 1"), user("ok"), says("step 2"))
        known = {"is_unseen": about.pop("is_unseen", False)}
        plan = decided(call(user("ok"), **about), nodes, [thread(nodes, is_thin=True)], **known)
        assert (plan.outcome, plan.parent, plan.new) == (Outcome.RETRY, nodes[2], ())

    def test_a_question_without_an_answer_is_asked_again(self):
        nodes = line(MALTA, VALLETTA, user("ok"))
        plan = decided(call(user("ok")), nodes, [thread(nodes, is_thin=True)])
        assert (plan.outcome, plan.parent, plan.line) == (Outcome.RETRY, nodes[2], tuple(nodes[:2]))

    def test_and_so_is_one_whose_answer_was_stopped(self):
        nodes = line(MALTA, VALLETTA, user("ok"))
        stopped = node(says("half"), nodes[-1], nonce=9, state="partial")
        nodes.append(stopped)
        plan = decided(call(user("ok")), nodes, [thread(nodes, is_thin=True)])
        assert (plan.outcome, plan.parent) == (Outcome.RETRY, nodes[2])

    def test_the_beginning_of_the_newest_answer_is_gone_on_from(self):
        plan = decided(call(says("Vall"), mode="auto"), TOLD, [thread(TOLD, is_thin=True)])
        assert (plan.outcome, plan.parent) == (Outcome.EXTEND, TOLD[0])
        assert texts(plan) == (["What is the capital of Malta?"], [])

    def test_a_greeting_that_nothing_was_asked_before_is_not(self):
        greeted = line(says("Welcome."))
        plan = decided(call(says("Wel")), greeted, [thread(greeted, is_thin=True)])
        assert (plan.outcome, plan.parent) == (Outcome.APPEND, greeted[0])

    def test_what_begins_an_answer_behind_the_newest_question_takes_the_place_of_its_answer(self):
        nodes = line(user("go on with the course"), says("step 1"), user("ok"), says("step 2"))
        plan = decided(call(user("ok"), says("ste")), nodes, [thread(nodes, is_thin=True)])
        assert (plan.outcome, plan.parent, plan.line) == (Outcome.EXTEND, nodes[2], tuple(nodes[:2]))

    def test_results_that_were_answered_are_given_once(self):
        nodes = line(MALTA, calls("c8"), result("c8"), VALLETTA)
        plan = decided(call(result("c8"), mode="append"), nodes, [thread(nodes)])
        assert (plan.outcome, plan.parent, plan.new) == (Outcome.RETRY, nodes[2], ())

    def test_messages_of_the_newest_turn_are_not_put_twice(self):
        nodes = line(MALTA, VALLETTA, user("look"), calls("c1"))
        sent = [user("look"), calls("c1"), result("c1")]
        plan = decided(call(*sent), nodes, [thread(nodes)])
        assert (plan.outcome, plan.parent) == (Outcome.APPEND, nodes[-1])
        assert texts(plan) == (["What is the capital of Malta?", "Valletta."], ["found"])

    @pytest.mark.parametrize("by_agent", [False, True])
    def test_results_go_into_the_thread_whose_calls_are_open(self, by_agent):
        nodes = line(MALTA, VALLETTA, user("look"), calls("c1"))
        asked = call(result("c1"), model="other", by_agent=by_agent)
        plan = decided(asked, nodes, [thread(nodes, system=BRIEF)])
        assert (plan.outcome, plan.parent, plan.root) == (Outcome.APPEND, nodes[-1], nodes[0].id)

    @pytest.mark.parametrize("by_agent", [False, True])
    def test_results_that_two_threads_wait_for_are_nobodys(self, by_agent):
        one, two = line(MALTA, calls("c1")), line(ROME, calls("c1"))
        asked = call(result("c1"), by_agent=by_agent)
        plan = decided(asked, [*one, *two], [thread(one), thread(two)], of_its_own=FRESH)
        assert plan.outcome is (Outcome.START if by_agent else Outcome.ALONE)

    def test_a_list_of_no_calls_opens_nothing(self):
        nodes = line(MALTA, says("Valletta.", tool_calls=[]))
        assert decided(call(result("c1")), nodes, [thread(nodes)]).outcome is Outcome.ALONE

    def test_calls_that_came_without_an_id_take_results_by_any_until_they_have_them(self):
        nameless = [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]
        nodes = line(MALTA, says(None, tool_calls=nameless))
        plan = decided(call(result("made up")), nodes, [thread(nodes)])
        assert (plan.outcome, plan.parent) == (Outcome.APPEND, nodes[-1])
        nodes = line(MALTA, says(None, tool_calls=nameless * 2), result("made up"), says("done"))
        for id, outcome in (("made up", Outcome.ALONE), ("another", Outcome.APPEND)):
            assert decided(call(result(id, "new")), nodes, [thread(nodes)]).outcome is outcome
        named = calls("c1")["tool_calls"]
        nodes = line(
            MALTA, says(None, tool_calls=[*named, *nameless]), result("c1"), result("x"), says("done")
        )
        assert decided(call(result("another")), nodes, [thread(nodes)]).outcome is Outcome.ALONE
        nodes = line(MALTA, says(None, tool_calls=[*named, *nameless]), result("c1"), says("done"))
        assert decided(call(result("another")), nodes, [thread(nodes)]).outcome is Outcome.APPEND
        nodes = line(MALTA, says(None, tool_calls=nameless), result("made up"), says("done"))
        assert decided(call(result("another")), nodes, [thread(nodes)]).outcome is Outcome.ALONE

    @pytest.mark.parametrize("id", ["", None, 1.5, ["c"]])
    def test_an_id_that_names_nothing_is_none(self, id):
        made = {"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}}
        nodes = line(MALTA, says(None, tool_calls=[made]))
        assert decided(call(result("made up")), nodes, [thread(nodes)]).outcome is Outcome.APPEND
        named = line(MALTA, says(None, tool_calls=[{**made, "id": 7}]))
        assert decided(call(result("7")), named, [thread(named)]).outcome is Outcome.APPEND
        assert decided(call(result("made up")), named, [thread(named)]).outcome is Outcome.ALONE

    def test_results_that_are_there_already_open_nothing(self):
        nodes = line(MALTA, calls("c1"), result("c1"), says("done"))
        plan = decided(call(result("c1", "other")), nodes, [thread(nodes)])
        assert plan.outcome is Outcome.ALONE

    def test_of_several_edits_of_one_question_the_newest_is_the_thread(self):
        one = line(MALTA, VALLETTA)
        two = line(user("What is the capital of Italy?"), says("Rome."))
        threads = [thread(two, updated_at=2.0), thread(one, updated_at=1.0)]
        plan = decided(call(user("How many live there?")), [*one, *two], threads)
        assert (plan.outcome, plan.parent) == (Outcome.APPEND, two[-1])

    def test_a_thread_that_was_gone_on_from_goes_before_all_others(self):
        one, two, three = line(MALTA, VALLETTA), line(ROME, says("Done.")), line(user("x y"), says("z"))
        threads = [thread(two), thread(three), thread(one, is_thin=True)]
        plan = decided(call(user("How many live there?")), [*one, *two, *three], threads)
        assert plan.parent == one[-1]

    @pytest.mark.parametrize(
        ("asked", "about"),
        [
            (call(ROME, model="other"), {}),
            (call(user("What is the capital of Italy?")), {}),
            (call(ROME), {"running": (running(call(user("Find me a hotel in Rome"))),)}),
        ],
        ids=["another model", "like an edit", "while another is running"],
    )
    def test_behind_an_append_that_was_answered_less_has_to_fit(self, asked, about):
        for is_thin, outcome in ((True, Outcome.APPEND), (False, Outcome.ALONE)):
            plan = decided(asked, TOLD, [thread(TOLD, is_thin=is_thin)], **about)
            assert plan.outcome is outcome

    @pytest.mark.parametrize("new", [user("And Rome?"), result("c1")])
    def test_beside_a_whole_history_only_a_thread_that_was_gone_on_from_goes_on(self, new):
        told, whole = line(MALTA, calls("c1")), line(ROME, says("Done."))
        known = thread(whole, system=BRIEF, is_whole=True)
        for is_thin, outcome in ((True, Outcome.APPEND), (False, Outcome.ALONE)):
            plan = decided(call(new), told + whole, [known, thread(told, is_thin=is_thin)])
            assert plan.outcome is outcome

    def test_what_an_older_version_recorded_has_one_thread_up_to_its_tip(self):
        nodes = line(MALTA, VALLETTA)
        old = replace(TALK, tip=nodes[-1].id)
        plan = decided(call(user("More")), nodes, conversation=old, system=(b"[1]", b"[2]"))
        assert (plan.outcome, plan.system, plan.root) == (Outcome.APPEND, b"[2]", nodes[0].id)
        assert decided(call(user("More")), nodes, conversation=old).system is None
        whole = replace(old, full=True)
        assert decided(call(user("More")), nodes, conversation=whole).outcome is Outcome.ALONE

    @pytest.mark.parametrize("about", [{}, {"mode": "append"}])
    @pytest.mark.parametrize("new", [user("And Rome?"), result("c9")])
    def test_what_a_whole_history_told_meanwhile_is_not_forgotten(self, about, new):
        told = line(MALTA, VALLETTA, user("Since when?"), calls("c8"), result("c8"), calls("c9"))
        tip = replace(TALK, tip=told[-1].id)
        kept = thread(told, head=1, is_thin=True)
        plan = decided(call(new, **about), told, [kept], conversation=tip)
        assert (plan.outcome, plan.parent, len(plan.line)) == (Outcome.APPEND, told[-1], len(told))

    def test_results_that_are_stored_while_they_are_looked_for_are_sent_again(self):
        told = line(user("hi"), says("Hello."), MALTA, calls("c8"), result("c8"))
        told += [node(says("Val"), told[-1], state="partial")]
        tip = replace(TALK, tip=told[3].id)
        plan = decided(call(result("c8")), told, [thread(told, head=3, is_thin=True)], conversation=tip)
        assert (plan.outcome, plan.parent, len(plan.line)) == (Outcome.RETRY, told[4], 4)

    @pytest.mark.parametrize("new", [user("And Rome?"), result("c8")])
    def test_a_tip_that_was_read_before_the_head_moved_is_not_gone_on_from(self, new):
        told = line(MALTA, VALLETTA, user("Look"), calls("c8"))
        tip = replace(TALK, tip=told[1].id)
        plan = decided(call(new), told, [thread(told, is_thin=True)], conversation=tip)
        assert (plan.outcome, plan.parent) == (Outcome.APPEND, told[-1])

    @pytest.mark.parametrize("behind", [(), ("failed",), ("partial",), ("failed", "failed")])
    def test_results_that_were_not_answered_may_be_replaced_by_others(self, behind):
        told = line(user("hi"), says("Hello."), MALTA, calls("c8", "c9"), result("c8"), result("c9"))
        told += [node(says("Val"), told[-1], nonce=at, state=state) for at, state in enumerate(behind)]
        again = call(result("c8", "found at 10:02"), result("c9"))
        plan = decided(again, told, [thread(told, head=5, is_thin=True)])
        parent = told[-1] if behind == ("partial",) else told[5]
        assert (plan.outcome, plan.parent, len(plan.new)) == (Outcome.APPEND, parent, 2)

    @pytest.mark.parametrize("silent", [says(""), says(None)])
    def test_an_answer_that_says_nothing_is_no_answer_to_them(self, silent):
        told = line(MALTA, calls("c8"), result("c8"), silent)
        plan = decided(call(result("c8", "found at 10:02")), told, [thread(told, is_thin=True)])
        assert plan.outcome is Outcome.APPEND

    def test_nor_is_one_of_which_the_client_has_not_seen_the_end(self):
        told = line(MALTA, calls("c8"), result("c8"))
        told.append(node(VALLETTA, told[-1], nonce=9, finish_reason="stop" + UNSEEN))
        plan = decided(call(result("c8", "found at 10:02")), told, [thread(told, is_thin=True)])
        assert plan.outcome is Outcome.APPEND

    @pytest.mark.parametrize(
        "behind",
        [(VALLETTA,), (result("c9"), VALLETTA), (user("go on"), VALLETTA), (calls("c7"),)],
        ids=["an answer", "after another result", "after a question", "the next call"],
    )
    def test_the_results_of_calls_that_were_answered_are_no_new_ones(self, behind):
        told = line(MALTA, calls("c8", "c9"), result("c8"), *behind)
        plan = decided(call(result("c8", "found at 10:02")), told, [thread(told, is_thin=True)])
        assert plan.outcome is Outcome.ALONE

    @pytest.mark.parametrize("state", ["failed", "partial"])
    def test_results_that_come_with_their_calls_take_the_place_of_those_not_answered(self, state):
        told = line(MALTA, calls("c8"), result("c8"))
        told.append(node(says("Val"), told[-1], nonce=9, state=state))
        again = call(calls("c8"), result("c8", "found at 10:02"))
        head = 2 if state == "failed" else 3
        plan = decided(again, told, [thread(told, head=head, is_thin=True)])
        assert (plan.outcome, plan.parent, plan.line) == (Outcome.APPEND, told[1], (told[0],))
        assert [each.role for each in plan.new] == ["tool"]

    @pytest.mark.parametrize("newest", [0, 1])
    def test_two_first_messages_that_were_sent_at_once_are_both_gone_on_from(self, newest):
        one, two = at_once()
        threads = [thread(one, updated_at=5.0), thread(two, updated_at=5.0)]
        if newest:
            threads.reverse()
        plan = decided(call(user("Thanks to both")), [*one, *two], threads)
        assert texts(plan)[0] == [json.loads(each.body)["content"] for each in (*one, *two)]
        assert (plan.outcome, plan.root, plan.parent) == (Outcome.APPEND, one[0].id, plan.moved[-1])
        stored = line(MALTA, VALLETTA, ROME, says("Done."))
        assert [(each.id, each.exact) for each in plan.line] == [(each.id, each.exact) for each in stored]
        assert plan.moved == plan.line[2:]

    def test_that_the_first_was_gone_on_from_meanwhile_is_no_answer_to_it(self):
        one, two = at_once()
        early = replace(node(user("please"), one[0]), created_at=1.5)
        plan = decided(call(user("Thanks")), [one[0], early, one[1], *two], [thread(two), thread(one)])
        assert (plan.outcome, plan.root, len(plan.moved)) == (Outcome.APPEND, one[0].id, 2)
        answered = [replace(each, created_at=each.created_at + 2.0) for each in two]
        plan = decided(call(user("Thanks")), [*one, *answered], [thread(answered), thread(one)])
        assert plan.outcome is Outcome.ALONE

    def test_so_is_one_of_them_that_was_not_answered(self):
        one, two = at_once()
        threads = [thread(two), thread(one[:1], updated_at=5.0, is_answered=False)]
        plan = decided(call(user("Thanks to both")), [one[0], *two], threads)
        assert [each.role for each in plan.line] == ["user", "user", "assistant"]
        unanswered = [replace(each, is_answered=False) for each in threads]
        assert decided(call(user("Thanks")), [one[0], *two], unanswered).outcome is Outcome.ALONE

    def test_they_are_put_together_once(self):
        one, two = at_once()
        threads = [thread(two), thread(one)]
        first = decided(call(user("Thanks")), [*one, *two], threads)
        failed = node(user("Thanks"), first.parent)
        threads[1] = replace(threads[1], head=failed.id)
        asked, stored = call(user("Sent?")), [*one, *two, *first.moved, failed]
        plan = decided(asked, stored, threads)
        assert (plan.outcome, plan.parent, plan.moved) == (Outcome.APPEND, failed, ())
        assert plan.line == (*first.line, failed)

    def test_with_a_pinned_prompt_they_are_as_well(self):
        one, two = at_once()
        plan = decided(call(user("Thanks")), [*one, *two], [thread(two), thread(one)], rules=Rules(pins=True))
        assert [len(each) for each in (plan.line, plan.moved)] == [4, 2]

    @pytest.mark.parametrize("again", [MALTA, ROME])
    def test_of_which_one_that_is_asked_again_goes_alone(self, again):
        one, two = at_once()
        plan = decided(call(again), [*one, *two], [thread(two), thread(one)])
        assert (type(plan), plan.outcome, plan.moved) == (Whole, Outcome.RETRY, ())

    def test_of_which_one_has_gone_there_is_no_telling(self):
        one, two = at_once()
        plan = decided(call(user("Thanks")), [*one, *two], [replace(thread(two), head=None), thread(one)])
        assert plan.outcome is Outcome.ALONE

    def test_results_for_a_thread_without_a_head_go_alone(self):
        told = line(MALTA, calls("c8"))
        headless = replace(thread(told), head=None)
        assert decided(call(result("c8")), told, [headless]).outcome is Outcome.ALONE

    @pytest.mark.parametrize("new", [user("And Rome?"), result("c8")])
    def test_the_tip_of_another_thread_is_not_gone_on_from(self, new):
        told, others = line(MALTA, calls("c8")), line(ROME, says("At nine."), user("Thanks"), says("Sure."))
        tip = replace(TALK, tip=others[-1].id)
        threads = [thread(told, is_thin=True), thread(others, system=BRIEF, head=1, is_thin=True)]
        plan = decided(call(new), told + others, threads, conversation=tip)
        assert (plan.outcome, plan.parent) == (Outcome.APPEND, told[-1])

    def test_what_is_read_of_the_store_is_one_path_where_the_tip_is_the_head_of_a_thread(self):
        told, others = line(MALTA, VALLETTA), line(ROME, says("At nine."))
        threads = [thread(told, is_thin=True), thread(others, system=BRIEF, is_thin=True)]
        for tip in (told[-1].id, others[-1].id, None):
            needs: list[type] = []
            talk = replace(TALK, tip=tip)
            plan = decided(call(user("More")), told + others, threads, conversation=talk, needs=needs)
            assert (plan.parent, needs) == (told[-1], [NeedThreads, NeedPath])

    def test_questions_in_a_row_are_one_turn(self):
        nodes = line(MALTA, VALLETTA, user("look"), user("please"))
        plan = decided(call(user("look"), user("please")), nodes, [thread(nodes, is_thin=True)])
        assert (plan.outcome, plan.parent, plan.line) == (Outcome.RETRY, nodes[-1], tuple(nodes[:2]))


class TestAlone:
    @pytest.mark.parametrize(
        ("asked", "about"),
        [
            (call({"role": "system", "content": "You search flights."}, ROME), {"system": BRIEF}),
            (call(ROME, model="other"), {}),
            (call(user("What is the capital of Italy?")), {}),
            (call(ROME, tools=["search"]), {"tools": ("look",)}),
            (call(ROME), {"is_whole": True}),
            (call(ROME), {"head": None}),
        ],
        ids=["prompt", "model", "an edit", "tools", "a whole client", "no head"],
    )
    def test_one_that_does_not_fit_goes_as_it_came(self, asked, about):
        known = thread(TOLD)
        if "system" in about:
            about = {**about, "system": b"[" + raw(about["system"]) + b"]"}
        plan = decided(asked, TOLD, [replace(known, **about)])
        assert (plan.outcome, plan.parent, plan.new) == (Outcome.ALONE, None, asked.chat.path.messages)

    def test_one_behind_a_question_that_was_not_answered_fits(self):
        nodes = line(MALTA)
        plan = decided(call(ROME), nodes, [thread(nodes, is_answered=False)])
        assert (plan.outcome, plan.parent) == (Outcome.APPEND, nodes[0])

    def test_one_with_a_tool_of_the_threads_fits(self):
        known = thread(TOLD, tools=("look", "search"))
        assert decided(call(ROME, tools=["search"]), TOLD, [known]).outcome is Outcome.APPEND

    def test_while_another_question_with_that_prompt_is_running(self):
        other = running(call(user("Find me a hotel in Rome")))
        plan = decided(call(ROME), TOLD, [thread(TOLD)], running=(other,))
        assert plan.outcome is Outcome.ALONE
        another_prompt = running(call(BRIEF, user("Find me a hotel in Rome")))
        plan = decided(call(ROME), TOLD, [thread(TOLD)], running=(another_prompt, running(call(ROME))))
        assert plan.outcome is Outcome.APPEND

    def test_of_parallel_workers(self):
        one, two = line(MALTA, VALLETTA), line(ROME, says("Done."))
        threads = [thread(two, updated_at=-1.0), thread(one, updated_at=-2.0)]
        assert decided(call(user("Book a table")), [*one, *two], threads).outcome is Outcome.ALONE
        many = [line(user(f"{word} is a word"), says("ok")) for word in ("a", "bee", "sea", "day", "ear")]
        nodes = [each for told in many for each in told]
        plan = decided(call(user("Book a table")), nodes, [thread(told) for told in many])
        assert plan.outcome is Outcome.ALONE
        gone = [thread(line(user(str(at)), says("x"))) for at in range(2)]
        assert decided(call(user("Book a table")), TOLD, gone).outcome is Outcome.ALONE

    def test_with_two_prompts_near_enough_it_is_unclear(self):
        one, two = line(MALTA, VALLETTA), line(ROME, says("Done."))
        at = [{"role": "system", "content": f"Be brief. It is 10:0{minute}."} for minute in range(3)]
        threads = [thread(one, system=at[0]), thread(two, system=at[1])]
        plan = decided(call(at[2], user("Book a table")), [*one, *two], threads)
        assert plan.outcome is Outcome.ALONE

    def test_without_a_prompt_where_there_are_several(self):
        one, two = line(MALTA, VALLETTA), line(ROME, says("Done."))
        threads = [thread(one, system=BRIEF), thread(two, system={"role": "system", "content": "Search!"})]
        assert decided(call(user("Book a table")), [*one, *two], threads).outcome is Outcome.ALONE

    def test_where_the_messages_of_the_thread_are_gone(self):
        asked = call(user("Book a table"), says("Yes"))
        gone = thread(line(user("x"), says("y")))
        assert decided(asked, TOLD, [gone]).outcome is Outcome.EXTEND

    def test_a_root_that_is_there_is_asked_again(self):
        plan = decided(call(MALTA), TOLD, [thread(TOLD)])
        assert (plan.outcome, plan.parent) == (Outcome.RETRY, TOLD[0])

    def test_a_history_of_which_nothing_is_stored(self):
        plan = decided(call(ROME, says("Done."), user("Thanks")), TOLD, [thread(TOLD)])
        assert (type(plan), plan.parent) == (Whole, None)

    def test_a_prefill_behind_a_new_question_extends_that(self):
        plan = decided(call(ROME, says("Done")), TOLD, [replace(thread(TOLD), is_whole=True)])
        assert (plan.outcome, plan.parent) == (Outcome.EXTEND, None)


class TestWholeByEvidence:
    def test_an_edited_answer_is_a_branch(self):
        plan = decided(call(MALTA, says("Mdina."), user("And of Italy?")), TOLD, [thread(TOLD)])
        assert (type(plan), plan.outcome, plan.parent) == (Whole, Outcome.BRANCH, TOLD[0])

    def test_an_earlier_turn_tells_a_client_that_cut_its_own_front(self):
        nodes = line(
            MALTA, VALLETTA, user("And of Italy?"), says("Rome."), user("Of Spain?"), says("Madrid.")
        )
        sent = [user("And of Italy?"), says("Rome."), user("Of Spain?"), says("Madrid."), user("To?")]
        plan = decided(call(*sent), nodes, [thread(nodes)])
        assert (type(plan), plan.outcome, plan.parent) == (Whole, Outcome.UNANCHORED, nodes[-1])
        assert (len(plan.steps), plan.brought) == (4, 5)

    def test_a_copy_that_lost_something_gets_the_stored_messages(self):
        nodes = line(MALTA, calls("c1", content="I look. "), result("c1"), says("Valletta."))
        needs: list[type] = []
        plan = decided(call(MALTA, says("I look. Valletta."), user("And?")), nodes, needs=needs)
        assert (plan.outcome, plan.root, needs) == (Outcome.CONTINUE, nodes[0].id, [NeedThreads, NeedTree])
        assert [len(step) for step in plan.steps] == [1, 3]
        assert plan.brought is None

    def test_what_takes_too_much_to_compare_is_given_up(self):
        few = Rules(effort=EffortLimits(1, 1))
        plan = decided(call(MALTA, says("V"), user("And?")), TOLD, [thread(TOLD)], rules=few)
        assert plan.is_given_up

    def test_an_edited_history_is_looked_for_by_its_content(self):
        needs: list[type] = []
        asked = call(MALTA, says("Mdina."), user("And?"), sends_history=True)
        assert decided(asked, TOLD, needs=needs).parent == TOLD[0]
        assert needs == [NeedTree]

    def test_into_a_chat_without_an_id_nothing_is_ever_put(self):
        asked = call(MALTA, says(" Valletta. "), user("And?"), key=None)
        plan = decided(asked, TOLD)
        assert (plan.outcome, plan.parent, plan.steps) == (Outcome.CONTINUE, TOLD[-1], ())
        assert plan.brought is None

    def test_said_to_be_whole_it_is_looked_for_by_its_content(self):
        needs: list[type] = []
        asked = call(MALTA, says(" Valletta. "), user("And?"), mode="full")
        assert decided(asked, TOLD, needs=needs).parent == TOLD[-1]
        assert needs == [NeedPath]
        assert decided(call(MALTA, says("V"), mode="full"), TOLD, needs=needs).parent == TOLD[0]

    def test_said_to_be_whole_a_lone_question_is_a_whole_history(self):
        needs: list[type] = []
        plan = decided(call(ROME, mode="full"), TOLD, [thread(TOLD, is_thin=True)], needs=needs)
        assert (type(plan), plan.outcome, plan.parent) == (Whole, Outcome.UNANCHORED, None)
        assert NeedThreads not in needs
        assert decided(call(ROME), TOLD, [thread(TOLD, is_thin=True)]).outcome is Outcome.APPEND

    @pytest.mark.parametrize("about", [{}, {"sends_history": True}, {"by_agent": True}])
    def test_behind_a_summary_it_goes_on_where_its_last_turn_is_stored(self, about):
        nodes = line(user("Hi"), says("Hello."), MALTA, VALLETTA)
        sent = [user("A summary."), MALTA, VALLETTA, user("And of Italy?")]
        plan = decided(call(*sent, **about), nodes, [thread(nodes)], of_its_own=FRESH)
        assert (plan.outcome, plan.conversation, plan.parent) == (Outcome.UNANCHORED, TALK, nodes[-1])
        assert (plan.steps, len(plan.new), plan.brought) == ((), 1, 4)
        assert decided(call(*sent, key=None), nodes).parent is None

    def test_a_question_alone_goes_on_behind_the_answer_that_its_client_names(self):
        nodes = [node(MALTA)]
        nodes.append(node(VALLETTA, nodes[0], nonce=1, message_id="a1"))
        asked = call(user("And of Italy?"), sends_history=True, parent_id="a1")
        plan = decided(asked, nodes)
        assert (plan.outcome, plan.parent, len(plan.new)) == (Outcome.UNANCHORED, nodes[1], 1)
        assert plan.brought == 1
        assert decided(call(ROME, sends_history=True, parent_id="else"), nodes).parent is None


class TestBranches:
    """Of a chat without a name: who goes on from an inner message by other words may have another session."""

    @pytest.mark.parametrize(
        ("sent", "is_branch"),
        [
            ([MALTA, VALLETTA, user("And of Spain?")], True),
            ([MALTA, VALLETTA, user("And of Italy?")], False),
            ([MALTA, VALLETTA, user("And of Italy?"), user("x")], False),
            ([MALTA, says("Mdina.")], False),
            ([MALTA, says("Mdina."), user("x")], False),
            ([MALTA, VALLETTA], False),
        ],
    )
    @pytest.mark.parametrize("key", [None, "a"])
    def test_one_is_where_a_question_goes_on_from_what_was_gone_on_from(self, sent, is_branch, key):
        nodes = line(MALTA, VALLETTA, user("And of Italy?"))
        plan = decided(call(*sent, key=key, sends_history=True), nodes)
        assert plan.is_branch is (is_branch and key is None)
        assert plan.outcome is (Outcome.BRANCH if is_branch else plan.outcome)

    def test_none_is_at_the_tip_or_where_nothing_is_stored(self):
        assert not decided(call(MALTA, VALLETTA, user("x"), key=None), TOLD).is_branch
        assert not decided(call(ROME, key=None), TOLD).is_branch


class TestSaidThin:
    def test_it_goes_to_the_thread_of_its_prompt(self):
        one, two = line(MALTA, VALLETTA), line(ROME, says("Done."))
        threads = [thread(two, system={"role": "system", "content": "Search!"}), thread(one, system=BRIEF)]
        plan = decided(call(BRIEF, user("More"), mode="append"), [*one, *two], threads)
        assert plan.parent == one[-1]

    def test_else_to_the_newest(self):
        one, two = line(MALTA, VALLETTA), line(ROME, says("Done."))
        threads = [thread(two, system={"role": "system", "content": "Search!"}), thread(one, system=BRIEF)]
        other = {"role": "system", "content": "Dance!"}
        plan = decided(call(other, user("More"), mode="append"), [*one, *two], threads)
        assert plan.parent == two[-1]

    def test_where_there_is_none_it_begins_one(self):
        empty = replace(TALK, tip=None)
        assert decided(call(ROME, mode="append"), TOLD, conversation=empty).outcome is Outcome.ALONE
        headless = replace(thread(TOLD), head=None)
        assert decided(call(ROME, mode="append"), TOLD, [headless]).outcome is Outcome.ALONE

    def test_to_the_tip_of_what_an_older_version_recorded(self):
        old = replace(TALK, tip=TOLD[-1].id)
        assert decided(call(ROME, mode="append"), TOLD, conversation=old).parent == TOLD[-1]

    def test_all_that_it_brings_is_new(self):
        plan = decided(call(says("I was told"), user("More"), mode="append"), TOLD, [thread(TOLD)])
        assert len(plan.new) == 2

    @pytest.mark.parametrize("cut", [0, 1])
    def test_a_history_that_it_brings_all_the_same_is_not_put_twice(self, cut):
        told = [MALTA, VALLETTA, user("Since when?"), says("1571.")]
        nodes = line(*told)
        plan = decided(call(*told[cut:], user("More"), mode="append"), nodes, [thread(nodes)])
        assert (plan.outcome, plan.parent) == (Outcome.APPEND, nodes[-1])
        assert (len(plan.line), len(plan.new)) == (cut, 1)

    def test_what_ends_before_the_newest_answer_is_said_anew(self):
        told = [MALTA, VALLETTA, ROME, says("At nine.")]
        nodes = line(*told, user("Since when?"), says("1571."))
        plan = decided(call(*told, user("More"), mode="append"), nodes, [thread(nodes)])
        assert (plan.parent, len(plan.line), len(plan.new)) == (nodes[-1], 6, 5)

    def test_examples_that_it_brings_each_time_are_new(self):
        nodes = line(MALTA, VALLETTA, ROME, says("At nine."), user("Since when?"), says("1571."))
        plan = decided(call(MALTA, VALLETTA, user("More"), mode="append"), nodes, [thread(nodes)])
        assert (plan.parent, len(plan.line), len(plan.new)) == (nodes[-1], 6, 3)

    def test_results_of_calls_that_were_answered_are_said_anew(self):
        told = line(MALTA, calls("c8"), result("c8"), VALLETTA)
        sent = call(calls("c8"), result("c8", "found at 10:02"), mode="append")
        plan = decided(sent, told, [thread(told)])
        assert (plan.outcome, plan.parent, len(plan.new)) == (Outcome.APPEND, told[-1], 2)

    def test_what_goes_on_from_the_middle_of_the_newest_turn_is_said_anew(self):
        nodes = line(MALTA, VALLETTA, user("look"), calls("c1"), result("c1"), says("done"))
        sent = call(user("look"), user("again"), mode="append")
        plan = decided(sent, nodes, [thread(nodes)])
        assert (plan.parent, len(plan.new), len(plan.line)) == (nodes[-1], 2, 6)


class TestPinned:
    RULES = Rules(pins=True)
    STORED = (raw([{"role": "system", "content": "Be brief. It is 10:01."}]), b"[]")

    @pytest.mark.parametrize("thin", [True, False])
    def test_the_first_prompt_stays_against_clocks(self, thin):
        later = {"role": "system", "content": "Be brief. It is 10:02."}
        said = [user("How many live there?")] if thin else [MALTA, VALLETTA, user("And?")]
        known = [thread(TOLD, system=later)]
        plan = decided(call(later, *said), TOLD, known, rules=self.RULES, system=self.STORED)
        assert plan.system == self.STORED[0]

    def test_another_prompt_is_the_clients(self):
        other = {"role": "system", "content": "You are a poet."}
        asked = call(other, MALTA, VALLETTA, user("And?"))
        assert decided(asked, TOLD, rules=self.RULES, system=self.STORED).system is None
        assert decided(asked, TOLD, rules=self.RULES).system is None
