"""A prompt is fitted to its budget, and learning moves no cut between two steps."""

from __future__ import annotations

from itertools import pairwise

import pytest
from msgspec.structs import replace

from sidecar.conversation.measure import total
from sidecar.prompt.fit import Fitted, Full, Weighing, fit, surely_fits
from sidecar.prompt.rebuild import Outgoing
from sidecar.prompt.summary import PLACE
from sidecar.prompt.trim import Budget, trim
from sidecar.prompt.weights import DEFAULT_WEIGHTS, Weights
from tests.conversation.build import calls, raw, result, says, user

BUDGET = Budget(max_input_tokens=2400, step=0.5)


def cut(line, weights):
    return trim(line, BUDGET, weights=weights)


def steady(line, now, model, kept, *, fresh=False):
    return fit(Full(line), BUDGET, Weighing(now, model, kept, fresh=fresh))


def scaled(by):
    return Weights(tuple(value * by for value in DEFAULT_WEIGHTS.values))


def told(*messages):
    return [Outgoing(each["role"], raw(each)) for each in messages]


def chat(turns):
    """Turns of a question and an answer; the last has no answer yet."""
    said = [each for at in range(turns) for each in (user(f"question {at} of many"), says("an answer " * 60))]
    return told(*said[:-1])


def test_while_everything_fits_nothing_is_kept():
    assert steady(chat(2), scaled(1), "m", None) == Fitted(cut(chat(2), scaled(1)), scaled(1))


def test_the_first_cut_is_kept_and_stays_whatever_is_learned_until_the_next_step():
    # Estimates that go up and down by a hundredth: live, the cut would go forth and back with them.
    weights = [scaled(1 + 0.01 * (turns % 3)) for turns in range(150)]
    live = [cut(chat(turns), weights[turns]).dropped for turns in range(2, 150)]
    kept, cuts = None, []
    for turns in range(2, 150):
        done = steady(chat(turns), weights[turns], "m", kept)
        kept = done.kept or kept
        cuts.append(done.trimmed.dropped)
    assert cuts == sorted(cuts)
    assert moves(cuts) * 3 < moves(live)


def moves(cuts):
    return sum(one != other for one, other in pairwise(cuts))


def first_cut():
    """The shortest chat that is cut, how, and by which weights."""
    for turns in range(2, 99):
        done = steady(chat(turns), scaled(1), "m", None)
        if done.kept:
            return turns, done
    raise AssertionError


def test_the_same_question_again_is_cut_as_before():
    turns, done = first_cut()
    again = steady(chat(turns), scaled(1.3), "m", done.kept)
    assert again.trimmed == done.trimmed
    assert again.kept is None


def test_the_next_steps_of_an_agent_in_the_turn_that_moved_the_cut_stay_with_its_weights():
    turns, done = first_cut()
    for steps in range(1, 30):
        line = chat(turns) + told(
            *[each for at in range(steps) for each in (calls(f"c{at}"), result(f"c{at}"))]
        )
        assert steady(line, scaled(1.3), "m", done.kept).kept is None


def test_a_step_takes_the_weights_of_the_day():
    turns, done = first_cut()
    for later in range(turns + 1, 99):
        now = steady(chat(later), scaled(1.3), "m", done.kept)
        if now.kept:
            assert now.trimmed == cut(chat(later), scaled(1.3))
            return
    raise AssertionError("there was no second step")


def test_what_was_refused_is_cut_anew():
    turns, done = first_cut()
    again = steady(chat(turns), scaled(1.3), "m", done.kept, fresh=True)
    assert again.trimmed == cut(chat(turns), scaled(1.3))
    assert steady(chat(turns), scaled(1), "m", again.kept).trimmed == again.trimmed


def test_each_model_has_its_own():
    turns, done = first_cut()
    other = steady(chat(turns), scaled(2), "n", done.kept)
    assert other.trimmed == cut(chat(turns), scaled(2))
    assert steady(chat(turns), scaled(3), "m", other.kept).trimmed == done.trimmed
    assert steady(chat(turns), scaled(3), "n", other.kept).trimmed == other.trimmed
    kept = other.kept
    for name in "opq":
        kept = steady(chat(turns), scaled(1), name, kept).kept
    assert steady(chat(turns), scaled(3), "m", kept).kept  # the fifth model back


@pytest.mark.parametrize("kept", [b"", b"{", b"[]", b'{"m":1}', b'{"m":{"turn":1,"weights":{}}}'])
def test_what_cannot_be_read_is_not_there(kept):
    turns, done = first_cut()
    assert steady(chat(turns), scaled(1), "m", kept) == done


