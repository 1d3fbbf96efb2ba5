"""Server-sent events: what one event is, whatever way its bytes were split.

The rule is WHATWG's: lines end with CR LF, LF or CR; a blank line ends an event; the values of an event's
`data` lines are joined by LF; a byte order mark may open the stream. Comments and the other fields
carry nothing of a reply. What differs is what clients read that are not so strict:

- an event that the stream's end cuts off is given all the same: some upstreams forget the last blank line;
- an object, and `[DONE]`, begin an event of their own behind a line that ends an object, for no JSON holds
  two side by side: some upstreams part events by one line end (GLM at Baseten, opencode #27365);
- a line that is JSON and no field is an event: NDJSON, and errors without `data:` (lemonade #2826);
- an error may be told by the event's name (litellm #39748), or by a field `error` (llama.cpp #16109).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

__all__ = ["Decoder", "is_stream", "payloads"]

_BOM = b"\xef\xbb\xbf"
_OTHER_FIELDS = (b":", b"id:", b"retry:")
_BEGINS = re.compile(rb"(?:data|event|id|retry|error)?:")
_MAY_BEGIN = (b"data:", b"event:", b"id:", b"retry:", b"error:")


def is_stream(head: bytes) -> bool | None:
    """Does a body that begins like this come event by event? None: it is too early to tell."""
    if head.startswith(b"{"):  # as most; an answer that is no stream has neither of these
        return head.find(b'"delta"') >= 0 or head.find(b'"chat.completion.chunk"') >= 0
    begun = head.removeprefix(_BOM).lstrip()
    if _BEGINS.match(begun):
        return True
    if begun.startswith(b"{"):
        return is_stream(begun)
    return None if any(field.startswith(begun) for field in (*_MAY_BEGIN, _BOM)) else False


class Decoder:
    """Events out of chunks. Bytes stay bytes, so a character may be split over any number of chunks."""

    __slots__ = ("_after_cr", "_at_start", "_bare", "_data", "_is_error", "_is_of_next", "_line")

    def __init__(self) -> None:
        self._line: list[bytes] = []
        self._data: list[bytes] = []
        self._bare: list[bytes] = []
        self._is_error = False  # by its name
        self._is_of_next = False  # that name, for it came behind data, and more data may follow
        self._after_cr = False
        self._at_start = True

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads of the events that `data` completes."""
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if not data:
            return []
        self._after_cr = data.endswith(b"\r")
        lines = data.splitlines()
        rest = b"" if data.endswith((b"\n", b"\r")) else lines.pop()
        if lines:
            lines[0] = self._whole_line(lines[0])
        # Pieces of an unfinished line wait in a list: adding them up chunk by chunk would take
        # quadratic time for a line of some megabytes.
        self._line.append(rest)
        return [event for line in lines for event in self._take(line)]

    def close(self) -> list[bytes]:
        """The payload of a last event that lacks its blank line, if there is one."""
        lines = (self._whole_line(b""), b"")
        return [event for line in lines for event in self._take(line)]

    def pending(self) -> bytes:
        """The payload that the next blank line would give, as far as its lines are whole."""
        return b"\n".join(self._data or self._bare)

    def _whole_line(self, end: bytes) -> bytes:
        line = b"".join(self._line) + end
        self._line.clear()
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        return line

    def _take(self, line: bytes) -> Iterable[bytes]:
        """The events that a line ends."""
        if line.startswith(b"data:"):
            return self._take_data(line[6:] if line.startswith(b"data: ") else line[5:])
        if not line:
            return self._end()
        if line == b"data":
            return self._take_data(b"")
        if line.startswith(b"event:"):
            self._is_error, self._is_of_next = line[6:].strip() == b"error", bool(self._data)
        elif line.startswith(b"error:"):
            return (*self._end(), _as_error(line[6:]))
        elif self._bare or line.startswith((b"{", b"[")):
            return self._take_bare(line)
        return ()

    def _take_data(self, value: bytes) -> Iterable[bytes]:
        ended: Iterable[bytes] = ()
        if self._bare or (
            value.startswith((b"{", b"[DONE]")) and self._data and self._data[-1].endswith(b"}")
        ):
            is_next = self._is_error and self._is_of_next
            self._is_error = self._is_error and not is_next
            ended = self._end()
            self._is_error = is_next
        self._data.append(value)
        return ended

    def _take_bare(self, line: bytes) -> Iterable[bytes]:
        if line.startswith(_OTHER_FIELDS):
            return ()
        if not self._bare and line.startswith(b"{") and line.rstrip().endswith(b"}"):
            return (*self._end(), line)
        ended = self._end() if self._data else ()
        self._bare.append(line)
        return ended

    def _end(self) -> Iterable[bytes]:
        """The event that ends here, if one had begun."""
        lines, is_error = self._data or self._bare, self._is_error
        if not lines:
            return ()
        self._data, self._bare = [], []
        self._is_error = self._is_of_next = False
        event = b"\n".join(lines)
        return (_as_error(event) if is_error else event,)


def _as_error(told: bytes) -> bytes:
    """What an event or a field called `error` tells, as a payload that says so."""
    told = told.strip()
    if not told.startswith(b"{"):
        told = json.dumps(told.decode("utf-8", "replace")).encode()
    return told if b'"error"' in told else b'{"error":%b}' % told


def payloads(data: bytes) -> list[bytes]:
    """The payloads of a whole stream: what a `Decoder` gives for it, at a fraction of the cost."""
    if data.startswith(b"data: ") and data.endswith(b"\n\n") and b"\r" not in data:
        events = data[6:-2].split(b"\n\ndata: ")
        # Two line feeds for each event are those that part them: every event is one single line.
        if data.count(b"\n") == 2 * len(events):
            return events
    decoder = Decoder()
    return decoder.feed(data) + decoder.close()
