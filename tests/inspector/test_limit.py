"""Where the limit comes from to which a prompt was cut."""

from __future__ import annotations

import pytest

from sidecar.conversation.exchange_record import Detail
from sidecar.inspector.limit import cut_of, limit_of, taken_of
from sidecar.settings.trimming import Trim
from tests.store.trees import exchange

OF_PHI = {"match": "phi-4*", "max_input_tokens": 500}


def limit(trim, **detail):
    given = Trim.model_validate(trim) if trim is not None else None
    return limit_of(exchange("conv_1", None, model="phi-4", detail=Detail(**detail)), given)


@pytest.mark.parametrize(
    ("trim", "origin"),
    [
        ({"models": [OF_PHI]}, "the operator's `max_input_tokens` in `trim.models` for phi-4*"),
        ({"max_input_tokens": 500}, "the operator's `trim.max_input_tokens`"),
        ({"max_input_tokens": 500, "models": [{"match": "qwen*"}]}, "the operator's `trim.max_input_tokens`"),
        (
            {"max_input_tokens": 500, "models": [{"match": "*", "max_input_tokens": 9}]},
            "of the model's window",
        ),
        ({}, "of the model's window as it was known, less the room for the answer (`trim.answer_share`)"),
        (None, "of the model's window"),
    ],
)
def test_a_budget_of_tokens_is_the_settings_or_the_windows(trim, origin):
    assert limit(trim, budget=500, dropped=2).startswith(f"500 tokens, {origin}")


def test_after_a_refusal_it_is_what_the_upstream_takes():
    told = limit({"models": [OF_PHI]}, budget=500, overflow_retries=1)
    assert told == "500 tokens, so that it fits the upstream, which had refused the whole as too long"


def test_a_limit_of_messages_or_turns_is_named():
    trim = {"max_messages": 20, "models": [{"match": "phi*", "max_turns": 4}]}
    assert limit(trim, dropped=2) == (
        "20 messages, the operator's `trim.max_messages` or"
        " 4 turns, the operator's `max_turns` in `trim.models` for phi*"
    )
    assert limit(trim, budget=500).startswith("500 tokens, of")
    assert limit(trim) == ""
    assert limit({}, shortened=1) == "a limit of messages or turns that is no longer set"


@pytest.mark.parametrize(
    ("trim", "about", "begins", "step"),
    [
        (
            {"step": 0.5},
            {"budget": 500, "saved": 300, "estimated_tokens": 250},
            "The whole had 550 tokens by estimate, and 500 were the limit: 300 tokens were left out, since",
            "of 50 % of the limit (250 tokens at most), so that the 250 that went",
        ),
        ({}, {"budget": 500, "saved": 300}, "Of the whole 500 were the limit: 300", "(300 tokens at most)"),
        (
            {"max_messages": 6},
            {"budget": 500, "saved": 20, "estimated_tokens": 90},  # it was not for its tokens
            "The limit was 6 messages: 4 messages were left out, since",
            "of 60 % of the limit (4 messages at most), so that what went",
        ),
        (
            {"models": [{"match": "phi*", "max_turns": 3}]},
            {},
            "The limit was 3 turns: 4",
            "(2 turns at most)",
        ),
        (
            {},
            {},
            "4 messages were left out, since a cut goes by whole steps of 60 % of the limit, so",
            "step",
        ),
        (None, {}, "4 messages were left out, since a cut goes by whole steps, so that", "trim.step"),
    ],
)
def test_why_so_much_was_left_out_is_told_in_a_sentence(trim, about, begins, step):
    given = Trim.model_validate(trim) if trim is not None else None
    told = cut_of(exchange("conv_1", None, model="phi-4", detail=Detail(dropped=4, **about)), given)
    assert told.startswith(begins)
    assert step in told
    assert cut_of(exchange("conv_1", None, detail=Detail(budget=500)), given) == ""


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ("auto", "it stays only where it takes no more than 25 % of the limit (`trim.first_turn_share`)"),
        (False, "The first turn went with the others, since `trim.keep_first_turn` is false."),
        (True, ""),
    ],
)
def test_why_the_first_turn_went_as_well_is_said_where_it_did(keep, said):
    each, trim = exchange("conv_1", None, detail=Detail(dropped=4, budget=400)), Trim(keep_first_turn=keep)
    told = cut_of(each, trim, is_first_turn_out=True)
    assert ("The first turn" in told) is bool(said)
    assert said in told
    assert told.startswith(cut_of(each, trim))
    assert "The first turn" not in cut_of(each, trim)
    assert cut_of(each, None, is_first_turn_out=True) == cut_of(each, None)
    assert cut_of(exchange("conv_1", None), trim, is_first_turn_out=True) == ""


def test_what_tools_and_system_prompt_took_is_told_and_what_they_left_where_that_is_less_than_half():
    had = Detail(
        budget=5840, tools_tokens=4930, system_tokens=57, dropped=4, saved=300, estimated_tokens=5800
    )
    assert limit_of(exchange("conv_1", None, detail=had), Trim()).endswith(
        "; of these the tools took 4,930 and the system prompt 57, by estimate, and left 853 for what was"
        " said: fewer tools, or a larger window, leave more"
    )
    assert "took" not in limit({}, budget=5840, tools_tokens=2920)
    assert "left 0 for" in limit({}, budget=500, tools_tokens=600)
    each = exchange("conv_1", None, detail=had)
    assert "of 60 % of what tools and system prompt leave of the limit (512 tokens at most)" in cut_of(
        each, Trim()
    )


def test_the_share_of_the_limit_that_something_took_is_told_where_it_is_known():
    assert taken_of(Detail(budget=5840), 4930) == "; by estimate 4,930 tokens, 84 % of the limit"
    assert taken_of(Detail(budget=5840), 0) == taken_of(Detail(), 4930) == ""


def test_what_went_and_is_more_than_the_limit_is_said_to_be():
    """Tools alone may have more: then there are no steps, and nothing more that may go."""
    detail = Detail(dropped=4, budget=500, saved=91, estimated_tokens=531, system_tokens=20, tools_tokens=501)
    told = cut_of(exchange("conv_1", None, detail=detail), Trim())
    assert told == (
        "The whole had 622 tokens by estimate, and 500 were the limit: 91 tokens were left out, all that may"
        " go. The 531 that went are still more: tools and system prompt have 521 of them, and stay, as the"
        " newest turn does."
    )
