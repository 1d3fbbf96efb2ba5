"""Refusals for length, each as its engine words it, and what is none."""

from __future__ import annotations

import json

import pytest

from sidecar.dialects.chat.overflow import Overflow, recognised
from tests.conversation.refusals import REFUSALS, WINDOW, openai, plain


@pytest.mark.parametrize(("status", "body", "numbers"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_for_length_is_recognised_with_its_numbers(status, body, numbers):
    assert recognised(status, json.dumps(body).encode()) == Overflow(*numbers)


QUOTED = f"{WINDOW} 300 tokens. However, your messages resulted in 99999 tokens."

NO_REFUSALS = {
    "words of the user's in the middle": plain(f"Invalid 'messages[0].content': '{QUOTED}' is not allowed"),
    "words of the user's in a wrapped one": plain(
        f"litellm.BadRequestError: OpenAIException - bad: {QUOTED}"
    ),
    "words of the user's under another key": {"error": {"message": "bad input", "input": QUOTED}},
    "an echo of the request": {"error": {"message": "bad"}, "detail": QUOTED},
    "a limit per minute": {
        "error": {
            "message": "Request too large for model `llama-3.1-8b-instant` in organization `org_x` service"
            " tier `on_demand` on tokens per minute (TPM): Limit 6000, Requested 12328, please reduce your"
            " message size and try again.",
            "type": "tokens",
            "code": "rate_limit_exceeded",
        }
    },
    "a limit per minute in words for length": openai("Prompt is too long", code="rate_limit_exceeded"),
    "a tool's description": openai(
        "litellm.ContextWindowExceededError: litellm.BadRequestError: ContextWindowExceededError:"
        " OpenAIException - Error code: 400 - {'error': {'message': \"Invalid 'tools[1].function.description'"
        ": string too long. Expected a string with maximum length 1024, but got a string with length 1103"
        " instead.\", 'type': 'invalid_request_error', 'code': 'string_above_max_length'}}",
        code="400",
    ),
    "an answer too long": {
        "type": "error",
        "error": {
            "type": "invalid_request_error",
            "message": "max_tokens: 21333 > 4096, which is the maximum allowed number of output tokens",
        },
    },
    "more allowed than sent": plain(f"{WINDOW} 99999 tokens. However, your messages resulted in 300 tokens."),
    "a long prompt in a sentence": plain("Prompt is too long to be moderated"),
    "no error": {"id": "chatcmpl-1", "choices": [{"message": {"content": QUOTED}}]},
    "an empty error": {"error": {}},
    "odd fields": {"error": {"code": ["a"], "type": {}, "message": 1, "metadata": {"raw": 2}}},
    "odd metadata": {"error": {"message": "Provider returned error", "metadata": []}},
    "a list of two": [{"error": "prompt is too long"}, {}],
    "a number": 7,
}


@pytest.mark.parametrize("body", NO_REFUSALS.values(), ids=NO_REFUSALS)
def test_another_error_is_none(body):
    assert recognised(400, json.dumps(body).encode()) is None


@pytest.mark.parametrize("status", [401, 403, 404, 408, 429, 503, 504])
def test_a_status_that_means_something_else_counts(status):
    assert recognised(status, json.dumps(openai(QUOTED)).encode()) is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b'{"error":', b"[" * 100_000])
def test_what_is_not_json_is_none(body):
    assert recognised(400, body) is None


def test_a_code_is_enough_and_a_quoted_number_is_not_learned():
    assert recognised(400, json.dumps(openai(f"Too long: {QUOTED}")).encode()) == Overflow()


@pytest.mark.parametrize(
    ("n_ctx", "n_prompt_tokens"),
    [(100, 200), (8192, 100), ("8192", 9000), (True, 9000), (-1, 5), (1 << 40, 1 << 41), (8192.5, 9000)],
)
def test_a_number_that_cannot_be_true_is_not_learned(n_ctx, n_prompt_tokens):
    error = {"type": "exceed_context_size_error", "n_ctx": n_ctx, "n_prompt_tokens": n_prompt_tokens}
    assert recognised(400, json.dumps({"error": error}).encode()) == Overflow()


def test_a_window_below_the_least_is_recognised_and_not_learned():
    assert recognised(400, json.dumps(plain("prompt is too long: 300 tokens > 100 maximum")).encode()) == (
        Overflow()
    )
    nothing = plain(
        f"{WINDOW} 300 tokens. However, you requested 400 tokens (0 in the messages, 400 in the completion)."
    )
    assert recognised(400, json.dumps(nothing).encode()) == Overflow()


def test_a_number_beyond_all_range_is_no_number():
    body = plain(f"{WINDOW} 9,999,999,999 tokens. However, your messages resulted in 9,999,999,999 tokens.")
    assert recognised(400, json.dumps(body).encode()) == Overflow()


def test_digits_may_be_grouped():
    body = plain(f"{WINDOW} 8,192 tokens. However, your messages resulted in 9,001 tokens.")
    assert recognised(400, json.dumps(body).encode()) == Overflow(8192, 9001)


def test_wrapping_without_end_is_given_up():
    message = "prompt is too long: 209303 tokens > 200000 maximum"
    for _ in range(8):
        message = json.dumps({"error": {"message": message}})
    assert recognised(400, json.dumps({"error": {"message": message}}).encode()) is None
    raw = "x"
    for _ in range(8):
        raw = json.dumps({"error": {"message": "Provider returned error", "metadata": {"raw": raw}}})
    assert recognised(400, raw.encode()) is None


def test_half_a_packed_error_is_none():
    assert recognised(400, json.dumps(plain('OpenAIException - {"error": {"mess')).encode()) is None
    assert recognised(400, json.dumps(plain("OpenAIException - " + "[" * 9 + '{"a":' * 300)).encode()) is None
