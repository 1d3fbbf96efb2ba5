"""Refusals for length, each as its engine words it, and what is none."""

from __future__ import annotations

import json
import time

import pytest

from sidecar.dialects.base import Overflow
from sidecar.dialects.chat.overflow import recognised
from tests.conversation.refusals import REFUSALS, WINDOW, openai, plain
from tests.dialects import wordings


@pytest.mark.parametrize(("status", "body", "numbers"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_for_length_is_recognised_with_its_numbers(status, body, numbers):
    assert recognised(status, json.dumps(body).encode()) == Overflow(*numbers)


WRAPPED = {
    "message": lambda said: json.dumps({"error": {"message": said}}),
    "a text alone": lambda said: said,
    "error": lambda said: json.dumps({"error": said}),
    "detail": lambda said: json.dumps({"detail": said}, ensure_ascii=False),
    "a list of details": lambda said: json.dumps({"detail": [{"loc": ["body"], "msg": said}]}),
    "flat": lambda said: json.dumps({"object": "error", "message": said, "code": 500}),
    "errors": lambda said: json.dumps({"errors": [{"title": "Bad Request", "detail": said}]}),
    "a list": lambda said: json.dumps([{"error": {"message": said}}, {}]),
    "a wrapped one": lambda said: json.dumps(
        {
            "error": {
                "message": f"litellm.APIError: ProxyException - {json.dumps({'error': {'message': said}})}"
            }
        }
    ),
    "in other words": lambda said: f"Something went wrong with the engine. {said}",
    "a gateway's": lambda said: json.dumps({"success": False, "result": {"reason": {"text": said}}}),
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
@pytest.mark.parametrize("said", wordings.REFUSALS)
def test_words_nobody_has_listed_are_known_by_what_they_mean(said, wrap):
    assert recognised(400, wrap(said).encode()) == Overflow(*wordings.REFUSALS[said])


@pytest.mark.parametrize("name", wordings.NAMES)
@pytest.mark.parametrize("key", ["code", "type", "status", "reason", "error_type", "error_code", "__type"])
def test_a_name_is_enough(name, key):
    assert recognised(400, json.dumps({"error": {"message": "Bad request", key: name}}).encode()) is not None


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
@pytest.mark.parametrize("said", wordings.NO_REFUSALS)
def test_what_only_sounds_like_one_is_none(said, wrap):
    assert recognised(400, wrap(said).encode()) is None


@pytest.mark.parametrize("status", [400, 402, 404, 413, 418, 422, 429, 499, 500, 502, 503, 529])
def test_an_error_of_any_status_may_be_one(status):
    assert recognised(status, json.dumps(openai(QUOTED)).encode()) == Overflow(300, 99999)
    assert recognised(status, b'{"error":{"message":"Rate limit reached","code":"rate_limit"}}') is None


@pytest.mark.parametrize(
    ("name", "with_answer"),
    [
        ("vllm up to 0.8", True),
        ("vllm 0.9", True),
        ("vllm 0.16", True),
        ("groq", True),
        ("tgi", True),
        ("anthropic, with the answer", True),
        ("llama.cpp", False),
        ("ollama", False),
        ("openai, messages", False),
        ("anthropic", False),
    ],
)
def test_it_is_told_whether_the_answer_counts_as_well(name, with_answer):
    status, body, _ = REFUSALS[name]
    found = recognised(status, json.dumps(body).encode())
    assert found is not None
    assert found.with_answer == with_answer


def test_it_is_where_only_what_is_generated_is_spoken_of():
    said = "The prompt is too long: to generate 1000 tokens more exceeds the window of 8192"
    found = recognised(400, json.dumps(plain(said)).encode())
    assert found is not None
    assert found.with_answer


@pytest.mark.parametrize("status", [201, 301, 304])
def test_what_is_no_error_is_none(status):
    assert recognised(status, json.dumps(openai(QUOTED)).encode()) is None


def test_long_texts_take_no_long_time():
    for said in (
        "tokens " * 9000,
        "prompt " * 9000,
        "a" * 90_000,
        "context length " * 5000,
        "[[" * 5000,
        "1" * 9000,
    ):
        begun = time.process_time()
        recognised(400, json.dumps({"error": {"message": said}}).encode(), said.encode())
        recognised(400, said.encode())
        assert time.process_time() - begun < 2


CODES = [
    "context_length_exceeded",
    "context_window_exceeded",
    "model_context_window_exceeded",
    "exceed_context_size_error",
    "context_exceeded",
]
QUOTED = f"{WINDOW} 300 tokens. However, your messages resulted in 99999 tokens."

NO_REFUSALS = {
    "words of the user's in the middle": plain(f"Invalid 'messages[0].content': '{QUOTED}' is not allowed"),
    "words of the user's in a wrapped one": plain(
        f"litellm.BadRequestError: OpenAIException - bad: {QUOTED}"
    ),
    "words of the user's under another key": {"error": {"message": "bad input", "input": QUOTED}},
    "an echo of the request": {"error": {"message": "bad"}, "detail": QUOTED},
    "words of the user's that speak of another limit": {"error": f"bad input: 'a rate limit? {QUOTED}'"},
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
    "a number": 7,
}


@pytest.mark.parametrize("body", NO_REFUSALS.values(), ids=NO_REFUSALS)
@pytest.mark.parametrize("ascii", [True, False])
def test_another_error_is_none(body, ascii):
    request = json.dumps({"messages": [{"role": "user", "content": f"Ä {QUOTED}"}]}, ensure_ascii=ascii)
    assert recognised(400, json.dumps(body).encode(), request.encode()) is None


@pytest.mark.parametrize(
    "name",
    [
        *("choices", "input", "messages", "prompt", "request", "body"),
        *("content", "value", "param", "loc", "ctx"),
    ],
)
def test_nothing_is_read_where_an_error_repeats_the_request(name):
    """It may be cut or rewritten there, so that its words are not found in the request."""
    error = {"message": "bad input", name: [{"said": f"… {QUOTED}"}]}
    assert recognised(400, json.dumps({"error": error}).encode()) is None
    assert recognised(400, json.dumps({"error": {**error, "hint": QUOTED}}).encode()) is not None


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b'{"error":', b"[" * 100_000])
def test_what_says_nothing_is_none(body):
    assert recognised(400, body) is None


def test_a_code_is_enough_and_a_quoted_number_is_not_learned():
    refused = json.dumps(openai(f"Too long: {QUOTED}")).encode()
    assert recognised(400, refused, QUOTED.encode()) == Overflow()
    assert recognised(400, refused, b"another") == Overflow(300, 99999)


@pytest.mark.parametrize("code", [*CODES, "prompt_too_long"])
def test_a_code_for_length_counts_more_than_numbers_that_contradict_it(code):
    """A name that only reads like one does not: it may be another field that is too long."""
    said = f"{WINDOW} 99999 tokens. However, your messages resulted in 300 tokens."
    found = recognised(400, json.dumps({"error": {"message": said, "code": code}}).encode())
    assert found == (Overflow() if code in CODES else None)


@pytest.mark.parametrize(
    "said",
    [
        "Your input exceeds the context window of this model",
        "The number of tokens to keep from the initial prompt is greater than the context length",
        "Context size has been exceeded.",
        "The input length exceeds the context length",
        "input length exceeds maximum context length",
        "prompt too long; exceeded max context length by 4 tokens",
        "Input is too long for requested model.",
        "prompt is too long",
    ],
)
def test_where_an_engine_tells_no_number_none_beside_its_words_is_the_window(said):
    told = json.dumps(plain(f"The limit of your plan is 4096 tokens. {said}")).encode()
    assert recognised(400, told) == Overflow()


def test_what_an_error_begins_with_is_its_own_though_the_user_has_said_it_as_well():
    said = "prompt is too long: 209303 tokens > 200000 maximum"
    refused = json.dumps(plain(f"litellm.BadRequestError: AnthropicException - {said}")).encode()
    assert recognised(400, refused, said.encode()) == Overflow(200000, 209303)


@pytest.mark.parametrize("mark", ["'", '"', "`"])
def test_a_quotation_that_speaks_of_money_hides_no_refusal(mark):
    asked = "what does the error about my quota and billing mean?"
    said = f"prompt is too long: 209303 tokens > 200000 maximum (at {mark}{asked}{mark})"
    refused = json.dumps(plain(said)).encode()
    assert recognised(400, refused, asked.encode()) == Overflow(200000, 209303)
    assert recognised(400, refused) is None


@pytest.mark.parametrize(
    ("n_ctx", "n_prompt_tokens"),
    [(100, 200), (8192, 100), ("8192", 9000), (True, 9000), (-1, 5), (1 << 40, 1 << 41), (8192.5, 9000)],
)
def test_a_number_that_cannot_be_true_is_not_learned(n_ctx, n_prompt_tokens):
    error = {"type": "exceed_context_size_error", "n_ctx": n_ctx, "n_prompt_tokens": n_prompt_tokens}
    assert recognised(400, json.dumps({"error": error}).encode()) == Overflow()


@pytest.mark.parametrize(
    ("levels", "found"), [(0, Overflow(8192, 9000)), (6, Overflow(8192, 9000)), (12, Overflow())]
)
def test_counts_in_fields_of_their_own_are_found_as_deep_as_anybody_wraps_them(levels, found):
    counts: object = {"n_ctx": 8192, "n_prompt_tokens": 9000}
    for _ in range(levels):
        counts = {"id": 7, "error": counts}
    told = {"code": "exceed_context_size_error", "error": counts}
    assert recognised(400, json.dumps(told).encode()) == found


def test_of_two_numbers_the_larger_one_is_no_window_whatever_words_it_stands_by():
    said = "Context limit exceeded: 5000 tokens of 4096"
    assert recognised(400, json.dumps(openai(said)).encode()) == Overflow()


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


def test_half_an_emoji_in_an_error_is_no_trap():
    refused = json.dumps(plain(f"Too long: {QUOTED} \ud83d")).encode()
    assert recognised(400, refused, QUOTED.encode()) == Overflow()


def test_a_status_that_a_proxy_writes_before_an_error_is_none_of_its_numbers():
    told = "Error code: 400 - {'message': 'Prompt length 9000 is greater than max_seq_len 8192', 'code': 422}"
    assert recognised(400, told.encode()) == Overflow(8192, 9000)


def test_digits_may_be_grouped():
    body = plain(f"{WINDOW} 8,192 tokens. However, your messages resulted in 9,001 tokens.")
    assert recognised(400, json.dumps(body).encode()) == Overflow(8192, 9001)


def test_however_often_it_is_wrapped_it_is_the_same():
    message = "prompt is too long: 209303 tokens > 200000 maximum"
    for _ in range(6):
        message = json.dumps({"error": {"message": message}})
        assert recognised(400, message.encode()) == Overflow(200000, 209303)
    deep: object = "prompt is too long"
    for _ in range(30):
        deep = {"error": deep}
    assert recognised(400, json.dumps(deep).encode()) is None  # nobody wraps so often
    listed: object = "prompt is too long"
    for _ in range(30):
        listed = [listed]
    assert recognised(400, json.dumps(listed).encode()) is None


def test_half_a_packed_error_is_none():
    assert recognised(400, json.dumps(plain('OpenAIException - {"error": {"mess')).encode()) is None
    assert recognised(400, json.dumps(plain("OpenAIException - " + "[" * 9 + '{"a":' * 300)).encode()) is None