def test_weights_of_another_version_are_not_there():
    turns, done = first_cut()
    kept = b'{"m":{"turn":"0:0","weights":{"v":0,"weights":[]}}}'
    assert steady(chat(turns), scaled(1), "m", kept) == done


def test_room_for_a_summary_is_kept_free_unless_nothing_fits_beside_it():
    line = chat(60)
    by = Weighing(scaled(1))
    cuts = [fit(Full(line, summary=free), BUDGET, by).trimmed for free in (0, 400, 2390)]
    assert [each.reserved for each in cuts] == [0, 400, 0]
    assert cuts[0].dropped < cuts[1].dropped
    assert cuts[2] == cuts[0]


TOOLS = b'[{"type":"function","function":{"name":"look"}}]'
SYSTEM = told({"role": "system", "content": "be kind " * 30})


@pytest.mark.parametrize("system", [[], SYSTEM])
@pytest.mark.parametrize("tools", [b"", TOOLS])
@pytest.mark.parametrize("weights", [scaled(1), scaled(1.3)])
def test_room_is_kept_free_beside_all_that_goes_along_by_the_weights_of_the_day(system, tools, weights):
    line = chat(60)
    for summary, recall in ((400, 0), (0, 300), (400, 300)):
        done = fit(Full(line, system, tools, summary, recall), BUDGET, Weighing(weights, "m"))
        place = system or ([PLACE] if summary else [])
        reserved = summary + recall
        plain = trim(line, BUDGET, system=place, tools=tools, weights=weights, reserved=reserved)
        assert done.trimmed == replace(plain, recall=recall)
        assert done.weights is weights


def test_nothing_is_recalled_where_all_of_it_fits_and_the_summary_goes_before_it_where_not_both_do():
    line = chat(20)
    size = sum(each.tokens(scaled(1)) for each in line)
    for most, recall in ((size, 0), (size - 1, 300)):
        budget = Budget(max_input_tokens=most)
        assert fit(Full(line, recall=300), budget, Weighing(scaled(1))).trimmed.recall == recall
        assert fit(Full(line, summary=1, recall=300), budget, Weighing(scaled(1))).trimmed.recall == 300
    rooms = [
        fit(Full(line, summary=summary, recall=recall), BUDGET, Weighing(scaled(1))).trimmed
        for summary, recall in ((2399, 300), (300, 2399), (2399, 2399))
    ]
    assert [(each.reserved, each.recall) for each in rooms] == [(300, 300), (300, 0), (0, 0)]


def test_without_a_limit_in_tokens_no_weights_are_kept():
    done = fit(Full(chat(9)), Budget(max_turns=3), Weighing(scaled(1)))
    assert done.trimmed.dropped
    assert done.kept is None


def test_a_prompt_surely_fits_where_all_of_it_together_is_estimated_to():
    measure = total([each.measure for each in chat(4)])
    most = scaled(1).most(measure)
    tools = b'[{"type":"function","function":{"name":"look"}}]'
    assert surely_fits(measure, b"", Budget(max_input_tokens=most), scaled(1))
    assert not surely_fits(measure, b"", Budget(max_input_tokens=most - 1), scaled(1))
    assert not surely_fits(measure, tools, Budget(max_input_tokens=most), scaled(1))
    assert not surely_fits(measure, b"", Budget(max_messages=99, max_input_tokens=most), scaled(1))
    assert not surely_fits(measure, b"", Budget(max_turns=99), scaled(1))
    assert surely_fits(measure, tools, Budget(), scaled(1))


def test_an_empty_line_has_no_turn():
    assert steady([], scaled(1), None, None).kept is None


def test_a_limit_that_may_be_wrong_counts_only_for_a_prompt_far_beyond_it():
    line = chat(60)
    size = sum(each.tokens(scaled(1)) for each in line)
    for beyond, is_cut in ((size, False), (size - 1, True)):
        budget = replace(BUDGET, beyond=beyond)
        done = fit(Full(line), budget, Weighing(scaled(1), "m"))
        assert bool(done.trimmed.dropped) == (done.kept is not None) == is_cut
        if is_cut:
            assert done == fit(Full(line), BUDGET, Weighing(scaled(1), "m"))
    tools = b'[{"type":"function","function":{"name":"look"}}]'
    assert fit(Full(line, tools=tools), replace(BUDGET, beyond=size), Weighing(scaled(1))).trimmed.dropped
    measure = total([each.measure for each in chat(4)])
    most = scaled(1).most(measure)
    assert surely_fits(measure, b"", Budget(max_input_tokens=most - 9, beyond=most), scaled(1))
    assert not surely_fits(measure, b"", Budget(max_input_tokens=most - 9, beyond=most - 1), scaled(1))
