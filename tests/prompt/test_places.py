"""Where a line may be cut: told here once more place by place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.prompt.places import Shape, first_turn, pairs_of, shape_of, whole
from sidecar.prompt.rebuild import Outgoing
from tests.conversation.build import calls, raw, result, says, user


def told(*messages):
    return [Outgoing(each["role"], raw(each)) for each in messages]


PAIRS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(1, 6)).map(lambda pair: (pair[0], sum(pair))), max_size=8
)


@given(PAIRS, st.integers(0, 6), st.sets(st.integers(0, 20)))
def test_a_place_is_whole_where_no_call_goes_without_its_last_result_and_none_stays_without(
    pairs, first, places
):
    pairs = sorted(pairs, key=lambda pair: pair[1])
    places = sorted(at for at in places if at > first)
    last = dict(pairs)

    def is_whole(at):
        gone = all(result < at for call, result in last.items() if first <= call < at)
        kept = all(result >= at for call, result in pairs if call < first <= result)
        return gone and kept

    assert list(whole(places, first, pairs)) == [at for at in places if is_whole(at)]


LINE = st.lists(
    st.sampled_from(
        [user("q"), says("a"), calls("c"), calls("d", "c"), result("c"), result("d"), result("z")]
    ),
    max_size=12,
)


@given(LINE, st.booleans())
def test_a_result_belongs_to_the_nearest_call_of_its_id_before_it(messages, each_step):
    found = []
    for at, each in enumerate(messages):
        if each["role"] != "tool":
            continue
        named = [
            place
            for place in range(at)
            if any(call["id"] == each["tool_call_id"] for call in messages[place].get("tool_calls", ()))
        ]
        if not named:
            continue
        turns = [sum(said["role"] == "user" for said in messages[:place]) for place in (named[-1], at)]
        if each_step or turns[0] != turns[1]:
            found.append((named[-1], at))
    assert pairs_of(told(*messages), each_step=each_step) == found


@given(LINE.filter(bool), st.data())
def test_the_shape_of_a_line_is_told_by_its_questions_and_its_last_answer(messages, data):
    line = told(*messages)
    starts = [at for at, each in enumerate(messages) if each["role"] == "user" or at == 0]
    assert first_turn(line) == (starts[1] if len(starts) > 1 else 0)
    first = data.draw(st.sampled_from([0, first_turn(line)]))
    shape = shape_of(line, first)
    newest = starts[-1]
    answers = [at for at in range(newest + 1, len(messages)) if messages[at]["role"] == "assistant"]
    assert (shape.first, shape.newest) == (first, newest)
    assert shape.last_call == (answers[-1] if answers else newest)
    assert shape.cuts == whole([at for at in starts if at > first], first, pairs_of(line))


@pytest.mark.parametrize(("cuts", "last"), [((), 2), ((4,), 4), ((4, 6), 6)])
def test_as_much_as_can_be_cut_is_the_last_place_and_nothing_is_behind_what_stays(cuts, last):
    shape = Shape(2, cuts, 8, 9)
    assert shape.last_cut == last
    assert [shape.behind(at) for at in (1, 2, 3, 6)] == [0, 0, 3, 6]
