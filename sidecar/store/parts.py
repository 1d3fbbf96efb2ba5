"""Large parts of a message, such as an image or a document: which they are, and how a body goes without them.

Rule: a store keeps a part once in each conversation, however often it is sent again there: with an edited
question, in another branch, or under the summary of a client that compacts its history. It is deleted with
its conversation, and no two conversations share one: nothing has to be counted, and nobody can tell what
another has. Put together again a body is what it was, byte for byte.

A part is what stands between two quotes of JSON: base64 with what is in front of it in its URL, or a text as
it was escaped. What an upstream said is said once, so there are none in that.

Version 1 of a body without its parts: `\\0part1`; the length of the body and the number of parts; for each
where in the rest it belongs and its name; then the rest. Numbers take 8 bytes, names 16: the BLAKE2b of a
part, person `sidecar/part`.

Version 1 of an encrypted body with parts, each of which is encrypted by itself: `\\0seal2`; the number of
parts; for each where in the rest it belongs and its length; the rest, and the parts.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

from sidecar.conversation.tree import Node

__all__ = [
    "HEAD_SIZE",
    "LARGE",
    "WITHOUT_PARTS",
    "WITH_SEALED_PARTS",
    "Cut",
    "Shell",
    "assembled",
    "cut",
    "name_of",
    "parts_of",
    "put_together",
    "sealed",
    "shell",
    "shell_of",
    "size_of",
    "unsealed",
]

#: What a body that is kept without its parts begins with, and an encrypted one with them. JSON never does.
WITHOUT_PARTS, WITH_SEALED_PARTS = b"\0part1", b"\0seal2"
#: A part has more bytes. Of one with fewer the row of its own would take up a good deal of what it saves.
LARGE = 16 << 10
_MOST_QUOTES = 20_000  # in one message: what has more is neither images nor documents, and takes milliseconds
_MOST = 1000  # parts of one message
_HEAD, _PLACE = struct.Struct(">6sQQ"), struct.Struct(">Q16s")
_SEALED_HEAD, _SEALED_PLACE = struct.Struct(">6sQ"), struct.Struct(">QQ")
#: So many bytes of a body as it is stored tell how long it is.
HEAD_SIZE = _HEAD.size
_PERSON = b"sidecar/part"
_QUOTE, _BACKSLASH, _MOST_BACKSLASHES = b'"', b"\\", 64


class Cut(NamedTuple):
    """A body in pieces: each part belongs at its place in the rest."""

    rest: bytes
    places: list[int]
    parts: list[bytes]


class Shell(NamedTuple):
    """A body without its parts: each belongs at its place in the rest."""

    size: int
    places: list[int]
    names: list[bytes]
    rest: bytes


def parts_of(node: Node) -> Cut | None:
    """The message in pieces, if it has parts that are kept by themselves."""
    return cut(node.body) if node.source == "client" and len(node.body) > LARGE else None


def cut(body: bytes) -> Cut | None:
    """The body in pieces; None for one without large parts."""
    if body.startswith(WITH_SEALED_PARTS):
        try:
            parts = unsealed(body).parts
        except ValueError:  # whoever opens it says so
            return None
        at = len(body) - sum(map(len, parts))
        return Cut(body[:at], [at] * len(parts), parts)
    spans = _large_strings(body)
    if not spans:
        return None
    rests, places, length, done = [], [], 0, 0
    for begin, end in spans:
        rests.append(body[done:begin])
        length += begin - done
        places.append(length)
        done = end
    return Cut(b"".join((*rests, body[done:])), places, [body[begin:end] for begin, end in spans])


def put_together(rest: bytes, places: Sequence[int], parts: Sequence[bytes]) -> bytes:
    """The body of these pieces."""
    pieces: list[bytes] = []
    done = 0
    for place, part in zip(places, parts, strict=True):
        pieces += rest[done:place], part
        done = place
    return b"".join((*pieces, rest[done:]))


def name_of(part: bytes) -> bytes:
    """By what a part is known in its conversation."""
    return blake2b(part, digest_size=16, person=_PERSON).digest()


def shell(size: int, places: Sequence[int], names: Sequence[bytes], rest: bytes) -> bytes:
    """What is kept of a body of this size, whose parts have these names."""
    table = [_PLACE.pack(*each) for each in zip(places, names, strict=True)]
    return b"".join((_HEAD.pack(WITHOUT_PARTS, size, len(names)), *table, rest))


def shell_of(stored: bytes) -> Shell | None:
    """The body without its parts that was kept so; None for one that is whole. Raises `ValueError` if it is
    damaged."""
    if not stored.startswith(WITHOUT_PARTS):
        return None
    try:
        _mark, size, count = _HEAD.unpack_from(stored)
        end = HEAD_SIZE + count * _PLACE.size
        table = list(_PLACE.iter_unpack(stored[HEAD_SIZE:end]))
    except struct.error as error:
        raise ValueError("a stored body is damaged") from error
    if len(table) != count:
        raise ValueError("a stored body is damaged")
    return Shell(size, [place for place, _name in table], [name for _place, name in table], stored[end:])


def assembled(held: Shell, parts: Mapping[bytes, bytes]) -> bytes:
    """The body, of its parts by their names. Raises `ValueError` if one is missing, or is not what was kept
    under its name: no other picture goes to a model unnoticed. It takes a millisecond for a megabyte."""
    if any(name not in parts for name in held.names):
        raise ValueError("a part of a stored body is missing")
    # Encrypted ones are looked at by whoever decrypts them.
    is_plain = not held.rest.startswith(WITH_SEALED_PARTS)
    if is_plain and any(name_of(parts[name]) != name for name in set(held.names)):
        raise ValueError("a part of a stored body is damaged")
    body = put_together(held.rest, held.places, [parts[name] for name in held.names])
    if len(body) != held.size:
        raise ValueError("a stored body is damaged")
    return body


def size_of(head: bytes, length: int) -> int:
    """How long the body is that begins so (`HEAD_SIZE` bytes) and takes up this length where it is kept."""
    if head.startswith(WITHOUT_PARTS) and len(head) >= HEAD_SIZE:
        return int(_HEAD.unpack_from(head)[1])
    return length


def sealed(rest: bytes, places: Sequence[int], parts: Sequence[bytes]) -> bytes:
    """An encrypted body of these encrypted pieces. The places are those in the rest before that."""
    table = [_SEALED_PLACE.pack(place, len(part)) for place, part in zip(places, parts, strict=True)]
    return b"".join((_SEALED_HEAD.pack(WITH_SEALED_PARTS, len(parts)), *table, rest, *parts))


def unsealed(body: bytes) -> Cut:
    """The pieces of an encrypted body with parts. Raises `ValueError` if it is damaged."""
    try:
        _mark, count = _SEALED_HEAD.unpack_from(body)
        begin = _SEALED_HEAD.size + count * _SEALED_PLACE.size
        table = list(_SEALED_PLACE.iter_unpack(body[_SEALED_HEAD.size : begin]))
    except struct.error as error:
        raise ValueError("an encrypted body is damaged") from error
    end = len(body) - sum(length for _place, length in table)
    if len(table) != count or end < begin:
        raise ValueError("an encrypted body is damaged")
    parts, at = [], end
    for _place, length in table:
        parts.append(body[at : at + length])
        at += length
    return Cut(body[begin:end], [place for place, _length in table], parts)


def _large_strings(body: bytes) -> list[tuple[int, int]]:
    """Where what stands between two quotes of JSON begins and ends, if it is large."""
    found: list[tuple[int, int]] = []
    begin = end = -1
    for _ in range(_MOST_QUOTES):
        end = body.find(_QUOTE, end + 1)
        if end < 0 or len(found) == _MOST:
            break
        if begin < 0:
            begin = end + 1
        elif not _is_escaped(body, end):
            if end - begin > LARGE:
                found.append((begin, end))
            begin = -1
    return found


def _is_escaped(body: bytes, at: int) -> bool:
    """Does an odd number of backslashes stand in front of it? Of very many it does not matter."""
    before = body[max(at - _MOST_BACKSLASHES, 0) : at]
    return bool((len(before) - len(before.rstrip(_BACKSLASH))) % 2)
