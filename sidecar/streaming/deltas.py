"""How the pieces of one message join: a table for each kind of object, key -> rule.

What no table names follows OpenAI's SDK: strings are put together, objects merge key by key, lists grow. Of
numbers and booleans the last one stands; an identity (`role`, `id`, `type`) stands as it first came. Null
says nothing and never overwrites; nor does an empty list or object at the top of a message. Upstreams
put them into every delta, and some refuse them when the message is sent back. Only `content` may be null,
as it is beside tool calls.

What is cheaper to collect than to join, `Text` and `Calls`, stays an object until the message is written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

import msgspec

__all__ = ["encode", "encode_message", "merge_message"]

Rules = Mapping[str, Callable[[Any, Any], Any]]


class Text:
    """A string that grows. Joined once, when it is written; never empty."""

    __slots__ = ("pieces",)

    def __init__(self, *pieces: str) -> None:
        self.pieces = list(pieces)

    def value(self) -> str:
        return "".join(self.pieces)


class Calls:
    """The tool calls of one message, each made of pieces that name it by `index`, by `id` or by position."""

    __slots__ = ("_calls", "_latest")

    def __init__(self) -> None:
        self._calls: list[tuple[int, dict[str, Any]]] = []
        self._latest: dict[int, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, pieces: list[Any]) -> None:
        for position, piece in enumerate(pieces):
            if isinstance(piece, dict):
                # The index orders the pieces; a request that carries it is refused by some upstreams.
                index = piece.pop("index", None)
                _merge(self._call_of(piece, index, position), piece, _CALL)

    def value(self) -> list[dict[str, Any]]:
        return [call for _, call in sorted(self._calls, key=itemgetter(0))]

    def _call_of(self, piece: dict[str, Any], index: Any, position: int) -> dict[str, Any]:
        indexed = type(index) is int
        place = index if indexed else position
        call = self._latest.get(place)
        if indexed and call is not None and not piece.get("id"):
            return call
        if not indexed and piece.get("id"):
            call = next((held for _, held in self._calls if held.get("id") == piece["id"]), call)
        if call is None or _opens_another(call, piece, indexed):
            order = place if call is None else max(order for order, _ in self._calls)
            call = self._latest[place] = {}
            self._calls.append((order, call))
        return call


def merge_message(message: dict[str, Any], delta: dict[str, Any]) -> None:
    """Add one delta to `message`, which afterwards owns the delta's lists and objects."""
    for key, value in delta.items():
        held = message.get(key)
        # Nearly every delta is one more piece of a text: it gets no further than here.
        if type(held) is Text and type(value) is str:
            held.pieces.append(value)
        else:
            _set(message, key, value, _MESSAGE)


def encode_message(message: dict[str, Any]) -> bytes:
    """JSON of a message that is made of deltas. The message stays as it is and may grow further."""
    said = {key: value for key, value in message.items() if value or not isinstance(value, _CONTAINERS)}
    if not said.get("role") or not isinstance(said["role"], str):
        said.pop("role", None)
        said = {"role": "assistant", **said}
    if said.get("content") is None and said.keys() <= {"role", "content"}:
        said["content"] = ""
    return encode(said)


def encode(value: Any) -> bytes:
    """JSON of anything that a message holds, always valid UTF-8."""
    try:
        return _ENCODER.encode(value)
    except UnicodeEncodeError:
        # Upstreams that cut text by UTF-16 units send the two halves of an emoji in two chunks; each
        # half alone is no character. Going through UTF-16 puts them together.
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_value)
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _merge(into: dict[str, Any], delta: dict[str, Any], rules: Rules) -> dict[str, Any]:
    for key, value in delta.items():
        _set(into, key, value, rules)
    return into


def _set(into: dict[str, Any], key: str, value: Any, rules: Rules) -> None:
    if value is not None:
        into[key] = rules.get(key, _joined)(into.get(key), value)
    elif key == "content":
        into.setdefault(key, None)


def _joined(held: Any, value: Any) -> Any:
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
        return _merge(held, value, _OBJECT)
    if isinstance(held, list) and isinstance(value, list):
        held.extend(value)
        return held
    return value


def _once(held: Any, value: Any) -> Any:
    return held or value


