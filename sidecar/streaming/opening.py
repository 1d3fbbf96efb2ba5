"""The first words of a stream: does it begin with an error or with an answer?

The rule: comments, empty events and deltas that say nothing but a role leave it open; an event that holds an
error settles it, and so does anything else.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from sidecar.streaming.sse import Decoder

__all__ = ["Opening", "Verdict"]

Verdict = Literal["open", "answer", "error"]

_LONGEST = 64 * 1024  # bytes: by then an error would have been told

_decode = msgspec.json.Decoder().decode


class Opening:
    """Reads the head of an event stream until it can be told what it is; `error` is then the error's JSON."""

    __slots__ = ("_decoder", "_read", "error")

    def __init__(self) -> None:
        self.error = b""
        self._decoder = Decoder()
        self._read = 0

    def feed(self, data: bytes) -> Verdict:
        """What the stream begins with, as far as it is known by now."""
        self._read += len(data)
        start = 0
        while start < len(data):  # event by event, for it is the first ones that tell
            end = data.find(b"\n\n", start) + 2
            end = end if end > 1 else len(data)
            for payload in self._decoder.feed(data[start:end]):
                if (verdict := self._of(payload)) != "open":
                    return verdict
            start = end
        return "answer" if self._read > _LONGEST else "open"

    def close(self) -> Verdict:
        """The same when nothing more comes: an error may lack its last blank line."""
        for payload in self._decoder.close():
            if (verdict := self._of(payload)) != "open":
                return verdict
        return "answer"

    def _of(self, payload: bytes) -> Verdict:
        try:
            event = _decode(payload)
        except (msgspec.DecodeError, RecursionError):
            return "answer" if payload.strip() else "open"
        if not isinstance(event, dict):
            return "answer"
        if _is_error(event):
            self.error = payload
            return "error"
        return "open" if _says_nothing(event) else "answer"


def _is_error(event: dict[str, Any]) -> bool:
    if event.get("error"):
        return True
    return "choices" not in event and isinstance(event.get("message"), str)


def _says_nothing(event: dict[str, Any]) -> bool:
    """No delta in it says more than who speaks."""
    choices = event.get("choices")
    if not isinstance(choices, list):
        return False
    for choice in choices:
        delta = choice.get("delta") if isinstance(choice, dict) else choice
        if not isinstance(delta, dict) or choice.get("finish_reason"):
            return False
        if any(value for name, value in delta.items() if name != "role"):
            return False
    return True
