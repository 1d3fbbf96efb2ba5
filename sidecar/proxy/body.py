"""The body of a chat request, as it arrives, and unpacked.

Rules: what is too large or cannot be read is refused as soon as that is known, before any work. A packed body
is unpacked piece by piece, to no more than `limits.max_body` bytes and no more than `limits.unpack_ratio`
times its own; up to a MiB it may unpack to in any case. A byte order mark in front of JSON is left out, as
RFC 8259 (8.1) lets a reader do: some programs write one, most upstreams skip it.
"""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Sequence

from aiohttp import web

from sidecar.errors import BadRequest, BodyTooLarge
from sidecar.proxy.bodies import Held
from sidecar.settings import Settings
from sidecar.upstream.content_encoding import COMPRESSED, Decompressor, coding_of

__all__ = ["body_of"]

_FREE_SIZE = 1 << 20  # bytes
_YIELD_AFTER = 512 << 10  # unpacked bytes after which others have their turn
_JOINED_AT_ONCE = 2 << 20  # bytes
_SMALL_PIECE = 16 << 10  # bytes; what keeping a larger one by itself takes beside it is nothing
_MAX_NAME_LENGTH = 60  # of a coding that is told


async def body_of(request: web.BaseRequest, settings: Settings, held: Held) -> bytes:
    """Read it. Raises `BadRequest`, `BodyTooLarge`, or `TooManyBodies` if there is no room for it."""
    limit, coding = settings.limits.max_body, coding_of(request.headers)
    if coding != "identity" and coding not in COMPRESSED:
        raise BadRequest(
            f"the body has the unknown Content-Encoding {coding[:_MAX_NAME_LENGTH]}",
            code="invalid_content_encoding",
        )
    declared, content = request.content_length or 0, request.content
    if declared > limit:
        raise _too_large(limit)
    body = await content.readany()
    await held.reach(len(body), declared)
    if not content.at_eof():
        body = await _arrived(request, body, limit, held)
    if len(body) > limit:
        raise _too_large(limit)
    if coding != "identity":
        body = await _unpacked(body, coding, settings, held)
    return body.removeprefix(codecs.BOM_UTF8)


async def _arrived(request: web.BaseRequest, first: bytes, limit: int, held: Held) -> bytes:
    """A body that does not come in one piece; however small its pieces are, it takes little more than it."""
    pieces, size = list[bytes | bytearray]((first,)), len(first)
    declared, newest = request.content_length or 0, bytearray()
    while piece := await request.content.readany():
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        if len(piece) >= _SMALL_PIECE:
            pieces.append(piece)
        elif pieces[-1] is newest and len(newest) < _YIELD_AFTER:
            newest += piece
        else:
            newest = bytearray(piece)
            pieces.append(newest)
        await held.reach(size, declared)
    return await _joined(pieces, size)


async def _joined(pieces: Sequence[bytes | bytearray], size: int) -> bytes:
    """One body of these; in a thread, which lets go of the interpreter for that, where it takes a while."""
    return await asyncio.to_thread(b"".join, pieces) if size > _JOINED_AT_ONCE else b"".join(pieces)


async def _unpacked(packed: bytes, coding: str, settings: Settings, held: Held) -> bytes:
    limit, ratio = settings.limits.max_body, settings.limits.unpack_ratio
    unpacker, pieces, size, at_once = Decompressor(coding), list[bytes](), 0, _YIELD_AFTER
    try:
        for piece in unpacker.pieces(packed):
            size += len(piece)
            if size > limit:
                raise _too_large(limit)
            if size > _FREE_SIZE and size > ratio * len(packed):
                raise BodyTooLarge(
                    f"the body decompresses to more than `limits.unpack_ratio` = {ratio:g} times its size"
                )
            pieces.append(piece)
            if size >= at_once:
                at_once += _YIELD_AFTER
                await held.reach(len(packed) + size)
                await asyncio.sleep(0)
    except ValueError as error:
        raise _invalid(f"is not valid {coding}") from error
    await held.reach(len(packed) + size)
    if not unpacker.whole:
        raise _invalid(f"is not valid {coding}: it ends early, or something follows its end")
    return await _joined(pieces, size)


def _invalid(reason: str) -> BadRequest:
    return BadRequest(f"the body {reason}", code="invalid_content_encoding")


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than `limits.max_body` = {limit} bytes")
