"""Where in the stored tree a request continues."""

from __future__ import annotations

import time

import pytest

from sidecar.conversation.effort import Effort, EffortLimits
from sidecar.conversation.reconcile import (
    MAX_PLACES,
    NOWHERE,
    Match,
    Outcome,
    Place,
    called_place,
    joined_behind,
    outcome_of,
    places,
    settled,
    walk,
)
from sidecar.conversation.tree import Tree
from tests.conversation.build import NOBODY, Recorded, calls, line, node, request, result, says, user, walked

TALK = [user("hi"), says("hello"), user("more"), says("bye")]
TOOLS = [user("hi"), calls("c", content="Look."), result("c"), says("Done.")]


def found_in(nodes, asked, named=NOBODY):
    """What a look-up of these nodes settles."""
    found: dict[bytes, list] = {}
    for each in nodes:
        found.setdefault(each.hash, []).append(each)
    return settled(asked.path, found, frozenset(named))


def regenerated(question="hi", *texts, ids=(None, None)):
    root = node(user(question))
    texts = texts or ("same", "same")
    return [root, *(node(says(text), root, nonce=at, message_id=ids[at]) for at, text in enumerate(texts))]


def test_what_a_request_can_be_is_told_in_these_words():
    said = "start continue branch retry extend append unanchored alone task bypass"
    assert [each.value for each in Outcome] == said.split()


@pytest.mark.parametrize(
    ("newest", "about", "is_settled"),
    [
        (user("c"), {"message_id": "q1"}, False),
        (user("c"), {"message_id": "q2"}, True),
        (user("c"), {}, True),
        (result("c"), {"message_id": "q1"}, True),
        ({"role": "developer", "content": "c"}, {"message_id": "q1"}, True),
    ],
)
def test_only_a_question_that_has_another_name_may_be_another(newest, about, is_settled):
    nodes = line(*TALK)
    nodes.append(node(newest, nodes[-1], **about))
    asked = request(*TALK, newest)
    place = Place(len(nodes), nodes[-1])
    assert found_in(nodes, asked, {"q2"}) == (place if is_settled else None)
    assert found_in(nodes, asked) == place
    longer = request(*TALK, newest, user("d"))
    assert found_in(nodes, longer, {"q2"}) == place


class TestPlaces:
    @pytest.mark.parametrize(
        ("messages", "expected"),
        [
            ([], []),
            ([user("a")], [1]),
            ([user("a"), user("b")], [2, 1]),
            ([*TALK, user("c")], [5, 4]),
            ([user("a"), says("b"), *[result(str(at)) for at in range(3)]], [5, 4, 3, 2]),
        ],
    )
    def test_they_reach_from_the_end_to_the_last_answer(self, messages, expected):
        assert list(places(request(*messages).path)) == expected

    def test_they_are_never_more_than_the_limit(self):
        found = places(request(user("a"), says("b"), *[user(str(at)) for at in range(50)]).path)
        assert (len(found), found[0]) == (MAX_PLACES, 52)


class TestSettled:
    def test_the_deepest_stored_place_wins(self):
        nodes = line(*TALK)
        assert found_in(nodes, request(*TALK, user("c"))) == Place(4, nodes[3])
        assert found_in(nodes, request(*TALK[:3])) == Place(3, nodes[2])

    def test_of_nodes_that_read_alike_the_newest_wins_unless_the_client_names_one(self):
        _, old, new = nodes = regenerated(ids=("old", "new"))
        asked = request(user("hi"), says("same"), user("more"))
        assert found_in(nodes, asked) == Place(2, new)
        assert found_in(nodes, asked, {"old"}) == Place(2, old)

    def test_a_history_that_is_not_stored_has_to_be_walked(self):
        assert found_in(line(*TALK), request(user("hi"), says("edited"), user("c"))) is None

    def test_a_first_question_that_is_not_stored_is_nowhere(self):
        assert found_in(line(*TALK), request(user("else"))) == NOWHERE

    def test_a_run_of_questions_too_long_to_look_up_has_to_be_walked(self):
        asked = request(*[user(str(at)) for at in range(MAX_PLACES + 1)])
        assert found_in([node(user("0"))], asked) is None

    def test_a_question_that_goes_by_another_id_has_to_be_walked(self):
        nodes = [node(user("hi"), message_id="q1")]
        assert found_in(nodes, request(user("hi")), {"q2"}) is None
        assert found_in(nodes, request(user("hi")), {"q1"}) == Place(1, nodes[0])
        assert found_in(nodes, request(user("hi"))) == Place(1, nodes[0])


