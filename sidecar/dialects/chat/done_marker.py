"""The end of a stream: a client must not see it before the reply is in the store.

What tells a client that a reply is whole is the line `data: [DONE]`. That line and all after it are kept
back; every other byte goes on at once. A chunk that ends inside a line which may yet become that
line keeps back these few bytes, and nothing else does.

Of a body that is no stream it is the last piece that is kept back. Which of them a body is tells what it
begins with: a stream is not always called one.
"""

from __future__ import annotations

import re

from sidecar.dialects.last_piece import LastPiece
from sidecar.dialects.sse import is_stream

__all__ = ["Ending", "UnnamedEnding"]

_FORMS = (b"data: [DONE]", b"data:[DONE]")
_WORD, _BEFORE = b"[DONE]", len(b"data: ")
_LINE = re.compile(rb"(?<![^\r\n])data: ?\[DONE\]")


class Ending:
    """Splits a stream into what may go to the client now and what waits for the commit.

    `held` is what waits: once `done`, everything from the start of the line `data: [DONE]` onwards;
    before that, at most eleven bytes that may become this line. Released bytes + `held` are always
    the bytes that came. Whoever relays the stream sends `held` and empties it when the reply is
    stored, or when the stream has ended.
    """

    __slots__ = ("_inside_line", "done", "held")

    def __init__(self) -> None:
        self.held = b""
        self.done = False
        self._inside_line = False

    def feed(self, chunk: bytes) -> bytes:
        """What may go to the client now; for the usual chunk, which ends with its line, `chunk` itself."""
        # find() is nearly twice as fast on bytes as `in`; this is all that most chunks cost.
        if not self.held and chunk.endswith(b"\n") and chunk.find(_WORD) < 0:
            self._inside_line = False
            return chunk
        if self.done:
            self.held += chunk
            return b""
        data = self.held + chunk
        # Within a line that was released in part, the first byte is no start of a line.
        found = _line(data, 1 if self._inside_line else 0)
        if found:
            self.done = True
            return self._release(data, found.start())
        start = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        rest = data[start:]
        if (start or not self._inside_line) and any(form.startswith(rest) for form in _FORMS):
            self._inside_line = False
            return self._release(data, start)
        self._inside_line = True
        return self._release(data, len(data))

    def _release(self, data: bytes, end: int) -> bytes:
        self.held = data[end:]
        return data[:end]


_BLANK = 1024  # bytes at its start of which a body may be blank and yet be waited for


class UnnamedEnding:
    """The end of a body that is called no stream and may be one. Like these two, once it is known which."""

    __slots__ = ("_end", "_known")

    def __init__(self) -> None:
        self._known = False
        self._end: Ending | LastPiece = LastPiece()

    @property
    def done(self) -> bool:
        return self._end.done

    @property
    def held(self) -> bytes:
        return self._end.held

    @held.setter
    def held(self, held: bytes) -> None:
        self._end.held = held

    def feed(self, chunk: bytes) -> bytes:
        """What may go to the client now: nothing before it is known what it is, which takes a few bytes."""
        if self._known:
            return self._end.feed(chunk)
        begun = self._end.held + chunk
        stream = is_stream(begun)
        if stream is None and len(begun) > _BLANK:
            stream = False
        self._known = stream is not None
        if stream:
            self._end = Ending()
            return self._end.feed(begun)
        self._end.held = begun
        return b""


def _line(data: bytes, start: int) -> re.Match[bytes] | None:
    """The first line of the end, looked for where its word is: the pattern alone would try every byte."""
    word = data.find(_WORD, start)
    return _LINE.search(data, max(start, word - _BEFORE)) if word >= 0 else None
