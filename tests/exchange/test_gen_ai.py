from __future__ import annotations

import pytest

from sidecar.conversation.exchange_record import Detail, Difference, Exchange
from sidecar.conversation.identity import Identity
from sidecar.dialects.chat.dialect import CHAT
from sidecar.exchange.call import ChatCall
from sidecar.exchange.gen_ai import (
    DURATIONS,
    FIRST_CHUNKS,
    TOKENS,
    error_type,
    of_inference,
    of_request,
    span_name,
)
from sidecar.exchange.outcome import Progress, Tracked
from sidecar.exchange.prompt import Prompt
from tests.conversation.build import CHAIN, request, user


def test_the_bounds_are_those_of_the_conventions():
    assert tuple(0.01 * 2**power for power in range(14)) == DURATIONS
    assert FIRST_CHUNKS[:8] == (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1)
    assert FIRST_CHUNKS[8:] == (0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
    assert tuple(4**power for power in range(14)) == TOKENS


@pytest.mark.parametrize(
    ("status", "error", "type"),
    [
        (200, None, ""),
        (None, None, ""),
        (429, "rate_limit_exceeded", "429"),
        (502, None, "502"),
        (418, "teapot", "_OTHER"),
        (200, "client_left", "client_left"),
        (None, "client_left", "client_left"),
        (200, "upstream_broke_off", "upstream_broke_off"),
        (200, "whatever an upstream says", "_OTHER"),
    ],
)
def test_the_type_of_an_error_is_one_of_a_few(status, error, type):
    assert error_type(Exchange(b"", "", status=status, error=error)) == type


@pytest.mark.parametrize(
    "status", [400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529]
)
def test_statuses_that_say_something_are_told_and_no_others(status):
    assert error_type(Exchange(b"", "", status=status)) == str(status)
    assert error_type(Exchange(b"", "", status=status + 30)) == "_OTHER"
    assert of_request(Progress(1, 1.0, b"abcd"), Exchange(b"", "", status=status)).get("error.type") == (
        str(status) if status >= 500 else None
    )


@pytest.mark.parametrize(
    "end",
    ["client_left", "upstream_broke_off", "no_reply", "content_filter", "unread_content_encoding"],
)
def test_so_are_the_ends_of_an_exchange(end):
    for status in (None, 200, 399):
        assert error_type(Exchange(b"", "", status=status, error=end)) == end
    assert error_type(Exchange(b"", "", status=400, error=end)) == "400"


def test_a_span_is_named_after_the_model():
    assert span_name(Exchange(b"", "c", model="big")) == "chat big"
    assert span_name(Exchange(b"", "c")) == "chat"


def test_of_what_is_not_known_a_span_says_nothing():
    progress, exchange = Progress(1, 1.0, b"abcd"), Exchange(b"", "")
    assert of_inference(progress, exchange, names_chat=True) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
    }
    assert of_request(progress, exchange) == {"sidecar.target": "default"}


@pytest.mark.parametrize(
    ("detail", "prompt"),
    [(Detail(dropped=1), Prompt()), (Detail(shortened=1), Prompt()), (Detail(), Prompt(summed=3))],
)
def test_what_was_cut_shortened_or_summed_up_is_marked_as_compacted(detail, prompt):
    progress = Progress(1, 1.0, b"abcd", prompt=prompt)
    told = of_inference(progress, Exchange(b"", "c", detail=detail), names_chat=True)
    assert told["gen_ai.conversation.compacted"] is True


def test_a_conversation_is_named_only_where_it_may_be():
    progress, exchange = Progress(1, 1.0, b"abcd"), Exchange(b"", "c")
    told = of_inference(progress, exchange, names_chat=True)
    assert (told["gen_ai.conversation.id"], told["session.id"]) == ("c", "c")
    assert not {"gen_ai.conversation.id", "session.id"} & set(
        of_inference(progress, exchange, names_chat=False)
    )


def test_the_time_to_the_first_chunk_is_a_streams_and_begins_where_it_was_sent():
    progress = Progress(1, 1.0, b"abcd", sent=2.0, first=2.5, streamed=True)
    told = of_inference(progress, Exchange(b"", ""), names_chat=True)
    assert told["gen_ai.response.time_to_first_chunk"] == 0.5
    progress.streamed = False
    told = of_inference(progress, Exchange(b"", ""), names_chat=True)
    assert "gen_ai.response.time_to_first_chunk" not in told


def test_a_span_of_a_request_says_what_was_done_to_it():
    detail = Detail(
        restored=1,
        dropped=2,
        shortened=3,
        recalled=4,
        overflow_retries=5,
        form_retries=6,
        degraded=True,
        silent_cut=True,
        estimated_tokens=7,
        difference=Difference(0, "system"),
    )
    progress = Progress(1, 1.0, b"abcd", Tracked("r1"), prompt=Prompt(summed=8))
    exchange = Exchange(b"", "c", outcome="continue", status=503, error="store_unavailable", detail=detail)
    assert of_request(progress, exchange) == {
        "http.response.status_code": 503,
        "error.type": "503",
        "sidecar.request.id": "r1",
        "sidecar.outcome": "continue",
        "sidecar.target": "default",
        "sidecar.error": "store_unavailable",
        "sidecar.restored": 1,
        "sidecar.trimmed": 2,
        "sidecar.shortened": 3,
        "sidecar.recalled": 4,
        "sidecar.summarised": 8,
        "sidecar.retries.overflow": 5,
        "sidecar.retries.form": 6,
        "sidecar.degraded": True,
        "sidecar.silently_cut": True,
        "sidecar.differs": "system",
        "sidecar.estimated_tokens": 7,
    }


def call(**about):
    asked = request(user("hi"), model="m", **about)
    return ChatCall(Identity(b"t", "a"), CHAT, CHAIN, asked, "auto", "conv_1", False)


def test_a_span_of_an_exchange_says_what_was_asked_and_what_came():
    detail = Detail(answered_by="m-1", finish="stop", dropped=1, cached_tokens=3, reasoning_tokens=2)
    exchange = Exchange(
        b"",
        "conv_1",
        model="m",
        status=200,
        error="client_left",
        input_tokens=9,
        output_tokens=5,
        detail=detail,
    )
    asked = call(max_tokens=70, n=2)
    progress = Progress(1, 1.0, b"abcd", sent=2.0, first=2.25, streamed=True, call=asked)
    assert of_inference(progress, exchange, names_chat=True) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "gen_ai.request.stream": True,
        "gen_ai.request.max_tokens": 70,
        "gen_ai.request.choice.count": 2,
        "gen_ai.conversation.id": "conv_1",
        "session.id": "conv_1",
        "gen_ai.conversation.compacted": True,
        "gen_ai.response.model": "m-1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 9,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 3,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "error.type": "client_left",
    }


def test_one_choice_is_not_worth_a_word():
    told = of_inference(Progress(1, 1.0, b"abcd", call=call()), Exchange(b"", ""), names_chat=True)
    assert told.keys() == {"gen_ai.operation.name", "gen_ai.provider.name"}
