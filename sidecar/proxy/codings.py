"""Content codings (RFC 9110, 8.4.1): which packed bodies can be read, and how.

A body that is said to be packed in another way, or is not packed although it is said to be, is read as it
is: servers that send `Content-Encoding: none` exist, and what they send can be read all the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

__all__ = ["PACKED", "READABLE", "Unpacker", "coding_of", "unpacked"]

#: Codings that an `Unpacker` reads.
PACKED = frozenset(("gzip", "x-gzip", "deflate"))
#: Codings in which a body can be read; an upstream is not offered others.
READABLE = PACKED | {"identity"}


def coding_of(headers: Mapping[str, str]) -> str:
    """How the body is said to be packed, in lower case; `identity` where nothing is said."""
    return headers.get("Content-Encoding", "").strip().lower() or "identity"


class Unpacker:
    """Bytes of a packed body, piece by piece. `whole` once its end has come."""

    __slots__ = ("_inner",)

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # 32: finds out whether gzip or zlib

    def feed(self, piece: bytes, limit: int = 0) -> bytes:
        """What the piece unpacks to, at most `limit` bytes (0: all). Raises `ValueError` if it is none."""
        try:
            return self._inner.decompress(piece, limit)
        except zlib.error as error:
            raise ValueError(str(error)) from error

    @property
    def whole(self) -> bool:
        """Has the end come?"""
        return self._inner.eof


def unpacked(data: bytes, coding: str) -> bytes:
    """A body without its coding, as far as it goes; one that is cut off is short."""
    if coding not in PACKED:
        return data
    try:
        return Unpacker().feed(data)
    except ValueError:
        return data
