"""What an estimate of tokens counts in a message: its characters by class, its images, and the message
itself, for what the chat template puts around it. `prompt/weights.py` says what each of them weighs.

Only what a model reads counts: the text behind the JSON's escapes, a tool call's name and arguments, not
the bytes of an image or a recording, nor ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import msgspec

from sidecar.conversation.message import Fields, encode, read
from sidecar.conversation.pieces import SLICE, slices
from sidecar.conversation.read_in_pieces import read_in_pieces
from sidecar.conversation.reasoning import REASONING_FIELDS

__all__ = ["NOTHING", "Measure", "Measured", "measure", "measure_of_tools", "measured", "total"]

_LOWER = bytes(range(ord("a"), ord("z") + 1))
_UPPER = _LOWER.upper()
_DIGITS = b"0123456789"
_BREAKS = b"\n\r\t"
_ORDER = range(12)
_SPACES, _SYMBOLS = 3, 5
_LATER = len(_ORDER)  # bytes that begin no character
_SHORT = 50  # bytes that may be looked through a dozen times: that takes no longer, and fewer steps


def _classes() -> bytes:
    """The class of each byte; a character beyond ASCII counts by its first byte in UTF-8."""
    classes = bytearray([_SYMBOLS] * 0x80 + [_LATER] * 0x80)
    kinds = {
        0: _LOWER,
        1: _UPPER,
        2: _DIGITS,
        _SPACES: b" ",
        4: _BREAKS,
        6: range(0xC3, 0xCA),  # Latin
        7: range(0xCA, 0xE0),  # other alphabets
        8: b"\xc2\xe2\xee\xef",  # signs and punctuation: of Latin-1, of typography, of full width
        9: b"\xe0\xe1",  # of India; also Thai, Georgian, Khmer
        10: range(0xE3, 0xEE),  # ideographs, kana, Hangul
        11: range(0xF0, 0x100),
    }
    for kind, members in kinds.items():
        for byte in members:
            classes[byte] = kind
    return bytes(classes)


_CLASSES = _classes()


_decode = msgspec.json.Decoder().decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Measure(NamedTuple):
    """What is counted. `total` adds measures up.

    `spaces` stand alone, `pairs` are two in a row, as in indented code; `alphabets` are the letters of two
    bytes beyond Latin (Cyrillic, Greek, Arabic ...); `pictograms` take four bytes; `images` are all parts
    of a content that are no text; `tools` are the characters of the list of tools.
    """

    messages: int = 0
    lower: int = 0
    upper: int = 0
    digits: int = 0
    spaces: int = 0
    pairs: int = 0
    breaks: int = 0
    symbols: int = 0
    latin: int = 0
    alphabets: int = 0
    marks: int = 0
    indic: int = 0
    ideographs: int = 0
    pictograms: int = 0
    images: int = 0
    tools: int = 0


NOTHING = Measure()


class Measured(Protocol):
    """A message of which it is known what an estimate of its tokens counts."""

    @property
    def measure(self) -> Measure:
        """What is counted."""
        ...


def total(measures: Iterable[Measure]) -> Measure:
    """All of them together."""
    return Measure(*map(sum, zip(NOTHING, *measures, strict=True)))


def measure(raw: bytes) -> Measure:
    """Measure JSON: a message, or the list of tools. What is neither counts as the text that it is."""
    try:
        fields = read(raw)
    except ValueError:
        return _other(raw)
    return measured(fields)


def measure_of_tools(tools: bytes) -> Measure:
    """Measure the list of tools of a request; nothing if it is empty.

    Kept, for the same list of 25 kB comes with every request of an agent; of very long ones the newest alone.
    """
    return _measure_of_long_tools(tools) if len(tools) > _LONG_TOOLS else _measure_of_tools(tools)


def _measure_tools(tools: bytes) -> Measure:
    return measure(tools) if tools else NOTHING


_measure_of_tools = lru_cache(maxsize=64)(_measure_tools)
_measure_of_long_tools = lru_cache(maxsize=1)(_measure_tools)
_LONG_TOOLS = 256 << 10  # bytes


def measured(fields: Fields) -> Measure:
    """Measure the fields of a message."""
    content = fields.get("content")
    images = 0
    if type(content) is str:
        text = content
        if len(fields) == 2:  # nearly every message
            return _counted(text, 1)
    elif content is None:
        text = ""
    else:
        texts: list[str] = []
        images = _read_parts(content, texts)
        text = "".join(texts)
    return _counted("".join((text, *_beside(fields))), 1, images)


def _other(raw: bytes) -> Measure:
    if raw.lstrip()[:1] == b"[":
        try:
            if len(raw) <= SLICE:
                return Measure(tools=len(encode(_decode(raw)).decode()))
            sizes = [len(encode(read_in_pieces(each)).decode()) for each in _decode_list(raw)]
            return Measure(tools=sum(sizes) + max(1, len(sizes)) + 1)  # with brackets and commas
        except (ValueError, RecursionError):
            pass
    return _counted(raw.decode("utf-8", "replace"), 1)


def _read_parts(content: Any, texts: list[str]) -> int:
    """Add the texts of a content that is no string; how many of its parts are none."""
    images = 0
    for part in content if type(content) is list else [content]:
        if type(part) is str:
            texts.append(part)
            continue
        told = [part[name] for name in _TEXTS if type(part.get(name)) is str] if type(part) is dict else []
        inner = part.get("content") if type(part) is dict else None
        texts += told
        if type(inner) is list:
            images += _read_parts(inner, texts)
        elif not told:
            images += 1
    return images


# Where a part of a content keeps its text: also a refusal, and reasoning in Anthropic's shape.
_TEXTS = ("text", "refusal", "thinking", "content")


def _beside(fields: Fields) -> Iterator[str]:
    """What a model reads of a message beside its content."""
    for name, value in fields.items():
        if not value:
            continue
        if name == "tool_calls" and type(value) is list:
            for call in value:
                yield from _called(call)
        elif name == "function_call":
            yield from _called({"function": value})
        elif name in _READ:
            yield value if type(value) is str else encode(value).decode()


_READ = REASONING_FIELDS | {"name", "refusal"}


def _called(call: Any) -> Iterator[str]:
    """Name and arguments; a call of another shape as JSON. What templates put between them weighs too."""
    function = call.get("function") if type(call) is dict else None
    if type(function) is not dict:
        yield encode(call).decode()
        return
    arguments = function.get("arguments", "")
    yield f'{{"name": "{function.get("name", "")}", "arguments": '
    yield arguments if type(arguments) is str else encode(arguments).decode()
    yield "}\n"


def _counted(text: str, messages: int = 0, images: int = 0) -> Measure:
    if len(text) > SLICE:
        # Two spaces that a slice parts are no pair, which an estimate does not mind.
        return total(
            [Measure(messages, images=images), *(_counted(text[a:b]) for a, b in slices(0, len(text)))]
        )
    data = text.encode("utf-8", "surrogatepass")
    pairs = data.count(b"  ")
    if len(data) <= _SHORT:
        counts = list(map(data.translate(_CLASSES).count, _ORDER))
        counts[_SPACES] -= 2 * pairs
        counts.insert(_SPACES + 1, pairs)
        return Measure._make((messages, *counts, images, 0))
    # Each step counts what it takes away, so that the next has less to look through.
    left = [data]
    for kind in (_LOWER, b" ", _UPPER, _DIGITS, _BREAKS):
        data = data.translate(None, kind)
        left.append(data)
    every, no_lower, no_space, no_upper, no_digit, symbols = map(len, left)
    lower, spaces, upper = every - no_lower, no_lower - no_space, no_space - no_upper
    digits, breaks = no_upper - no_digit, no_digit - symbols
    spaces -= 2 * pairs
    if text.isascii():
        return Measure(messages, lower, upper, digits, spaces, pairs, breaks, symbols, images=images)
    rest = map(data.translate(_CLASSES).count, _ORDER[_SYMBOLS:])
    return Measure._make((messages, lower, upper, digits, spaces, pairs, breaks, *rest, images, 0))
