"""Calls out of pieces in any order and form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.dialects.chat.joining import Growing, encode
from sidecar.dialects.chat.tool_calls import Calls
from tests.fuzz.plain_message import calls_of, clean

Piece = dict[str, Any]


def calls(*deltas: list[Any], finished: bool = True) -> list[Any]:
    grown = Calls()
    for pieces in copied(deltas):
        grown.add(pieces)
    grown.finished = finished
    assert grown.value() == calls_of(copied(deltas), finished=finished)
    return grown.value()


def copied(deltas: Any) -> Any:
    return json.loads(json.dumps(deltas))


def piece(arguments: Any = None, name: Any = None, **more: Any) -> Piece:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {**more, "function": function}


def call(arguments: str, name: str = "f", **more: Any) -> Piece:
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **more}


OSLO = '{"city":"Oslo"}'
ROME = '{"city":"Rome"}'


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(['{"city":', '"Oslo"}'], id="in pieces"),
        pytest.param(["", "", OSLO, ""], id="empty before and after"),
        pytest.param(["{}", '{"city":', '"Oslo"}'], id="an empty object first"),
        pytest.param(["null", OSLO], id="null first"),
        pytest.param(['""', OSLO], id="an empty text first"),
        pytest.param([{}, '{"city":', '"Oslo"}'], id="an object without members first"),
        pytest.param(["{", '{"city":', '{"city":"Oslo"', OSLO], id="all so far, each time"),
        pytest.param(['{"city":', '"Oslo"}', OSLO], id="all once more at the end"),
        pytest.param([OSLO, OSLO], id="twice"),
        pytest.param(['{"city":""}', '{"city":"Os"}', OSLO], id="a whole object each time"),
        pytest.param([{"city": "Oslo"}], id="as an object"),
        pytest.param([{"city": "O"}, {"city": "Oslo"}, {}], id="as objects that grow"),
        pytest.param(['{"ci', {"city": "Oslo"}, "", " "], id="as an object in the end"),
        pytest.param([{"city": "O"}, OSLO], id="as a text in the end"),
        pytest.param([7, True, OSLO, 1.5], id="among what is none"),
    ],
)
def test_arguments_in_any_form_are_these(pieces):
    first, *more = pieces
    told = [[piece(first, "f", index=0, id="c")], *([piece(each, index=0)] for each in more)]
    assert calls(*told) == [call(OSLO, id="c")]


@pytest.mark.parametrize(
    "more", [{}, {"id": "c"}, {"name": "f"}, {"id": "c", "name": "f", "type": "function"}]
)
def test_they_are_the_same_where_every_piece_names_its_call(more):
    pieces = [[piece(each, index=0, **{"name": "f", "id": "c", **more})] for each in ('{"city":', '"Oslo"}')]
    assert calls(*pieces) == [call(OSLO, id="c")]


def test_text_that_is_no_json_in_any_reading_stays_as_it_came():
    assert calls([piece("{", "f", index=0)], [piece("[", index=0)])[0]["function"]["arguments"] == "{["


@pytest.mark.parametrize(
    "pieces",
    [
        ['{"a":', "1"],
        ['{"a":', '"x"'],
        ['{"a":', "{}"],
        ['{"a":', '{"b":', "null"],
        ['{"cmd":"ls"', ',"n":', "3"],
        ['{"a":"', "1"],
        ["[", "1"],
    ],
)
def test_what_breaks_off_stays_as_it_came_though_its_last_piece_could_be_read_alone(pieces):
    told = [[piece(each, "f", index=0)] for each in pieces]
    assert calls(*told) == [call("".join(pieces))]


def test_half_an_emoji_in_a_piece_is_no_reason_to_read_it_otherwise():
    pieces = ['{"a":"\ud83d', '\ude00"}']
    assert calls(*([piece(each, "f", index=0)] for each in pieces))[0]["function"]["arguments"] == "".join(
        pieces
    )


def test_arguments_that_never_came_are_none_once_the_reply_is_finished():
    told = [piece(None, "f", index=0, id="c")]
    assert calls(told) == [call("{}", id="c")]
    assert calls(told, finished=False) == [call("", id="c")]


def test_a_name_may_come_behind_its_arguments():
    assert calls([piece('{"city":', index=0, id="c")], [piece('"Oslo"}', "f", index=0)]) == [
        call(OSLO, id="c")
    ]


def test_what_is_told_so_far_each_time_may_look_finished_before_it_is():
    so_far = ['{"', '{"0}', '{"0}": 0}']  # the first two, one behind the other, close what they open
    assert calls(*([piece(each, "f", index=0)] for each in so_far)) == [call('{"0}": 0}', "f")]


def test_a_name_may_be_told_so_far_each_time():
    told = [[piece("", each, index=0)] for each in ("get", "get_", "get_weather", "get_weather")]
    assert calls(*told) == [call("{}", "get_weather")]


@pytest.mark.parametrize("name", [7, None, ["f"], {"f": 1}])
def test_a_name_that_is_no_text_is_none(name):
    assert calls([piece("{}", name, index=0)], [piece("", "f", index=0)]) == [call("{}")]


@pytest.mark.parametrize("indexes", [(0, 1), ("0", "1"), (0.0, 1.0), (5, 9), (-2, -1), (1, 2)])
def test_calls_are_told_apart_by_their_indexes(indexes):
    first, second = indexes
    assert calls(
        [piece('{"city":', "f", index=first, id="a")],
        [piece('{"city":', "f", index=second, id="b")],
        [piece('"Oslo"}', index=first), piece('"Rome"}', index=second)],
    ) == [call(OSLO, id="a"), call(ROME, id="b")]


@pytest.mark.parametrize("index", [True, None, "x", 0.5, [0], {"a": 1}, 2**40, "12345678901"])
def test_what_is_no_index_is_none(index):
    told = [[piece(OSLO, "f", index=index, id="a")], [piece(ROME, "f", index=index, id="b")]]
    assert calls(*told) == [call(OSLO, id="a"), call(ROME, id="b")]


def test_an_id_is_believed_where_the_index_wanders():
    told = [[piece(each, "f", index=at, id="c")] for at, each in enumerate(('{"ci', 'ty":"Os', 'lo"}'))]
    assert calls(*told) == [call(OSLO, id="c")]


def test_a_finished_call_at_another_index_is_another_though_its_id_is_the_same():
    assert calls(
        [piece(OSLO, "f", index=0, id="f")], [piece("", "f", index=1, id="f")], [piece(ROME, index=1)]
    ) == [
        call(OSLO, id="f"),
        call(ROME, id="f"),
    ]


def test_a_piece_that_names_nothing_goes_on_with_the_last_call():
    assert calls(
        [piece("{}", "g", index=0, id="a")],
        [piece('{"city":', "f", index=1, id="b")],
        [piece('"Oslo"}')],
        [piece("", index=0)],
    ) == [call("{}", "g", id="a"), call(OSLO, id="b")]


@pytest.mark.parametrize("id", [{}, {"id": ""}, {"id": None}])
def test_whole_calls_without_ids_that_all_claim_index_0_stay_apart(id):
    told = [[piece(OSLO, "f", index=0, **id)], [piece(ROME, "f", index=0, **id)]]
    assert [each["function"]["arguments"] for each in calls(*told)] == [OSLO, ROME]


@pytest.mark.parametrize("arguments", [{"city": "Oslo"}, OSLO, "", None])
def test_but_one_that_is_repeated_is_one(arguments):
    told = [
        [piece({"city": "Oslo"} if arguments is None else OSLO, "f", index=0)],
        [piece(arguments, "f", index=0)],
    ]
    if isinstance(arguments, dict):
        told[0] = [piece(arguments, "f", index=0)]
    assert [each["function"]["arguments"] for each in calls(*told)] == [OSLO]


@pytest.mark.parametrize("empty", [{}, "{}", " {} "])
def test_so_is_one_that_was_empty_at_first(empty):
    assert calls([piece(empty, "f", index=0)], [piece({"city": "Oslo"}, "f", index=0)]) == [call(OSLO)]
    assert calls([piece(empty, "f", index=0)], [piece(OSLO, "f", index=0)]) == [call(OSLO)]


@pytest.mark.parametrize("index", [{}, {"index": 0}])
def test_no_list_repeats_a_call_by_itself(index):
    assert calls([piece(OSLO, "f", **index), piece(OSLO, "f", **index)]) == [call(OSLO), call(OSLO)]


def test_an_index_may_count_the_pieces():
    told = [piece("", "f", index=0, id="a"), *(piece(each, index=at) for at, each in enumerate(OSLO, 1))]
    more = [piece('{"city":', "g", index=50, id="b"), piece('"Rome"}', index=51), piece("", index=52)]
    assert calls(*([each] for each in told + more)) == [call(OSLO, id="a"), call(ROME, "g", id="b")]


def test_another_id_and_another_name_begin_another_call_before_any_arguments():
    assert calls([piece("", "f", index=0, id="a")], [piece("", "g", index=0, id="b")]) == [
        call("{}", "f", id="a"),
        call("{}", "g", id="b"),
    ]


@pytest.mark.parametrize("text", ['{"a":"}"}', '{"a":"\\""}', '{"a":"\\\\"}', '{"a":[{}]}', '{"a":"{"}'])
def test_the_end_of_a_call_is_seen_wherever_its_pieces_are_cut(text):
    for cut in range(1, len(text)):
        told = [[piece(text[:cut], "f", index=0, id="a")], [piece(text[cut:], "f", index=0, id="b")]]
        assert calls(*told, [piece("{}", "f", index=0, id="c")]) == [call(text, id="a"), call("{}", id="c")]


def test_a_backslash_outside_of_a_text_opens_and_closes_nothing():
    told = [[piece(text, "f", index=0, id=id)] for text, id in (("{\\a}", "a"), ("{}", "b"))]
    assert calls(*told) == [call("{\\a}", id="a"), call("{}", id="b")]


def test_a_call_may_be_flat():
    assert calls([{"index": 0, "id": "c", "name": "f"}], [{"index": 0, "arguments": OSLO}]) == [
        call(OSLO, id="c")
    ]


def test_an_id_may_be_0():
    told = [[piece(OSLO, "f", index=0, id=id)] for id in (0, "b", 0)]
    assert calls(*told) == [call(OSLO, id=0), call(OSLO, id="b")]


@pytest.mark.parametrize(("id", "kept"), [(7, 7), (1.5, 1.5), (["c"], None), ({"a": 1}, None), (True, None)])
def test_an_id_that_is_neither_text_nor_number_is_none(id, kept):
    (made,) = calls([piece("{}", "f", index=0, id=id)])
    assert made.get("id") == kept


@pytest.mark.parametrize("type", ["", None, 7, ["function"]])
def test_a_type_that_says_nothing_is_function(type):
    assert calls([piece("{}", "f", index=0, type=type)]) == [call("{}")]


def test_a_signature_that_comes_with_every_piece_stays_one():
    extra: Any = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
    assert calls([piece("{", "f", index=0, **extra)], [piece("}", index=0, **extra)]) == [call("{}", **extra)]


def test_a_call_of_which_nothing_came_is_none():
    assert calls([{"index": 0}, {}], [piece("", index=1, type="function")]) == []


def test_what_grows_says_how_it_is_written():
    with pytest.raises(NotImplementedError):
        Growing().value()


# What a reader with common sense understands, in any order and form.

TRUE = st.lists(
    st.tuples(
        st.sampled_from(["f", "get_weather", "g"]),
        st.dictionaries(
            st.text(max_size=3), st.integers() | st.text(max_size=4) | st.lists(st.booleans()), max_size=3
        ),
    ),
    min_size=1,
    max_size=4,
)


def _cut(draw: Any, text: str) -> list[str]:
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@st.composite
def _told(draw: Any) -> tuple[list[Piece], list[list[Piece]]]:
    """Calls, and the deltas of a server that tells them with an index, in its own way."""
    true = draw(TRUE)
    wanted = [call(json.dumps(given), name, id=f"c{at}") for at, (name, given) in enumerate(true)]
    index_as = draw(st.sampled_from([int, str, float]))
    repeats_id, repeats_name, name_late = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    whole_each_time = draw(st.booleans())
    queues = []
    for at, each in enumerate(wanted):
        told = each["function"]["arguments"]
        texts = _cut(draw, told)
        if whole_each_time:
            texts = ["".join(texts[: n + 1]) for n in range(len(texts))]
        named_at = len(texts) - 1 if name_late else 0
        queue = []
        for n, text in enumerate(texts):
            name = each["function"]["name"] if n == named_at or (repeats_name and n > named_at) else None
            id = {"id": each["id"]} if n == 0 or repeats_id else {}
            queue.append(piece(text, name, index=index_as(at), **id))
        queues.append(queue)
    deltas = []
    while any(queues):
        queue = draw(st.sampled_from([each for each in queues if each]))
        deltas.append([queue.pop(0)])
    return wanted, deltas


@settings(deadline=None, max_examples=150)
@given(_told())
def test_any_order_of_pieces_that_can_be_understood_gives_the_same_calls(told):
    wanted, deltas = told
    assert calls(*deltas) == wanted


@settings(deadline=None)
@given(TRUE, st.sampled_from(["no index", "index 0"]), st.booleans())
def test_so_do_whole_calls_one_after_another(true, kind, at_once):
    place = {} if kind == "no index" else {"index": 0}
    wanted = [call(json.dumps(given), name, id=f"c{at}") for at, (name, given) in enumerate(true)]
    pieces = [{**each, **place} for each in wanted]
    assert calls(*([pieces] if at_once else [[each] for each in pieces])) == wanted


# What no reader understands at once: the rules say what it is, and a plain reading of them the same.

_FUNCTIONS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["f", "fg", "g", "", 7]),
        "arguments": st.sampled_from(
            [
                "",
                " ",
                "{",
                '{"a":',
                "1}",
                '{"a":1}',
                "{}",
                "null",
                '""',
                "}",
                '"',
                "\\",
                {},
                {"a": 1},
                [],
                7,
                None,
            ]
        ),
        "strict": st.booleans(),
    },
)
_PLACES = st.sampled_from([None, 0, 1, 2, -1, "0", "1", 1.0, 0.5, True, 2**31, 2**31 - 1, "1234567890"])
_PIECES = st.fixed_dictionaries(
    {},
    optional={
        "index": _PLACES,
        "id": st.sampled_from(["a", "b", "", 0, "0", 1.5, None, True, ["a"]]),
        "type": st.sampled_from(["function", "custom", "", None]),
        "function": _FUNCTIONS | st.sampled_from([None, "f", []]),
        "custom": st.just({"name": "c"}),
        "extra": st.sampled_from(["s", {"s": "t"}, None]),
    },
)
_FLAT = st.builds(lambda about, function: {**about, **function}, _PIECES, _FUNCTIONS)


@settings(deadline=None, max_examples=400)
@given(
    st.lists(st.lists(_PIECES | _FLAT | st.sampled_from([7, None]), max_size=3), max_size=6), st.booleans()
)
def test_whatever_the_pieces_are_they_make_the_calls_that_the_rules_say(deltas, finished):
    grown = Calls()
    for pieces in copied(deltas):
        grown.add(pieces)
    grown.finished = finished
    assert json.loads(encode(grown.value())) == clean(calls_of(copied(deltas), finished=finished))


@given(st.recursive(st.text(max_size=5), lambda some: st.lists(some) | st.dictionaries(st.text(), some)))
def test_half_a_character_is_marked_and_all_else_is_written_as_ever(value):
    """The other half may come with the next piece, and never does where an upstream lost it."""
    assert encode({"half": "\ud83d", "b": value}) == encode({"half": "\ufffd", "b": value})
    assert encode([value, "\ud83d\ude00"]) == encode([value, "\U0001f600"])
