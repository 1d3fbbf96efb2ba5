"""`parse` against a reader that is slow and plain, and what is written back against what was read."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sidecar.dialects.chat import request as requests
from sidecar.dialects.chat.request import parse
from sidecar.errors import BadRequest
from tests.conversation.build import CHAIN

_SPACE = st.sampled_from(["", "", "", " ", "\n", "\t\r "])
_NAMES = [
    "messages",
    "model",
    "tools",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "role",
    "content",
    "x",
    "",
]
_TEXTS = st.sampled_from(
    ["", "m", "user", "assistant", "system", "é", "😀", "\ud83d", "\udc00", '"', "\\", "]}"]
)
_NUMBERS = st.sampled_from(
    ["0", "-1", "5", "1e2", "1.0", "1e999", "12345678901234567890123", "-0", "01", "1."]
)
_WORDS = st.sampled_from(["null", "true", "false", "NaN", "Infinity", "-Infinity", "nul", "'a'"])


def _spelled(text: str, as_escapes: bool) -> str:
    """A string in JSON; half an emoji is always an escape, for UTF-8 has none."""
    if as_escapes:
        return '"' + "".join(f"\\u{ord(each):04x}" if ord(each) < 1 << 16 else each for each in text) + '"'
    told = json.dumps(text, ensure_ascii=False)
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", told)


_STRINGS = st.builds(_spelled, _TEXTS, st.booleans())
_KEYS = st.builds(_spelled, st.sampled_from(_NAMES), st.integers(0, 5).map(lambda each: each == 0))


def _list(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda each, space: f"[{space}" + f"{space},{space}".join(each) + f"{space}]",
        st.lists(inner, max_size=3),
        _SPACE,
    )


def _object(inner: st.SearchStrategy[str], most: int = 3) -> st.SearchStrategy[str]:
    return st.builds(
        lambda each, space: f"{{{space}" + ",".join(f"{k}{space}:{space}{v}" for k, v in each) + f"{space}}}",
        st.lists(st.tuples(_KEYS, inner), max_size=most),
        _SPACE,
    )


_DEEP = st.sampled_from([1, 150, 198, 199, 250]).map(lambda depth: "[" * depth + "]" * depth)
_VALUES = st.recursive(
    _STRINGS | st.one_of(_STRINGS, _NUMBERS, _WORDS),
    lambda inner: _list(inner) | _object(inner),
    max_leaves=5,
)
_MESSAGES = _object(_VALUES) | st.builds(
    lambda role, content: f'{{"role":{role},"content":{content}}}', _STRINGS, _STRINGS | _VALUES | _DEEP
)
_SOUND = st.builds(
    lambda role, content: f'{{"role":"{role}","content":{content}}}',
    st.sampled_from(["user", "assistant", "system", "tool"]),
    _STRINGS,
)
_MEMBERS = st.lists(st.tuples(_KEYS, _VALUES).map(lambda pair: f"{pair[0]}:{pair[1]}"), max_size=3)
_SENT = st.lists(_SOUND | _SOUND | _SOUND | _MESSAGES, max_size=4)


def _body(before: list[str], sent: list[str], after: list[str], space: str, comma: str) -> str:
    told = f'"messages"{space}:{space}[{space}' + comma.join(sent) + f"{space}]"
    return f"{space}{{{space}" + f"{space},".join([*before, told, *after]) + f"{space}}}{space}"


_COMMAS = st.sampled_from([",", ", ", " ,", ",\n"])


#: Members whose values are read; of others a number may be beyond all range.
_READ = ("model", "max_tokens", "max_completion_tokens", "n")


class _Object(dict[str, Any]):
    """With the values of all its members, also of those whose name comes once more."""

    def __init__(self, members: list[tuple[str, Any]]) -> None:
        super().__init__(members)
        self.all = [value for _name, value in members]


class Wrong(Exception):
    """The plain reader takes it for no request."""


def plain(body: bytes) -> dict[str, Any]:
    """What is in a body, by the rules one by one."""

    def no_number(_: str) -> None:
        raise Wrong

    pairs: list[tuple[str, Any]] = []

    def an_object(found: list[tuple[str, Any]]) -> dict[str, Any]:
        pairs[:] = found  # of the outermost in the end
        return _Object(found)

    try:
        fields = json.loads(body.decode(), parse_constant=no_number, object_pairs_hook=an_object)
    except ValueError as error:
        raise Wrong from error
    # Of two the last counts, but no other may be anything else than a list.
    if isinstance(fields, dict) and any(k == "messages" and not isinstance(v, list) for k, v in pairs):
        raise Wrong
    if isinstance(fields, dict) and any(k in _READ and _has_too_much(v, levels=10_000) for k, v in pairs):
        raise Wrong
    sent = fields.get("messages") if isinstance(fields, dict) else None
    if not isinstance(sent, list) or not all(isinstance(each, dict) for each in sent):
        raise Wrong
    if any(_has_too_much(each) for each in sent):
        raise Wrong
    return fields


def _has_too_much(value: Any, levels: int = 200) -> bool:
    """Is there a number beyond all range in it, or more than so many levels?"""
    level, depth = [value], 0
    while level:
        if any(isinstance(each, float) and abs(each) == float("inf") for each in level):
            return True
        nested = [each for each in level if isinstance(each, (list, _Object))]
        depth += bool(nested)
        level = [one for each in nested for one in (each.all if isinstance(each, _Object) else each)]
    return depth > levels


def whole(value: Any) -> Any:
    """With a replacement character for half an emoji."""
    return json.loads(re.sub(r"[\ud800-\udfff]", "\ufffd", json.dumps(value, ensure_ascii=False)))


def positive(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None


def check(body: bytes, before: Any = None) -> Any:
    """Both refuse it, or both read the same; what `parse` made of it, None for nothing."""
    try:
        expected = whole(plain(body))
    except Wrong:
        with pytest.raises(BadRequest):
            parse(body, CHAIN, before)
        return None
    asked = parse(body, CHAIN, before)
    sent = expected["messages"]
    assert [whole(dict(each.fields)) for each in asked.sent] == sent
    assert [whole(json.loads(each.raw)) for each in asked.sent] == sent
    roles = [each.get("role") for each in sent]
    leading = next((at for at, role in enumerate(roles) if role not in ("system", "developer")), len(sent))
    assert len(asked.system) == leading
    assert (asked.prefill is not None) == (len(sent) > leading and roles[-1] == "assistant")
    model, tools = expected.get("model"), expected.get("tools")
    assert asked.model == (model if isinstance(model, str) else None)
    told = whole(json.loads(asked.tools or b"null"))
    assert (None if told == [] else told) == (None if tools == [] else tools)
    most = positive(expected.get("max_completion_tokens")) or positive(expected.get("max_tokens"))
    assert asked.max_tokens == most
    assert asked.choices == (positive(expected.get("n")) or 1)
    other = {"role": "user", "content": "other"}
    written = asked.with_messages([json.dumps(other).encode()])
    assert whole(json.loads(written)) == {**expected, "messages": [other]}
    filled = whole(json.loads(asked.with_fields({"n": b"3", "x": b"[1]"})))
    lacking = {name: value for name, value in (("n", 3), ("x", [1])) if expected.get(name) in (None, "")}
    assert filled == {**expected, **lacking}
    return asked


@pytest.fixture(autouse=True, scope="module")
def _every_body_is_long():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests, "_COMPARE_FROM", 0)
        yield


@settings(max_examples=100, deadline=None)
@given(_VALUES.map(str.encode) | st.binary(max_size=8))
def test_any_json_is_refused_or_read_as_it_is(body):
    check(body)


@settings(max_examples=100, deadline=None)
@given(_MEMBERS, _SENT, _SENT, _MEMBERS, _MEMBERS, _SPACE, _COMMAS)
@example(['"model":{"n":1e999,"n":true}'], ['{"role":"user"}'], [], [], [], "", ",")
@example([], ['{"role":"user","content":"\\ud83d"}'], [], ['"m\\u0065ssages":[]'], [], "", ",")
def test_a_request_and_the_next_one_are_read_as_they_are(head, first, more, tail, other, space, comma):
    before = check(_body(head, first, tail, space, comma).encode())
    again = check(_body(head, first + more, other, space, comma).encode(), before)
    check(_body(head, first + more, tail, space, comma).encode(), again or before)