class TestWalkByContent:
    def test_the_longest_stored_front_is_matched(self):
        nodes = line(*TALK)
        match = walked(nodes, *TALK[:3], says("edited"), user("c"))
        assert match == Match(Place(3, nodes[2]), tuple((each,) for each in nodes[:3]))

    def test_a_request_that_shares_nothing_is_nowhere(self):
        assert walked(line(*TALK), user("else"), says("x"), user("y")) == Match(NOWHERE, ())
        assert walked([], user("hi")) == Match(NOWHERE, ())

    def test_stripped_text_and_reserialised_arguments_are_equal(self):
        nodes = line(user("hi"), calls("c", content="look\n"), result("c"), says(" done "))
        sent = [user("hi"), calls("c", content="look", arguments='{"a":2}'), result("c"), says("done")]
        assert walked(nodes, *sent, user("c")).place == Place(4, nodes[3])

    def test_an_equal_message_is_taken_before_an_echo(self):
        root = node(user("hi"))
        flat, tool = node(says("done"), root, nonce=1), node(calls("c"), root, nonce=2)
        found = node(result("c"), tool)
        last = node(says("done"), found, nonce=3)
        match = walked([root, flat, tool, found, last], user("hi"), says("done"), user("c"))
        assert match.place == Place(2, flat)

    def test_the_newest_of_equal_paths_is_taken_however_they_hang(self):
        root, old, new = regenerated()
        first, second = node(user("more"), new), node(user("more"), old)
        nodes = [root, old, new, first, second]
        assert walked(nodes, user("hi"), says("same"), user("more"), user("x")).place.node == second
        assert found_in(nodes, request(user("hi"), says("same"), user("more"), user("x"))).node == second


class TestWalkByEcho:
    def test_a_flattened_tool_turn_is_one_step(self):
        nodes = line(*TOOLS)
        match = walked(nodes, user("hi"), says("Look.\n\nDone."), user("more"))
        assert match == Match(Place(2, nodes[3]), ((nodes[0],), tuple(nodes[1:])))

    def test_an_echoed_question_is_confirmed_by_its_answer(self):
        nodes = line(user("context\n\nhi"), says("hello"))
        assert walked(nodes, user("hi"), says("hello"), user("more")).place == Place(2, nodes[1])
        assert walked(nodes, user("hi"), says("else"), user("more")) == Match(NOWHERE, ())

    def test_an_echoed_answer_confirms_an_echoed_question(self):
        nodes = line(user("context\n\nhi"), *TOOLS[1:])
        assert walked(nodes, user("hi"), says("Done."), user("more")).place == Place(2, nodes[3])

    def test_another_question_does_not_confirm_an_echoed_one(self):
        nodes = line(user("context\n\nhi"), user("more"), says("hello"))
        assert walked(nodes, user("hi"), user("more"), says("else"), user("c")) == Match(NOWHERE, ())
        assert walked(nodes, user("hi"), user("more"), says("hello"), user("c")).place.position == 3

    def test_an_echoed_question_at_the_end_is_not_confirmed(self):
        nodes = line(*TALK[:2], user("context\n\nmore"), says("bye"))
        assert walked(nodes, *TALK[:3]).place == Place(2, nodes[1])

    def test_an_echo_of_two_different_answers_is_the_echo_of_none(self):
        root = node(user("hi"))
        one = node(says("done", x=1), root, nonce=1)
        other = node(says("done", x=2), root, nonce=2)
        assert walked([root, one, other], user("hi"), says("done"), user("c")).place == Place(1, root)

    def test_an_echo_of_two_different_questions_is_settled_by_their_answers(self):
        one, other = node(user("a hi")), node(user("b hi"))
        told = [node(says("hello a"), one, nonce=1), node(says("hello b"), other, nonce=2)]
        nodes = [one, other, *told]
        assert walked(nodes, user("hi"), says("hello a"), user("c")).place == Place(2, told[0])

    def test_questions_that_stay_ambiguous_match_nothing(self):
        one, other = node(user("a hi")), node(user("b hi"))
        nodes = [one, other, node(says("hello"), one, nonce=1), node(says("hello"), other, nonce=2)]
        assert walked(nodes, user("hi"), says("hello"), user("c")) == Match(NOWHERE, ())

    def test_answers_that_read_alike_after_an_echoed_question_are_not_ambiguous(self):
        nodes = regenerated("context\n\nhi")
        assert walked(nodes, user("hi"), says("same"), user("c")).place == Place(2, nodes[2])

    def test_fewer_echoes_are_believed_sooner(self):
        root, echo = node(user("hi", x=1)), node(user("hi there"))
        nodes = [root, echo, node(says("a", x=1), root, nonce=1), node(says("a"), echo, nonce=2)]
        assert walked(nodes, user("hi"), says("a"), user("c")).place == Place(2, nodes[3])


