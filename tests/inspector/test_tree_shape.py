"""The shape of a tree."""

from __future__ import annotations

from typing import Any

from sidecar.conversation.overview import Stem
from sidecar.inspector.tree_shape import MAX_POINTS, MAX_RUNS, Beside, Shape


def stem(name, parent=None, **about):
    usual: dict[str, Any] = {"role": "user", "source": "client", "state": "complete", "created_at": 1.0}
    usual |= {"model": None, "finish_reason": None, "size": 1}
    parent = parent and parent.encode().ljust(8, b".")
    return Stem(name.encode().ljust(8, b"."), parent, **(usual | about))


def names(stems):
    return [each.id.rstrip(b".").decode() for each in stems]


def tree(*edges):
    return Shape([stem(edge[-1], edge[0] if len(edge) > 1 else None) for edge in edges])


def test_a_path_leads_from_the_root_to_a_message():
    shape = tree("a", "ab", "bc", "bd")
    assert names(shape.path(shape.find(b"d......."))) == ["a", "b", "d"]
    assert shape.path(None) == []


def test_a_message_is_found_by_its_hash_the_newest_first():
    shape = Shape([stem("hash1"), stem("hash2")])
    assert names([shape.find(b"hash")]) == ["hash2"]
    assert shape.find(b"other") is None
    assert shape.find(b"") is None


def test_a_branch_ends_where_it_was_gone_on_last():
    shape = tree("a", "ab", "ac", "bd", "ce")
    assert names([shape.end(shape.stems[0])]) == ["e"]
    assert names([shape.end(shape.stems[1])]) == ["d"]


def test_beside_a_message_stand_the_others_that_follow_the_same():
    shape = tree("a", "ab", "ac", "ad")
    assert shape.beside(shape.stems[0]) is None
    b, c, d = (each.id.hex() for each in shape.stems[1:])
    assert shape.beside(shape.stems[1]) == Beside(1, 3, None, c)
    assert shape.beside(shape.stems[2]) == Beside(2, 3, b, d)
    assert shape.beside(shape.stems[3]) == Beside(3, 3, c, None)


def test_roots_are_branches_too():
    shape = tree("a", "b")
    assert shape.beside(shape.stems[1]) == Beside(2, 2, shape.stems[0].id.hex(), None)


def test_runs_are_told_each_under_the_one_that_it_branches_off():
    shape = tree("a", "ab", "bc", "cd", "be", "f")
    runs, total = shape.runs(shape.path(shape.find(b"d.......")))
    told = [(each.at[:2], each.depth, each.messages, each.is_shown, each.is_end) for each in runs]
    a, b, d, e, f = (ord(each) for each in "abdef")
    del a
    assert told == [
        (f"{b:x}", 0, 2, True, False),
        (f"{d:x}", 1, 2, True, True),
        (f"{e:x}", 1, 1, False, True),
        (f"{f:x}", 0, 1, False, True),
    ]
    assert total == 4


def test_a_message_whose_parent_is_gone_is_a_root():
    shape = tree("xb", "bc")
    assert names(shape.path(shape.find(b"c......."))) == ["b", "c"]


def test_of_too_many_runs_those_that_are_shown_are_among_those_told():
    stems = [stem("root")] + [stem(f"n{at}", "root") for at in range(3 * MAX_RUNS)]
    shape = Shape(stems)
    runs, total = shape.runs(shape.path(stems[-1]))
    assert total == 3 * MAX_RUNS + 1
    assert len(runs) == MAX_RUNS + 2
    assert runs[-1].at == stems[-1].id.hex()


def test_where_a_path_branches_is_told_the_last_places_of_many():
    shape = tree("a", "ab", "ac", "bd", "be", "df")
    points, total = shape.branch_points(shape.path(shape.find(b"f.......")))
    told = [(each.number, each.id[:2], each.beside.number, each.beside.of) for each in points]
    assert (told, total) == ([(2, f"{ord('b'):x}", 1, 2), (3, f"{ord('d'):x}", 1, 2)], 2)
    assert tree("a", "ab").branch_points([]) == ((), 0)

    parent, stems = None, []
    for at in range(3 * MAX_POINTS):
        stems += [stem(f"a{at}", parent), stem(f"b{at}", parent)]
        parent = f"a{at}"
    shape = Shape(stems)
    points, total = shape.branch_points(shape.path(stems[-2]))
    assert (len(points), total, points[-1].number) == (MAX_POINTS, 3 * MAX_POINTS, 3 * MAX_POINTS)


def test_ten_thousand_levels_are_no_recursion():
    parent = None
    stems = []
    for at in range(10_000):
        stems += [stem(f"a{at}", parent), stem(f"b{at}", parent)]
        parent = f"a{at}"
    shape = Shape(stems)
    path = shape.path(shape.find(b"a9999..."))
    assert len(path) == 10_000
    runs, total = shape.runs(path)
    assert (len(runs), total) == (2 * MAX_RUNS, 20_000)
    assert shape.runs([])[1] == 20_000
