"""Which turns go upstream, and what is never cut."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from itertools import accumulate, pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sidecar.prompt.compact import RESULT_MARKER
from sidecar.prompt.rebuild import Outgoing
from sidecar.prompt.trim import Budget, Trimmed, trim
from sidecar.prompt.weights import estimate
from tests.conversation.build import calls, raw, result, says, user


def out(fields):
    return Outgoing(fields["role"], raw(fields))


def told(*messages):
    return [out(each) for each in messages]


def chat(turns):
    """Turns of a question and an answer each."""
    return told(*[each for at in range(turns) for each in (user(f"q{at}"), says(f"a{at}"))])


def texts(trimmed):
    return [json.loads(each.raw)["content"] for each in trimmed.kept]


SYSTEM = told({"role": "system", "content": "be kind"})
TOOLS = b'[{"type":"function","function":{"name":"look"}}]'


def test_where_nothing_was_cut_no_turn_was_dropped():
    assert Trimmed(()).turns == range(0)
    assert Trimmed((), 3, cut=5).turns == range(2, 5)
    assert Trimmed((), 4, cut=5, inside=7).turns == range(2, 5)


class TestLimits:
    def test_without_a_limit_nothing_is_cut(self):
        assert trim(chat(3), Budget()) == Trimmed(tuple(chat(3)))
        assert Budget().unlimited
        assert not Budget(max_turns=1).unlimited

    @pytest.mark.parametrize(
        "budget", [Budget(max_messages=6), Budget(max_turns=3), Budget(max_input_tokens=999)]
    )
    def test_what_fits_is_not_cut(self, budget):
        assert trim(chat(3), budget) == Trimmed(tuple(chat(3)))

    def test_messages_count_with_the_leading_system_messages(self):
        assert trim(chat(3), Budget(max_messages=6), system=SYSTEM).dropped == 4
        assert trim(chat(3), Budget(max_messages=6)).dropped == 0

    def test_turns_count_by_their_questions(self):
        assert texts(trim(chat(5), Budget(max_turns=4, step=0.25))) == [
            "q1",
            "a1",
            "q2",
            "a2",
            "q3",
            "a3",
            "q4",
            "a4",
        ]

    def test_tokens_count_with_the_system_messages_and_the_tools(self):
        size = sum(estimate(each.raw) for each in (*SYSTEM, *chat(3))) + estimate(TOOLS)
        assert trim(chat(3), Budget(max_input_tokens=size), system=SYSTEM, tools=TOOLS).dropped == 0
        assert (
            trim(chat(3), Budget(max_input_tokens=size - 1, step=0.01), system=SYSTEM, tools=TOOLS).dropped
            == 2
        )

    def test_what_is_reserved_takes_its_share_of_the_room(self):
        size = sum(estimate(each.raw) for each in chat(3))
        budget = Budget(max_input_tokens=size + 9, step=0.01)
        assert [trim(chat(3), budget, reserved=tokens).dropped for tokens in (0, 9, 10)] == [0, 0, 2]

    @pytest.mark.parametrize("tools", [b"", TOOLS])
    def test_of_a_request_without_turns_it_is_said_what_is_exceeded(self, tools):
        size = size_of(SYSTEM) + (estimate(tools) if tools else 0)
        for most, reserved, over in (
            (size, 0, ()),
            (size - 1, 0, ("max_input_tokens",)),
            (size + 8, 9, ("max_input_tokens",)),
        ):
            found = trim([], Budget(max_input_tokens=most), system=SYSTEM, tools=tools, reserved=reserved)
            assert found == Trimmed((), over=over, reserved=reserved)
        assert trim([], Budget(max_messages=1), system=SYSTEM).over == ()
        assert trim([], Budget(max_messages=1), system=SYSTEM * 2).over == ("max_messages",)
        both = trim([], Budget(max_messages=1, max_input_tokens=1), system=SYSTEM * 2)
        assert both.over == ("max_messages", "max_input_tokens")

    def test_the_strictest_limit_decides(self):
        assert trim(chat(5), Budget(max_messages=8, max_turns=2, max_input_tokens=999, step=0.5)).dropped == 6


class TestWhatIsNeverCut:
    @pytest.mark.parametrize(
        ("budget", "over"),
        [
            (Budget(max_messages=1), ("max_messages",)),
            (Budget(max_turns=1), ()),
            (Budget(max_messages=1, max_input_tokens=1), ("max_messages", "max_input_tokens")),
        ],
    )
    def test_the_newest_question_and_what_follows_it_stay(self, budget, over):
        newest = told(user("new"), calls("c"), result("c"))
        assert trim([*chat(2), *newest], budget) == Trimmed(tuple(newest), 4, over, cut=4)

    def test_what_just_fits_is_not_over(self):
        newest = told(user(LONG), calls("a"), result("a", LONG), calls("b"), result("b"))
        short = told(user(LONG), calls("a"), result("a", RESULT_MARKER), calls("b"), result("b"))
        for line, least in ((told(user(LONG)), told(user(LONG))), (newest, [short[0], *short[3:]])):
            just = trim([*chat(3), *line], Budget(max_input_tokens=size_of(least)))
            assert (just.over, size_of(just.kept)) == ((), size_of(least))
            over = trim([*chat(3), *line], Budget(max_input_tokens=size_of(least) - 1))
            assert (over.over, over.kept) == (("max_input_tokens",), tuple(line))

    def test_a_line_without_a_question_stays(self):
        line = told(says("a"), result("c"))
        assert trim(line, Budget(max_messages=1)) == Trimmed(tuple(line), 0, ("max_messages",))

    def test_a_question_that_does_not_fit_by_itself_stays_and_is_said(self):
        line = told(user("long"))
        assert trim(line, Budget(max_input_tokens=1)) == Trimmed(tuple(line), 0, ("max_input_tokens",))

    def test_of_steps_that_cannot_be_made_short_enough_the_first_go(self):
        first, last = ((calls("c"), result("c", "r" * size)) for size in (60, 400))
        trimmed = trim(told(user("b"), *first, *last), Budget(max_input_tokens=120, step=0.1))
        assert (trimmed.kept, trimmed.dropped, trimmed.over) == (tuple(told(user("b"), *last)), 2, ())

    def test_system_messages_that_do_not_fit_by_themselves_are_said(self):
        assert trim([], Budget(max_messages=1), system=SYSTEM * 2) == Trimmed((), 0, ("max_messages",))
        assert trim([], Budget(max_messages=2, keep_first_turn=True), system=SYSTEM * 2) == Trimmed(())

    def test_what_stands_before_the_first_question_is_cut_first(self):
        line = [*told(says("Welcome")), *chat(2)]
        assert texts(trim(line, Budget(max_messages=4, step=0.1))) == ["q0", "a0", "q1", "a1"]

    def test_the_first_turn_stays_if_it_is_to(self):
        budget = Budget(max_turns=3, step=0.1, keep_first_turn=True)
        assert texts(trim(chat(5), budget)) == ["q0", "a0", "q3", "a3", "q4", "a4"]
        assert trim(chat(5), budget).dropped == 4

    @pytest.mark.parametrize(
        ("budget", "stays"),
        [
            (Budget(max_turns=4), True),
            (Budget(max_turns=3), False),
            (Budget(max_messages=8), True),
            (Budget(max_messages=7), False),
            (Budget(max_input_tokens=60), True),
            (Budget(max_input_tokens=30), False),
            (Budget(max_turns=4, max_messages=7), False),
        ],
    )
    def test_it_stays_while_it_takes_no_more_than_its_share_of_each_limit(self, budget, stays):
        asked = replace(budget, step=0.1, keep_first_turn=True, first_turn_share=0.25)
        kept = texts(trim(chat(20), asked))
        assert kept[-1] == "a19"
        assert ("q0" in kept) == ("a0" in kept) == stays
        assert "q0" in texts(trim(chat(20), replace(asked, first_turn_share=None)))

    def test_it_goes_where_the_newest_turn_does_not_fit_beside_it(self):
        newest = told(user("word " * 300))
        size = estimate(newest[0].raw)
        asked = Budget(max_input_tokens=size + 5, keep_first_turn=True, first_turn_share=0.25)
        assert trim([*chat(3), *newest], asked) == Trimmed(tuple(newest), 6, cut=6)
        hopeless = replace(asked, max_input_tokens=size - 5)  # then it changes nothing
        kept = trim([*chat(3), *newest], hopeless)
        assert (texts(kept)[0], kept.over) == ("q0", ("max_input_tokens",))

    def test_the_first_turn_may_be_the_newest(self):
        assert trim(chat(1), Budget(max_messages=1, keep_first_turn=True)).over == ("max_messages",)

    def test_a_result_in_a_later_turn_keeps_the_turn_of_its_call(self):
        line = told(user("a"), says("x"), user("b"), calls("c"), user("c"), result("c"), user("d"), says("y"))
        assert len(trim(line, Budget(max_messages=5, step=0.1)).kept) == 2
        assert len(trim(line[:6], Budget(max_messages=2, step=0.1)).kept) == 4

    def test_a_result_that_comes_late_for_the_first_turn_stays_with_it(self):
        line = told(user("a"), calls("c"), user("b"), says("x"), user("c"), result("c"))
        kept = trim(line, Budget(max_turns=2, step=0.1, keep_first_turn=True)).kept
        assert [each.role for each in kept] == ["user", "assistant", "user", "tool"]

    def test_ids_that_come_again_in_every_turn_do_not_hinder(self):
        line = told(
            *[each for _ in range(4) for each in (user("q"), calls("call_0"), result("call_0"), says("a"))]
        )
        assert trim(line, Budget(max_turns=2, step=0.5)).dropped == 8

    def test_a_result_to_no_call_hinders_nothing(self):
        line = told(user("a"), calls("c"), result("c"), user("b"), result("x"))
        assert len(trim(line, Budget(max_turns=1)).kept) == 2


class TestWhereTheLineGoesOn:
    def test_the_cut_is_where_the_first_turn_that_is_left_begins(self):
        assert trim(chat(5), Budget(max_turns=2, step=0.1)).cut == 6
        assert trim(chat(5), Budget(max_turns=3, step=0.1, keep_first_turn=True)).cut == 6
        for_tokens = trim(chat(5), Budget(max_input_tokens=40))
        assert for_tokens.cut == for_tokens.dropped > 0

    def test_there_is_no_cut_where_no_whole_turn_goes(self):
        assert trim(chat(5), Budget(max_turns=5)).cut == 0
        assert trim(chat(2), Budget(max_turns=1, keep_first_turn=True)).cut == 0

    def test_steps_of_the_newest_turn_do_not_move_it(self):
        assert trim([*chat(2), *agent(60)], Budget(max_input_tokens=1500)).cut == 4
        inside = trim(agent(60), Budget(max_input_tokens=1500))
        assert (inside.dropped > 0, inside.cut) == (True, 0)
        kept = trim([*chat(1), *agent(60)], Budget(max_input_tokens=1500, keep_first_turn=True))
        assert (kept.dropped > 0, kept.cut) == (True, 0)


class TestSteps:
    def test_the_cut_moves_in_steps(self):
        dropped = [trim(chat(turns), Budget(max_messages=10, step=0.4)).dropped for turns in range(1, 14)]
        assert dropped == [0, 0, 0, 0, 0, 4, 4, 8, 8, 12, 12, 16, 16]

    def test_a_step_is_whole_turns_and_counted_exactly(self):
        assert trim(chat(9), Budget(max_turns=3, step=0.4)).dropped == 2 * 6
        assert trim(chat(9), Budget(max_turns=6, step=0.1)).dropped == 2 * 3
        assert trim(chat(33), Budget(max_turns=30, step=0.1)).dropped == 2 * 3

    def test_where_a_step_is_too_far_all_old_turns_go(self):
        assert texts(trim(chat(3), Budget(max_messages=5, step=1))) == ["q2", "a2"]

    @pytest.mark.parametrize("keep_first_turn", [True, False])
    def test_where_tools_take_most_of_the_budget_the_step_is_one_of_what_they_leave(self, keep_first_turn):
        """A step of the whole budget would be more than can be taken away: the cut would move each turn."""
        budget = Budget(max_input_tokens=5840, keep_first_turn=keep_first_turn, first_turn_share=0.25)
        tools = b"[" + b",".join([TOOLS[1:-1]] * 306) + b"]"
        assert 0.84 * 5840 < estimate(tools) < 0.86 * 5840
        cuts, line = [], []
        for at in range(60):
            line += told(user(f"Question {at}: what is that, and why?"))
            trimmed = trim(line, budget, tools=tools)
            assert not trimmed.over
            cuts.append(trimmed.cut)
            line += told(says(f"Answer {at}: that is so because of what was said of it before, and no more."))
        first = next(at for at, cut in enumerate(cuts) if cut)
        moves = [at for at in range(first, len(cuts)) if cuts[at] != cuts[at - 1]]
        assert len(moves) > 3
        assert all(later - earlier >= 3 for earlier, later in pairwise(moves))

    def test_it_stops_in_front_of_a_question_that_is_larger_than_a_step(self):
        """Else its turn goes with the very next question, and nearly nothing is left."""
        budget = Budget(max_input_tokens=1000)
        old = told(*[each for at in range(10) for each in (user(f"q{at}"), says("word " * 30))])
        line = [*old, *told(user("word " * 700))]
        assert estimate(line[-1].raw) > 600 > size_of(old)
        before = trim(line, budget)
        line += told(says("so"), user("next"))
        now = trim(line, budget)
        assert now.kept == (*before.kept, *line[21:])
        assert 900 < size_of(now.kept) <= 1000
        line += told(says("word " * 400), user("and"))  # now all before it is not enough
        assert trim(line, budget).kept == tuple(line[22:])

    def test_it_does_not_stop_in_front_of_pictures_which_are_made_shorter(self):
        pictures = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}] * 3
        line = told(*[user("word " * 240), says("b")] * 3, user(pictures), says("a"), user("next"))
        budget = Budget(max_input_tokens=size_of(line) - 1)
        assert estimate(line[6].raw) > 0.6 * size_of(line)
        trimmed = trim(line, budget)
        assert (trimmed.shortened, trimmed.kept[-2:]) == (1, tuple(line[-2:]))


LONG = "word " * 80


def agent(steps, *, text=LONG):
    """One question and so many tool calls, each with its result."""
    told_so_far = [user("do it")]
    for at in range(steps):
        told_so_far += [calls(f"c{at}"), result(f"c{at}", text)]
    return told(*told_so_far)


def size_of(line):
    return sum(estimate(each.raw) for each in line)


class TestTurnsThatAreLargerThanAStep:
    BUDGET = Budget(max_input_tokens=2000, step=0.5)

    def test_an_old_one_goes_in_parts_and_its_question_last(self):
        """An agent's run is one turn: all of it would go with the next question, its task and its outcome."""
        run = [*agent(60), *told(says("done"))]
        trimmed = trim([*run, *told(user("and now?"))], self.BUDGET)
        assert size_of(trimmed.kept) > 900
        assert [trimmed.kept[at] for at in (0, -2, -1)] == [run[0], run[-1], out(user("and now?"))]
        assert not orphans(trimmed.kept)
        assert (trimmed.cut, trimmed.over) == (0, ())
        assert list(trimmed.kept[1:]) != bares(trimmed.kept[1:])
        assert trimmed.turns == range(trimmed.part)

    def test_the_next_questions_change_nothing_of_what_was_sent_until_the_next_step(self):
        line, sent = agent(60), []
        for at in range(12):
            sent.append(trim(line, self.BUDGET).kept)
            line = [*line, *told(says(f"answer {at} {LONG}"), user(f"question {at}"))]
        grown = [now[: len(before)] == before for before, now in pairwise(sent)]
        assert grown.count(False) <= 2
        assert any(kept[0].raw == raw(user("do it")) for kept in sent[1:])

    def test_in_the_end_its_question_goes_too(self):
        line = [*agent(60), *told(says("done")), *chat(400)]
        trimmed = trim(line, self.BUDGET)
        assert trimmed.part == 0
        assert trimmed.cut > 122

    def test_a_small_one_goes_whole(self):
        line = [*agent(2), *told(says("done")), *agent(2), *told(says(LONG), user("and now?"))]
        trimmed = trim(line, Budget(max_input_tokens=size_of(line) - 1, step=0.6))
        assert (trimmed.part, trimmed.over) == (0, ())

    def test_one_that_a_limit_of_turns_takes_goes_whole(self):
        line = [*agent(60), *told(says("done"), user("and now?"))]
        trimmed = trim(line, replace(self.BUDGET, max_turns=1))
        assert (texts(trimmed), trimmed.part) == (["and now?"], 0)

    def test_the_first_one_that_is_to_stay_goes_in_parts_where_it_does_not_fit(self):
        line = [*agent(60), *told(says("done"), user("and now?"))]
        trimmed = trim(line, replace(self.BUDGET, keep_first_turn=True))
        assert not trimmed.over
        assert (trimmed.kept[0], trimmed.kept[-2:]) == (line[0], tuple(line[-2:]))