class TestWalkById:
    def test_the_named_answer_of_two_that_read_alike_is_taken(self):
        nodes = regenerated(ids=("old", "new"))
        asked = [user("hi"), says("same"), user("c")]
        assert walked(nodes, *asked, named={"old"}).place == Place(2, nodes[1])
        assert walked(nodes, *asked, named={"new"}).place == Place(2, nodes[2])

    def test_a_question_asked_again_after_another_answer_goes_under_that_answer(self):
        _, old, new = nodes = regenerated(ids=("old", "new"))
        nodes.append(node(user("more"), old, message_id="q1"))
        asked = [user("hi"), says("same"), user("more")]
        assert walked(nodes, *asked, named={"new", "q2"}).place == Place(2, new)
        assert walked(nodes, *asked, named={"old", "q1"}).place == Place(3, nodes[3])

    def test_an_id_decides_between_two_echoes(self):
        root = node(user("hi"))
        replies = [node(says("done", x=at), root, nonce=at, message_id=f"m{at}") for at in (1, 2)]
        asked = [user("hi"), says("done"), user("c")]
        assert walked([root, *replies], *asked, named={"m1"}).place == Place(2, replies[0])

    def test_an_id_never_says_what_was_said(self):
        root, *_ = nodes = regenerated(ids=("old", "new"))
        assert walked(nodes, user("hi"), says("edited"), user("c"), named={"old"}).place == Place(1, root)


class TestWalkWithoutAFront:
    def test_a_request_that_lost_its_front_joins_where_all_its_history_is(self):
        nodes = line(*TALK, user("third"))
        match = walked(nodes, user("more"), says("bye"), user("c"))
        assert match == Match(Place(2, nodes[3], anchored=False), ((nodes[2],), (nodes[3],)))

    @pytest.mark.parametrize(
        "rest", [[says("else"), user("c")], [says("bye"), user("x"), says("y"), user("c")]]
    )
    def test_a_part_of_its_history_is_not_enough(self, rest):
        assert walked(line(*TALK), user("more"), *rest) == Match(NOWHERE, ())

    def test_a_request_without_an_answer_joins_nothing(self):
        assert walked(line(*TALK), user("more")) == Match(NOWHERE, ())

    def test_of_two_places_neither_is_guessed_and_the_named_one_is_known(self):
        nodes = line(user("hi"), says("a"), user("go on"), says("b"), user("go on"))
        nodes.append(node(says("b"), nodes[-1], nonce=9, message_id="m9"))
        asked = [user("go on"), says("b"), user("c")]
        assert walked(nodes, *asked) == Match(NOWHERE, ())
        assert walked(nodes, *asked, named={"m9"}).place == Place(2, nodes[-1], anchored=False)

    @pytest.mark.parametrize("last", ["ok", "no"])
    @pytest.mark.parametrize("named", [set(), {"m9"}])
    def test_a_chat_that_says_the_same_over_and_over_is_not_compared_for_ever(self, last, named):
        """Compared from each of its 2,000 places it would take a minute, for everybody."""
        nodes = line(user("hi"), says("hello"), *[user("ok"), says("ok")] * 2000)
        asked = [*[user("ok"), says("ok")] * 1000, user("ok"), says(last), user("c")]
        began = time.process_time()
        assert walked(nodes, *asked, named=named).place == NOWHERE
        assert time.process_time() - began < 2

    def test_an_ambiguous_echo_joins_nothing(self):
        nodes = line(user("hi"), says("a"), user("more"))
        nodes += [node(says("b", x=at), nodes[-1], nonce=at) for at in (1, 2)]
        assert walked(nodes, user("more"), says("b"), user("c")) == Match(NOWHERE, ())


