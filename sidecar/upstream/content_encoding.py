"""Content codings (RFC 9110, 8.4.1): which compressed bodies can be read, and how.

Rules: what is decompressed comes in pieces, so that whoever reads it can stop at a limit before the memory
is taken. A gzip body may be several members in a row (RFC 1952, 2.2), and `deflate` without the wrapper that
RFC 1950 asks for is read as well, as browsers do. A response that is said to be compressed in another way, or
is not compressed although it is said to be, is read as it is: servers that send `Content-Encoding: none`
exist.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping

from multidict import MultiMapping

__all__ = ["COMPRESSED", "READABLE", "Decompressor", "coding_of", "decompressed"]

#: Codings that a `Decompressor` reads.
COMPRESSED = frozenset(("gzip", "x-gzip", "deflate"))
#: Codings in which a body can be read; an upstream is not offered others.
READABLE = COMPRESSED | {"identity"}

_INPUT_SLICE = 16 << 10  # bytes that are decompressed at a time: zlib copies what it leaves of them
_OUTPUT_PIECE = 64 << 10  # bytes of one decompressed piece
_MAX_GZIP_MEMBERS = 2000  # of one body: each costs more than its 20 bytes
_GZIP = b"\x1f\x8b"
_EITHER, _RAW = zlib.MAX_WBITS | 32, -zlib.MAX_WBITS


def coding_of(headers: Mapping[str, str]) -> str:
    """How the body is said to be compressed, in lower case; `identity` where nothing is said.

    Of several codings, in one header or in more, a list with commas: no set of the above holds that.
    """
    said = headers.get("Content-Encoding")
    if said is None:
        return "identity"
    every = headers.getall("Content-Encoding") if isinstance(headers, MultiMapping) else [said]
    names = [name for each in every for part in each.split(",") if (name := part.strip().lower())]
    return ", ".join(name for name in names if name != "identity") or "identity"


class Decompressor:
    """Bytes of a compressed body, piece by piece. `whole` once its end has come, and nothing behind it."""

    __slots__ = ("_begun", "_coding", "_inner", "_members", "_trailing")

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._inner = zlib.decompressobj(wbits=_EITHER)
        self._begun = False
        self._members = 1
        self._trailing = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What the data decompresses to, in pieces of 64 KiB at most. Raises `ValueError` if it is none.

        Read it to its end, or feed nothing more.
        """
        try:
            for at in range(0, len(data), _INPUT_SLICE):
                yield from self._decompressed(data[at : at + _INPUT_SLICE])
        except zlib.error as error:
            raise ValueError("it is not compressed as its Content-Encoding says") from error

    @property
    def whole(self) -> bool:
        """Has the end come, and nothing that does not belong to it?"""
        return self._inner.eof and not self._trailing

    def _decompressed(self, rest: bytes) -> Iterator[bytes]:
        is_full = False
        while rest or is_full:
            if self._inner.eof and not self._next_member(rest):
                return
            piece = self._first(rest) if not self._begun else self._inner.decompress(rest, _OUTPUT_PIECE)
            if piece:
                yield piece
            is_full = len(piece) == _OUTPUT_PIECE and not self._inner.eof
            rest = self._inner.unused_data if self._inner.eof else self._inner.unconsumed_tail

    def _first(self, data: bytes) -> bytes:
        self._begun = True
        try:
            return self._inner.decompress(data, _OUTPUT_PIECE)
        except zlib.error:
            if self._coding != "deflate":
                raise
            self._inner = zlib.decompressobj(wbits=_RAW)
            return self._inner.decompress(data, _OUTPUT_PIECE)

    def _next_member(self, rest: bytes) -> bool:
        """Begin with what follows an end; False if that is nothing that could be read."""
        if self._trailing or not _GZIP.startswith(rest[:2]) or self._members == _MAX_GZIP_MEMBERS:
            self._trailing = True
            return False
        self._members += 1
        self._inner = zlib.decompressobj(wbits=_EITHER)
        return True


def decompressed(data: bytes, coding: str, limit: int) -> tuple[bytes, bool]:
    """A body without its coding, and whether it has more than `limit` bytes, of which the first are given.

    One that is cut off is short; one that is not compressed after all is given as it is.
    """
    if coding not in COMPRESSED:
        return data, False
    pieces, size = [], 0
    try:
        for piece in Decompressor(coding).pieces(data):
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                return b"".join(pieces)[:limit], True
    except ValueError:
        return (b"".join(pieces), False) if pieces else (data, False)
    return b"".join(pieces), False
