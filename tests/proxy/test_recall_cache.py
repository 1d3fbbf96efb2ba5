"""The indexes of what was dropped are held by the path that they are of, in bounded memory."""

from __future__ import annotations

from sidecar.prompt.summary import Front
from sidecar.proxy.recall_cache import RecallCache


def fronts(*names):
    return [Front(name.encode(), end, end) for end, name in enumerate(names, 1)]


def put(cache, *names):
    held = cache.take(fronts(*names))
    while held.index.messages < len(names):
        held.index.add(f"word {names[held.index.messages]} " * 30)
    cache.put(fronts(*names), held)
    return held


def test_an_index_goes_on_with_its_line_and_is_not_that_of_another_branch():
    cache = RecallCache(1 << 20)
    held = put(cache, "a", "b")
    assert put(cache, "a", "b", "c") is held
    assert put(cache, "a", "b") is held  # of another model, which needs less of it
    assert put(cache, "a", "b", "x") is not held
    assert cache.take(fronts("y")).index.messages == 0


def test_who_takes_an_index_has_it_alone():
    cache = RecallCache(1 << 20)
    held = put(cache, "a")
    assert cache.take(fronts("a")) is held
    other = cache.take(fronts("a"))
    assert other is not held
    cache.put(fronts("a"), held)
    cache.put(fronts("a"), other)
    assert cache.take(fronts("a")) is other


def test_the_memory_is_bounded_and_the_one_longest_out_of_use_goes():
    one = put(RecallCache(1 << 20), "a").size
    cache = RecallCache(int(2.5 * one))
    first, second = put(cache, "a"), put(cache, "b")
    assert cache.take(fronts("a")) is first
    cache.put(fronts("a"), first)
    put(cache, "c")
    assert cache.take(fronts("b")) is not second
    assert cache.take(fronts("a")) is first
    small = RecallCache(one - 1)
    assert put(small, "a") is not put(small, "a")
