"""Requests that have no turns, or hardly one, and cuts where calls and results lie apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.prompt import fit as fitting
from sidecar.prompt.fit import Full, Weighing, fit
from sidecar.prompt.places import whole
from sidecar.prompt.rebuild import Outgoing
from sidecar.prompt.trim import Budget, trim
from sidecar.prompt.weights import DEFAULT_WEIGHTS, NEUTRAL
from tests.conversation.build import calls, message, raw, result, says, user

LONG = "word " * 500
SYSTEM = [Outgoing("system", raw({"role": "system", "content": LONG}))]
BUDGETS = [
    Budget(max_messages=1),
    Budget(max_turns=1),
    Budget(max_input_tokens=100),
    Budget(max_messages=1, max_turns=1, max_input_tokens=100, keep_first_turn=True),
]
HARDLY = [
    [],
    [user(LONG)],
    [says(LONG)],
    [says(LONG), says(LONG)],
    [result("a", LONG)],
    [result("a", LONG), result("b", LONG)],
    [calls("a", content=LONG)],
    [{"role": "system", "content": LONG}, says(LONG)],
    [{"content": LONG}],
    [{}],
]


def told(*messages):
    return [Outgoing(each["role"], raw(each)) for each in messages]


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("system", [[], SYSTEM, SYSTEM * 3])
@pytest.mark.parametrize("said", HARDLY)
def test_any_few_messages_are_sent_whole_or_cut_and_never_an_error(budget, system, said):
    line = [Outgoing(str(each.get("role", "")), raw(each)) for each in said]
    trimmed = trim(line, budget, system=system, tools=b'[{"type":"function"}]')
    assert len(trimmed.kept) + trimmed.dropped == len(line)
    full = Full(line, system)
    kept = fit(full, budget, Weighing(NEUTRAL, "m"))
    again = fit(full, budget, Weighing(NEUTRAL, "m", kept.kept))
    assert len(again.trimmed.kept) == len(kept.trimmed.kept)


def test_what_a_request_without_turns_exceeds_is_said():
    assert trim([], Budget(max_messages=2), system=SYSTEM * 3).over == ("max_messages",)
    assert trim([], Budget(max_input_tokens=100), system=SYSTEM, reserved=7).over == ("max_input_tokens",)
    assert trim([], Budget(max_input_tokens=100), system=SYSTEM, reserved=7).reserved == 7
    assert trim([], Budget(max_messages=1, max_turns=1, max_input_tokens=10_000), system=SYSTEM).over == ()


def _parts(at: int, first: int, pair: tuple[int, int]) -> bool:
    """Would a call go and its result stay, or the other way round, if `first` to `at` were dropped?"""
    return (first <= pair[0] < at) != (first <= pair[1] < at)


@given(
    st.integers(0, 12),
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 10)), max_size=8),
    st.sets(st.integers(0, 32)),
)
def test_a_cut_parts_no_call_from_its_result(first, apart, places):
    pairs = sorted(((call, call + more) for call, more in apart), key=lambda pair: pair[1])
    behind = sorted(at for at in places if at > first)
    told_slowly = tuple(at for at in behind if not any(_parts(at, first, pair) for pair in pairs))
    assert whole(behind, first, pairs) == told_slowly


def test_a_line_is_cut_as_often_as_it_takes_and_no_more(monkeypatch):
    line = [
        Outgoing(each["role"], raw(each)) for at in range(9) for each in (user(f"q{at} {LONG}"), says("a"))
    ]
    seen = []

    def counted(line, budget, **about):
        seen.append(line)
        return trim(line, budget, **about)

    def looks(line, weights, kept, limit=3000, **about):
        del seen[:]
        done = fit(Full(line, **about), Budget(max_input_tokens=limit), Weighing(weights, "m", kept))
        return len(seen), done.kept

    monkeypatch.setattr(fitting, "trim", counted)
    number, kept = looks(line, DEFAULT_WEIGHTS, None)
    assert (number, kept is None) == (1, False)
    assert looks(line, NEUTRAL, kept) == (1, None)  # the same turn
    assert looks([*line, *told(says("b"), user("and?"))], NEUTRAL, kept) == (2, None)
    assert looks(line[:3], NEUTRAL, kept) == (1, None)  # a short branch
    longer = [*line, *told(user(LONG), says("b"), user(LONG * 2))]
    moved = looks(longer, DEFAULT_WEIGHTS, kept)
    assert (moved[0], moved[1] is None) == (2, False)  # a step, by weights that have not changed
    assert looks(longer, NEUTRAL, kept)[0] == 3
    assert looks(line, NEUTRAL, None, summary=100)[0] == 1
    assert looks(line, NEUTRAL, None, limit=50, summary=10)[0] == 2  # no room beside a summary


def test_a_message_is_read_once_however_often_it_is_asked_for():
    asked = message(calls("a"))
    of_the_client, stored = Outgoing("assistant", asked.raw, message=asked), Outgoing("assistant", asked.raw)
    assert of_the_client.fields is asked.fields
    assert stored.fields == asked.fields
    assert stored.fields is stored.fields
