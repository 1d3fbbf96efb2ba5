"""The indexes of what was dropped are held by the path that they are of, in bounded memory."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest

from sidecar.prompt.fit import Full, Weighing, fit
from sidecar.prompt.rebuild import Outgoing
from sidecar.prompt.recall import asked_for, recalled, told
from sidecar.prompt.summary import Front, latest_fronts
from sidecar.prompt.trim import Budget
from sidecar.prompt.weights import NEUTRAL
from sidecar.proxy.recall_cache import RecallCache
from tests.conversation.build import raw, request, says, user

_THINGS = [
    "house",
    "garden",
    "ship",
    "dog",
    "cottage",
    "bicycle",
    "violin",
    "parrot",
    "tractor",
    "umbrella",
    "telescope",
    "orchard",
]


def fronts(*names):
    """The longest first."""
    return [Front(name.encode(), end, end) for end, name in enumerate(names, 1)][::-1]


def take(cache, *names):
    cut, *before = fronts(*names)
    return cache.take(names[0].encode(), cut, before)


def give(cache, held, *names):
    cache.put(names[0].encode(), fronts(*names)[0], held)


def put(cache, *names):
    held = take(cache, *names)
    while held.index.messages < len(names):
        held.index.add(f"word {names[held.index.messages]} " * 30)
    give(cache, held, *names)
    return held


def test_an_index_goes_on_with_its_line_and_is_not_that_of_another_branch():
    cache = RecallCache(1 << 20)
    held = put(cache, "a", "b")
    assert put(cache, "a", "b", "c", "d") is held
    assert put(cache, "a", "b") is held  # of another model, which needs less of it
    assert put(cache, "a", "b", "c", "d", "e") is held
    assert put(cache, "a", "b", "x") is not held
    assert take(cache, "y").index.messages == 0


def test_of_a_long_line_only_what_is_new_is_looked_at():
    cache, names = RecallCache(1 << 20), [f"n{at}" for at in range(500)]
    held = put(cache, *names[:490])
    cut, *before = fronts(*names)
    left = iter(before)
    assert cache.take(names[0].encode(), cut, left) is held
    assert len(list(left)) == len(before) - 10


def test_who_takes_an_index_has_it_alone():
    cache = RecallCache(1 << 20)
    held = put(cache, "a")
    assert take(cache, "a") is held
    other = take(cache, "a")
    assert other is not held
    give(cache, held, "a")
    give(cache, other, "a")
    assert take(cache, "a") is other


def test_the_memory_is_bounded_and_the_one_longest_out_of_use_goes():
    one = put(RecallCache(1 << 20), "a").size
    cache = RecallCache(int(2.5 * one))
    first, second = put(cache, "a"), put(cache, "b")
    assert take(cache, "a") is first
    give(cache, first, "a")
    put(cache, "c")
    assert take(cache, "b") is not second
    assert take(cache, "a") is first
    small = RecallCache(one - 1)
    assert put(small, "a") is not put(small, "a")


def test_what_nobody_asked_for_in_ten_minutes_is_held_no_longer():
    now = 0.0
    cache = RecallCache(1 << 20, lambda: now)
    first = put(cache, "a")
    now = 500.0
    second = put(cache, "b")
    now = 601.0
    cache.forget_silent()
    assert take(cache, "a") is not first
    assert take(cache, "b") is second


def asked(said, cache):
    """What is quoted of a chat that was cut, with the index that the cache has of it; and the whole line."""
    parsed = request(*said)
    line = [Outgoing(each["role"], raw(each)) for each in said]
    full = Full(line, recall=150)
    fitted = fit(full, Budget(max_input_tokens=500), Weighing(NEUTRAL))
    fronts = latest_fronts(line, parsed.path.messages, parsed.path.hashes.__getitem__)
    front = next(fronts)
    if not fitted.trimmed.cut:
        return None, line
    held = cache.take(b"one key for all of them", front, fronts)
    for each in line[held.index.messages : front.end]:
        held.index.add(told(each))
    cache.put(b"one key for all of them", front, held)
    return recalled(full, fitted, 500, held.index, asked_for(line)), line


@pytest.mark.parametrize("seed", range(8))
def test_with_what_the_cache_has_of_other_branches_the_same_is_quoted_as_without_it(seed):
    """And it is of the request's own line, whoever has asked about what in between."""
    chance, cache, quotes = random.Random(seed), RecallCache(1 << 20), 0
    branches: list[list[dict[str, Any]]] = [[]]
    for turn in range(120):
        said = list(chance.choice((*branches[-3:], *[branches[-1]] * 9)))
        if chance.random() < 0.2:
            del said[-2 * chance.randrange(1, 5) :]
        thing = chance.choice(_THINGS)
        said += [user(f"My {thing} has number {turn}."), says(f"I see, {turn}. " + "So it is. " * 4)]
        branches = [*branches[-5:], said]
        question = [*said, user(f"Which number has my {chance.choice(_THINGS)}?")]
        found, line = asked(question, cache)
        alone, _ = asked(question, RecallCache(1 << 20))
        assert found == alone
        if found is not None:
            quotes += 1
            own = "\n".join(each.raw.decode() for each in line)
            numbers = re.findall(r"\d+", json.loads(found.turn[0].raw)["content"])
            assert all(re.search(rf"\b{number}\b", own) for number in numbers)
            assert found.tokens == sum(each.tokens(NEUTRAL) for each in found.turn)
    assert quotes > 20
