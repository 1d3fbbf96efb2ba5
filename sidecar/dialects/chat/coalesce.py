"""Events in a row that differ in one piece of text alone, read as one.

A reply of a thousand words comes as a thousand events of 250 bytes, alike but for the word, and to read each
of them took most of what a stream costs at its end. Here `A one Z`, `A two Z`, `A three Z` is read as
`A onetwothree Z`.

Rule: what is read is what would be read of the events. So only pieces of a text that is told alone in its
delta are put together, and only if they are one JSON string.
"""

from __future__ import annotations

import re

import msgspec

__all__ = ["shortened"]

# An event with a text in it: what stands before the text, the text, and what stands after it. Possessive, or
# each byte of a long text would take a hundred in the matcher's stack.
_EVENT = re.compile(
    rb'(\{.*?"(content|reasoning_content|reasoning)": ?")((?:[^"\\]++|\\.)*+)(".*)', re.DOTALL
)
_SAMPLED_EVENT = 2  # the event to look at: those before it may say who speaks
_PROBE = "\ue000 a text that no event holds \ue001"
_CONTINUES, _BEGINS = b"\x80", b"\xc0"  # of UTF-8: bytes that go on with a character
_MIN_RUN = 8  # events of a run below which nothing is gained


class _Choice(msgspec.Struct):
    delta: dict[str, object]
    finish_reason: str | None = None
    error: msgspec.Raw = msgspec.Raw()


class _Chunk(msgspec.Struct):
    choices: list[_Choice]
    error: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(_Chunk).decode
_decode_text = msgspec.json.Decoder(str).decode


def shortened(payloads: list[bytes]) -> list[bytes]:
    """Payloads that say the same as these, and may be fewer."""
    said: list[bytes] = []
    at = _SAMPLED_EVENT
    while at + _MIN_RUN <= len(payloads):
        event = _EVENT.fullmatch(payloads[at])
        if event is None:
            break
        before, after = event[1], event[4]
        end = _end(payloads, at, before, after)
        if end - at < _MIN_RUN or not _tells_only_text(event):
            break
        text = _joined([each[len(before) : -len(after)] for each in payloads[at:end]])
        if text is None:
            break
        said += payloads[at - _SAMPLED_EVENT : at]
        said.append(before + text + after)
        at = end + _SAMPLED_EVENT  # some engines tell the second of each event: every second is a run
    return said + payloads[at - _SAMPLED_EVENT :]


def _end(payloads: list[bytes], start: int, before: bytes, after: bytes) -> int:
    """Where the events end that are alike but for what stands between these."""
    least = len(before) + len(after)
    for at in range(start, len(payloads)):
        each = payloads[at]
        if not (each.startswith(before) and each.endswith(after) and len(each) >= least):
            return at
    return len(payloads)


def _tells_only_text(event: re.Match[bytes]) -> bool:
    """Is the text all that the event says, in its one delta?"""
    probe = _PROBE.encode()
    if probe in event[0]:  # then it does tell nothing
        return False
    try:
        chunk = _decode(event[1] + probe + event[4])
    except ValueError:
        return False
    if chunk.error or len(chunk.choices) != 1:
        return False
    (choice,) = chunk.choices
    # What is told behind a finish reason says that the reason came too early.
    return choice.delta == {event[2].decode(): _PROBE} and not choice.finish_reason and not choice.error


def _joined(texts: list[bytes]) -> bytes | None:
    """The pieces of a JSON string as one; None if it is none, since a piece went on behind the string."""
    text = b"".join(texts)
    if not text.isascii() and any(_CONTINUES <= each[:1] < _BEGINS for each in texts):
        return None  # half a character, which nobody who reads event by event sees whole
    try:
        _decode_text(b'"' + text + b'"')
    except ValueError:
        return None
    return text