SUMMARY = "What was said so far, in many words. " * 6


class TestBehindANewFront:
    TOLD = line(*TALK, user("third"), says("ok"), user("Sum it up."), says(SUMMARY))

    def joined(self, *messages, nodes=TOLD, named=NOBODY, effort=None):
        return joined_behind(Tree(nodes), request(*messages).path, frozenset(named), effort)

    @pytest.mark.parametrize("front", [[user("A summary.")], [user("A summary."), says("I see.")]])
    def test_a_whole_turn_tells_the_place(self, front):
        place = self.joined(*front, user("third"), says("ok"), user("c"))
        assert place == Place(len(front) + 2, self.TOLD[5], anchored=False)

    def test_a_front_may_stand_before_all_that_is_stored(self):
        place = self.joined(user("Memories"), *TALK, user("c"))
        assert place == Place(5, self.TOLD[3], anchored=False)

    def test_the_summary_itself_tells_the_place(self):
        place = self.joined(user("What did we do?"), says(SUMMARY), user("c"))
        assert place == Place(2, self.TOLD[7], anchored=False)

    @pytest.mark.parametrize(
        "messages",
        [
            [user("A summary."), says("ok"), user("c")],  # anybody's answer
            [user("A summary."), user("third"), user("c")],
            [user("A summary."), user("third"), says("else"), user("c")],
            [user("A summary."), user("third"), says("ok"), user("x"), says("y"), user("c")],
            [user("1"), says("2"), user("3"), user("third"), says("ok"), user("c")],
            [user("A summary."), {"role": "tool", "content": "third"}, says("ok"), user("c")],
        ],
    )
    def test_less_is_no_evidence(self, messages):
        assert self.joined(*messages) == NOWHERE

    def test_of_two_places_neither_is_guessed(self):
        nodes = line(user("hi"), says("a"), user("go on"), says("b"), user("go on"))
        nodes.append(node(says("b"), nodes[-1], nonce=9, message_id="m9"))
        sent = [user("A summary."), user("go on"), says("b"), user("c")]
        assert self.joined(*sent, nodes=nodes) == NOWHERE
        assert self.joined(*sent, nodes=nodes, named={"m9"}).node == nodes[-1]

    def test_what_takes_too_much_to_compare_is_given_up(self):
        sent = [user("A summary."), user("third"), says("ok"), user("c")]
        assert self.joined(*sent, effort=Effort(EffortLimits(1, 1))) == NOWHERE


class TestACalledPlace:
    def called(self, nodes, *messages, id="m1", effort=None):
        return called_place(Tree(nodes), request(*messages).path, id, frozenset(), effort)

    def test_a_question_alone_follows_the_answer_that_its_client_names(self):
        nodes = regenerated("hi", "a", "b", ids=("m1", "m2"))
        assert self.called(nodes, user("more")) == Place(0, nodes[1], anchored=False)
        nodes.append(node(user("more"), nodes[1]))
        assert self.called(nodes, user("more")) == Place(1, nodes[3], anchored=False)

    def test_a_name_of_none_or_of_two_tells_nothing(self):
        nodes = regenerated("hi", "a", "b", ids=("m2", "m2"))
        assert self.called(nodes, user("more"), id="m1") == NOWHERE
        assert self.called(nodes, user("more"), id="m2") == NOWHERE

    def test_what_takes_too_much_to_compare_is_given_up(self):
        nodes = regenerated("hi", "a", ids=("m1", None))
        nodes.append(node(user("more"), nodes[1]))
        assert self.called(nodes, user("more"), effort=Effort(EffortLimits(0, 0))) == NOWHERE