def _content(held: Any, value: Any) -> Any:
    # Mistral streams its thinking as a list of parts and the answer after it as strings.
    if isinstance(held, list) and held and isinstance(value, str):
        if value and isinstance(held[-1], dict) and held[-1].get("type") == "text":
            held[-1]["text"] = _joined(held[-1].get("text"), value)
        elif value:
            held.append({"type": "text", "text": value})
        return held
    if isinstance(held, (str, Text)) and held and isinstance(value, list):
        return [{"type": "text", "text": held}, *value]
    return _joined(held, value)


def _tool_calls(held: Any, value: Any) -> Calls:
    calls = held if isinstance(held, Calls) else Calls()
    calls.add(value if isinstance(value, list) else [value])
    return calls


def _function(held: Any, value: Any) -> Any:
    function = held or {}
    if not isinstance(value, dict):
        return function
    if function.get("arguments") not in (None, ""):
        value.pop("name", None)
    return _merge(function, value, _FUNCTION)


def _name(held: Any, value: Any) -> Any:
    # OpenAI's SDKs differ here: Python's puts the fragments of a name together, Node's keeps the last one.
    # Python's way loses nothing when a name comes in pieces. But upstreams that repeat the whole name are
    # common, so an equal one is no fragment, and once the arguments have begun the name is settled.
    if not held or not value or held == value:
        return held or value
    return held + value if isinstance(held, str) and isinstance(value, str) else held


def _arguments(held: Any, value: Any) -> Any:
    # Some servers send an object in place of a string of JSON: it is kept, and never joined with another.
    return value if isinstance(value, (dict, list)) else _joined(held, value)


def _details(held: Any, value: Any) -> Any:
    if not isinstance(value, list):
        return _joined(held, value)
    details = held if isinstance(held, list) else []
    for piece in value:
        detail = next((detail for detail in reversed(details) if _continues(detail, piece)), None)
        if detail is None:
            details.append(piece)
        else:
            _merge(detail, piece, _DETAIL)
    return details


def _continues(detail: Any, piece: Any) -> bool:
    # A text and its encrypted form may share one index, and so may several signatures with ids of their own.
    return (
        isinstance(detail, dict)
        and isinstance(piece, dict)
        and type(piece.get("index")) is int
        and detail.get("index") == piece["index"]
        and not any(_differ(detail.get(key), piece.get(key)) for key in ("type", "id"))
    )


def _opens_another(call: dict[str, Any], piece: dict[str, Any], indexed: bool) -> bool:
    """Whether `piece` begins a call of its own, although it names the place of `call`.

    Ollama and Gemini have sent every call of a reply whole and with index 0, or with none; vLLM has sent a
    new id with each piece of one call. So beside an index an id alone proves nothing: it takes a name
    too, and a call before it that is whole.
    """
    other_id = _differ(call.get("id"), piece.get("id"))
    if other_id and not indexed:
        return True
    function = piece.get("function")
    named = isinstance(function, dict) and bool(function.get("name"))
    return named and (other_id or not indexed) and _is_whole(call)


def _is_whole(call: dict[str, Any]) -> bool:
    arguments = _value(call.get("function", {}).get("arguments"))
    if not isinstance(arguments, str):
        return arguments is not None
    try:
        msgspec.json.decode(arguments)
    except (ValueError, RecursionError):
        return False
    return True


def _differ(held: Any, value: Any) -> bool:
    return bool(held and value and held != value)


def _value(part: Any) -> Any:
    return part.value() if isinstance(part, (Text, Calls)) else part


_ENCODER = msgspec.json.Encoder(enc_hook=_value)
_CONTAINERS = (list, dict, Calls)
_OBJECT: Rules = {"role": _once, "id": _once, "type": _once}
_MESSAGE: Rules = {
    **_OBJECT,
    "content": _content,
    "tool_calls": _tool_calls,
    "function_call": _function,
    "reasoning_details": _details,
}
_CALL: Rules = {**_OBJECT, "function": _function}
_FUNCTION: Rules = {"name": _name, "arguments": _arguments}
# `format` comes with every piece and `signature` as one whole, so putting them together would spoil them.
# `index` stays: the list has to go back to the upstream as it was.
_DETAIL: Rules = {**_OBJECT, "format": _once, "signature": _once}
