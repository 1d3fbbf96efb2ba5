from __future__ import annotations

import pytest

from sidecar.conversation.records import Detail, Difference, Exchange
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