class TestOutcome:
    NODE = line(*TALK)[-1]

    @pytest.mark.parametrize(
        ("messages", "place", "stored", "is_tip", "outcome"),
        [
            (TALK[:1], NOWHERE, False, True, Outcome.START),
            (TALK[:2], NOWHERE, False, True, Outcome.START),
            ([*TALK, user("c")], Place(4, NODE), True, True, Outcome.CONTINUE),
            ([*TALK, user("c")], Place(4, NODE), True, False, Outcome.BRANCH),
            ([*TALK, user("c")], Place(2, NODE), True, False, Outcome.BRANCH),
            (TALK[:3], Place(3, NODE), True, False, Outcome.RETRY),
            (TALK[:2], Place(1, NODE), True, False, Outcome.EXTEND),
            ([user("else")], NOWHERE, True, False, Outcome.UNANCHORED),
            ([*TALK, user("c")], Place(4, NODE, anchored=False), True, True, Outcome.UNANCHORED),
        ],
    )
    def test_what_happens_has_a_name(self, messages, place, stored, is_tip, outcome):
        asked = request(*messages)
        extends = asked.prefill is not None
        assert outcome_of(asked.path, place, extends=extends, stored=stored, is_tip=is_tip) is outcome


class TestAChat:
    def test_regenerate_edit_and_branch_switch_make_one_tree(self):
        chat = Recorded()
        (hello,) = chat.tell(request(user("hi")), says("hello"))
        (again,) = chat.tell(request(user("hi")), says("hello again"))
        chat.tell(request(user("hi there")), says("who?"))
        chat.tell(request(user("hi"), says("hello"), user("more")), says("bye"))
        tree = chat.tree
        assert [each.role for each in tree.children(None)] == ["user", "user"]
        assert list(tree.children(tree.children(None)[0])) == [hello, again]
        assert len(tree.children(hello)) == 1
        assert len(tree.children(again)) == 0

    def test_an_echo_is_found_by_one_look_up_the_next_time(self):
        chat = Recorded()
        chat.tell(request(*TOOLS[:1]), TOOLS[1])
        chat.tell(request(*TOOLS[:3]), TOOLS[3])
        flat = [user("hi"), says("Done."), user("more")]
        assert settled(request(*flat).path, chat.found(request(*flat)), NOBODY) is None
        chat.tell(request(*flat), says("bye"))
        assert settled(request(*flat).path, chat.found(request(*flat)), NOBODY) is not None
        assert walk(Tree(list(chat.nodes.values())), request(*flat).path, NOBODY).place.position == 3


NOTE = {"role": "system", "content": "Stay in character."}


class TestSystemMessagesAmidTheOthers:
    def test_one_that_is_stored_and_not_sent_is_passed_over(self):
        nodes = line(user("hi"), NOTE, says("hello"), NOTE, user("more"))

        match = walked(nodes, user("hi"), says("hello"), user("more"), says("so"), user("and?"))

        assert match.place == Place(3, nodes[4])

    def test_one_that_is_sent_and_not_stored_is_passed_over_where_what_follows_is(self):
        nodes = line(user("hi"), says("hello"))

        assert walked(nodes, user("hi"), NOTE, says("hello"), user("more")).place == Place(3, nodes[1])
        assert walked(nodes, user("hi"), says("hello"), NOTE, user("more")).place == Place(2, nodes[1])
        assert walked(nodes, user("other"), NOTE, says("hello"), user("more")).place == NOWHERE
