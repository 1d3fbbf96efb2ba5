"""Server-sent events: what one event is, whatever way its bytes were split.

The rule is WHATWG's: lines end with CR LF, LF or CR; a blank line ends an event; the values of an event's
`data` lines are joined by LF; a byte order mark may open the stream. Comments and the other fields
carry nothing of a reply. One thing differs: an event that the stream's end cuts off is given all the
same, because some upstreams forget the last blank line.
"""

from __future__ import annotations

__all__ = ["Decoder", "payloads"]

_BOM = b"\xef\xbb\xbf"


class Decoder:
    """Events out of chunks. Bytes stay bytes, so a character may be split over any number of chunks."""

    __slots__ = ("_after_cr", "_at_start", "_data", "_line")

    def __init__(self) -> None:
        self._line: list[bytes] = []
        self._data: list[bytes] = []
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
        return [event for line in lines if (event := self._take(line)) is not None]

    def close(self) -> list[bytes]:
        """The payload of a last event that lacks its blank line, if there is one."""
        lines = (self._whole_line(b""), b"")
        return [event for line in lines if (event := self._take(line)) is not None]

    def _whole_line(self, end: bytes) -> bytes:
        line = b"".join(self._line) + end
        self._line.clear()
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        return line

    def _take(self, line: bytes) -> bytes | None:
        if line.startswith(b"data:"):
            self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
        elif line == b"data":
            self._data.append(b"")
        elif not line and self._data:
            event = b"\n".join(self._data)
            self._data.clear()
            return event
        return None


def payloads(data: bytes) -> list[bytes]:
    """The payloads of a whole stream: what a `Decoder` gives for it, at a fraction of the cost."""
    if data.startswith(b"data: ") and data.endswith(b"\n\n") and b"\r" not in data:
        events = data[6:-2].split(b"\n\ndata: ")
        # Two line feeds for each event are those that part them: every event is one single line.
        if data.count(b"\n") == 2 * len(events):
            return events
    decoder = Decoder()
    return decoder.feed(data) + decoder.close()
