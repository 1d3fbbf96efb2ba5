"""The ids of a response and its items: of the exchange that they come from, so that each leads back to it."""

from __future__ import annotations

import re
from typing import Literal

from sidecar.conversation.records import Reference

__all__ = ["Prefix", "call_id", "item_id", "reference_of", "response_id"]

Prefix = Literal["msg", "rs", "fc", "ctc", "tsc"]


# How the ids of conversations begin, and the letter for that in the id of a response.
_LETTERS = {"conv_": "c", "api-": "a"}
_BEGINNINGS = {letter: beginning for beginning, letter in _LETTERS.items()}
_CONVERSATION = re.compile(r"(conv_|api-)([0-9a-f]{32})")
_RESPONSE = re.compile(r"resp_([0-9a-f]{20})([ca])([0-9a-f]{32})")


def response_id(exchange: bytes, conversation: str | None) -> str:
    """The id of the response that an exchange is: in it is where that is kept, so that it is found at once,
    wherever that is asked for. Of one that is kept nowhere it leads nowhere."""
    kept = _CONVERSATION.fullmatch(conversation) if conversation else None
    return f"resp_{exchange.hex()}" + (_LETTERS[kept[1]] + kept[2] if kept else "")


def reference_of(id: str) -> Reference | None:
    """Where the response with this id is kept; None if nowhere."""
    told = _RESPONSE.fullmatch(id)
    return Reference(_BEGINNINGS[told[2]] + told[3], bytes.fromhex(told[1])) if told else None


def item_id(prefix: Prefix, exchange: bytes, at: int) -> str:
    """The id of its item at this place."""
    return f"{prefix}_{exchange.hex()}{at:04x}"


def call_id(exchange: bytes, at: int) -> str:
    """The id of a call to which the upstream gave none."""
    return f"call_{exchange.hex()}{at:04x}"
