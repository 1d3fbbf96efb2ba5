"""Messages without items that a client has taken out of its conversation."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.dialects.responses.as_items import items_of
from sidecar.dialects.responses.taken_out import without

NODE = bytes(24)
CALLS = [
    {"id": id, "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}}
    for id in ("c1", "c2")
]
MESSAGE = {"role": "assistant", "reasoning_content": "Hm.", "content": "So:", "tool_calls": CALLS}
ITEMS = items_of(MESSAGE, NODE, {})
THOUGHT, SAID, FIRST, SECOND = (each["id"] for each in ITEMS)


@pytest.mark.parametrize(
    ("gone", "left"),
    [
        ({THOUGHT}, {"role": "assistant", "content": "So:", "tool_calls": CALLS}),
        ({SAID}, {"role": "assistant", "reasoning_content": "Hm.", "content": None, "tool_calls": CALLS}),
        ({FIRST}, {**MESSAGE, "tool_calls": CALLS[1:]}),
        ({FIRST, SECOND}, {"role": "assistant", "reasoning_content": "Hm.", "content": "So:"}),
        ({SAID, FIRST, SECOND}, None),
        ({THOUGHT, SAID, FIRST, SECOND}, None),
    ],
)
def test_the_rest_stays(gone, left):
    assert without(MESSAGE, ITEMS, gone) == left


def test_a_message_of_which_nothing_was_taken_out_is_the_same():
    assert without(MESSAGE, ITEMS, {"msg_1"}) is MESSAGE


def test_a_question_is_one_item():
    message = {"role": "user", "content": "hi"}
    items = items_of(message, NODE, {})
    assert without(message, items, {items[0]["id"]}) is None


@pytest.mark.parametrize("id", [None, "", 5, {}])
def test_a_call_without_an_id_is_known_by_its_place(id):
    calls = [{**each, "id": id} for each in CALLS]
    calls[1] = {**calls[1], "function": {"name": "see", "arguments": "{}"}}
    message = {"role": "assistant", "content": "So:", "tool_calls": calls}
    items = items_of(message, NODE, {})
    assert without(message, items, {items[1]["id"]}) == {**message, "tool_calls": calls[1:]}
    assert without(message, items, {items[0]["id"]}) == {**message, "content": None}


def test_what_is_no_call_goes_with_what_was_taken_out():
    message: dict[str, Any] = {"role": "assistant", "content": "So:", "tool_calls": [5, {}, *CALLS]}
    items = items_of(message, NODE, {})
    assert without(message, items, {items[1]["id"]}) == {**message, "tool_calls": CALLS[1:]}
    odd: dict[str, Any] = {"role": "assistant", "content": "So:", "tool_calls": 5}
    assert without(odd, ITEMS[:2], {THOUGHT}) == {"role": "assistant", "content": "So:"}


def test_so_it_is_with_a_call_in_the_old_form():
    called = {"function_call": {"name": "look", "arguments": "{}"}}
    message = {"role": "assistant", "content": "So:", **called}
    items = items_of(message, NODE, {})
    assert without(message, items, {items[0]["id"]}) == {**message, "content": None}
    assert without(message, items, {items[1]["id"]}) == {"role": "assistant", "content": "So:"}
