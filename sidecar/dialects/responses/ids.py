"""The ids of a response and its items: of the exchange that they come from, so that each leads back to it."""

from __future__ import annotations

from typing import Literal

__all__ = ["call_id", "item_id", "response_id"]

Prefix = Literal["msg", "rs", "fc", "ctc", "tsc"]


def response_id(exchange: bytes) -> str:
    """The id of the response that an exchange is."""
    return f"resp_{exchange.hex()}"


def item_id(prefix: Prefix, exchange: bytes, at: int) -> str:
    """The id of its item at this place."""
    return f"{prefix}_{exchange.hex()}{at:04x}"


def call_id(exchange: bytes, at: int) -> str:
    """The id of a call to which the upstream gave none."""
    return f"call_{exchange.hex()}{at:04x}"
