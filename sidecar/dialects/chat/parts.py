"""Lists that grow at both ends of their elements: content in parts, details of reasoning, blocks of thinking.

The rule: the first element that comes goes on with the last that is there, if both are text or thinking of
one kind; details with an `index` go on with the one that has it.
"""

from __future__ import annotations

from typing import Any

from sidecar.dialects.chat.joining import OBJECT, Growing, Rules, Text, joined, merge, once

__all__ = ["Details", "blocks", "content", "details"]

_TOLD_IN_PIECES = frozenset(
    ("text", "output_text", "thinking", "reasoning", "reasoning_text", "summary_text")
)
_LOOK_BACK = 8  # details of one index: a text, its encrypted form, a summary; more would cost without end


def content(held: Any, value: Any) -> Any:
    """The content of a message: text, parts, or parts with text behind them (Mistral's thinking comes so)."""
    if isinstance(value, dict):
        value = [value]
    if isinstance(held, list) and held and isinstance(value, str):
        value = [{"type": "text", "text": value}] if value else []
    if isinstance(held, (str, Text)) and held and isinstance(value, list):
        held = [{"type": "text", "text": held}]
    return _parts(held, value)


def _parts(held: Any, value: Any) -> Any:
    if not (isinstance(held, list) and held and isinstance(value, list) and value):
        return joined(held, value) if value != [] else held if held is not None else value
    if _goes_on(held[-1], value[0]):
        merge(held[-1], value[0], _PART)
        value = value[1:]
    held.extend(value)
    return held


def blocks(held: Any, value: Any) -> Any:
    """Thinking of LiteLLM's: a block for each delta, of which the last one brings the signature of all."""
    if isinstance(held, list) and isinstance(value, list):
        for block in value:
            _parts(held, [block]) if held else held.append(block)
        return held
    return joined(held, value)


def details(held: Any, value: Any) -> Any:
    """OpenRouter's `reasoning_details`."""
    if not isinstance(value, list):
        return held if isinstance(held, Details) else joined(held, value)
    grown = held if isinstance(held, Details) else Details()
    grown.add(value)
    return grown


class Details(Growing):
    """Details in the order in which they began."""

    __slots__ = ("_all", "_recent")

    def __init__(self) -> None:
        self._all: list[Any] = []
        self._recent: dict[int, list[dict[str, Any]]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(self, pieces: list[Any]) -> None:
        for piece in pieces:
            index = piece.get("index") if isinstance(piece, dict) else None
            if type(index) is not int or abs(index) >= 2**31:
                self._all.append(piece)
                continue
            recent = self._recent.setdefault(index, [])
            detail = next((each for each in reversed(recent) if _is_same(each, piece)), None)
            if detail is None:
                self._all.append(piece)
                recent.append(piece)
                del recent[:-_LOOK_BACK]
            else:
                merge(detail, piece, _DETAIL)

    def value(self) -> list[Any]:
        return self._all


def _goes_on(last: Any, piece: Any) -> bool:
    return (
        isinstance(last, dict)
        and isinstance(piece, dict)
        and isinstance(piece.get("type"), str)
        and piece["type"] in _TOLD_IN_PIECES
        and last.get("type") == piece["type"]
        and last.get("index") == piece.get("index")
        and not last.get("signature")  # which ends a block
    )


def _is_same(detail: dict[str, Any], piece: dict[str, Any]) -> bool:
    # A text and its encrypted form may share one index, and so may several signatures with ids of their own.
    return not any(detail.get(key) and piece.get(key) and detail[key] != piece[key] for key in ("type", "id"))


_PART: Rules = {**OBJECT, "thinking": _parts, "reasoning": _parts, "summary": _parts, "content": _parts}
# `format` comes with every piece, so putting it together would spoil it.
# `index` stays: the list has to go back to the upstream as it was.
_DETAIL: Rules = {**OBJECT, "format": once}
