"""What an old message can do without, and what it reads like then."""

from __future__ import annotations

import json

import pytest

from sidecar.prompt.compact import IMAGE_MARKER, RESULT_MARKER, shortened
from sidecar.prompt.rebuild import Outgoing
from tests.conversation.build import calls, raw, result, says

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
LOOK = {"type": "text", "text": "Look:"}


def out(fields):
    return Outgoing(fields["role"], raw(fields), restored=True)


def fields_of(each):
    return json.loads(each.raw)


def test_a_long_tool_result_becomes_the_marker_and_keeps_its_call():
    short = shortened(out({**result("c", "x" * 300), "name": "look"}))
    assert fields_of(short) == {**result("c", RESULT_MARKER), "name": "look"}
    assert short.restored
    assert shortened(short) is short


def test_a_result_in_parts_becomes_the_marker_too():
    short = shortened(out({**result("c"), "content": [{"type": "text", "text": "x" * 300}, IMAGE]}))
    assert fields_of(short)["content"] == RESULT_MARKER


@pytest.mark.parametrize(
    "fields", [result("c", "short"), {**result("c" * 300), "content": None}, result("c" * 300, "short")]
)
def test_a_short_result_stays(fields):
    each = out(fields)
    assert shortened(each) is each


def test_images_become_the_marker_and_the_text_beside_them_stays():
    short = shortened(out({"role": "user", "content": [LOOK, IMAGE]}))
    assert fields_of(short)["content"] == [LOOK, {"type": "text", "text": IMAGE_MARKER}]
    assert shortened(short) is short


@pytest.mark.parametrize(
    "content",
    ["an image of a mill", [{"type": "text", "text": "an image"}], ["image"], [{"type": ["image"]}]],
)
def test_a_message_that_only_speaks_of_images_stays(content):
    each = out({"role": "user", "content": content})
    assert shortened(each) is each


def test_reasoning_goes_in_a_field_and_in_tags():
    assert fields_of(shortened(out({**says("yes"), "reasoning_content": "hm"}))) == says("yes")
    assert fields_of(shortened(out(says("<think>hm</think>yes")))) == says("yes")
    no_calls = says("yes", tool_calls=[])
    assert fields_of(shortened(out({**no_calls, "reasoning": "hm"}))) == no_calls
    plain = out(says("yes"))
    assert shortened(plain) is plain


@pytest.mark.parametrize(
    "fields",
    [
        {**calls("c"), "reasoning_content": "hm"},
        {**says("<think>hm</think>"), "function_call": {"name": "look", "arguments": "{}"}},
    ],
)
def test_reasoning_stays_with_its_call(fields):
    each = out(fields)
    assert shortened(each) is each


def test_in_the_newest_turn_only_tool_results_go():
    for fields in ({**says("yes"), "reasoning_content": "hm"}, {"role": "user", "content": [IMAGE]}):
        each = out(fields)
        assert shortened(each, in_newest_turn=True) is each
    assert fields_of(shortened(out(result("c", "x" * 300)), in_newest_turn=True))["content"] == RESULT_MARKER
