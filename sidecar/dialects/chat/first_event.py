"""The first words of a stream: does it begin with an error or with an answer?

The rule: comments, empty events and deltas that say nothing but a role leave it open; an event that holds an
error settles it, and so does anything else.
"""

from __future__ import annotations

from typing import Any

from sidecar.dialects.base import Verdict
from sidecar.dialects.chat.reading import error_in, loads
from sidecar.dialects.sse import Decoder

__all__ = ["Opening"]

_MAX_EVENT = 64 * 1024  # bytes: by then an error would have been told
_MAX_LOOKS = 16  # at an event before its end: each costs what there is of it


class Opening:
    """Reads the head of an event stream until it can be told what it is; `error` is then the error's JSON."""

    __slots__ = ("_decoder", "_looks", "_read", "error")

    def __init__(self) -> None:
        self.error = b""
        self._decoder = Decoder()
        self._read = 0
        self._looks = _MAX_LOOKS

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
        if (verdict := self._of_pending()) != "open":
            return verdict
        return "answer" if self._read > _MAX_EVENT else "open"

    def close(self) -> Verdict:
        """The same when nothing more comes: an error may lack its last blank line."""
        for payload in self._decoder.close():
            if (verdict := self._of(payload)) != "open":
                return verdict
        return "answer"

    def _of(self, payload: bytes) -> Verdict:
        try:
            event = loads(payload)
        except (ValueError, RecursionError):
            return "answer" if payload.strip() else "open"
        if isinstance(event, (dict, list)) and error_in(event):
            self.error = payload
            return "error"
        return "open" if isinstance(event, dict) and _says_nothing(event) else "answer"

    def _of_pending(self) -> Verdict:
        """Events that are parted by one line end would not be seen until the next of them begins."""
        pending = self._decoder.pending()
        if not self._looks or not pending.endswith((b"}", b"]")):
            return "open"
        self._looks -= 1
        try:
            loads(pending)
        except (ValueError, RecursionError):
            return "open"  # its last line is still to come
        return self._of(pending)


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
