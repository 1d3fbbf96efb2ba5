"""A request as its client sent it, for whoever wants to see its bytes, if a setting says that it is kept.

Rule: no credential is ever part of it. What named one is a name without its value, and of the headers and
parameters of the address only those are kept that are known to hold none.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Mapping

import msgspec
from msgspec.structs import replace

__all__ = ["ClientRequest", "body_of", "head_of", "packed_request", "request_of"]

#: Parameters of an address that hold no credential: Azure's.
_PARAMETERS = ("api-version",)
_MAX_VALUE, _MAX_PATH = 1000, 2000  # characters
_NAME = re.compile(r"[a-z0-9_-]{1,100}")
_LEVEL = 6  # of packing: 400 kB take 10 ms


class ClientRequest(msgspec.Struct, frozen=True, array_like=True):
    """`path`: with what is kept of its query. `headers`: those that are kept, `secret` and `personal`: the
    names of others, lower case, that told a credential, or the user; `parameters`: of the address, likewise
    the names that told a credential. `length` of the body; `packed` is the body, None where that is too large
    to be kept."""

    path: str
    headers: tuple[tuple[str, str], ...] = ()
    secret: tuple[str, ...] = ()
    personal: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    length: int = 0
    packed: bytes | None = None


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
        "?".join(filter(None, (path, "&".join(clear))))[:_MAX_PATH],
        tuple((name, headers[name][:_MAX_VALUE]) for name in _present(kept, headers) if name not in hidden),
        _present(secret, headers),
        _present(personal, headers),
        tuple(sorted({name for name in named if name in held and _NAME.fullmatch(name)})),
    )


def _present(names: Iterable[str], headers: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted({name for name in names if _NAME.fullmatch(name) and name in headers}))


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


_encode: Callable[[ClientRequest], bytes] = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ClientRequest).decode
