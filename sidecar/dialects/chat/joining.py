"""How two values of one key join, where no table says otherwise: as OpenAI's SDKs do it.

Strings are put together, objects merge key by key, lists grow. Of numbers and booleans the last one stands;
an identity (`role`, `id`, `type`) and a signature stand as they first came. Null says nothing.

What is cheaper to collect than to join is `Growing`: it stays an object until the message is written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

__all__ = ["OBJECT", "Growing", "Rules", "Text", "encode", "joined", "merge", "once", "put"]

Rules = Mapping[str, Callable[[Any, Any], Any]]


class Growing:
    """A value that is told in pieces; `value` is what they say so far."""

    __slots__ = ()

    def value(self) -> Any:
        """As it is written. Whoever asks may go on to add pieces."""
        raise NotImplementedError


class Text(Growing):
    """A string that grows. Joined once, when it is written; never empty."""

    __slots__ = ("pieces",)

    def __init__(self, *pieces: str) -> None:
        self.pieces = list(pieces)

    def value(self) -> str:
        return "".join(self.pieces)


def merge(into: dict[str, Any], delta: dict[str, Any], rules: Rules) -> dict[str, Any]:
    """Add one object to another, which afterwards owns the lists and objects of both."""
    for key, value in delta.items():
        put(into, key, value, rules)
    return into


def put(into: dict[str, Any], key: str, value: Any, rules: Rules) -> None:
    """Add the value of one key."""
    if value is not None:
        into[key] = rules.get(key, joined)(into.get(key), value)


def joined(held: Any, value: Any) -> Any:
    """The rule for every key that has none of its own."""
    if held is None or held == "":
        return value
    if value == "":
        return held
    if isinstance(held, str) and isinstance(value, str):
        return Text(held, value)
    if isinstance(held, Text) and isinstance(value, str):
        held.pieces.append(value)
        return held
    if isinstance(held, dict) and isinstance(value, dict):
        return merge(held, value, OBJECT)
    if isinstance(held, list) and isinstance(value, list):
        held.extend(value)
        return held
    return value


def once(held: Any, value: Any) -> Any:
    """The first value that says something stands."""
    return held or value


#: For every object: what names it or seals it comes whole, and is often repeated with every piece.
OBJECT: Rules = {"role": once, "id": once, "type": once, "signature": once, "thought_signature": once}


def encode(value: Any) -> bytes:
    """JSON of anything that a message holds, always valid UTF-8."""
    try:
        return _ENCODER.encode(value)
    except UnicodeEncodeError:
        # Upstreams that cut text by UTF-16 units send the two halves of an emoji in two chunks; each
        # half alone is no character. Going through UTF-16 puts them together.
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_value)
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _value(part: Any) -> Any:
    return part.value()


_ENCODER = msgspec.json.Encoder(enc_hook=_value)
