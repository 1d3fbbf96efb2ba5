"""What a reply says of its tokens, in the spellings of the APIs and gateways.

Sources: OpenAI (`prompt_tokens`, `*_details`) and its Responses (`input_tokens`), Anthropic behind gateways
(`cache_read_input_tokens`, which its `input_tokens` leave out), DeepSeek (`prompt_cache_hit_tokens`),
Moonshot (`cached_tokens` beside the counts), Perplexity (`reasoning_tokens` there).
"""

from __future__ import annotations

from typing import Any

import msgspec

from sidecar.conversation.exchange_record import count_of

__all__ = ["NO_TOKENS", "Tokens", "tokens_of"]

_decode = msgspec.json.Decoder().decode


class Tokens(msgspec.Struct, frozen=True):
    """Counts as reported; None for what was not. `cached` is a part of `input`, `reasoning` of `output`."""

    input: int | None = None
    output: int | None = None
    cached: int | None = None
    reasoning: int | None = None


NO_TOKENS = Tokens()


def tokens_of(usage: bytes | None) -> Tokens:
    """The counts in a reply's `usage` (JSON)."""
    try:
        told = _decode(usage) if usage else None
    except (ValueError, RecursionError):
        return NO_TOKENS
    if type(told) is not dict:
        return NO_TOKENS
    return Tokens(
        _first(told, "prompt_tokens") if "prompt_tokens" in told else _input(told),
        _first(told, "completion_tokens", "output_tokens"),
        _detail(told, "cached_tokens", "prompt_tokens_details", "input_tokens_details")
        if "prompt_cache_hit_tokens" not in told
        else _first(told, "prompt_cache_hit_tokens"),
        _detail(told, "reasoning_tokens", "completion_tokens_details", "output_tokens_details"),
    )


def _input(told: dict[str, Any]) -> int | None:
    fresh = _first(told, "input_tokens")
    if fresh is None:
        return None
    cached = (_first(told, name) or 0 for name in ("cache_read_input_tokens", "cache_creation_input_tokens"))
    return count_of(fresh + sum(cached))


def _first(told: dict[str, Any], *names: str) -> int | None:
    for name in names:
        if (count := count_of(told.get(name))) is not None:
            return count
    return None


def _detail(told: dict[str, Any], name: str, *details: str) -> int | None:
    for each in details:
        within = told.get(each)
        if type(within) is dict and (count := count_of(within.get(name))) is not None:
            return count
    if name == "cached_tokens":
        return _first(told, name, "cache_read_input_tokens")
    return _first(told, name)
