"""The ids of a response and its items, so that each leads back to where it is kept.

Those of an answer are of its exchange: they are told before there is a message. What a client brought, and
what was said over another API, is known by its message, in the conversation that it is asked for in.
"""

from __future__ import annotations

import re
from typing import Literal

from sidecar.conversation.exchange_record import Reference

__all__ = [
    "Prefix",
    "call_id",
    "item_id",
    "message_of",
    "reference_of",
    "reference_of_item",
    "response_id",
    "stem_of",
]

Prefix = Literal["msg", "rs", "fc", "ctc", "tsc", "fco", "ctco", "tsco"]


# How the ids of conversations begin, and the letter for that in the id of a response.
_LETTERS = {"conv_": "c", "api-": "a"}
_BEGINNINGS = {letter: beginning for beginning, letter in _LETTERS.items()}
_CONVERSATION = re.compile(r"(conv_|api-)([0-9a-f]{32})")
_EXCHANGE = 10  # bytes of the id of an exchange
_MARKS = {"conv_": b"", "api-": b"\n"}
_ITEM = re.compile(r"[a-z]+_([0-9a-f]{20})([0-9a-f]{32})(0a)?[0-9a-f]{4}")
_IN_MESSAGE = re.compile(r"[a-z]+_([0-9a-f]{48})[0-9a-f]{4}")
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


def stem_of(exchange: Reference) -> bytes:
    """What the ids of its items are made of: itself, and where it is kept, if anywhere."""
    kept = _CONVERSATION.fullmatch(exchange.conversation)
    return exchange.exchange + (bytes.fromhex(kept[2]) + _MARKS[kept[1]] if kept else b"")


def item_id(prefix: Prefix, stem: bytes, at: int) -> str:
    """The id of an item at this place: of an answer (`stem_of`), or of a message (its id)."""
    return f"{prefix}_{stem.hex()}{at:04x}"


def reference_of_item(id: str) -> Reference | None:
    """Where the answer is kept that has an item of this id; None if nowhere."""
    told = _ITEM.fullmatch(id)
    if told is None:
        return None
    beginning = "api-" if told[3] else "conv_"
    return Reference(beginning + told[2], bytes.fromhex(told[1]))


def message_of(id: str) -> bytes | None:
    """The id of the message that holds the item of this id; None where it is another kind of id."""
    told = _IN_MESSAGE.fullmatch(id)
    return bytes.fromhex(told[1]) if told else None


def call_id(stem: bytes, at: int) -> str:
    """The id of a call to which the upstream gave none."""
    return f"call_{stem[:_EXCHANGE].hex()}{at:04x}"
