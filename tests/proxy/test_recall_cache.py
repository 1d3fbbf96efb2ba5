"""The indexes of what was dropped are held by the path that they are of, in bounded memory."""

from __future__ import annotations

from sidecar.prompt.summary import Front
from sidecar.proxy.recall_cache import RecallCache


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
