"""Refusals for the form of a request, told from all others; what they demand, and what they do not want."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.conversation.reasoning import REASONING_FIELDS
from sidecar.dialects.base import FormRefusal
from sidecar.dialects.chat.form_refusal import form_refusal
from sidecar.prompt.form import CALL, SIGNATURE, SYSTEM_FIRST, VALID_SIGNATURE
from tests.conversation.refusals import REFUSALS
from tests.referee.profiles import NAMED, refused
from tests.referee.test_referee import CASES


def openai(message: str, **more: Any) -> bytes:
    return json.dumps({"error": {"message": message, "type": "invalid_request_error", **more}}).encode()


def packed(inner: str) -> bytes:
    """As LiteLLM tells the error of the provider behind it."""
    return openai(f"litellm.BadRequestError: AnthropicException - {inner}")


def routed(inner: str) -> bytes:
    """As OpenRouter tells it."""
    return json.dumps(
        {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": inner}}}
    ).encode()


# (what is said, what it demands): each as its provider or a report has it.
DEMANDS = [
    ("The `reasoning_content` in the thinking mode must be passed back to the API.", "reasoning_content"),
    (
        "thinking is enabled but reasoning_content is missing in assistant tool call message at index 4",
        "reasoning_content",
    ),
    ("Missing `reasoning_content` field in the assistant message at message index 2.", "reasoning_content"),
    ("Param Incorrect", "reasoning_content"),
    (
        "Gemini models require OpenRouter reasoning details to be preserved in each request.",
        "reasoning_details",
    ),
    (
        "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`.",
        "thinking_blocks",
    ),
    ("Function call is missing a thought_signature in functionCall parts.", SIGNATURE),
    ("Corrupted thought signature.", VALID_SIGNATURE),
    ("The thought_signature is not valid for this model.", VALID_SIGNATURE),
    ("Invalid value at thought_signature (TYPE_BYTES), Base64 decoding failed", VALID_SIGNATURE),
    ("messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.", CALL),
    ("messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: c1", CALL),
    ("Unexpected role 'tool' after role 'user'", CALL),
    ("invalid params, tool result's tool id(call_1) not found (2013)", CALL),
    ("tool_call_id call_1 is not found", CALL),
    ("The number of toolResult blocks at messages.2 exceeds the number of toolUse blocks", CALL),
    ("System message must be at the beginning.", SYSTEM_FIRST),
    ("Jinja Exception: System messages must be at the beginning. while executing", SYSTEM_FIRST),
    ("Unexpected role 'system' after role 'user'", SYSTEM_FIRST),
]

UNWANTED = [
    ("'messages.1' : for 'role:assistant' property 'reasoning_content' is unsupported", "reasoning_content"),
    ("Extra inputs are not permitted, field: 'messages[8].reasoning', value: 'so'", "reasoning"),
    (
        'Invalid JSON payload received. Unknown name "prompt_cache_key": Cannot find field.',
        "prompt_cache_key",
    ),
    ("Additional properties are not allowed ('refusal' was unexpected) - 'messages.1'", "refusal"),
    ("property 'messages.1.reasoning' is unsupported", "reasoning"),
    ("Unknown parameter: 'messages[1].annotations'.", "annotations"),
    ("Unrecognized request argument supplied: id_slot", "id_slot"),
]

OTHERS = [
    (400, openai("Incorrect API key provided", code="invalid_api_key")),
    (400, openai("You exceeded your current quota, please check your plan and billing details.")),
    (400, openai("Your credit balance is too low to access the API.")),
    (400, openai("Insufficient Balance")),
    (400, openai("Rate limit reached for messages", code="rate_limit_exceeded")),
    (400, openai("The response was filtered due to Azure's content management policy")),
    (400, openai("the messages were flagged by moderation")),
    (400, openai("The model `m` does not exist or you do not have access to it.", code="model_not_found")),
    (422, openai("model 'm' not found, try pulling it first")),
    (400, openai("conflict: a request of this conversation is running")),
    (400, openai("prompt is too long: 9 tokens > 8 maximum")),
    (401, openai("messages: role is wrong")),
    (404, openai("messages: role is wrong")),
    (429, openai("messages: role is wrong")),
    (503, openai("template")),
    (500, openai("the machine is on fire")),
    (500, b"<html>Internal Server Error</html>"),
    (200, openai("the machine is on fire", type="server_error")),
    (200, openai("the machine is on fire", type=None, code=503)),
    (200, b'["no error of any form"]'),
]


@pytest.mark.parametrize("wrap", [openai, packed, routed, str.encode])
@pytest.mark.parametrize(("told", "demanded"), DEMANDS)
def test_what_is_demanded_is_known_however_it_is_wrapped(told: str, demanded: str, wrap: Any):
    found = form_refusal(400, wrap(told))
    assert found is not None
    assert found.demanded == demanded


def test_an_error_packed_into_an_error_is_read():
    inner = '{"type":"error","error":{"type":"invalid_request_error","message":"%s"}} Received Model Group=m'
    found = form_refusal(400, packed(inner % DEMANDS[0][0]))
    assert found == FormRefusal("reasoning_content")


@pytest.mark.parametrize("behind", ["", " Received Model Group=m"])
@pytest.mark.parametrize("before", ["", "litellm.BadRequestError: OpenAIException - "])
def test_of_an_error_within_a_text_the_names_of_its_members_tell_nothing(before: str, behind: str):
    """Where the text is not read as what it is, `rate_limit` makes another error of it."""
    inner = json.dumps({"message": DEMANDS[0][0], "rate_limit": None})
    assert form_refusal(400, openai(before + inner + behind)) == FormRefusal("reasoning_content")
    assert form_refusal(400, openai(f"{before}rate_limit{behind}")) is None


@pytest.mark.parametrize("status", [400, 422, 200])
@pytest.mark.parametrize(("told", "name"), UNWANTED)
def test_the_field_that_is_unwanted_is_known(told: str, name: str, status: int):
    assert form_refusal(status, openai(told)) == FormRefusal(None, frozenset((name,)))


def test_a_validators_list_of_forbidden_fields_is_read():
    detail = [
        {"type": "extra_forbidden", "loc": ["body", "messages", 1, "reasoning"], "msg": "no"},
        {"type": "missing", "loc": ["body", "messages"]},
        "odd",
    ]
    found = form_refusal(422, json.dumps({"detail": detail}).encode())
    assert found == FormRefusal(None, frozenset(("reasoning",)))
    assert form_refusal(422, b'{"detail":"odd"}') == FormRefusal()
    alone = {"type": "extra_forbidden", "loc": ["reasoning"]}
    assert form_refusal(422, json.dumps({"detail": [alone]}).encode()) == found


@pytest.mark.parametrize("name", ["code", "status", "type"])
@pytest.mark.parametrize(
    "value", [400, 422, "400", "422", "invalid_request_error", "INVALID_ARGUMENT", 500, "server_error", None]
)
@pytest.mark.parametrize("wrap", [lambda error: {"error": error}, lambda error: [{"error": error}, 5], dict])
def test_an_error_inside_of_an_answer_is_one_of_form_if_it_says_that_the_client_erred(
    name: str, value: Any, wrap: Any
):
    body = json.dumps(wrap({"message": "odd", name: value})).encode()
    erred = value not in (500, "server_error", None)
    assert form_refusal(200, body) == (FormRefusal() if erred else None)


@pytest.mark.parametrize("wrap", [lambda error: [error], lambda error: {"error": error}, json.dumps])
def test_what_lies_deeper_than_anybody_wraps_is_not_read(wrap: Any):
    error: Any = {"error": DEMANDS[0][0]}
    assert form_refusal(400, json.dumps(wrap(error)).encode()) == FormRefusal("reasoning_content")
    for _ in range(12):
        error = {"error": wrap(error)}
    assert form_refusal(400, json.dumps(error).encode()) == FormRefusal()


def test_of_a_long_error_the_front_is_read():
    for before, demanded in ((3000, "reasoning_content"), (5000, None)):
        assert form_refusal(400, openai("odd " * (before // 4) + DEMANDS[0][0])) == FormRefusal(demanded)


def test_one_refusal_takes_out_no_more_than_eight_fields():
    names = [f"field_{at}" for at in range(20)]
    first = FormRefusal(None, frozenset(names[:8]))
    assert form_refusal(400, openai(" ".join(f"Unknown parameter: '{name}'." for name in names))) == first
    detail = [{"type": "extra_forbidden", "loc": ["body", name]} for name in names]
    assert form_refusal(422, json.dumps({"detail": detail}).encode()) == first


@pytest.mark.parametrize(
    ("told", "names"),
    [
        (
            "messages.1.content.0: Invalid `signature` in `thinking` block",
            {"thinking_blocks", "reasoning_details"},
        ),
        (
            "this thinking block is bound to a different conversation",
            {"thinking_blocks", "reasoning_details"},
        ),
        ("Cannot pass both content and thinking in an assistant message", REASONING_FIELDS),
    ],
)
def test_signed_blocks_and_thinking_are_unwanted_as_a_whole(told: str, names: set[str]):
    assert form_refusal(400, openai(told)) == FormRefusal(None, frozenset(names))


@pytest.mark.parametrize(("status", "body"), OTHERS)
def test_an_error_about_anything_else_is_none_of_form(status: int, body: bytes):
    assert form_refusal(status, body) is None


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b"what is this?"),
        (400, b"\xff is no text"),
        (500, openai("unsupported property")),
        (400, b'{"error":null}'),
        (422, b"[]"),
        (500, openai("Jinja Exception: roles must alternate")),
        (500, openai("Failed to parse tool call arguments as JSON")),
        (200, openai("Expected 'content' or 'tool_calls' in messages")),
        (200, openai("odd", code=400)),
        (200, b'{"error":{"message":"odd","status":"422"}}'),
        (200, b'[{"error":{"message":"odd","status":"INVALID_ARGUMENT"}}]'),
        (400, b"[" * 5000),
        (400, b'{"error":{"message":"{\\"a\\": [[[[[[[[1]]]]]]]]}"}}'),
    ],
)
def test_an_error_of_form_that_demands_nothing_known_is_one_all_the_same(status: int, body: bytes):
    assert form_refusal(status, body) == FormRefusal()


@pytest.mark.parametrize(("name", "sent", "told"), CASES)
def test_every_refusal_of_the_referee_is_one_of_form(name: str, sent: bytes, told: str):
    refusal = refused(NAMED[name], sent)
    assert refusal is not None
    for status in (refusal.status, 200):  # as an answer, and as the first event of one
        assert form_refusal(status, json.dumps(refusal.body).encode()) is not None


@pytest.mark.parametrize(("status", "body", "numbers"), REFUSALS.values(), ids=REFUSALS)
def test_no_refusal_for_length_is_one_of_form(status: int, body: Any, numbers: Any):
    assert form_refusal(status, json.dumps(body).encode()) is None