class TestShorterBeforeFewer:
    def test_old_results_are_shortened_before_turns_are_dropped(self):
        line = [*agent(3), *told(says("done")), *chat(2)]
        trimmed = trim(line, Budget(max_input_tokens=size_of(line) - 1, step=0.1))
        assert trimmed.dropped == 0
        assert trimmed.shortened == 1
        assert RESULT_MARKER in texts(trimmed)[2]

    def test_inside_one_giant_turn_all_but_the_newest_results_may_be_shortened(self):
        line = agent(40)
        trimmed = trim(line, Budget(max_input_tokens=size_of(line) // 2))
        assert trimmed.dropped == 0
        assert trimmed.over == ()
        assert [each.role for each in trimmed.kept] == [each.role for each in line]
        shorter = [RESULT_MARKER in each.raw.decode() for each in trimmed.kept if each.role == "tool"]
        assert shorter == sorted(shorter, reverse=True)
        assert 0 < sum(shorter) == trimmed.shortened < 40
        assert trim(line, Budget(max_input_tokens=size_of(line) // 3)).kept[-2:] == tuple(line[-2:])

    def test_a_giant_turn_that_does_not_fit_loses_its_oldest_calls_with_their_results(self):
        line = [*chat(2), *agent(40)]
        trimmed = trim(line, Budget(max_input_tokens=1500, step=0.5))
        assert trimmed.over == ()
        assert trimmed.kept[0] == line[4]
        assert orphans(trimmed.kept) == set()
        assert [each.role for each in trimmed.kept[1:3]] == ["assistant", "tool"]
        assert trimmed.dropped == len(line) - len(trimmed.kept) > 4
        assert 500 < size_of(trimmed.kept) <= 1500

    def test_a_newest_turn_whose_calls_cannot_go_is_sent_whole(self):
        for line in (
            told(user("x"), calls("c"), user("y"), says(LONG), result("c"), says(LONG)),
            told(says("x"), calls("c"), result("c", LONG), says(LONG)),
        ):
            assert trim(line, Budget(max_input_tokens=100)) == Trimmed(tuple(line), 0, ("max_input_tokens",))

    def test_a_result_for_the_first_turn_that_is_kept_does_not_go_without_its_call(self):
        line = told(user("a"), calls("c"), user("b"), result("c"), user("d"), says("x"), user("e"))
        trimmed = trim(line, Budget(max_turns=2, step=0.1, keep_first_turn=True))
        assert [each.role for each in trimmed.kept] == [each.role for each in line]
        assert trimmed.over == ("max_turns",)

    def test_a_giant_turn_that_fits_by_no_means_is_sent_whole(self):
        line = [*chat(2), *agent(10)]
        trimmed = trim(line, Budget(max_input_tokens=100))
        assert trimmed == Trimmed(tuple(line[4:]), 4, ("max_input_tokens",), cut=4)

    def test_inside_a_giant_turn_the_prompt_changes_only_at_steps(self):
        budget = Budget(max_input_tokens=4000, step=0.5)
        before, steps = trim(agent(1), budget), 0
        for length in range(2, 120):
            now = trim(agent(length), budget)
            assert size_of(now.kept) <= 4000
            steps += now.kept[: len(before.kept)] != before.kept
            before = now
        assert 2 <= steps <= 20

    def test_the_newest_question_keeps_its_image(self):
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
        line = [*chat(1), *told({"role": "user", "content": [image]}), *agent(5)[1:]]
        trimmed = trim(line, Budget(max_input_tokens=size_of(line) - 100))
        assert trimmed.shortened
        assert trimmed.kept[-11] == line[-11]

    def test_between_two_steps_the_prompt_only_grows_at_its_end(self):
        budget = Budget(max_input_tokens=1500, step=0.5, keep_first_turn=True)
        line, changes = [], 0
        before = trim([], budget)
        for turn in range(60):
            tool = (calls(f"c{turn}"), result(f"c{turn}", LONG)) if turn % 3 == 0 else ()
            line += told(user(f"question {turn} " + "and so on " * 12), *tool)
            now = trim(line, budget)
            assert now.over == ()
            changes += now.kept[: len(before.kept)] != before.kept
            before = now
            line += told(says(f"answer {turn}"))
        assert 3 <= changes <= size_of(line) / 500


QUICK = settings(max_examples=60, deadline=None)
WORDS = st.text("ab", max_size=60) | st.just(LONG)
BUDGETS = st.builds(
    Budget,
    st.none() | st.integers(1, 12),
    st.none() | st.integers(1, 5),
    st.none() | st.integers(1, 600),
    st.sampled_from([0.05, 0.1, 0.4, 0.5, 0.7, 1.0]),
    st.booleans(),
).filter(lambda budget: not budget.unlimited)


@st.composite
def turns(draw):
    """Turns with tool steps, whose ids come again, and sometimes a greeting in front."""
    found = [[says(draw(WORDS))]] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 7))):
        turn = [user(draw(WORDS))]
        for step in range(draw(st.integers(0, 2))):
            turn += [calls(f"call_{step}"), result(f"call_{step}", draw(WORDS))]
        found.append([*turn, says(draw(WORDS))] if draw(st.booleans()) else turn)
    return [told(*turn) for turn in found]


def bares(line):
    """The messages but for their content, which may have been shortened."""
    return [{**json.loads(each.raw), "content": None} for each in line]


def of_newest(anchor, turn):
    """The anchor, the newest question, and what may be left of the steps behind it."""
    steps = [at for at, each in enumerate(turn) if each.role == "assistant"]
    return [joined([*anchor, turn[:1], turn[at:]]) for at in steps[1:]]


def anchor_of(turns, budget):
    """The first turn, where it stays."""
    most = budget.max_input_tokens
    fits = most is None or size_of(turns[0]) <= most / 2
    return turns[:1] if budget.keep_first_turn and len(turns) > 1 and fits else []


def joined(turns):
    return [each for turn in turns for each in turn]


def sizes(kept, budget, system):
    """What each limit counts, and the limit."""
    tokens = sum(estimate(each.raw) for each in (*system, *kept))
    return {
        "max_messages": (len(system) + len(kept), budget.max_messages),
        "max_turns": (sum(each.role == "user" for each in kept), budget.max_turns),
        "max_input_tokens": (tokens, budget.max_input_tokens),
    }


class TestAtRandom:
    @QUICK
    @given(turns(), BUDGETS, st.sampled_from([[], SYSTEM]))
    def test_it_fits_every_limit_or_says_which_it_does_not(self, turns, budget, system):
        trimmed = trim(joined(turns), budget, system=system)
        counted = sizes(trimmed.kept, budget, system)
        assert set(trimmed.over) == {
            name for name, (size, limit) in counted.items() if limit and size > limit
        }

    @QUICK
    @given(turns(), BUDGETS)
    def test_it_is_over_only_where_nothing_more_can_be_cut(self, turns, budget):
        trimmed = trim(joined(turns), budget)
        anchor = anchor_of(turns, budget)
        if "max_input_tokens" in trimmed.over:
            assert list(trimmed.kept) == joined([*anchor, turns[-1]])
        elif trimmed.over:
            assert bares(trimmed.kept) in [
                bares(way) for way in (joined([*anchor, turns[-1]]), *of_newest(anchor, turns[-1]))
            ]

    @QUICK
    @given(turns(), BUDGETS)
    def test_whole_turns_go_and_of_one_only_its_first_steps(self, turns, budget):
        trimmed = trim(joined(turns), budget)
        anchor = anchor_of(turns, budget)
        ways = [joined([*anchor, *turns[at:]]) for at in range(len(anchor), len(turns))]
        if budget.max_input_tokens:
            ways += of_newest(anchor, turns[-1])
            ways += [
                [*way, *joined(turns[at + 1 :])]
                for at in range(len(anchor), len(turns) - 1)
                if turns[at][0].role == "user"
                for way in of_newest(anchor, turns[at])
            ]
        assert bares(trimmed.kept) in [bares(way) for way in ways]
        assert trimmed.dropped == len(joined(turns)) - len(trimmed.kept)

    @QUICK
    @given(
        st.lists(st.sampled_from([user("q"), says("a"), calls("c"), calls("d"), result("c"), result("d")])),
        BUDGETS,
    )
    def test_no_result_goes_without_its_call_however_they_lie(self, messages, budget):
        line = told(*messages)
        assert orphans(trim(line, budget).kept) <= orphans(line)

    @settings(max_examples=250, deadline=None)
    @given(turns(), BUDGETS)
    def test_it_says_where_the_line_goes_on_and_up_to_where_it_is_shorter(self, turns, budget):
        line = joined(turns)
        trimmed = trim(line, budget)
        first = len(joined(anchor_of(turns, budget)))
        newest = len(line) - len(turns[-1])
        if trimmed.part:
            asked = max(at for at in range(trimmed.part) if line[at].role == "user")
            front = [*line[:first], trimmed.kept[first]]
            assert bares(front) == bares([*line[:first], line[asked]])
            assert trimmed.cut == (asked if asked > first else 0)
            assert trimmed.turns == range(first, trimmed.part)
        elif trimmed.inside:
            front = [*line[:first], line[newest]]
            assert trimmed.cut == (newest if newest > first else 0)
            assert trimmed.turns == range(
                first if newest > first else newest, newest if newest > first else 0
            )
        else:
            front = line[:first] if trimmed.cut else []
            assert trimmed.turns == range(first if trimmed.cut else 0, trimmed.cut)
        assert trimmed.first == (trimmed.inside or trimmed.part or trimmed.cut)
        assert bares(trimmed.kept) == bares([*front, *line[trimmed.first :]])
        assert trimmed.dropped == trimmed.first - len(front)
        behind = zip(range(trimmed.first, len(line)), trimmed.kept[len(front) :], strict=True)
        changed = [at for at, each in behind if each is not line[at]]
        assert list(trimmed.kept[: len(front)]) == front
        assert len(changed) == trimmed.shortened
        assert all(at < trimmed.shorter for at in changed)
        assert (trimmed.shorter > 0) is (trimmed.shortened > 0)

    @QUICK
    @given(turns(), BUDGETS)
    def test_the_same_path_is_always_cut_alike(self, turns, budget):
        assert trim(joined(turns), budget) == trim(tuple(joined(turns)), budget)

    @QUICK
    @given(turns(), turns(), BUDGETS)
    def test_a_growing_path_only_grows_at_its_end_until_the_next_step(self, turns, more, budget):
        more = [turn for turn in more if turn[0].role == "user"]
        before = trim(joined(turns), budget)
        for end in range(1, len(more) + 1):
            assume(before.dropped in accumulate([0, *map(len, turns), *map(len, more)]))
            now = trim(joined([*turns, *more[:end]]), budget)
            # What did not fit at all had lost everything old; in a later turn it may be made shorter instead.
            assert now.dropped >= before.dropped or before.over
            if (now.dropped, now.shortened) == (before.dropped, before.shortened):
                assert now.kept[: len(before.kept)] == before.kept
            before = now

    def test_a_limit_that_cuts_by_itself_takes_back_nothing_of_what_another_one_had_cut(self):
        turns = [told(user(LONG), says(LONG)) for _ in range(4)] + [told(user("q"))]
        budget = Budget(max_turns=5, max_input_tokens=500, step=0.4)
        before = trim(joined(turns), budget)
        now = trim(joined([*turns, told(user("q"))]), budget)
        assert now.dropped == before.dropped == 6

    @QUICK
    @given(st.integers(1, 30), st.integers(1, 12), st.sampled_from(["0.1", "0.25", "0.4", "0.7", "1"]))
    def test_what_is_dropped_is_the_least_multiple_of_the_step(self, turns, limit, share):
        trimmed = trim(chat(turns), Budget(max_turns=limit, step=float(share)))
        step = math.ceil(Fraction(share) * limit)
        goal = math.ceil(max(turns - limit, 0) / step) * step
        assert trimmed.dropped == 2 * min(goal, turns - 1)


def orphans(kept):
    """The results whose call does not stand before them."""
    called, found = set(), set()
    for each in kept:
        fields = json.loads(each.raw)
        called |= {call["id"] for call in fields.get("tool_calls", [])}
        if each.role == "tool" and fields["tool_call_id"] not in called:
            found.add(id(each))
    return found
