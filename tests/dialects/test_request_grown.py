"""A long body that begins as the one before it: its front is not read, and nobody can tell."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sidecar.dialects.chat import request as requests
from sidecar.dialects.chat.body import read_body
from sidecar.dialects.chat.request import parse
from sidecar.errors import BadRequest
from tests.conversation.build import CHAIN, says, user

texts = st.text(max_size=6) | st.sampled_from(['"messages":[', "]}", '\\"', "messages", "é", "\ud83d"])
messages = st.lists(
    st.tuples(st.sampled_from(["user", "assistant"]), texts).map(
        lambda said: {"role": said[0], "content": said[1]}
    ),
    max_size=5,
)
#: Other members of the body, and on which side of the messages they stand.
heads = st.sampled_from(["", '"model":"m",', '"x":{"messages":[]},', '"messages":[],', '"messages" : 1 , '])
tails = st.sampled_from(
    [
        "",
        ',"model":"n"',
        ',"tools":[{"a":"\\u00e9"}]',
        ',"messages":[]',
        ',"messages":[{"role":"user"}]',
        ',"m\\u0065ssages":[]',
        ',"x":{"messages":[]}',
        ',"max_tokens":5',
        "}",
        ",",
    ]
)
#: What stands between two messages, and between them and their brackets.
spacings = st.sampled_from([(",", ""), (", ", ""), (" ,", ""), (",", " "), (",\n", "\n")])


def written(sent, head, tail, spacing):
    comma, edge = spacing
    told = comma.join(json.dumps(each) for each in sent)
    return f'{{{head}"messages":[{edge}{told}{edge}]{tail}}}'.encode()


def read(body, before=None):
    """All that is read of a body; what is wrong with it if it is no request."""
    try:
        asked = parse(body, CHAIN, before)
    except BadRequest as error:
        return str(error)
    assert asked.end == 0 or body[asked.start : asked.end].startswith(asked.sent[0].raw)
    assert asked.end == 0 or body[asked.start : asked.end].endswith(asked.sent[-1].raw)
    return asked.sent, asked.path, asked.system, asked.prefill, asked.model, asked.tools, asked.max_tokens


@pytest.fixture(autouse=True, scope="module")
def _every_body_is_long():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests, "_COMPARE_FROM", 0)
        yield


@settings(max_examples=250, deadline=None)
@given(messages, messages, messages, heads, tails, tails, spacings, st.booleans())
@example([user("a")], [says("b")], [user("c")], "", "", "", (",", ""), True)
@example([user("a")], [says("b")], [user("c")], "", "", ',"messages":[{"role":"user"}]', (",", ""), True)
@example([user("a")], [], [], "", "", ',"m\\u0065ssages":[]', (",", ""), True)
@example([user("a")], [], [], '"messages":[],', "", "", (", ", ""), True)
@example([user("a")], [says("b")], [], "", ',"max_tokens":5', ',"max_tokens":5', (",", ""), True)
@example([user("a")], [says("b")], [], "", ',"messages":[]', ',"messages":[]', (",", ""), True)
@example([user("a")], [says("b")], [user("c")], "", ",", ",", (",", ""), True)
@example([user("]}")], [], [says("]}")], "", "", "", (", ", ""), True)
def test_a_body_that_has_grown_says_what_it_says_when_it_is_read(
    first, more, yet_more, head, tail, other_tail, spacing, same
):
    before = None
    for sent, end in ((first, tail), (first + more, other_tail), (first + more + yet_more, tail)):
        body = written(sent, head if same else "", end, spacing)
        assert read(body, before) == read(body)
        try:
            before = parse(body, CHAIN, before)
        except BadRequest:
            before = None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ('{"x":{"messages":[A]},"messages":[A]}', '{"x":{"messages":[A,A]},"messages":[A]}'),
        ('{"messages":[A]}', '{"messages":[A,A],"\\u0061":1,"\xff":2}'),
        ('{"messages":[A]}', '{"messages":[A,A],"x":{"messages":[1]}}'),
    ],
)
def test_what_is_odd_behind_the_messages_is_read_as_ever(first, second):
    said = json.dumps(user("a"))
    first, second = (body.replace("A", said).encode("latin-1") for body in (first, second))
    assert read(second, parse(first, CHAIN)) == read(second)


@pytest.mark.parametrize("begins", ['{"model":"n",', "{", '{"model":"m" ,'])
def test_a_body_that_begins_otherwise_is_read_as_ever(begins):
    first = written([user("a")], '"model":"m",', "", (",", ""))
    second = written([user("a"), says("b"), user("c")], begins[1:], "", (",", ""))
    assert read(second, parse(first, CHAIN)) == read(second)


@pytest.mark.parametrize(
    ("body", "end"),
    [
        (b"[{},[1],{}]", 10),
        (b"[{}, [1], {}]", 12),
        (b"[{}, [1],{}]", 0),
        (b"[{},[1], {}]", 0),
        (b"[{},[2],{}]", 0),
        (b"[{},[1]", 0),
    ],
)
def test_messages_are_found_in_a_large_body_as_in_a_small_one(monkeypatch, body, end):
    for large in (0, len(body)):
        monkeypatch.setattr(requests, "LARGE", large)
        assert requests._behind(body, 1, [b"{}", b"[1]", b"{}"]) == end


def test_what_has_not_changed_is_the_same_object_and_not_decoded(monkeypatch):
    decode, seen = read_body, []

    def watched(body):
        seen.append(body)
        return decode(body)

    sent = [user("a"), says("b"), user("c")]
    before = parse(written(sent, '"model":"m",', "", (", ", "")), CHAIN)
    monkeypatch.setattr(requests, "read_body", watched)
    monkeypatch.setattr(requests, "fields_of", None)
    body = written([*sent, says("d"), user("e")], '"model":"m",', ',"n":1', (", ", ""))
    after = parse(body, CHAIN, before)
    assert [new is old for new, old in zip(after.sent, before.sent, strict=False)] == [True] * 3
    assert seen == [b'{"model":"m","messages":[' + body[before.end + 2 :]]
    assert after.body[after.start : after.end].count(b'"role"') == 5
    again = parse(body, CHAIN, after)
    assert (again.sent, again.start, again.end) == (after.sent, after.start, after.end)


def test_what_stands_behind_the_messages_is_not_read_again_either(monkeypatch):
    end = ',"n":2,"max_tokens":5,"user":"u","tools":[{"a":"\\u00e9"}]'
    before = parse(written([user("a")], '"model":"m",', end, (",", "")), CHAIN)
    monkeypatch.setattr(requests, "read_body", None)
    monkeypatch.setattr(requests, "fields_of", None)
    body = written([user("a"), says("b"), user("c")], '"model":"m",', end, (",", ""))
    after = parse(body, CHAIN, before)
    assert (after.model, after.choices, after.max_tokens, after.user) == ("m", 2, 5, "u")
    assert after.tools is before.tools
    assert len(after.sent) == 3


def test_a_front_and_an_end_that_overlap_are_no_body_that_has_grown():
    said = b'{"messages":[{"role":"user","content":[{"messages":[]}]}'
    before, shorter = parse(said + b"]}", CHAIN), said
    assert before.end == len(said)
    assert read(shorter, before) == read(shorter)


@pytest.mark.parametrize(
    "tail",
    [b"]", b"]]}", b", ]}", b',{"role":"user"}', b',{"role":"user","content":\x01}]}', b",1]}", b"]} x"],
)
def test_a_body_that_goes_wrong_behind_what_was_the_same_is_refused_as_any_other(tail):
    before = parse(written([user("a"), says("b")], "", "", (",", "")), CHAIN)
    body = before.body[: before.end] + tail
    assert isinstance(read(body, before), str)
    assert read(body, before) == read(body)
