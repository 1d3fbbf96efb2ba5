"""A request as its client sent it, for whoever wants to see its bytes, if a setting says that it is kept.

Rule: no credential is ever part of it. What named one is a name without its value, and of the headers and
parameters of the address only those are kept that are known to hold none.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

__all__ = ["ClientRequest", "body_of", "head_of", "packed_request", "request_of", "words_of"]

#: Parameters of an address that hold no credential: Azure's.
_PARAMETERS = ("api-version",)
_MAX_VALUE, _MAX_PATH = 1000, 2000  # characters
#: Under which upstreams tell an error's words.
_WORDS = ("message", "error", "detail")
_NAME = re.compile(r"[a-z0-9_-]{1,100}")
_MAX_WORDS = 2000  # characters of a refusal
_LEAST_SECRET = 6  # characters; what is shorter is in many words
_LEVEL = 6  # of packing: 400 kB take 10 ms


class ClientRequest(msgspec.Struct, frozen=True, array_like=True):
    """`path`: with what is kept of its query. `headers`: those that are kept, `secret` and `personal`: the
    names of others, lower case, that told a credential, or the user; `parameters`: of the address, likewise
    the names that told a credential. `length` of the body; `packed` is the body, None where that is too large
    to be kept. `refusal`: in which words the upstream refused it, where it did."""

    path: str
    headers: tuple[tuple[str, str], ...] = ()
    secret: tuple[str, ...] = ()
    personal: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    length: int = 0
    packed: bytes | None = None
    refusal: str = ""


def head_of(
    target: str,
    headers: Mapping[str, str],
    *,
    kept: Iterable[str],
    secret: Iterable[str],
    personal: Iterable[str],
    parameters: Iterable[str],
) -> ClientRequest:
    """What comes before the body. `target`: the address as the request names it; the others are names (lower
    case) of which `kept` go with their values, unless they are among the others."""
    path, _, query = target.partition("#")[0].partition("?")
    fields = [each for each in query.split("&") if each]
    named = [each.partition("=")[0].lower() for each in fields]
    clear = [each for each, name in zip(fields, named, strict=True) if name in _PARAMETERS]
    hidden, held = {*secret, *personal}, frozenset(parameters)
    return ClientRequest(
        _clean("?".join(filter(None, (path, "&".join(clear)))))[:_MAX_PATH],
        tuple(
            (name, _clean(headers[name][:_MAX_VALUE]))
            for name in _present(kept, headers)
            if name not in hidden and headers[name]
        ),
        _present(secret, headers),
        _present(personal, headers),
        tuple(sorted({name for name in named if name in held and _NAME.fullmatch(name)})),
    )


def _clean(text: str) -> str:
    """Bytes of a head that are no UTF-8 are halves of characters in it, which cannot be kept."""
    return text.encode("utf-8", "replace").decode()


def _present(names: Iterable[str], headers: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted({name for name in names if _NAME.fullmatch(name) and name in headers}))


def words_of(error: bytes, hidden: Iterable[str]) -> str:
    """The words of an error (JSON as upstreams tell it, or text), without what is not to be kept."""
    words = error.decode("utf-8", "replace")
    try:
        told = _decode_any(error)
        if isinstance(told, list) and told:
            told = told[0]
        if isinstance(told, dict):
            inner = told.get("error")
            inner = inner if isinstance(inner, dict) else told
            found = next((inner[name] for name in _WORDS if isinstance(inner.get(name), str)), words)
            words = found if isinstance(found, str) else words
    except (ValueError, RecursionError):
        pass  # a text
    for value in hidden:
        for each in value.split():
            if len(each) >= _LEAST_SECRET:
                words = words.replace(each, "…")
    return words.strip()[:_MAX_WORDS]


def packed_request(head: ClientRequest, body: bytes, most: int) -> bytes:
    """Both as one piece, of at most so many bytes where the head takes no more by itself."""
    whole = _encode(replace(head, length=len(body), packed=zlib.compress(body, _LEVEL)))
    return whole if len(whole) <= most else _encode(replace(head, length=len(body)))


def request_of(data: bytes) -> ClientRequest:
    """What was packed. Raises `ValueError` if it was not."""
    return _decode(data)


def body_of(request: ClientRequest) -> bytes | None:
    """The body; None where it is not kept. Raises `ValueError` if it is damaged."""
    if request.packed is None:
        return None
    unpacking = zlib.decompressobj()
    try:
        body = unpacking.decompress(request.packed, request.length + 1)
    except zlib.error as error:
        raise ValueError("the request that was kept is damaged") from error
    if len(body) != request.length:
        raise ValueError("the request that was kept is damaged")
    return body


_decode_any: Callable[[bytes], Any] = msgspec.json.Decoder().decode
_encode: Callable[[ClientRequest], bytes] = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ClientRequest).decode
