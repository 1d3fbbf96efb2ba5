"""The body of a message as the file keeps it: a large one smaller, the others as they are.

Rules: what is read is what was written, byte for byte, whatever that is. Base64 in a data URL is kept as the
bytes that it stands for, which are images and do not get smaller; the rest of a large body is compressed, if
that pays. A small body stays as it is, for a usual turn to cost no more, and where many messages come in one
request so do larger ones: to compress the 200 of a long chat that is seen for the first time takes four times
as long as all else that is done to store them. An encrypted body stays as it is too, since it would not get
smaller. Nor is it compressed before it is encrypted: its length would tell how much of what an attacker wrote
into a message stands elsewhere in it (as in CRIME, CVE-2012-4929).

Version 1: `\\0pack1`; `z` or `t`, for a rest that is compressed (zlib) or not; its length, and the number of
pieces of bytes; for each where in the rest it belongs and its length, all numbers of 8 bytes; these pieces,
and the rest.
"""

from __future__ import annotations

import struct
import time
import zlib
from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Iterator

from sidecar.store.parts import WITHOUT_PARTS

__all__ = ["PACKED", "SMALL", "body_of", "small_among", "stored_body"]

#: What a packed body begins with. JSON never does.
PACKED = b"\0pack1"
_HEAD, _PLACE = struct.Struct(">6scQQ"), struct.Struct(">QQ")
_TAKEN = (PACKED, WITHOUT_PARTS)
#: So many bytes of a body, or of base64 in it, stay as they are, but for one that begins as if it was stored.
SMALL = 2048
_MANY, _SMALL_OF_MANY = 16, 16 << 10  # messages of one request, and the bytes that stay as they are of each
_LARGEST = 1 << 20  # bytes that are compressed: the turns of others wait meanwhile
_SAMPLE = 16 << 10  # bytes that tell of more than four times as many whether compressing them pays
_PAYS = 0.7  # of the size; base64 that nobody announced comes down to 0.76
_BEFORE, _AFTER = b";base64,", b'"'
# Decoding holds the interpreter, and a thread that waits for it gets it in between.
_PIECE = 3 << 16  # bytes, a multiple of three
_PAUSE = 0.00005  # seconds; without one the same thread would go on
_SLICE = 4 << 20  # bytes in which base64 is looked for at a time


def small_among(messages: int) -> int:
    """How many bytes of a body stay as they are, where so many messages come in one request."""
    return SMALL if messages <= _MANY else _SMALL_OF_MANY


def stored_body(body: bytes, small: int = SMALL) -> bytes:
    """What to keep of this body; of so many bytes or fewer it is the body."""
    if len(body) <= small and not body.startswith(_TAKEN):
        return body
    if body.startswith(b"\0") and not body.startswith(_TAKEN):
        return body  # it is encrypted
    rest, places, data = _split(body)
    deflated = _deflated(rest)
    kind, kept = (b"t", rest) if deflated is None else (b"z", deflated)
    table = b"".join(_PLACE.pack(*each) for each in places)
    packed = b"".join((_HEAD.pack(PACKED, kind, len(rest), len(places)), table, *data, kept))
    return packed if len(packed) < len(body) or body.startswith(_TAKEN) else body


def body_of(stored: bytes) -> bytes:
    """The body of which this was kept. Raises `ValueError` if it is damaged."""
    if not stored.startswith(PACKED):
        return stored
    try:
        _mark, kind, length, count = _HEAD.unpack_from(stored)
        at = _HEAD.size + count * _PLACE.size
        places = list(_PLACE.iter_unpack(stored[_HEAD.size : at]))
        rest_at = at + sum(size for _place, size in places)
        rest = stored[rest_at:]
        if kind == b"z":
            # Never more than was said: damaged bytes could stand for any number.
            inflating = zlib.decompressobj()
            rest = inflating.decompress(rest, length + 1)
            length = length if inflating.eof else -1
    except (struct.error, zlib.error, OverflowError) as error:
        raise ValueError("a stored body is damaged") from error
    if len(rest) != length or len(places) != count or rest_at > len(stored):
        raise ValueError("a stored body is damaged")
    return b"".join(_joined(rest, places, memoryview(stored)[at:rest_at])) if places else rest


def _split(body: bytes) -> tuple[bytes, list[tuple[int, int]], list[bytes]]:
    """What is no base64; where in it the pieces of bytes belong, with the length of each; and these."""
    rests, places, data = [], [], []
    copied = length = at = 0  # bytes of the body that are done, and of the rest
    while (at := _next(body, at)) >= 0:
        at += len(_BEFORE)
        end = body.find(_AFTER, at)
        end = len(body) if end < 0 else end
        if end - at > SMALL and (decoded := _decoded(memoryview(body)[at:end])):
            rests.append(body[copied:at])
            length += at - copied
            places.append((length, len(decoded)))
            data.append(decoded)
            copied = at + len(decoded) // 3 * 4
        at = end
    return b"".join((*rests, body[copied:])) if data else body, places, data


def _next(body: bytes, at: int) -> int:
    """Where base64 is announced next; -1 if it is not. By many calls, since each keeps the interpreter."""
    for begin in range(at, len(body), _SLICE):
        found = body.find(_BEFORE, begin, begin + _SLICE + len(_BEFORE) - 1)
        if found >= 0:
            return found
    return -1


def _decoded(text: memoryview) -> bytes:
    """The bytes of what is base64 from the beginning on. Of whole groups of four characters alone: each of
    these has one spelling, unlike one that is filled up at the end."""
    text, size, decoded = text[: (len(text) - 1) // 4 * 4], _PIECE // 3 * 4, []
    for start in _steps(len(text), size):
        piece = text[start : start + size]
        try:
            found = a2b_base64(piece, strict_mode=True)
        except Error:
            break
        if len(found) * 4 != len(piece) * 3:  # it ends in between
            break
        decoded.append(found)
    return b"".join(decoded)


def _joined(rest: bytes, places: list[tuple[int, int]], data: memoryview) -> Iterator[bytes]:
    done = at = 0
    for place, size in places:
        yield rest[done:place]
        for start in _steps(size, _PIECE):
            yield b2a_base64(data[at + start : at + min(start + _PIECE, size)], newline=False)
        done, at = place, at + size
    yield rest[done:]


def _steps(length: int, size: int) -> Iterator[int]:
    """Where each piece begins, with a pause in front of all but the first."""
    for start in range(0, length, size):
        if start:
            time.sleep(_PAUSE)
        yield start


def _deflated(rest: bytes) -> bytes | None:
    """The same compressed, where that pays."""
    if not SMALL < len(rest) <= _LARGEST:
        return None
    if len(rest) > 4 * _SAMPLE and len(zlib.compress(rest[:_SAMPLE], 1)) > _PAYS * _SAMPLE:
        return None
    deflated = zlib.compress(rest, 1)
    return deflated if len(deflated) < _PAYS * len(rest) else None
