"""How many tokens a reply took, in every spelling in which upstreams report that."""

from __future__ import annotations

import json

import pytest

from sidecar.exchange.usage import NO_TOKENS, Tokens, tokens_of

SPELLINGS = {
    "OpenAI": (
        {
            "prompt_tokens": 9,
            "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
        Tokens(9, 5, 4, 2),
    ),
    "OpenAI's Responses": (
        {
            "input_tokens": 9,
            "output_tokens": 5,
            "input_tokens_details": {"cached_tokens": 4},
            "output_tokens_details": {"reasoning_tokens": 2},
        },
        Tokens(9, 5, 4, 2),
    ),
    "DeepSeek": (
        {
            "prompt_tokens": 9,
            "completion_tokens": 5,
            "prompt_cache_hit_tokens": 6,
            "prompt_cache_miss_tokens": 3,
        },
        Tokens(9, 5, 6),
    ),
    "Moonshot": ({"prompt_tokens": 9, "completion_tokens": 5, "cached_tokens": 4}, Tokens(9, 5, 4)),
    "Anthropic": (
        {
            "input_tokens": 3,
            "output_tokens": 5,
            "cache_read_input_tokens": 4,
            "cache_creation_input_tokens": 2,
        },
        Tokens(9, 5, 4),
    ),
    "Perplexity": (
        {"prompt_tokens": 9, "completion_tokens": 5, "reasoning_tokens": 2},
        Tokens(9, 5, None, 2),
    ),
    "none at all": ({"prompt_tokens_details": None, "completion_tokens_details": []}, NO_TOKENS),
    "counts that are none": (
        {"prompt_tokens": -1, "completion_tokens": "5", "cached_tokens": 1.5},
        NO_TOKENS,
    ),
    "too many": (
        {"input_tokens": (1 << 31) - 1, "cache_read_input_tokens": 9},
        Tokens(cached=9),
    ),
}


@pytest.mark.parametrize(("usage", "tokens"), SPELLINGS.values(), ids=SPELLINGS)
def test_it_is_read_in_the_spelling_of(usage, tokens):
    assert tokens_of(json.dumps(usage).encode()) == tokens


@pytest.mark.parametrize("usage", [None, b"", b"null", b"[1]", b"{", b'"9"', b"[" * 100_000])
def test_what_is_no_usage_tells_nothing(usage):
    assert tokens_of(usage) == NO_TOKENS
