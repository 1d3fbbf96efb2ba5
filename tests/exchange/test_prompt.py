"""Which messages go upstream, in which form, and what is new about them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from sidecar.conversation.exchange_record import Difference, Sent
from sidecar.conversation.reconcile import Outcome
from sidecar.conversation.tree import Conversation
from sidecar.exchange.plan import Thin, Unrecorded, Whole, own_path, session_of
from sidecar.exchange.prompt import (
    AS_IT_CAME,
    Heads,
    Prompt,
    difference,
    heads,
    names_of,
    of_stored,
    sent_of,
    steps_left_out,
)
from sidecar.prompt.rebuild import Outgoing
from sidecar.prompt.trim import Trimmed
from tests.conversation.build import CHAIN, TENANT, calls, message, node, request, result, says, user

SYSTEM = message({"role": "system", "content": "Be brief."})


def out(text, *, restored=False, role="user"):
    return Outgoing(role, message({"role": role, "content": text}).raw, restored)


def prompt(*texts, **more):
    return Prompt("m", tuple(map(out, texts)), **more)


BEFORE = prompt("a", "b", "c")


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (prompt("a", "b", "c", "d"), Difference(3, "grown")),
        (prompt("a", "b", "c"), Difference(3, "grown")),
        (prompt("a", "b"), Difference(2, "edited")),
        (prompt("a", "x", "c", "d"), Difference(1, "edited")),
        (replace(BEFORE, model="n"), Difference(0, "model")),
        (prompt("s", "b", leading=1), Difference(0, "system")),
        (replace(BEFORE, heads=Heads(tools=b"[1]")), Difference(0, "tools")),
        (prompt("s", "a", "b", "c", leading=1), Difference(0, "system")),
        (prompt("s", "a", "b", "c", leading=1, summary=b"h"), Difference(0, "summary")),
        (prompt("a", "c", dropped=1), Difference(1, "trimmed")),
        (prompt("a", "b", "x", shortened=1), Difference(2, "trimmed")),
        (replace(BEFORE, sent=(*BEFORE.sent[:2], out("x", restored=True))), Difference(2, "restored")),
    ],
)
def test_the_first_difference_has_a_cause(now, expected):
    assert difference(BEFORE, now) == expected


def test_behind_the_system_messages_nothing_is_one_of_them():
    before = prompt("s", "a", "b", leading=1)
    assert difference(before, prompt("t", "a", "b", leading=1)) == Difference(0, "system")
    assert difference(before, prompt("s", "x", "b", leading=1)) == Difference(1, "edited")
    assert difference(before, prompt("s", "t", "a", "b", leading=2)) == Difference(1, "system")


def test_a_message_that_is_restored_no_more_is_a_difference_of_that_kind():
    before = replace(BEFORE, sent=(*BEFORE.sent[:2], out("x", restored=True)))
    assert difference(before, BEFORE) == Difference(2, "restored")
    assert difference(before, prompt("a", "b")) == Difference(2, "restored")


def test_another_message_in_its_place_is_no_other_form_of_it():
    asked = [
        Outgoing("user", b"x" * number, restored=True, node=node) for number, node in ((1, b"a"), (2, b"b"))
    ]
    short = Outgoing("user", b"x", restored=True, node=b"b")
    before, now = (Prompt("m", (each,)) for each in asked)
    assert difference(before, now) == Difference(0, "edited")
    assert difference(Prompt("m", (short,)), now) == Difference(0, "restored")


def test_two_questions_that_are_one_message_now_are_a_cause_of_their_own():
    first = message(user("hi"))
    joined = Outgoing("user", b"both", restored=True, message=message(user("and?")), node=ASK.id)
    alone, together = (Prompt("m", (each,)) for each in (Outgoing("user", first.raw, message=first), joined))
    assert difference(alone, together) == Difference(0, "joined")
    assert difference(together, alone) == Difference(0, "joined")


def test_where_the_prompt_before_is_not_held_nothing_is_known():
    assert difference(None, BEFORE) == Difference(0, "unknown")


def test_the_same_messages_are_told_by_the_object_and_others_by_their_bytes():
    known = tuple(map(out, "abc"))
    again = (known[0], *map(out, "bcd"))
    assert difference(Prompt("m", known), Prompt("m", again)) == Difference(3, "grown")
    assert difference(Prompt("m", known), Prompt("m", (*known, out("d")))) == Difference(3, "grown")


def test_heads_have_hashes_that_tell_them_apart():
    first = heads(CHAIN, (SYSTEM,), b"[1]", None)
    assert first.system_hash == CHAIN.hash(None, b"[" + SYSTEM.raw + b"]")
    assert first.tools_hash == CHAIN.hash(None, b"[1]")
    assert heads(CHAIN, (), b"", None) == Heads()


def test_heads_are_hashed_anew_only_where_they_differ():
    first = Heads((SYSTEM,), b"[1]", b"system", b"tools")
    assert heads(CHAIN, (SYSTEM,), b"[1]", first) is first
    other = heads(CHAIN, (SYSTEM,), b"[2]", first)
    assert (other.system_hash, other.tools_hash) == (b"system", CHAIN.hash(None, b"[2]"))
    assert heads(CHAIN, (), b"[1]", first) == Heads((), b"[1]", None, b"tools")


ASK = node(user("hi"))
ANSWER = node(says("hello"), ASK, nonce=1)
AGAIN = user("and?")


def stored(each, **more):
    return Outgoing(each.role, each.body, restored=True, node=each.id, **more)


def own(each):
    return Outgoing(each.role, each.raw, message=each)


def test_a_path_that_the_client_did_not_send_goes_as_it_is_stored():
    asked = request(AGAIN)
    line = [stored(ASK), stored(ANSWER), own(asked.path.messages[0])]
    assert sent_of(line, Trimmed(tuple(line)), CHAIN, asked.path, (ASK, ANSWER)) == Sent("whole")
    cut = Trimmed(tuple(line[1:]), 1, cut=1)
    assert sent_of(line, cut, CHAIN, asked.path, (ASK, ANSWER)) == Sent("whole", ANSWER.id)


def test_what_it_tells_again_of_that_path_is_none_of_its_own():
    path = request(user("hi"), says("hello"), AGAIN).path
    conversation = Conversation("conv_1", TENANT, "a", 1.0, 1.0)
    plan = Thin(Outcome.APPEND, conversation, ANSWER, path.messages[2:], (ASK, ANSWER), again=2)
    own = own_path(plan, path)
    assert (own.messages, own.hashes) == (path.messages[2:], path.hashes[2:])
    assert own_path(replace(plan, again=0), path) is own_path(Unrecorded(Outcome.BYPASS), path) is path


def test_its_client_knows_a_conversation_by_its_id_unless_a_branch_has_one_of_its_own():
    conversation = Conversation("conv_1", TENANT, "a", 1.0, 1.0)
    plan = Whole(Outcome.CONTINUE, conversation, ANSWER, ())
    assert session_of(plan) == "conv_1"
    assert session_of(replace(plan, session="conv_2")) == "conv_2"
    assert session_of(Unrecorded(Outcome.BYPASS)) is None


def test_of_such_a_path_a_message_that_cannot_go_is_an_exception():
    asked = request(AGAIN)
    line = [stored(ASK), own(asked.path.messages[0])]
    expected = Sent("whole", None, ((ANSWER.id, "out"),))
    assert sent_of(line, Trimmed(tuple(line)), CHAIN, asked.path, (ASK, ANSWER)) == expected


def test_what_goes_in_the_words_of_another_is_told_from_what_does_not_go():
    asked = request(AGAIN)
    made = node(calls("c1", "c2"), ASK, nonce=1)
    given = node(result("c1"), made)
    other = node(result("c9"), given)
    line = [stored(ASK), stored(made, told=(given.id, made.id)), own(asked.path.messages[0])]
    sent = sent_of(line, Trimmed(tuple(line)), CHAIN, asked.path, (ASK, made, given, other))
    assert sent.exceptions == ((made.id, "text"), (given.id, "told"), (other.id, "out"))


def test_so_does_a_result_that_the_client_sent_and_that_goes_in_words_with_its_call():
    asked = request(result("c1"), AGAIN)
    given, newest = asked.path.messages
    made = node(calls("c1"), ASK, nonce=1)
    text = Outgoing("assistant", b"{}", restored=True, message=given, told=(made.id,))
    line = [stored(ASK), text, own(newest)]
    sent = sent_of(line, Trimmed(tuple(line)), CHAIN, asked.path, (ASK, made))
    assert sent.exceptions == ((made.id, "told"), (CHAIN.hash(made.hash, given.digest), "text"))


def test_what_the_client_sent_and_is_no_message_of_its_own_is_an_exception_too():
    asked = request(result("c1"), says("so"), AGAIN)
    given, said, newest = asked.path.messages
    joined = Outgoing("user", b"{}", restored=True, message=newest, node=ASK.id)
    hashes = [CHAIN.hash(ANSWER.hash, given.digest)]
    hashes += [CHAIN.hash(CHAIN.hash(hashes[0], said.digest), newest.digest)]

    def left_out(*line):
        return [name for name, _ in sent_of(line, Trimmed(line), CHAIN, asked.path, (ASK, ANSWER)).exceptions]

    front = stored(ASK), stored(ANSWER)
    assert left_out(*front, own(given), own(said), own(newest)) == []
    assert left_out(*front, own(given), own(said), joined) == [hashes[1]]
    assert left_out(*front, own(said), own(newest)) == [hashes[0]]
    # An answer of its own always goes, if in another form.
    assert left_out(*front, own(given), own(newest)) == []
    told = Outgoing("assistant", b"{}", restored=True, message=given)
    assert left_out(*front, told, own(said), own(newest)) == []


def test_of_messages_that_are_not_stored_none_is_named():
    sent = Sent("whole", ASK.hash, ((ANSWER.id, "out"), (ASK.id, "out"), (ASK.id, "short")))
    assert of_stored(sent, [ASK]) == Sent("whole", None, ((ANSWER.id, "out"),))
    assert of_stored(sent, [ANSWER]) == Sent("whole", ASK.hash, sent.exceptions[1:])
    assert of_stored(sent, []) == sent


def test_results_that_do_not_go_are_counted_and_nothing_else():
    made = node(calls("c1", "c2"), ASK, nonce=1)
    before = [ASK, made, *(node(result(id), made) for id in ("c1", "c2")), ANSWER]
    assert steps_left_out([stored(each) for each in before], before) == 0
    assert steps_left_out([stored(ASK), stored(before[3])], before) == 1
    assert steps_left_out([stored(ASK)], [ASK, ANSWER]) == 0


def test_what_a_client_sent_and_nobody_changed_is_as_it_came():
    asked = request(user("hi"), says("hello"), AGAIN)
    line = [own(each) for each in asked.path.messages]
    assert sent_of(line, Trimmed(tuple(line)), CHAIN, asked.path, None) == AS_IT_CAME


def test_a_client_of_which_answers_are_restored_has_the_rest_as_it_sent_it():
    asked = request(user("hi"), says("HELLO"), AGAIN)
    line = [own(asked.path.messages[0]), stored(ANSWER), own(asked.path.messages[2])]
    assert sent_of(line, Trimmed(tuple(line)), CHAIN, asked.path, None) == Sent("restored")


def test_the_first_message_behind_a_cut_is_named_by_its_hash_where_its_node_was_not_looked_up():
    asked = request(user("hi"), says("hello"), AGAIN)
    line = [own(each) for each in asked.path.messages]
    cut = Trimmed(tuple(line[2:]), 2, cut=2)
    assert sent_of(line, cut, CHAIN, asked.path, None) == Sent("client", asked.path.hashes[2])


def test_behind_a_stored_path_that_hash_covers_the_path_as_well():
    asked = request(AGAIN, user("more"))
    line = [stored(ASK), stored(ANSWER), *map(own, asked.path.messages)]
    hash = CHAIN.hash(CHAIN.hash(ANSWER.hash, asked.path.messages[0].digest), asked.path.messages[1].digest)
    cut = Trimmed(tuple(line[3:]), 3, cut=3)
    assert sent_of(line, cut, CHAIN, asked.path, (ASK, ANSWER)) == Sent("whole", hash)


def test_messages_are_shortened_up_to_the_one_that_is_named():
    asked = request(user("hi"), says("hello"), AGAIN)
    line = [own(asked.path.messages[0]), stored(ANSWER), own(asked.path.messages[2])]
    short = Trimmed(tuple(line), shortened=1, shorter=2)
    assert sent_of(line, short, CHAIN, asked.path, None) == Sent("restored", None, ((ANSWER.id, "short"),))


def test_other_words_that_are_quoted_are_the_cause_of_the_difference():
    before = Prompt("m", tuple(map(out, "abqxc")), dropped=2, quoted_at=2)
    after = (*map(out, "abc"), out("d"))
    assert difference(before, Prompt("m", after, dropped=2)) == Difference(2, "recalled")
    assert difference(Prompt("m", after, dropped=2), before) == Difference(2, "recalled")
    grown = Prompt("m", (*after, *map(out, "qxe")), dropped=2, quoted_at=4)
    assert difference(Prompt("m", after, dropped=2), grown) == Difference(4, "grown")


def test_of_a_message_at_the_very_end_that_is_no_node_yet_nothing_is_named():
    asked = request(user("hi"))
    line = [Outgoing("assistant", b'{"role":"assistant","content":"pre"}')]
    assert sent_of(line, Trimmed((), shortened=1, shorter=1), CHAIN, asked.path, None) == Sent("client")


def test_messages_are_named_by_their_nodes_or_by_their_hashes():
    asked = request(user("hi"), says("hello"), AGAIN)
    line = [own(asked.path.messages[0]), stored(ANSWER), out("put in")]
    assert names_of(line, (0, 1, 2), CHAIN, asked.path, None) == (asked.path.hashes[0], ANSWER.id)
    assert len(names_of([stored(ANSWER)] * 50, range(50), CHAIN, asked.path, None)) == 32
